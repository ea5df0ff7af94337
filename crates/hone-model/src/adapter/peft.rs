//! Adapters on disk, as PEFT writes and reads them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Writing is plain, so that every reader understands it. What can go wrong with either is told here; reading stands in
//! `raw`, `check` and `attach`.

use hone_ledger::words::path_for_shell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use hone_ledger::{ContentId, WriteError, write_whole};
use hone_tensor::TensorError;
use serde_json::{Map, Value, json};

use super::finding::Finding;
use super::spelling::PREFIX;
use super::table::{Param, Role};
use super::{Adapter, TrainedBias, target_matches};
use crate::one_line::one_line;
use crate::site::Site;
use crate::weights::DecoderConfig;

pub(super) const CONFIG: &str = "adapter_config.json";
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";

/// Where an adapter comes from; kept in the weight file's metadata, which PEFT passes over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The base by the name that others know it by; never a path of one machine.
    pub base_name: Option<String>,
    /// Hash of the base's weights.
    pub base_fingerprint: Option<String>,
    /// Hash of the chat template that it was trained with.
    pub template_hash: Option<String>,
    /// The day that its chat template printed, as `2026-11-30`, if the template prints one.
    pub template_date: Option<String>,
    /// The run that made it.
    pub run: Option<String>,
}

const FINGERPRINT: &str = "hone.base_fingerprint";
const TEMPLATE: &str = "hone.template_hash";
const DATE: &str = "hone.template_date";
const RUN: &str = "hone.run";
pub(super) const SCALING: &str = "hone.scaling";

/// A hash of what the product of each module is multiplied with, kept beside the numbers: an edit of rank, alpha or
/// `use_rslora` in the configuration changes the model's answers and no tensor.
pub(super) fn scaling_hash<'a>(scales: impl Iterator<Item = (&'a str, f32)>) -> String {
    let mut lines: Vec<String> = scales
        // Three digits: an initialisation that is converted when it is saved moves the last ones.
        .map(|(path, scale)| format!("{path} {scale:.3e}\n"))
        .collect();
    lines.sort();
    ContentId::of(lines.concat().as_bytes()).to_string()
}

/// How an adapter's numbers are written; they are trained in f32 whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaveDtype {
    /// As trained.
    #[default]
    F32,
    /// Half the size, the range of f32, three digits.
    Bf16,
    /// Half the size, four digits, up to 65504.
    F16,
}

impl SaveDtype {
    /// As a person writes it.
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// Appends numbers, each rounded to the nearest, ties to even. The first that this type cannot hold comes back.
    fn encode(self, numbers: &[f32], out: &mut Vec<u8>) -> Result<(), f32> {
        for &x in numbers {
            let is_held = match self {
                Self::F32 => {
                    out.extend(x.to_le_bytes());
                    x.is_finite()
                }
                Self::Bf16 => {
                    out.extend(bf16::from_f32(x).to_le_bytes());
                    bf16::from_f32(x).is_finite()
                }
                Self::F16 => {
                    out.extend(f16::from_f32(x).to_le_bytes());
                    f16::from_f32(x).is_finite()
                }
            };
            if !is_held {
                return Err(x);
            }
        }
        Ok(())
    }
}

/// Why an adapter cannot be written, read or put on a model.
#[derive(Debug, thiserror::Error)]
pub enum PeftError {
    /// A file could not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A number is beyond the range of the type it was to be written in.
    #[error("`{matrix}` holds {value}, which cannot be written as {}; nothing was written", dtype.name())]
    OutOfRange {
        /// Which matrix.
        matrix: String,
        /// The number.
        value: f32,
        /// What it was to be written in.
        dtype: SaveDtype,
    },
    /// There is no adapter.
    #[error("`{}` is no adapter directory: it has no {missing}", path.display())]
    NoAdapter {
        /// Where.
        path: PathBuf,
        /// What is missing.
        missing: &'static str,
    },
    /// The adapter is in a pickle, which can run code.
    #[error("`{}` holds its weights in adapter_model.bin, a pickle, which Hone does not open", path.display())]
    Pickle {
        /// Where.
        path: PathBuf,
    },
    /// A file is not what it should be.
    #[error("`{}` is damaged: {reason}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// A check found errors.
    #[error("the adapter in `{}` {}: {first}{}", path.display(), verdict(first), others(*more))]
    Refused {
        /// Which adapter.
        path: PathBuf,
        /// The first error.
        first: Box<Finding>,
        /// How many more there are.
        more: usize,
    },
    /// The device failed.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

fn verdict(first: &Finding) -> &'static str {
    match first {
        Finding::OtherShape { .. } | Finding::NoModule { .. } | Finding::NoTarget { .. } => {
            "does not fit this model"
        }
        first if first.is_damage() => "is not sound",
        _ => "is not taken by Hone",
    }
}

