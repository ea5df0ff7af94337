//! What a decoder looks like, from Hugging Face's `config.json` or from GGUF metadata.
//!
//! A family of models is a row of [`FAMILIES`]. A field that would change the arithmetic either is read or has to
//! hold the one value the decoder computes; nothing of that kind is skipped.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::gguf::{Gguf, GgufError, Malformed};
use super::rope::{Rope, RopeScaling};

/// Everything the decoder needs to know before it sees a weight.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecoderConfig {
    /// The family, as Hugging Face names it.
    pub model_type: String,
    /// Tokens the embedding knows.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Decoder layers.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; each serves as many query heads as divide evenly.
    pub num_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width inside the MLP.
    pub d_ff: usize,
    /// What RMS norms add under the root.
    pub norm_eps: f32,
    /// Rotary positions.
    pub rope: Rope,
    /// Whether the embedding is the head too.
    pub tied_head: bool,
    /// Whether q, k, v and o add a bias.
    pub attention_bias: bool,
    /// Whether gate, up and down add a bias.
    pub mlp_bias: bool,
    /// Longest text the model was made for, in tokens.
    pub context_len: usize,
    /// Token that starts a text, if the model has one.
    pub bos: Option<u32>,
    /// Tokens that end a reply.
    pub eos: Vec<u32>,
}

/// A configuration that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or a field of the wrong type.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// Metadata of a wrong type.
    #[error(transparent)]
    Metadata(#[from] GgufError),
    /// A field that must be there.
    #[error("{}: `{field}` is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
    },
    /// A model that computes something else.
    #[error("{}: `{field}` is {found}; Hone supports {supported}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// Its value.
        found: String,
        /// The values that are supported.
        supported: String,
    },
    /// Numbers that contradict each other.
    #[error("{}: {problem}", path.display())]
    Impossible {
        /// The file.
        path: PathBuf,
        /// The contradiction.
        problem: String,
    },
}

/// A kind of model this decoder computes.
struct Family {
    /// `model_type` in config.json, `general.architecture` in GGUF.
    name: &'static str,
    /// Fields of config.json that would change the arithmetic, each with the one value that is computed.
    fixed: &'static [(&'static str, Only)],
    /// Metadata under the family's prefix that is read below; any other is refused.
    gguf_keys: &'static [&'static str],
    /// Whether the head is the embedding when config.json does not say.
    tied_by_default: bool,
}

