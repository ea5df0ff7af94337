//! OpenAI's GPT-2: learned positions, layer norms, and linear layers stored the other way round.

use super::Family;
use super::llama::{LLAMA, NAMES};
use crate::arch::{
    Activation, DecoderConfig, Group, Names, NormAt, NormKind, Packing, Part, Place, Positions,
};
use crate::weights::hf_fields::Only;

const GPT2_NAMES: Names = Names {
    layers: "transformer.h",
    embedding: ("transformer.wte", "token_embd"),
    positions: Some(("transformer.wpe", "position_embd")),
    final_norm: ("transformer.ln_f", "output_norm"),
    places: &[
        Place {
            module: "attn.c_attn",
            stored: "attn.c_attn",
            gguf: "attn_qkv",
            group: Group::AttentionIn,
            parts: &[Part::Query, Part::Key, Part::Value],
            packing: Packing::Blocks,
            is_parameter: false,
        },
        Place::one(
            "attn.c_proj",
            "attn_output",
            Group::AttentionOut,
            &[Part::Output],
        ),
        Place::one("mlp.c_fc", "ffn_up", Group::MlpIn, &[Part::Up]),
        Place::one("mlp.c_proj", "ffn_down", Group::MlpOut, &[Part::Down]),
    ],
    norms: &[
        (NormAt::AttentionIn, "ln_1", "attn_norm"),
        (NormAt::MlpIn, "ln_2", "ffn_norm"),
    ],
    optional_prefix: "transformer.",
    buffers: &[".attn.bias", ".attn.masked_bias"],
    is_transposed: true,
    gguf_interleaves: false,
    ..NAMES
};

fn common(config: &mut DecoderConfig) {
    config.norm = NormKind::Layer;
    config.activation = Activation::GeluTanh;
    config.attention_bias = true;
    config.output_bias = true;
    config.mlp_bias = true;
    config.learned_positions = true;
    for (_, attention) in config.attention_mut() {
        attention.positions = Positions::Unmarked;
    }
}

/// GPT-2. Dropout of the base is not applied, as in evaluation.
pub const GPT2: Family = Family {
    name: "gpt2",
    architecture: Some("gpt2"),
    names: &GPT2_NAMES,
    fixed: &[
        ("scale_attn_weights", Only::Flag(true)),
        ("scale_attn_by_inverse_layer_idx", Only::Flag(false)),
        ("add_cross_attention", Only::Flag(false)),
    ],
    aliases: &[
        ("hidden_size", "n_embd"),
        ("num_attention_heads", "n_head"),
        ("num_hidden_layers", "n_layer"),
        ("intermediate_size", "n_inner"),
        ("max_position_embeddings", "n_positions"),
    ],
    eps: ("layer_norm_epsilon", 1e-5),
    ff_times: Some(4),
    tied_by_default: true,
    common,
    hf: |fields, config| {
        config.activation = fields.one_of("activation_function", "gelu_new", super::GELUS)?;
        Ok(())
    },
    class: "GPT2LMHeadModel",
    write_hf: |config, fields| {
        let word = super::word_of(config.activation, super::GELUS);
        fields.insert("activation_function".into(), word);
    },
    peft_targets: &["c_attn"],
    ..LLAMA
};