fn others(more: usize) -> String {
    match more {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    }
}

impl PeftError {
    /// Refuses the adapter in `path` for the first of these findings, if there is one.
    pub(super) fn refuse<'a>(
        path: &Path,
        mut errors: impl Iterator<Item = &'a Finding>,
    ) -> Result<(), Self> {
        match errors.next() {
            None => Ok(()),
            Some(first) => Err(Self::Refused {
                path: path.to_path_buf(),
                first: Box::new(first.clone()),
                more: errors.count(),
            }),
        }
    }

    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Pickle { .. } => {
                vec!["save it again with PEFT's `save_pretrained`, which writes safetensors".into()]
            }
            Self::Damaged { .. } => {
                vec!["fetch or save the adapter again; nothing of it was used".into()]
            }
            Self::Refused { path, first, .. } => {
                let all = format!(
                    "`hone adapter check {}` names everything",
                    path_for_shell(path)
                );
                let own = first.hint().map(str::to_owned);
                own.into_iter().chain([all]).collect()
            }
            Self::NoAdapter { .. } => vec![format!(
                "an adapter is a directory with {CONFIG} and {WEIGHTS}"
            )],
            Self::OutOfRange { value, dtype, .. } if value.is_finite() => {
                let wider = match dtype {
                    SaveDtype::F16 => "--save-dtype bf16 has the range of f32, f32 its digits too",
                    _ => "--save-dtype f32 writes what was trained",
                };
                vec![wider.into()]
            }
            Self::Write(error) => error.hints(),
            Self::OutOfRange { .. } | Self::Read { .. } | Self::Tensor(_) => vec![],
        }
    }
}

/// Writes files that belong to an adapter and are not its own, such as a tokenizer that has grown, into its directory, each
/// whole or not at all. They come before the adapter: where its configuration is, they are.
pub fn write_beside(dir: &Path, files: &[(String, Vec<u8>)]) -> Result<(), PeftError> {
    for (name, bytes) in files {
        let path = dir.join(name);
        make_dir(path.parent().unwrap_or(dir))?;
        write_whole(&path, bytes)?;
    }
    Ok(())
}

pub(super) fn make_dir(dir: &Path) -> Result<(), PeftError> {
    std::fs::create_dir_all(dir)
        .map_err(|source| WriteError::new(&dir.join(CONFIG), 0, source).into())
}

impl Adapter {
    /// Writes `adapter_config.json` and `adapter_model.safetensors` into `dir`, each whole or not at all, the
    /// configuration last.
    pub fn save(
        &self,
        dir: &Path,
        base: &DecoderConfig,
        provenance: &Provenance,
        dtype: SaveDtype,
    ) -> Result<(), PeftError> {
        let (config, weights) = self.to_files(base, provenance, dtype)?;
        make_dir(dir)?;
        write_whole(&dir.join(WEIGHTS), &weights)?;
        write_whole(&dir.join(CONFIG), &config)?;
        Ok(())
    }

    /// The bytes of the two files: configuration, weights.
    fn to_files(
        &self,
        base: &DecoderConfig,
        provenance: &Provenance,
        dtype: SaveDtype,
    ) -> Result<(Vec<u8>, Vec<u8>), PeftError> {
        let (matrices, numbers) = self.to_disk(base)?;
        let mut metadata = provenance.to_metadata();
        metadata.insert(SCALING, self.scaling());
        let weights = to_safetensors(&matrices, &numbers, dtype, &metadata)?;
        let config = serde_json::to_string_pretty(&self.to_peft(base, provenance))
            .expect("an object of plain values is JSON");
        Ok((config.into_bytes(), weights))
    }

    /// What its products are multiplied with, as a hash.
    fn scaling(&self) -> String {
        let scale = |m: &super::LowRank| (m.site.pattern_path(), m.scale);
        let scales: Vec<(String, f32)> = self.members().map(scale).collect();
        scaling_hash(scales.iter().map(|(path, scale)| (path.as_str(), *scale)))
    }