/// The one value a field may have; null and absence are always allowed.
#[derive(Clone, Copy)]
enum Only {
    Text(&'static str),
    Number(f64),
    Nothing,
}

const FAMILIES: &[Family] = &[Family {
    name: "llama",
    fixed: &[
        ("hidden_act", Only::Text("silu")),
        ("pretraining_tp", Only::Number(1.0)),
        ("attention_dropout", Only::Number(0.0)),
        ("partial_rotary_factor", Only::Number(1.0)),
        ("sliding_window", Only::Nothing),
        ("num_local_experts", Only::Nothing),
    ],
    gguf_keys: &[
        "vocab_size",
        "context_length",
        "embedding_length",
        "block_count",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "attention.layer_norm_rms_epsilon",
        "rope.dimension_count",
        "rope.freq_base",
        "rope.scaling.type",
        "rope.scaling.factor",
        "rope.scaling.original_context_length",
        "rope.scaling.finetuned",
    ],
    tied_by_default: false,
}];

#[derive(Deserialize)]
struct RawConfig {
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    max_position_embeddings: Option<usize>,
    bos_token_id: Option<u32>,
    eos_token_id: Option<OneOrMany>,
}

/// `rope_scaling` of transformers 4 and `rope_parameters` of transformers 5.
#[derive(Clone, Default, Deserialize)]
struct RawRope {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
    #[serde(rename = "type")]
    older_type: Option<String>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
    #[serde(flatten)]
    others: Map<String, Json>,
}

/// Hugging Face writes one end token as a number and several as a list.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl OneOrMany {
    pub(super) fn into_vec(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

impl DecoderConfig {
    /// Reads the contents of a `config.json`; `path` is for messages.
    pub fn from_hf(json: &[u8], path: &Path) -> Result<Self, ConfigError> {
        let source = Source { path };
        let fields: Map<String, Json> =
            serde_json::from_slice(json).map_err(|error| source.json(error))?;
        let raw: RawConfig = serde_json::from_slice(json).map_err(|error| source.json(error))?;
        let model_type = fields
            .get("model_type")
            .and_then(Json::as_str)
            .ok_or_else(|| source.missing("model_type"))?;
        let family = source.family("model_type", model_type)?;
        source.only_fixed(family, &fields)?;
        source.hf(family, raw)?.checked(path)
    }

    /// Reads the metadata of a GGUF file; `path` is for messages.
    pub fn from_gguf(gguf: &Gguf, path: &Path) -> Result<Self, ConfigError> {
        let source = Metadata {
            gguf,
            path,
            prefix: "",
        };
        let architecture = source.need("general.architecture", Gguf::str)?;
        let family = Source { path }.family("general.architecture", architecture)?;
        Metadata {
            prefix: family.name,
            ..source
        }
        .decoder(family)?
        .checked(path)
    }

    /// Refuses what no decoder could be.
    fn checked(self, path: &Path) -> Result<Self, ConfigError> {
        let sizes = [
            ("vocabulary size", self.vocab_size),
            ("model width", self.d_model),
            ("layer count", self.num_layers),
            ("head count", self.num_heads),
            ("key/value head count", self.num_kv_heads),
            ("head width", self.head_dim),
            ("MLP width", self.d_ff),
            ("context length", self.context_len),
        ];
        let zero = sizes
            .iter()
            .find(|size| size.1 == 0)
            .map(|size| format!("the {} is 0", size.0));
        let huge = sizes
            .iter()
            .find(|size| size.1 > u32::MAX as usize)
            .map(|size| format!("the {} is {}", size.0, size.1));
        match zero.or(huge).or_else(|| self.contradiction()) {
            Some(problem) => Err(ConfigError::Impossible {
                path: path.into(),
                problem,
            }),
            None => Ok(self),
        }
    }

    fn contradiction(&self) -> Option<String> {
        let (heads, kv) = (self.num_heads, self.num_kv_heads);
        if !heads.is_multiple_of(kv) {
            return Some(format!(
                "{heads} query heads cannot share {kv} key/value heads evenly"
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Some(format!(
                "rotary positions need an even head width, not {}",
                self.head_dim
            ));
        }
        let positive = |number: f32| number > 0.0 && number.is_finite();
        if !positive(self.norm_eps) || !positive(self.rope.theta) {
            return Some(format!(
                "norm epsilon {} and rope theta {} must be positive",
                self.norm_eps, self.rope.theta
            ));
        }
        let speeds = match &self.rope.scaling {
            RopeScaling::Factors { factors } if factors.len() != self.head_dim / 2 => {
                return Some(format!(
                    "{} rope factors for heads {} wide",
                    factors.len(),
                    self.head_dim
                ));
            }
            _ => self.rope.inverse_frequencies(self.head_dim),
        };
        let wrong = speeds.into_iter().find(|speed| !positive(*speed))?;
        Some(format!(
            "rope scaling {:?} makes a pair turn by {wrong}",
            self.rope.scaling
        ))
    }
}

/// A config.json being read.
#[derive(Clone, Copy)]
struct Source<'a> {
    path: &'a Path,
}

impl Source<'_> {
    fn json(self, source: serde_json::Error) -> ConfigError {
        ConfigError::Json {
            path: self.path.into(),
            source,
        }
    }

    fn missing(self, field: &str) -> ConfigError {
        ConfigError::Missing {
            path: self.path.into(),
            field: field.into(),
        }
    }

    fn unsupported(self, field: &str, found: impl ToString, supported: &str) -> ConfigError {
        let (found, supported) = (found.to_string(), supported.to_owned());
        ConfigError::Unsupported {
            path: self.path.into(),
            field: field.into(),
            found,
            supported,
        }
    }

    fn family(self, field: &str, name: &str) -> Result<&'static Family, ConfigError> {
        let known = || {
            FAMILIES
                .iter()
                .map(|family| family.name)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let family = FAMILIES.iter().find(|family| family.name == name);
        family.ok_or_else(|| self.unsupported(field, format_args!("`{name}`"), &known()))
    }

    fn only_fixed(self, family: &Family, fields: &Map<String, Json>) -> Result<(), ConfigError> {
        for (field, only) in family.fixed {
            let found = fields.get(*field).unwrap_or(&Json::Null);
            if !only.allows(found) {
                return Err(self.unsupported(field, found, &only.describe()));
            }
        }
        Ok(())
    }

    fn hf(self, family: &Family, raw: RawConfig) -> Result<DecoderConfig, ConfigError> {
        let need = |field: &str, value: Option<usize>| value.ok_or_else(|| self.missing(field));
        let d_model = need("hidden_size", raw.hidden_size)?;
        let num_heads = need("num_attention_heads", raw.num_attention_heads)?;
        let context_len = raw.max_position_embeddings.unwrap_or(2048);
        let head_dim = match raw.head_dim {
            Some(head_dim) => head_dim,
            None => self.divide(d_model, num_heads)?,
        };
        Ok(DecoderConfig {
            model_type: family.name.to_owned(),
            vocab_size: need("vocab_size", raw.vocab_size)?,
            d_model,
            num_layers: need("num_hidden_layers", raw.num_hidden_layers)?,
            num_heads,
            num_kv_heads: raw.num_key_value_heads.unwrap_or(num_heads),
            head_dim,
            d_ff: need("intermediate_size", raw.intermediate_size)?,
            norm_eps: raw.rms_norm_eps.unwrap_or(1e-6) as f32,
            rope: self.rope(
                raw.rope_parameters,
                raw.rope_scaling,
                raw.rope_theta,
                context_len,
            )?,
            tied_head: raw.tie_word_embeddings.unwrap_or(family.tied_by_default),
            attention_bias: raw.attention_bias.unwrap_or(false),
            mlp_bias: raw.mlp_bias.unwrap_or(false),
            context_len,
            bos: raw.bos_token_id,
            eos: raw.eos_token_id.map_or_else(Vec::new, OneOrMany::into_vec),
        })
    }

    fn divide(self, d_model: usize, num_heads: usize) -> Result<usize, ConfigError> {
        d_model
            .checked_div(num_heads)
            .filter(|width| width * num_heads == d_model)
            .ok_or_else(|| {
                let problem =
                    format!("a width of {d_model} does not divide into {num_heads} heads");
                ConfigError::Impossible {
                    path: self.path.into(),
                    problem,
                }
            })
    }

    fn rope(
        self,
        newer: Option<RawRope>,
        older: Option<RawRope>,
        theta: Option<f64>,
        context_len: usize,
    ) -> Result<Rope, ConfigError> {
        let (field, raw) = match (newer, older) {
            (Some(raw), None) => ("rope_parameters", raw),
            (None, raw) => ("rope_scaling", raw.unwrap_or_default()),
            (Some(_), Some(_)) => {
                return Err(self.unsupported(
                    "rope_scaling",
                    "set beside rope_parameters",
                    "one of them",
                ));
            }
        };
        let theta = raw.rope_theta.or(theta).unwrap_or(10_000.0) as f32;
        let need = |name: &str, value: Option<f64>| {
            value
                .map(|value| value as f32)
                .ok_or_else(|| self.missing(&format!("{field}.{name}")))
        };
        let kind = raw
            .rope_type
            .as_deref()
            .or(raw.older_type.as_deref())
            .unwrap_or("default");
        let scaling = match kind {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear {
                factor: need("factor", raw.factor)?,
            },
            "llama3" => RopeScaling::Llama3 {
                factor: need("factor", raw.factor)?,
                low_freq_factor: need("low_freq_factor", raw.low_freq_factor)?,
                high_freq_factor: need("high_freq_factor", raw.high_freq_factor)?,
                original_context: raw.original_max_position_embeddings.unwrap_or(context_len),
            },
            _ => {
                let (field, found) = (format!("{field}.rope_type"), format!("`{kind}`"));
                return Err(self.unsupported(&field, found, "default, linear, llama3"));
            }
        };
        self.no_other_rope(field, kind, &raw)?;
        Ok(Rope { theta, scaling })
    }

    /// A setting that the chosen type does not read would have no effect, which nobody who wrote it expects.
    fn no_other_rope(self, field: &str, kind: &str, raw: &RawRope) -> Result<(), ConfigError> {
        let known = [
            ("factor", raw.factor.is_some(), kind != "default"),
            (
                "low_freq_factor",
                raw.low_freq_factor.is_some(),
                kind == "llama3",
            ),
            (
                "high_freq_factor",
                raw.high_freq_factor.is_some(),
                kind == "llama3",
            ),
        ];
        let idle = known.iter().find(|row| row.1 && !row.2).map(|row| row.0);
        let neutral = |name: &str, value: &Json| {
            name == "partial_rotary_factor" && Only::Number(1.0).allows(value)
        };
        let other = || {
            raw.others
                .iter()
                .find(|(name, value)| !value.is_null() && !neutral(name, value))
        };
        match idle.or_else(|| other().map(|other| other.0.as_str())) {
            Some(name) => Err(self.unsupported(
                &format!("{field}.{name}"),
                "set",
                &format!("no such setting for rope type `{kind}`"),
            )),
            None => Ok(()),
        }
    }
}

impl Only {
    fn allows(self, value: &Json) -> bool {
        match (self, value) {
            (_, Json::Null) => true,
            (Self::Text(text), Json::String(found)) => text == found,
            (Self::Number(number), Json::Number(found)) => found.as_f64() == Some(number),
            (Self::Nothing, Json::Bool(found)) => !found,
            _ => false,
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Text(text) => format!("`{text}`"),
            Self::Number(number) => number.to_string(),
            Self::Nothing => "models without it".to_owned(),
        }
    }
}

/// GGUF metadata being read.
#[derive(Clone, Copy)]
struct Metadata<'a> {
    gguf: &'a Gguf,
    path: &'a Path,
    prefix: &'a str,
}

impl<'a> Metadata<'a> {
    fn decoder(self, family: &Family) -> Result<DecoderConfig, ConfigError> {
        self.only_known(family)?;
        let d_model = self.size("embedding_length")?;
        let num_heads = self.size("attention.head_count")?;
        let head_dim = match self.maybe("attention.key_length", Gguf::u32)? {
            Some(head_dim) => head_dim as usize,
            None => Source { path: self.path }.divide(d_model, num_heads)?,
        };
        self.same_width("attention.value_length", head_dim)?;
        self.same_width("rope.dimension_count", head_dim)?;
        let num_kv_heads = self.maybe("attention.head_count_kv", Gguf::u32)?;
        let has = |name: &str| self.gguf.tensor(name).is_some();
        Ok(DecoderConfig {
            model_type: family.name.to_owned(),
            vocab_size: self.vocab_size()?,
            d_model,
            num_layers: self.size("block_count")?,
            num_heads,
            num_kv_heads: num_kv_heads.map_or(num_heads, |heads| heads as usize),
            head_dim,
            d_ff: self.size("feed_forward_length")?,
            norm_eps: self.need(&self.key("attention.layer_norm_rms_epsilon"), Gguf::f32)?,
            rope: self.rope()?,
            tied_head: !has("output.weight"),
            attention_bias: has("blk.0.attn_q.bias"),
            mlp_bias: has("blk.0.ffn_gate.bias"),
            context_len: self.size("context_length")?,
            bos: self.get("tokenizer.ggml.bos_token_id", Gguf::u32)?,
            eos: self.eos()?,
        })
    }

