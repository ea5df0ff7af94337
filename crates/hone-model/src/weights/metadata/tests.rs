//! Configurations as they are read of both kinds of file, and what is refused.

use std::path::Path;

use serde_json::{Value as Json, json};

use crate::arch::{
    Activation, Block, DecoderConfig, LayerSpec, NormKind, QueryKeyNorm, Rope, RopeLayout,
    RopeScaling,
};
use crate::weights::ConfigError;
use crate::weights::families::LLAMA_NAMES;
use crate::weights::gguf::tests as written;

fn small() -> Json {
    json!({
        "model_type": "llama", "vocab_size": 300, "hidden_size": 32, "intermediate_size": 80,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu",
        "rms_norm_eps": 1e-5, "max_position_embeddings": 2048, "bos_token_id": 1, "eos_token_id": [2, 5],
        "torch_dtype": "float32", "use_cache": true,
    })
}

fn with(changes: Json) -> Result<DecoderConfig, ConfigError> {
    let mut config = small();
    for (field, value) in changes.as_object().unwrap() {
        config[field] = value.clone();
    }
    DecoderConfig::from_hf(config.to_string().as_bytes(), Path::new("config.json"))
}

fn refusal(changes: Json) -> String {
    with(changes).unwrap_err().to_string()
}

#[test]
fn absent_fields_have_the_values_transformers_gives_them() {
    let config = with(json!({})).unwrap();
    let expected = DecoderConfig {
        model_type: "llama".into(),
        vocab_size: 300,
        d_model: 32,
        num_layers: 2,
        num_heads: 4,
        num_kv_heads: 2,
        head_dim: 8,
        d_ff: 80,
        norm_eps: 1e-5,
        block: Block::PreNorm,
        norm: NormKind::Rms,
        norm_offset: 0.0,
        query_key_norm: QueryKeyNorm::None,
        activation: Activation::GatedSilu,
        rope: Rope {
            theta: 10_000.0,
            scaling: RopeScaling::None,
        },
        local_rope: None,
        rotary_dim: 8,
        rope_pairs: RopeLayout::HalfSplit,
        learned_positions: false,
        layers: vec![LayerSpec::PLAIN; 2],
        experts: None,
        attention_scale: 8_f32.sqrt().recip(),
        attention_cap: None,
        logit_cap: None,
        embedding_scale: 1.0,
        residual_scale: 1.0,
        logit_scale: 1.0,
        tied_head: false,
        attention_bias: false,
        output_bias: false,
        mlp_bias: false,
        head_bias: false,
        names: &LLAMA_NAMES,
        context_len: 2048,
        bos: Some(1),
        eos: vec![2, 5],
    };
    assert_eq!(config, expected);
    assert_eq!(with(json!({"eos_token_id": 2})).unwrap().eos, [2]);
    assert_eq!(
        with(json!({"num_key_value_heads": null}))
            .unwrap()
            .num_kv_heads,
        4
    );
}

#[test]
fn rope_is_read_as_transformers_4_and_5_write_it() {
    let llama3 = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 1024,
    });
    let older = with(json!({"rope_theta": 500000.0, "rope_scaling": llama3}))
        .unwrap()
        .rope;
    let mut newer = llama3.clone();
    newer["rope_theta"] = json!(500000.0);
    assert_eq!(with(json!({"rope_parameters": newer})).unwrap().rope, older);
    assert_eq!(older.theta, 500_000.0);
    let expected = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 1024,
    };
    assert_eq!(older.scaling, expected);
    let linear = with(json!({"rope_scaling": {"type": "linear", "factor": 2}})).unwrap();
    assert_eq!(linear.rope.scaling, RopeScaling::Linear { factor: 2.0 });
}

