//! What the fuzz targets share: a directory for inputs, small bases, and safetensors made of a header.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Once};

use hone_data::{ReadOptions, stream};
use hone_model::arch::DecoderConfig;
use hone_model::weights::BaseWeights;
use hone_model::{AdapterFiles, CheckedBase, AdapterWeights, Model, RawAdapter, check_adapter};
use hone_tensor::Device;

/// A directory for files that readers want on disk; in memory where that can be, because each input writes one.
pub static DIR: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let parent = memory.is_dir().then_some(memory);
    tempfile::tempdir_in(parent.unwrap_or_else(std::env::temp_dir)).expect("a directory for inputs")
});

static DEVICE: LazyLock<Device> = LazyLock::new(|| Device::cpu(1).expect("a thread"));

/// A file of the repository's fixtures.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(path)
}

/// Writes an input to a file that nobody has mapped.
pub fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = DIR.path().join(name);
    // Another file of the same name: a map of the one before must not change under it.
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, bytes).expect("room for an input");
    path
}

/// Most data that a header is given.
const MOST_DATA: usize = 128 << 10;

/// A safetensors file from a header, a zero byte, and the beginning of its data.
///
/// The length in front and as much data as the header asks for are made to fit, so that a changed header is still one
/// of a whole file: otherwise nearly every input would end at the first comparison.
pub fn safetensors(input: &[u8]) -> Vec<u8> {
    let end = input.iter().position(|byte| *byte == 0);
    let (header, data) = input.split_at(end.unwrap_or(input.len()));
    let entries: serde_json::Value = serde_json::from_slice(header).unwrap_or_default();
    let ends = entries.as_object().into_iter().flatten();
    let ends = ends.filter_map(|(_, entry)| entry["data_offsets"][1].as_u64());
    let asked = ends.max().unwrap_or(0).min(MOST_DATA as u64) as usize;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    let start = file.len();
    file.extend(&data[data.len().min(1)..]);
    file.resize(start + asked, 0);
    file
}

/// A small model and its adapters in the fixtures.
pub struct Base {
    config: DecoderConfig,
}

impl Base {
    /// Reads `models/tiny-llama-NAME` of the fixtures.
    pub fn read(name: &str) -> Self {
        let path = fixture(&format!("models/tiny-llama-{name}"));
        let base = BaseWeights::open(&path).expect("a fixture");
        Self {
            config: base.config().clone(),
        }
    }

    /// Reads an adapter directory of these two files and puts the adapter on this base, checks it with and without the
    /// base, and takes it apart as merging does. Each either works or is refused in one line.
    pub fn take(&self, config: &[u8], weights: &[u8]) {
        write("adapter_config.json", config);
        write("adapter_model.safetensors", weights);
        let dir = DIR.path();
        let read =
            AdapterFiles::read(dir).and_then(|files| files.into_adapter(&self.config, &DEVICE));
        let is_attached = read.is_ok();
        if let Err(error) = read {
            assert_one_line(&error.to_string());
            error.hints();
        }
        let raw = match RawAdapter::read(dir) {
            Ok(raw) => raw,
            Err(error) => return assert_one_line(&error.to_string()),
        };
        let alone = CheckedBase {
            config: &self.config,
            new_tokens: 0,
            fingerprint: None,
            template_hash: None,
        };
        let is_sound = check_adapter(&raw, Some(alone)).is_sound();
        assert_eq!(is_sound, is_attached, "a check and attaching disagree");
        let rows = raw.new_rows(&self.config, self.config.vocab_size);
        let base = CheckedBase {
            config: &self.config,
            new_tokens: rows.map_or(0, |rows| rows.tokens),
            fingerprint: Some("0"),
            template_hash: Some("0"),
        };
        for base in [None, Some(base)] {
            let check = check_adapter(&raw, base);
            for finding in &check.findings {
                assert_one_line(&finding.to_string());
            }
            for parts in [
                AdapterWeights::of(&raw, &check),
                AdapterWeights::repaired(&raw, &check, None),
            ] {
                match parts {
                    Err(error) => assert_one_line(&error.to_string()),
                    Ok(parts) => {
                        parts.beyond_pairs();
                        parts.target_names(&raw);
                        parts.uniform();
                    }
                }
            }
        }
    }
}

/// Opens a model and, when it opens, lets it read three tokens.
pub fn open_and_run(path: &Path) {
    let weights = match BaseWeights::open(path) {
        Ok(weights) => weights,
        Err(error) => {
            assert_one_line(&error.to_string());
            error.hints();
            return;
        }
    };
    let names: Vec<String> = weights.names().map(str::to_owned).collect();
    for name in names {
        weights.matrix(&name).expect("a weight that is named");
    }
    match Model::load(&weights, &DEVICE, hone_model::BaseFormat::Stored, 8) {
        Err(error) => assert_one_line(&error.to_string()),
        Ok(model) => match model.logits(&[0, 1, 2]) {
            Err(error) => assert_one_line(&error.to_string()),
            Ok(logits) => assert_eq!(logits.len(), 3 * model.config().vocab_size),
        },
    }
}

/// libFuzzer's hook ends the process at any panic; one of another's library that becomes an error is none of ours.
pub fn let_guarded_panics_pass() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let fatal = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !hone_text::is_guarded() && !hone_data::is_guarded() {
                fatal(panic);
            }
        }));
    });
}

/// Reads a file of rows of this name and of any bytes; whatever is refused of it is told in one short line.
pub fn read_rows(name: &str, bytes: &[u8]) {
    let_guarded_panics_pass();
    let file = write(name, bytes);
    let outcome = stream(&[file], &ReadOptions::default(), &mut |row| {
        if let Err(refused) = row {
            assert_one_line(&refused.reason.to_string());
        }
        ControlFlow::Continue(())
    });
    if let Err(error) = outcome {
        assert_one_line(&error.to_string());
    }
}

/// An error says something, in one line, and nothing that would move a terminal's cursor.
pub fn assert_one_line(error: &str) {
    assert!(!error.is_empty());
    assert!(!error.contains(char::is_control), "{error:?}");
}
