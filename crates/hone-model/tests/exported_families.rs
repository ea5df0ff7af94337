//! Every family merged and exported: what is written is what llama.cpp's converter writes, and answers as the base with its
//! adapter beside it.

use std::path::{Path, PathBuf};

use hone_model::arch::DecoderConfig;
use hone_model::export::{
    ExportError, GgufKind, GgufMetadata, MergeDtype, hf_config, read_gguf_adapter, write_gguf,
    write_gguf_adapter, write_safetensors,
};
use hone_model::weights::{BaseWeights, Gguf, Value};
use hone_model::{AdapterFiles, AdapterWeights, BaseFormat, MergeBase, Merged, Model};
use hone_tensor::{Device, Format};
use serde_json::json;

/// Directories of `fixtures/families`, and whether llama.cpp has all that the model does.
fn families() -> Vec<String> {
    let entries = std::fs::read_dir(fixtures()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("base/config.json").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 20, "{names:?}");
    names
}

/// What llama.cpp does not have, and why.
const NOT_IN_LLAMA_CPP: [(&str, &str); 5] = [
    ("cohere", "of 64 layers and more"),
    ("falcon", "no biases in Falcon's linear layers"),
    ("gpt_neox-sequential", "asks for biases"),
    (
        "qwen3_moe",
        "have no experts, and llama.cpp wants them in all",
    ),
    ("stablelm-parallel", "of each head are not written yet"),
];

fn reason(family: &str) -> Option<&'static str> {
    let mut rows = NOT_IN_LLAMA_CPP.iter();
    rows.find(|row| row.0 == family).map(|row| row.1)
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/families")
}

fn base(family: &str, file: &str) -> BaseWeights {
    BaseWeights::open(&fixtures().join(family).join(file)).unwrap()
}

fn device() -> Device {
    Device::cpu(2).unwrap()
}

fn parts(family: &str) -> AdapterWeights {
    AdapterWeights::read(&fixtures().join(family).join("adapter"), None).unwrap()
}

/// Tokens of the text that all are asked about.
const IDS: usize = 20;

fn ids(model: &Model) -> Vec<u32> {
    let vocab = model.config().vocab_size as u32;
    (0..IDS as u32).map(|at| (at * 37 + 11) % vocab).collect()
}

/// After each of some tokens, as the engine computes it with the adapter beside the base.
fn expected(family: &str, base: &BaseWeights) -> Vec<f32> {
    let mut model = Model::load(base, &device(), BaseFormat::Stored, 64).unwrap();
    let files = AdapterFiles::read(&fixtures().join(family).join("adapter")).unwrap();
    let adapter = files.into_adapter(model.config(), model.device()).unwrap();
    model.attach(adapter);
    model.logits(&ids(&model)).unwrap()
}

fn plain(base: &BaseWeights) -> Vec<f32> {
    let model = Model::load(base, &device(), BaseFormat::Stored, 64).unwrap();
    model.logits(&ids(&model)).unwrap()
}

/// The greatest difference, of the greatest of `b`.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let most = |numbers: &mut dyn Iterator<Item = f32>| numbers.fold(0.0f32, f32::max);
    let off = most(&mut a.iter().zip(b).map(|(x, y)| (x - y).abs()));
    off / most(&mut b.iter().map(|x| x.abs()))
}

fn write(
    base: &BaseWeights,
    adapters: Vec<AdapterWeights>,
    kind: &str,
    path: &Path,
) -> Result<(), ExportError> {
    let merged = Merged::new(base, adapters, MergeBase::Original, &device()).unwrap();
    let extra = GgufMetadata::default();
    write_gguf(&merged, path, kind.parse().unwrap(), extra)
}

