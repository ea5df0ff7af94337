//! Adapters: what is trained on a frozen base, how its numbers lie in memory, and what it makes of the base.
//!
//! All matrices of an adapter live in one flat buffer, so that the optimiser makes one pass and a
//! checkpoint is one blob. Projections that read the same input (query, key and value; gate and up)
//! have their `A` side by side, so that one product serves them all.
//!
//! [`select`] turns names into projections, [`layout`] gives everything its place, [`begin`] fills in what starts from
//! the base's own numbers, [`peft`] writes the form on disk. What is read comes through [`raw`], [`settings`] and [`check`],
//! whether [`attach`] puts it on a model or [`parts`] makes the mathematics that merging and exporting work on.

mod attach;
mod begin;
mod check;
mod config;
mod decompose;
mod dora;
mod finding;
mod growth;
mod layout;
mod parts;
mod peft;
mod plain;
mod raw;
mod runtimes;
mod select;
mod settings;
mod spelling;

pub use attach::AdapterFiles;
pub use begin::BeginError;
pub use check::{AdapterCheck, CheckedBase, check_adapter};
pub use config::{
    AttachError, Ia3, Initial, LayerRange, LoraConfig, Targets, TrainedBias, target_matches,
};
pub use finding::{Finding, Severity};
pub(crate) use layout::{
    AdaptedGroup, AtEmbedding, AtSite, Layout, LowRank, Member, TokenRows, Wanted,
};
pub use layout::{NamedMatrix, Role};
pub(crate) use parts::expert_of;
pub use parts::{Factors, LoraPair, LoraParts, PartsError, TrainedRows};
pub use peft::{PeftError, Provenance, SaveDtype, write_beside};
pub use raw::RawAdapter;
pub use runtimes::{Facts, Outcome, Runtime, Verdict};

use hone_ledger::Seed;
use hone_tensor::{Device, Tensor};

use crate::site::Site;
use crate::weights::{DecoderConfig, Group};
use dora::Gains;

/// A trained or trainable adapter of one decoder.
#[derive(Debug)]
pub struct Adapter {
    config: LoraConfig,
    layout: Layout,
    parameters: Tensor,
    /// What a low-rank pair started from, laid out as the parameters are; subtracted whenever it is used.
    start: Option<Tensor>,
    /// Whether numbers of the base are in their places.
    is_filled: bool,
    /// Whether low-rank pairs are what they are to start from.
    is_decomposed: bool,
    gains: Gains,
}

impl Adapter {
    /// A fresh adapter as PEFT starts one: `A` uniform within `±1/√in` (Kaiming with `a = √5`), `B` zero,
    /// so that it changes nothing yet. What starts from the base's own numbers is filled in when it is put on a model.
    pub fn new(
        config: LoraConfig,
        base: &DecoderConfig,
        device: &Device,
        seed: Seed,
    ) -> Result<Self, AttachError> {
        let wanted = Wanted::of(&config, base)?;
        let mut adapter = Self::of_wanted(config, &wanted, base, device);
        adapter.is_filled = false;
        adapter.is_decomposed = adapter.config.initial == Initial::Random;
        adapter.draw(seed);
        Ok(adapter)
    }

    /// All places, numbers still zero.
    pub(crate) fn of_wanted(
        config: LoraConfig,
        wanted: &Wanted,
        base: &DecoderConfig,
        device: &Device,
    ) -> Self {
        let layout = Layout::new(wanted, base);
        let zeros = || device.zeros(1, layout.len);
        Self {
            start: config.initial.is_subtracted().then(zeros),
            parameters: zeros(),
            gains: Gains::new(layout.sites.len()),
            config,
            layout,
            is_filled: true,
            is_decomposed: true,
        }
    }

