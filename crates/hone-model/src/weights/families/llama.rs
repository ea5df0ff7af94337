//! Llama, and families that are llama with other settings: Mistral, Qwen 2 and 3, Granite, SmolLM 3, OLMo 2.

use serde_json::{Map, Value as Json};

use super::{Family, Windows, all_in_llama_cpp, decimal, nothing_in_gguf, nothing_to_gguf};
use crate::arch::{
    Block, DecoderConfig, Group, Names, NormAt, NormName, Part, Place, Positions, QueryKeyNorm,
};
use crate::weights::config_error::ConfigError;
use crate::weights::hf_fields::{Fields, Only};

/// Queries as llama names them.
pub(super) const QUERY: Place = Place::one(
    "self_attn.q_proj",
    "attn_q",
    Group::AttentionIn,
    &[Part::Query],
);
/// Keys.
pub(super) const KEY: Place = Place::one(
    "self_attn.k_proj",
    "attn_k",
    Group::AttentionIn,
    &[Part::Key],
);
/// Values.
pub(super) const VALUE: Place = Place::one(
    "self_attn.v_proj",
    "attn_v",
    Group::AttentionIn,
    &[Part::Value],
);
/// What attention gives back.
pub(super) const OUTPUT: Place = Place::one(
    "self_attn.o_proj",
    "attn_output",
    Group::AttentionOut,
    &[Part::Output],
);
/// What the MLP gives back.
pub(super) const DOWN: Place =
    Place::one("mlp.down_proj", "ffn_down", Group::MlpOut, &[Part::Down]);

/// Linear layers as llama names them.
const PLACES: &[Place] = &[
    QUERY,
    KEY,
    VALUE,
    OUTPUT,
    Place::one("mlp.gate_proj", "ffn_gate", Group::MlpIn, &[Part::Gate]),
    Place::one("mlp.up_proj", "ffn_up", Group::MlpIn, &[Part::Up]),
    DOWN,
];

/// Norms as llama names them.
pub(super) const NORMS: [NormName; 2] = [
    (NormAt::AttentionIn, "input_layernorm", "attn_norm"),
    (NormAt::MlpIn, "post_attention_layernorm", "ffn_norm"),
];

/// Llama's names.
pub const NAMES: Names = Names {
    layers: "model.layers",
    embedding: ("model.embed_tokens", "token_embd"),
    positions: None,
    final_norm: ("model.norm", "output_norm"),
    head: Place::one("lm_head", "output", Group::Head, &[Part::Head]),
    places: PLACES,
    experts: None,
    norms: &NORMS,
    optional_prefix: "model.",
    buffers: &[".rotary_emb.inv_freq"],
    is_transposed: false,
    gguf_interleaves: true,
};

const PLAIN_ROWS: Names = Names {
    gguf_interleaves: false,
    ..NAMES
};

pub(super) const QWEN3_NAMES: Names = Names {
    norms: &[
        NORMS[0],
        (NormAt::Query, "self_attn.q_norm", "attn_q_norm"),
        (NormAt::Key, "self_attn.k_norm", "attn_k_norm"),
        NORMS[1],
    ],
    ..PLAIN_ROWS
};

const OLMO2_NAMES: Names = Names {
    norms: &[
        (NormAt::Query, "self_attn.q_norm", "attn_q_norm"),
        (NormAt::Key, "self_attn.k_norm", "attn_k_norm"),
        (
            NormAt::AttentionOut,
            "post_attention_layernorm",
            "post_attention_norm",
        ),
        (
            NormAt::MlpOut,
            "post_feedforward_layernorm",
            "post_ffw_norm",
        ),
    ],
    ..PLAIN_ROWS
};

pub(super) const SILU: (&str, Only) = ("hidden_act", Only::Text("silu"));
const NO_DROPOUT: (&str, Only) = ("attention_dropout", Only::Number(0.0));
const WHOLE_HEADS: (&str, Only) = ("partial_rotary_factor", Only::Number(1.0));
const NO_WINDOW: (&str, Only) = ("sliding_window", Only::Nothing);

