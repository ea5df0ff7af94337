//! Any bytes as a file of rows or a document, in the form that the first byte chooses; whatever is told of them is one
//! short line. Parquet, Arrow and packed files have targets of their own.

#![no_main]

use hone_fuzz::read_rows;
use libfuzzer_sys::fuzz_target;

/// `ROWS` in xtask/src/fuzz.rs has their places.
const NAMES: [&str; 6] = [
    "rows.jsonl",
    "rows.json",
    "rows.csv",
    "rows.tsv",
    "rows.md",
    "rows.txt",
];

fuzz_target!(|input: &[u8]| {
    if let Some((choice, bytes)) = input.split_first() {
        read_rows(NAMES[usize::from(*choice) % NAMES.len()], bytes);
    }
});