    /// Random numbers where an adapter begins with random numbers, and ones where it begins with factors.
    fn draw(&mut self, seed: Seed) {
        let mut numbers = vec![0.0f32; self.layout.len];
        for group in &self.layout.groups {
            let bound = (group.width as f32).sqrt().recip();
            for member in &group.members {
                let mut stream = seed.child(&member.site.path()).stream();
                let at = group.a_offset + member.rank_offset * group.width;
                numbers[at..][..group.copies * member.rank * group.width]
                    .fill_with(|| (2.0 * stream.unit_f32() - 1.0) * bound);
            }
        }
        for at in &self.layout.sites {
            if let Some((offset, is_input)) = at.factors {
                let len = if is_input { at.width } else { at.out };
                numbers[offset..][..len].fill(1.0);
            }
        }
        // At the embedding PEFT draws B from a normal distribution and leaves A zero.
        let mut stream = seed.child(self.layout.embedding_path).stream();
        for matrix in self.matrices() {
            if matrix.role() == Role::EmbeddingB {
                numbers[matrix.offset..][..matrix.size()].fill_with(|| normal(&mut stream));
            }
        }
        let device = self.parameters.device().clone();
        device.write(&numbers, &mut self.parameters);
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
        self.gains.forget();
        &mut self.parameters
    }

    /// How many numbers are trained.
    pub fn num_parameters(&self) -> usize {
        self.parameters.len()
    }

    /// Its matrices by PEFT name, in the order of the flat buffer.
    pub fn matrices(&self) -> Vec<NamedMatrix> {
        self.layout.matrices()
    }

    /// The adapted projections of one input, if there are any.
    pub(crate) fn group(&self, layer: usize, group: Group) -> Option<&AdaptedGroup> {
        self.layout
            .groups
            .iter()
            .find(|g| g.layer == layer && g.group == group)
    }

    /// What is trained at one projection beside a low-rank pair.
    pub(crate) fn at(&self, layer: usize, group: Group, slot: usize) -> Option<&AtSite> {
        let mut sites = self.layout.sites.iter();
        sites.find(|at| at.layer == layer && at.group == group && at.site.slot() == slot)
    }

    /// The low-rank pair of a projection.
    pub(crate) fn member(&self, site: Site) -> Option<&LowRank> {
        self.layout.member(site).map(|(_, member)| member)
    }

    /// What is trained at the embedding.
    pub(crate) fn embedding(&self) -> &AtEmbedding {
        &self.layout.embedding
    }

    /// What is trained at single projections beside low-rank pairs.
    pub(crate) fn sites(&self) -> &[AtSite] {
        &self.layout.sites
    }

    /// What low-rank pairs started from, where that is subtracted.
    pub(crate) fn start(&self) -> Option<&Tensor> {
        self.start.as_ref()
    }

    /// The first layer with an adapter: nothing below it needs a gradient.
    pub(crate) fn lowest_layer(&self) -> usize {
        self.layout.lowest_layer()
    }

    /// Whether it does nothing but add low-rank products, so that several can be added up.
    pub fn is_additive(&self) -> bool {
        self.layout.sites.is_empty()
            && self.layout.embedding.whole.is_none()
            && self.layout.embedding.token_rows.is_none()
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &LowRank> {
        self.layout.groups.iter().flat_map(|group| &group.members)
    }

    /// Lengths of the matrices of an adapter that does not exist yet, in the order of the flat buffer.
    pub fn lengths(config: &LoraConfig, base: &DecoderConfig) -> Result<Vec<usize>, AttachError> {
        let layout = Layout::new(&Wanted::of(config, base)?, base);
        Ok(layout.matrices().iter().map(NamedMatrix::size).collect())
    }

    /// Trainable numbers and summed ranks of an adapter that does not exist yet, for plans.
    pub fn size(config: &LoraConfig, base: &DecoderConfig) -> Result<AdapterSize, AttachError> {
        let layout = Layout::new(&Wanted::of(config, base)?, base);
        Ok(AdapterSize {
            parameters: layout.len,
            rank_sum: layout.groups.iter().map(|g| g.copies * g.total_rank).sum(),
            lowest_layer: layout.lowest_layer().min(base.num_layers),
        })
    }
}

/// Of mean 0 and variance 1 (Box and Muller 1958).
fn normal(stream: &mut hone_ledger::Stream) -> f32 {
    let (radius, angle) = (1.0 - stream.unit_f32(), stream.unit_f32());
    let angle = 2.0 * std::f64::consts::PI * f64::from(angle);
    ((-2.0 * f64::from(radius).ln()).sqrt() * angle.cos()) as f32
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
