//! Any bytes as `adapter_config.json`, beside the weights of a real adapter, put on a real base.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let weights =
        include_bytes!("../../fixtures/adapters/tiny-llama-tied-qv/adapter_model.safetensors");
    hone_fuzz::put_on_base(input, weights);
});
