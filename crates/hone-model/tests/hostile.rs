//! Files made to do harm: each is refused in one line that names it, without a panic and without the memory it asks for.
//!
//! They are built here, byte by byte, so that what is wrong with each can be read.

use std::path::{Path, PathBuf};

use hone_model::arch::{DecoderConfig, slots};
use hone_model::weights::BaseWeights;
use hone_model::{AdapterFiles, AdapterWeights, RawAdapter};
use hone_tensor::Device;
use serde_json::{Value as Json, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/models")
        .join(name)
}

/// A copy of a small model to spoil.
fn copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture("tiny-llama-tied")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    dir
}

/// The line that a model is refused with, after its directory's name.
fn refusal(dir: &Path) -> String {
    let error = BaseWeights::open(dir).expect_err("a hostile file");
    let line = error.to_string();
    assert!(!line.contains(char::is_control), "{line:?}");
    let rest = line.strip_prefix(&dir.display().to_string());
    rest.unwrap_or_else(|| panic!("{line} does not name the file"))
        .trim_start_matches('/')
        .to_owned()
}

fn with_safetensors(header: &[u8], data_bytes: usize) -> String {
    let length = (header.len() as u64).to_le_bytes();
    with_file(&[&length[..], header, &vec![0; data_bytes]].concat())
}

fn with_file(bytes: &[u8]) -> String {
    let dir = copy();
    std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
    refusal(dir.path())
}

#[test]
fn hostile_safetensors_end_in_one_line() {
    let headers: [(&str, &str); 18] = [
        ("not JSON", "{"),
        ("not an object", "[]"),
        ("cut text", r#"{"a"#),
        ("no offsets", r#"{"a":{"dtype":"F32","shape":[1]}}"#),
        (
            "unknown type",
            r#"{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}"#,
        ),
        (
            "backwards",
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
        ),
        (
            "negative",
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}"#,
        ),
        (
            "fraction",
            r#"{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,6]}}"#,
        ),
        (
            "not a number",
            r#"{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}"#,
        ),
        (
            "too long for its shape",
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}"#,
        ),
        (
            "beyond the file",
            r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}"#,
        ),
        (
            "overlap",
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
        ),
        (
            "a hole",
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
        ),
        (
            "shape overflows",
            r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]}}"#,
        ),
        (
            "offset overflows",
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,18446744073709551616]}}"#,
        ),
        (
            "metadata that is no text",
            r#"{"__metadata__":{"a":{"b":1}},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
        ),
        (
            "twice",
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
        ),
        (
            "twice in metadata",
            r#"{"__metadata__":{"a":"b","a":"c"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
        ),
    ];
    for (what, header) in headers {
        let line = with_safetensors(header.as_bytes(), 8);
        assert!(line.starts_with("model.safetensors"), "{what}: {line}");
    }
    let deep = [&b"{\"a\":".repeat(100_000)[..], b"1"].concat();
    assert!(with_safetensors(&deep, 8).starts_with("model.safetensors"));
    assert!(with_safetensors(b"{\"\xff\":1}", 8).starts_with("model.safetensors"));
    for length in [0, 1, u64::MAX, u64::MAX - 7, 1 << 63, 1 << 40, 100_000_001] {
        let line = with_file(&[&length.to_le_bytes()[..], b"{}      "].concat());
        assert!(
            line.starts_with("model.safetensors is not a whole"),
            "{line}"
        );
    }
    assert!(with_file(b"").contains("model.safetensors"));
    let twice = with_safetensors(headers[16].1.as_bytes(), 8);
    assert!(twice.contains("`a` appears twice"), "{twice}");
    for (name, shown) in [
        (r"a\nb", r"a\nb"),
        (r"\u001b[2J", r"\u{1b}[2J"),
        (r"\u202e", r"\u{202e}"),
    ] {
        let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}}}"#);
        let line = with_safetensors(header.as_bytes(), 8);
        assert!(line.contains(&format!("`{shown}` is no name")), "{line}");
    }
}

