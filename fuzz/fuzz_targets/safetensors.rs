//! A directory with any bytes as `model.safetensors`, and one of several configurations of quantisation.
//!
//! The first byte chooses the configuration, and from 128 on asks for the file as it is; below, length and data are made
//! to fit the header. Whatever opens is decoded, if it is small.

#![no_main]

use hone_fuzz::{DIR, assert_one_line, safetensors, write};
use hone_model::weights::Shards;
use libfuzzer_sys::fuzz_target;

/// `xtask/src/fuzz.rs` counts on their order.
const CONFIGS: [&str; 9] = [
    "{}",
    r#"{"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true}}"#,
    r#"{"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}}"#,
    r#"{"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "gptq_v2"}}"#,
    r#"{"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": -1}}"#,
    r#"{"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"}}"#,
    r#"{"quantization_config": {"quant_method": "fp8"}}"#,
    r#"{"quantization_config": {"quant_method": "fp8", "weight_block_size": [32, 64]}}"#,
    r#"{"quantization_config": {"quant_method": "fp8", "weight_block_size": [3, 5]}}"#,
];

fuzz_target!(|input: &[u8]| {
    let Some((choice, file)) = input.split_first() else {
        return;
    };
    let config = CONFIGS[usize::from(*choice & 127) % CONFIGS.len()];
    write("config.json", config.as_bytes());
    match *choice < 128 {
        true => write("model.safetensors", &safetensors(file)),
        false => write("model.safetensors", file),
    };
    match Shards::open(DIR.path()) {
        Err(error) => assert_one_line(&error.to_string()),
        Ok(shards) => {
            for name in shards.names() {
                match shards.matrix(name) {
                    None => panic!("`{name}` is named and not there"),
                    Some(Err(error)) => assert_one_line(&error.to_string()),
                    Some(Ok(matrix)) if matrix.rows().saturating_mul(matrix.cols()) < 1 << 20 => {
                        assert_eq!(matrix.to_f32().len(), matrix.rows() * matrix.cols());
                        matrix.read_rows(|_| ());
                    }
                    Some(Ok(_)) => {}
                }
            }
        }
    }
});
