//! `config.json` as Hugging Face writes it, of whatever family it says it is.

use std::path::Path;

use serde_json::{Map, Value as Json};

use super::config_error::{ConfigError, checked, divide};
use super::families::{self, Family};
use super::hf_fields::{Fields, OneOrMany};
use super::unique;
use crate::arch::DecoderConfig;

impl DecoderConfig {
    /// Reads the contents of a `config.json`; `path` is for messages.
    pub fn from_hf(json: &[u8], path: &Path) -> Result<Self, ConfigError> {
        checked(read(json, path)?, path)
    }
}

/// Reads a whole `config.json`.
fn read(json: &[u8], path: &Path) -> Result<DecoderConfig, ConfigError> {
    let map: Map<String, Json> = unique::check(json)
        .and_then(|()| serde_json::from_slice(json))
        .map_err(|source| ConfigError::Json {
            path: path.into(),
            source,
        })?;
    let plain = Fields {
        path,
        map: &map,
        aliases: &[],
        is_partial: false,
    };
    let model_type: String = plain.need("model_type")?;
    let family = families::by_name(&model_type).ok_or_else(|| {
        let known = families::names().collect::<Vec<_>>().join(", ");
        plain.unsupported("model_type", format_args!("`{model_type}`"), &known)
    })?;
    let fields = Fields {
        aliases: family.aliases,
        is_partial: family.is_partial,
        ..plain
    };
    let without = match family.has_experts {
        true => &[],
        false => families::WITHOUT_EXPERTS,
    };
    let fixed = without.iter().chain(family.fixed);
    for (field, only) in fixed {
        fields.only(field, *only)?;
    }
    let mut config = decoder(&fields, family)?;
    (family.common)(&mut config);
    (family.hf)(&fields, &mut config)?;
    Ok(config)
}

/// What all families say in the same words.
fn decoder(fields: &Fields, family: &Family) -> Result<DecoderConfig, ConfigError> {
    let d_model: usize = fields.need("hidden_size")?;
    let num_heads: usize = fields.need("num_attention_heads")?;
    let num_layers: usize = fields.need("num_hidden_layers")?;
    let head_dim = match fields.get("head_dim")?.or(family.head_dim) {
        Some(head_dim) => head_dim,
        None => divide(fields.path, d_model, num_heads)?,
    };
    let rope = fields.rope(family.theta)?;
    let share = rope.partial.or(fields.get("partial_rotary_factor")?);
    let share = share.unwrap_or(family.rotary_share);
    Ok(DecoderConfig {
        vocab_size: fields.need("vocab_size")?,
        num_layers,
        num_kv_heads: fields.get("num_key_value_heads")?.unwrap_or(num_heads),
        d_ff: match (fields.get("intermediate_size")?, family.ff_times) {
            (Some(d_ff), _) => d_ff,
            (None, Some(times)) => d_model.saturating_mul(times),
            (None, None) => return Err(fields.missing("intermediate_size")),
        },
        norm_eps: fields.number(family.eps.0, family.eps.1)?,
        rope: rope.rope,
        rotary_dim: (head_dim as f64 * share) as usize,
        tied_head: fields.flag("tie_word_embeddings", family.tied_by_default)?,
        context_len: fields.context_len()?,
        bos: fields.get("bos_token_id")?,
        eos: fields
            .get::<OneOrMany>("eos_token_id")?
            .map_or_else(Vec::new, OneOrMany::into_vec),
        ..DecoderConfig::plain(
            (family.name, family.names),
            d_model,
            num_heads,
            head_dim,
            num_layers,
        )
    })
}
