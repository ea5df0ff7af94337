//! The run files we ship are accepted as they are.

use hone::plan::{Machine, Origin, RawTrain, Settings, Size, read_run_file};
use std::path::{Path, PathBuf};

#[test]
fn every_preset_is_a_run_file_that_needs_only_model_data_and_directory() {
    let presets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../presets");
    let files: Vec<PathBuf> = std::fs::read_dir(presets)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(files.len() >= 3, "{files:?}");
    let flags = RawTrain {
        model: Some("base".into()),
        data: Some(vec!["examples.jsonl".into()]),
        out: Some("run".into()),
        ..RawTrain::default()
    };
    let machine = Machine {
        threads: 2,
        memory: Size {
            bytes: 2_000_000_000,
        },
    };
    for file in files {
        let raw = read_run_file(&file).unwrap_or_else(|error| panic!("{error}"));
        Settings::resolve(&flags, &raw, Origin::RunFile, machine)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}
