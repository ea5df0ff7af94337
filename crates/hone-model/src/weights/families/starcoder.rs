//! StarCoder 2: layer norms, biases everywhere, and an MLP without a gate.

use super::Family;
use super::llama::{KEY, LLAMA, NAMES, OUTPUT, QUERY, VALUE};
use crate::arch::{Activation, Group, Names, NormKind, Part, Place};

const STARCODER2_NAMES: Names = Names {
    places: &[
        QUERY,
        KEY,
        VALUE,
        OUTPUT,
        Place::one("mlp.c_fc", "ffn_up", Group::MlpIn, &[Part::Up]),
        Place::one("mlp.c_proj", "ffn_down", Group::MlpOut, &[Part::Down]),
    ],
    gguf_interleaves: false,
    ..NAMES
};

/// StarCoder 2. Dropout of the base is not applied, as in evaluation.
pub const STARCODER2: Family = Family {
    name: "starcoder2",
    architecture: Some("starcoder2"),
    names: &STARCODER2_NAMES,
    fixed: &[],
    eps: ("norm_epsilon", 1e-5),
    tied_by_default: true,
    common: |config| {
        config.norm = NormKind::Layer;
        config.activation = Activation::GeluTanh;
    },
    hf: |fields, config| {
        config.activation = fields.one_of("hidden_act", "gelu_pytorch_tanh", super::GELUS)?;
        let bias = fields.flag("use_bias", true)?;
        config.attention_bias = bias;
        config.output_bias = bias;
        config.mlp_bias = bias;
        let window = fields.get("sliding_window")?;
        fields.windows(config, window, |_| true)
    },
    class: "Starcoder2ForCausalLM",
    write_hf: |config, fields| {
        let word = super::word_of(config.activation, super::GELUS);
        fields.insert("hidden_act".into(), word);
        fields.insert("use_bias".into(), config.attention_bias.into());
        super::windows_to_hf(config, fields);
    },
    peft_targets: &[],
    ..LLAMA
};
