//! From the files of an adapter to an adapter on a model: its tensors decide what it puts where, its settings how strong.
//!
//! A check of an adapter against a base and the use of it come through [`Layout::of_tensors`], so that what is found is what
//! is refused, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hone_tensor::Device;

use super::check::{CheckedBase, check_adapter};
use super::finding::Finding;
use super::layout::{Layout, Wanted};
use super::methods::METHODS;
use super::peft::{PeftError, Provenance};
use super::raw::{Modules, RawAdapter, RawTensor};
use super::settings::{MOST_RANK, Settings};
use super::spelling::read_name;
use super::table::{Param, Role};
use super::{Adapter, LoraConfig, LoraParts};
use crate::site::Site;
use crate::weights::{BaseWeights, DecoderConfig, slots};

/// An adapter directory that has been read and in which nothing is wrong, whatever its base is; it is on no model yet.
#[derive(Debug)]
pub struct AdapterFiles {
    raw: RawAdapter,
    settings: Settings,
    config: LoraConfig,
    provenance: Provenance,
}

impl AdapterFiles {
    /// Reads and checks a PEFT adapter directory.
    pub fn read(dir: &Path) -> Result<Self, PeftError> {
        Self::of(RawAdapter::read(dir)?)
    }

    /// What has been read, if a check without a base finds no error.
    pub fn of(raw: RawAdapter) -> Result<Self, PeftError> {
        check_adapter(&raw, None).accept(raw.path())?;
        let settings = Settings::read(&raw.config, &mut vec![]);
        let modules = raw.modules(&settings, &mut vec![]);
        let is_adapted = |parts: &BTreeMap<Role, _>| {
            let kinds = [Role::A, Role::EmbeddingA, Role::Factors];
            kinds.iter().any(|part| parts.contains_key(part))
        };
        let adapted = modules.iter().filter(|(_, parts)| is_adapted(parts));
        let adapted = adapted.map(|(path, _)| path.clone()).collect();
        Ok(Self {
            config: settings.config(adapted),
            provenance: raw.provenance(),
            settings,
            raw,
        })
    }

    /// Where it comes from, as far as it says.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// What it was asked to be.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// Refuses a base other than the one that the adapter names, if it names one.
    pub fn check_base(&self, fingerprint: &str) -> Result<(), PeftError> {
        let other = Finding::other_base(&self.provenance, fingerprint);
        PeftError::refuse(self.raw.path(), other.iter())
    }

    /// As [`RawAdapter::leave_out_copies`].
    pub fn leave_out_copies(&mut self, base: &BaseWeights) {
        self.raw.leave_out_copies(base);
    }

    /// Lays the numbers out for `base` on `device`, if a check against it finds no error: every tensor has its place, and every
    /// place its tensor.
    pub fn into_adapter(self, base: &DecoderConfig, device: &Device) -> Result<Adapter, PeftError> {
        let checked = CheckedBase {
            config: base,
            new_tokens: 0,
            fingerprint: None,
            template_hash: None,
        };
        let check = check_adapter(&self.raw, Some(checked));
        check.accept(self.raw.path())?;
        let layout = check
            .layout
            .expect("a check against a base says where everything goes");
        let modules = self.raw.modules(&self.settings, &mut vec![]);
        let mut adapter = Adapter::of_layout(self.config, layout, device);
        let mut flat = vec![0.0; adapter.num_parameters()];
        for matrix in adapter.matrices() {
            let tensor = tensor_of(&matrix.name, &self.raw, &self.settings, &modules);
            let tensor = tensor.expect("the check has found every tensor");
            let numbers = self.raw.numbers(tensor);
            let mut numbers = numbers.expect("the check has read every number");
            if !matrix.tokens.is_empty() {
                let module = read_name(&matrix.name).map_or("", |spelled| spelled.module);
                numbers = rising(self.settings.tokens_at(module), &numbers, matrix.cols);
            }
            matrix.place_from_disk(&numbers, &mut flat);
        }
        device.write(&flat, adapter.parameters_mut());
        Ok(adapter)
    }
}

impl LoraParts {
    /// Pairs as an adapter of a model: by the contents of the files that would be written, read as any others.
    pub fn to_adapter(&self, base: &DecoderConfig, device: &Device) -> Result<Adapter, PeftError> {
        let (config, weights) = self.to_files(super::SaveDtype::F32)?;
        let raw = RawAdapter::of_bytes(Path::new("in memory"), &config, weights)?;
        AdapterFiles::of(raw)?.into_adapter(base, device)
    }
}

/// The tensor that a matrix is read from; biases of the base go by two names.
fn tensor_of<'a>(
    name: &str,
    raw: &RawAdapter,
    settings: &Settings,
    modules: &Modules<'a>,
) -> Option<&'a RawTensor> {
    let spelled = read_name(name)?;
    let parts = modules.get(&settings.path_of(spelled.module, raw))?;
    let other = match spelled.part {
        Role::Bias => Role::BaseBias,
        Role::BaseBias => Role::Bias,
        part => part,
    };
    parts
        .get(&spelled.part)
        .or_else(|| parts.get(&other))
        .copied()
}