/// The fixtures' files were made with the names, keys, types and orders of rows of the `gguf` package.
#[test]
fn a_base_is_exported_as_llama_cpps_converter_writes_it() {
    let dir = tempfile::tempdir().unwrap();
    for family in families() {
        let theirs = fixtures().join(&family).join("base.gguf");
        if !theirs.is_file() || reason(&family).is_some() {
            continue;
        }
        let path = dir.path().join(format!("{family}.gguf"));
        write(&base(&family, "base"), vec![], "bf16", &path).unwrap();
        let (ours, theirs) = (Gguf::open(&path).unwrap(), Gguf::open(&theirs).unwrap());
        for key in theirs.keys() {
            // Tokens are the tokenizer's to say, and the context of Phi-3 ends with windows that llama.cpp passes over.
            let is_ours = key.starts_with("tokenizer.") || key == "phi3.context_length";
            if !is_ours {
                assert!(same(ours.get(key), theirs.get(key)), "{family}: {key}");
            }
        }
        let names = |gguf: &Gguf| -> Vec<String> {
            gguf.tensors().map(|tensor| tensor.0.to_owned()).collect()
        };
        assert_eq!(names(&ours), names(&theirs), "{family}");
        for name in names(&theirs) {
            let read = |gguf: &Gguf| gguf.matrix(&name).unwrap().unwrap();
            let (ours, theirs) = (read(&ours), read(&theirs));
            assert_eq!(ours.to_f32(), theirs.to_f32(), "{family}: {name}");
            // The converter keeps positions in full.
            let full = name == "position_embd.weight";
            assert!(full || ours.format() == theirs.format(), "{family}: {name}");
        }
    }
}

/// Numbers come as f64 here and f32 there.
fn same(ours: Option<&Value>, theirs: Option<&Value>) -> bool {
    match (ours, theirs) {
        (Some(Value::Float(ours)), Some(Value::Float(theirs))) => *ours as f32 == *theirs as f32,
        (ours, theirs) => ours == theirs,
    }
}

#[test]
fn merged_equals_base_plus_adapter_in_every_family_and_form() {
    let dir = tempfile::tempdir().unwrap();
    for family in families() {
        let base = base(&family, "base");
        let expected = expected(&family, &base);
        assert!(
            difference(&plain(&base), &expected) > 1e-2,
            "{family}: the adapter does nothing"
        );
        let merged = Merged::new(&base, vec![parts(&family)], MergeBase::Original, &device());
        let merged = merged.unwrap();
        let out = dir.path().join(&family);
        std::fs::create_dir_all(&out).unwrap();
        write_safetensors(&merged, &out, MergeDtype::F32, u64::MAX).unwrap();
        let config = fixtures().join(&family).join("base/config.json");
        std::fs::copy(config, out.join("config.json")).unwrap();
        let written = BaseWeights::open(&out).unwrap();
        let off = difference(&plain(&written), &expected);
        assert!(off < 2e-5, "{family}: {off:e} as safetensors");
        let left = merged.residual(&written).unwrap();
        assert!(left.iter().all(|left| left.is_rounding()), "{family}");

        let path = out.join("merged.gguf");
        let result = write(&base, vec![parts(&family)], "f32", &path);
        if let Some(reason) = reason(&family) {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
            continue;
        }
        result.unwrap();
        let written = BaseWeights::open(&path).unwrap();
        // Beyond its context a file without windows computes something else.
        let rows = written.config().context_len.min(IDS) * written.config().vocab_size;
        let off = difference(&plain(&written)[..rows], &expected[..rows]);
        assert!(off < 2e-5, "{family}: {off:e} as GGUF");
        for kind in ["q8_0", "q4_k_m"] {
            // Rows of 32 numbers have no blocks of 256.
            write(&base, vec![], kind, &path).unwrap();
            let written = BaseWeights::open(&path).unwrap();
            assert!(written.formats().iter().all(|row| row.0 != Format::Q4K));
            let off = difference(&plain(&written)[..rows], &plain(&base)[..rows]);
            // A token that is rounded may go to another expert.
            let bound = if base.config().experts.is_some() {
                1.0
            } else {
                0.5
            };
            assert!(off < bound, "{family}: {off:e} as {kind}");
        }
    }
}

#[test]
fn adapters_of_every_family_go_through_gguf() {
    let dir = tempfile::tempdir().unwrap();
    for family in families() {
        let base = base(&family, "base");
        let ours = parts(&family);
        let path = dir.path().join("adapter.gguf");
        write_gguf_adapter(&ours, base.config(), "test", &path).unwrap();
        let read = read_gguf_adapter(&path, base.config()).unwrap();
        assert!(ours.pairs.keys().eq(read.pairs.keys()), "{family}");
        assert_eq!(ours.parameters, read.parameters, "{family}");
        for (module, pair) in &ours.pairs {
            let again = &read.pairs[module];
            assert_eq!(pair.a, again.a, "{family}: {module}");
            let scaled =
                |b: &[f32], scale: f32| -> Vec<f32> { b.iter().map(|x| x * scale).collect() };
            let (was, is) = (scaled(&pair.b, pair.scale), scaled(&again.b, again.scale));
            assert!(difference(&is, &was) < 1e-6, "{family}: {module}");
        }
    }
}

