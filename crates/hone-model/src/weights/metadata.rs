//! A decoder's settings from GGUF metadata, key by key as llama.cpp writes them.

use std::path::Path;

use super::config::{ConfigError, DecoderConfig};
use super::families::{self, Family};
use super::gguf::{Gguf, GgufError, Malformed};
use super::hf::divide;
use super::rope::{Rope, RopeScaling, yarn_magnitude};
use crate::one_line::one_line;

/// Keys that every family may have; any other has to be among the family's own.
const KEYS: [&str; 19] = [
    "vocab_size",
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_log_multiplier",
];

/// Reads the settings of whatever family the file says it is.
pub(super) fn read(gguf: &Gguf, path: &Path) -> Result<DecoderConfig, ConfigError> {
    let plain = Metadata {
        gguf,
        path,
        prefix: "",
    };
    let architecture = plain.need("general.architecture", Gguf::str)?;
    let metadata = Metadata {
        prefix: architecture,
        ..plain
    };
    let experts = metadata.maybe("expert_count", Gguf::u32)?;
    let has_experts = experts.is_some_and(|count| count > 0);
    let family = families::by_architecture(architecture, has_experts).ok_or_else(|| {
        let known = families::architectures().collect::<Vec<_>>().join(", ");
        ConfigError::Unsupported {
            path: path.into(),
            field: "general.architecture".into(),
            found: one_line(format_args!("`{architecture}`")),
            supported: known,
        }
    })?;
    metadata.only_known(family)?;
    let mut config = metadata.decoder(family)?;
    (family.common)(&mut config);
    config.norm_eps = metadata.norm_eps(&config)?;
    (family.read_gguf)(&metadata, &mut config)?;
    Ok(config)
}

/// GGUF metadata being read.
#[derive(Clone, Copy)]
pub(super) struct Metadata<'a> {
    gguf: &'a Gguf,
    path: &'a Path,
    prefix: &'a str,
}

impl<'a> Metadata<'a> {
    fn decoder(self, family: &Family) -> Result<DecoderConfig, ConfigError> {
        let d_model = self.size("embedding_length")?;
        let num_heads = self.size("attention.head_count")?;
        let head_dim = match self.maybe("attention.key_length", Gguf::u32)? {
            Some(head_dim) => head_dim as usize,
            None => divide(self.path, d_model, num_heads)?,
        };
        self.same_width("attention.value_length", head_dim)?;
        let turning = self.maybe("rope.dimension_count", Gguf::u32)?;
        if !family.is_partial {
            self.same_width("rope.dimension_count", head_dim)?;
        }
        let num_kv_heads = self.maybe("attention.head_count_kv", Gguf::u32)?;
        let num_layers = self.size("block_count")?;
        let place = |at: usize| family.names.places[at].gguf;
        let count = family.names.places.len();
        let has_bias = |at: usize| self.has(&format!("blk.0.{}.bias", place(at)));
        let out = family
            .names
            .group(super::names::Group::AttentionOut)
            .next()
            .map_or("", |place| place.gguf);
        Ok(DecoderConfig {
            vocab_size: self.vocab_size()?,
            num_kv_heads: num_kv_heads.map_or(num_heads, |heads| heads as usize),
            d_ff: self.size("feed_forward_length")?,
            rope: self.rope(family)?,
            rotary_dim: turning.map_or(head_dim, |width| width as usize),
            tied_head: !self.has("output.weight"),
            attention_bias: has_bias(0),
            output_bias: self.has(&format!("blk.0.{out}.bias")),
            mlp_bias: has_bias(count - 1),
            head_bias: self.has("output.bias"),
            context_len: self.size("context_length")?,
            bos: self.get("tokenizer.ggml.bos_token_id", Gguf::u32)?,
            eos: self.eos()?,
            ..DecoderConfig::plain(family, d_model, num_heads, head_dim, num_layers)
        })
    }

    fn norm_eps(self, config: &DecoderConfig) -> Result<f32, ConfigError> {
        let key = match config.norm {
            super::config::NormKind::Rms => "attention.layer_norm_rms_epsilon",
            _ => "attention.layer_norm_epsilon",
        };
        self.need(&self.key(key), Gguf::f32)
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
        let known =
            |key: &&str| KEYS.contains(key) || family.gguf_keys.contains(key) || no_experts(key);
        match self.gguf.keys().filter_map(own).find(|key| !known(key)) {
            Some(key) => Err(self.unsupported(key, "set", "models without it")),
            None => Ok(()),
        }
    }