    /// Its matrices and numbers in the order and form of the file.
    fn to_disk(&self, base: &DecoderConfig) -> Result<(Vec<Param>, Vec<f32>), PeftError> {
        let flat = self.parameters().to_vec()?;
        let start = self.start().map(|start| start.to_vec()).transpose()?;
        let (mut matrices, mut numbers) = (Vec::new(), Vec::new());
        for matrix in self.matrices() {
            let mut own = matrix.to_disk(&flat);
            let (mut rows, mut cols) = (matrix.rows, matrix.cols);
            if let Some(start) = &start {
                let start = matrix.to_disk(start);
                match matrix.role() {
                    // `B·A − B₀·A₀` is the product of `[B, −B₀]` and `A` over `A₀`.
                    Role::A => {
                        own.extend(start);
                        rows *= 2;
                    }
                    Role::B => {
                        own = beside(&own, &start, cols);
                        cols *= 2;
                    }
                    _ => {}
                }
            }
            let written = Param {
                offset: numbers.len(),
                rows,
                cols,
                ..matrix
            };
            // A tied head is one matrix with the embedding; PEFT wants it by both names.
            if base.tied_head && written.site.is_none() && written.role() == Role::Whole {
                matrices.push(Param {
                    offset: numbers.len(),
                    ..Param::new(&base.head().path(), Role::Whole, (rows, cols))
                });
            }
            matrices.push(written);
            numbers.extend(own);
        }
        Ok((matrices, numbers))
    }

    /// The keys that are used and the classic ones: PEFT from 0.6 on reads plain LoRA without a warning.
    fn to_peft(&self, base: &DecoderConfig, provenance: &Provenance) -> Value {
        let config = self.config();
        if config.ia3.is_some() {
            let (targets, feed_forward) = self.factor_names(base);
            return json!({
                "base_model_name_or_path": provenance.base_name,
                "fan_in_fan_out": base.names.is_transposed,
                "feedforward_modules": feed_forward,
                "inference_mode": true,
                "init_ia3_weights": true,
                "modules_to_save": null,
                "peft_type": "IA3",
                "revision": null,
                "target_modules": targets,
                "task_type": "CAUSAL_LM",
            });
        }
        // What was subtracted doubles the rank; the scale stays what it was.
        let doubled = if self.start().is_some() { 2 } else { 1 };
        let stretched = match config.rank_stabilised {
            true => (doubled as f32).sqrt(),
            false => doubled as f32,
        };
        let alphas = |m: &super::LowRank| number(m.alpha * stretched);
        let (alpha, alpha_pattern) = self.patterns(number(config.alpha * stretched), alphas);
        let ranks = |m: &super::LowRank| json!(m.rank * doubled);
        let (rank, rank_pattern) = self.patterns(json!(config.rank * doubled), ranks);
        let whole = self.whole_names(base);
        let mut written = json!({
            "alpha_pattern": alpha_pattern,
            "base_model_name_or_path": provenance.base_name,
            "bias": bias_name(config.bias),
            "fan_in_fan_out": base.names.is_transposed,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": alpha,
            "lora_dropout": number(config.dropout),
            "modules_to_save": (!whole.is_empty()).then_some(whole),
            "peft_type": "LORA",
            "r": rank,
            "rank_pattern": rank_pattern,
            "revision": null,
            "target_modules": self.target_names(base),
            "task_type": "CAUSAL_LM",
            "use_dora": config.dora,
            "use_rslora": config.rank_stabilised,
        });
        if base.tied_head && self.of_role(Role::Whole).any(|param| param.site.is_none()) {
            written["ensure_weight_tying"] = json!(true);
        }
        let parameters = self.parameter_names(base);
        if !parameters.is_empty() {
            written["target_parameters"] = json!(parameters);
        }
        let rows = |of_head: bool| {
            let mut rows = self.of_role(Role::TokenRows);
            rows.find(|param| param.site.is_some() == of_head)
        };
        match (rows(false), rows(true)) {
            (None, None) => {}
            (Some(rows), None) => written["trainable_token_indices"] = json!(rows.tokens),
            (rows, Some(of_head)) => {
                let last = |path: &str| path.rsplit('.').next().unwrap_or(path).to_owned();
                let mut by_module = Map::new();
                by_module.insert(last(base.names.head.module), json!(of_head.tokens));
                if let Some(rows) = rows {
                    by_module.insert(last(base.names.embedding.0), json!(rows.tokens));
                }
                written["trainable_token_indices"] = by_module.into();
            }
        }
        written
    }

    fn patterns(&self, general: Value, of: impl Fn(&super::LowRank) -> Value) -> (Value, Value) {
        let member = |m: &super::LowRank| {
            let site = m.site;
            (site.pattern_path(), site.place().is_parameter, of(m))
        };
        let members: Vec<(String, bool, Value)> = self.members().map(member).collect();
        patterns(general, &members)
    }

