//! Cohere's Command R: one layer norm without a bias, attention and MLP in parallel, scaled logits.

use super::Family;
use super::llama::{LLAMA, NAMES, NORMS, biases};
use crate::arch::{Block, Names, NormAt, NormKind, QueryKeyNorm, RopeLayout, RopeScaling};
use crate::weights::hf_fields::Only;

const COHERE_NAMES: Names = Names {
    norms: &[
        NORMS[0],
        (NormAt::Query, "self_attn.q_norm", "attn_q_norm"),
        (NormAt::Key, "self_attn.k_norm", "attn_k_norm"),
    ],
    gguf_interleaves: false,
    ..NAMES
};

/// From so many layers on llama.cpp looks for norms on queries and keys.
const LAYERS_WITH_NORMS: usize = 64;

/// Command R and R+, and Aya 23.
pub const COHERE: Family = Family {
    name: "cohere",
    architecture: Some("command-r"),
    names: &COHERE_NAMES,
    fixed: &[
        ("hidden_act", Only::Text("silu")),
        ("attention_dropout", Only::Number(0.0)),
    ],
    eps: ("layer_norm_eps", 1e-5),
    theta: 500_000.0,
    tied_by_default: true,
    common: |config| {
        config.block = Block::Parallel;
        config.norm = NormKind::LayerNoBias;
        config.rope_pairs = RopeLayout::Interleaved;
    },
    hf: |fields, config| {
        biases(fields, config)?;
        config.logit_scale = fields.number("logit_scale", 0.0625)?;
        if fields.flag("use_qk_norm", false)? {
            config.query_key_norm = QueryKeyNorm::EachHead;
        }
        Ok(())
    },
    gguf_keys: &["logit_scale"],
    read_gguf: |metadata, config| {
        config.logit_scale = metadata.number("logit_scale")?.unwrap_or(0.0625);
        if metadata.has("blk.0.attn_q_norm.weight") {
            config.query_key_norm = QueryKeyNorm::EachHead;
        }
        Ok(())
    },
    write_gguf: |config, keys| {
        keys.number("logit_scale", config.logit_scale);
        if config.rope.scaling == RopeScaling::None {
            keys.text("rope.scaling.type", "none");
        }
    },
    class: "CohereForCausalLM",
    write_hf: |config, fields| {
        fields.insert("hidden_act".into(), "silu".into());
        fields.insert("attention_bias".into(), config.attention_bias.into());
        fields.insert("logit_scale".into(), super::decimal(config.logit_scale));
        let has_norms = config.query_key_norm != QueryKeyNorm::None;
        fields.insert("use_qk_norm".into(), has_norms.into());
    },
    not_in_llama_cpp: |config| {
        let has_norms = config.query_key_norm != QueryKeyNorm::None;
        let why =
            "llama.cpp knows norms on queries and keys in Command R models of 64 layers and more";
        (has_norms && config.num_layers < LAYERS_WITH_NORMS).then_some(why)
    },
    peft_targets: &[],
    ..LLAMA
};
