//! A directory with any bytes as `model.safetensors`, and one of several configurations of quantisation.
//!
//! The first byte chooses the configuration. Whatever opens is decoded, if it is small.

#![no_main]

use hone_fuzz::{DIR, assert_one_line, write};
use hone_model::weights::Shards;
use libfuzzer_sys::fuzz_target;

const CONFIGS: [&str; 8] = [
    "{}",
    r#"{"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true}}"#,
    r#"{"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}}"#,
    r#"{"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": -1, "checkpoint_format": "gptq_v2"}}"#,
    r#"{"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"}}"#,
    r#"{"quantization_config": {"quant_method": "fp8"}}"#,
    r#"{"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}"#,
    r#"{"quantization_config": {"quant_method": "fp8", "weight_block_size": [3, 5]}}"#,
];

fuzz_target!(|input: &[u8]| {
    let Some((choice, file)) = input.split_first() else {
        return;
    };
    let config = CONFIGS[usize::from(*choice) % CONFIGS.len()];
    write("config.json", config.as_bytes());
    write("model.safetensors", file);
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
