//! A decoder's settings from GGUF metadata, of whatever family the file says it is.

use std::path::Path;

use super::config_error::{ConfigError, checked, divide};
use super::families::{self, Family};
use super::gguf::Gguf;
use super::gguf_keys::Metadata;
use crate::arch::{DecoderConfig, Group, NormKind};
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

impl DecoderConfig {
    /// Reads the metadata of a GGUF file; `path` is for messages.
    pub fn from_gguf(gguf: &Gguf, path: &Path) -> Result<Self, ConfigError> {
        checked(read(gguf, path)?, path)
    }
}

/// Reads the settings of whatever family the file says it is.
fn read(gguf: &Gguf, path: &Path) -> Result<DecoderConfig, ConfigError> {
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
    only_known(metadata, family)?;
    let mut config = decoder(metadata, family)?;
    (family.common)(&mut config);
    config.norm_eps = norm_eps(metadata, &config)?;
    (family.read_gguf)(&metadata, &mut config)?;
    Ok(config)
}

fn decoder(metadata: Metadata, family: &Family) -> Result<DecoderConfig, ConfigError> {
    let d_model = metadata.size("embedding_length")?;
    let num_heads = metadata.size("attention.head_count")?;
    let head_dim = match metadata.maybe("attention.key_length", Gguf::u32)? {
        Some(head_dim) => head_dim as usize,
        None => divide(metadata.path, d_model, num_heads)?,
    };
    metadata.same_width("attention.value_length", head_dim)?;
    let turning = metadata.maybe("rope.dimension_count", Gguf::u32)?;
    if !family.is_partial {
        metadata.same_width("rope.dimension_count", head_dim)?;
    }
    let num_kv_heads = metadata.maybe("attention.head_count_kv", Gguf::u32)?;
    let num_layers = metadata.size("block_count")?;
    let place = |at: usize| family.names.places[at].gguf;
    let count = family.names.places.len();
    let has_bias = |at: usize| metadata.has(&format!("blk.0.{}.bias", place(at)));
    let out = family
        .names
        .group(Group::AttentionOut)
        .next()
        .map_or("", |place| place.gguf);
    Ok(DecoderConfig {
        vocab_size: metadata.vocab_size()?,
        num_kv_heads: num_kv_heads.map_or(num_heads, |heads| heads as usize),
        d_ff: metadata.size("feed_forward_length")?,
        rope: metadata.rope(family.theta)?,
        rotary_dim: turning.map_or(head_dim, |width| width as usize),
        tied_head: !metadata.has("output.weight"),
        attention_bias: has_bias(0),
        output_bias: metadata.has(&format!("blk.0.{out}.bias")),
        mlp_bias: has_bias(count - 1),
        head_bias: metadata.has("output.bias"),
        context_len: metadata.size("context_length")?,
        bos: metadata.get("tokenizer.ggml.bos_token_id", Gguf::u32)?,
        eos: metadata.eos()?,
        ..DecoderConfig::plain(
            (family.name, family.names),
            d_model,
            num_heads,
            head_dim,
            num_layers,
        )
    })
}

fn norm_eps(metadata: Metadata, config: &DecoderConfig) -> Result<f32, ConfigError> {
    let key = match config.norm {
        NormKind::Rms => "attention.layer_norm_rms_epsilon",
        _ => "attention.layer_norm_epsilon",
    };
    metadata.need(&metadata.key(key), Gguf::f32)
}

fn only_known<'a>(metadata: Metadata<'a>, family: &Family) -> Result<(), ConfigError> {
    let own = |key: &'a str| key.strip_prefix(metadata.prefix)?.strip_prefix('.');
    // Converters write counts of experts for models that have none.
    let no_experts = |key: &str| {
        key.starts_with("expert_")
            && metadata
                .maybe(key, Gguf::u32)
                .is_ok_and(|count| count == Some(0))
    };
    let known =
        |key: &&str| KEYS.contains(key) || family.gguf_keys.contains(key) || no_experts(key);
    match metadata.gguf.keys().filter_map(own).find(|key| !known(key)) {
        Some(key) => Err(metadata.unsupported(key, "set", "models without it")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
