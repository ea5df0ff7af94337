//! Adapters on disk, as PEFT writes and reads them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Writing is plain, so that every reader understands it. Reading is strict, because an adapter that
//! loads with wrong keys does nothing and says nothing: whatever is missing, left over, of the wrong
//! shape or not understood is an error.

use hone_ledger::words::path_for_shell;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use hone_ledger::{ContentId, WriteError, write_whole};
use hone_tensor::{Device, TensorError};
use regex::Regex;
use safetensors::{Dtype, SafeTensorError, SafeTensors, tensor::TensorView};
use serde_json::{Map, Value, json};

use super::layout::{TOKEN_ROWS, WantedEmbedding};
use super::peft_config::{Patterns, read_config};
use super::select;
use super::spelling::PREFIX;
use super::{
    Adapter, Layout, LoraConfig, Member, NamedMatrix, Role, Targets, TrainedBias, Wanted,
    target_matches,
};
use crate::one_line::one_line;
use crate::site::Site;
use crate::weights::{BaseWeights, DecoderConfig, unique};

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

/// An adapter directory that has been read and checked, but is on no model yet.
#[derive(Debug)]
pub struct AdapterFiles {
    path: PathBuf,
    config: LoraConfig,
    patterns: Patterns,
    /// Parameters with an adapter, PEFT's `target_parameters`.
    parameters: Vec<String>,
    /// The only layers with an adapter, if not all.
    layers: Option<Vec<usize>>,
    provenance: Provenance,
    matrices: HashMap<String, (Vec<usize>, Vec<f32>)>,
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
    /// A setting whose value is not one that Hone takes; the file may well be sound.
    #[error("`{}` is not taken by Hone: {reason}", path.display())]
    NotTaken {
        /// Which.
        path: PathBuf,
        /// What it says.
        reason: String,
    },
    /// A setting that would change the numbers and is not understood.
    #[error("`{}` sets `{key}` to {value}, which Hone does not apply", path.display())]
    Unsupported {
        /// Which.
        path: PathBuf,
        /// The setting.
        key: String,
        /// Its value.
        value: String,
    },
    /// The adapter and the model do not fit.
    #[error("the adapter in `{}` does not fit this model: {reason}", path.display())]
    Misfit {
        /// Which adapter.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The base is not the one it was trained on.
    #[error("the adapter in `{}` was trained on another base: fingerprint {trained_on}, and this base has {this_base}", path.display())]
    OtherBase {
        /// Which adapter.
        path: PathBuf,
        /// Its base.
        trained_on: String,
        /// The base at hand.
        this_base: String,
    },
    /// The device failed.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl PeftError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Pickle { .. } => {
                vec!["save it again with PEFT's `save_pretrained`, which writes safetensors".into()]
            }
            Self::Damaged { .. } => {
                vec!["fetch or save the adapter again; nothing of it was used".into()]
            }
            Self::NotTaken { path, .. } => {
                let dir = path_for_shell(path.parent().unwrap_or(path));
                let check =
                    format!("`hone adapter check {dir}` says what other programs make of it");
                let merge = path.ends_with(CONFIG).then(|| {
                    "where PEFT loads it, its `merge_and_unload` and `save_pretrained` make a model that Hone reads".into()
                });
                [check].into_iter().chain(merge).collect()
            }
            Self::Unsupported { .. } => {
                vec!["merge the adapter with PEFT, or convert it to plain LoRA first".into()]
            }
            Self::Misfit { .. } | Self::OtherBase { .. } => {
                vec!["name the base that the adapter was trained on with --model".into()]
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
    fn to_disk(&self, base: &DecoderConfig) -> Result<(Vec<NamedMatrix>, Vec<f32>), PeftError> {
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
            matrices.push(NamedMatrix {
                name: matrix.name.clone(),
                offset: numbers.len(),
                rows,
                cols,
                copies: matrix.copies,
            });
            // A tied head is one matrix with the embedding; PEFT wants it by both names.
            let is_tied = base.tied_head && matrix.name == embedding_weight(base);
            if is_tied {
                let (name, offset) = (head_weight(base), numbers.len());
                matrices.push(NamedMatrix {
                    name,
                    offset,
                    rows,
                    cols,
                    copies: 1,
                });
            }
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
        if base.tied_head && self.embedding().whole.is_some() {
            written["ensure_weight_tying"] = json!(true);
        }
        let parameters = self.parameter_names(base);
        if !parameters.is_empty() {
            written["target_parameters"] = json!(parameters);
        }
        let mut heads = self.sites().iter().filter(|_| !base.tied_head);
        let head_rows = heads.find_map(|at| at.token_rows.as_ref());
        match (&self.embedding().token_rows, head_rows) {
            (None, None) => {}
            (Some(rows), None) => written["trainable_token_indices"] = json!(rows.ids),
            (rows, Some(of_head)) => {
                let last = |path: &str| path.rsplit('.').next().unwrap_or(path).to_owned();
                let mut by_module = Map::new();
                by_module.insert(last(base.names.head.module), json!(of_head.ids));
                if let Some(rows) = rows {
                    by_module.insert(last(base.names.embedding.0), json!(rows.ids));
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

    /// Modules trained whole, by their paths; embedding and head by their names.
    fn whole_names(&self, base: &DecoderConfig) -> Vec<String> {
        let trained = |at: &&super::AtSite| at.whole.is_some();
        let is_own = |site: &Site| !(base.tied_head && site.is_head());
        let sites = self.layout.sites.iter().filter(trained).map(|at| at.site);
        let embedding = self.embedding().whole.map(|_| embedding_name(base));
        sites
            .filter(is_own)
            .map(|site| site.path())
            .chain(embedding)
            .collect()
    }

    /// Targets and feed-forward modules of IA3: PEFT wants the second among the first, name by name.
    fn factor_names(&self, base: &DecoderConfig) -> (Value, Vec<String>) {
        let with_factors =
            |at: &super::AtSite| at.factors.map(|(_, is_input)| (at.site.path(), is_input));
        let sites: Vec<(String, bool)> =
            self.layout.sites.iter().filter_map(with_factors).collect();
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
        let sites = &self.layout.sites;
        let whole = |site: &Site| {
            sites
                .iter()
                .any(|at| at.site == *site && at.whole.is_some())
        };
        let factors = sites.iter().filter(|at| at.factors.is_some());
        let modules = self.members().map(|m| m.site);
        let adapted: Vec<Site> = modules
            .filter(|site| !site.place().is_parameter)
            .chain(factors.map(|at| at.site))
            .collect();
        let embedding = self
            .embedding()
            .low_rank
            .as_ref()
            .map(|_| embedding_name(base));
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

fn embedding_weight(base: &DecoderConfig) -> String {
    format!("{}.weight", base.names.embedding.0)
}

fn head_weight(base: &DecoderConfig) -> String {
    format!("{}.weight", base.head().path())
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
    matrices: &[NamedMatrix],
    numbers: &[f32],
    dtype: SaveDtype,
    metadata: &BTreeMap<&str, String>,
) -> Result<Vec<u8>, PeftError> {
    let mut sorted: Vec<&NamedMatrix> = matrices.iter().collect();
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

impl AdapterFiles {
    /// Reads and checks a PEFT adapter directory.
    pub fn read(dir: &Path) -> Result<Self, PeftError> {
        let config = read_config(dir)?;
        let weights = dir.join(WEIGHTS);
        if !weights.is_file() {
            let path = dir.to_path_buf();
            return Err(match dir.join("adapter_model.bin").is_file() {
                true => PeftError::Pickle { path },
                false => PeftError::NoAdapter {
                    path,
                    missing: WEIGHTS,
                },
            });
        }
        let bytes = read(&weights)?;
        let damaged = |reason: String| PeftError::Damaged {
            path: weights.clone(),
            reason,
        };
        let not_taken = |reason: String| PeftError::NotTaken {
            path: weights.clone(),
            reason,
        };
        let wrong = |error: SafeTensorError| damaged(one_line(error));
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(wrong)?;
        unique::check(&bytes[8..8 + header]).map_err(|error| damaged(error.to_string()))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(wrong)?;
        let mut matrices = HashMap::new();
        for (name, view) in tensors.iter() {
            let numbers = numbers(&view).ok_or_else(|| {
                not_taken(format!(
                    "`{name}` is {:?}, not a floating-point type of 16 or 32 bits",
                    view.dtype()
                ))
            })?;
            if let Some(at) = numbers.iter().position(|x| !x.is_finite()) {
                return Err(not_taken(format!(
                    "element {at} of `{name}` is {}, which makes every answer of the model useless",
                    numbers[at]
                )));
            }
            let key = canonical(name);
            if matrices
                .insert(key.clone(), (view.shape().to_vec(), numbers))
                .is_some()
            {
                return Err(not_taken(format!(
                    "`{key}` is there twice, under two spellings"
                )));
            }
        }
        let base_name = config.base_name.clone();
        let provenance = Provenance::from_metadata(metadata.metadata().as_ref(), base_name);
        Ok(Self {
            path: dir.to_path_buf(),
            config: config.lora,
            patterns: config.patterns,
            parameters: config.parameters,
            layers: config.layers,
            provenance,
            matrices,
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
        match &self.provenance.base_fingerprint {
            Some(trained_on) if trained_on != fingerprint => Err(PeftError::OtherBase {
                path: self.path.clone(),
                trained_on: trained_on.chars().take(12).collect(),
                this_base: fingerprint.chars().take(12).collect(),
            }),
            _ => Ok(()),
        }
    }

    /// Lays the numbers out for `base` on `device`: every matrix must have its place, and every place its
    /// matrix.
    pub fn into_adapter(
        mut self,
        base: &DecoderConfig,
        device: &Device,
    ) -> Result<Adapter, PeftError> {
        self.check_tied_head(base)?;
        let wanted = self.wanted(base)?;
        // Before there is memory for it: a configuration may ask for any rank.
        for matrix in Layout::new(&wanted, base).matrices() {
            self.check_shape(&matrix)?;
        }
        let mut config = self.config.clone();
        if let Targets::Names(names) = &mut config.targets {
            let short = self
                .parameters
                .iter()
                .map(|name| name.trim_end_matches(".weight"));
            names.extend(short.map(str::to_owned));
        }
        let mut adapter = Adapter::of_wanted(config, &wanted, base, device);
        let mut flat = vec![0.0; adapter.num_parameters()];
        for matrix in adapter.matrices() {
            let Some((_, mut numbers)) = self.matrices.remove(&matrix.name) else {
                return Err(self.misfit(format!("`{PREFIX}{}` is missing", matrix.name)));
            };
            if matrix.role() == Role::TokenRows {
                let of_head = matrix.name.starts_with(base.names.head.module);
                let ids = match of_head {
                    true => &self.config.head_rows,
                    false => &self.config.token_rows,
                };
                numbers = rising(ids, &numbers, matrix.cols);
            }
            matrix.place_from_disk(&numbers, &mut flat);
        }
        if let Some(name) = self.matrices.keys().min() {
            return Err(self.misfit(format!("`{name}` belongs to no adapted projection")));
        }
        device.write(&flat, adapter.parameters_mut());
        Ok(adapter)
    }

    fn check_shape(&self, matrix: &NamedMatrix) -> Result<(), PeftError> {
        let Some((shape, _)) = self.matrices.get(&matrix.name) else {
            return Err(self.misfit(format!("`{PREFIX}{}` is missing", matrix.name)));
        };
        if *shape == matrix.shape() {
            return Ok(());
        }
        let want: Vec<String> = matrix.shape().iter().map(usize::to_string).collect();
        Err(self.misfit(format!(
            "`{}` has shape {shape:?}, and must be {}",
            matrix.name,
            want.join("×")
        )))
    }

    /// PEFT saves the whole embedding or head with an adapter of it, and both where the vocabulary grew: left out here
    /// where they are the base's own, which `base`, grown if need be, knows, and refused where they are not.
    pub fn leave_out_copies(&mut self, base: &BaseWeights) -> Result<(), PeftError> {
        let (embedding, head) = (base.config().names.embedding.0, base.config().head().path());
        let trained = self.whole(base.config())?;
        for module in [embedding, &head] {
            let is_trained = match module == embedding || base.config().tied_head {
                true => trained.1,
                false => trained.0.iter().any(|site| site.is_head()),
            };
            for name in whole_names(module) {
                if name == format!("{module}.weight") && is_trained {
                    continue;
                }
                let Some((shape, numbers)) = self.matrices.get(&name) else {
                    continue;
                };
                let is_tied = base.config().tied_head;
                let of_base = if is_tied { embedding } else { module };
                let own = base.matrix(&format!("{of_base}.weight"));
                let is_own = own.is_ok_and(|own| {
                    *shape == [own.rows(), own.cols()] && own.to_f32() == *numbers
                });
                if !is_own {
                    return Err(self.misfit(format!("it brings `{name}`, which is not the base's")));
                }
                self.matrices.remove(&name);
            }
        }
        Ok(())
    }

    /// The head of a tied model is the embedding, so both must hold the same.
    fn check_tied_head(&mut self, base: &DecoderConfig) -> Result<(), PeftError> {
        if !base.tied_head {
            return Ok(());
        }
        let (embedding, head) = (embedding_weight(base), head_weight(base));
        let (own, other) = (self.matrices.get(&embedding), self.matrices.get(&head));
        let apart = match (own, other) {
            (None, None) => false,
            (Some(own), Some(other)) => own != other,
            _ => true,
        };
        // Trained rows of the embedding are the head's too; of a grown vocabulary PEFT saves them by both names.
        let rows = |module: &str| format!("{module}.{TOKEN_ROWS}");
        let of_head = rows(base.names.head.module);
        let own = self.matrices.get(&rows(base.names.embedding.0));
        let other = self.matrices.get(&of_head);
        let rows_apart = other.is_some() && own != other;
        let (tokens, of_tied) = (&self.config.token_rows, &self.config.head_rows);
        let named_apart = !of_tied.is_empty() && of_tied != tokens;
        if apart || rows_apart || named_apart {
            return Err(self.misfit(
                "it trained the embedding and the tied head apart, which Hone does not apply"
                    .into(),
            ));
        }
        self.config.head_rows.clear();
        self.matrices.remove(&head);
        self.matrices.remove(&of_head);
        Ok(())
    }

    /// What the configuration names. A tensor on a projection that the configuration does not name is found by
    /// [`Self::into_adapter`].
    fn wanted(&self, base: &DecoderConfig) -> Result<Wanted, PeftError> {
        let (sites, embedding_path) = (base.sites(), base.names.embedding.0);
        let (whole, embedding_whole) = self.whole(base)?;
        let excluded = |path: &str| {
            let mut names = self.config.exclude.iter();
            names.any(|name| target_matches(name, path))
        };
        let is_layer = |site: &Site| {
            let layer = site.layer_index(base.num_layers);
            self.layers
                .as_ref()
                .is_none_or(|layers| layers.contains(&layer))
        };
        let named = |path: &str| match &self.config.targets {
            Targets::AllLinear => path != base.head().path() && path != embedding_path,
            Targets::Names(names) => names.iter().any(|name| target_matches(name, path)),
        };
        // PEFT looks at neither exclusions nor layers for parameters.
        let is_parameter = |site: &Site, path: &str| match &self.config.targets {
            Targets::AllLinear if self.parameters.is_empty() => select::is_linear(*site, false),
            _ => self
                .parameters
                .iter()
                .any(|name| target_matches(name, path)),
        };
        let is_target = |site: &&Site| match site.parameter() {
            Some(path) => is_parameter(site, &path),
            None => {
                let path = site.path();
                named(&path) && !excluded(&path) && !whole.contains(site) && is_layer(site)
            }
        };
        let targets: Vec<Site> = sites.iter().filter(is_target).copied().collect();
        self.check_parameters(base, &targets)?;
        let embedding = named(embedding_path) && !excluded(embedding_path) && !embedding_whole;
        let trains_more = embedding || embedding_whole || !whole.is_empty();
        if targets.is_empty() && !trains_more {
            return Err(self.misfit(format!(
                "no projection matches its targets {}",
                self.config.targets
            )));
        }
        let known = |asked: &[u32]| {
            let mut ids = asked.to_vec();
            ids.sort_unstable();
            ids.dedup();
            let last = ids.last();
            let is_known = last.is_none_or(|id| (*id as usize) < base.vocab_size);
            match is_known && ids.len() == asked.len() {
                true => Ok(ids),
                false => Err(self.misfit(format!(
                    "it trained rows of tokens that are named twice or not among the {} of this model",
                    base.vocab_size
                ))),
            }
        };
        let token_rows = known(&self.config.token_rows)?;
        let head_rows = known(&self.config.head_rows)?;
        let is_head = |site: &Site| site.is_head();
        if !head_rows.is_empty() && whole.iter().chain(&targets).any(is_head) {
            return Err(self.misfit(
                "it trained rows of the head beside another adapter of the head, which Hone does not apply".into(),
            ));
        }
        let with_bias = |site: &Site| base.has_bias(site.group());
        if self.config.bias == TrainedBias::All && base.norm.has_bias() {
            return Err(
                self.misfit("it trained the biases of norms, which Hone does not apply".into())
            );
        }
        let biases = match self.config.bias {
            TrainedBias::None => vec![],
            TrainedBias::All => sites.iter().copied().filter(with_bias).collect(),
            TrainedBias::Adapted => targets.iter().copied().filter(with_bias).collect(),
        };
        let mut wanted = Wanted {
            rank_stabilised: self.config.rank_stabilised,
            dora: self.config.dora,
            biases,
            whole,
            embedding: WantedEmbedding {
                low_rank: embedding.then(|| self.rank_and_alpha(embedding_path)),
                whole: embedding_whole,
                token_rows,
                head_rows,
            },
            ..Wanted::default()
        };
        match &self.config.ia3 {
            Some(_) if embedding => {
                return Err(self.misfit("it has factors for `embed_tokens`".into()));
            }
            Some(ia3) => {
                let is_input = |site: &Site| {
                    let mut names = ia3.feed_forward.iter();
                    names.any(|name| target_matches(name, &site.path()))
                };
                let sites = targets.into_iter();
                wanted.factors = sites.map(|site| (site, is_input(&site))).collect();
            }
            None => {
                let member = |site: Site| {
                    let (rank, alpha) = self.rank_and_alpha(&site.pattern_path());
                    Member { site, rank, alpha }
                };
                wanted.members = targets.into_iter().map(member).collect();
            }
        }
        if wanted.embedding.low_rank.is_some() && self.config.dora {
            return Err(
                self.misfit("it has DoRA on `embed_tokens`, which Hone does not apply".into())
            );
        }
        Ok(wanted)
    }

    /// Refuses what PEFT refuses of parameters, and adapters on experts one by one.
    fn check_parameters(&self, base: &DecoderConfig, targets: &[Site]) -> Result<(), PeftError> {
        if let Some(experts) = &base.names.experts {
            let inside = format!(".{}.", experts.list);
            let mut names = self.matrices.keys();
            let is_single = |name: &&String| {
                let number = name.split_once(&inside).map(|(_, rest)| rest);
                number.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
            };
            if let Some(name) = names.find(is_single) {
                return Err(self.misfit(format!(
                    "`{name}` is on one expert by itself, as transformers 4 has them; load it with PEFT under transformers 5 and save it again"
                )));
            }
        }
        for name in &self.parameters {
            let picks = |site: &Site| {
                site.parameter()
                    .is_some_and(|path| target_matches(name, &path))
            };
            if !targets.iter().any(picks) {
                return Err(self.misfit(format!("no parameter matches its target `{name}`")));
            }
        }
        let is_there = targets.iter().any(|site| site.place().is_parameter);
        let refused = [
            (self.config.dropout > 0.0, "dropout"),
            (self.config.dora, "DoRA"),
            (self.config.ia3.is_some(), "IA3"),
        ];
        match refused.iter().find(|(is_set, _)| is_there && *is_set) {
            Some((_, what)) => Err(self.misfit(format!(
                "it has {what} together with `target_parameters`, which PEFT refuses too"
            ))),
            None => Ok(()),
        }
    }

    /// Modules that were trained whole, matched as PEFT does: by the end of their path.
    fn whole(&self, base: &DecoderConfig) -> Result<(Vec<Site>, bool), PeftError> {
        let is_named = |path: &str, name: &String| path.ends_with(name.as_str());
        let mut sites = base.sites();
        for name in &self.config.whole {
            let is_known = sites.iter().any(|site| is_named(&site.path(), name));
            if !is_known && !is_named(base.names.embedding.0, name) {
                return Err(self.misfit(format!(
                    "it trained the module `{name}` whole, which Hone does not find or not train"
                )));
            }
        }
        let named = |path: &str| self.config.whole.iter().any(|name| is_named(path, name));
        // A tied head is looked at together with the embedding.
        sites.retain(|site| named(&site.path()) && !(base.tied_head && site.is_head()));
        if base.names.is_transposed && sites.iter().any(|site| !site.is_head()) {
            return Err(self.misfit(
                "it trained modules whole whose matrices lie transposed, which Hone does not apply"
                    .into(),
            ));
        }
        Ok((sites, named(base.names.embedding.0)))
    }

    fn rank_and_alpha(&self, path: &str) -> (usize, f32) {
        (
            pattern(&self.patterns.rank, path).map_or(self.config.rank, |r| r as usize),
            pattern(&self.patterns.alpha, path).map_or(self.config.alpha, |a| a as f32),
        )
    }

    fn misfit(&self, reason: String) -> PeftError {
        PeftError::Misfit {
            path: self.path.clone(),
            reason,
        }
    }
}

/// Rows in the order of their tokens.
fn rising(ids: &[u32], numbers: &[f32], cols: usize) -> Vec<f32> {
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|&place| ids[place]);
    let row = |&place: &usize| numbers[place * cols..][..cols].iter().copied();
    order.iter().flat_map(row).collect()
}

/// What PEFT calls the whole matrix of a module: below an adapter, below trained rows, and plain.
fn whole_names(module: &str) -> [String; 3] {
    [
        "base_layer.weight",
        "token_adapter.base_layer.weight",
        "weight",
    ]
    .map(|end| format!("{module}.{end}"))
}

fn pattern(patterns: &[(Regex, f64)], path: &str) -> Option<f64> {
    patterns
        .iter()
        .find(|(pattern, _)| pattern.is_match(path))
        .map(|(_, value)| *value)
}

/// Spellings of one name: with or without PEFT's prefix, with or without the adapter's own name.
fn canonical(name: &str) -> String {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    let name = name
        .replace(".lora_A.default.weight", ".lora_A.weight")
        .replace(".lora_B.default.weight", ".lora_B.weight")
        .replace(".lora_magnitude_vector.default", ".lora_magnitude_vector")
        .replace(".modules_to_save.default.", ".");
    let name = name.strip_suffix(".default").unwrap_or(&name);
    match name.strip_suffix(".lora_magnitude_vector.weight") {
        Some(module) => format!("{module}.lora_magnitude_vector"),
        None => name.to_owned(),
    }
}

fn numbers(view: &TensorView) -> Option<Vec<f32>> {
    let bytes = view.data();
    let pairs = || bytes.as_chunks::<2>().0.iter();
    Some(match view.dtype() {
        Dtype::F32 => bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect(),
        Dtype::F16 => pairs().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => pairs().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        _ => return None,
    })
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, PeftError> {
    std::fs::read(path).map_err(|source| PeftError::Read {
        path: path.to_path_buf(),
        source,
    })
}
