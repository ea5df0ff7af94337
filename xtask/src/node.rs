//! What comes from npm, installed on first use in the user's cache.

use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// With prebuilt llama.cpp for the machines that most people have; nothing of it is run while it is installed.
const LLAMA_CPP: &str = "node-llama-cpp@3.22.1";

/// A directory with llama.cpp for node, and our script for it.
pub fn llama_cpp(root: &Path) -> Result<PathBuf> {
    let place = crate::python::cache()?.join(LLAMA_CPP.replace('@', "-"));
    let complete = place.join("complete");
    if !complete.exists() {
        fs::create_dir_all(&place)?;
        let mut install = Command::new("npm");
        install
            .args(["install", "--ignore-scripts", "--no-audit", "--no-fund"])
            .arg("--prefix")
            .arg(&place)
            .arg(LLAMA_CPP);
        crate::python::run(&mut install)?;
        fs::write(&complete, "")?;
    }
    fs::copy(
        root.join("bench/llama_cpp.mjs"),
        place.join("llama_cpp.mjs"),
    )?;
    Ok(place)
}
