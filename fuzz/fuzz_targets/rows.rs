//! Any bytes as a file of rows, in the form that the first byte chooses; whatever is told of them is one short line.

#![no_main]

use std::ops::ControlFlow;

use hone_data::{ReadOptions, stream};
use hone_fuzz::{assert_one_line, write};
use libfuzzer_sys::fuzz_target;

/// `ROWS` in xtask/src/fuzz.rs has their places.
const NAMES: [&str; 6] = [
    "rows.parquet",
    "rows.arrow",
    "rows.jsonl",
    "rows.jsonl.gz",
    "rows.jsonl.zst",
    "rows.csv",
];

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else {
        return;
    };
    let file = write(NAMES[usize::from(*choice) % NAMES.len()], bytes);
    let outcome = stream(&[file], &ReadOptions::default(), &mut |row| {
        if let Err(refused) = row {
            assert_one_line(&refused.reason.to_string());
        }
        ControlFlow::Continue(())
    });
    if let Err(error) = outcome {
        assert_one_line(&error.to_string());
    }
});
