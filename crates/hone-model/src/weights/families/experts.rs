//! Families whose layers have experts: Mixtral, and Qwen 3 with experts.
//!
//! Files hold each expert's matrices by themselves; GGUF, and transformers 5 in memory, those of all experts of a layer as
//! one tensor. Adapters are named after the latter, as PEFT names them.

use super::Family;
use super::llama::{KEY, LLAMA, NORMS, OUTPUT, QUERY, QWEN3, QWEN3_NAMES, SILU, VALUE, biases};
use crate::arch::{
    DecoderConfig, ExpertMatrix, ExpertNames, Experts, FeedForward, Group, LayerSpec, Names,
    Packing, Part, Place,
};
use crate::weights::config_error::ConfigError;
use crate::weights::gguf_keys::Keys;
use crate::weights::gguf_keys::Metadata;
use crate::weights::hf_fields::{Fields, Only};

/// A router; `stored` is its path in files.
const fn router(stored: &'static str) -> Place {
    Place {
        module: "mlp.gate",
        stored,
        gguf: "ffn_gate_inp",
        group: Group::Router,
        parts: &[Part::Router],
        packing: Packing::Blocks,
        is_parameter: true,
    }
}

/// Gate and up of all experts, one parameter.
const GATE_UP: Place = Place::one(
    "mlp.experts.gate_up_proj",
    "ffn_gate_up_exps",
    Group::ExpertsIn,
    &[Part::Gate, Part::Up],
)
.parameter();

/// Down of all experts.
const DOWN: Place = Place::one(
    "mlp.experts.down_proj",
    "ffn_down_exps",
    Group::ExpertsOut,
    &[Part::Down],
)
.parameter();

const fn experts(list: &'static str, [gate, up, down]: [&'static str; 3]) -> Option<ExpertNames> {
    Some(ExpertNames {
        list,
        matrices: [
            ExpertMatrix {
                name: gate,
                gguf: "ffn_gate_exps",
                part: Part::Gate,
            },
            ExpertMatrix {
                name: up,
                gguf: "ffn_up_exps",
                part: Part::Up,
            },
            ExpertMatrix {
                name: down,
                gguf: "ffn_down_exps",
                part: Part::Down,
            },
        ],
    })
}

const MIXTRAL_NAMES: Names = Names {
    places: &[
        QUERY,
        KEY,
        VALUE,
        OUTPUT,
        router("block_sparse_moe.gate"),
        GATE_UP,
        DOWN,
    ],
    experts: experts("block_sparse_moe.experts", ["w1", "w3", "w2"]),
    norms: &NORMS,
    ..super::llama::NAMES
};

const QWEN3_MOE_NAMES: Names = Names {
    places: &[
        QUERY,
        KEY,
        VALUE,
        OUTPUT,
        Place::one("mlp.gate_proj", "ffn_gate", Group::MlpIn, &[Part::Gate]).parameter(),
        Place::one("mlp.up_proj", "ffn_up", Group::MlpIn, &[Part::Up]).parameter(),
        Place::one("mlp.down_proj", "ffn_down", Group::MlpOut, &[Part::Down]).parameter(),
        router("mlp.gate"),
        GATE_UP,
        DOWN,
    ],
    experts: experts("mlp.experts", ["gate_proj", "up_proj", "down_proj"]),
    ..QWEN3_NAMES
};

const NO_DROPOUT: (&str, Only) = ("attention_dropout", Only::Number(0.0));
/// Adds a second loss in training.
const NO_ROUTER_LOSS: (&str, Only) = ("output_router_logits", Only::Flag(false));

/// What GGUF says of experts.
const GGUF_KEYS: &[&str] = &[
    "expert_count",
    "expert_used_count",
    "expert_feed_forward_length",
];

/// Mixtral: llama with experts, a window in none of its published versions.
pub const MIXTRAL: Family = Family {
    name: "mixtral",
    architecture: Some("llama"),
    has_experts: true,
    names: &MIXTRAL_NAMES,
    fixed: &[
        SILU,
        NO_DROPOUT,
        NO_ROUTER_LOSS,
        ("partial_rotary_factor", Only::Number(1.0)),
        ("router_jitter_noise", Only::Number(0.0)),
    ],
    eps: ("rms_norm_eps", 1e-5),
    theta: 1_000_000.0,
    hf: |fields, config| {
        let window = fields.get("sliding_window")?;
        fields.windows(config, window, |_| true)?;
        config.experts = Some(Experts {
            count: count(fields, 8)?,
            per_token: fields.get("num_experts_per_tok")?.unwrap_or(2),
            d_ff: config.d_ff,
            is_normalised: true,
        });
        everywhere(config);
        Ok(())
    },
    gguf_keys: GGUF_KEYS,
    read_gguf: experts_of_gguf,
    write_gguf: experts_to_gguf,
    class: "MixtralForCausalLM",
    write_hf: |config, fields| {
        let experts = config.experts.map_or((0, 0), |e| (e.count, e.per_token));
        fields.insert("hidden_act".into(), "silu".into());
        fields.insert("num_local_experts".into(), experts.0.into());
        fields.insert("num_experts_per_tok".into(), experts.1.into());
        let window = config.windows().flatten().next();
        fields.insert("sliding_window".into(), window.into());
    },
    ..LLAMA
};

