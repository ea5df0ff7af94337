//! Any bytes as `adapter_config.json`, after a first byte that chooses the adapter whose weights lie beside it.

#![no_main]

use std::sync::LazyLock;

use hone_fuzz::{Base, fixture};
use libfuzzer_sys::fuzz_target;

/// Base and adapter, one of each kind; `xtask/src/fuzz.rs` counts on their order.
const ADAPTERS: [(&str, &str); 12] = [
    ("tied", "qv"),
    ("tied", ""),
    ("tied", "dora"),
    ("tied", "embedding"),
    ("tied", "ia3"),
    ("tied", "rows"),
    ("untied", "patterns"),
    ("untied", "head"),
    ("untied", "whole"),
    ("bias", "all"),
    ("bias", "own"),
    ("bias", "ia3"),
];

static BESIDE: LazyLock<Vec<(Base, Vec<u8>)>> = LazyLock::new(|| {
    let read = |(base, kind): &(&str, &str)| {
        let name = format!("tiny-llama-{base}-{kind}");
        let path = format!(
            "adapters/{}/adapter_model.safetensors",
            name.trim_end_matches('-')
        );
        let weights = std::fs::read(fixture(&path)).expect("a fixture");
        (Base::read(base), weights)
    };
    ADAPTERS.iter().map(read).collect()
});

fuzz_target!(|input: &[u8]| {
    let Some((choice, config)) = input.split_first() else {
        return;
    };
    let (base, weights) = &BESIDE[usize::from(*choice) % ADAPTERS.len()];
    base.take(config, weights);
});
