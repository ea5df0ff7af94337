//! The tensors of an adapter on their way to a base: which have their place there, and why others have none.

use std::collections::BTreeSet;

use super::config::MOST_RANK;
use super::finding::Finding;
use super::raw::{Modules, RawAdapter, RawTensor};
use super::settings::Settings;
use super::spelling::{Role, read_name};
use super::table::Param;
use crate::arch::{DecoderConfig, Site, slots};

/// An adapter's tensors on their way to a base.
pub(super) struct Fitting<'a> {
    raw: &'a RawAdapter,
    pub settings: &'a Settings,
    modules: &'a Modules<'a>,
    pub base: &'a DecoderConfig,
    findings: &'a mut Vec<Finding>,
    /// Names of tensors that have their place.
    placed: BTreeSet<&'a str>,
}

impl<'a> Fitting<'a> {
    /// None of them placed yet.
    pub fn new(
        raw: &'a RawAdapter,
        modules: &'a Modules<'a>,
        base: &'a DecoderConfig,
        findings: &'a mut Vec<Finding>,
    ) -> Self {
        Self {
            raw,
            settings: &raw.settings,
            modules,
            base,
            findings,
            placed: BTreeSet::new(),
        }
    }

    /// The tensor with a role at a module.
    pub fn at(&self, path: &str, part: Role) -> Option<&'a RawTensor> {
        self.modules.get(path)?.at(part)
    }

    /// Says that a tensor is something that Hone does not apply.
    pub fn refuse(&mut self, tensor: &RawTensor, what: &str) {
        self.findings.push(tensor.unapplied(what));
    }

    /// The rank of a module's pair by its tensors, if it has one; of experts that of each.
    pub fn rank(&mut self, path: &str, a: Role, b: Role, copies: usize) -> Option<usize> {
        let a = self.at(path, a).map(|a| (a, a.shape.first()));
        let b = self.at(path, b).map(|b| (b, b.shape.get(1)));
        let (tensor, stacked) = a.or(b)?;
        let (found, rank) = (stacked.copied().unwrap_or(0), self.settings.rank_of(path));
        if copies > 1 && found != rank * copies {
            let rows = rank * copies;
            let must = format!("[{rows}, in], for the {copies} experts of this model");
            self.findings.push(tensor.misshaped(must));
        }
        // A rank that no adapter has takes no memory; the check has told of it.
        let own = (1..=MOST_RANK).contains(&(found / copies));
        Some(if own { found / copies } else { rank })
    }

    /// In a tied model embedding and head are one matrix, which PEFT may save by both names.
    pub fn tie_ends(&mut self) {
        if !self.base.tied_head {
            return;
        }
        let (embedding, head) = (self.base.names.embedding.0, self.base.names.head.module);
        let same = |one: &RawTensor, other: &RawTensor| {
            one.shape == other.shape && self.raw.numbers(one) == self.raw.numbers(other)
        };
        let mut apart = None;
        let whole = [embedding, head].map(|path| self.at(path, Role::Whole));
        let is_saved = self.settings.saves_end(embedding, self.base);
        match whole {
            [Some(one), Some(other)] if same(one, other) => {
                self.placed.insert(&other.name);
            }
            [one, other] if is_saved => apart = other.or(one),
            _ => {}
        }
        let rows = [embedding, head].map(|path| self.at(path, Role::TokenRows));
        match rows {
            [Some(one), Some(other)] if same(one, other) => {
                self.placed.insert(&other.name);
            }
            [_, Some(other)] => apart = Some(other),
            _ => {}
        }
        let (ids, of_head) = (&self.settings.token_ids, &self.settings.head_ids);
        apart = apart.or(rows[0].filter(|_| !of_head.is_empty() && ids != of_head));
        if let Some(tensor) = apart {
            self.refuse(tensor, "was trained apart from the other end of a model whose embedding and head are one matrix");
        }
    }

    /// Whether every tensor has the shape of its place.
    pub fn compare_shapes(&mut self, params: &[Param]) {
        for matrix in params {
            let tensor = tensor_of(&matrix.name, self.raw, self.modules);
            let Some(tensor) = tensor else {
                continue;
            };
            self.placed.insert(&tensor.name);
            let is_told = |finding: &Finding| finding.tensor() == Some(tensor.name.as_str());
            if tensor.shape != matrix.shape() && !self.findings.iter().any(is_told) {
                let sizes: Vec<String> = matrix.shape().iter().map(usize::to_string).collect();
                self.findings.push(Finding::OtherShape {
                    tensor: tensor.name.clone(),
                    found: tensor.shape.clone(),
                    must: sizes.join("×"),
                });
            }
        }
    }

    /// Tensors that have no place on this base.
    pub fn report_others(&mut self) {
        let ends = [self.base.names.embedding.0, self.base.names.head.module];
        let sites: BTreeSet<String> = self.base.sites().into_iter().map(Site::path).collect();
        let stored: BTreeSet<String> = slots(self.base).map(|slot| slot.name).collect();
        for (path, module) in self.modules {
            for (part, tensor) in &module.tensors {
                let name = tensor.name.as_str();
                let is_told = |finding: &Finding| finding.tensor() == Some(name);
                if self.placed.contains(name) || self.findings.iter().any(is_told) {
                    continue;
                }
                let (is_end, is_site) = (ends.contains(&path.as_str()), sites.contains(path));
                let end = match part {
                    Role::Bias => "bias",
                    _ => "weight",
                };
                self.findings.push(match part {
                    Role::Whole | Role::BaseWeight if is_end => tensor
                        .unapplied("is saved beside the adapter and is not the base's own matrix"),
                    Role::BaseWeight => {
                        tensor.unapplied("is a matrix of the base, saved beside its adapter")
                    }
                    Role::Whole | Role::Bias
                        if !is_site && stored.contains(&format!("{path}.{end}")) =>
                    {
                        tensor.unapplied("is of a trained norm")
                    }
                    _ if is_site || is_end => tensor.unexpected("has no place on its module"),
                    _ => Finding::NoModule {
                        tensor: name.to_owned(),
                    },
                });
            }
        }
    }
}

/// The tensor that a matrix is read from; biases of the base go by two names.
pub(super) fn tensor_of<'a>(
    name: &str,
    raw: &RawAdapter,
    modules: &Modules<'a>,
) -> Option<&'a RawTensor> {
    let spelled = read_name(name)?;
    let module = modules.get(&raw.path_of(spelled.module))?;
    let other = match spelled.part {
        Role::Bias => Role::BaseBias,
        Role::BaseBias => Role::Bias,
        part => part,
    };
    module.at(spelled.part).or_else(|| module.at(other))
}