/// A copy of an adapter to spoil, and what putting it on its base says.
struct Spoiled(tempfile::TempDir);

impl Spoiled {
    fn new(adapter: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let from = fixture("../adapters").join(adapter);
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            std::fs::copy(from.join(file), dir.path().join(file)).unwrap();
        }
        Self(dir)
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        std::fs::write(self.0.path().join(file), bytes).unwrap();
    }

    fn setting(&self, key: &str, value: Json) {
        let path = self.0.path().join("adapter_config.json");
        let mut config: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config[key] = value;
        std::fs::write(path, config.to_string()).unwrap();
    }

    fn header(&self, header: &str, data_bytes: usize) {
        let length = (header.len() as u64).to_le_bytes();
        let file = [&length[..], header.as_bytes(), &vec![0; data_bytes]].concat();
        self.write("adapter_model.safetensors", &file);
    }

    /// What attaching says.
    fn attaching(&self) -> String {
        let base = BaseWeights::open(&fixture("tiny-llama-tied")).unwrap();
        let device = Device::cpu(1).unwrap();
        let read = AdapterFiles::read(self.0.path());
        let error = read
            .and_then(|files| files.into_adapter(base.config(), &device))
            .expect_err("a hostile adapter");
        self.line(&error.to_string())
    }

    /// What checking says, first of all.
    fn checking(&self) -> String {
        let error = AdapterWeights::read(self.0.path(), None).expect_err("a hostile adapter");
        self.line(&error.to_string())
    }

    fn line(&self, error: &str) -> String {
        assert!(!error.contains(char::is_control), "{error:?}");
        let dir = self.0.path().display().to_string();
        assert!(error.contains(&dir), "{error} does not name the file");
        error.replace(&dir, "")
    }
}

#[test]
fn hostile_weights_of_adapters_end_in_one_line() {
    let headers = [
        ("{", "EOF while parsing"),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
            "",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}"#,
            "",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
            "",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}}"#,
            "",
        ),
        (
            r#"{"a":{"dtype":"F4","shape":[9223372036854775808,2],"data_offsets":[0,8]}}"#,
            "",
        ),
        (
            r#"{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#,
            "`a`",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            "",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
            "`a`",
        ),
        (
            r#"{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight":{"dtype":"F32","shape":[18446744073709551615,0],"data_offsets":[0,0]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            "",
        ),
        (
            r#"{"a\nb":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            r"a\nb",
        ),
    ];
    for (header, part) in headers {
        let adapter = Spoiled::new("tiny-llama-tied-qv");
        adapter.header(header, 8);
        for line in [adapter.attaching(), adapter.checking()] {
            assert!(line.contains(part), "{header}: {line}");
        }
    }
    let whole = std::fs::read(fixture(
        "../adapters/tiny-llama-tied-qv/adapter_model.safetensors",
    ));
    let whole = whole.unwrap();
    for length in [0, 7, 8, 9, whole.len() / 2, whole.len() - 1] {
        let adapter = Spoiled::new("tiny-llama-tied-qv");
        adapter.write("adapter_model.safetensors", &whole[..length]);
        adapter.attaching();
        adapter.checking();
    }
}

