//! Adapters on disk, as PEFT writes and reads them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Writing is plain, so that every reader understands it. Reading is strict, because an adapter that
//! loads with wrong keys does nothing and says nothing: whatever is missing, left over, of the wrong
//! shape or not understood is an error.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use hone_ledger::{WriteError, write_whole};
use hone_tensor::{Device, TensorError};
use regex::Regex;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Map, Value, json};

use super::{Adapter, LoraConfig, Member, NamedMatrix, Targets, target_matches};
use crate::site::Site;
use crate::weights::DecoderConfig;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";

/// Where an adapter comes from; kept in the weight file's metadata, which PEFT passes over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The base by the name that others know it by; never a path of one machine.
    pub base_name: Option<String>,
    /// Hash of the base's weights.
    pub base_fingerprint: Option<String>,
    /// Hash of the chat template that it was trained with.
    pub template_hash: Option<String>,
    /// The run that made it.
    pub run: Option<String>,
}

const FINGERPRINT: &str = "hone.base_fingerprint";
const TEMPLATE: &str = "hone.template_hash";
const RUN: &str = "hone.run";

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
        std::fs::create_dir_all(dir).map_err(|source| PeftError::Read {
            path: dir.to_path_buf(),
            source,
        })?;
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
        let weights = to_safetensors(
            &self.matrices(),
            &self.parameters().to_vec()?,
            dtype,
            &provenance.to_metadata(),
        )?;
        let config = serde_json::to_string_pretty(&self.to_peft(base, provenance))
            .expect("an object of plain values is JSON");
        Ok((config.into_bytes(), weights))
    }

    /// The classic keys only: PEFT from 0.6 on reads them without a warning.
    fn to_peft(&self, base: &DecoderConfig, provenance: &Provenance) -> Value {
        let config = self.config();
        let own = |pick: &dyn Fn(&super::LowRank) -> Option<Value>| -> Value {
            let entries = self
                .members()
                .filter_map(|m| Some((format!("^{}$", regex::escape(&m.site.path())), pick(m)?)));
            Value::Object(entries.collect())
        };
        json!({
            "alpha_pattern": own(&|m| (m.alpha != config.alpha).then(|| number(m.alpha))),
            "base_model_name_or_path": provenance.base_name,
            "bias": "none",
            "fan_in_fan_out": base.names.is_transposed,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": number(config.alpha),
            "lora_dropout": number(config.dropout),
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": config.rank,
            "rank_pattern": own(&|m| (m.rank != config.rank).then(|| json!(m.rank))),
            "revision": null,
            "target_modules": self.target_names(base),
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": config.rank_stabilised,
        })
    }

    /// Short names if they pick exactly the adapted projections, whole paths otherwise.
    fn target_names(&self, base: &DecoderConfig) -> Vec<String> {
        let adapted: Vec<Site> = self.members().map(|m| m.site).collect();
        let mut short: Vec<String> = adapted.iter().map(|site| site.name().to_owned()).collect();
        short.sort();
        short.dedup();
        let picked = |site: &Site| short.iter().any(|name| target_matches(name, &site.path()));
        if base.sites().iter().filter(|site| picked(site)).count() == adapted.len() {
            return short;
        }
        adapted.iter().map(|site| site.path()).collect()
    }
}

