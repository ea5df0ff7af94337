//! Hostile files against the readers: `cargo fuzz` over the targets of fuzz/, seeded from fixtures.
//!
//! libFuzzer wants sanitizers, which this toolchain has and keeps for nightly: RUSTC_BOOTSTRAP lets it use them. Debug
//! assertions and checks of overflow are on as well. Everything it makes lies under fuzz/corpus, fuzz/artifacts and
//! target/fuzz.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

struct Target {
    name: &'static str,
    /// Inputs to begin with, by name.
    seeds: fn(&Path) -> Result<Vec<Seed>>,
    dictionary: &'static str,
    max_bytes: usize,
    /// Threads outlive an input; what they hold is no leak.
    has_threads: bool,
}

/// A name and an input.
type Seed = (String, Vec<u8>);

const TARGETS: [Target; 14] = [
    Target {
        name: "safetensors",
        seeds: quantised_files,
        dictionary: "safetensors",
        max_bytes: 8 << 10,
        has_threads: false,
    },
    Target {
        name: "shard_index",
        seeds: shard_indices,
        dictionary: "safetensors",
        max_bytes: 4 << 10,
        has_threads: false,
    },
    Target {
        name: "gguf",
        seeds: gguf_files,
        dictionary: "gguf",
        max_bytes: 24 << 10,
        has_threads: false,
    },
    Target {
        name: "model_config",
        seeds: model_configs,
        dictionary: "model_config",
        max_bytes: 4 << 10,
        has_threads: false,
    },
    Target {
        name: "adapter_config",
        seeds: adapter_configs,
        dictionary: "adapter_config",
        max_bytes: 4 << 10,
        has_threads: false,
    },
    Target {
        name: "adapter_dir",
        seeds: adapter_files,
        dictionary: "safetensors",
        max_bytes: 28 << 10,
        has_threads: false,
    },
    Target {
        name: "chat_template",
        seeds: templates,
        dictionary: "chat_template",
        max_bytes: 8 << 10,
        has_threads: false,
    },
    Target {
        name: "tokenizer",
        seeds: tokenizers,
        dictionary: "tokenizer",
        max_bytes: 16 << 10,
        has_threads: false,
    },
    Target {
        name: "rows",
        seeds: row_files,
        dictionary: "rows",
        max_bytes: 16 << 10,
        has_threads: false,
    },
    Target {
        name: "parquet",
        seeds: parquet_files,
        dictionary: "rows",
        max_bytes: 16 << 10,
        has_threads: false,
    },
    Target {
        name: "arrow",
        seeds: arrow_files,
        dictionary: "rows",
        max_bytes: 8 << 10,
        has_threads: false,
    },
    Target {
        name: "archive",
        seeds: archives,
        dictionary: "archive",
        max_bytes: 4 << 10,
        has_threads: false,
    },
    Target {
        name: "run_record",
        seeds: records,
        dictionary: "run_record",
        max_bytes: 8 << 10,
        has_threads: false,
    },
    Target {
        name: "hub_response",
        seeds: hub_answers,
        dictionary: "hub_response",
        max_bytes: 4 << 10,
        has_threads: true,
    },
];

/// What a hostile file may cost: an input that takes longer or more is a finding. With the sanitizer everything is several
/// times slower than it is for users.
const MOST_SECONDS: u64 = 5;
const MOST_MB: u64 = 1024;

/// The targets' names.
pub const NAMES: [&str; TARGETS.len()] = {
    let mut names = [""; TARGETS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = TARGETS[at].name;
        at += 1;
    }
    names
};

/// Runs targets one after the other, `seconds` each; all of them when none is named.
pub fn run(root: &Path, names: &[String], seconds: u64) -> Result<()> {
    let cargo_fuzz = cargo_fuzz(root)?;
    for target in TARGETS {
        if names.is_empty() || names.iter().any(|name| name == target.name) {
            write_seeds(root, &target).with_context(|| format!("seeds of {}", target.name))?;
            fuzz(root, &cargo_fuzz, &target, seconds)?;
        }
    }
    Ok(())
}

