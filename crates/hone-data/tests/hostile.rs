//! Files made to hurt: each ends in a refused row or an error of one sentence, soon and in little memory.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use hone_data::{ReadOptions, stream};

const ROW: &[u8] = b"{\"text\": \"an honest row\"}\n";

/// What a reader is told: rows used, why others are not, and how the reading ended.
#[derive(Debug)]
struct Told {
    used: usize,
    refused: Vec<String>,
    error: Option<String>,
}

fn read(file: &Path) -> Told {
    let (mut used, mut refused) = (0, Vec::new());
    let started = Instant::now();
    let outcome = stream(&[file], &ReadOptions::default(), &mut |row| {
        match row {
            Ok(_) => used += 1,
            Err(row) => refused.push(row.reason.to_string()),
        }
        ControlFlow::Continue(())
    });
    let elapsed = started.elapsed();
    assert!(
        elapsed < Duration::from_secs(60),
        "{} took {elapsed:?}",
        file.display()
    );
    let error = outcome.err().map(|error| error.to_string());
    for told in refused.iter().chain(&error) {
        assert!(told.len() < 400 && !told.contains('\n'), "{told}");
    }
    Told {
        used,
        refused,
        error,
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, parts: &[&[u8]]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, parts.concat()).unwrap();
        path
    }

    /// A file of `times` × `part` between a beginning and an end, never held in memory.
    fn long(&self, name: &str, begin: &[u8], part: &[u8], times: usize, end: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        let file = BufWriter::new(File::create(&path).unwrap());
        let mut file: Box<dyn Write> = match name.ends_with(".zst") {
            true => Box::new(zstd::Encoder::new(file, 1).unwrap().auto_finish()),
            false => Box::new(file),
        };
        file.write_all(begin).unwrap();
        (0..times).for_each(|_| file.write_all(part).unwrap());
        file.write_all(end).unwrap();
        file.flush().unwrap();
        path
    }
}

const MEBIBYTE: usize = 1 << 20;

#[test]
fn long_rows_and_bombs_are_read_in_little_memory() {
    let folder = Folder::new();
    let text = vec![b'a'; MEBIBYTE];
    let line = folder.long(
        "line.jsonl",
        b"{\"text\": \"",
        &text,
        100,
        &[b"\"}\n", ROW].concat(),
    );
    let told = read(&line);
    assert_eq!((told.used, told.refused.len()), (1, 1), "{told:?}");
    assert!(
        told.refused[0].starts_with("the line is 104857613 bytes long"),
        "{told:?}"
    );

    let element = folder.long(
        "row.json",
        b"[{\"text\": \"",
        &text,
        100,
        b"\"}, {\"text\": \"b\"}]",
    );
    let told = read(&element);
    assert_eq!((told.used, told.refused.len()), (1, 1), "{told:?}");
    assert!(told.refused[0].starts_with("the row is"), "{told:?}");

    let bomb = folder.long("bomb.jsonl.zst", b"{\"text\": \"", &text, 300, b"\"}\n");
    assert!(fs::metadata(&bomb).unwrap().len() < 1 << 16);
    let error = read(&bomb).error.unwrap();
    assert!(
        error.contains("none of its 1 rows can be used; the first is"),
        "{error}"
    );

    let rows = ROW.repeat(MEBIBYTE / ROW.len());
    let told = read(&folder.long("rows.jsonl.zst", b"", &rows, 64, b""));
    assert_eq!((told.used, told.error), (64 * (MEBIBYTE / ROW.len()), None));

    let quote = folder.long("open.csv", b"text,n\n\"a\",1\n\"", &text, 100, b"\n");
    let error = read(&quote).error.unwrap();
    assert!(
        error.ends_with("open.csv:3: a quote that opens in this row is never closed"),
        "{error}"
    );

    let told = read(&folder.long("endless.txt", b"", &text, 20, b"\nb\n"));
    assert!(
        told.error
            .unwrap()
            .contains("the line is 20971521 bytes long")
    );
    assert!(
        peak_bytes() < 200 * MEBIBYTE,
        "{} MiB",
        peak_bytes() / MEBIBYTE
    );
}

/// The most memory that this process has had, where the system tells.
fn peak_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kibibytes.map_or(0, |number| number.parse::<usize>().unwrap() << 10)
}