#[test]
fn what_would_change_the_arithmetic_is_refused_by_name() {
    let cases = [
        (
            json!({"model_type": "mamba"}),
            "`model_type` is `mamba`; Hone supports llama, mistral, qwen2, qwen3, granite, smollm3, olmo2, phi3, gemma, gemma2, gemma3_text, cohere, stablelm, starcoder2, phi, gpt_neox, falcon, gpt2, mixtral, qwen3_moe",
        ),
        (
            json!({"hidden_act": "gelu"}),
            "`hidden_act` is \"gelu\"; Hone supports `silu`",
        ),
        (
            json!({"pretraining_tp": 2}),
            "`pretraining_tp` is 2; Hone supports 1",
        ),
        (
            json!({"attention_dropout": 0.1}),
            "`attention_dropout` is 0.1; Hone supports 0",
        ),
        (
            json!({"sliding_window": 4096}),
            "`sliding_window` is 4096; Hone supports models without it",
        ),
        (
            json!({"rope_scaling": {"rope_type": "dynamic", "factor": 4}}),
            "`rope_scaling.rope_type` is `dynamic`; Hone supports default, linear, llama3, yarn, longrope",
        ),
        (
            json!({"rope_scaling": {"factor": 4}}),
            "`rope_scaling.factor` is set; Hone supports no such setting for rope type `default`",
        ),
        (
            json!({"rope_parameters": {"rope_type": "linear", "factor": 2, "mscale": 1}}),
            "`rope_parameters.mscale` is set; Hone supports no such setting for rope type `linear`",
        ),
        (
            json!({"rope_parameters": {"partial_rotary_factor": 0.5}}),
            "`rope_parameters.partial_rotary_factor` is set; Hone supports no such setting for rope type `default`",
        ),
    ];
    for (changes, message) in cases {
        assert_eq!(refusal(changes), format!("config.json: {message}"));
    }
}

#[test]
fn missing_and_contradictory_fields_are_refused() {
    let cases = [
        (json!({"vocab_size": null}), "`vocab_size` is missing"),
        (
            json!({"rope_scaling": {"type": "linear"}}),
            "`rope_scaling.factor` is missing",
        ),
        (
            json!({"num_attention_heads": 0}),
            "a width of 32 does not divide into 0 heads",
        ),
        (
            json!({"num_attention_heads": 5}),
            "a width of 32 does not divide into 5 heads",
        ),
        (
            json!({"num_key_value_heads": 3}),
            "4 query heads cannot share 3 key/value heads evenly",
        ),
        (
            json!({"num_key_value_heads": 0}),
            "the key/value head count is 0",
        ),
        (
            json!({"head_dim": 7}),
            "rotary positions need an even head width, not 7",
        ),
        (
            json!({"intermediate_size": 1_u64 << 40}),
            "the MLP width is 1099511627776, and 2147483647 is the most",
        ),
        (
            json!({"rope_theta": -1}),
            "norm epsilon 0.00001 and rope theta -1 must be positive",
        ),
        (
            json!({"rope_scaling": {"type": "linear", "factor": 0}}),
            "rope scaling Linear { factor: 0.0 } makes a pair turn by inf",
        ),
    ];
    for (changes, message) in cases {
        assert_eq!(refusal(changes), format!("config.json: {message}"));
    }
}

/// A llama's metadata with some keys set to other values (an empty one takes the key away), and its tensors.
fn gguf(
    changes: &[(&str, u32, &[u8])],
    tensors: Vec<Vec<u8>>,
) -> Result<DecoderConfig, ConfigError> {
    let number = |value: u32| value.to_le_bytes().to_vec();
    let mut keys = vec![
        ("general.architecture", 8, written::text("llama")),
        ("llama.context_length", 4, number(2048)),
        ("llama.embedding_length", 4, number(32)),
        ("llama.block_count", 4, number(2)),
        ("llama.feed_forward_length", 4, number(80)),
        ("llama.attention.head_count", 4, number(4)),
        ("llama.attention.head_count_kv", 4, number(2)),
        (
            "llama.attention.layer_norm_rms_epsilon",
            6,
            1e-5_f32.to_le_bytes().to_vec(),
        ),
        ("llama.vocab_size", 4, number(300)),
        ("tokenizer.ggml.bos_token_id", 4, number(1)),
        ("tokenizer.ggml.eos_token_id", 4, number(2)),
    ];
    for (key, id, value) in changes {
        keys.retain(|row| row.0 != *key);
        keys.extend((!value.is_empty()).then(|| (*key, *id, value.to_vec())));
    }
    let metadata = keys
        .iter()
        .map(|(key, id, value)| written::key(key, *id, value))
        .collect();
    let file = written::Writer {
        version: 3,
        metadata,
        tensors,
        data: 4096,
    }
    .parse()
    .unwrap();
    DecoderConfig::from_gguf(&file, Path::new("m.gguf"))
}

