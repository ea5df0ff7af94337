//! From what was asked for to what is trained: names become projections, each with its rank and alpha.

use super::config::{AttachError, LoraConfig, Targets, together};
use super::targets::{is_inside, target_matches, unknown_target};
use crate::arch::{DecoderConfig, Group, Part, Site};

/// What a configuration asks for, its names resolved.
pub(super) struct Asked<'a> {
    pub config: &'a LoraConfig,
    pub base: &'a DecoderConfig,
    /// Projections with an adapter.
    pub sites: Vec<Site>,
    /// Whether the embedding has one.
    pub embedding: bool,
    /// Gates and ups of experts were named as the two that they once were: their pair gets both ranks and both alphas.
    pub is_doubled: bool,
    /// Projections that are trained whole; they have no adapter.
    pub whole: Vec<Site>,
    /// Whether the embedding is.
    pub embedding_whole: bool,
}

impl<'a> Asked<'a> {
    pub fn of(config: &'a LoraConfig, base: &'a DecoderConfig) -> Result<Self, AttachError> {
        let (whole, embedding_whole) = select_whole(&config.whole, base)?;
        let (mut sites, embedding, is_doubled) = select_by_name(config, base)?;
        leave_out(&mut sites, config, base)?;
        if sites.is_empty() && !embedding {
            return Err(AttachError::BadNumber {
                name: "targets",
                value: "an empty list".into(),
                must: "`all-linear` or names of projections",
            });
        }
        sites.retain(|site| !whole.contains(site));
        Ok(Self {
            config,
            base,
            sites,
            embedding: embedding && !embedding_whole,
            is_doubled,
            whole,
            embedding_whole,
        })
    }

    /// PEFT adapts routers and experts as parameters, and parameters with plain LoRA only.
    pub fn refuse_at_parameters(
        &self,
        is_asked: bool,
        what: &'static str,
    ) -> Result<(), AttachError> {
        let at_parameters = self.sites.iter().any(|site| site.place().is_parameter);
        let second = "an adapter on experts or their router";
        together([(is_asked && at_parameters, what, second)])
    }

    /// Refuses a name of `list` that matches no adapted projection.
    pub fn all_match<'n>(
        &self,
        list: &'static str,
        mut names: impl Iterator<Item = &'n String>,
    ) -> Result<(), AttachError> {
        let is_idle = |name: &&String| {
            let mut sites = self.sites.iter();
            !sites.any(|site| target_matches(name, &site.path()))
        };
        match names.find(is_idle) {
            None => Ok(()),
            Some(name) => Err(AttachError::Unmatched {
                list,
                name: name.clone(),
            }),
        }
    }
}

impl LoraConfig {
    /// The same with the rows of new tokens trained, at the embedding and at a head that is not tied to it; where one of
    /// them is trained whole, they are trained with it.
    ///
    /// # Errors
    /// Modules trained whole that the base does not have.
    pub fn with_new_tokens(
        mut self,
        tokens: &[u32],
        base: &DecoderConfig,
    ) -> Result<Self, AttachError> {
        let (whole, embedding_whole) = select_whole(&self.whole, base)?;
        if !embedding_whole {
            self.token_rows.extend(tokens);
        }
        if !base.tied_head && !whole.iter().any(|site| site.is_head()) {
            self.head_rows.extend(tokens);
        }
        Ok(self)
    }
}

/// Leaves out what a configuration excludes, and layers that it does not name.
fn leave_out(
    sites: &mut Vec<Site>,
    config: &LoraConfig,
    base: &DecoderConfig,
) -> Result<(), AttachError> {
    for name in &config.exclude {
        let is_named = |site: &Site| target_matches(name, &site.path());
        if !sites.iter().any(is_named) {
            return Err(AttachError::Unmatched {
                list: "the excluded modules",
                name: name.clone(),
            });
        }
        sites.retain(|site| !is_named(site));
    }
    if let Some(layers) = config.layers {
        let inside = |site: &Site| layers.contains(site.layer_index(base.num_layers));
        sites.retain(inside);
        if sites.is_empty() {
            let num_layers = base.num_layers;
            return Err(AttachError::NoSuchLayer { layers, num_layers });
        }
    }
    Ok(())
}

