//! Google's Gemma: norm weights stored less one, a scaled embedding, GELU gates; from the second on norms before and
//! after each branch, windows in some layers, and capped scores.

use serde_json::{Map, Value as Json};

use super::llama::{LLAMA, NAMES, NORMS, biases};
use super::{Family, decimal, word_of};
use crate::arch::{
    Activation, Block, DecoderConfig, Names, NormAt, Positions, QueryKeyNorm, Rope, RopeScaling,
};
use crate::weights::config_error::ConfigError;
use crate::weights::hf_fields::{Fields, Only};

const GEMMA_NAMES: Names = Names {
    gguf_interleaves: false,
    ..NAMES
};

const GEMMA2_NAMES: Names = Names {
    norms: &[
        NORMS[0],
        (
            NormAt::AttentionOut,
            "post_attention_layernorm",
            "post_attention_norm",
        ),
        (NormAt::MlpIn, "pre_feedforward_layernorm", "ffn_norm"),
        (
            NormAt::MlpOut,
            "post_feedforward_layernorm",
            "post_ffw_norm",
        ),
    ],
    ..GEMMA_NAMES
};

const GEMMA3_NAMES: Names = Names {
    norms: &[
        GEMMA2_NAMES.norms[0],
        (NormAt::Query, "self_attn.q_norm", "attn_q_norm"),
        (NormAt::Key, "self_attn.k_norm", "attn_k_norm"),
        GEMMA2_NAMES.norms[1],
        GEMMA2_NAMES.norms[2],
        GEMMA2_NAMES.norms[3],
    ],
    ..GEMMA_NAMES
};

const CAUSAL: (&str, Only) = ("use_bidirectional_attention", Only::Flag(false));
const GATES: &[(&str, Activation)] = &[("gelu_pytorch_tanh", Activation::GatedGeluTanh)];

fn common(config: &mut DecoderConfig) {
    config.norm_offset = 1.0;
    config.activation = Activation::GatedGeluTanh;
    config.embedding_scale = (config.d_model as f64).sqrt() as f32;
}

/// What the second and third say beside windows.
fn later_to_hf(config: &DecoderConfig, fields: &mut Map<String, Json>) {
    // transformers takes a whole number here and nothing else.
    let scalar = config.attention_scale.powi(-2).round() as u64;
    for (field, value) in [
        ("hidden_activation", word_of(config.activation, GATES)),
        ("attention_bias", config.attention_bias.into()),
        ("query_pre_attn_scalar", scalar.into()),
        (
            "attn_logit_softcapping",
            config.attention_cap.map_or(Json::Null, decimal),
        ),
        (
            "final_logit_softcapping",
            config.logit_cap.map_or(Json::Null, decimal),
        ),
    ] {
        fields.insert(field.into(), value);
    }
    super::windows_to_hf(config, fields);
}

/// The first Gemma.
pub const GEMMA: Family = Family {
    name: "gemma",
    architecture: Some("gemma"),
    names: &GEMMA_NAMES,
    fixed: &[CAUSAL, ("attention_dropout", Only::Number(0.0))],
    head_dim: Some(256),
    tied_by_default: true,
    common,
    hf: |fields, config| {
        // Its first files say `gelu` and mean the other form; transformers reads them so.
        let gates = [GATES[0], ("gelu", Activation::GatedGeluTanh)];
        config.activation = fields.one_of("hidden_act", "gelu_pytorch_tanh", &gates)?;
        biases(fields, config)
    },
    class: "GemmaForCausalLM",
    write_hf: |config, fields| {
        fields.insert("hidden_act".into(), word_of(config.activation, GATES));
        fields.insert("attention_bias".into(), config.attention_bias.into());
    },
    ..LLAMA
};

/// What the second and third have in common.
fn later(
    fields: &Fields,
    config: &mut DecoderConfig,
    caps: [Option<f64>; 2],
) -> Result<(), ConfigError> {
    config.activation = fields.one_of("hidden_activation", "gelu_pytorch_tanh", GATES)?;
    biases(fields, config)?;
    config.attention_scale = fields
        .number("query_pre_attn_scalar", 256.0)?
        .sqrt()
        .recip();
    let cap = |field, default: Option<f64>| {
        let said = fields.is_said(field);
        let found: Option<f64> = fields.get(field)?;
        let cap = if said { found } else { default };
        Ok::<_, ConfigError>(cap.map(|cap| cap as f32))
    };
    config.attention_cap = cap("attn_logit_softcapping", caps[0])?;
    config.logit_cap = cap("final_logit_softcapping", caps[1])?;
    Ok(())
}

