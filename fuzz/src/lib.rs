//! What the fuzz targets share: a directory for inputs, and an adapter that is put on a small base.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use hone_model::AdapterFiles;
use hone_model::weights::{BaseWeights, DecoderConfig};
use hone_tensor::Device;

/// A directory for files that readers want on disk; in memory where that can be, because each input writes one.
pub static DIR: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let parent = memory.is_dir().then_some(memory);
    tempfile::tempdir_in(parent.unwrap_or_else(std::env::temp_dir)).expect("a directory for inputs")
});

static BASE: LazyLock<DecoderConfig> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/models/tiny-llama-tied");
    let base = BaseWeights::open(&path).expect("a fixture");
    base.config().clone()
});

static DEVICE: LazyLock<Device> = LazyLock::new(|| Device::cpu(1).expect("a thread"));

/// Writes an input to a file that nobody has mapped.
pub fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = DIR.path().join(name);
    // Another file of the same name: a map of the one before must not change under it.
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, bytes).expect("room for an input");
    path
}

/// Reads an adapter directory of these two files and puts the adapter on a base, or is told why not.
pub fn put_on_base(config: &[u8], weights: &[u8]) {
    write("adapter_config.json", config);
    write("adapter_model.safetensors", weights);
    let read = AdapterFiles::read(DIR.path()).and_then(|files| files.into_adapter(&BASE, &DEVICE));
    if let Err(error) = read {
        assert_one_line(&error.to_string());
        error.hints();
    }
}

/// An error says something, in one line.
pub fn assert_one_line(error: &str) {
    assert!(!error.is_empty());
    assert!(!error.contains('\n'), "{error}");
}