/// The safetensors format: length of the header, header, numbers. The `safetensors` crate writes
/// metadata in the random order of a hash map; here the same adapter gives the same bytes.
fn to_safetensors(
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
            "shape": [matrix.rows, matrix.cols],
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
fn number(x: f32) -> Value {
    if x.fract() == 0.0 && x.abs() < 1e9 {
        return json!(x as i64);
    }
    // Through the shortest decimal form, so that 0.05 does not become 0.05000000074505806.
    x.to_string()
        .parse::<f64>()
        .map_or(Value::Null, |x| json!(x))
}

impl Provenance {
    fn to_metadata(&self) -> BTreeMap<&'static str, String> {
        let ours = [
            (FINGERPRINT, &self.base_fingerprint),
            (TEMPLATE, &self.template_hash),
            (RUN, &self.run),
        ];
        let ours = ours
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.clone()?)));
        ours.chain([("format", "pt".to_owned())]).collect()
    }

    fn from_metadata(
        metadata: Option<&HashMap<String, String>>,
        base_name: Option<String>,
    ) -> Self {
        let get = |key| metadata.and_then(|m| m.get(key).cloned());
        Self {
            base_name,
            base_fingerprint: get(FINGERPRINT),
            template_hash: get(TEMPLATE),
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
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|error| damaged(error.to_string()))?;
        let mut matrices = HashMap::new();
        for (name, view) in tensors.iter() {
            let numbers = numbers(&view).ok_or_else(|| {
                damaged(format!(
                    "`{name}` is {:?}, not a floating-point type",
                    view.dtype()
                ))
            })?;
            if let Some(at) = numbers.iter().position(|x| !x.is_finite()) {
                return Err(damaged(format!(
                    "element {at} of `{name}` is {}",
                    numbers[at]
                )));
            }
            let key = canonical(name);
            if matrices
                .insert(key.clone(), (view.shape().to_vec(), numbers))
                .is_some()
            {
                return Err(damaged(format!(
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
        let members = self.members(base)?;
        let mut adapter = Adapter::from_members(self.config.clone(), &members, base, device);
        let mut flat = vec![0.0; adapter.num_parameters()];
        for matrix in adapter.matrices() {
            let Some((shape, numbers)) = self.matrices.remove(&matrix.name) else {
                return Err(self.misfit(format!("`{PREFIX}{}` is missing", matrix.name)));
            };
            if shape != [matrix.rows, matrix.cols] {
                let want = format!("{}×{}", matrix.rows, matrix.cols);
                return Err(self.misfit(format!(
                    "`{}` has shape {shape:?}, and must be {want}",
                    matrix.name
                )));
            }
            flat[matrix.offset..][..numbers.len()].copy_from_slice(&numbers);
        }
        if let Some(name) = self.matrices.keys().min() {
            return Err(self.misfit(format!("`{name}` belongs to no adapted projection")));
        }
        device.write(&flat, adapter.parameters_mut());
        Ok(adapter)
    }

    /// The projections that the configuration names, each with its own rank and alpha. A tensor on a
    /// projection that the configuration does not name is found by [`Self::into_adapter`].
    fn members(&self, base: &DecoderConfig) -> Result<Vec<Member>, PeftError> {
        let sites = match &self.config.targets {
            Targets::AllLinear => base
                .sites()
                .into_iter()
                .filter(|site| !site.is_head())
                .collect(),
            Targets::Names(names) => {
                let named =
                    |site: &Site| names.iter().any(|name| target_matches(name, &site.path()));
                base.sites().into_iter().filter(named).collect::<Vec<_>>()
            }
        };
        if sites.is_empty() {
            return Err(self.misfit(format!(
                "no projection matches its targets {}",
                self.config.targets
            )));
        }
        let member = |site: Site| {
            let path = site.path();
            let rank = pattern(&self.patterns.rank, &path).map_or(self.config.rank, |r| r as usize);
            Member {
                site,
                rank,
                alpha: pattern(&self.patterns.alpha, &path).map_or(self.config.alpha, |a| a as f32),
            }
        };
        Ok(sites.into_iter().map(member).collect())
    }

    fn misfit(&self, reason: String) -> PeftError {
        PeftError::Misfit {
            path: self.path.clone(),
            reason,
        }
    }
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
    name.replace(".lora_A.default.weight", ".lora_A.weight")
        .replace(".lora_B.default.weight", ".lora_B.weight")
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

fn read(path: &Path) -> Result<Vec<u8>, PeftError> {
    std::fs::read(path).map_err(|source| PeftError::Read {
        path: path.to_path_buf(),
        source,
    })
}

#[derive(Debug)]
struct ReadConfig {
    lora: LoraConfig,
    patterns: Patterns,
    base_name: Option<String>,
}

/// Ranks and alphas that differ from the general ones, in the order of the file.
#[derive(Debug, Default)]
struct Patterns {
    rank: Vec<(Regex, f64)>,
    alpha: Vec<(Regex, f64)>,
}

/// Settings that change nothing in the numbers of a plain LoRA.
const HARMLESS: [&str; 13] = [
    "auto_mapping",
    "base_model_name_or_path",
    // Says how the base's own matrices lie; the adapter's lie the same way either way.
    "fan_in_fan_out",
    "inference_mode",
    "loftq_config",
    "megatron_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
    "ensure_weight_tying",
];

/// Settings that are read below.
const APPLIED: [&str; 9] = [
    "alpha_pattern",
    "lora_alpha",
    "lora_dropout",
    "peft_type",
    "r",
    "rank_pattern",
    "target_modules",
    "use_rslora",
    "init_lora_weights",
];

fn read_config(dir: &Path) -> Result<ReadConfig, PeftError> {
    let path = dir.join(CONFIG);
    if !path.is_file() {
        return Err(PeftError::NoAdapter {
            path: dir.to_path_buf(),
            missing: CONFIG,
        });
    }
    let damaged = |reason: String| PeftError::Damaged {
        path: path.clone(),
        reason,
    };
    let map: Map<String, Value> =
        serde_json::from_slice(&read(&path)?).map_err(|error| damaged(error.to_string()))?;
    refuse_unsupported(&path, &map)?;
    let number = |key: &str, default: f64| match map.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value
            .as_f64()
            .ok_or_else(|| damaged(format!("`{key}` is {value}, not a number"))),
    };
    let rank = number("r", 8.0)?;
    if rank < 1.0 || rank.fract() != 0.0 {
        return Err(damaged(format!(
            "`r` is {rank}, not a whole number of at least 1"
        )));
    }
    let lora = LoraConfig {
        rank: rank as usize,
        alpha: number("lora_alpha", 8.0)? as f32,
        dropout: number("lora_dropout", 0.0)? as f32,
        targets: read_targets(&map).map_err(&damaged)?,
        layers: None,
        rank_stabilised: map.get("use_rslora") == Some(&Value::Bool(true)),
    };
    let read = |key: &str| {
        read_patterns(map.get(key)).map_err(|reason| damaged(format!("`{key}` {reason}")))
    };
    let patterns = Patterns {
        rank: read("rank_pattern")?,
        alpha: read("alpha_pattern")?,
    };
    let base_name = map
        .get("base_model_name_or_path")
        .and_then(Value::as_str)
        .map(str::to_owned);
    Ok(ReadConfig {
        lora,
        patterns,
        base_name,
    })
}

/// Whatever is set and is neither applied nor harmless would be ignored, so it is refused.
fn refuse_unsupported(path: &Path, map: &Map<String, Value>) -> Result<(), PeftError> {
    let refuse = |key: &str, value: &Value| {
        Err(PeftError::Unsupported {
            path: path.to_path_buf(),
            key: key.to_owned(),
            value: value.to_string(),
        })
    };
    match map.get("peft_type") {
        Some(Value::String(kind)) if kind == "LORA" => {}
        other => return refuse("peft_type", other.unwrap_or(&Value::Null)),
    }
    for (key, value) in map {
        let off = match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            Value::String(text) => key == "bias" && text == "none",
            _ => false,
        };
        let known = APPLIED.contains(&key.as_str()) || HARMLESS.contains(&key.as_str());
        let mutates_base =
            key == "init_lora_weights" && !matches!(value, Value::Bool(_)) && value != "gaussian";
        if (!known && !off) || mutates_base {
            return refuse(key, value);
        }
    }
    Ok(())
}

fn read_targets(map: &Map<String, Value>) -> Result<Targets, String> {
    match map.get("target_modules") {
        Some(Value::Array(names)) => {
            let name = |value: &Value| {
                value
                    .as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| format!("`target_modules` lists {value}, not a name"))
            };
            Ok(Targets::Names(
                names.iter().map(name).collect::<Result<_, _>>()?,
            ))
        }
        Some(Value::String(text)) if text.eq_ignore_ascii_case("all-linear") => {
            Ok(Targets::AllLinear)
        }
        Some(Value::String(text)) => Err(format!(
            "`target_modules` is the pattern `{text}`; list the modules instead"
        )),
        _ => Err("`target_modules` is missing".to_owned()),
    }
}

/// `{pattern: number}`; PEFT matches `(.*\.)?(pattern)$` from the beginning of the path.
fn read_patterns(value: Option<&Value>) -> Result<Vec<(Regex, f64)>, String> {
    let Some(Value::Object(entries)) = value else {
        return Ok(vec![]);
    };
    let entry = |(key, value): (&String, &Value)| {
        let number = value
            .as_f64()
            .filter(|x| *x > 0.0)
            .ok_or_else(|| format!("gives {value} for `{key}`, not a positive number"))?;
        let anchored = format!(r"^(?:(?:.*\.)?(?:{key}))$");
        let pattern = Regex::new(&anchored)
            .map_err(|_| format!("has the pattern `{key}`, which Hone cannot match"))?;
        Ok((pattern, number))
    };
    entries.iter().map(entry).collect()
}