/// Llama 2 and 3, and whatever was distilled into their shape.
pub const LLAMA: Family = Family {
    name: "llama",
    architecture: Some("llama"),
    has_experts: false,
    names: &NAMES,
    fixed: &[
        SILU,
        ("pretraining_tp", Only::Number(1.0)),
        NO_DROPOUT,
        WHOLE_HEADS,
        NO_WINDOW,
    ],
    aliases: &[],
    eps: ("rms_norm_eps", 1e-6),
    theta: 10_000.0,
    head_dim: None,
    ff_times: None,
    is_partial: false,
    rotary_share: 1.0,
    tied_by_default: false,
    common: |_| (),
    hf: |fields, config| {
        biases(fields, config)?;
        config.mlp_bias = fields.flag("mlp_bias", false)?;
        Ok(())
    },
    gguf_keys: &[],
    read_gguf: nothing_in_gguf,
    write_gguf: nothing_to_gguf,
    class: "LlamaForCausalLM",
    write_hf: |config, fields| {
        fields.insert("hidden_act".into(), "silu".into());
        fields.insert("attention_bias".into(), config.attention_bias.into());
        fields.insert("mlp_bias".into(), config.mlp_bias.into());
    },
    windows_in_llama_cpp: Windows::Unsaid,
    not_in_llama_cpp: all_in_llama_cpp,
    peft_targets: &["q_proj", "v_proj"],
};

/// `attention_bias`: on all four of attention, or on none.
pub(super) fn biases(fields: &Fields, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    config.attention_bias = fields.flag("attention_bias", false)?;
    config.output_bias = config.attention_bias;
    Ok(())
}

/// The gate, and windows, which say nothing where there are none.
fn gate_and_windows(config: &DecoderConfig, fields: &mut Map<String, Json>) {
    fields.insert("hidden_act".into(), "silu".into());
    super::windows_to_hf(config, fields);
    let has_window = config.windows().any(|window| window.is_some());
    fields.insert("use_sliding_window".into(), has_window.into());
}

/// Mistral: llama with a window in its first version. GGUF calls it llama.
pub const MISTRAL: Family = Family {
    name: "mistral",
    architecture: None,
    fixed: &[SILU, NO_DROPOUT, WHOLE_HEADS],
    hf: |fields, config| {
        let window = fields.get("sliding_window")?;
        fields.windows(config, window, |_| true)
    },
    class: "MistralForCausalLM",
    write_hf: |config, fields| {
        fields.insert("hidden_act".into(), "silu".into());
        super::windows_to_hf(config, fields);
    },
    ..LLAMA
};

/// Windows of Qwen: none unless asked for, and then from a layer on.
fn qwen_windows(fields: &Fields, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    let is_used = fields.flag("use_sliding_window", false)?;
    let window = fields.get("sliding_window")?.filter(|_| is_used);
    let first = fields.get("max_window_layers")?.unwrap_or(28);
    fields.windows(config, window, |layer| layer >= first)
}

/// Qwen 2 and 2.5: biases on queries, keys and values.
pub const QWEN2: Family = Family {
    name: "qwen2",
    architecture: Some("qwen2"),
    names: &PLAIN_ROWS,
    fixed: &[SILU, NO_DROPOUT, WHOLE_HEADS],
    common: |config| config.attention_bias = true,
    hf: qwen_windows,
    read_gguf: |metadata, config| {
        config.attention_bias = metadata.has("blk.0.attn_q.bias");
        Ok(())
    },
    class: "Qwen2ForCausalLM",
    write_hf: gate_and_windows,
    ..LLAMA
};

/// Qwen 3: norms on the queries and keys of each head.
pub const QWEN3: Family = Family {
    name: "qwen3",
    architecture: Some("qwen3"),
    names: &QWEN3_NAMES,
    fixed: &[SILU, NO_DROPOUT, WHOLE_HEADS],
    head_dim: Some(128),
    common: |config| config.query_key_norm = QueryKeyNorm::PerHead,
    hf: |fields, config| {
        biases(fields, config)?;
        qwen_windows(fields, config)
    },
    class: "Qwen3ForCausalLM",
    write_hf: |config, fields| {
        gate_and_windows(config, fields);
        fields.insert("attention_bias".into(), config.attention_bias.into());
    },
    ..LLAMA
};