/// Qwen 3 with experts, in all layers or in some.
pub const QWEN3_MOE: Family = Family {
    name: "qwen3_moe",
    architecture: Some("qwen3moe"),
    has_experts: true,
    names: &QWEN3_MOE_NAMES,
    fixed: &[
        SILU,
        NO_DROPOUT,
        NO_ROUTER_LOSS,
        ("partial_rotary_factor", Only::Number(1.0)),
    ],
    head_dim: None,
    hf: |fields, config| {
        biases(fields, config)?;
        let is_used = fields.flag("use_sliding_window", false)?;
        let window = fields.get("sliding_window")?.filter(|_| is_used);
        fields.windows(config, window, |_| true)?;
        config.experts = Some(Experts {
            count: count(fields, 128)?,
            per_token: fields.get("num_experts_per_tok")?.unwrap_or(8),
            d_ff: fields.get("moe_intermediate_size")?.unwrap_or(768),
            is_normalised: fields.flag("norm_topk_prob", false)?,
        });
        let step = fields.get("decoder_sparse_step")?.unwrap_or(1_usize);
        if step == 0 {
            return Err(fields.unsupported("decoder_sparse_step", 0, "at least 1"));
        }
        let dense: Vec<usize> = fields.get("mlp_only_layers")?.unwrap_or_default();
        for (index, layer) in config.layers.iter_mut().enumerate() {
            if (index + 1).is_multiple_of(step) && !dense.contains(&index) {
                layer.feed_forward = FeedForward::Experts;
            }
        }
        Ok(())
    },
    gguf_keys: GGUF_KEYS,
    // llama.cpp divides the shares by their sum, whatever the model was made with.
    read_gguf: experts_of_gguf,
    write_gguf: experts_to_gguf,
    class: "Qwen3MoeForCausalLM",
    write_hf: |config, fields| {
        (QWEN3.write_hf)(config, fields);
        let Some(experts) = config.experts else {
            return;
        };
        fields.insert("num_experts".into(), experts.count.into());
        fields.insert("num_experts_per_tok".into(), experts.per_token.into());
        fields.insert("moe_intermediate_size".into(), experts.d_ff.into());
        fields.insert("norm_topk_prob".into(), experts.is_normalised.into());
        let layers = config.layers.iter().enumerate();
        let dense = layers.filter(|(_, layer)| layer.feed_forward == FeedForward::Dense);
        let dense: Vec<usize> = dense.map(|(index, _)| index).collect();
        fields.insert("mlp_only_layers".into(), dense.into());
    },
    not_in_llama_cpp: |config| {
        let is_dense = |layer: &LayerSpec| layer.feed_forward == FeedForward::Dense;
        if config.layers.iter().any(is_dense) {
            return Some("some of its layers have no experts, and llama.cpp wants them in all");
        }
        let experts = config.experts?;
        (!experts.is_normalised).then_some(
            "it does not divide the shares of a token's experts by their sum, and llama.cpp does",
        )
    },
    peft_targets: &[],
    ..QWEN3
};

/// How many experts there are; the two versions of transformers have a word each.
fn count(fields: &Fields, default: usize) -> Result<usize, ConfigError> {
    let (older, newer) = (fields.own("num_experts")?, fields.own("num_local_experts")?);
    match (older, newer) {
        (Some(older), Some(newer)) if older != newer => Err(fields.unsupported(
            "num_experts",
            older,
            &format!("the {newer} of num_local_experts"),
        )),
        (older, newer) => Ok(older.or(newer).unwrap_or(default)),
    }
}

fn everywhere(config: &mut DecoderConfig) {
    for layer in &mut config.layers {
        layer.feed_forward = FeedForward::Experts;
    }
}

fn experts_to_gguf(config: &DecoderConfig, keys: &mut Keys) {
    if let Some(experts) = config.experts {
        keys.count("expert_count", experts.count);
        keys.count("expert_used_count", experts.per_token);
        keys.count("expert_feed_forward_length", experts.d_ff);
    }
}

fn experts_of_gguf(metadata: &Metadata, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    let width = metadata.maybe_size("expert_feed_forward_length")?;
    config.experts = Some(Experts {
        count: metadata.size("expert_count")?,
        per_token: metadata.size("expert_used_count")?,
        d_ff: width.unwrap_or(config.d_ff),
        is_normalised: true,
    });
    everywhere(config);
    Ok(())
}