/// The tool, installed under target/ when it is not on this machine.
fn cargo_fuzz(root: &Path) -> Result<PathBuf> {
    let found = Command::new("cargo-fuzz").arg("--version").output();
    if found.is_ok_and(|found| found.status.success()) {
        return Ok("cargo-fuzz".into());
    }
    let place = root.join("target/cargo-fuzz");
    let tool = place.join("bin").join("cargo-fuzz");
    if !tool.exists() {
        let status = crate::cargo()
            .args(["install", "cargo-fuzz", "--locked", "--root"])
            .arg(&place)
            .status()?;
        ensure!(status.success(), "cargo-fuzz could not be installed");
    }
    Ok(tool)
}

fn write_seeds(root: &Path, target: &Target) -> Result<()> {
    let corpus = root.join("fuzz/corpus").join(target.name);
    std::fs::create_dir_all(&corpus)?;
    for (name, bytes) in (target.seeds)(&root.join("fixtures"))? {
        ensure!(
            bytes.len() <= target.max_bytes,
            "the seed {name} has {} bytes, more than an input may have",
            bytes.len()
        );
        std::fs::write(corpus.join(format!("seed-{name}")), bytes)?;
    }
    Ok(())
}

/// Layers of quantised checkpoints, each with the choice of its configuration in fuzz_targets/safetensors.rs.
fn quantised_files(fixtures: &Path) -> Result<Vec<Seed>> {
    const CASES: [(&str, u8); 13] = [
        ("bnb-nf4", 1),
        ("bnb-fp4-nested", 1),
        ("bnb-nf4-odd", 1),
        ("bnb-fp4", 1),
        ("gptq-sym", 2),
        ("gptq-by-activity", 2),
        ("gptq-v2", 3),
        ("gptq-rows", 4),
        ("awq", 5),
        ("fp8-tensor", 6),
        ("fp8-rows", 6),
        ("fp8-blocks", 7),
        ("fp8-tensor", 8),
    ];
    let golden = Safetensors::read(&fixtures.join("golden/quantised.safetensors"))?;
    let mut seeds = Vec::new();
    for (case, choice) in CASES {
        let layer = golden.part(&format!("{case}/"), "values");
        ensure!(!layer.header.is_empty(), "no golden layer `{case}`");
        seeds.extend(layer.seeds(&format!("{choice}-{case}"), choice));
    }
    let plain =
        Safetensors::read(&fixtures.join("adapters/tiny-llama-tied-qv/adapter_model.safetensors"))?;
    seeds.extend(plain.seeds("0-plain", 0));
    Ok(seeds)
}

fn shard_indices(fixtures: &Path) -> Result<Vec<Seed>> {
    let path = "models/tiny-llama-untied-sharded/model.safetensors.index.json";
    let index = std::fs::read(fixtures.join(path))?;
    let outside = r#"{"weight_map":{"outside":"../outside.safetensors"}}"#;
    Ok(vec![
        ("whole".into(), index),
        ("outside".into(), outside.into()),
    ])
}

/// Whole files, and beginnings that are followed by zeros.
fn gguf_files(fixtures: &Path) -> Result<Vec<Seed>> {
    let mut seeds = Vec::new();
    for dir in sorted(&fixtures.join("families"))? {
        let path = dir.join("base.gguf");
        if path.exists() {
            seeds.push((name_of(&dir), beginning(&std::fs::read(path)?)?));
        }
    }
    let with_tokenizer = std::fs::read(fixtures.join("models/tiny-llama.gguf"))?;
    seeds.push(("llama".into(), beginning(&with_tokenizer)?));
    Ok(seeds)
}

/// A GGUF file up to its last tensor's entry, after the choice that has zeros follow.
fn beginning(gguf: &[u8]) -> Result<Vec<u8>> {
    // After the name of a tensor come the number of axes, up to four of them, a type and an offset.
    const ENTRY: usize = 4 + 4 * 8 + 4 + 8;
    let ends = [&b".weight"[..], b".bias"].map(|end| {
        let found = gguf.windows(end.len()).rposition(|window| window == end);
        found.map(|at| at + end.len())
    });
    let end = ends.into_iter().flatten().max().context("no tensors")?;
    Ok([&[1], &gguf[..gguf.len().min(end + ENTRY)]].concat())
}

