//! Whether a change changed anything that counts: `cargo xtask same --against COMMIT`.
//!
//! The same cases run with the command of the tree and with that of a commit. Every file they leave is compared by its
//! hash, every loss and score by its digits; what the time of day or a path gets into is left out by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

use cases::{Case, Inputs, Step};

mod cases;

/// What a case left: a file or a number, and its hash or its digits.
type Left = BTreeMap<String, String>;

/// Files that hold times, paths or words for people.
const NOT_COMPARED: [&str; 6] = [
    "run.json",
    "report.html",
    "manifest.json",
    "README.md",
    "events.jsonl",
    "parity.json",
];

/// Properties of JSON output that hold times, paths, or hashes of what holds them.
const NOT_COUNTED: [&str; 6] = ["seconds", "id", "written", "peak_bytes", "out", "dir"];

/// Runs the cases with the tree's command and with a commit's, and says what differs; an error if anything does.
pub fn run(root: &Path, against: &str, only: Option<&str>) -> Result<()> {
    let dir = root.join("target/same");
    let inputs = Inputs::write(root, &dir.join("inputs"))?;
    let mut cases = inputs.cases()?;
    if let Some(part) = only {
        cases.retain(|case| case.name.contains(part));
        ensure!(!cases.is_empty(), "no case has {part:?} in its name");
    }
    let before = built_at(root, &dir, against)?;
    let now = crate::built(root)?;
    let (mut same, mut different, mut refused) = (0, 0, Vec::new());
    for case in &cases {
        let was = run_case(&inputs, case, &before, &dir)?;
        let is = run_case(&inputs, case, &now, &dir)?;
        let failed =
            |(name, value): (&String, &String)| name.ends_with("exit code") && value != "0";
        if is.iter().any(failed) {
            refused.push(case.name.as_str());
        }
        let lines = differences(&was, &is);
        if lines.is_empty() {
            same += 1;
            continue;
        }
        different += 1;
        println!("DIFFERENT {}", case.name);
        for line in lines {
            println!("  {line}");
        }
    }
    if !refused.is_empty() {
        println!("end with an error: {}", refused.join("; "));
    }
    println!("{same} of {} cases as at {against}", cases.len());
    ensure!(different == 0, "{different} cases differ, shown above");
    Ok(())
}

/// The command of a commit, built in a work tree of its own.
fn built_at(root: &Path, dir: &Path, commit: &str) -> Result<PathBuf> {
    let git = |arguments: &[&str]| -> Result<String> {
        let ran = Command::new("git")
            .args(arguments)
            .current_dir(root)
            .output()?;
        let said = String::from_utf8_lossy(&ran.stderr);
        ensure!(ran.status.success(), "git {}: {said}", arguments.join(" "));
        Ok(String::from_utf8_lossy(&ran.stdout).trim().to_owned())
    };
    let id = git(&["rev-parse", "--verify", &format!("{commit}^{{commit}}")])?;
    let kept = dir.join(format!("hone-{id}"));
    if kept.exists() {
        return Ok(kept);
    }
    let tree = dir.join("tree");
    let tree_name = tree.display().to_string();
    git(&["worktree", "prune"])?;
    match tree.exists() {
        true => {
            let moved = Command::new("git")
                .args(["checkout", "--quiet", "--detach", &id])
                .current_dir(&tree)
                .status()?;
            ensure!(
                moved.success(),
                "{tree_name} cannot be moved to {id}; remove it"
            );
        }
        false => {
            git(&["worktree", "add", "--quiet", "--detach", &tree_name, &id])?;
        }
    }
    println!("building {commit} in {tree_name}");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--bin", "hone"])
        .env("CARGO_TARGET_DIR", dir.join("build"))
        .current_dir(&tree)
        .status()?;
    ensure!(
        status.success(),
        "{commit} could not be built, as shown above"
    );
    fs::copy(dir.join("build/debug/hone"), &kept)?;
    Ok(kept)
}

/// Runs one case with a command.
fn run_case(inputs: &Inputs, case: &Case, hone: &Path, dir: &Path) -> Result<Left> {
    let place = dir.join("place");
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::create_dir_all(&place)?;
    let mut left = Left::new();
    for (number, step) in case.steps.iter().enumerate() {
        match step {
            Step::Remove(paths) => {
                for path in *paths {
                    let path = place.join(path);
                    if path.exists() {
                        fs::remove_dir_all(path)?;
                    }
                }
            }
            Step::Hone(line) => {
                let ran = Command::new(hone)
                    .args(inputs.real(line))
                    .current_dir(&place)
                    .env("HONE_HOME", place.join("home"))
                    .stdin(Stdio::null())
                    .output()
                    .with_context(|| format!("{} cannot be run", hone.display()))?;
                let at = format!("command {}", number + 1);
                let code = ran
                    .status
                    .code()
                    .map_or("a signal".to_owned(), |code| code.to_string());
                left.insert(format!("{at}: exit code"), code);
                let said = String::from_utf8_lossy(&ran.stdout);
                match said.lines().last().map(serde_json::from_str::<Value>) {
                    Some(Ok(value)) if value.is_object() => count(&at, &value, &mut left),
                    _ => {
                        left.insert(format!("{at}: output"), said.trim().to_owned());
                    }
                }
                if !ran.status.success() {
                    left.insert(
                        format!("{at}: said"),
                        String::from_utf8_lossy(&ran.stderr).trim().to_owned(),
                    );
                }
            }
        }
    }
    files(&place, &place, &mut left)?;
    Ok(left)
}

/// Each number, word and truth of a JSON value under its path.
fn count(at: &str, value: &Value, left: &mut Left) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries
                .iter()
                .filter(|(name, _)| !NOT_COUNTED.contains(&name.as_str()))
            {
                count(&format!("{at}.{name}"), value, left);
            }
        }
        Value::Array(values) => {
            for (number, value) in values.iter().enumerate() {
                count(&format!("{at}.{number}"), value, left);
            }
        }
        plain => {
            left.insert(at.to_owned(), plain.to_string());
        }
    }
}

/// Hashes of files and numbers of events under a folder.
fn files(place: &Path, folder: &Path, left: &mut Left) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let within = path.strip_prefix(place)?.display().to_string();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            if within != "home" {
                files(place, &path, left)?;
            }
        } else if name == "events.jsonl" {
            for (number, line) in fs::read_to_string(&path)?.lines().enumerate() {
                count(
                    &format!("{within}:{}", number + 1),
                    &serde_json::from_str(line)?,
                    left,
                );
            }
        } else if NOT_COMPARED.contains(&name.as_str()) {
            left.insert(within, "is there".to_owned());
        } else {
            left.insert(within, hash(&fs::read(&path)?));
        }
    }
    Ok(())
}

fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is in one and not in the other, or not the same, a line each.
fn differences(was: &Left, is: &Left) -> Vec<String> {
    let mut names: Vec<&String> = was.keys().chain(is.keys()).collect();
    names.sort();
    names.dedup();
    let shown = |value: Option<&String>| {
        value.map_or("absent".to_owned(), |value| {
            value.chars().take(120).collect()
        })
    };
    names
        .into_iter()
        .filter(|name| was.get(*name) != is.get(*name))
        .map(|name| {
            format!(
                "{name}: {} before, {} now",
                shown(was.get(name)),
                shown(is.get(name))
            )
        })
        .collect()
}