    fn only_known(self, family: &Family) -> Result<(), ConfigError> {
        let own = |key: &'a str| key.strip_prefix(self.prefix)?.strip_prefix('.');
        // Converters write counts of experts for models that have none.
        let no_experts = |key: &str| {
            key.starts_with("expert_")
                && self
                    .maybe(key, Gguf::u32)
                    .is_ok_and(|count| count == Some(0))
        };
        let known = |key: &&str| family.gguf_keys.contains(key) || no_experts(key);
        match self.gguf.keys().filter_map(own).find(|key| !known(key)) {
            Some(key) => Err(self.unsupported(key, "set", "models without it")),
            None => Ok(()),
        }
    }

    fn vocab_size(self) -> Result<usize, ConfigError> {
        let embedding = || {
            self.gguf
                .tensor("token_embd.weight")
                .and_then(|entry| entry.dims.get(1).copied())
        };
        let written = self
            .maybe("vocab_size", Gguf::u32)?
            .map(|size| size as usize);
        written
            .or_else(embedding)
            .ok_or_else(|| self.missing(&self.key("vocab_size")))
    }

    fn rope(self) -> Result<Rope, ConfigError> {
        let theta = self.maybe("rope.freq_base", Gguf::f32)?.unwrap_or(10_000.0);
        let factor = self.maybe("rope.scaling.factor", Gguf::f32)?;
        let scaling = match (self.maybe("rope.scaling.type", Gguf::str)?, factor) {
            (Some("none"), _) | (None, None | Some(1.0)) => self.factors()?,
            (Some("linear") | None, Some(factor)) => match self.factors()? {
                RopeScaling::None => RopeScaling::Linear { factor },
                _ => {
                    return Err(self.unsupported(
                        "rope.scaling.type",
                        "linear beside rope_freqs",
                        "one of them",
                    ));
                }
            },
            (Some("linear"), None) => return Err(self.missing(&self.key("rope.scaling.factor"))),
            (Some(kind), _) => {
                return Err(self.unsupported(
                    "rope.scaling.type",
                    &format!("`{kind}`"),
                    "none, linear",
                ));
            }
        };
        Ok(Rope { theta, scaling })
    }