/// A reader that takes the first of two and a checker that takes the last see two different adapters.
#[test]
fn what_an_adapter_names_twice_is_refused_by_all_who_read_it() {
    let adapter = Spoiled::new("tiny-llama-tied-qv");
    let path = adapter.0.path().join("adapter_model.safetensors");
    let file = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    let (header, data) = file[8..].split_at(length);
    let header = String::from_utf8(header.to_vec()).unwrap();
    let entries: serde_json::Map<String, Json> = serde_json::from_str(&header).unwrap();
    let (name, entry) = entries.iter().find(|row| row.0 != "__metadata__").unwrap();
    let twice = format!(
        "{},\"{name}\":{entry}}}",
        header.trim().strip_suffix('}').unwrap()
    );
    let length = (twice.len() as u64).to_le_bytes();
    adapter.write(
        "adapter_model.safetensors",
        &[&length[..], twice.as_bytes(), data].concat(),
    );
    let line = adapter.attaching();
    assert!(
        line.contains(&format!("`{name}` lies at the bytes")),
        "{line}"
    );
    assert_eq!(line, adapter.checking());

    for (setting, twice) in [
        ("\"r\"", "\"r\": 3, \"r\""),
        (
            "\"rank_pattern\": {}",
            r#""rank_pattern": {"q_proj": 3, "q_proj": 3}"#,
        ),
    ] {
        let adapter = Spoiled::new("tiny-llama-tied-qv");
        let path = adapter.0.path().join("adapter_config.json");
        let config = std::fs::read_to_string(path).unwrap();
        assert!(config.contains(setting), "{config}");
        adapter.write(
            "adapter_config.json",
            config.replace(setting, twice).as_bytes(),
        );
        let line = adapter.attaching();
        assert!(
            line.contains("twice") || line.contains("more than once"),
            "{line}"
        );
        assert_eq!(line, adapter.checking());
    }
}

#[test]
fn hostile_settings_of_adapters_end_in_one_line() {
    let long = "(a{1000}){1000}";
    let cases = [
        ("r", json!(1e308), "`r` is"),
        ("r", json!(4_294_967_296_u64), "`r` is"),
        ("r", json!(65536), "rank 65536"),
        ("r", json!(-1), "`r` is -1"),
        ("rank_pattern", json!({"q_proj": 1e300}), "rank_pattern"),
        ("rank_pattern", json!({"q_proj": 65536}), "rank 65536"),
        ("rank_pattern", json!({"q_proj": 1.5}), "rank_pattern"),
        ("rank_pattern", json!({long: 3}), "rank_pattern"),
        ("rank_pattern", json!({"(": 3}), "rank_pattern"),
        ("rank_pattern", json!([3]), "rank_pattern"),
        ("alpha_pattern", json!({"q_proj": "x"}), "alpha_pattern"),
        (
            "target_modules",
            json!(["q\u{1b}[2J"]),
            r"`q\u{1b}[2J` holds control characters",
        ),
        ("target_modules", json!("a\nb"), "holds control characters"),
        ("peft_type", json!("a\u{202e}b"), "holds control characters"),
        ("use_dora", json!("yes"), "`use_dora` is"),
        ("bias", json!(7), "`bias` is 7"),
        ("trainable_token_indices", json!([4_294_967_295_u64]), ""),
        ("layers_to_transform", json!([u64::MAX]), ""),
    ];
    for (key, value, part) in cases {
        let adapter = Spoiled::new("tiny-llama-tied-qv");
        adapter.setting(key, value.clone());
        let line = adapter.attaching();
        assert!(line.contains(part), "{key} = {value}: {line}");
        // Whoever checks may find less, since it has no base; it must not fall over.
        if let Err(error) = AdapterWeights::read(adapter.0.path(), None) {
            adapter.line(&error.to_string());
        }
    }
    for text in ["", "[]", "null", "7", "{\"r\": 1", "{\"r\": NaN}"] {
        let adapter = Spoiled::new("tiny-llama-tied-qv");
        adapter.write("adapter_config.json", text.as_bytes());
        adapter.attaching();
        adapter.checking();
    }
}

#[test]
fn no_pickle_of_an_adapter_is_opened() {
    let adapter = Spoiled::new("tiny-llama-tied-qv");
    std::fs::remove_file(adapter.0.path().join("adapter_model.safetensors")).unwrap();
    adapter.write("adapter_model.bin", b"\x80\x04cos\nsystem\n");
    for line in [adapter.attaching(), adapter.checking()] {
        assert!(
            line.contains("adapter_model.bin, a pickle, which Hone does not open"),
            "{line}"
        );
    }
}