#[test]
fn deep_json_is_a_refused_row_in_lines_and_in_a_document() {
    let folder = Folder::new();
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let objects = [
        b"{\"a\":".repeat(100_000),
        b"1".to_vec(),
        b"}".repeat(100_000),
    ]
    .concat();
    for deep in [deep, objects] {
        let lines = folder.file("x.jsonl", &[ROW, b"{\"text\": ", &deep, b"}\n"]);
        let document = folder.file("x.json", &[b"[", ROW, b",{\"text\": ", &deep, b"}]"]);
        for file in [lines, document] {
            let told = read(&file);
            assert_eq!((told.used, &told.error), (1, &None), "{told:?}");
            assert!(told.refused[0].contains("recursion limit"), "{told:?}");
        }
        let open = folder.file("open.json", &[b"[", ROW, b",", &deep[..100_000]]);
        assert!(read(&open).error.unwrap().contains("not JSON: EOF"));
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_rows() {
    let folder = Folder::new();
    let told = read(&folder.file(
        "x.jsonl",
        &[ROW, b"{\"text\": \"\xff\xfe\"}\n\0\0\0\n", ROW],
    ));
    assert_eq!((told.used, told.refused.len()), (2, 2), "{told:?}");
    assert!(
        told.refused[0].contains("UTF-8") && told.refused[1].contains("NUL"),
        "{told:?}"
    );
    let told = read(&folder.file("x.csv", &[b"text,n\na,1\n\xff,2\n\0,3\nb,4\n"]));
    assert_eq!((told.used, told.refused.len()), (2, 2), "{told:?}");
    let noise: Vec<u8> = (0..1_u32 << 16)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for name in [
        "x",
        "x.json",
        "x.jsonl",
        "x.csv",
        "x.md",
        "x.txt",
        "x.gz",
        "x.parquet",
    ] {
        assert!(
            read(&folder.file(name, &[&noise])).error.is_some(),
            "{name}"
        );
        for magic in [b"\x1f\x8b\x08\0".as_slice(), b"\x28\xb5\x2f\xfd", b"PAR1"] {
            assert!(
                read(&folder.file(name, &[magic, &noise])).error.is_some(),
                "{name}"
            );
        }
    }
}

#[test]
fn a_packed_file_that_breaks_off_gives_its_rows_and_then_an_error() {
    let folder = Folder::new();
    let rows: Vec<u8> = (0..50_000_u32)
        .flat_map(|n| format!("{{\"text\": \"{}\"}}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
        .collect();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&rows).unwrap();
    let packed = [
        ("x.jsonl.gz", gzip.finish().unwrap()),
        ("x.jsonl.zst", zstd::encode_all(rows.as_slice(), 1).unwrap()),
    ];
    for (name, bytes) in packed {
        let whole = read(&folder.file(name, &[&bytes]));
        assert_eq!((whole.used, whole.error), (50_000, None), "{name}");
        let told = read(&folder.file(name, &[&bytes[..bytes.len() / 2]]));
        assert!((1..50_000).contains(&told.used), "{name}: {told:?}");
        let error = told.error.unwrap();
        assert!(
            error.contains(&format!("{name}: damaged from line {} on", told.used + 1)),
            "{error}"
        );
    }
}

/// Every form of file, as the fixtures have it and packed.
fn files_of_every_form() -> Vec<(&'static str, Vec<u8>)> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/rows");
    let bytes = |name: &str| fs::read(fixtures.join(name)).unwrap();
    let rows = bytes("chats.jsonl");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&rows).unwrap();
    vec![
        ("calls.parquet", bytes("calls.parquet")),
        ("pairs.parquet", bytes("pairs.parquet")),
        ("padded.parquet", bytes("padded.parquet")),
        ("rows.jsonl.gz", gzip.finish().unwrap()),
        ("rows.jsonl.zst", zstd::encode_all(&rows[..], 1).unwrap()),
        ("rows.jsonl", rows),
        (
            "rows.csv",
            b"prompt,completion\n\"a \"\"b\"\"\",c\nd,e\n".to_vec(),
        ),
    ]
}

#[test]
fn damage_anywhere_in_a_file_is_an_error_or_a_refused_row() {
    let folder = Folder::new();
    let mut random = hone_ledger::Seed::new(0).stream();
    let mut told_of_damage = 0;
    for (name, whole) in files_of_every_form() {
        for _ in 0..150 {
            let mut bytes = whole.clone();
            for _ in 0..=random.below(5) {
                // The beginning and the end say what everything between is.
                let place = match random.below(3) {
                    0 => random.below(bytes.len() as u64),
                    1 => random.below(64.min(bytes.len() as u64)),
                    _ => (bytes.len() as u64).saturating_sub(1 + random.below(600)),
                };
                bytes[place as usize] = random.next_u64() as u8;
            }
            if random.below(4) == 0 {
                bytes.truncate(random.below(bytes.len() as u64) as usize);
            }
            let told = read(&folder.file(name, &[&bytes]));
            told_of_damage += usize::from(told.error.is_some() || !told.refused.is_empty());
        }
    }
    assert!(told_of_damage > 300, "{told_of_damage}");
}