    /// Whether there is a tensor of that name.
    pub fn has(self, tensor: &str) -> bool {
        self.gguf.tensor(tensor).is_some()
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

    fn rope(self, family: &Family) -> Result<Rope, ConfigError> {
        let theta = self.maybe("rope.freq_base", Gguf::f32)?;
        let theta = theta.unwrap_or(family.theta as f32);
        let factor = self.maybe("rope.scaling.factor", Gguf::f32)?;
        let scaling = match (self.maybe("rope.scaling.type", Gguf::str)?, factor) {
            (Some("none" | "longrope"), _) | (None, None | Some(1.0)) => self.factors()?,
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
            (Some("yarn"), Some(factor)) => self.yarn(factor)?,
            (Some("linear" | "yarn"), None) => {
                return Err(self.missing(&self.key("rope.scaling.factor")));
            }
            (Some(kind), _) => {
                return Err(self.unsupported(
                    "rope.scaling.type",
                    &format!("`{kind}`"),
                    "none, linear, yarn, longrope",
                ));
            }
        };
        Ok(Rope { theta, scaling })
    }

    /// llama.cpp forms YaRN's factor on queries and keys itself, from the same formula.
    fn yarn(self, factor: f32) -> Result<RopeScaling, ConfigError> {
        for key in [
            "rope.scaling.attn_factor",
            "rope.scaling.yarn_log_multiplier",
        ] {
            if self.maybe(key, Gguf::f32)?.is_some() {
                return Err(self.unsupported(key, "set beside yarn", "models without it"));
            }
        }
        Ok(RopeScaling::Yarn {
            factor,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: true,
            original_context: self.size("rope.scaling.original_context_length")?,
            attention_factor: yarn_magnitude(factor, 1.0),
        })
    }

    /// Llama 3's stretching, and LongRoPE's, which llama.cpp's converter writes as tensors.
    fn factors(self) -> Result<RopeScaling, ConfigError> {
        let list = |name: &str| match self.gguf.matrix(name) {
            None => Ok(None),
            Some(Ok(factors)) => Ok(Some(factors.to_f32())),
            Some(Err(problem)) => Err(self.malformed(problem)),
        };
        let long = list("rope_factors_long.weight")?;
        match (list("rope_factors_short.weight")?, long) {
            (Some(short), Some(long)) => Ok(RopeScaling::Long {
                short,
                long,
                original_context: self.size("rope.scaling.original_context_length")?,
                attention_factor: self
                    .maybe("rope.scaling.attn_factor", Gguf::f32)?
                    .unwrap_or(1.0),
            }),
            (None, None) => Ok(match list("rope_freqs.weight")? {
                Some(factors) => RopeScaling::Factors { factors },
                None => RopeScaling::None,
            }),
            _ => Err(self.missing("rope_factors_short.weight and rope_factors_long.weight")),
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

    /// A count of the family's.
    pub fn size(self, key: &str) -> Result<usize, ConfigError> {
        Ok(self.need(&self.key(key), Gguf::u32)? as usize)
    }

    /// A count of the family's that may be absent.
    pub fn maybe_size(self, key: &str) -> Result<Option<usize>, ConfigError> {
        let size = self.maybe(key, Gguf::u32)?;
        Ok(size.map(|size| size as usize))
    }

    /// A number of the family's.
    pub fn number(self, key: &str) -> Result<Option<f32>, ConfigError> {
        self.maybe(key, Gguf::f32)
    }

    /// A yes or no of the family's.
    pub fn flag(self, key: &str) -> Result<Option<bool>, ConfigError> {
        self.maybe(key, Gguf::bool)
    }

    /// How many tokens back layers with a window see; converters write 0 for all.
    pub fn window(self) -> Result<Option<usize>, ConfigError> {
        let window = self.maybe("attention.sliding_window", Gguf::u32)?;
        Ok(window
            .filter(|width| *width > 0)
            .map(|width| width as usize))
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
        ConfigError::Missing {
            path: self.path.into(),
            field: key.into(),
        }
    }

    /// A value that is not computed.
    pub fn unsupported(self, key: &str, found: &str, supported: &str) -> ConfigError {
        ConfigError::Unsupported {
            path: self.path.into(),
            field: self.key(key),
            found: one_line(found),
            supported: supported.to_owned(),
        }
    }
}
