//! What the families call their parts, by the tables of others.

use super::*;

/// What GGUF and PEFT call things, by their own tables.
fn tables() -> Value {
    let bytes = std::fs::read(path("tables.json", "").with_file_name("tables.json"));
    serde_json::from_slice(&bytes.unwrap()).unwrap()
}

#[test]
fn names_in_gguf_are_those_of_the_gguf_package() {
    let tables = tables();
    for (family, names) in tables["gguf_names"].as_object().unwrap() {
        let base = BaseWeights::open(&path(family, "base")).unwrap();
        let ours: BTreeMap<&str, String> = base
            .names()
            .map(|name| (name, base.config().gguf_name(name).unwrap()))
            .collect();
        // The package knows modules, and not that some have weights of which it knows nothing.
        let whole = |(name, theirs): (&String, &Value)| {
            assert_eq!(ours[name.as_str()], theirs.as_str().unwrap(), "{family}");
        };
        names.as_object().unwrap().iter().for_each(whole);
        assert_eq!(ours.len(), names.as_object().unwrap().len(), "{family}");
    }
}

#[test]
fn targets_that_peft_takes_by_default_are_those_of_its_table() {
    for family in FAMILIES {
        let config = open(family, "base").config().clone();
        let theirs = &tables()["peft_targets"][&config.model_type];
        let theirs: Vec<&str> = theirs.as_array().map_or(vec![], |names| {
            names.iter().map(|name| name.as_str().unwrap()).collect()
        });
        assert_eq!(config.peft_targets(), theirs, "{family}");
    }
}

#[test]
fn rotary_speeds_are_those_of_transformers() {
    for golden in tables()["ropes"].as_array().unwrap() {
        let config = json!({
            "model_type": "llama", "vocab_size": 300, "hidden_size": 128, "intermediate_size": 80,
            "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 4096,
            "rope_parameters": golden["settings"],
        });
        let config =
            DecoderConfig::from_hf(config.to_string().as_bytes(), Path::new("config.json"));
        let rope = config.unwrap().rope;
        let numbers = |field: &str| -> Vec<f32> {
            let numbers = golden[field].as_array().unwrap().iter();
            numbers.map(|x| x.as_f64().unwrap() as f32).collect()
        };
        for (field, positions) in [("short", 8), ("long", 4096)] {
            for (ours, theirs) in rope.speeds(32, positions).iter().zip(numbers(field)) {
                let off = (ours - theirs).abs() / theirs;
                assert!(off < 1e-6, "{}: {ours} and {theirs}", golden["settings"]);
            }
        }
        let factor = golden["attention_factor"].as_f64().unwrap() as f32;
        assert!((rope.scaling.attention_factor() - factor).abs() < 1e-6);
    }
}

#[test]
fn targets_are_named_as_the_family_names_them() {
    for family in FAMILIES {
        let model = open(family, "base");
        let config = LoraConfig {
            targets: Targets::parse("no_such_layer"),
            ..LoraConfig::default()
        };
        let error = Adapter::new(config, model.config(), model.device(), Seed::new(0));
        let hint = error.map(|_| ()).unwrap_err().hints().remove(0);
        for site in model.config().sites() {
            assert!(hint.contains(site.name()), "{family}: {hint}");
        }
    }
}
