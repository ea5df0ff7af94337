//! `config.json` for a base that has none, because it was a GGUF file.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::ExportError;
use crate::arch::{DecoderConfig, RopeScaling};
use crate::weights::decimal;

/// A `config.json` that says what the decoder is; `dtype` as transformers names it. It is read back, and what does not
/// come out as it went in is refused.
pub fn hf_config(config: &DecoderConfig, dtype: &str) -> Result<Value, ExportError> {
    let unsupported = |what: String| ExportError::Unsupported {
        format: "config.json",
        what,
    };
    let unknown = || unsupported(format!("{} models", config.model_type));
    let family = config.hf_family().ok_or_else(unknown)?;
    let mut fields: Map<String, Value> = Map::new();
    let mut put = |field: &str, value: Value| {
        let own = family.aliases.iter().find(|row| row.0 == field);
        fields.insert(own.map_or(field, |row| row.1).to_owned(), value);
    };
    put("architectures", json!([family.class]));
    put("model_type", json!(config.model_type));
    put("vocab_size", json!(config.vocab_size));
    put("hidden_size", json!(config.d_model));
    put("num_hidden_layers", json!(config.num_layers));
    put("num_attention_heads", json!(config.num_heads));
    put("intermediate_size", json!(config.d_ff));
    put("max_position_embeddings", json!(config.context_len));
    put("tie_word_embeddings", json!(config.tied_head));
    put(family.eps, decimal(config.norm_eps));
    put("bos_token_id", json!(config.bos));
    put(
        "eos_token_id",
        match config.eos[..] {
            [one] => json!(one),
            _ => json!(config.eos),
        },
    );
    // Some families would take the number of a token that the vocabulary may not have.
    put("pad_token_id", Value::Null);
    put("torch_dtype", json!(dtype));
    if !config.learned_positions {
        put("num_key_value_heads", json!(config.num_kv_heads));
        if family.says_head_dim || config.head_dim * config.num_heads != config.d_model {
            put("head_dim", json!(config.head_dim));
        }
        put("rope_theta", decimal(config.rope.theta));
        put("rope_scaling", scaling(config).map_err(unsupported)?);
        if config.rotary_dim != config.head_dim {
            let share = config.rotary_dim as f64 / config.head_dim as f64;
            put("partial_rotary_factor", json!(share));
        }
        if let RopeScaling::Long {
            original_context, ..
        } = &config.rope.scaling
        {
            put("original_max_position_embeddings", json!(original_context));
        }
    }
    fields.extend(family.own);
    let written = Value::Object(fields);
    let path = Path::new("config.json");
    let read = DecoderConfig::from_hf(written.to_string().as_bytes(), path)
        .map_err(|error| unsupported(format!("this {} model: {error}", config.model_type)))?;
    let expected = with_llama3(config);
    match expected.difference(&read) {
        None => Ok(written),
        Some((setting, ours, theirs)) => Err(unsupported(format!(
            "this {} model: its `{setting}` is {ours}, and a reader of the file would take {theirs}; its export",
            config.model_type
        ))),
    }
}

/// Llama 3's stretching, where factors pair by pair are it.
fn with_llama3(config: &DecoderConfig) -> DecoderConfig {
    let mut config = config.clone();
    if let Some(scaling) = llama3_of(&config) {
        config.rope.scaling = scaling;
    }
    config
}

/// GGUF keeps Llama 3's stretching as a factor for each pair. The released models have one of two.
fn llama3_of(config: &DecoderConfig) -> Option<RopeScaling> {
    let RopeScaling::Factors { factors } = &config.rope.scaling else {
        return None;
    };
    [8.0, 32.0].into_iter().find_map(|factor| {
        let scaling = RopeScaling::Llama3 {
            factor,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192,
        };
        let mut stretched = config.clone();
        stretched.rope.scaling = scaling.clone();
        let written = stretched.gguf_rope_factors();
        let mut pairs = written.first()?.1.iter().zip(factors);
        let is_it = pairs.all(|(x, y)| (x - y).abs() <= 1e-5 * y.abs());
        is_it.then_some(scaling)
    })
}

fn scaling(config: &DecoderConfig) -> Result<Value, String> {
    let listed = |factors: &[f32]| factors.iter().map(|x| decimal(*x)).collect::<Vec<_>>();
    Ok(match &with_llama3(config).rope.scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => {
            json!({"rope_type": "linear", "factor": decimal(*factor)})
        }
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => json!({
            "rope_type": "llama3",
            "factor": decimal(*factor),
            "low_freq_factor": decimal(*low_freq_factor),
            "high_freq_factor": decimal(*high_freq_factor),
            "original_max_position_embeddings": original_context,
        }),
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            truncate,
            original_context,
            attention_factor,
        } => json!({
            "rope_type": "yarn",
            "factor": decimal(*factor),
            "beta_fast": decimal(*beta_fast),
            "beta_slow": decimal(*beta_slow),
            "truncate": truncate,
            "original_max_position_embeddings": original_context,
            "attention_factor": decimal(*attention_factor),
        }),
        RopeScaling::Long {
            short,
            long,
            attention_factor,
            ..
        } => json!({
            "rope_type": "longrope",
            "short_factor": listed(short),
            "long_factor": listed(long),
            "attention_factor": decimal(*attention_factor),
        }),
        RopeScaling::Factors { .. } => {
            return Err("rope factors pair by pair that are not Llama 3's".into());
        }
    })
}
