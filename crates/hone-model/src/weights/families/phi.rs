//! Microsoft's Phi: the first generations with layer norm and everything in parallel, the third nearly a llama with
//! its linear layers fused.

use super::Family;
use super::llama::{DOWN, KEY, LLAMA, NAMES, NORMS, OUTPUT, QUERY, VALUE};
use crate::arch::{Activation, Block, Group, Names, NormAt, NormKind, Packing, Part, Place};
use crate::weights::hf_fields::Only;

const PHI3_NAMES: Names = Names {
    places: &[
        Place {
            module: "self_attn.qkv_proj",
            stored: "self_attn.qkv_proj",
            gguf: "attn_qkv",
            group: Group::AttentionIn,
            parts: &[Part::Query, Part::Key, Part::Value],
            packing: Packing::Blocks,
            is_parameter: false,
        },
        OUTPUT,
        Place {
            module: "mlp.gate_up_proj",
            stored: "mlp.gate_up_proj",
            gguf: "ffn_up",
            group: Group::MlpIn,
            parts: &[Part::Gate, Part::Up],
            packing: Packing::Blocks,
            is_parameter: false,
        },
        DOWN,
    ],
    norms: &NORMS,
    gguf_interleaves: false,
    ..NAMES
};

/// Phi 3, 3.5 and 4: fused linear layers, LongRoPE, and in the smallest of the fourth only a part of a head turns.
/// Dropout of the base is not applied, as in evaluation.
pub const PHI3: Family = Family {
    name: "phi3",
    architecture: Some("phi3"),
    names: &PHI3_NAMES,
    fixed: &[("hidden_act", Only::Text("silu"))],
    eps: ("rms_norm_eps", 1e-5),
    is_partial: true,
    common: |_| (),
    hf: |fields, config| {
        let window = fields.get("sliding_window")?;
        fields.windows(config, window, |_| true)
    },
    gguf_keys: &["attention.sliding_window"],
    read_gguf: |metadata, config| {
        let window = metadata.window()?;
        let layers = config.attention_mut();
        layers.for_each(|(_, attention)| attention.window = window);
        Ok(())
    },
    write_gguf: super::window_to_gguf,
    class: "Phi3ForCausalLM",
    write_hf: |config, fields| {
        fields.insert("hidden_act".into(), "silu".into());
        super::windows_to_hf(config, fields);
    },
    windows_in_llama_cpp: super::Windows::PassedOver,
    peft_targets: &[],
    ..LLAMA
};

const PHI_NAMES: Names = Names {
    final_norm: ("model.final_layernorm", "output_norm"),
    places: &[
        QUERY,
        KEY,
        VALUE,
        Place::one(
            "self_attn.dense",
            "attn_output",
            Group::AttentionOut,
            &[Part::Output],
        ),
        Place::one("mlp.fc1", "ffn_up", Group::MlpIn, &[Part::Up]),
        Place::one("mlp.fc2", "ffn_down", Group::MlpOut, &[Part::Down]),
    ],
    norms: &[(NormAt::AttentionIn, "input_layernorm", "attn_norm")],
    gguf_interleaves: false,
    ..NAMES
};

/// Phi 1, 1.5 and 2. Dropout of the base is not applied, as in evaluation.
pub const PHI: Family = Family {
    name: "phi",
    architecture: Some("phi2"),
    names: &PHI_NAMES,
    fixed: &[("qk_layernorm", Only::Flag(false))],
    eps: ("layer_norm_eps", 1e-5),
    is_partial: true,
    rotary_share: 0.5,
    common: |config| {
        config.block = Block::Parallel;
        config.norm = NormKind::Layer;
        config.activation = Activation::GeluTanh;
        config.attention_bias = true;
        config.output_bias = true;
        config.mlp_bias = true;
        config.head_bias = true;
    },
    hf: |fields, config| {
        config.activation = fields.one_of("hidden_act", "gelu_new", super::GELUS)?;
        Ok(())
    },
    class: "PhiForCausalLM",
    write_hf: |config, fields| {
        let word = super::word_of(config.activation, super::GELUS);
        fields.insert("hidden_act".into(), word);
    },
    peft_targets: &["q_proj", "v_proj", "fc1", "fc2"],
    ..LLAMA
};
