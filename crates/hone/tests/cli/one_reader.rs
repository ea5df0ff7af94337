//! One answer about an adapter: what a check says of Hone is what generating, merging, combining and exporting do.

use crate::command::{Place, Ran, fixtures};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const PREFIX: &str = "base_model.model.";

type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// An adapter made of a fixture by another configuration or other tensors.
struct Remade {
    from: &'static str,
    /// Settings in place of the fixture's.
    settings: Value,
    /// Names of tensors that are left out.
    without: fn(&str) -> bool,
    /// Tensors of the base that are saved beside.
    copies: &'static [&'static str],
    /// The first number of each copy, where it is not the base's.
    first: Option<f32>,
    /// Norms that were trained.
    norms: &'static [&'static str],
}

impl Remade {
    fn of(from: &'static str, settings: Value) -> Self {
        Self {
            from,
            settings,
            without: |_| false,
            copies: &[],
            first: None,
            norms: &[],
        }
    }

    fn write(&self, place: &Place, name: &str) {
        let from = format!("adapters/{}", self.from);
        let mut tensors = read(&format!("{from}/adapter_model.safetensors"));
        tensors.retain(|name, _| !(self.without)(name));
        let base = read("models/tiny-llama-tied/model.safetensors");
        for copy in self.copies {
            let (shape, mut bytes) = base["model.embed_tokens.weight"].clone();
            if let Some(first) = self.first {
                bytes[..4].copy_from_slice(&first.to_le_bytes());
            }
            tensors.insert(format!("{PREFIX}{copy}"), (shape, bytes));
        }
        for norm in self.norms {
            let bytes = 1.5f32.to_le_bytes().repeat(32);
            tensors.insert(format!("{PREFIX}{norm}"), (vec![32], bytes));
        }
        let config = std::fs::read(fixtures().join(from).join("adapter_config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&config).unwrap();
        for (key, value) in self.settings.as_object().unwrap() {
            config[key] = value.clone();
        }
        std::fs::create_dir(place.path(name)).unwrap();
        let weights = place.path(name).join("adapter_model.safetensors");
        std::fs::write(weights, file(&tensors)).unwrap();
        place.write(&format!("{name}/adapter_config.json"), &config.to_string());
    }
}

/// The tensors of a fixture, all in f32.
fn read(path: &str) -> Tensors {
    let file = std::fs::read(fixtures().join(path)).unwrap();
    let length = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    let (header, data) = file[8..].split_at(length);
    let mut header: BTreeMap<String, Value> = serde_json::from_slice(header).unwrap();
    header.remove("__metadata__");
    let tensor = |(name, entry): (String, Value)| {
        assert_eq!(entry["dtype"], "F32");
        let list = |key: &str| serde_json::from_value::<Vec<usize>>(entry[key].clone()).unwrap();
        let offsets = list("data_offsets");
        (name, (list("shape"), data[offsets[0]..offsets[1]].to_vec()))
    };
    header.into_iter().map(tensor).collect()
}

fn file(tensors: &Tensors) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, (shape, bytes)) in tensors {
        let start = data.len();
        data.extend(bytes);
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &data].concat()
}

/// Where a module with a pair of `tiny-llama-tied` lies, whole.
fn every_module() -> Value {
    let in_layer = |layer: usize| {
        let attention = ["q", "k", "v", "o"].map(|name| format!("self_attn.{name}_proj"));
        let mlp = ["gate", "up", "down"].map(|name| format!("mlp.{name}_proj"));
        let all = attention.into_iter().chain(mlp);
        all.map(move |module| format!("model.layers.{layer}.{module}"))
    };
    (0..2).flat_map(in_layer).collect()
}

