//! From the files of an adapter to an adapter on a model: its tensors decide what it puts where, its settings how strong.
//!
//! A check of an adapter against a base and the use of it come through [`Wanted::of_tensors`], so that what is found is what
//! is refused, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hone_tensor::Device;

use super::check::{CheckedBase, check_adapter};
use super::finding::Finding;
use super::layout::Wanted;
use super::peft::{PeftError, Provenance};
use super::raw::{Modules, RawAdapter, RawTensor};
use super::settings::{MOST_RANK, Settings};
use super::spelling::{Part, read_name};
use super::{Adapter, Layout, LoraConfig, LoraParts, Member, Role};
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
        let is_adapted = |parts: &BTreeMap<Part, _>| {
            let kinds = [Part::A, Part::EmbeddingA, Part::Factors];
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
        let wanted = check
            .wanted
            .expect("a check against a base says what is wanted");
        let modules = self.raw.modules(&self.settings, &mut vec![]);
        let mut adapter = Adapter::of_wanted(self.config, &wanted, base, device);
        let mut flat = vec![0.0; adapter.num_parameters()];
        for matrix in adapter.matrices() {
            let tensor = tensor_of(&matrix.name, &self.raw, &self.settings, &modules);
            let tensor = tensor.expect("the check has found every tensor");
            let numbers = self.raw.numbers(tensor);
            let mut numbers = numbers.expect("the check has read every number");
            if matrix.role() == Role::TokenRows {
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
        let (config, weights) = self.to_files(super::SaveDtype::F32, &self.paths())?;
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
        Part::Bias => Part::BaseBias,
        Part::BaseBias => Part::Bias,
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

impl Wanted {
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
        let mut wanted = Self {
            rank_stabilised: settings.rank_stabilised,
            dora: settings.dora,
            ..Self::default()
        };
        for site in base.sites() {
            fitting.add_site(site, &mut wanted);
        }
        fitting.add_embedding(&mut wanted);
        fitting.tie_ends();
        fitting.compare_shapes(&wanted);
        fitting.report_others();
        wanted
    }

    /// Whether it changes nothing at all.
    pub(super) fn is_nothing(&self) -> bool {
        let ends = &self.embedding;
        let at_embedding = ends.low_rank.is_some() || ends.whole;
        let rows = !(ends.token_rows.is_empty() && ends.head_rows.is_empty());
        let at_sites = [
            self.members.len(),
            self.biases.len(),
            self.whole.len(),
            self.factors.len(),
        ];
        !at_embedding && !rows && at_sites.iter().all(|count| *count == 0)
    }
}

/// An adapter's tensors on their way to a base.
struct Fitting<'a> {
    raw: &'a RawAdapter,
    settings: &'a Settings,
    modules: &'a Modules<'a>,
    base: &'a DecoderConfig,
    findings: &'a mut Vec<Finding>,
    /// Names of tensors that have their place.
    placed: BTreeSet<&'a str>,
}

impl<'a> Fitting<'a> {
    fn at(&self, path: &str, part: Part) -> Option<&'a RawTensor> {
        self.modules.get(path)?.get(&part).copied()
    }

    fn refuse(&mut self, tensor: &RawTensor, what: &str) {
        self.findings.push(Finding::Unapplied {
            tensor: tensor.name.clone(),
            what: what.into(),
        });
    }

    fn add_site(&mut self, site: Site, wanted: &mut Wanted) {
        let (path, base) = (site.path(), self.base);
        let is_tied = base.tied_head && site.is_head();
        if let Some(rank) = self.rank(&path, Part::A, Part::B, base.copies(site)) {
            let alpha = self.settings.alpha_of(&path);
            wanted.members.push(Member { site, rank, alpha });
        }
        let bias = self
            .at(&path, Part::Bias)
            .or_else(|| self.at(&path, Part::BaseBias));
        if bias.is_some() && base.has_bias(site.group()) {
            wanted.biases.push(site);
        }
        // A matrix that no setting names is a copy of the base's, and not its own here.
        let whole = self
            .at(&path, Part::Weight)
            .filter(|_| self.settings.saves_whole(&path) && !is_tied);
        match whole {
            Some(tensor) if base.names.is_transposed && !site.is_head() => {
                self.refuse(
                    tensor,
                    "is a trained matrix of a base whose matrices lie transposed",
                );
            }
            Some(_) => wanted.whole.push(site),
            None => {}
        }
        if self.at(&path, Part::Factors).is_some() {
            wanted
                .factors
                .push((site, self.settings.scales_input(&path)));
        }
        let is_own = site.is_head() && !is_tied && !self.settings.head_ids.is_empty();
        if let Some(tensor) = self.at(&path, Part::TokenRows).filter(|_| is_own) {
            wanted.embedding.head_rows = sorted(&self.settings.head_ids);
            if self.at(&path, Part::A).or(whole).is_some() {
                self.refuse(
                    tensor,
                    "are trained rows beside another adapter of the head",
                );
            }
        }
    }

    fn add_embedding(&mut self, wanted: &mut Wanted) {
        let path = self.base.names.embedding.0;
        let alpha = self.settings.alpha_of(path);
        let rank = self.rank(path, Part::EmbeddingA, Part::EmbeddingB, 1);
        wanted.embedding.low_rank = rank.map(|rank| (rank, alpha));
        let whole = self.at(path, Part::Weight);
        let whole = whole.filter(|_| self.settings.saves_end(path, self.base));
        wanted.embedding.whole = whole.is_some();
        let pair = self.at(path, Part::EmbeddingA);
        if let Some(rows) = self.at(path, Part::TokenRows) {
            wanted.embedding.token_rows = sorted(self.settings.tokens_at(path));
            if pair.or(whole).is_some() {
                self.refuse(
                    rows,
                    "are trained rows beside another adapter of the embedding",
                );
            }
        }
        if let Some(magnitude) = self.at(path, Part::Magnitude) {
            self.refuse(magnitude, "is DoRA on an embedding");
        }
        if let Some(pair) = pair.filter(|_| self.base.tied_head && self.settings.ties_weights) {
            self.refuse(
                pair,
                "is a pair of the embedding that `ensure_weight_tying` gives to the head too",
            );
        }
    }

    /// The rank of a module's pair by its tensors, if it has one; of experts that of each.
    fn rank(&mut self, path: &str, a: Part, b: Part, copies: usize) -> Option<usize> {
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
        let whole = [embedding, head].map(|path| self.at(path, Part::Weight));
        let is_saved = self.settings.saves_end(embedding, self.base);
        match whole {
            [Some(one), Some(other)] if same(one, other) => {
                self.placed.insert(&other.name);
            }
            [one, other] if is_saved => apart = other.or(one),
            _ => {}
        }
        let rows = [embedding, head].map(|path| self.at(path, Part::TokenRows));
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
    fn compare_shapes(&mut self, wanted: &Wanted) {
        for matrix in Layout::new(wanted, self.base).matrices() {
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
                let end = if let Part::Bias = part {
                    "bias"
                } else {
                    "weight"
                };
                let unapplied = match part {
                    Part::Weight | Part::BaseWeight if ends.contains(&path.as_str()) => {
                        "is saved beside the adapter and is not the base's own matrix"
                    }
                    Part::BaseWeight => "is a matrix of the base, saved beside its adapter",
                    Part::Weight | Part::Bias
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

fn sorted(ids: &[u32]) -> Vec<u32> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids
}
