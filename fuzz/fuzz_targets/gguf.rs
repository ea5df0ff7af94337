//! Any bytes as a GGUF file: the header and every tensor, then the whole model as `hone` opens it, and three tokens.
//!
//! If the first byte is odd the rest is a beginning, and zeros follow it: headers change without the data being lost.

#![no_main]

use hone_fuzz::{assert_one_line, open_and_run, write};
use hone_model::weights::Gguf;
use hone_tensor::Bytes;
use libfuzzer_sys::fuzz_target;

/// Enough for the data of any of the seeds.
const DATA: usize = 96 << 10;

fuzz_target!(|input: &[u8]| {
    let Some((choice, input)) = input.split_first() else {
        return;
    };
    let mut bytes = input.to_vec();
    if choice % 2 == 1 {
        bytes.resize(bytes.len() + DATA, 0);
    }
    let file = match Gguf::parse(Bytes::from_vec(bytes.clone())) {
        Ok(file) => file,
        Err(error) => return assert_one_line(&error.to_string()),
    };
    let names: Vec<String> = file.tensors().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        let matrix = file.matrix(&name).expect("a tensor that is named");
        if let Ok(matrix) = matrix
            && matrix.rows() * matrix.cols() < 1 << 20
        {
            matrix.to_f32();
        }
    }
    let keys: Vec<&str> = file.keys().collect();
    for key in keys {
        assert!(file.get(key).is_some() && file.typed(key).is_some());
    }
    open_and_run(&write("input.gguf", &bytes));
});
