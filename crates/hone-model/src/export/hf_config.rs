//! `config.json` for a base that has none, because it was a GGUF file.

use serde_json::{Value, json};

use super::ExportError;
use crate::weights::{DecoderConfig, RopeScaling};

/// A `config.json` that says what the decoder is; `dtype` as transformers names it.
pub fn hf_config(config: &DecoderConfig, dtype: &str) -> Result<Value, ExportError> {
    let unsupported = |what: String| ExportError::Unsupported {
        format: "config.json",
        what,
    };
    if config.model_type != "llama" {
        return Err(unsupported(format!(
            "{} models from GGUF files",
            config.model_type
        )));
    }
    let scaling = match &config.rope.scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_context,
        }),
        RopeScaling::Factors { .. } => return Err(unsupported("rope factors pair by pair".into())),
        RopeScaling::Yarn { .. } | RopeScaling::Long { .. } => {
            return Err(unsupported("YaRN and LongRoPE from GGUF files".into()));
        }
    };
    Ok(json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.d_ff,
        "hidden_act": "silu",
        "rms_norm_eps": decimal(config.norm_eps),
        "rope_theta": decimal(config.rope.theta),
        "rope_scaling": scaling,
        "tie_word_embeddings": config.tied_head,
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "max_position_embeddings": config.context_len,
        "bos_token_id": config.bos,
        "eos_token_id": match config.eos[..] {
            [one] => json!(one),
            _ => json!(config.eos),
        },
        "torch_dtype": dtype,
    }))
}

/// Through the shortest decimal form, so that 1e-5 stays 1e-5.
fn decimal(x: f32) -> Value {
    x.to_string()
        .parse::<f64>()
        .map_or(Value::Null, |x| json!(x))
}