    /// PEFT's `target_parameters`: ends of paths if they pick exactly the adapted ones, whole paths otherwise.
    fn parameter_names(&self, base: &DecoderConfig) -> Vec<String> {
        let adapted: Vec<String> = self.members().filter_map(|m| m.site.parameter()).collect();
        let end = |path: &String| {
            let parts = if path.ends_with(".weight") { 2 } else { 1 };
            let mut from_the_end = path.rsplitn(parts + 1, '.');
            let mut ends: Vec<&str> = from_the_end.by_ref().take(parts).collect();
            ends.reverse();
            ends.join(".")
        };
        let mut short: Vec<String> = adapted.iter().map(end).collect();
        short.sort();
        short.dedup();
        let all = base.sites().into_iter().filter_map(Site::parameter);
        let is_picked = |path: &String| short.iter().any(|name| target_matches(name, path));
        match all.filter(is_picked).count() == adapted.len() {
            true => short,
            false => adapted,
        }
    }

    /// What it trains of one kind.
    fn of_role(&self, role: Role) -> impl Iterator<Item = &Param> {
        let params = self.layout.table.params().iter();
        params.filter(move |param| param.role() == role)
    }

    /// Modules trained whole, by their paths; embedding and head by their names.
    fn whole_names(&self, base: &DecoderConfig) -> Vec<String> {
        let name = |param: &Param| match param.site {
            Some(site) => site.path(),
            None => embedding_name(base),
        };
        self.of_role(Role::Whole).map(name).collect()
    }

    /// Targets and feed-forward modules of IA3: PEFT wants the second among the first, name by name.
    fn factor_names(&self, base: &DecoderConfig) -> (Value, Vec<String>) {
        // Factors for inputs are a row, others a column.
        let with_factors = |param: &Param| Some((param.site?.path(), param.rows == 1));
        let sites: Vec<(String, bool)> = self
            .of_role(Role::Factors)
            .filter_map(with_factors)
            .collect();
        let short = self.target_names(base);
        let names = short
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        let (mut feed_forward, mut is_mixed) = (Vec::new(), false);
        for name in names {
            let named = sites.iter().filter(|(path, _)| target_matches(name, path));
            let inputs: Vec<bool> = named.map(|(_, is_input)| *is_input).collect();
            is_mixed |= inputs.contains(&true) && inputs.contains(&false);
            if inputs.contains(&true) {
                feed_forward.push(name.to_owned());
            }
        }
        if !is_mixed {
            return (short, feed_forward);
        }
        let paths = |only_inputs: bool| -> Vec<String> {
            let asked = sites
                .iter()
                .filter(|(_, is_input)| *is_input || !only_inputs);
            asked.map(|(path, _)| path.clone()).collect()
        };
        (json!(paths(false)), paths(true))
    }

    /// Short names if they pick exactly the adapted projections, whole paths otherwise. PEFT passes over modules that are
    /// trained whole, so they may be named.
    fn target_names(&self, base: &DecoderConfig) -> Value {
        let whole = |site: &Site| self.of_role(Role::Whole).any(|own| own.site == Some(*site));
        let factors = self.of_role(Role::Factors).filter_map(|own| own.site);
        let modules = self.members().map(|m| m.site);
        let adapted: Vec<Site> = modules
            .filter(|site| !site.place().is_parameter)
            .chain(factors)
            .collect();
        let mut at_embedding = self.of_role(Role::EmbeddingA);
        let embedding = at_embedding.next().map(|_| embedding_name(base));
        if adapted.is_empty() && embedding.is_none() && self.members().next().is_some() {
            // Parameters alone.
            return json!([]);
        }
        if adapted.is_empty() && embedding.is_none() {
            // PEFT's own name for an adapter without targets.
            return json!(NO_TARGETS);
        }
        let mut short: Vec<String> = adapted.iter().map(|site| site.name().to_owned()).collect();
        short.sort();
        short.dedup();
        let picked = |site: &Site| {
            let mut names = short.iter();
            names.any(|name| target_matches(name, &site.path())) && !whole(site)
        };
        let is_module = |site: &&Site| !site.place().is_parameter && picked(site);
        let num_picked = base.sites().iter().filter(is_module).count();
        let names = match num_picked == adapted.len() {
            true => short,
            false => adapted.iter().map(|site| site.path()).collect(),
        };
        json!(embedding.into_iter().chain(names).collect::<Vec<_>>())
    }
}

