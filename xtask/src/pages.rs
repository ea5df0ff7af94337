//! A guide that names a file which is no longer there costs a newcomer more than no guide.
//!
//! Every path in backticks that begins with one of the repository's own folders must exist; `<NAME>` in a path
//! stands for what the reader is about to make, and the folder before it must exist. And one thing has one word: pages say
//! what the screens say, and words that were given up do not come back.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

const PAGES: [&str; 10] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "AGENTS.md",
    "docs/adapters.md",
    "docs/benchmarks.md",
    "docs/curation.md",
    "docs/families.md",
    "docs/templates.md",
    "docs/parity.md",
];
const FOLDERS: [&str; 7] = [
    "crates/",
    "xtask/",
    "fixtures/",
    "presets/",
    "bench/",
    "docs/",
    ".ci/",
];

/// Words that pages do not use, each with the one in their place. Changelog and log tell of the past.
const GIVEN_UP: [(&str, &str); 5] = [
    ("set aside", "dropped, or skipped"),
    ("set-aside", "dropped"),
    ("learnt", "trained on, or supervised"),
    ("way back", "backward pass"),
    ("keeps moments", "keeps its state"),
];

/// Checks all pages.
pub fn check(root: &Path) -> Result<()> {
    check_words(root)?;
    let (mut named, mut missing) = (0, Vec::new());
    for page in PAGES {
        let text =
            fs::read_to_string(root.join(page)).with_context(|| format!("cannot read {page}"))?;
        for (line, path) in paths(&text) {
            named += 1;
            if !root.join(&path).exists() {
                missing.push(format!("{page}:{line}: {path}"));
            }
        }
    }
    ensure!(
        missing.is_empty(),
        "paths that do not exist:\n  {}",
        missing.join("\n  ")
    );
    println!("pages: {named} paths, all there");
    Ok(())
}

/// Looks for given-up words in README and docs, those made from the code among them.
fn check_words(root: &Path) -> Result<()> {
    let mut pages = vec![root.join("README.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => pages.push(path),
            }
        }
    }
    pages.retain(|page| {
        page.extension().is_some_and(|ending| ending == "md") && !page.ends_with("LOG.md")
    });
    let mut found = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(page)?;
        for (at, line) in text.lines().enumerate() {
            let said = GIVEN_UP.iter().filter(|(word, _)| line.contains(word));
            found.extend(said.map(|(word, instead)| {
                format!("{}:{}: `{word}`: say {instead}", page.display(), at + 1)
            }));
        }
    }
    ensure!(
        found.is_empty(),
        "words that were given up:\n  {}",
        found.join("\n  ")
    );
    Ok(())
}

/// The paths a page names, with the line they stand in, up to the part the reader is to fill in.
fn paths(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let spans = line.split('`').skip(1).step_by(2);
            let ours = spans.filter(|span| FOLDERS.iter().any(|folder| span.starts_with(folder)));
            found.extend(ours.map(|span| (at + 1, existing_part(span))));
        }
    }
    found
}

fn existing_part(path: &str) -> String {
    let path = path.split([' ', ':']).next().unwrap_or_default();
    match path.split_once('<') {
        Some((before, _)) => before
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder)
            .to_string(),
        None => path.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_backticks_outside_fences() {
        let text = "See `crates/a/src/lib.rs` and crates/plain, `cargo test`.\n```\n`docs/x`\n```\n`docs/y:12`\n";
        assert_eq!(
            paths(text),
            [
                (1, "crates/a/src/lib.rs".to_string()),
                (5, "docs/y".to_string())
            ]
        );
    }

    #[test]
    fn a_place_to_fill_in_stands_for_its_folder() {
        assert_eq!(
            existing_part("crates/a/src/shape/<shape>.rs"),
            "crates/a/src/shape"
        );
        assert_eq!(
            existing_part("fixtures/models/tiny-<name>/config.json"),
            "fixtures/models"
        );
    }

    #[test]
    fn a_path_that_is_gone_is_reported_with_its_line() {
        let root = std::env::temp_dir().join(format!("hone-pages-{}", std::process::id()));
        fs::create_dir_all(root.join("docs")).unwrap();
        PAGES
            .iter()
            .for_each(|page| fs::write(root.join(page), "`docs/`\n").unwrap());
        assert!(check(&root).is_ok());
        fs::write(root.join("CONTRIBUTING.md"), "`docs/`\n`docs/gone.md`\n").unwrap();
        let error = check(&root).unwrap_err().to_string();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(
            error,
            "paths that do not exist:\n  CONTRIBUTING.md:2: docs/gone.md"
        );
    }
}
