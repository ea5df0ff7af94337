//! Any bytes as the weights of an adapter, after a first byte that chooses one of its configurations.

#![no_main]

use libfuzzer_sys::fuzz_target;

const CONFIGS: [&[u8]; 3] = [
    include_bytes!("../../fixtures/adapters/tiny-llama-tied-qv/adapter_config.json"),
    include_bytes!("../../fixtures/adapters/tiny-llama-tied/adapter_config.json"),
    include_bytes!("../../fixtures/adapters/tiny-llama-tied-rslora/adapter_config.json"),
];

fuzz_target!(|input: &[u8]| {
    let Some((choice, weights)) = input.split_first() else {
        return;
    };
    hone_fuzz::put_on_base(CONFIGS[usize::from(*choice) % CONFIGS.len()], weights);
});
