//! The families of models that the decoder computes: for each its names, and how its settings are read.
//!
//! A new family is a [`Family`] in a file here and a line of [`FAMILIES`].

mod cohere;
mod experts;
mod falcon;
mod gemma;
mod gpt2;
mod llama;
mod neox;
mod phi;
mod stablelm;
mod starcoder;

use serde_json::{Map, Value as Json};

use super::config_error::ConfigError;
use super::gguf_keys::{Keys, Metadata};
use super::hf_fields::{Fields, Only};
use crate::arch::{Activation, DecoderConfig, Names};

#[cfg(test)]
pub(super) use llama::NAMES as LLAMA_NAMES;

/// A kind of model this decoder computes.
pub(super) struct Family {
    /// `model_type` in config.json.
    pub name: &'static str,
    /// `general.architecture` in GGUF, where llama.cpp has it under a name of its own.
    pub architecture: Option<&'static str>,
    /// Whether layers have experts, which GGUF may call by the name of a family without.
    pub has_experts: bool,
    pub names: &'static Names,
    /// Fields of config.json that would change the arithmetic, each with the one value that is computed.
    pub fixed: &'static [(&'static str, Only)],
    /// The usual name of a field and the family's own.
    pub aliases: &'static [(&'static str, &'static str)],
    /// What config.json calls the number under the root of norms, and what it is if not said.
    pub eps: (&'static str, f64),
    /// Rotary base if not said.
    pub theta: f64,
    /// Width of a head if not said; otherwise it follows from the width of the stream.
    pub head_dim: Option<usize>,
    /// Width of the MLP, in widths of the stream, if not said.
    pub ff_times: Option<usize>,
    /// Whether a part of a head may turn, and how much of it does if not said.
    pub is_partial: bool,
    pub rotary_share: f64,
    /// Whether the head is the embedding when config.json does not say.
    pub tied_by_default: bool,
    /// What all models of the family have in common.
    pub common: fn(&mut DecoderConfig),
    /// What config.json says beyond what all families say.
    pub hf: fn(&Fields, &mut DecoderConfig) -> Result<(), ConfigError>,
    /// Metadata under the family's prefix, beyond what all families have; any other is refused.
    pub gguf_keys: &'static [&'static str],
    /// What GGUF says beyond what all families say.
    pub read_gguf: fn(&Metadata, &mut DecoderConfig) -> Result<(), ConfigError>,
    /// The same, written: what its files say beyond what all families' say.
    pub write_gguf: fn(&DecoderConfig, &mut Keys),
    /// What transformers calls the network.
    pub class: &'static str,
    /// What config.json says beyond what all families say, written.
    pub write_hf: fn(&DecoderConfig, &mut Map<String, Json>),
    pub windows_in_llama_cpp: Windows,
    /// Why llama.cpp computes something else than a model of these settings, or does not load it.
    pub not_in_llama_cpp: fn(&DecoderConfig) -> Option<&'static str>,
    /// What PEFT adapts if no targets are named.
    pub peft_targets: &'static [&'static str],
}

/// What llama.cpp makes of layers that see only so far back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Windows {
    /// Its files do not say them.
    Unsaid,
    /// They say them, and it computes without.
    PassedOver,
    /// It computes with them.
    Computed,
}

/// What config.json says of a family in its own words.
pub(crate) struct HfFamily {
    pub class: &'static str,
    /// What it calls the number under the root of norms.
    pub eps: &'static str,
    /// Whether heads have a width of their own if nothing is said.
    pub says_head_dim: bool,
    /// The usual name of a field and the family's own.
    pub aliases: &'static [(&'static str, &'static str)],
    /// Fields that only it has.
    pub own: Map<String, Json>,
}