/// What targets name, in the order of the network: linear layers, whether the embedding, and whether gates and ups of experts
/// are named as two.
fn select_by_name(
    config: &LoraConfig,
    base: &DecoderConfig,
) -> Result<(Vec<Site>, bool, bool), AttachError> {
    let sites = base.sites();
    let names = match &config.targets {
        Targets::AllLinear => {
            let is_ia3 = config.ia3.is_some();
            let linear = sites.into_iter().filter(|site| is_linear(*site, is_ia3));
            return Ok((linear.collect(), false, base.experts.is_some()));
        }
        Targets::Names(names) => names,
    };
    let (converted, is_doubled) = converted(names, base)?;
    let names = &converted;
    for name in names {
        let mut hits = sites
            .iter()
            .filter(|site| target_matches(name, &site.path()))
            .peekable();
        if hits.peek().is_none() && !target_matches(name, base.names.embedding.0) {
            return Err(unknown_target(name, &sites));
        }
        if base.tied_head && hits.any(|site| site.is_head()) {
            return Err(AttachError::TiedHead);
        }
    }
    let named = |path: &str| names.iter().any(|name| target_matches(name, path));
    let chosen = sites.into_iter().filter(|site| named(&site.path()));
    let embedding = named(base.names.embedding.0);
    Ok((chosen.collect(), embedding, is_doubled))
}

/// Whether PEFT's `all-linear` means it. In a model with experts PEFT takes the names of an MLP's layers for the experts',
/// so that layers without experts are left out; IA³, which it does not convert, has them and no experts.
fn is_linear(site: Site, is_ia3: bool) -> bool {
    let is_dense = !matches!(
        site.group(),
        Group::Router | Group::ExpertsIn | Group::ExpertsOut
    );
    match (site.is_head(), site.place().is_parameter) {
        (true, _) => false,
        (_, false) => true,
        _ => is_dense == is_ia3,
    }
}

/// Names of an expert's own matrices, `w1` or `gate_proj`, as PEFT converts them: gate and up are one parameter, so they
/// are named together, and it gets the ranks and the alphas of both.
fn converted(names: &[String], base: &DecoderConfig) -> Result<(Vec<String>, bool), AttachError> {
    let mut all = names.to_vec();
    let Some(experts) = &base.names.experts else {
        return Ok((all, false));
    };
    let is_named = |part| names.iter().any(|name| name == experts.of(part).name);
    let is_known = |name: &str| base.sites().iter().any(|site| site.name() == name);
    let (gate, up) = (is_named(Part::Gate), is_named(Part::Up));
    let [gate_name, up_name, down_name] =
        [Part::Gate, Part::Up, Part::Down].map(|part| experts.of(part).name);
    if gate != up {
        let (first, second) = if gate {
            (gate_name, up_name)
        } else {
            (up_name, gate_name)
        };
        return Err(AttachError::Alone { first, second });
    }
    if gate && up {
        all.retain(|name| is_known(name) || name != gate_name && name != up_name);
        all.push("gate_up_proj".to_owned());
    }
    if is_named(Part::Down) && !is_known(down_name) {
        all.retain(|name| name != down_name);
        all.push("down_proj".to_owned());
    }
    Ok((all, gate && up))
}

/// Projections that are trained whole, and whether the embedding is. `layers.3` means all of a layer.
fn select_whole(names: &[String], base: &DecoderConfig) -> Result<(Vec<Site>, bool), AttachError> {
    let (sites, mut embedding) = (base.sites(), false);
    for name in names {
        let is_embedding = target_matches(name, base.names.embedding.0);
        let hits: Vec<&Site> = sites
            .iter()
            .filter(|s| is_inside(&s.path(), name))
            .collect();
        if hits.is_empty() && !is_embedding {
            return Err(unknown_target(name, &sites));
        }
        if base.tied_head && hits.contains(&&base.head()) {
            let module = name.clone();
            return Err(AttachError::TiedWhole { module });
        }
        embedding |= is_embedding;
    }
    let named = |site: &Site| names.iter().any(|name| is_inside(&site.path(), name));
    if sites
        .iter()
        .any(|site| named(site) && site.group().is_of_experts())
    {
        return Err(AttachError::Together {
            first: "modules trained whole",
            second: "experts",
        });
    }
    if base.names.is_transposed && sites.iter().any(|site| named(site) && !site.is_head()) {
        return Err(AttachError::Together {
            first: "modules trained whole",
            second: "a base whose matrices lie transposed",
        });
    }
    Ok((sites.into_iter().filter(named).collect(), embedding))
}

/// Rising, each once.
pub(super) fn known_tokens(asked: &[u32], base: &DecoderConfig) -> Result<Vec<u32>, AttachError> {
    let mut ids = asked.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let vocab_size = base.vocab_size;
    match ids.iter().find(|&&id| id as usize >= vocab_size) {
        Some(&id) => Err(AttachError::NoSuchToken { id, vocab_size }),
        None => Ok(ids),
    }
}
