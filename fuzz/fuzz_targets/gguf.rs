//! Any bytes as a GGUF file: the header and every tensor, then the whole model as `hone` opens it.

#![no_main]

use hone_fuzz::{assert_one_line, write};
use hone_model::weights::{BaseWeights, Gguf};
use hone_tensor::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let file = match Gguf::parse(Bytes::from_vec(input.to_vec())) {
        Ok(file) => file,
        Err(error) => return assert_one_line(&error.to_string()),
    };
    let names: Vec<String> = file.tensors().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        let matrix = file.matrix(&name).expect("a tensor that is named");
        if let Ok(matrix) = matrix {
            if matrix.rows() * matrix.cols() < 1 << 20 {
                matrix.to_f32();
            }
        }
    }
    let keys: Vec<&str> = file.keys().collect();
    for key in keys {
        assert!(file.get(key).is_some() && file.typed(key).is_some());
    }
    let path = write("input.gguf", input);
    match BaseWeights::open(&path) {
        Err(error) => assert_one_line(&error.to_string()),
        Ok(weights) => {
            let _ = weights.chat_template();
            let names: Vec<String> = weights.names().map(str::to_owned).collect();
            for name in names {
                weights.matrix(&name).expect("a weight that is named");
            }
        }
    }
});
