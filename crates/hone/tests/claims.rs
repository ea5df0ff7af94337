//! Small files that claim to hold a great deal: each is refused, and what it claims is never asked of the memory.
//!
//! The tests share one counter of all memory the process asks for, so they run one at a time. What is asked for and never
//! touched counts too: it would not show in what the process takes, and would end it under a limit.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hone::base::Wheel;
use hone::data::{ReadOptions, stream};
use hone::model::weights::BaseWeights;
use hone::text::Tokenizer;

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn count(bytes: usize) {
    PEAK.fetch_max(NOW.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: everything is the system's; only sizes are counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time.
static TURN: Mutex<()> = Mutex::new(());

/// What a reader may take whatever a file of a few bytes says: its buffers, and the 16 MiB that the longest row may have.
const MOST_BYTES: usize = 40 << 20;

/// What a file claims more than there is.
const MANY: u64 = 1 << 40;

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(path)
}

/// Runs a reader that has to refuse, in little memory; what it said.
fn refused<T>(what: &str, read: impl FnOnce() -> Result<T, String>) -> String {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let outcome = read();
    let peak = PEAK.load(Relaxed) - before;
    assert!(peak <= MOST_BYTES, "{what}: asked for {peak} bytes");
    match outcome {
        Err(said) => said,
        Ok(_) => panic!("{what} was read"),
    }
}

/// A directory and a file of it.
fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn read_rows(path: &Path) -> Result<(), String> {
    let mut refusal = None;
    let outcome = stream(&[path], &ReadOptions::default(), &mut |row| {
        if let Err(row) = row {
            refusal.get_or_insert(row.reason.to_string());
        }
        ControlFlow::Continue(())
    });
    outcome.map_err(|error| error.to_string())?;
    refusal.map_or(Ok(()), Err)
}

#[test]
fn what_is_asked_for_and_never_touched_is_counted() {
    let _turn = TURN.lock();
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    drop(std::hint::black_box(Vec::<u8>::with_capacity(
        2 * MOST_BYTES,
    )));
    assert!(PEAK.load(Relaxed) - before >= 2 * MOST_BYTES);
    assert!(NOW.load(Relaxed) < before + MOST_BYTES);
}

/// The beginning of a GGUF file of version 3.
fn gguf(tensors: u64, keys: u64, rest: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(tensors.to_le_bytes());
    bytes.extend(keys.to_le_bytes());
    rest.iter().for_each(|part| bytes.extend(*part));
    bytes
}

#[test]
fn counts_that_a_gguf_file_claims_take_no_memory() {
    let _turn = TURN.lock();
    let many = &MANY.to_le_bytes()[..];
    let name = &b"\x01\0\0\0\0\0\0\0w"[..];
    let kind = |id: u32| id.to_le_bytes();
    let (text, list, small) = (&kind(8)[..], &kind(9)[..], &kind(0)[..]);
    let one = &1_u64.to_le_bytes()[..];
    let four_axes = &4_u32.to_le_bytes()[..];
    let files: [(&str, Vec<u8>); 11] = [
        ("tensors", gguf(MANY, 0, &[])),
        ("keys", gguf(0, MANY, &[])),
        ("tensors and keys", gguf(u64::MAX, u64::MAX, &[&[0; 64]])),
        ("a key's length", gguf(0, 1, &[many, b"w"])),
        ("a text's length", gguf(0, 1, &[name, text, many, b"a"])),
        (
            "numbers in a list",
            gguf(0, 1, &[name, list, small, many, &[0; 9]]),
        ),
        (
            "texts in a list",
            gguf(0, 1, &[name, list, text, many, &[0; 9]]),
        ),
        (
            "lists in a list",
            gguf(0, 1, &[name, list, list, many, &[0; 9]]),
        ),
        ("a tensor's name", gguf(1, 0, &[many, b"w"])),
        (
            "axes",
            gguf(1, 0, &[name, &u32::MAX.to_le_bytes(), &[1; 64]]),
        ),
        (
            "the length of axes",
            gguf(
                1,
                0,
                &[
                    name, four_axes, many, one, one, one, &[0; 4], &[0; 8], &[0; 64],
                ],
            ),
        ),
    ];
    for (what, bytes) in files {
        let (_dir, path) = written("m.gguf", &bytes);
        let said = refused(what, || BaseWeights::open(&path).map_err(|e| e.to_string()));
        assert!(said.contains("m.gguf"), "{what}: {said}");
    }
}

#[test]
fn lengths_that_a_safetensors_file_claims_take_no_memory() {
    let _turn = TURN.lock();
    let with_header = |header: &str| {
        let length = (header.len() as u64).to_le_bytes();
        [&length[..], header.as_bytes(), &[0; 8]].concat()
    };
    let files = [
        ("a header", [&MANY.to_le_bytes()[..], b"{}"].concat()),
        (
            "the longest header",
            [&100_000_000_u64.to_le_bytes()[..], b"{}"].concat(),
        ),
        (
            "a tensor",
            with_header(
                r#"{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}"#,
            ),
        ),
        (
            "axes whose product is zero",
            with_header(r#"{"w":{"dtype":"F32","shape":[1099511627776,0],"data_offsets":[0,0]}}"#),
        ),
    ];
    for (what, bytes) in files {
        let (dir, path) = written("model.safetensors", &bytes);
        let config = fixture("models/tiny-llama-tied/config.json");
        std::fs::copy(config, dir.path().join("config.json")).unwrap();
        let said = refused(what, || {
            BaseWeights::open(dir.path()).map_err(|e| e.to_string())
        });
        assert!(said.contains(&path.display().to_string()), "{what}: {said}");
    }
}

#[test]
fn counts_that_a_parquet_file_claims_take_no_memory() {
    let _turn = TURN.lock();
    for name in ["long_footer", "many_columns", "wide_page"] {
        let path = fixture(&format!("rows/hostile/{name}.parquet"));
        refused(name, || read_rows(&path));
    }
    // A footer of nothing but the count of a list: of the schema, and of groups of rows.
    for (what, field) in [("schema", 0x29_u8), ("groups of rows", 0x49)] {
        let footer = [&[field, 0xfc][..], &[0xff, 0xff, 0xff, 0xff, 0x07]].concat();
        let length = (footer.len() as u32).to_le_bytes();
        let bytes = [b"PAR1", &footer[..], &length, b"PAR1"].concat();
        let (_dir, path) = written("rows.parquet", &bytes);
        refused(what, || read_rows(&path));
    }
}

/// Every number of a sound file in turn, wherever eight of its bytes may be one.
#[test]
fn counts_that_an_arrow_file_claims_take_no_memory() {
    let _turn = TURN.lock();
    // The reader's library panics at some of them, which is caught; a backtrace, where the environment asks for one, would
    // take a hundred megabytes itself.
    std::panic::set_hook(Box::new(|said| eprintln!("{said}")));
    let mut peak = 0;
    let mut refusals = 0;
    for name in [
        "saved/calls/data-00000-of-00001.arrow",
        "feather/lz4.feather",
        "feather/zstd.feather",
    ] {
        let sound = std::fs::read(fixture(&format!("rows/{name}"))).unwrap();
        for at in (0..sound.len() - 8).step_by(4) {
            let mut bytes = sound.clone();
            bytes[at..at + 8].copy_from_slice(&MANY.to_le_bytes());
            let (_dir, path) = written("rows.arrow", &bytes);
            let before = NOW.load(Relaxed);
            PEAK.store(before, Relaxed);
            refusals += usize::from(read_rows(&path).is_err());
            peak = peak.max(PEAK.load(Relaxed) - before);
        }
    }
    assert!(peak <= MOST_BYTES, "asked for {peak} bytes");
    assert!(refusals > 100, "{refusals} were refused");
    let long = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0];
    let (_dir, path) = written("rows.arrow", &long);
    refused("a message", || read_rows(&path));
}

#[test]
fn what_a_packed_file_claims_takes_no_memory() {
    let _turn = TURN.lock();
    // One frame that says it needs a window of 2^41 bytes, and one that says it holds 2^40.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0x00, 0x00];
    let content = [
        &[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..],
        &MANY.to_le_bytes(),
        &[1, 0, 0],
    ]
    .concat();
    for (what, bytes) in [("window", &window[..]), ("content", &content[..])] {
        let (_dir, path) = written("rows.jsonl.zst", bytes);
        refused(what, || read_rows(&path));
    }
}

#[test]
fn what_a_wheel_claims_takes_no_memory() {
    let _turn = TURN.lock();
    const WHEEL: Wheel = Wheel {
        package: "tiny",
        version: "1",
        sha256: "",
        member: "tiny/tiny.gguf",
        member_bytes: 18,
        member_sha256: "",
    };
    let sound = std::fs::read(fixture("archives/stored.whl")).unwrap();
    let end = sound.len() - 22;
    let mut peak = 0;
    // Every pair of numbers of the last record and of the list of members.
    for at in 0..sound.len() - 4 {
        let mut bytes = sound.clone();
        bytes[at..at + 4].fill(0xff);
        let (dir, path) = written("tiny.whl", &bytes);
        let out = dir.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let before = NOW.load(Relaxed);
        PEAK.store(before, Relaxed);
        let _ = WHEEL.unpack(&path, &out);
        peak = peak.max(PEAK.load(Relaxed) - before);
    }
    assert!(peak <= MOST_BYTES, "asked for {peak} bytes");
    // The record of large archives, which counts members in eight bytes.
    let mut large = sound[..end].to_vec();
    let start = large.len() as u64;
    large.extend(b"PK\x06\x06");
    large.extend(44_u64.to_le_bytes());
    large.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for number in [MANY, MANY, MANY, 0] {
        large.extend(number.to_le_bytes());
    }
    large.extend(b"PK\x06\x07\0\0\0\0");
    large.extend(start.to_le_bytes());
    large.extend([1, 0, 0, 0]);
    large.extend(b"PK\x05\x06\0\0\0\0");
    large.extend([0xff; 12]);
    large.extend([0, 0]);
    let (dir, path) = written("tiny.whl", &large);
    refused("members", || {
        WHEEL.unpack(&path, dir.path()).map_err(|e| e.to_string())
    });
}

#[test]
fn ids_and_lengths_that_a_tokenizer_claims_take_no_memory() {
    let _turn = TURN.lock();
    let json = std::fs::read(fixture("models/tiny-llama-tied/tokenizer.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let mut far = json.clone();
    far["model"]["vocab"]["<far>"] = u32::MAX.into();
    let mut far_added = json.clone();
    far_added["added_tokens"][0]["id"] = u32::MAX.into();
    for (what, json) in [("an id", far), ("an added id", far_added)] {
        let json = json.to_string();
        refused(what, || {
            let read = Tokenizer::from_json(json.as_bytes()).map_err(|e| e.to_string());
            // The library numbers an added token of a known text as the vocabulary does.
            match read {
                Ok(read) => read.refuse_beyond(300).map_err(|e| e.to_string()).and(
                    match read.token_id("<|endoftext|>") {
                        Some(0) => Err("the vocabulary's number".to_owned()),
                        other => Ok(other),
                    },
                ),
                Err(error) => Err(error),
            }
        });
    }
    // Fields of a SentencePiece model whose length is 2^40: a piece, and the normaliser's table.
    for tag in [0x0a_u8, 0x1a] {
        let bytes = [tag, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, b'a'];
        refused("a piece", || {
            Tokenizer::from_sentence_piece(&bytes, None).map_err(|e| e.to_string())
        });
    }
}