/// Adapters that PEFT 0.21 loads with the logits that they were trained to.
fn sound() -> Vec<(&'static str, Remade)> {
    let (all, qv) = ("tiny-llama-tied", "tiny-llama-tied-qv");
    let ends: &[&str] = &["model.embed_tokens.weight", "lm_head.weight"];
    vec![
        ("plain", Remade::of(qv, json!({}))),
        (
            "copies of embedding and head, which save_embedding_layers saves",
            Remade {
                copies: ends,
                ..Remade::of(qv, json!({}))
            },
        ),
        (
            "exclude_modules that take away what the saved list names",
            Remade {
                without: |name| name.contains("down_proj"),
                ..Remade::of(
                    all,
                    json!({"target_modules": every_module(), "exclude_modules": ["down_proj"]}),
                )
            },
        ),
        (
            "a tied embedding by its two names, and the head beside it",
            Remade {
                copies: ends,
                ..Remade::of(
                    qv,
                    json!({
                        "modules_to_save": ["embed_tokens", "model.embed_tokens"],
                        "ensure_weight_tying": true,
                    }),
                )
            },
        ),
        (
            "a pattern as targets",
            Remade::of(
                qv,
                json!({"target_modules": r"model\.layers\.[01]\.self_attn\.(q|v)_proj"}),
            ),
        ),
        (
            "a pattern that only Python can match",
            Remade::of(qv, json!({"target_modules": r"(?!lm_head).*\.(q|v)_proj"})),
        ),
        (
            "one layer of a named list",
            Remade {
                without: |name| name.contains("layers.0"),
                ..Remade::of(
                    qv,
                    json!({"layers_to_transform": 1, "layers_pattern": "layers"}),
                )
            },
        ),
        (
            "orthogonal matrices to begin with",
            Remade::of(qv, json!({"init_lora_weights": "orthogonal"})),
        ),
        (
            "directions of the data to begin with",
            Remade::of(
                qv,
                json!({"init_lora_weights": "eva", "eva_config": {"rho": 2.0}}),
            ),
        ),
        (
            "a pattern of excluded modules",
            Remade {
                without: |name| name.contains("layers.0"),
                ..Remade::of(
                    all,
                    json!({"target_modules": every_module(), "exclude_modules": r".*layers\.0.*"}),
                )
            },
        ),
        (
            "a target that the model does not have",
            Remade::of(
                qv,
                json!({"target_modules": ["q_proj", "v_proj", "c_attn"]}),
            ),
        ),
        (
            "patterns of alpha that overlap",
            Remade::of(
                qv,
                json!({"alpha_pattern": {"self_attn.q_proj": 5, "q_proj": 3}}),
            ),
        ),
        (
            "fan_in_fan_out, which PEFT turns off on these layers",
            Remade::of(qv, json!({"fan_in_fan_out": true})),
        ),
    ]
}

/// Adapters that Hone refuses, with a part of the reason, and whether PEFT reads them right.
fn refused() -> Vec<(&'static str, Remade, &'static str, &'static str)> {
    let qv = "tiny-llama-tied-qv";
    vec![
        (
            "norms by the end of their names",
            Remade {
                norms: &[
                    "model.norm.weight",
                    "model.layers.0.input_layernorm.weight",
                    "model.layers.0.post_attention_layernorm.weight",
                    "model.layers.1.input_layernorm.weight",
                    "model.layers.1.post_attention_layernorm.weight",
                ],
                ..Remade::of(qv, json!({"modules_to_save": ["norm", "input_layernorm"]}))
            },
            "trained norm",
            "right",
        ),
        (
            "a setting that changes the model",
            Remade::of(qv, json!({"layer_replication": [[0, 2], [1, 2]]})),
            "layer_replication",
            "right",
        ),
        (
            "a setting of another time",
            Remade::of(qv, json!({"lora_sparkle": 3})),
            "lora_sparkle",
            "right",
        ),
        (
            "a start that PEFT takes out of the base",
            Remade::of(qv, json!({"init_lora_weights": "pissa"})),
            "pissa",
            "right",
        ),
        (
            "a copy of the embedding that is another's",
            Remade {
                copies: &["model.embed_tokens.weight"],
                first: Some(2.5),
                ..Remade::of(qv, json!({}))
            },
            "not the base's own",
            "right",
        ),
        (
            "a pair that is gone",
            Remade {
                without: |name| name.contains("layers.0.self_attn.q_proj"),
                ..Remade::of(qv, json!({}))
            },
            "is missing",
            "wrong",
        ),
        (
            "a pair that no target names",
            Remade::of(qv, json!({"target_modules": ["q_proj"]})),
            "`target_modules` does not name",
            "wrong",
        ),
    ]
}

