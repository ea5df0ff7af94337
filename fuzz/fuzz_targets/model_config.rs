//! Any bytes as `config.json`: read, asked for the tensors it calls for, and put beside the weights of its family.

#![no_main]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use hone_fuzz::{DIR, assert_one_line, fixture, open_and_run};
use hone_model::arch::{DecoderConfig, slots};
use libfuzzer_sys::fuzz_target;

/// Families with a model in the fixtures, each with a directory for its inputs.
static MODELS: LazyLock<Vec<(String, PathBuf)>> = LazyLock::new(|| {
    let families = std::fs::read_dir(fixture("families")).expect("fixtures");
    let mut bases: Vec<PathBuf> = families
        .map(|entry| entry.expect("fixtures").path().join("base"))
        .filter(|base| base.is_dir())
        .collect();
    bases.push(fixture("models/tiny-llama-untied"));
    bases.push(fixture("models/tiny-llama-bias"));
    bases.sort();
    bases.iter().enumerate().map(copy).collect()
});

fn copy((number, base): (usize, &PathBuf)) -> (String, PathBuf) {
    let dir = DIR.path().join(number.to_string());
    std::fs::create_dir(&dir).expect("a directory");
    let weights = "model.safetensors";
    std::fs::copy(base.join(weights), dir.join(weights)).expect("room for a model");
    let path = base.join("config.json");
    let config = std::fs::read(&path).expect("a fixture");
    let config = DecoderConfig::from_hf(&config, &path).expect("a fixture");
    (config.model_type, dir)
}

fuzz_target!(|input: &[u8]| {
    let config = match DecoderConfig::from_hf(input, Path::new("config.json")) {
        Ok(config) => config,
        Err(error) => return assert_one_line(&error.to_string()),
    };
    assert!(slots(&config).take(1000).all(|slot| !slot.name.is_empty()));
    for positions in [0, usize::MAX] {
        let speeds = config.rope.speeds(config.rotary_dim, positions);
        assert_eq!(speeds.len(), config.rotary_dim / 2);
    }
    for (_, dir) in MODELS.iter().filter(|row| row.0 == config.model_type) {
        std::fs::write(dir.join("config.json"), input).expect("room for an input");
        open_and_run(dir);
    }
});