#[test]
fn a_tensor_of_another_type_is_refused_by_name() {
    for (dtype, bytes) in [
        ("I64", 8),
        ("F64", 8),
        ("U8", 1),
        ("F8_E5M2", 1),
        ("BOOL", 1),
    ] {
        let header = json!({"model.embed_tokens.weight":
            {"dtype": dtype, "shape": [300, 32], "data_offsets": [0, 9600 * bytes]}});
        let line = with_safetensors(header.to_string().as_bytes(), 9600 * bytes);
        assert!(
            line.contains("`model.embed_tokens.weight` is stored as"),
            "{line}"
        );
    }
}

#[test]
fn hostile_indices_end_in_one_line() {
    let dir = copy();
    let weights = dir.path().join("model.safetensors");
    std::fs::rename(&weights, dir.path().join("shard.safetensors")).unwrap();
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    let with_index = |text: &str| {
        std::fs::write(dir.path().join("model.safetensors.index.json"), text).unwrap();
        refusal(dir.path())
    };
    let outside = [
        "../shard.safetensors",
        "/etc/passwd",
        "folder/../shard.safetensors",
        "folder/shard.safetensors",
        "./../x",
        "..",
        ".",
        "",
        "/",
        "//shard.safetensors",
    ];
    for shard in outside {
        let line = with_index(&json!({"weight_map": {"a": shard}}).to_string());
        assert!(
            line.contains("is not a file name in the same directory"),
            "{shard}: {line}"
        );
    }
    for (shard, expected) in [
        ("absent.safetensors", "is named by"),
        ("folder", "folder cannot be read"),
        ("config.json", "is not a whole safetensors file"),
        (
            "shard.safetensors\u{0}",
            "names the shard `shard.safetensors\\u{0}`, which is not a file name",
        ),
        (
            "shard\n.safetensors",
            "names the shard `shard\\n.safetensors`, which is not a file name",
        ),
    ] {
        let line = with_index(&json!({"weight_map": {"a": shard}}).to_string());
        assert!(line.contains(expected), "{shard}: {line}");
    }
    for text in [
        "",
        "[]",
        "{}",
        r#"{"weight_map": []}"#,
        r#"{"weight_map": {"a": 1}}"#,
        r#"{"weight_map": {"a": "shard.safetensors", "a": "shard.safetensors"}}"#,
        r#"{"weight_map": {}, "weight_map": {}}"#,
    ] {
        let line = with_index(text);
        assert!(line.contains("is not an index of shards"), "{text}: {line}");
    }
}

#[test]
fn hostile_configurations_end_in_one_line() {
    let dir = copy();
    let path = dir.path().join("config.json");
    let original: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let numbers = [
        json!(0),
        json!(-1),
        json!(1.5),
        json!(4_294_967_295_u64),
        json!(4_294_967_296_u64),
        json!(u64::MAX),
        json!(1e300),
        json!("many"),
        json!([]),
        json!({}),
        json!(true),
    ];
    let fields = [
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "intermediate_size",
        "head_dim",
    ];
    for field in fields {
        for number in &numbers {
            let mut config = original.clone();
            config[field] = number.clone();
            std::fs::write(&path, config.to_string()).unwrap();
            // A count that another field contradicts, a shape that no tensor has, or no count at all.
            refusal(dir.path());
        }
    }
    for text in [
        "",
        "[]",
        "null",
        "{\"model_type\": \"llama\"",
        "{\"model_type\": \"llama\", \"model_type\": \"llama\"}",
        "{\"model_type\": 7}",
        "{\"model_type\": \"llama\", \"rms_norm_eps\": NaN}",
        "{\"model_type\": \"llama\", \"quantization_config\": 4}",
    ] {
        std::fs::write(&path, text).unwrap();
        refusal(dir.path());
    }
    for (model_type, shown) in [("a\nb", r"`a\nb`"), ("\u{1b}[2J", r"`\u{1b}[2J`")] {
        std::fs::write(&path, json!({ "model_type": model_type }).to_string()).unwrap();
        let line = refusal(dir.path());
        assert!(line.contains(shown), "{line}");
    }
    // Whoever reads a configuration alone is told the same.
    for text in [
        r#"{"model_type": "llama", "model_type": "llama"}"#,
        r#"{"model_type": "llama", "rope_parameters": {"a\nb": 1}}"#,
    ] {
        let error = DecoderConfig::from_hf(text.as_bytes(), &path).unwrap_err();
        let line = error.to_string();
        assert!(
            line.contains("appears twice") || line.contains("is no name"),
            "{line:?}"
        );
    }
    let deep = "{\"a\":".repeat(100_000);
    std::fs::write(&path, deep).unwrap();
    assert!(refusal(dir.path()).starts_with("config.json"));
}

