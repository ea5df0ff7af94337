//! Any bytes as a Parquet file of rows.

#![no_main]

use hone_fuzz::read_rows;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    read_rows("rows.parquet", input);
});
