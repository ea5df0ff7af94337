//! Low-rank adapters: where they sit, how their numbers lie in memory, how they are applied.
//!
//! All matrices of an adapter live in one flat buffer, so that the optimiser makes one pass and a
//! checkpoint is one blob. Projections that read the same input (query, key and value; gate and up)
//! have their `A` side by side, so that one product serves them all.

mod config;
mod peft;

pub use config::{AttachError, LayerRange, LoraConfig, Targets, scale, target_matches};
pub use peft::{AdapterFiles, PeftError, Provenance, SaveDtype};

use hone_ledger::Seed;
use hone_tensor::{Device, Tensor};

use crate::site::Site;
use crate::weights::{DecoderConfig, Group};

/// A trained or trainable adapter of one decoder.
#[derive(Debug)]
pub struct Adapter {
    config: LoraConfig,
    groups: Vec<AdaptedGroup>,
    parameters: Tensor,
}

/// The adapted projections that read one input.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AdaptedGroup {
    pub layer: usize,
    pub group: Group,
    /// Input features.
    pub width: usize,
    /// Sum of the members' ranks.
    pub total_rank: usize,
    /// `A` of all members, `[total_rank, width]`, begins here in the flat buffer.
    pub a_offset: usize,
    pub members: Vec<LowRank>,
}

/// One adapted projection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LowRank {
    pub site: Site,
    pub rank: usize,
    pub alpha: f32,
    pub scale: f32,
    /// First of its rows in the group's `A`.
    pub rank_offset: usize,
    /// Output features.
    pub out: usize,
    /// `B`, `[out, rank]`, begins here in the flat buffer.
    pub b_offset: usize,
}

impl LowRank {
    /// Its columns of the group's narrow activations.
    pub fn ranks(&self) -> std::ops::Range<usize> {
        self.rank_offset..self.rank_offset + self.rank
    }
}

/// What one projection's adapter is, before it has a place in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Member {
    pub site: Site,
    pub rank: usize,
    pub alpha: f32,
}

/// One matrix of an adapter by its PEFT name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedMatrix {
    /// For example `model.layers.0.self_attn.q_proj.lora_A.weight`.
    pub name: String,
    /// First element in the flat buffer.
    pub offset: usize,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
}

impl NamedMatrix {
    /// How many numbers.
    pub fn size(&self) -> usize {
        self.rows * self.cols
    }
}

impl Adapter {
    /// A fresh adapter as PEFT starts one: `A` uniform within `±1/√in` (Kaiming with `a = √5`), `B` zero,
    /// so that it changes nothing yet.
    pub fn new(
        config: LoraConfig,
        base: &DecoderConfig,
        device: &Device,
        seed: Seed,
    ) -> Result<Self, AttachError> {
        let (groups, len) = lay_out_config(&config, base)?;
        let mut numbers = vec![0.0f32; len];
        for group in &groups {
            let bound = (group.width as f32).sqrt().recip();
            for member in &group.members {
                let mut stream = seed.child(&member.site.path()).stream();
                let at = group.a_offset + member.rank_offset * group.width;
                numbers[at..][..member.rank * group.width]
                    .fill_with(|| (2.0 * stream.unit_f32() - 1.0) * bound);
            }
        }
        let parameters = device.tensor(1, len, &numbers);
        Ok(Self {
            config,
            groups,
            parameters,
        })
    }

    /// From members with ranks and alphas of their own, numbers still zero.
    pub(crate) fn from_members(
        config: LoraConfig,
        members: &[Member],
        base: &DecoderConfig,
        device: &Device,
    ) -> Self {
        let (groups, len) = lay_out(members, config.rank_stabilised, base);
        Self {
            config,
            groups,
            parameters: device.zeros(1, len),
        }
    }

    /// What it was asked to be.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// All trainable numbers, flat `[1, n]`.
    pub fn parameters(&self) -> &Tensor {
        &self.parameters
    }

    /// All trainable numbers, for the optimiser.
    pub fn parameters_mut(&mut self) -> &mut Tensor {
        &mut self.parameters
    }

    /// How many numbers are trained.
    pub fn num_parameters(&self) -> usize {
        self.parameters.len()
    }

    /// Its matrices by PEFT name, in the order of the flat buffer.
    pub fn matrices(&self) -> Vec<NamedMatrix> {
        self.groups.iter().flat_map(matrices_of).collect()
    }

    /// The adapted projections of one input, if there are any.
    pub(crate) fn group(&self, layer: usize, group: Group) -> Option<&AdaptedGroup> {
        self.groups
            .iter()
            .find(|g| g.layer == layer && g.group == group)
    }