/// Rows in the order of their tokens.
fn rising(ids: &[u32], numbers: &[f32], cols: usize) -> Vec<f32> {
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|&place| ids[place]);
    let row = |&place: &usize| numbers[place * cols..][..cols].iter().copied();
    order.iter().flat_map(row).collect()
}

impl Layout {
    /// What the tensors of an adapter put on `base`. A tensor that has no place there, one of another shape, and what Hone
    /// cannot apply become findings; what is missing, a check has found.
    pub(super) fn of_tensors(
        raw: &RawAdapter,
        settings: &Settings,
        modules: &Modules,
        base: &DecoderConfig,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let mut fitting = Fitting {
            raw,
            settings,
            modules,
            base,
            findings,
            placed: BTreeSet::new(),
        };
        let mut wanted = Wanted {
            rank_stabilised: settings.rank_stabilised,
            ..Wanted::default()
        };
        for site in base.sites() {
            METHODS
                .iter()
                .for_each(|method| method.fit(site, &mut fitting, &mut wanted));
        }
        for method in METHODS {
            method.fit_embedding(&mut fitting, &mut wanted);
        }
        let layout = Self::new(wanted, base);
        fitting.tie_ends();
        fitting.compare_shapes(layout.table.params());
        fitting.report_others();
        layout
    }
}

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
    /// The tensor with a role at a module.
    pub fn at(&self, path: &str, part: Role) -> Option<&'a RawTensor> {
        self.modules.get(path)?.get(&part).copied()
    }

    /// Says that a tensor is something that Hone does not apply.
    pub fn refuse(&mut self, tensor: &RawTensor, what: &str) {
        self.findings.push(Finding::Unapplied {
            tensor: tensor.name.clone(),
            what: what.into(),
        });
    }

    /// The rank of a module's pair by its tensors, if it has one; of experts that of each.
    pub fn rank(&mut self, path: &str, a: Role, b: Role, copies: usize) -> Option<usize> {
        let a = self.at(path, a).map(|a| (a, a.shape.first()));
        let b = self.at(path, b).map(|b| (b, b.shape.get(1)));
        let (tensor, stacked) = a.or(b)?;
        let (found, rank) = (stacked.copied().unwrap_or(0), self.settings.rank_of(path));
        if copies > 1 && found != rank * copies {
            self.findings.push(Finding::Misshaped {
                tensor: tensor.name.clone(),
                found: tensor.shape.clone(),
                must: format!(
                    "[{}, in], for the {copies} experts of this model",
                    rank * copies
                ),
            });
        }
        // A rank that no adapter has takes no memory; the check has told of it.
        let own = (1..=MOST_RANK).contains(&(found / copies));
        Some(if own { found / copies } else { rank })
    }

    /// In a tied model embedding and head are one matrix, which PEFT may save by both names.
    fn tie_ends(&mut self) {
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
    fn compare_shapes(&mut self, params: &[Param]) {
        for matrix in params {
            let tensor = tensor_of(&matrix.name, self.raw, self.settings, self.modules);
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
    fn report_others(&mut self) {
        let ends = [self.base.names.embedding.0, self.base.names.head.module];
        let sites: BTreeSet<String> = self.base.sites().into_iter().map(Site::path).collect();
        let stored: BTreeSet<String> = slots(self.base).map(|slot| slot.name).collect();
        for (path, parts) in self.modules {
            for (part, tensor) in parts {
                let name = tensor.name.as_str();
                let is_told = |finding: &Finding| finding.tensor() == Some(name);
                if self.placed.contains(name) || self.findings.iter().any(is_told) {
                    continue;
                }
                let end = if let Role::Bias = part {
                    "bias"
                } else {
                    "weight"
                };
                let unapplied = match part {
                    Role::Whole | Role::BaseWeight if ends.contains(&path.as_str()) => {
                        "is saved beside the adapter and is not the base's own matrix"
                    }
                    Role::BaseWeight => "is a matrix of the base, saved beside its adapter",
                    Role::Whole | Role::Bias
                        if !sites.contains(path) && stored.contains(&format!("{path}.{end}")) =>
                    {
                        "is of a trained norm"
                    }
                    _ if sites.contains(path) || ends.contains(&path.as_str()) => {
                        let (tensor, why) = (name.to_owned(), "has no place on its module".into());
                        self.findings.push(Finding::Unexpected { tensor, why });
                        continue;
                    }
                    _ => {
                        let tensor = name.to_owned();
                        self.findings.push(Finding::NoModule { tensor });
                        continue;
                    }
                };
                self.findings.push(Finding::Unapplied {
                    tensor: name.to_owned(),
                    what: unapplied.into(),
                });
            }
        }
    }
}
