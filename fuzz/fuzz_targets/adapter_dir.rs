//! Any bytes as the weights of an adapter, after a first byte that chooses one of its configurations.
//!
//! From 128 on the first byte asks for the file as it is; below, length and data are made to fit the header.

#![no_main]

use std::sync::LazyLock;

use hone_fuzz::{Base, fixture, safetensors};
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
            "adapters/{}/adapter_config.json",
            name.trim_end_matches('-')
        );
        let config = std::fs::read(fixture(&path)).expect("a fixture");
        (Base::read(base), config)
    };
    ADAPTERS.iter().map(read).collect()
});

fuzz_target!(|input: &[u8]| {
    let Some((choice, weights)) = input.split_first() else {
        return;
    };
    let (base, config) = &BESIDE[usize::from(*choice & 127) % ADAPTERS.len()];
    match *choice < 128 {
        true => base.take(config, &safetensors(weights)),
        false => base.take(config, weights),
    }
});