/// The word for an activation, of the words that a family reads.
fn word_of(activation: Activation, words: &[(&'static str, Activation)]) -> Json {
    let found = words.iter().find(|row| row.1 == activation);
    found.map_or(Json::Null, |row| row.0.into())
}

/// Through the shortest decimal form, so that 1e-5 stays 1e-5.
pub(crate) fn decimal(x: f32) -> Json {
    x.to_string().parse::<f64>().map_or(Json::Null, Json::from)
}

/// `sliding_window`, and which layers have it where some have not.
fn windows_to_hf(config: &DecoderConfig, fields: &mut Map<String, Json>) {
    let mut windows = config.windows();
    let widest = windows.clone().flatten().max();
    fields.insert("sliding_window".into(), widest.into());
    if widest.is_some() && windows.any(|window| window.is_none()) {
        let kind = |window| match window {
            Some(_) => "sliding_attention",
            None => "full_attention",
        };
        let kinds: Vec<&str> = config.windows().map(kind).collect();
        fields.insert("layer_types".into(), kinds.into());
    }
}

/// Every family, in the order in which they are listed to users.
const FAMILIES: &[&Family] = &[
    &llama::LLAMA,
    &llama::MISTRAL,
    &llama::QWEN2,
    &llama::QWEN3,
    &llama::GRANITE,
    &llama::SMOLLM3,
    &llama::OLMO2,
    &phi::PHI3,
    &gemma::GEMMA,
    &gemma::GEMMA2,
    &gemma::GEMMA3,
    &cohere::COHERE,
    &stablelm::STABLELM,
    &starcoder::STARCODER2,
    &phi::PHI,
    &neox::GPT_NEOX,
    &falcon::FALCON,
    &gpt2::GPT2,
    &experts::MIXTRAL,
    &experts::QWEN3_MOE,
];

/// Fields that have one value in every family without experts.
pub(super) const WITHOUT_EXPERTS: &[(&str, Only)] = &[
    ("num_local_experts", Only::Nothing),
    ("num_experts", Only::Nothing),
];

pub(super) fn by_name(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name).copied()
}

/// The family that GGUF calls by this name, of two the one with experts or the one without.
pub(super) fn by_architecture(name: &str, has_experts: bool) -> Option<&'static Family> {
    let called = |family: &&&Family| family.architecture == Some(name);
    let mut exact = FAMILIES.iter().filter(called);
    let found = exact.find(|family| family.has_experts == has_experts);
    found.or_else(|| FAMILIES.iter().find(called)).copied()
}

/// What config.json may call a model.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|family| family.name)
}

/// What GGUF may call a model.
pub(super) fn architectures() -> impl Iterator<Item = &'static str> {
    let alone = |family: &&&Family| {
        !(family.has_experts && family.architecture == llama::LLAMA.architecture)
    };
    let families = FAMILIES.iter().filter(alone);
    families.filter_map(|family| family.architecture)
}

impl DecoderConfig {
    /// The name of transformers' class, the family's own names of fields, `(usual, own)`, and its own fields.
    pub(crate) fn hf_family(&self) -> Option<HfFamily> {
        let family = by_name(&self.model_type)?;
        let mut own = Map::new();
        (family.write_hf)(self, &mut own);
        Some(HfFamily {
            class: family.class,
            eps: family.eps.0,
            says_head_dim: family.head_dim.is_some(),
            aliases: family.aliases,
            own,
        })
    }

    /// `general.architecture` of its GGUF files; `None` where llama.cpp does not have it.
    pub fn gguf_architecture(&self) -> Option<&'static str> {
        let family = by_name(&self.model_type)?;
        // Those without a name of their own are llamas to llama.cpp.
        family.architecture.or(llama::LLAMA.architecture)
    }

    /// The linear layers that PEFT adapts in this family if no targets are named; empty where it asks for them.
    pub fn peft_targets(&self) -> &'static [&'static str] {
        by_name(&self.model_type).map_or(&[], |family| family.peft_targets)
    }
}

/// What transformers calls the two forms of GELU, without a gate.
const GELUS: &[(&str, Activation)] = &[
    ("gelu", Activation::GeluErf),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
];

/// Nothing beyond what all families say, in GGUF.
fn nothing_to_gguf(_: &DecoderConfig, _: &mut Keys) {}

/// Llama.cpp computes every model of the family.
fn all_in_llama_cpp(_: &DecoderConfig) -> Option<&'static str> {
    None
}

/// The width of the windows, of families whose files say it.
fn window_to_gguf(config: &DecoderConfig, keys: &mut Keys) {
    let window = config.windows().flatten().next();
    // Converters write 0 for none.
    keys.count("attention.sliding_window", window.unwrap_or(0));
}