/// Before a tensor is looked at, lists of layers, heads and speeds of rotary positions follow from these numbers alone.
#[test]
fn sizes_that_no_model_has_take_no_memory() {
    let families = fixture("../families");
    let mut read = 0;
    for family in std::fs::read_dir(families).unwrap() {
        let path = family.unwrap().path().join("base/config.json");
        let Ok(config) = std::fs::read(&path) else {
            continue;
        };
        let original: Json = serde_json::from_slice(&config).unwrap();
        read += 1;
        let sizes = [
            ["head_dim", "head_dim"],
            ["num_hidden_layers", "n_layer"],
            ["num_attention_heads", "n_head"],
            ["hidden_size", "n_embd"],
        ];
        for names in sizes {
            for number in [
                u64::MAX,
                u64::MAX / 3,
                1 << 32,
                u32::MAX.into(),
                1 << 31,
                1 << 17,
            ] {
                let mut config = original.clone();
                for name in names {
                    config[name] = json!(number);
                }
                config["intermediate_size"] = Json::Null;
                config["n_inner"] = Json::Null;
                config["partial_rotary_factor"] = Json::Null;
                match DecoderConfig::from_hf(config.to_string().as_bytes(), &path) {
                    Err(error) => assert!(!error.to_string().contains(char::is_control)),
                    Ok(config) => assert!(slots(&config).take(100).count() > 0),
                }
            }
        }
        let mut config = original.clone();
        config["head_dim"] = json!((1 << 16) + 2);
        let error = DecoderConfig::from_hf(config.to_string().as_bytes(), &path).err();
        // Two families derive the width of a head and read no such field.
        if let Some(error) = error {
            assert!(error.to_string().contains("head width is 65538"), "{error}");
        }
    }
    assert!(read >= 20);
}

#[test]
fn no_pickle_is_opened() {
    for name in ["pytorch_model.bin", "model.pt", "consolidated.00.pth"] {
        let dir = copy();
        std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
        std::fs::write(dir.path().join(name), b"\x80\x04cos\nsystem\n").unwrap();
        let line = refusal(dir.path());
        assert!(
            line.ends_with(&format!(
                "; {name} may be pickles, which can run code, and are not opened"
            )),
            "{line}"
        );
    }
}

/// A GGUF file from the tiny model's, one stretch replaced by another of the same length.
fn gguf_with(from: &[u8], to: &[u8]) -> String {
    let mut bytes = std::fs::read(fixture("tiny-llama.gguf")).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from);
    let at = at.expect("the stretch is there");
    bytes[at..at + to.len()].copy_from_slice(to);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hostile.gguf");
    std::fs::write(&path, bytes).unwrap();
    refusal(&path)
}

/// A key with its type and value.
fn key(name: &str, id: u32, value: &[u8]) -> Vec<u8> {
    let length = (name.len() as u64).to_le_bytes();
    [&length[..], name.as_bytes(), &id.to_le_bytes(), value].concat()
}