/// A general value, and patterns for those that have another one: their paths, whether PEFT takes them for parameters,
/// and their values.
///
/// PEFT warns of a pattern that fits parameters alone. So a value that only parameters have becomes the general one, and
/// parameters that share one with modules share their pattern too.
pub(super) fn patterns(general: Value, all: &[(String, bool, Value)]) -> (Value, Value) {
    let with = |value: &Value| -> Vec<&(String, bool, Value)> {
        all.iter().filter(|row| row.2 == *value).collect()
    };
    let mut values: Vec<&Value> = Vec::new();
    for (_, _, value) in all {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    let mut alone = values.iter();
    let alone = alone.find(|value| with(value).iter().all(|row| row.1));
    let general = alone.map_or(general, |value| (*value).clone());
    let mut patterns = Map::new();
    for value in values.into_iter().filter(|value| **value != general) {
        let rows = with(value);
        let paths: Vec<String> = rows.iter().map(|row| regex::escape(&row.0)).collect();
        match rows.iter().any(|row| row.1) {
            true => {
                patterns.insert(format!("^(?:{})$", paths.join("|")), value.clone());
            }
            false => {
                let each = paths
                    .iter()
                    .map(|path| (format!("^{path}$"), value.clone()));
                patterns.extend(each);
            }
        }
    }
    (general, Value::Object(patterns))
}

pub(super) const NO_TARGETS: &str = "dummy-target-modules";

/// The last part of the embedding's path.
fn embedding_name(base: &DecoderConfig) -> String {
    let path = base.names.embedding.0;
    path.rsplit('.').next().unwrap_or(path).to_owned()
}

/// Rows of two matrices side by side, the second negated.
fn beside(left: &[f32], right: &[f32], cols: usize) -> Vec<f32> {
    let rows = left.chunks_exact(cols).zip(right.chunks_exact(cols));
    let row = |(left, right): (&[f32], &[f32])| {
        let negated = right.iter().map(|x| -x);
        left.iter().copied().chain(negated).collect::<Vec<f32>>()
    };
    rows.flat_map(row).collect()
}

fn bias_name(bias: TrainedBias) -> &'static str {
    match bias {
        TrainedBias::None => "none",
        TrainedBias::All => "all",
        TrainedBias::Adapted => "lora_only",
    }
}

/// The safetensors format: length of the header, header, numbers. The `safetensors` crate writes
/// metadata in the random order of a hash map; here the same adapter gives the same bytes.
pub(super) fn to_safetensors(
    matrices: &[Param],
    numbers: &[f32],
    dtype: SaveDtype,
    metadata: &BTreeMap<&str, String>,
) -> Result<Vec<u8>, PeftError> {
    let mut sorted: Vec<&Param> = matrices.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!(metadata))]);
    let mut data = Vec::with_capacity(4 * numbers.len());
    for matrix in sorted {
        let start = data.len();
        let part = &numbers[matrix.offset..][..matrix.size()];
        dtype
            .encode(part, &mut data)
            .map_err(|value| PeftError::OutOfRange {
                matrix: matrix.name.clone(),
                value,
                dtype,
            })?;
        let entry = json!({
            "dtype": dtype.name().to_uppercase(),
            "shape": matrix.shape(),
            "data_offsets": [start, data.len()],
        });
        header.insert(format!("{PREFIX}{}", matrix.name), entry);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    // Padded with spaces, so that the numbers begin at a multiple of eight bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.append(&mut header);
    file.append(&mut data);
    Ok(file)
}

/// Integers without a decimal point, as PEFT writes them.
pub(super) fn number(x: f32) -> Value {
    if x.fract() == 0.0 && x.abs() < 1e9 {
        return json!(x as i64);
    }
    // Through the shortest decimal form, so that 0.05 does not become 0.05000000074505806.
    x.to_string()
        .parse::<f64>()
        .map_or(Value::Null, |x| json!(x))
}

impl Provenance {
    pub(super) fn to_metadata(&self) -> BTreeMap<&'static str, String> {
        let ours = [
            (FINGERPRINT, &self.base_fingerprint),
            (TEMPLATE, &self.template_hash),
            (DATE, &self.template_date),
            (RUN, &self.run),
        ];
        let ours = ours
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.clone()?)));
        ours.chain([("format", "pt".to_owned())]).collect()
    }

    pub(super) fn from_metadata(
        metadata: Option<&HashMap<String, String>>,
        base_name: Option<String>,
    ) -> Self {
        let get = |key| metadata.and_then(|m| m.get(key).map(one_line));
        Self {
            base_name,
            base_fingerprint: get(FINGERPRINT),
            template_hash: get(TEMPLATE),
            template_date: get(DATE),
            run: get(RUN),
        }
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, PeftError> {
    std::fs::read(path).map_err(|source| PeftError::Read {
        path: path.to_path_buf(),
        source,
    })
}
