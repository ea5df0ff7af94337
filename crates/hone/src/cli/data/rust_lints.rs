//! The dataset that every Rust machine can build: what Clippy says about its lints.

use crate::base::Home;
use crate::cli::progress::Count;
use crate::screen::Talk;
use anyhow::Result;
use hone_data::recipe::rust_lints::{self, RecipeError, Written};
use hone_ledger::Seed;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

/// Share of the lints that is held out.
const VALID_SHARE: f64 = 0.2;

/// The dataset of this toolchain, built on first use: another toolchain has other lints.
pub fn rust_lints_at_home(home: &Home, talk: Talk) -> Result<Written> {
    let toolchain = clippy_version()?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let parts: Vec<&str> = toolchain
        .split(|c| !is_part(c))
        .filter(|part| !part.is_empty())
        .collect();
    let dir = home
        .datasets()
        .join(format!("rust-lints-{}", parts.join("-")));
    let written = Written {
        train: dir.join("train.jsonl"),
        valid: dir.join("valid.jsonl"),
        provenance: dir.join("provenance.json"),
        train_rows: 0,
        valid_rows: 0,
    };
    // The provenance is written last: where it is, the rest is.
    if !written.provenance.is_file() {
        return build_rust_lints(&dir, talk);
    }
    let num_rows = |path: &Path| std::fs::read_to_string(path).map(|text| text.lines().count());
    Ok(Written {
        train_rows: num_rows(&written.train)?,
        valid_rows: num_rows(&written.valid)?,
        ..written
    })
}

/// The version of the Clippy that would be asked.
fn clippy_version() -> Result<String> {
    let output = Command::new("clippy-driver").arg("-V").output();
    let output = output
        .ok()
        .filter(|output| output.status.success())
        .ok_or(RecipeError::MissingClippy)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// Builds it anew.
pub fn build_rust_lints(dir: &Path, talk: Talk) -> Result<Written> {
    let count = Mutex::new(Count::start(talk));
    let lints = rust_lints::build(&|done, total| {
        if let Ok(mut count) = count.lock() {
            count.tell_of(done, total, "lints explained");
        }
    })?;
    if let Ok(count) = count.into_inner() {
        count.finish();
    }
    Ok(lints.write(dir, VALID_SHARE, Seed::new(0))?)
}
