//! Hostile files against the readers: `cargo fuzz` over the targets of fuzz/, seeded from fixtures.
//!
//! libFuzzer wants sanitizers, which this toolchain has and keeps for nightly: RUSTC_BOOTSTRAP lets it use them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

struct Target {
    name: &'static str,
    /// Fixtures that inputs are made from.
    seeds: &'static [&'static str],
    /// Bytes put before a seed: targets that choose by their first byte.
    choices: &'static [u8],
    dictionary: &'static str,
    max_bytes: usize,
}

const TARGETS: [Target; 5] = [
    Target {
        name: "safetensors",
        seeds: &[
            "adapters/tiny-llama-tied-qv/adapter_model.safetensors",
            "models/tiny-llama-untied-sharded/model-00003-of-00003.safetensors",
            "golden/adamw8bit.safetensors",
        ],
        choices: &[0, 1, 2, 4, 6],
        dictionary: "safetensors",
        max_bytes: 32 << 10,
    },
    Target {
        name: "gguf",
        seeds: &["models/tiny-llama.gguf"],
        choices: &[],
        dictionary: "gguf",
        max_bytes: 66 << 10,
    },
    Target {
        name: "adapter_config",
        seeds: &[
            "adapters/tiny-llama-tied-qv/adapter_config.json",
            "adapters/tiny-llama-tied-rslora/adapter_config.json",
            "adapters/tiny-llama-untied-patterns/adapter_config.json",
        ],
        choices: &[],
        dictionary: "adapter_config",
        max_bytes: 4 << 10,
    },
    Target {
        name: "adapter_dir",
        seeds: &[
            "adapters/tiny-llama-tied-qv/adapter_model.safetensors",
            "adapters/tiny-llama-tied/adapter_model.safetensors",
        ],
        choices: &[0, 1, 2],
        dictionary: "safetensors",
        max_bytes: 32 << 10,
    },
    Target {
        name: "chat_template",
        seeds: &["models/tiny-llama-untied/chat_template.jinja"],
        choices: &[],
        dictionary: "chat_template",
        max_bytes: 8 << 10,
    },
];

/// The targets' names.
pub const NAMES: [&str; 5] = {
    let mut names = [""; 5];
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
        let status = Command::new(env!("CARGO"))
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
    for (number, seed) in target.seeds.iter().enumerate() {
        let bytes = std::fs::read(root.join("fixtures").join(seed))?;
        if target.choices.is_empty() {
            std::fs::write(corpus.join(format!("seed-{number}")), &bytes)?;
        }
        for choice in target.choices {
            let chosen = [&[*choice], &bytes[..]].concat();
            std::fs::write(corpus.join(format!("seed-{number}-{choice}")), chosen)?;
        }
    }
    if target.name == "chat_template" {
        write_templates(root, &corpus)?;
    }
    Ok(())
}

/// Every template of the golden numbers.
fn write_templates(root: &Path, corpus: &Path) -> Result<()> {
    let golden = std::fs::read(root.join("fixtures/golden/templates.json"))?;
    let golden: serde_json::Value = serde_json::from_slice(&golden)?;
    for group in ["templates", "templates_with_generation"] {
        let sources = golden[group].as_object().context("templates by name")?;
        for (name, source) in sources {
            let source = source.as_str().context("a template is text")?;
            std::fs::write(corpus.join(format!("{group}-{name}")), source)?;
        }
    }
    Ok(())
}

fn fuzz(root: &Path, cargo_fuzz: &Path, target: &Target, seconds: u64) -> Result<()> {
    println!("\n== {}: {seconds} s", target.name);
    let dictionary = root
        .join("fuzz/dictionaries")
        .join(format!("{}.dict", target.dictionary));
    let status = Command::new(cargo_fuzz)
        .args(["run", target.name, "--fuzz-dir", "fuzz", "--"])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={}", target.max_bytes))
        .arg(format!("-dict={}", dictionary.display()))
        // What a hostile file may cost: 25 s and 2 GB, or it is a finding.
        .args(["-timeout=25", "-rss_limit_mb=2048", "-print_final_stats=1"])
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