    /// Llama 3's stretching, which llama.cpp's converter writes as a tensor.
    fn factors(self) -> Result<RopeScaling, ConfigError> {
        match self.gguf.matrix("rope_freqs.weight") {
            None => Ok(RopeScaling::None),
            Some(Ok(factors)) => Ok(RopeScaling::Factors {
                factors: factors.to_f32(),
            }),
            Some(Err(problem)) => Err(self.malformed(problem)),
        }
    }

    fn eos(self) -> Result<Vec<u32>, ConfigError> {
        let mut ids = Vec::new();
        for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
            ids.extend(self.get(key, Gguf::u32)?.filter(|id| !ids.contains(id)));
        }
        Ok(ids)
    }

    fn same_width(self, key: &str, head_dim: usize) -> Result<(), ConfigError> {
        match self.maybe(key, Gguf::u32)? {
            Some(width) if width as usize != head_dim => Err(self.unsupported(
                key,
                &width.to_string(),
                &format!("the head width, {head_dim}"),
            )),
            _ => Ok(()),
        }
    }

    fn key(self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn size(self, key: &str) -> Result<usize, ConfigError> {
        Ok(self.need(&self.key(key), Gguf::u32)? as usize)
    }

    fn maybe<T>(
        self,
        key: &str,
        read: impl Fn(&'a Gguf, &str) -> Result<Option<T>, Malformed>,
    ) -> Result<Option<T>, ConfigError> {
        self.get(&self.key(key), read)
    }

    fn need<T>(
        self,
        key: &str,
        read: impl Fn(&'a Gguf, &str) -> Result<Option<T>, Malformed>,
    ) -> Result<T, ConfigError> {
        self.get(key, read)?.ok_or_else(|| self.missing(key))
    }

    fn get<T>(
        self,
        key: &str,
        read: impl Fn(&'a Gguf, &str) -> Result<Option<T>, Malformed>,
    ) -> Result<Option<T>, ConfigError> {
        read(self.gguf, key).map_err(|problem| self.malformed(problem))
    }

    fn malformed(self, problem: Malformed) -> ConfigError {
        GgufError {
            path: self.path.into(),
            problem,
        }
        .into()
    }

    fn missing(self, key: &str) -> ConfigError {
        Source { path: self.path }.missing(key)
    }

    fn unsupported(self, key: &str, found: &str, supported: &str) -> ConfigError {
        Source { path: self.path }.unsupported(&self.key(key), found, supported)
    }
}

#[cfg(test)]
mod tests {
    use super::super::gguf::tests as written;
    use super::*;
    use serde_json::json;

    fn small() -> Json {
        json!({
            "model_type": "llama", "vocab_size": 300, "hidden_size": 32, "intermediate_size": 80,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu",
            "rms_norm_eps": 1e-5, "max_position_embeddings": 2048, "bos_token_id": 1, "eos_token_id": [2, 5],
            "torch_dtype": "float32", "use_cache": true,
        })
    }

    fn with(changes: Json) -> Result<DecoderConfig, ConfigError> {
        let mut config = small();
        for (field, value) in changes.as_object().unwrap() {
            config[field] = value.clone();
        }
        DecoderConfig::from_hf(config.to_string().as_bytes(), Path::new("config.json"))
    }

    fn refusal(changes: Json) -> String {
        with(changes).unwrap_err().to_string()
    }

    #[test]
    fn absent_fields_have_the_values_transformers_gives_them() {
        let config = with(json!({})).unwrap();
        let expected = DecoderConfig {
            model_type: "llama".into(),
            vocab_size: 300,
            d_model: 32,
            num_layers: 2,
            num_heads: 4,
            num_kv_heads: 2,
            head_dim: 8,
            d_ff: 80,
            norm_eps: 1e-5,
            rope: Rope {
                theta: 10_000.0,
                scaling: RopeScaling::None,
            },
            tied_head: false,
            attention_bias: false,
            mlp_bias: false,
            context_len: 2048,
            bos: Some(1),
            eos: vec![2, 5],
        };
        assert_eq!(config, expected);
        assert_eq!(with(json!({"eos_token_id": 2})).unwrap().eos, [2]);
        assert_eq!(
            with(json!({"num_key_value_heads": null}))
                .unwrap()
                .num_kv_heads,
            4
        );
    }

    #[test]
    fn rope_is_read_as_transformers_4_and_5_write_it() {
        let llama3 = json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 1024,
        });
        let older = with(json!({"rope_theta": 500000.0, "rope_scaling": llama3}))
            .unwrap()
            .rope;
        let mut newer = llama3.clone();
        newer["rope_theta"] = json!(500000.0);
        assert_eq!(with(json!({"rope_parameters": newer})).unwrap().rope, older);
        assert_eq!(older.theta, 500_000.0);
        let expected = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 1024,
        };
        assert_eq!(older.scaling, expected);
        let linear = with(json!({"rope_scaling": {"type": "linear", "factor": 2}})).unwrap();
        assert_eq!(linear.rope.scaling, RopeScaling::Linear { factor: 2.0 });
    }

    #[test]
    fn what_would_change_the_arithmetic_is_refused_by_name() {
        let cases = [
            (
                json!({"model_type": "mamba"}),
                "`model_type` is `mamba`; Hone supports llama",
            ),
            (
                json!({"hidden_act": "gelu"}),
                "`hidden_act` is \"gelu\"; Hone supports `silu`",
            ),
            (
                json!({"pretraining_tp": 2}),
                "`pretraining_tp` is 2; Hone supports 1",
            ),
            (
                json!({"attention_dropout": 0.1}),
                "`attention_dropout` is 0.1; Hone supports 0",
            ),
            (
                json!({"sliding_window": 4096}),
                "`sliding_window` is 4096; Hone supports models without it",
            ),
            (
                json!({"rope_scaling": {"rope_type": "yarn", "factor": 4, "beta_fast": 32}}),
                "`rope_scaling.rope_type` is `yarn`; Hone supports default, linear, llama3",
            ),
            (
                json!({"rope_scaling": {"factor": 4}}),
                "`rope_scaling.factor` is set; Hone supports no such setting for rope type `default`",
            ),
            (
                json!({"rope_parameters": {"rope_type": "linear", "factor": 2, "mscale": 1}}),
                "`rope_parameters.mscale` is set; Hone supports no such setting for rope type `linear`",
            ),
            (
                json!({"rope_parameters": {"partial_rotary_factor": 0.5}}),
                "`rope_parameters.partial_rotary_factor` is set; Hone supports no such setting for rope type `default`",
            ),
        ];
        for (changes, message) in cases {
            assert_eq!(refusal(changes), format!("config.json: {message}"));
        }
    }

    #[test]
    fn missing_and_contradictory_fields_are_refused() {
        let cases = [
            (json!({"vocab_size": null}), "`vocab_size` is missing"),
            (
                json!({"rope_scaling": {"type": "linear"}}),
                "`rope_scaling.factor` is missing",
            ),
            (
                json!({"num_attention_heads": 0}),
                "a width of 32 does not divide into 0 heads",
            ),
            (
                json!({"num_attention_heads": 5}),
                "a width of 32 does not divide into 5 heads",
            ),
            (
                json!({"num_key_value_heads": 3}),
                "4 query heads cannot share 3 key/value heads evenly",
            ),
            (
                json!({"num_key_value_heads": 0}),
                "the key/value head count is 0",
            ),
            (
                json!({"head_dim": 7}),
                "rotary positions need an even head width, not 7",
            ),
            (
                json!({"intermediate_size": 1_u64 << 40}),
                "the MLP width is 1099511627776",
            ),
            (
                json!({"rope_theta": -1}),
                "norm epsilon 0.00001 and rope theta -1 must be positive",
            ),
            (
                json!({"rope_scaling": {"type": "linear", "factor": 0}}),
                "rope scaling Linear { factor: 0.0 } makes a pair turn by inf",
            ),
        ];
        for (changes, message) in cases {
            assert_eq!(refusal(changes), format!("config.json: {message}"));
        }
    }

    /// A llama's metadata with some keys set to other values (an empty one takes the key away), and its tensors.
    fn gguf(
        changes: &[(&str, u32, &[u8])],
        tensors: Vec<Vec<u8>>,
    ) -> Result<DecoderConfig, ConfigError> {
        let number = |value: u32| value.to_le_bytes().to_vec();
        let mut keys = vec![
            ("general.architecture", 8, written::text("llama")),
            ("llama.context_length", 4, number(2048)),
            ("llama.embedding_length", 4, number(32)),
            ("llama.block_count", 4, number(2)),
            ("llama.feed_forward_length", 4, number(80)),
            ("llama.attention.head_count", 4, number(4)),
            ("llama.attention.head_count_kv", 4, number(2)),
            (
                "llama.attention.layer_norm_rms_epsilon",
                6,
                1e-5_f32.to_le_bytes().to_vec(),
            ),
            ("llama.vocab_size", 4, number(300)),
            ("tokenizer.ggml.bos_token_id", 4, number(1)),
            ("tokenizer.ggml.eos_token_id", 4, number(2)),
        ];
        for (key, id, value) in changes {
            keys.retain(|row| row.0 != *key);
            keys.extend((!value.is_empty()).then(|| (*key, *id, value.to_vec())));
        }
        let metadata = keys
            .iter()
            .map(|(key, id, value)| written::key(key, *id, value))
            .collect();
        let file = written::Writer {
            version: 3,
            metadata,
            tensors,
            data: 4096,
        }
        .parse()
        .unwrap();
        DecoderConfig::from_gguf(&file, Path::new("m.gguf"))
    }

    #[test]
    fn gguf_metadata_says_what_config_json_says() {
        let hf = with(json!({"tie_word_embeddings": true, "eos_token_id": 2})).unwrap();
        assert_eq!(gguf(&[], vec![]).unwrap(), hf);
        let linear: [(&str, u32, &[u8]); 3] = [
            ("llama.rope.scaling.type", 8, &written::text("linear")),
            ("llama.rope.scaling.factor", 6, &4_f32.to_le_bytes()),
            ("tokenizer.ggml.eot_token_id", 4, &7_u32.to_le_bytes()),
        ];
        let config = gguf(
            &linear,
            vec![written::tensor("output.weight", &[32, 3], 0, 0)],
        )
        .unwrap();
        assert_eq!(config.rope.scaling, RopeScaling::Linear { factor: 4.0 });
        assert_eq!((config.eos, config.tied_head), (vec![2, 7], false));
    }

    #[test]
    fn stretching_stored_as_a_tensor_is_read() {
        let factors = || vec![written::tensor("rope_freqs.weight", &[4], 0, 0)];
        // The writer's data is zeros: a pair that turns infinitely fast is refused, so the factors were read.
        let error = gguf(&[], factors()).unwrap_err().to_string();
        assert!(
            error.contains("Factors { factors: [0.0, 0.0, 0.0, 0.0] } makes a pair turn by inf"),
            "{error}"
        );
        let error = gguf(&[], vec![written::tensor("rope_freqs.weight", &[3], 0, 0)]).unwrap_err();
        assert_eq!(error.to_string(), "m.gguf: 3 rope factors for heads 8 wide");
        let factor: (&str, u32, &[u8]) = ("llama.rope.scaling.factor", 6, &4_f32.to_le_bytes());
        assert!(
            gguf(&[factor], factors())
                .unwrap_err()
                .to_string()
                .contains("linear beside rope_freqs")
        );
    }

    #[test]
    fn gguf_metadata_that_would_change_the_arithmetic_is_refused() {
        let cases: [(&str, u32, &[u8], &str); 8] = [
            (
                "general.architecture",
                8,
                &written::text("mamba"),
                "`general.architecture` is `mamba`; Hone supports llama",
            ),
            (
                "general.architecture",
                8,
                &[],
                "`general.architecture` is missing",
            ),
            (
                "llama.logit_scale",
                6,
                &[0; 4],
                "`llama.logit_scale` is set; Hone supports models without it",
            ),
            (
                "llama.expert_count",
                4,
                &[8, 0, 0, 0],
                "`llama.expert_count` is set; Hone supports models without it",
            ),
            (
                "llama.rope.dimension_count",
                4,
                &[4, 0, 0, 0],
                "`llama.rope.dimension_count` is 4; Hone supports the head width, 8",
            ),
            (
                "llama.rope.scaling.type",
                8,
                &written::text("yarn"),
                "`llama.rope.scaling.type` is `yarn`; Hone supports none, linear",
            ),
            (
                "llama.block_count",
                4,
                &[],
                "`llama.block_count` is missing",
            ),
            (
                "llama.block_count",
                6,
                &[0; 4],
                "metadata `llama.block_count` should be an integer of 32 bits, found 0",
            ),
        ];
        for (key, id, value, message) in cases {
            let error = gguf(&[(key, id, value)], vec![]).unwrap_err();
            assert_eq!(error.to_string(), format!("m.gguf: {message}"));
        }
        assert!(gguf(&[("llama.expert_count", 4, &[0; 4])], vec![]).is_ok());
    }

    #[test]
    fn broken_json_is_refused_by_line() {
        let error =
            DecoderConfig::from_hf(b"{\n\"model_type\": ", Path::new("config.json")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "config.json: EOF while parsing a value at line 2 column 14"
        );
        assert!(
            refusal(json!({"hidden_size": "wide"}))
                .contains("invalid type: string \"wide\", expected usize")
        );
    }
}