fn model_configs(fixtures: &Path) -> Result<Vec<Seed>> {
    let families = sorted(&fixtures.join("families"))?;
    let bases = families.iter().map(|family| family.join("base"));
    let models = sorted(&fixtures.join("models"))?;
    let dirs = bases.chain(models).filter(|dir| dir.is_dir());
    dirs.map(|dir| {
        let config = std::fs::read(dir.join("config.json"))?;
        let parent = dir.parent().map(name_of).unwrap_or_default();
        Ok((format!("{parent}-{}", name_of(&dir)), config))
    })
    .collect()
}

/// Adapters of every kind, in the order of `ADAPTERS` in fuzz_targets/adapter_config.rs and adapter_dir.rs.
const ADAPTERS: [&str; 12] = [
    "tied-qv",
    "tied",
    "tied-dora",
    "tied-embedding",
    "tied-ia3",
    "tied-rows",
    "untied-patterns",
    "untied-head",
    "untied-whole",
    "bias-all",
    "bias-own",
    "bias-ia3",
];

fn adapter_configs(fixtures: &Path) -> Result<Vec<Seed>> {
    let seed = |(choice, name): (usize, &&str)| {
        let dir = fixtures.join(format!("adapters/tiny-llama-{name}"));
        let config = std::fs::read(dir.join("adapter_config.json"))?;
        Ok(((*name).to_owned(), [&[choice as u8], &config[..]].concat()))
    };
    ADAPTERS.iter().enumerate().map(seed).collect()
}

fn adapter_files(fixtures: &Path) -> Result<Vec<Seed>> {
    let mut seeds = Vec::new();
    for (choice, name) in ADAPTERS.iter().enumerate() {
        let dir = fixtures.join(format!("adapters/tiny-llama-{name}"));
        let weights = Safetensors::read(&dir.join("adapter_model.safetensors"))?;
        seeds.extend(weights.seeds(name, choice as u8));
    }
    Ok(seeds)
}

/// Every template of the golden numbers.
fn templates(fixtures: &Path) -> Result<Vec<Seed>> {
    let own = std::fs::read(fixtures.join("models/tiny-llama-untied/chat_template.jinja"))?;
    let mut seeds = vec![("own".to_owned(), own)];
    let golden = std::fs::read(fixtures.join("golden/templates.json"))?;
    let golden: Value = serde_json::from_slice(&golden)?;
    for group in ["templates", "templates_with_generation"] {
        let sources = golden[group].as_object().context("templates by name")?;
        for (name, source) in sources {
            let source = source.as_str().context("a template is text")?;
            seeds.push((format!("{group}-{name}"), source.into()));
        }
    }
    Ok(seeds)
}

fn tokenizers(fixtures: &Path) -> Result<Vec<Seed>> {
    let tokenizer = std::fs::read(fixtures.join("models/tiny-llama-tied/tokenizer.json"))?;
    let mut seeds: Vec<Seed> = vec![("own".into(), tokenizer)];
    for name in ["bpe", "bpe-no-prefix", "unigram-rules"] {
        let model = std::fs::read(fixtures.join(format!("tokenizers/{name}.model")))?;
        seeds.push((name.into(), model));
    }
    Ok(seeds)
}

/// Files of rows, each after its place among `NAMES` in fuzz_targets/rows.rs.
fn row_files(fixtures: &Path) -> Result<Vec<Seed>> {
    const TEXTS: [(&str, u8, &str); 5] = [
        (
            "json",
            1,
            r#"{"data": [{"prompt": "a", "completion": "b"}]}"#,
        ),
        ("csv", 2, "prompt,completion\n\"a \"\"b\"\"\",c\n"),
        ("tsv", 3, "prompt\tcompletion\na\tb\n"),
        (
            "md",
            4,
            "# Title\n\nSome words.\n\n```\n# code\n```\n\n## More\n\nWords.\n",
        ),
        ("txt", 5, "A paragraph.\n\nAnother one\nof two lines.\n"),
    ];
    let texts = TEXTS.iter().map(|(name, choice, text)| {
        let bytes = [&[*choice], text.as_bytes()].concat();
        ((*name).to_owned(), bytes)
    });
    let mut seeds: Vec<Seed> = texts.collect();
    for path in sorted(&fixtures.join("rows"))? {
        if path.extension().is_some_and(|ending| ending == "jsonl") {
            let bytes = std::fs::read(&path)?;
            seeds.push((name_of(&path), [&[0], &bytes[..]].concat()));
        }
    }
    Ok(seeds)
}