/// Nothing beyond what all families say, in GGUF.
fn nothing_in_gguf(_: &Metadata, _: &mut DecoderConfig) -> Result<(), ConfigError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::arch::{Block, Positions, RopeScaling};

    fn read(config: &Json) -> Result<DecoderConfig, ConfigError> {
        DecoderConfig::from_hf(config.to_string().as_bytes(), Path::new("config.json"))
    }

    fn windows(config: &DecoderConfig) -> Vec<Option<usize>> {
        config.windows().collect()
    }

    #[test]
    fn each_family_has_one_name_in_each_kind_of_file() {
        for (at, family) in FAMILIES.iter().enumerate() {
            let others = &FAMILIES[at + 1..];
            assert!(others.iter().all(|other| other.name != family.name));
            let gguf = |family: &Family| family.architecture.map(|name| (name, family.has_experts));
            let own = gguf(family);
            assert!(own.is_none() || others.iter().all(|other| gguf(other) != own));
        }
    }

    /// DeepSeek's distilled models are llamas and Qwens with nothing of their own.
    #[test]
    fn distilled_models_open_as_what_they_were_distilled_into() {
        let llama = read(&json!({
            "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
            "bos_token_id": 128000, "eos_token_id": 128001, "hidden_act": "silu", "hidden_size": 4096,
            "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 131072,
            "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32,
            "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
            "rope_scaling": {
                "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192, "rope_type": "llama3",
            },
            "rope_theta": 500000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
            "transformers_version": "4.43.0.dev0", "use_cache": true, "vocab_size": 128256,
        }))
        .unwrap();
        assert!(matches!(
            llama.rope.scaling,
            RopeScaling::Llama3 { factor: 8.0, .. }
        ));
        let qwen = read(&json!({
            "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
            "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 1536, "initializer_range": 0.02,
            "intermediate_size": 8960, "max_position_embeddings": 131072, "max_window_layers": 21,
            "model_type": "qwen2", "num_attention_heads": 12, "num_hidden_layers": 28,
            "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 10000, "sliding_window": 4096,
            "tie_word_embeddings": false, "torch_dtype": "bfloat16", "use_cache": true, "use_mrope": false,
            "use_sliding_window": false, "vocab_size": 151936,
        }))
        .unwrap();
        assert!(qwen.attention_bias && !qwen.output_bias);
        assert_eq!(windows(&qwen), [None; 28]);
    }

    #[test]
    fn windows_begin_where_a_family_says() {
        let small = |model_type: &str, more: Json| {
            let mut config = json!({
                "model_type": model_type, "vocab_size": 300, "hidden_size": 32, "intermediate_size": 80,
                "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
            });
            for (field, value) in more.as_object().unwrap() {
                config[field] = value.clone();
            }
            read(&config)
        };
        let of = |model_type, more| windows(&small(model_type, more).unwrap());
        let (all, w) = (None, Some(9));
        assert_eq!(of("mistral", json!({"sliding_window": 9})), [w; 4]);
        assert_eq!(of("mistral", json!({"sliding_window": null})), [all; 4]);
        let from_second = json!({
            "use_sliding_window": true, "sliding_window": 9, "max_window_layers": 1,
        });
        assert_eq!(of("qwen2", from_second), [all, w, w, w]);
        assert_eq!(of("gemma2", json!({"sliding_window": 9})), [w, all, w, all]);
        let pattern = json!({"sliding_window": 9, "sliding_window_pattern": 3});
        assert_eq!(of("gemma3_text", pattern), [w, w, all, w]);
        let types = json!({
            "sliding_window": 9,
            "layer_types": ["full_attention", "full_attention", "sliding_attention", "full_attention"],
        });
        let unasked = small("qwen3", types.clone()).unwrap_err().to_string();
        assert_eq!(unasked, "config.json: `sliding_window` is missing");
        assert_eq!(of("gemma2", types), [all, all, w, all]);
        let scalar = small("gemma2", json!({"query_pre_attn_scalar": 144})).unwrap();
        assert_eq!(scalar.attention_scale, 1.0 / 12.0);
        let refused = |more| small("gemma2", more).unwrap_err().to_string();
        assert!(
            refused(json!({"layer_types": ["chunked_attention"]})).contains("chunked_attention")
        );
        assert!(refused(json!({"layer_types": ["full_attention"]})).contains("one for each of 4"));
        assert!(refused(json!({"sliding_window": 0})).contains("a layer sees 0 tokens"));
    }

    #[test]
    fn layers_of_smollm3_that_do_not_turn_are_every_fourth() {
        let config = read(&json!({
            "model_type": "smollm3", "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 11008,
            "num_hidden_layers": 8, "num_attention_heads": 16, "num_key_value_heads": 4,
            "rope_theta": 5000000.0, "max_window_layers": 28, "no_rope_layer_interval": 4,
            "layer_types": vec!["full_attention"; 8],
        }));
        for (index, attention) in config.unwrap().attention() {
            let is_fourth = index == 3 || index == 7;
            let is_unmarked = attention.positions == Positions::Unmarked;
            assert_eq!(is_unmarked, is_fourth, "layer {index}");
        }
    }

    #[test]
    fn gguf_names_follow_the_table() {
        let pairs = [
            (
                "model.layers.11.self_attn.o_proj.weight",
                Some("blk.11.attn_output.weight"),
            ),
            (
                "model.layers.0.self_attn.q_proj.bias",
                Some("blk.0.attn_q.bias"),
            ),
            ("model.norm.weight", Some("output_norm.weight")),
            ("lm_head.weight", Some("output.weight")),
            ("model.layers.0.self_attn.rotary_emb.inv_freq", None),
            ("weight", None),
        ];
        for (name, expected) in pairs {
            let found = LLAMA_NAMES.gguf_name(name);
            assert_eq!(found.as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn older_spellings_of_settings_are_read() {
        let pythia = read(&json!({
            "model_type": "gpt_neox", "vocab_size": 50304, "hidden_size": 512, "intermediate_size": 2048,
            "num_hidden_layers": 6, "num_attention_heads": 8, "rotary_pct": 0.25, "rotary_emb_base": 20000,
            "use_parallel_residual": true, "layer_norm_eps": 1e-05, "tie_word_embeddings": false,
        }))
        .unwrap();
        assert_eq!((pythia.rotary_dim, pythia.rope.theta), (16, 20_000.0));
        assert!(pythia.block == Block::ParallelTwoNorms && pythia.attention_bias);
        let gemma3 = read(&json!({
            "model_type": "gemma3_text", "vocab_size": 262144, "hidden_size": 1152, "head_dim": 256,
            "intermediate_size": 6912, "num_hidden_layers": 26, "num_attention_heads": 4,
            "num_key_value_heads": 1, "query_pre_attn_scalar": 256, "rope_local_base_freq": 20000,
            "rope_theta": 1000000, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "sliding_window": 512, "sliding_window_pattern": 6, "cache_implementation": "hybrid",
        }))
        .unwrap();
        assert_eq!(gemma3.rope.scaling, RopeScaling::Linear { factor: 8.0 });
        let local = gemma3.local_rope.unwrap();
        assert_eq!((local.theta, local.scaling), (20_000.0, RopeScaling::None));
        let phi3 = read(&json!({
            "model_type": "phi3", "vocab_size": 32064, "hidden_size": 32, "intermediate_size": 80,
            "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 131072,
            "original_max_position_embeddings": 4096, "sliding_window": 262144,
            "rope_scaling": {"type": "su", "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [2, 3, 4, 5]},
        }))
        .unwrap();
        let RopeScaling::Long {
            attention_factor, ..
        } = phi3.rope.scaling
        else {
            panic!("LongRoPE was asked for");
        };
        // √(1 + ln 32 / ln 4096)
        assert!((attention_factor - 1.190_238).abs() < 1e-6);
    }

    fn with_experts(model_type: &str, more: Json) -> Result<DecoderConfig, ConfigError> {
        let mut config = json!({
            "model_type": model_type, "vocab_size": 300, "hidden_size": 32, "intermediate_size": 80,
            "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2,
        });
        for (field, value) in more.as_object().unwrap() {
            config[field] = value.clone();
        }
        read(&config)
    }

    #[test]
    fn experts_stand_where_a_family_says() {
        let layers = |model_type, more| -> Vec<bool> {
            let config = with_experts(model_type, more).unwrap();
            (0..6)
                .map(|layer| config.experts_of(layer).is_some())
                .collect()
        };
        let (yes, no) = (true, false);
        assert_eq!(layers("mixtral", json!({})), [yes; 6]);
        assert_eq!(layers("qwen3_moe", json!({})), [yes; 6]);
        let every_second = json!({"decoder_sparse_step": 2, "mlp_only_layers": [3]});
        assert_eq!(
            layers("qwen3_moe", every_second),
            [no, yes, no, no, no, yes]
        );
        let of = |model_type, more| with_experts(model_type, more).unwrap().experts.unwrap();
        let mixtral = of("mixtral", json!({}));
        assert_eq!((mixtral.count, mixtral.per_token, mixtral.d_ff), (8, 2, 80));
        assert!(mixtral.is_normalised);
        let qwen = of(
            "qwen3_moe",
            json!({"num_experts": 12, "num_local_experts": 12}),
        );
        assert_eq!((qwen.count, qwen.per_token, qwen.d_ff), (12, 8, 768));
        assert!(!qwen.is_normalised);
    }

    #[test]
    fn settings_of_experts_that_cannot_be_are_refused_in_one_line() {
        let cases = [
            (
                "mixtral",
                json!({"num_local_experts": 1_u64 << 40}),
                "the expert count is 1099511627776, and 65536 is the most",
            ),
            (
                "qwen3_moe",
                json!({"num_experts": 100_000}),
                "the expert count is 100000, and 65536 is the most",
            ),
            (
                "mixtral",
                json!({"num_local_experts": 0}),
                "the expert count is 0",
            ),
            (
                "mixtral",
                json!({"num_experts_per_tok": 0}),
                "the count of experts for a token is 0",
            ),
            (
                "mixtral",
                json!({"num_experts_per_tok": 9}),
                "a token goes to 9 of 8 experts",
            ),
            (
                "qwen3_moe",
                json!({"moe_intermediate_size": 0}),
                "the width of an expert is 0",
            ),
            (
                "qwen3_moe",
                json!({"decoder_sparse_step": 0}),
                "`decoder_sparse_step` is 0; Hone supports at least 1",
            ),
            (
                "qwen3_moe",
                json!({"num_experts": 4, "num_local_experts": 5}),
                "`num_experts` is 4; Hone supports the 5 of num_local_experts",
            ),
            (
                "mixtral",
                json!({"router_jitter_noise": 0.1}),
                "`router_jitter_noise` is 0.1; Hone supports 0",
            ),
            (
                "mixtral",
                json!({"output_router_logits": true}),
                "`output_router_logits` is true; Hone supports false",
            ),
            (
                "llama",
                json!({"num_experts": 8}),
                "`num_experts` is 8; Hone supports models without it",
            ),
        ];
        for (model_type, more, message) in cases {
            let error = with_experts(model_type, more).unwrap_err();
            assert_eq!(error.to_string(), format!("config.json: {message}"));
        }
    }

    #[test]
    fn what_a_family_would_compute_otherwise_is_refused_by_name() {
        let cases = [
            (
                json!({"model_type": "falcon", "alibi": true}),
                "`alibi` is true; Hone supports false",
            ),
            (
                json!({"model_type": "gpt2", "scale_attn_by_inverse_layer_idx": true}),
                "scale_attn_by_inverse_layer_idx",
            ),
            (
                json!({"model_type": "phi", "qk_layernorm": true}),
                "`qk_layernorm` is true",
            ),
            (
                json!({"model_type": "gemma2", "hidden_activation": "relu"}),
                "`hidden_activation` is `relu`",
            ),
            (
                json!({"model_type": "gemma3_text", "use_bidirectional_attention": true}),
                "use_bidirectional_attention",
            ),
            (
                json!({"model_type": "starcoder2", "hidden_act": "silu"}),
                "`hidden_act` is `silu`",
            ),
            (
                json!({"model_type": "cohere", "num_local_experts": 8}),
                "`num_local_experts` is 8; Hone supports models without it",
            ),
            (
                json!({"model_type": "falcon", "num_ln_in_parallel_attn": 2}),
                "num_ln_in_parallel_attn",
            ),
        ];
        for (mut config, part) in cases {
            let sizes = json!({
                "vocab_size": 300, "hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 2,
                "num_attention_heads": 4,
            });
            for (field, value) in sizes.as_object().unwrap() {
                config[field] = value.clone();
            }
            let error = read(&config).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
