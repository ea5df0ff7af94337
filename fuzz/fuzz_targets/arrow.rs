//! Any bytes as a file of rows that `save_to_disk` might have written.

#![no_main]

use hone_fuzz::read_rows;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    read_rows("rows.arrow", input);
});