/// Sound ones and hostile ones.
fn parquet_files(fixtures: &Path) -> Result<Vec<Seed>> {
    let rows = fixtures.join("rows");
    let mut seeds = files_in(&rows, "parquet")?;
    seeds.extend(files_in(&rows.join("hostile"), "parquet")?);
    Ok(seeds)
}

fn arrow_files(fixtures: &Path) -> Result<Vec<Seed>> {
    let saved = fixtures.join("rows/saved");
    let mut seeds = Vec::new();
    for folder in ["calls", "odd", "chats/train", "chats/test"] {
        for (name, bytes) in files_in(&saved.join(folder), "arrow")? {
            seeds.push((format!("{}-{name}", folder.replace('/', "-")), bytes));
        }
    }
    seeds.extend(files_in(&fixtures.join("rows/feather"), "feather")?);
    Ok(seeds)
}

/// The files of a folder that end so.
fn files_in(folder: &Path, ending: &str) -> Result<Vec<Seed>> {
    let paths = sorted(folder)?.into_iter();
    let paths = paths.filter(|path| path.extension().is_some_and(|end| end == ending));
    paths
        .map(|path| Ok((name_of(&path), std::fs::read(&path)?)))
        .collect()
}

/// Wheels, and a row packed in both ways, after the choice between the two in fuzz_targets/archive.rs.
fn archives(fixtures: &Path) -> Result<Vec<Seed>> {
    const GZIP: &[u8] = b"\x01\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xabV*I\xad(Q\xb2RPJT\xaa\xe5\x02\x00\xbd\xd2* \x0e\x00\x00\x00";
    const ZSTD: &[u8] = b"\x01\x28\xb5\x2f\xfd\x04Xq\x00\x00{\"text\": \"a\"}\x0a\xfc\x0cHX";
    let mut seeds: Vec<Seed> = vec![
        ("gzip".into(), GZIP.to_vec()),
        ("zstd".into(), ZSTD.to_vec()),
    ];
    for (name, wheel) in files_in(&fixtures.join("archives"), "whl")? {
        seeds.push((name, [&[0], &wheel[..]].concat()));
    }
    Ok(seeds)
}

