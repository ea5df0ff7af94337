//! What `adapter_config.json` says, read or refused: nothing in it is passed over.

use std::path::Path;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::config::path_pattern;
use super::peft::{CONFIG, NO_TARGETS, PeftError, read};
use super::{Ia3, LoraConfig, Targets, TrainedBias, target_matches};
use crate::one_line::{one_line, unruly_text};
use crate::weights::unique;

#[derive(Debug)]
pub(super) struct ReadConfig {
    pub lora: LoraConfig,
    pub patterns: Patterns,
    pub layers: Option<Vec<usize>>,
    /// Parameters with an adapter: routers and experts.
    pub parameters: Vec<String>,
    pub base_name: Option<String>,
}

/// Ranks and alphas that differ from the general ones, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    pub rank: Vec<(Regex, f64)>,
    pub alpha: Vec<(Regex, f64)>,
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
const APPLIED: [&str; 18] = [
    "bias",
    "exclude_modules",
    "feedforward_modules",
    "init_ia3_weights",
    "layers_to_transform",
    "modules_to_save",
    "trainable_token_indices",
    "use_dora",
    "alpha_pattern",
    "lora_alpha",
    "lora_dropout",
    "peft_type",
    "r",
    "rank_pattern",
    "target_modules",
    "target_parameters",
    "use_rslora",
    "init_lora_weights",
];

pub(super) fn read_config(dir: &Path) -> Result<ReadConfig, PeftError> {
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
    let not_taken = |reason: String| PeftError::NotTaken {
        path: path.clone(),
        reason,
    };
    let json = read(&path)?;
    let map: Map<String, Value> = unique::check(&json)
        .and_then(|()| serde_json::from_slice(&json))
        .map_err(|error| damaged(error.to_string()))?;
    if let Some(text) = map.values().find_map(unruly_text) {
        return Err(damaged(not_one_line(text)));
    }
    refuse_unsupported(&path, &map)?;
    let number = |key: &str, default: f64| match map.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value
            .as_f64()
            .ok_or_else(|| not_taken(format!("`{key}` is {value}, not a number"))),
    };
    let rank = number("r", 8.0)?;
    if !is_rank(rank) {
        let said = &map["r"];
        return Err(not_taken(format!("`r` is {said}, not {A_RANK}")));
    }
    let flag = |key: &str| match map.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(is_on)) => Ok(*is_on),
        Some(value) => Err(not_taken(format!("`{key}` is {value}, not true or false"))),
    };
    let names = |key: &str| read_names(key, map.get(key)).map_err(&not_taken);
    let is_ia3 = map.get("peft_type") == Some(&json!("IA3"));
    let (token_rows, head_rows) =
        read_token_rows(map.get("trainable_token_indices")).map_err(&not_taken)?;
    let ia3 = Ia3 {
        feed_forward: names("feedforward_modules")?,
    };
    let lora = LoraConfig {
        rank: rank as usize,
        alpha: number("lora_alpha", 8.0)? as f32,
        dropout: number("lora_dropout", 0.0)? as f32,
        targets: read_targets(&map).map_err(&not_taken)?,
        rank_stabilised: flag("use_rslora")?,
        exclude: names("exclude_modules")?,
        dora: flag("use_dora")?,
        bias: read_bias(map.get("bias")).map_err(&not_taken)?,
        whole: names("modules_to_save")?,
        token_rows,
        head_rows,
        ia3: is_ia3.then_some(ia3),
        ..LoraConfig::default()
    };
    let layers = read_layers(map.get("layers_to_transform")).map_err(&not_taken)?;
    let read = |key: &str, fits: fn(f64) -> bool, what: &str| {
        read_patterns(map.get(key), fits, what)
            .map_err(|reason| not_taken(format!("`{key}` {reason}")))
    };
    let patterns = Patterns {
        rank: read("rank_pattern", is_rank, A_RANK)?,
        alpha: read("alpha_pattern", |alpha| alpha > 0.0, "a positive number")?,
    };
    let parameters = names("target_parameters")?;
    let base_name = map
        .get("base_model_name_or_path")
        .and_then(Value::as_str)
        .map(str::to_owned);
    Ok(ReadConfig {
        lora,
        patterns,
        layers,
        parameters,
        base_name,
    })
}

/// What a rank may be: more than any layer is wide is no rank, and would only take memory.
fn is_rank(rank: f64) -> bool {
    (1.0..=65536.0).contains(&rank) && rank.fract() == 0.0
}

const A_RANK: &str = "a whole number of at least 1 and at most 65536";

