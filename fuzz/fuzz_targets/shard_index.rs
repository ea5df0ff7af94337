//! Any bytes as `model.safetensors.index.json` beside real shards, with a file outside that it must not reach.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use hone_fuzz::{DIR, assert_one_line, fixture, open_and_run, safetensors};
use hone_model::weights::Shards;
use libfuzzer_sys::fuzz_target;

static MODEL: LazyLock<PathBuf> = LazyLock::new(|| {
    let header = br#"{"outside":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    hone_fuzz::write("outside.safetensors", &safetensors(header));
    let dir = DIR.path().join("model");
    std::fs::create_dir(&dir).expect("a directory");
    let from = fixture("models/tiny-llama-untied-sharded");
    for entry in std::fs::read_dir(from).expect("a fixture") {
        let entry = entry.expect("a fixture");
        std::fs::copy(entry.path(), dir.join(entry.file_name())).expect("room for a model");
    }
    dir
});

fuzz_target!(|input: &[u8]| {
    let dir = MODEL.as_path();
    std::fs::write(dir.join("model.safetensors.index.json"), input).expect("room for an input");
    match Shards::open(dir) {
        Err(error) => assert_one_line(&error.to_string()),
        Ok(shards) => {
            assert!(
                shards.matrix("outside").is_none(),
                "a file outside was read"
            );
            open_and_run(dir);
        }
    }
});
