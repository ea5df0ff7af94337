//! What of a base is read, from which of its files, and what is refused.

use super::*;
use crate::arch::RopeScaling;
use serde_json::Value as Json;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/models")
        .join(name)
}

fn open(name: &str) -> BaseWeights {
    BaseWeights::open(&fixture(name)).unwrap()
}

/// A copy of a fixture directory to spoil.
fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    dir
}

fn reconfigured(name: &str, field: &str, value: Json) -> WeightsError {
    let dir = copy(name);
    let path = dir.path().join("config.json");
    let mut config: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config[field] = value;
    std::fs::write(path, config.to_string()).unwrap();
    BaseWeights::open(dir.path()).unwrap_err()
}

fn farthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn a_directory_opens_with_every_weight_its_configuration_calls_for() {
    let tied = open("tiny-llama-tied");
    assert!(tied.config().tied_head);
    assert_eq!(tied.names().count(), 1 + 2 * 9 + 1);
    assert_eq!(tied.format_summary(), "F32");
    let untied = open("tiny-llama-untied");
    let q = untied
        .matrix("model.layers.1.self_attn.q_proj.weight")
        .unwrap();
    assert_eq!((q.rows(), q.cols()), (64, 32));
    assert_eq!(untied.matrix("lm_head.weight").unwrap().rows(), 300);
    assert_eq!(untied.vector("model.norm.weight").unwrap().len(), 32);
    let bias = open("tiny-llama-bias");
    assert_eq!(
        bias.vector("model.layers.0.self_attn.k_proj.bias")
            .unwrap()
            .len(),
        16
    );
    assert!(matches!(
        bias.config().rope.scaling,
        RopeScaling::Llama3 {
            original_context: 1024,
            ..
        }
    ));
}

#[test]
fn shards_hold_the_same_model_rounded_to_bf16() {
    let (whole, sharded) = (open("tiny-llama-untied"), open("tiny-llama-untied-sharded"));
    assert_eq!(sharded.format_summary(), "BF16");
    assert_eq!(whole.config(), sharded.config());
    for name in whole.names() {
        let (exact, rounded) = (whole.vector(name).unwrap(), sharded.vector(name).unwrap());
        let off = exact
            .iter()
            .zip(&rounded)
            .find(|(a, b)| (*a - *b).abs() > a.abs() / 256.0);
        assert_eq!(off, None, "{name}");
    }
}

#[test]
fn a_gguf_file_holds_the_same_model_with_rows_in_hugging_face_order() {
    let (whole, gguf) = (open("tiny-llama-untied"), open("tiny-llama.gguf"));
    assert_eq!(
        gguf.names().collect::<Vec<_>>(),
        whole.names().collect::<Vec<_>>()
    );
    assert_eq!(
        (gguf.config().head_dim, &gguf.config().rope),
        (16, &whole.config().rope)
    );
    assert_eq!(gguf.config().eos, [2]);
    for name in whole.names() {
        let (exact, stored) = (whole.vector(name).unwrap(), gguf.matrix(name).unwrap());
        let largest = exact
            .iter()
            .fold(0.0, |max: f32, value| max.max(value.abs()));
        let bits = match stored.format() {
            Format::F32 => 24,
            Format::F16 => 11,
            Format::Bf16 => 8,
            Format::Q8_0 => 7,
            Format::Q5_0 | Format::Q5_1 => 4,
            _ => 3,
        };
        let bound = largest / (1 << bits) as f32;
        let off = farthest(&exact, &stored.to_f32());
        assert!(
            off <= bound,
            "{name} as {}: off by {off}, bound {bound}",
            stored.format().name()
        );
    }
}

#[test]
fn a_wrong_name_is_answered_with_the_nearest() {
    let error = open("tiny-llama-tied")
        .matrix("model.layers.0.self_attn.q_prj.weight")
        .unwrap_err();
    assert_eq!(
        error.hints(),
        ["the nearest name there is `model.layers.0.self_attn.q_proj.weight`"]
    );
}

#[test]
fn configuration_and_weights_must_agree() {
    let error = reconfigured("tiny-llama-tied", "intermediate_size", 96.into());
    let expected = "tensor `model.layers.0.mlp.gate_proj.weight` is 80 × 32; the configuration calls for 96 × 32";
    assert!(error.to_string().ends_with(expected), "{error}");
    let error = reconfigured("tiny-llama-tied", "num_hidden_layers", 3.into());
    assert!(
        matches!(error, WeightsError::MissingTensor { name, .. } if name == "model.layers.2.input_layernorm.weight")
    );
    let error = reconfigured("tiny-llama-tied", "num_hidden_layers", 1.into());
    assert!(matches!(
        error,
        WeightsError::UnexpectedTensors { count: 9, .. }
    ));
    let error = reconfigured("tiny-llama-untied", "tie_word_embeddings", true.into());
    assert!(matches!(error, WeightsError::HeadIsNotEmbedding { .. }));
}

#[test]
fn end_tokens_of_the_generation_configuration_count() {
    let dir = copy("tiny-llama-tied");
    std::fs::write(
        dir.path().join("generation_config.json"),
        r#"{"eos_token_id": [2, 7]}"#,
    )
    .unwrap();
    assert_eq!(BaseWeights::open(dir.path()).unwrap().config().eos, [2, 7]);
}

#[test]
fn the_fingerprint_names_the_numbers_not_the_files() {
    let dir = copy("tiny-llama-tied");
    let original = open("tiny-llama-tied").fingerprint().unwrap();
    assert_eq!(
        BaseWeights::open(dir.path())
            .unwrap()
            .fingerprint()
            .unwrap(),
        original
    );
    let path = dir.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_ne!(
        BaseWeights::open(dir.path())
            .unwrap()
            .fingerprint()
            .unwrap(),
        original
    );
}

#[test]
fn nothing_and_the_wrong_thing_are_told_apart() {
    let error = BaseWeights::open(Path::new("no/such/model")).unwrap_err();
    assert_eq!(error.to_string(), "no/such/model does not exist");
    let error = BaseWeights::open(&fixture("tiny-llama-tied/model.safetensors")).unwrap_err();
    assert_eq!(
        error.hints(),
        ["give the directory that holds config.json, not the file of weights"]
    );
    let empty = tempfile::tempdir().unwrap();
    let error = BaseWeights::open(empty.path()).unwrap_err();
    assert!(
        error.to_string().contains("config.json cannot be read"),
        "{error}"
    );
}

#[test]
fn a_gguf_file_cut_at_every_fiftieth_is_refused_in_a_sentence() {
    let whole = std::fs::read(fixture("tiny-llama.gguf")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.gguf");
    for part in 0..50 {
        std::fs::write(&path, &whole[..whole.len() * part / 50]).unwrap();
        let error = BaseWeights::open(&path).unwrap_err();
        assert!(error.to_string().contains("cut.gguf: "), "{error}");
    }
}