/// Gemma 2: every other layer has a window, scores and logits are capped.
pub const GEMMA2: Family = Family {
    name: "gemma2",
    architecture: Some("gemma2"),
    names: &GEMMA2_NAMES,
    common: |config| {
        common(config);
        config.block = Block::Sandwich;
    },
    hf: |fields, config| {
        later(fields, config, [Some(50.0), Some(30.0)])?;
        let window = fields.get("sliding_window")?.or(Some(4096));
        fields.windows(config, window, |layer| layer.is_multiple_of(2))
    },
    gguf_keys: &[
        "attention.sliding_window",
        "attn_logit_softcapping",
        "final_logit_softcapping",
    ],
    read_gguf: |metadata, config| {
        config.attention_cap = metadata.number("attn_logit_softcapping")?.or(Some(50.0));
        config.logit_cap = metadata.number("final_logit_softcapping")?.or(Some(30.0));
        let window = metadata.window()?.or(Some(4096));
        for (index, attention) in config.attention_mut() {
            attention.window = window.filter(|_| index.is_multiple_of(2));
        }
        scale_of_largest(config, 46);
        Ok(())
    },
    class: "Gemma2ForCausalLM",
    write_hf: later_to_hf,
    windows_in_llama_cpp: super::Windows::Computed,
    write_gguf: |config, keys| {
        super::window_to_gguf(config, keys);
        let caps = [
            ("attn_logit_softcapping", config.attention_cap),
            ("final_logit_softcapping", config.logit_cap),
        ];
        for (key, cap) in caps {
            cap.iter().for_each(|cap| keys.number(key, *cap));
        }
    },
    ..GEMMA
};

/// GGUF does not say what queries are scaled with; as llama.cpp does, the largest model of a generation, known by
/// its number of layers, is taken to use the width of the stream by head.
fn scale_of_largest(config: &mut DecoderConfig, num_layers: usize) {
    if config.num_layers == num_layers {
        let width = config.d_model as f32 / config.num_heads as f32;
        config.attention_scale = width.sqrt().recip();
    }
}

const GLOBAL_THETA: f64 = 1_000_000.0;
const LOCAL_THETA: f64 = 10_000.0;
/// Of so many layers of Gemma 3, the last sees everything.
const PATTERN: usize = 6;

/// Layers with a window turn by rotary positions of their own.
fn mark_local(config: &mut DecoderConfig) {
    for (_, attention) in config.attention_mut() {
        attention.positions = match attention.window {
            Some(_) => Positions::LocalRope,
            None => Positions::Rope,
        };
    }
}

/// Gemma 3, the text model: norms on queries and keys, five layers with a window for each without.
pub const GEMMA3: Family = Family {
    name: "gemma3_text",
    architecture: Some("gemma3"),
    names: &GEMMA3_NAMES,
    theta: GLOBAL_THETA,
    common: |config| {
        common(config);
        config.block = Block::Sandwich;
        config.query_key_norm = QueryKeyNorm::PerHead;
        config.local_rope = Some(Rope {
            theta: LOCAL_THETA as f32,
            scaling: RopeScaling::None,
        });
    },
    hf: |fields, config| {
        later(fields, config, [None, None])?;
        let pattern = fields.get("sliding_window_pattern")?.unwrap_or(PATTERN);
        if pattern == 0 {
            return Err(fields.unsupported("sliding_window_pattern", 0, "1 or more"));
        }
        let window = fields.get("sliding_window")?.or(Some(4096));
        fields.windows(config, window, |layer| !(layer + 1).is_multiple_of(pattern))?;
        mark_local(config);
        let local = fields.number("rope_local_base_freq", LOCAL_THETA)?;
        config.local_rope = Some(Rope {
            theta: local,
            scaling: RopeScaling::None,
        });
        let by_kind = |kind: &str, theta| {
            let map = fields.get::<serde_json::Map<_, _>>("rope_parameters")?;
            let own = map.and_then(|map| map.get(kind)?.as_object().cloned());
            own.map(|map| fields.rope_at(&format!("rope_parameters.{kind}"), map, theta))
                .transpose()
        };
        if let Some(read) = by_kind("full_attention", GLOBAL_THETA)? {
            config.rope = read.rope;
        }
        if let Some(read) = by_kind("sliding_attention", LOCAL_THETA)? {
            config.local_rope = Some(read.rope);
        }
        Ok(())
    },
    gguf_keys: &[
        "attention.sliding_window",
        "final_logit_softcapping",
        "rope.freq_base_swa",
    ],
    read_gguf: |metadata, config| {
        config.logit_cap = metadata.number("final_logit_softcapping")?;
        let window = metadata.window()?;
        for (index, attention) in config.attention_mut() {
            attention.window = window.filter(|_| !(index + 1).is_multiple_of(PATTERN));
        }
        mark_local(config);
        let theta = metadata.number("rope.freq_base_swa")?;
        config.local_rope = Some(Rope {
            theta: theta.unwrap_or(LOCAL_THETA as f32),
            scaling: RopeScaling::None,
        });
        scale_of_largest(config, 62);
        Ok(())
    },
    class: "Gemma3ForCausalLM",
    write_hf: |config, fields| {
        later_to_hf(config, fields);
        let local = config.local_rope.as_ref().map(|rope| decimal(rope.theta));
        fields.insert("rope_local_base_freq".into(), local.into());
    },
    windows_in_llama_cpp: super::Windows::Computed,
    write_gguf: |config, keys| {
        super::window_to_gguf(config, keys);
        let cap = config.logit_cap.iter();
        cap.for_each(|cap| keys.number("final_logit_softcapping", *cap));
        let local = config.local_rope.iter().map(|rope| rope.theta);
        local
            .filter(|theta| *theta != LOCAL_THETA as f32)
            .for_each(|theta| keys.number("rope.freq_base_swa", theta));
    },
    ..GEMMA
};
