//! What CI runs, cheapest first, so that the commonest mistake is the quickest to learn of.
//!
//! Every stage is a command that can be copied and run alone. The first failing stage ends the run.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::{api, layers, pages};

/// Runs all stages; the error says which one failed and how to run it alone.
pub fn run(root: &Path) -> Result<()> {
    let started = Instant::now();
    timed("layers", || layers::check(root))?;
    timed("pages", || pages::check(root))?;
    timed("api", || api::check(root))?;
    stage(root, "fmt --all --check", &[])?;
    stage(root, "clippy --workspace --all-targets -- -D warnings", &[])?;
    stage(
        root,
        "doc --workspace --no-deps",
        &[("RUSTDOCFLAGS", "-D warnings")],
    )?;
    // What outside programs get: without the features that the command turns on.
    stage(root, "check --package hone-finetune --all-targets", &[])?;
    // A workspace of its own, which only runs under sanitizers and would rot unseen.
    stage(
        root,
        "check --manifest-path fuzz/Cargo.toml --target-dir target",
        &[],
    )?;
    timed("hone pull", || pull(root))?;
    let mut tests = timed("cargo test", || test(root, "test"))?;
    tests += timed("cargo test --package xtask", || {
        test(root, "test --package xtask")
    })?;
    #[cfg(unix)]
    timed("cargo xtask torture --minutes 1", || {
        let asked = crate::torture::Asked {
            minutes: 1.0,
            rounds: None,
            seed: 0,
            only: None,
        };
        crate::torture::run(root, &asked)
    })?;
    println!(
        "\nall passed: {tests} tests, {} s",
        started.elapsed().as_secs()
    );
    Ok(())
}

fn timed<T>(name: &str, stage: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("\n== {name}");
    let started = Instant::now();
    let done = stage().with_context(|| format!("stage `{name}` failed"))?;
    println!("== {name}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(done)
}

/// One cargo command, its arguments as they would be typed.
fn stage(root: &Path, arguments: &str, environment: &[(&str, &str)]) -> Result<()> {
    let prefix: String = environment
        .iter()
        .map(|(key, value)| format!("{key}='{value}' "))
        .collect();
    timed(&format!("{prefix}cargo {arguments}"), || {
        let mut command = cargo(root, arguments);
        command.envs(environment.iter().copied());
        ensure!(
            command.status()?.success(),
            "cargo ended with an error, shown above"
        );
        Ok(())
    })
}

/// Fetches the real base that some tests compare with transformers; without it they say that they skip.
fn pull(root: &Path) -> Result<()> {
    let status = cargo(
        root,
        "run --quiet --package hone -- pull smollm2-135m-instruct",
    )
    .status()?;
    if !status.success() {
        println!(
            "skipped: the base model could not be fetched, so tests on the real base will skip"
        );
    }
    Ok(())
}

/// Runs the tests, passes their output on, and counts them: a run that finds no tests has not passed.
fn test(root: &Path, arguments: &str) -> Result<usize> {
    let mut child = cargo(root, arguments)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut passed = 0;
    for line in output.lines() {
        let line = line?;
        println!("{line}");
        passed += passed_in(&line).unwrap_or(0);
    }
    if !child.wait()?.success() {
        bail!("tests failed, as shown above ({passed} passed)");
    }
    ensure!(passed > 0, "cargo {arguments} ran no tests");
    println!("{passed} tests passed");
    Ok(passed)
}

/// The count in `test result: ok. 12 passed; 0 failed; …`.
fn passed_in(line: &str) -> Option<usize> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    counts.split_once(" passed")?.0.parse().ok()
}

fn cargo(root: &Path, arguments: &str) -> Command {
    let mut command = crate::cargo();
    command.args(arguments.split(' ')).current_dir(root);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_tests_are_counted_from_cargos_own_line() {
        let line = "test result: ok. 42 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 2.15s";
        assert_eq!(passed_in(line), Some(42));
        assert_eq!(
            passed_in("test result: FAILED. 7 passed; 1 failed; 0 ignored"),
            Some(7)
        );
        assert_eq!(passed_in("test seed::tests::a_shuffle ... ok"), None);
    }

    #[test]
    fn a_failing_stage_is_named() {
        let error = timed("cargo fmt", || -> Result<()> { bail!("not formatted") }).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "stage `cargo fmt` failed: not formatted"
        );
    }
}