#[test]
fn gguf_metadata_says_what_config_json_says() {
    let hf = with(json!({"tie_word_embeddings": true, "eos_token_id": 2})).unwrap();
    assert_eq!(gguf(&[], vec![]).unwrap(), hf);
    let linear: [(&str, u32, &[u8]); 3] = [
        ("llama.rope.scaling.type", 8, &written::text("linear")),
        ("llama.rope.scaling.factor", 6, &4_f32.to_le_bytes()),
        ("tokenizer.ggml.eot_token_id", 4, &7_u32.to_le_bytes()),
    ];
    let config = gguf(
        &linear,
        vec![written::tensor("output.weight", &[32, 3], 0, 0)],
    )
    .unwrap();
    assert_eq!(config.rope.scaling, RopeScaling::Linear { factor: 4.0 });
    assert_eq!((config.eos, config.tied_head), (vec![2, 7], false));
}

#[test]
fn stretching_stored_as_a_tensor_is_read() {
    let factors = || vec![written::tensor("rope_freqs.weight", &[4], 0, 0)];
    // The writer's data is zeros: a pair that turns infinitely fast is refused, so the factors were read.
    let error = gguf(&[], factors()).unwrap_err().to_string();
    assert!(
        error.contains("Factors { factors: [0.0, 0.0, 0.0, 0.0] } makes a pair turn by inf"),
        "{error}"
    );
    let error = gguf(&[], vec![written::tensor("rope_freqs.weight", &[3], 0, 0)]).unwrap_err();
    assert_eq!(error.to_string(), "m.gguf: 3 rope factors for heads 8 wide");
    let factor: (&str, u32, &[u8]) = ("llama.rope.scaling.factor", 6, &4_f32.to_le_bytes());
    assert!(
        gguf(&[factor], factors())
            .unwrap_err()
            .to_string()
            .contains("linear beside rope_freqs")
    );
}

#[test]
fn gguf_metadata_that_would_change_the_arithmetic_is_refused() {
    let cases: [(&str, u32, &[u8], &str); 9] = [
        (
            "general.architecture",
            8,
            &written::text("mamba"),
            "`general.architecture` is `mamba`; Hone supports llama, qwen2, qwen3, granite, smollm3, olmo2, phi3, gemma, gemma2, gemma3, command-r, stablelm, starcoder2, phi2, gptneox, falcon, gpt2, qwen3moe",
        ),
        (
            "general.architecture",
            8,
            &[],
            "`general.architecture` is missing",
        ),
        (
            "llama.logit_scale",
            6,
            &[0; 4],
            "`llama.logit_scale` is set; Hone supports models without it",
        ),
        (
            "llama.expert_count",
            4,
            &[8, 0, 0, 0],
            "`llama.expert_used_count` is missing",
        ),
        (
            "llama.rope.dimension_count",
            4,
            &[4, 0, 0, 0],
            "`llama.rope.dimension_count` is 4; Hone supports the head width, 8",
        ),
        (
            "llama.rope.scaling.type",
            8,
            &written::text("yarn"),
            "`llama.rope.scaling.factor` is missing",
        ),
        (
            "llama.rope.scaling.type",
            8,
            &written::text("ntk"),
            "`llama.rope.scaling.type` is `ntk`; Hone supports none, linear, yarn, longrope",
        ),
        (
            "llama.block_count",
            4,
            &[],
            "`llama.block_count` is missing",
        ),
        (
            "llama.block_count",
            6,
            &[0; 4],
            "metadata `llama.block_count` should be an integer of 32 bits, found 0",
        ),
    ];
    for (key, id, value, message) in cases {
        let error = gguf(&[(key, id, value)], vec![]).unwrap_err();
        assert_eq!(error.to_string(), format!("m.gguf: {message}"));
    }
    assert!(gguf(&[("llama.expert_count", 4, &[0; 4])], vec![]).is_ok());
}

#[test]
fn broken_json_is_refused_by_line() {
    let error =
        DecoderConfig::from_hf(b"{\n\"model_type\": ", Path::new("config.json")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "config.json: EOF while parsing a value at line 2 column 14"
    );
    assert!(
        refusal(json!({"hidden_size": "wide"}))
            .contains("invalid type: string \"wide\", expected usize")
    );
}
