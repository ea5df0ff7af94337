//! TII's Falcon: attention and MLP in parallel, queries and keys in one linear layer.

use super::Family;
use super::llama::{LLAMA, NAMES};
use crate::arch::{
    Activation, Block, Group, Names, NormAt, NormKind, NormName, Packing, Part, Place,
};
use crate::weights::hf_fields::Only;

const ONE_NORM: NormName = (NormAt::AttentionIn, "input_layernorm", "attn_norm");

/// Of models with one norm for both branches.
const FALCON_NAMES: Names = Names {
    layers: "transformer.h",
    embedding: ("transformer.word_embeddings", "token_embd"),
    final_norm: ("transformer.ln_f", "output_norm"),
    places: &[
        Place {
            module: "self_attention.query_key_value",
            stored: "self_attention.query_key_value",
            gguf: "attn_qkv",
            group: Group::AttentionIn,
            parts: &[Part::Query, Part::Key, Part::Value],
            packing: Packing::ByKeyHead,
            is_parameter: false,
        },
        Place::one(
            "self_attention.dense",
            "attn_output",
            Group::AttentionOut,
            &[Part::Output],
        ),
        Place::one("mlp.dense_h_to_4h", "ffn_up", Group::MlpIn, &[Part::Up]),
        Place::one(
            "mlp.dense_4h_to_h",
            "ffn_down",
            Group::MlpOut,
            &[Part::Down],
        ),
    ],
    norms: &[ONE_NORM],
    optional_prefix: "transformer.",
    gguf_interleaves: false,
    ..NAMES
};

/// Of models with a norm for each branch.
const TWO_NORMS: Names = Names {
    norms: &[
        (NormAt::AttentionIn, "ln_attn", "attn_norm_2"),
        (NormAt::MlpIn, "ln_mlp", "attn_norm"),
    ],
    ..FALCON_NAMES
};

/// Falcon 7B, 40B, 180B and Falcon 2 11B.
pub const FALCON: Family = Family {
    name: "falcon",
    architecture: Some("falcon"),
    names: &FALCON_NAMES,
    fixed: &[
        ("alibi", Only::Flag(false)),
        ("parallel_attn", Only::Flag(true)),
    ],
    aliases: &[
        ("num_key_value_heads", "num_kv_heads"),
        ("intermediate_size", "ffn_hidden_size"),
        ("hidden_size", "n_embed"),
    ],
    eps: ("layer_norm_epsilon", 1e-5),
    ff_times: Some(4),
    tied_by_default: true,
    common: |config| {
        config.block = Block::Parallel;
        config.norm = NormKind::Layer;
        config.activation = Activation::GeluErf;
    },
    hf: |fields, config| {
        config.activation = fields.one_of("activation", "gelu", super::GELUS)?;
        let bias = fields.flag("bias", false)?;
        config.attention_bias = bias;
        config.output_bias = bias;
        config.mlp_bias = bias;
        let is_new = fields.flag("new_decoder_architecture", false)?;
        // The old architecture has one key head, or one for each query head.
        if !is_new {
            config.num_kv_heads = match fields.flag("multi_query", true)? {
                true => 1,
                false => config.num_heads,
            };
        }
        let default = if is_new { 2 } else { 1 };
        match fields.get("num_ln_in_parallel_attn")?.unwrap_or(default) {
            2 if is_new => {
                config.block = Block::ParallelTwoNorms;
                config.names = &TWO_NORMS;
            }
            1 => {}
            count => {
                return Err(fields.unsupported(
                    "num_ln_in_parallel_attn",
                    count,
                    "1, or 2 in the new architecture",
                ));
            }
        }
        Ok(())
    },
    gguf_keys: &["tensor_data_layout"],
    read_gguf: |metadata, config| {
        if metadata.has("blk.0.attn_norm_2.weight") {
            config.block = Block::ParallelTwoNorms;
            config.names = &TWO_NORMS;
        }
        Ok(())
    },
    write_gguf: |_, keys| keys.text("tensor_data_layout", "jploski"),
    class: "FalconForCausalLM",
    write_hf: |config, fields| {
        let has_two_norms = config.block == Block::ParallelTwoNorms;
        let is_single = config.num_kv_heads == 1;
        // The old architecture has one norm, and one key head or one for each query head.
        let is_new = has_two_norms || !is_single && config.num_kv_heads != config.num_heads;
        for (field, value) in [
            (
                "activation",
                super::word_of(config.activation, super::GELUS),
            ),
            ("bias", config.attention_bias.into()),
            ("alibi", false.into()),
            ("parallel_attn", true.into()),
            ("new_decoder_architecture", is_new.into()),
            ("multi_query", is_single.into()),
        ] {
            fields.insert(field.into(), value);
        }
        if is_new {
            let norms = if has_two_norms { 2 } else { 1 };
            fields.insert("num_ln_in_parallel_attn".into(), norms.into());
        }
    },
    not_in_llama_cpp: |config| {
        let why = "llama.cpp has no biases in Falcon's linear layers";
        config.attention_bias.then_some(why)
    },
    peft_targets: &["query_key_value"],
    ..LLAMA
};