/// Settings are repeated in messages, and none that means something has control characters.
pub(super) fn not_one_line(text: &str) -> String {
    format!("`{}` holds control characters", one_line(text))
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
        Some(Value::String(kind)) if kind == "LORA" || kind == "IA3" => {}
        other => return refuse("peft_type", other.unwrap_or(&Value::Null)),
    }
    for (key, value) in map {
        let off = match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
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
        Some(Value::String(text)) if text == NO_TARGETS => Ok(Targets::Names(vec![])),
        Some(Value::String(text)) => Err(format!(
            "`target_modules` is the pattern `{text}`, and only a list of names or all-linear is read"
        )),
        None | Some(Value::Null) if map.contains_key("target_parameters") => {
            Ok(Targets::Names(vec![]))
        }
        _ => Err("`target_modules` is missing".to_owned()),
    }
}

/// A list of names, or nothing; patterns are refused.
fn read_names(key: &str, value: Option<&Value>) -> Result<Vec<String>, String> {
    match value {
        None | Some(Value::Null) => Ok(vec![]),
        Some(Value::Array(names)) => {
            let name = |value: &Value| {
                let name = value.as_str().map(str::to_owned);
                name.ok_or_else(|| format!("`{key}` lists {value}, not a name"))
            };
            names.iter().map(name).collect()
        }
        Some(other) => Err(format!(
            "`{key}` is {other}; only a list of names is understood"
        )),
    }
}

fn read_bias(value: Option<&Value>) -> Result<TrainedBias, String> {
    let value = value.unwrap_or(&Value::Null);
    match value.as_str() {
        None if value.is_null() => Ok(TrainedBias::None),
        Some("none") => Ok(TrainedBias::None),
        Some("all") => Ok(TrainedBias::All),
        Some("lora_only") => Ok(TrainedBias::Adapted),
        _ => Err(format!("`bias` is {value}, not none, all or lora_only")),
    }
}

/// Tokens whose rows are trained: of the embedding, and of the head where it is named too. A list is the embedding's.
pub(super) fn read_token_rows(value: Option<&Value>) -> Result<(Vec<u32>, Vec<u32>), String> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = |list: &Value| -> Result<Vec<u32>, String> {
        let ids = list
            .as_array()
            .and_then(|list| list.iter().map(id).collect());
        ids.ok_or_else(|| "`trainable_token_indices` is no list of tokens".to_owned())
    };
    let by_module = match value {
        None | Some(Value::Null) => return Ok((vec![], vec![])),
        Some(Value::Object(by_module)) => by_module,
        Some(list) => return Ok((ids(list)?, vec![])),
    };
    let (mut of_embedding, mut of_head) = (vec![], vec![]);
    for (module, list) in by_module {
        match module {
            module if names_any(module, &EMBEDDINGS) => of_embedding = ids(list)?,
            module if names_any(module, &HEADS) => of_head = ids(list)?,
            module => {
                return Err(format!(
                    "`trainable_token_indices` names `{}`, which is neither the embedding nor the head",
                    one_line(module)
                ));
            }
        }
    }
    Ok((of_embedding, of_head))
}

/// The last parts of their paths, as families name them.
pub(super) const EMBEDDINGS: [&str; 4] = ["embed_tokens", "wte", "embed_in", "word_embeddings"];
pub(super) const HEADS: [&str; 2] = ["lm_head", "embed_out"];

/// By the last part of its path.
pub(super) fn names_any(module: &str, names: &[&str]) -> bool {
    names.iter().any(|name| target_matches(name, module))
}

fn read_layers(value: Option<&Value>) -> Result<Option<Vec<usize>>, String> {
    let layer = |value: &Value| value.as_u64().map(|layer| layer as usize);
    let layers = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(layers)) => layers.iter().map(layer).collect(),
        Some(one) => layer(one).map(|layer| vec![layer]),
    };
    match layers {
        Some(layers) => Ok(Some(layers)),
        None => Err("`layers_to_transform` is no list of layers".into()),
    }
}

/// `{pattern: number}`; PEFT matches `(.*\.)?(pattern)$` from the beginning of the path.
fn read_patterns(
    value: Option<&Value>,
    fits: fn(f64) -> bool,
    what: &str,
) -> Result<Vec<(Regex, f64)>, String> {
    let entries = match value {
        None | Some(Value::Null) => return Ok(vec![]),
        Some(Value::Object(entries)) => entries,
        Some(other) => return Err(format!("is {other}, not numbers by pattern")),
    };
    let entry = |(key, value): (&String, &Value)| {
        let number = value
            .as_f64()
            .filter(|x| fits(*x))
            .ok_or_else(|| format!("gives {value} for `{key}`, not {what}"))?;
        let pattern = path_pattern(&format!(r"(?:.*\.)?(?:{key})"))
            .map_err(|_| format!("has the pattern `{key}`, which Hone cannot match"))?;
        Ok((pattern, number))
    };
    entries.iter().map(entry).collect()
}