fn logits(place: &Place, model: &str, adapter: &str) -> Result<Vec<f64>, Ran> {
    let ran = place.run(&format!(
        "logits --model {model} {adapter} --ids 1,40,77,5,130 --json"
    ));
    if ran.code != 0 {
        return Err(ran);
    }
    let rows = ran.json()["logits"].as_array().unwrap().clone();
    let rows = rows.iter().flat_map(|row| row.as_array().unwrap().clone());
    Ok(rows.map(|x| x.as_f64().unwrap()).collect())
}

fn apart(a: &[f64], b: &[f64]) -> f64 {
    let pairs = a.iter().zip(b);
    pairs.map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}

/// What a program makes of the adapter, by a check.
fn verdict(place: &Place, program: &str) -> String {
    let ran = place.run(&format!(
        "adapter check adapter --model {{tied}} --for {program} --json"
    ));
    let verdict = &ran.json()["programs"][0];
    assert_eq!(ran.code == 0, verdict["outcome"] == "right", "{verdict}");
    verdict["outcome"].as_str().unwrap().to_owned()
}

const MERGE: &str = "merge --model {tied} --adapter adapter --out merged -q";
const COMBINE: &str = "adapter combine adapter --kind cat --out combined -q";
const EXPORT: &str = "export --to gguf-adapter --model {tied} --adapter adapter --out exported -q";

#[test]
fn what_peft_reads_right_is_taken_by_all_with_the_same_logits() {
    for (what, adapter) in sound() {
        let place = Place::new();
        adapter.write(&place, "adapter");
        for program in ["hone", "peft"] {
            assert_eq!(verdict(&place, program), "right", "{what} in {program}");
        }
        let want = logits(&place, "{tied}", "--adapter adapter");
        let want = want.unwrap_or_else(|ran| panic!("{what}: {}", ran.stderr));
        assert!(
            apart(&want, &logits(&place, "{tied}", "").unwrap()) > 1e-3,
            "{what}"
        );
        place.ok(MERGE);
        let merged = logits(&place, "merged", "").unwrap();
        assert!(apart(&want, &merged) < 1e-4, "{what}");
        let whole = adapter.settings["modules_to_save"].is_array();
        // Without the base, combining cannot tell copies of it from trained matrices.
        if !whole && adapter.copies.is_empty() {
            place.ok(COMBINE);
            let combined = logits(&place, "{tied}", "--adapter combined").unwrap();
            assert!(apart(&want, &combined) < 1e-5, "{what}");
        }
        if !whole {
            place.ok(EXPORT);
        }
    }
}

#[test]
fn what_is_refused_is_refused_by_all_for_one_reason() {
    for (what, adapter, reason, in_peft) in refused() {
        let place = Place::new();
        adapter.write(&place, "adapter");
        assert_eq!(verdict(&place, "hone"), "refuses", "{what}");
        assert_eq!(verdict(&place, "peft"), in_peft, "{what}");
        let check = place.run("adapter check adapter --model {tied} --json");
        let findings = check.json()["findings"].as_array().unwrap().clone();
        let mut errors = findings.iter().filter(|row| row["severity"] == "error");
        let first = errors.next().unwrap()["message"].as_str().unwrap();
        assert!(first.contains(reason), "{what}: {first}");
        let attached = logits(&place, "{tied}", "--adapter adapter").unwrap_err();
        for (line, error) in [
            ("logits", attached.stderr),
            ("merge", place.refusal(MERGE)),
            ("export", place.refusal(EXPORT)),
        ] {
            assert!(error.contains(first), "{what}, {line}: {error}");
            assert!(!error.contains("is damaged"), "{what}, {line}: {error}");
        }
        assert!(!place.path("merged").exists());
    }
}
