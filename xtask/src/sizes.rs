//! Files that have become too long to be read at once: the compiler takes any, so this counts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Lines that a file of code may have. A table that needs more would be named here; none does.
const MOST_LINES: usize = 900;

/// Refuses files of code that are longer.
pub fn check(root: &Path) -> Result<()> {
    let (mut left, mut longest) = (vec![], (0, PathBuf::new()));
    left.extend(["crates", "xtask", "fuzz"].map(|folder| root.join(folder)));
    let mut long = Vec::new();
    while let Some(folder) = left.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    left.push(path);
                }
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let lines = fs::read_to_string(&path)?.lines().count();
                let name = path.strip_prefix(root)?;
                if lines > MOST_LINES {
                    long.push(format!("{}: {lines}", name.display()));
                }
                longest = longest.max((lines, name.to_path_buf()));
            }
        }
    }
    ensure!(
        long.is_empty(),
        "files of more than {MOST_LINES} lines (split each by topic):\n  {}",
        long.join("\n  ")
    );
    println!(
        "layers: no file above {MOST_LINES} lines; {} has {}",
        longest.1.display(),
        longest.0
    );
    Ok(())
}