#[test]
fn settings_that_gguf_has_no_word_for_are_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    for (family, field, value, expected) in [
        (
            "phi",
            "hidden_act",
            "\"gelu\"",
            "phi model: its `activation` is \"gelu_erf\", and a reader of the file would take \"gelu_tanh\"",
        ),
        (
            "smollm3",
            "no_rope_layers",
            "[0, 1, 1, 0]",
            "smollm3 model: its `layers` is",
        ),
        (
            "gemma2",
            "query_pre_attn_scalar",
            "99",
            "gemma2 model: its `attention_scale` is",
        ),
    ] {
        let copy = dir.path().join(family);
        std::fs::create_dir_all(&copy).unwrap();
        let from = fixtures().join(family).join("base");
        for name in ["model.safetensors", "config.json"] {
            std::fs::copy(from.join(name), copy.join(name)).unwrap();
        }
        let config = std::fs::read(copy.join("config.json")).unwrap();
        let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        config[field] = serde_json::from_str(value).unwrap();
        std::fs::write(copy.join("config.json"), config.to_string()).unwrap();
        let path = dir.path().join("model.gguf");
        let base = BaseWeights::open(&copy).unwrap();
        let message = write(&base, vec![], "f32", &path).unwrap_err().to_string();
        assert!(
            message.starts_with("no GGUF file can say all of this "),
            "{message}"
        );
        assert!(message.contains(expected), "{message}");
        assert!(!path.exists());
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn a_context_ends_with_the_windows_that_gguf_has_no_word_for() {
    let dir = tempfile::tempdir().unwrap();
    let base = base("mistral", "base");
    let window = base.config().windows().next().unwrap().unwrap();
    assert!(window < base.config().context_len);
    let path = dir.path().join("model.gguf");
    write(&base, vec![], "f32", &path).unwrap();
    let written = BaseWeights::open(&path).unwrap();
    assert_eq!(written.config().context_len, window);
    assert_eq!(written.config().windows().next(), Some(None));
    assert_eq!(written.config().model_type, "llama");
}

#[test]
fn a_gguf_base_becomes_a_directory_that_is_the_same_model() {
    let dir = tempfile::tempdir().unwrap();
    for family in families() {
        if !fixtures().join(&family).join("base.gguf").is_file() {
            continue;
        }
        let base = base(&family, "base.gguf");
        let merged = Merged::new(&base, vec![], MergeBase::Original, &device()).unwrap();
        let out = dir.path().join(&family);
        std::fs::create_dir_all(&out).unwrap();
        write_safetensors(&merged, &out, MergeDtype::F32, u64::MAX).unwrap();
        let config = hf_config(base.config(), "float32").unwrap();
        std::fs::write(out.join("config.json"), config.to_string()).unwrap();
        let written = BaseWeights::open(&out).unwrap();
        assert_eq!(plain(&written), plain(&base), "{family}");
        // Its names are those of the model that transformers wrote.
        let theirs = BaseWeights::open(&fixtures().join(&family).join("base")).unwrap();
        assert!(theirs.names().eq(written.names()), "{family}");
        let own = std::fs::read(fixtures().join(&family).join("base/config.json")).unwrap();
        let own: serde_json::Value = serde_json::from_slice(&own).unwrap();
        for field in ["architectures", "model_type"] {
            assert_eq!(config[field], own[field], "{family}");
        }
    }
}

#[test]
fn llama_3s_stretching_is_recognised_in_gguf() {
    let config = json!({
        "model_type": "llama", "vocab_size": 96, "hidden_size": 64, "intermediate_size": 80, "num_hidden_layers": 1,
        "num_attention_heads": 1, "num_key_value_heads": 1, "rope_theta": 500000.0, "max_position_embeddings": 131072,
        "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192},
    });
    let path = Path::new("config.json");
    let config = DecoderConfig::from_hf(config.to_string().as_bytes(), path).unwrap();
    let there = config.in_gguf();
    assert!(there.difference(&config).is_some());
    let written = hf_config(&there, "float32").unwrap();
    let read = DecoderConfig::from_hf(written.to_string().as_bytes(), path).unwrap();
    assert_eq!(config.difference(&read), None);
}

#[test]
fn kinds_are_named_as_llama_cpp_names_them() {
    assert_eq!("Q4_K_M".parse(), Ok(GgufKind::Q4KM));
    assert!("q9".parse::<GgufKind>().unwrap_err().contains("q8_0, q4_0"));
}
