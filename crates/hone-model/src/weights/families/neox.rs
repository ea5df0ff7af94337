//! EleutherAI's GPT-NeoX, and the Pythia models in its shape.

use super::Family;
use super::llama::{LLAMA, NAMES};
use crate::arch::{Activation, Block, Group, Names, NormAt, NormKind, Packing, Part, Place};

const GPT_NEOX_NAMES: Names = Names {
    layers: "gpt_neox.layers",
    embedding: ("gpt_neox.embed_in", "token_embd"),
    final_norm: ("gpt_neox.final_layer_norm", "output_norm"),
    head: Place::one("embed_out", "output", Group::Head, &[Part::Head]),
    places: &[
        Place {
            module: "attention.query_key_value",
            stored: "attention.query_key_value",
            gguf: "attn_qkv",
            group: Group::AttentionIn,
            parts: &[Part::Query, Part::Key, Part::Value],
            packing: Packing::ByKeyHead,
            is_parameter: false,
        },
        Place::one(
            "attention.dense",
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
    norms: &[
        (NormAt::AttentionIn, "input_layernorm", "attn_norm"),
        (NormAt::MlpIn, "post_attention_layernorm", "ffn_norm"),
    ],
    optional_prefix: "gpt_neox.",
    buffers: &[
        ".rotary_emb.inv_freq",
        ".attention.bias",
        ".attention.masked_bias",
    ],
    gguf_interleaves: false,
    ..NAMES
};

/// GPT-NeoX 20B, Pythia. Dropout of the base is not applied, as in evaluation.
pub const GPT_NEOX: Family = Family {
    name: "gpt_neox",
    architecture: Some("gptneox"),
    names: &GPT_NEOX_NAMES,
    fixed: &[],
    aliases: &[
        ("rope_theta", "rotary_emb_base"),
        ("partial_rotary_factor", "rotary_pct"),
    ],
    eps: ("layer_norm_eps", 1e-5),
    is_partial: true,
    rotary_share: 0.25,
    common: |config| {
        config.block = Block::ParallelTwoNorms;
        config.norm = NormKind::Layer;
        config.activation = Activation::GeluErf;
        config.mlp_bias = true;
    },
    hf: |fields, config| {
        config.activation = fields.one_of("hidden_act", "gelu", super::GELUS)?;
        config.attention_bias = fields.flag("attention_bias", true)?;
        config.output_bias = config.attention_bias;
        if !fields.flag("use_parallel_residual", true)? {
            config.block = Block::PreNorm;
        }
        Ok(())
    },
    gguf_keys: &["use_parallel_residual"],
    read_gguf: |metadata, config| {
        if metadata.flag("use_parallel_residual")? == Some(false) {
            config.block = Block::PreNorm;
        }
        Ok(())
    },
    write_gguf: |config, keys| keys.flag("use_parallel_residual", config.block.is_parallel()),
    class: "GPTNeoXForCausalLM",
    write_hf: |config, fields| {
        let word = super::word_of(config.activation, super::GELUS);
        fields.insert("hidden_act".into(), word);
        fields.insert("attention_bias".into(), config.attention_bias.into());
        let is_parallel = config.block.is_parallel();
        fields.insert("use_parallel_residual".into(), is_parallel.into());
    },
    not_in_llama_cpp: |config| {
        let why = "llama.cpp asks for biases in GPT-NeoX's attention";
        (!config.attention_bias).then_some(why)
    },
    peft_targets: &["query_key_value"],
    ..LLAMA
};