/// Granite 3: multipliers on embedding, attention, branches and logits.
pub const GRANITE: Family = Family {
    name: "granite",
    architecture: Some("granite"),
    fixed: &[SILU, NO_DROPOUT, WHOLE_HEADS],
    hf: |fields, config| {
        (LLAMA.hf)(fields, config)?;
        config.embedding_scale = fields.number("embedding_multiplier", 1.0)?;
        config.residual_scale = fields.number("residual_multiplier", 1.0)?;
        config.attention_scale = fields.number("attention_multiplier", 1.0)?;
        config.logit_scale = fields.number("logits_scaling", 1.0)?.recip();
        Ok(())
    },
    gguf_keys: &[
        "attention.scale",
        "embedding_scale",
        "residual_scale",
        "logit_scale",
    ],
    read_gguf: |metadata, config| {
        let scale = |key| Ok::<f32, ConfigError>(metadata.number(key)?.unwrap_or(1.0));
        config.embedding_scale = scale("embedding_scale")?;
        config.residual_scale = scale("residual_scale")?;
        config.attention_scale = scale("attention.scale")?;
        config.logit_scale = scale("logit_scale")?.recip();
        Ok(())
    },
    class: "GraniteForCausalLM",
    write_hf: |config, fields| {
        (LLAMA.write_hf)(config, fields);
        for (field, number) in [
            ("embedding_multiplier", config.embedding_scale),
            ("residual_multiplier", config.residual_scale),
            ("attention_multiplier", config.attention_scale),
            ("logits_scaling", config.logit_scale.recip()),
        ] {
            fields.insert(field.into(), decimal(number));
        }
    },
    write_gguf: |config, keys| {
        keys.number("embedding_scale", config.embedding_scale);
        keys.number("residual_scale", config.residual_scale);
        keys.number("attention.scale", config.attention_scale);
        keys.number("logit_scale", config.logit_scale.recip());
    },
    peft_targets: &[],
    ..LLAMA
};

/// Every so many layers of SmolLM 3 do not turn their queries and keys.
const SMOLLM3_STEP: usize = 4;

/// SmolLM 3: layers without positions.
pub const SMOLLM3: Family = Family {
    name: "smollm3",
    architecture: Some("smollm3"),
    fixed: &[SILU, NO_DROPOUT, WHOLE_HEADS],
    theta: 2_000_000.0,
    tied_by_default: true,
    hf: |fields, config| {
        (LLAMA.hf)(fields, config)?;
        let step = fields
            .get("no_rope_layer_interval")?
            .unwrap_or(SMOLLM3_STEP);
        let turns: Option<Vec<u8>> = fields.get("no_rope_layers")?;
        if turns
            .as_ref()
            .is_some_and(|turns| turns.len() != config.layers.len())
        {
            let count = config.layers.len();
            return Err(fields.unsupported(
                "no_rope_layers",
                "a list of another length",
                &format!("one for each of {count} layers"),
            ));
        }
        leave_unmarked(config, |layer| match &turns {
            Some(turns) => turns[layer] == 0,
            None => step > 0 && (layer + 1).is_multiple_of(step),
        });
        let is_used = fields.flag("use_sliding_window", false)?;
        let window = fields.get("sliding_window")?.filter(|_| is_used);
        let unmarked: Vec<bool> = unmarked(config).collect();
        fields.windows(config, window, |layer| unmarked[layer])
    },
    class: "SmolLM3ForCausalLM",
    write_hf: |config, fields| {
        (LLAMA.write_hf)(config, fields);
        let turns: Vec<u8> = unmarked(config).map(|is| u8::from(!is)).collect();
        fields.insert("no_rope_layers".into(), turns.into());
        gate_and_windows(config, fields);
    },
    read_gguf: |_, config| {
        leave_unmarked(config, |layer| (layer + 1).is_multiple_of(SMOLLM3_STEP));
        Ok(())
    },
    peft_targets: &[],
    ..LLAMA
};

/// Layer by layer, whether it knows no positions.
fn unmarked(config: &DecoderConfig) -> impl Iterator<Item = bool> {
    let layers = config.attention();
    layers.map(|(_, attention)| attention.positions == Positions::Unmarked)
}

fn leave_unmarked(config: &mut DecoderConfig, is_unmarked: impl Fn(usize) -> bool) {
    for (index, attention) in config.attention_mut() {
        if is_unmarked(index) {
            attention.positions = Positions::Unmarked;
        }
    }
}

/// OLMo 2: norms after attention and MLP instead of before, and on all queries and all keys together.
pub const OLMO2: Family = Family {
    name: "olmo2",
    architecture: Some("olmo2"),
    names: &OLMO2_NAMES,
    fixed: &[SILU, NO_DROPOUT, WHOLE_HEADS],
    eps: ("rms_norm_eps", 1e-5),
    common: |config| {
        config.block = Block::PostNorm;
        config.query_key_norm = QueryKeyNorm::Whole;
    },
    hf: biases,
    class: "Olmo2ForCausalLM",
    peft_targets: &[],
    ..LLAMA
};