/// Files of a run and of the registry, each after its place in fuzz_targets/run_record.rs.
const RECORDS: [(&str, u8, &str); 10] = [
    (
        "events",
        1,
        "{\"event\":\"stepped\",\"step\":1,\"epoch\":0,\"loss\":1.5,\"lr\":0.1,\"grad_norm\":1.0,\"examples\":2,\"tokens\":9,\"supervised_tokens\":4,\"seconds\":0.1,\"peak_bytes\":100}\n{\"event\":\"saved\",\"step\":1}\n{\"event\":\"resumed\",\"step\":1,\"changed\":[]}\n",
    ),
    ("torn", 1, "{\"event\":\"saved\",\"step\":1}\nnone\n{\"ev"),
    (
        "rows",
        3,
        r#"[["a","/r",1,2,"finished","m","d",{"valid_loss_best":1.0}],["b",null,"x",[1,255],"gone",0.5,true,"{"]]"#,
    ),
    ("list", 4, "\"/r\"\n\n\"/r\nno\"\n\"torn"),
    (
        "checkpoint",
        5,
        r#"{"step":2,"identity":"1","optimizer":"adamw","totals":{"examples":4,"tokens":9,"supervised_tokens":4,"nats":1.5,"seconds":0.1,"valid_loss_first":2.0,"valid_loss_best":1.0,"best_step":2},"due":["unchanged"]}"#,
    ),
    ("status", 6, r#"{"status":"running","finished_unix":null}"#),
    (
        "asked",
        6,
        r#"{"asked":{"model":"m","epochs":1.0,"memory":"4GB","out":"o"}}"#,
    ),
    (
        "plan",
        6,
        r#"{"plan":[{"name":"model","value":"m","origin":"flag"}],"training":{"steps":0,"optimizer":{"weight_decay":-1.0}}}"#,
    ),
    (
        "result",
        6,
        r#"{"result":{"valid_loss_first":2.0,"valid_loss_best":1.0,"adapter":"a"}}"#,
    ),
    (
        "adapters",
        6,
        r#"{"adapters":{"adapter":"b3e0e3ad2ed4ba5b2b0b5a7a80a4b3f3d3ac0d3d1a3b3ed0c0a2a4f4d9d6d8f3"}}"#,
    ),
];

fn records(_fixtures: &Path) -> Result<Vec<Seed>> {
    let seed = |(name, choice, text): &(&str, u8, &str)| {
        let bytes = [&[*choice], text.as_bytes()].concat();
        ((*name).to_owned(), bytes)
    };
    Ok(RECORDS.iter().map(seed).collect())
}

/// The answers to one pull, a zero byte between them, after what is asked: see fuzz_targets/hub_response.rs.
fn hub_answers(_fixtures: &Path) -> Result<Vec<Seed>> {
    const LIST: &str = "200 OK\ncontent-type: application/json\n\n{\"sha\":\"c0ffee\",\"siblings\":[{\"rfilename\":\"config.json\"},{\"rfilename\":\"model.safetensors\"}]}";
    const GGUF: &str = "200 OK\n\n{\"sha\":\"c0ffee\",\"siblings\":[{\"rfilename\":\"m.gguf\"}]}";
    const FILE: &str = "200 OK\netag: \"e\"\nx-repo-commit: c0ffee\n\n{}";
    const LARGE: &str = "302 Found\nx-linked-etag: \"f\"\nx-linked-size: 10\nx-repo-commit: c0ffee\nlocation: http://cdn.invalid/f";
    const TENSORS: &str = "200 OK\n\n\x02\x01\x01\x01\x01\x01\x01\x01{}";
    const PART: &str = "206 Partial\ncontent-range: bytes 1-1/2\netag: e\n\n}";
    let seed = |name: &str, choice: u8, answers: &[&str]| {
        let joined = answers.join("\0");
        (name.to_owned(), [&[choice], joined.as_bytes()].concat())
    };
    Ok(vec![
        seed("whole", 0, &[LIST, FILE, LARGE, FILE, TENSORS]),
        seed("gguf", 1, &[GGUF, FILE, FILE]),
        seed("part", 3, &[GGUF, FILE, PART]),
        seed("beyond", 3, &[GGUF, FILE, "416 Not Satisfiable\n\n"]),
        seed(
            "inner",
            1,
            &[GGUF, "307 Moved\nlocation: /there/m.gguf", FILE, FILE],
        ),
        seed(
            "refused",
            0,
            &["401 Unauthorized\nx-error-code: GatedRepo\n\n"],
        ),
        seed("busy", 0, &["429 Too Many\nretry-after: 3\n\n"]),
        seed(
            "outside",
            1,
            &[
                GGUF,
                "200 OK\netag: \"../../e\"\nx-repo-commit: ../c\ncontent-encoding: gzip\n\n{}",
            ],
        ),
        seed(
            "head",
            1,
            &[
                GGUF,
                "405 No Method\n\n",
                "206 Partial\ncontent-range: bytes 0-0/2\netag: e\n\n{",
                FILE,
            ],
        ),
        seed(
            "wire",
            0,
            &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"],
        ),
    ])
}

fn sorted(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// A safetensors file taken apart.
#[derive(Default)]
struct Safetensors {
    header: Map<String, Value>,
    data: Vec<u8>,
}

impl Safetensors {
    fn read(path: &Path) -> Result<Self> {
        let file = std::fs::read(path).with_context(|| path.display().to_string())?;
        let (length, rest) = file.split_first_chunk::<8>().context("no header")?;
        let (header, data) = rest
            .split_at_checked(u64::from_le_bytes(*length) as usize)
            .context("a short header")?;
        Ok(Self {
            header: serde_json::from_slice(header)?,
            data: data.to_vec(),
        })
    }

    /// The tensors whose names begin so, but one, under the rest of their names.
    fn part(&self, prefix: &str, without: &str) -> Self {
        let mut part = Self::default();
        for (name, entry) in &self.header {
            let Some(name) = name.strip_prefix(prefix).filter(|name| *name != without) else {
                continue;
            };
            let place = |at: usize| entry["data_offsets"][at].as_u64().unwrap_or(0) as usize;
            let start = part.data.len();
            part.data.extend(&self.data[place(0)..place(1)]);
            let mut entry = entry.clone();
            entry["data_offsets"] = serde_json::json!([start, part.data.len()]);
            part.header.insert(name.to_owned(), entry);
        }
        part
    }

    /// As it is, and as header, zero byte and data, which a target makes fit: see `hone_fuzz::safetensors`.
    fn seeds(&self, name: &str, choice: u8) -> [Seed; 2] {
        let header = Value::Object(self.header.clone()).to_string().into_bytes();
        let length = (header.len() as u64).to_le_bytes();
        let whole = [&[choice | 128], &length[..], &header, &self.data].concat();
        let fitting = [&[choice], &header[..], &[0], &self.data].concat();
        [
            (format!("{name}-whole"), whole),
            (format!("{name}-fitting"), fitting),
        ]
    }
}

fn fuzz(root: &Path, cargo_fuzz: &Path, target: &Target, seconds: u64) -> Result<()> {
    println!("\n== {}: {seconds} s", target.name);
    let dictionary = root
        .join("fuzz/dictionaries")
        .join(format!("{}.dict", target.dictionary));
    let status = Command::new(cargo_fuzz)
        .args(["run", target.name, "--fuzz-dir", "fuzz"])
        .args(["--target-dir", "target/fuzz", "--"])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={}", target.max_bytes))
        .arg(format!("-dict={}", dictionary.display()))
        .arg(format!("-timeout={MOST_SECONDS}"))
        .arg(format!("-rss_limit_mb={MOST_MB}"))
        .arg("-print_final_stats=1")
        .arg(format!("-detect_leaks={}", u8::from(!target.has_threads)))
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(root)
        .status()
        .with_context(|| format!("{} cannot be run", cargo_fuzz.display()))?;
    ensure!(
        status.success(),
        "{} ended with an error, shown above; the input of a finding is in fuzz/artifacts/{0}",
        target.name
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("xtask lies in the repository's root")
    }

    #[test]
    fn every_target_has_a_file_a_dictionary_and_seeds_that_fit() {
        let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
        for target in TARGETS {
            let (name, dictionary) = (target.name, target.dictionary);
            let path = format!("fuzz_targets/{name}.rs");
            assert!(root().join("fuzz").join(&path).exists(), "{path}");
            assert!(manifest.contains(&format!("path = \"{path}\"")), "{path}");
            let path = format!("fuzz/dictionaries/{dictionary}.dict");
            assert!(root().join(&path).exists(), "{path}");
            let seeds = (target.seeds)(&root().join("fixtures")).unwrap();
            assert!(!seeds.is_empty(), "{name}");
            for (seed, bytes) in seeds {
                assert!(bytes.len() <= target.max_bytes, "{name}: {seed}");
            }
        }
    }

    /// The first byte of a seed chooses by place.
    #[test]
    fn adapters_are_in_the_order_of_the_targets() {
        for target in ["adapter_config", "adapter_dir"] {
            let path = root().join(format!("fuzz/fuzz_targets/{target}.rs"));
            let source = std::fs::read_to_string(path).unwrap();
            let (_, list) = source.split_once("const ADAPTERS").unwrap();
            let (list, _) = list.split_once("];").unwrap();
            let pairs = list.lines().filter_map(|line| {
                let line = line.trim().strip_prefix("(\"")?.strip_suffix("\"),")?;
                let (base, kind) = line.split_once("\", \"")?;
                Some(format!("{base}-{kind}").trim_end_matches('-').to_owned())
            });
            assert_eq!(pairs.collect::<Vec<_>>(), ADAPTERS, "{target}");
        }
    }
}