#[test]
fn hostile_metadata_of_gguf_ends_in_one_line() {
    let u32_key = |name: &str, value: u32| key(name, 4, &value.to_le_bytes());
    let counts = [
        ("llama.block_count", 2_u32),
        ("llama.embedding_length", 32),
        ("llama.attention.head_count", 4),
        ("llama.attention.head_count_kv", 2),
        ("llama.attention.key_length", 16),
        ("llama.feed_forward_length", 96),
    ];
    for (name, value) in counts {
        for hostile in [0, 1, 3, u32::MAX, u32::MAX - 1, 1 << 31] {
            gguf_with(&u32_key(name, value), &u32_key(name, hostile));
        }
    }
    let from = u32_key("llama.block_count", 2);
    for (id, value) in [
        (5, (-1_i32).to_le_bytes()),
        (6, f32::NAN.to_le_bytes()),
        (6, 2.0_f32.to_le_bytes()),
        (8, [0; 4]),
        (9, [0; 4]),
        (99, [0; 4]),
    ] {
        gguf_with(&from, &key("llama.block_count", id, &value));
    }
    let epsilon = 1e-6_f32.to_le_bytes();
    let name = "llama.attention.layer_norm_rms_epsilon";
    for hostile in [f32::NAN, f32::INFINITY, 0.0, -1.0] {
        let line = gguf_with(
            &key(name, 6, &epsilon),
            &key(name, 6, &hostile.to_le_bytes()),
        );
        assert!(line.contains("must be positive"), "{line}");
    }
    // A name of the same length that would clear the screen.
    let line = gguf_with(b"llama.context_length", b"llama\x1b[2Jtext_length");
    assert!(line.contains(r"`llama\u{1b}[2Jtext_length`"), "{line}");
    let line = gguf_with(b"blk.0.attn_k.weight", b"blk.0\nattn_k.weight");
    assert!(line.contains(r"`blk.0\nattn_k.weight`"), "{line}");
    let line = gguf_with(b"general.architecture", b"general.architectura");
    assert!(line.contains("general.architecture"), "{line}");
}

#[test]
fn tokens_that_an_adapter_only_talks_of_are_given_no_rows() {
    let base = BaseWeights::open(&fixture("tiny-llama-tied")).unwrap();
    let rows = |adapter: &Spoiled, known| {
        let raw = RawAdapter::read(adapter.0.path()).unwrap();
        raw.new_rows(base.config(), known).map(|rows| rows.tokens)
    };
    let at = "base_model.model.model.embed_tokens.";
    let table = |end: &str, shape: [usize; 2]| {
        let bytes = 4 * shape[0] * shape[1];
        let header = format!(
            r#"{{"{at}{end}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[0,{bytes}]}}}}"#
        );
        (header, bytes)
    };
    let adapter = Spoiled::new("tiny-llama-tied-qv");
    for (end, shape, found) in [
        ("weight", [1_000_000_000_000, 0], None),
        ("weight", [1_000_000, 1], None),
        ("weight", [310, 32], Some(10)),
        ("token_adapter.base_layer.weight", [310, 32], Some(10)),
        ("lora_embedding_A", [0, 1_000_000_000_000], None),
        // Three rows for a million names.
        ("token_adapter.trainable_tokens_delta", [3, 32], None),
    ] {
        let (header, bytes) = table(end, shape);
        adapter.header(&header, bytes);
        let ids: Vec<u32> = (300..1_000_300).collect();
        adapter.setting("trainable_token_indices", ids.into());
        assert_eq!(rows(&adapter, 300), found, "{end} {shape:?}");
    }
    // A gap is a token that nobody knows.
    for (known, found) in [(300, Some(1)), (303, Some(3))] {
        adapter.setting("trainable_token_indices", vec![7, 300, 302].into());
        assert_eq!(rows(&adapter, known), found);
    }
}