    /// The first layer with an adapter: nothing below it needs a gradient.
    pub(crate) fn lowest_layer(&self) -> usize {
        self.groups
            .iter()
            .map(|g| g.layer)
            .min()
            .unwrap_or(usize::MAX)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &LowRank> {
        self.groups.iter().flat_map(|group| &group.members)
    }

    /// Lengths of the matrices of an adapter that does not exist yet, in the order of the flat buffer.
    pub fn lengths(config: &LoraConfig, base: &DecoderConfig) -> Result<Vec<usize>, AttachError> {
        let (groups, _) = lay_out_config(config, base)?;
        let matrices = groups.iter().flat_map(matrices_of);
        Ok(matrices.map(|matrix| matrix.size()).collect())
    }

    /// Trainable numbers and summed ranks of an adapter that does not exist yet, for plans.
    pub fn size(config: &LoraConfig, base: &DecoderConfig) -> Result<AdapterSize, AttachError> {
        let (groups, parameters) = lay_out_config(config, base)?;
        let rank_sum = groups.iter().map(|g| g.total_rank).sum();
        let lowest_layer = groups.iter().map(|g| g.layer).min().unwrap_or(0);
        Ok(AdapterSize {
            parameters,
            rank_sum,
            lowest_layer,
        })
    }
}

/// The matrices of one group, in the order of the flat buffer.
fn matrices_of(group: &AdaptedGroup) -> Vec<NamedMatrix> {
    let matrix = |site: &Site, half: &str, offset, rows, cols| NamedMatrix {
        name: format!("{}.lora_{half}.weight", site.path()),
        offset,
        rows,
        cols,
    };
    let a = group.members.iter().map(|m| {
        let offset = group.a_offset + m.rank_offset * group.width;
        matrix(&m.site, "A", offset, m.rank, group.width)
    });
    let b = group
        .members
        .iter()
        .map(|m| matrix(&m.site, "B", m.b_offset, m.out, m.rank));
    a.chain(b).collect()
}

/// How large an adapter will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterSize {
    /// Trainable numbers.
    pub parameters: usize,
    /// Bottleneck widths of all adapted projections, added.
    pub rank_sum: usize,
    /// The first layer with an adapter.
    pub lowest_layer: usize,
}

/// The sites that a configuration names, in the order of the network.
fn select(config: &LoraConfig, base: &DecoderConfig) -> Result<Vec<Site>, AttachError> {
    let named = select_by_name(&config.targets, base)?;
    let Some(layers) = config.layers else {
        return Ok(named);
    };
    let inside = |site: &Site| layers.contains(site.layer_index(base.num_layers));
    match named.into_iter().filter(inside).collect::<Vec<_>>() {
        none if none.is_empty() => Err(AttachError::NoSuchLayer {
            layers,
            num_layers: base.num_layers,
        }),
        some => Ok(some),
    }
}

fn select_by_name(targets: &Targets, base: &DecoderConfig) -> Result<Vec<Site>, AttachError> {
    let sites = base.sites();
    let names = match targets {
        Targets::AllLinear => return Ok(sites.into_iter().filter(|s| !s.is_head()).collect()),
        Targets::Names(names) => names,
    };
    for name in names {
        let mut hits = sites
            .iter()
            .filter(|site| target_matches(name, &site.path()))
            .peekable();
        if hits.peek().is_none() {
            return Err(unknown_target(name, &sites));
        }
        if base.tied_head && hits.any(|site| site.is_head()) {
            return Err(AttachError::TiedHead);
        }
    }
    let chosen = |site: &Site| names.iter().any(|name| target_matches(name, &site.path()));
    match sites.into_iter().filter(chosen).collect::<Vec<_>>() {
        none if none.is_empty() => Err(AttachError::BadNumber {
            name: "targets",
            value: "an empty list".into(),
            must: "`all-linear` or names of projections",
        }),
        some => Ok(some),
    }
}

fn unknown_target(target: &str, sites: &[Site]) -> AttachError {
    let mut available: Vec<String> = sites.iter().map(|site| site.name().to_owned()).collect();
    available.sort();
    available.dedup();
    let wanted = target.rsplit('.').next().unwrap_or(target).to_lowercase();
    let distance = |name: &&String| edit_distance(&wanted, name);
    let near = available
        .iter()
        .min_by_key(distance)
        .filter(|name| edit_distance(&wanted, name) <= 3);
    AttachError::UnknownTarget {
        target: target.to_owned(),
        near: near.cloned(),
        available,
    }
}

/// Levenshtein, for did-you-mean.
pub(crate) fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The layout of a fresh adapter: every target with the same rank and alpha.
fn lay_out_config(
    config: &LoraConfig,
    base: &DecoderConfig,
) -> Result<(Vec<AdaptedGroup>, usize), AttachError> {
    config.check()?;
    let member = |site| Member {
        site,
        rank: config.rank,
        alpha: config.alpha,
    };
    let members: Vec<Member> = select(config, base)?.into_iter().map(member).collect();
    Ok(lay_out(&members, config.rank_stabilised, base))
}

/// Gives every member its place in the flat buffer; also says how long that is.
fn lay_out(
    members: &[Member],
    rank_stabilised: bool,
    base: &DecoderConfig,
) -> (Vec<AdaptedGroup>, usize) {
    let mut groups: Vec<AdaptedGroup> = Vec::new();
    for member in members {
        let (layer, group) = (
            member.site.layer_index(base.num_layers),
            member.site.group(),
        );
        let (out, width) = base.projection(member.site);
        let at = groups
            .iter()
            .position(|g| g.layer == layer && g.group == group)
            .unwrap_or_else(|| {
                groups.push(AdaptedGroup {
                    layer,
                    group,
                    width,
                    total_rank: 0,
                    a_offset: 0,
                    members: vec![],
                });
                groups.len() - 1
            });
        let target = &mut groups[at];
        target.members.push(LowRank {
            site: member.site,
            rank: member.rank,
            alpha: member.alpha,
            scale: scale(member.alpha, member.rank, rank_stabilised),
            rank_offset: target.total_rank,
            out,
            b_offset: 0,
        });
        target.total_rank += member.rank;
    }
    groups.sort_by_key(|g| (g.layer, g.group));
    let mut len = 0;
    let mut place = |size: usize| {
        len += size;
        len - size
    };
    for group in &mut groups {
        group.a_offset = place(group.total_rank * group.width);
        for member in &mut group.members {
            member.b_offset = place(member.out * member.rank);
        }
    }
    (groups, len)
}
