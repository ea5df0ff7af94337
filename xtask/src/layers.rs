//! The walls between the crates, checked against the picture people read.
//!
//! The fenced `layers` block of ARCHITECTURE.md is the only list there is: each line names a crate and the crates
//! of this workspace it may know. What a crate uses in its tests alone does not ship and is not checked. The fenced
//! `absent` block lists, for a crate, what must not come along with it from anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{circles, sizes};

/// For each crate, the crates of this workspace that it knows, or may know.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// Compares `cargo metadata` with the picture, then looks inside the crates: at circles of modules, and at the size of files.
pub fn check(root: &Path) -> Result<()> {
    let page = root.join("ARCHITECTURE.md");
    let text =
        fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let (allowed, found) = (picture(&text)?, metadata(root)?);
    let faults = faults(&allowed, &found);
    ensure!(
        faults.is_empty(),
        "the crates and the picture in ARCHITECTURE.md differ:\n  {}",
        faults.join("\n  ")
    );
    check_absent(root, &block(&text, "absent")?)?;
    println!(
        "layers: {} crates, {} edges, as drawn",
        found.len(),
        found.values().map(BTreeSet::len).sum::<usize>()
    );
    circles::check(root)?;
    sizes::check(root)
}

/// Refuses a crate that brings along what it must not, through however many others.
fn check_absent(root: &Path, absent: &Edges) -> Result<()> {
    for (name, strangers) in absent {
        let tree = crate::cargo()
            .args(["tree", "--package", name, "--edges", "normal"])
            .args(["--prefix", "none", "--format", "{p}"])
            .current_dir(root)
            .output()
            .context("cannot run cargo tree")?;
        ensure!(
            tree.status.success(),
            "cargo tree: {}",
            String::from_utf8_lossy(&tree.stderr).trim()
        );
        let tree = String::from_utf8_lossy(&tree.stdout);
        let found = brought_along(&tree, strangers);
        ensure!(
            found.is_empty(),
            "`{name}` must bring no {} along (cargo tree --package {name} --invert {})",
            found.join(", "),
            found[0]
        );
    }
    Ok(())
}

/// Which of these crates are in a tree, one `name vX.Y.Z …` a line.
fn brought_along<'a>(tree: &str, strangers: &'a BTreeSet<String>) -> Vec<&'a str> {
    let names: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let found = strangers.iter().map(String::as_str);
    found.filter(|name| names.contains(name)).collect()
}

/// Reads the picture: a crate and those of the workspace that it may know.
fn picture(page: &str) -> Result<Edges> {
    let edges = block(page, "layers")?;
    for (name, known) in &edges {
        if let Some(stranger) = known.iter().find(|known| !edges.contains_key(*known)) {
            bail!("the picture lets `{name}` know `{stranger}`, and has no line for `{stranger}`");
        }
    }
    Ok(edges)
}

/// Reads a fenced block: `crate: name name …`, one crate a line.
fn block(page: &str, kind: &str) -> Result<Edges> {
    let fence = format!("```{kind}");
    let mut lines = page.lines().skip_while(|line| line.trim() != fence);
    ensure!(
        lines.next().is_some(),
        "ARCHITECTURE.md has no fenced block that begins with {fence}"
    );
    let mut edges = Edges::new();
    for line in lines
        .take_while(|line| line.trim() != "```")
        .filter(|line| !line.trim().is_empty())
    {
        let (name, known) = line
            .split_once(':')
            .with_context(|| format!("no colon in the picture's line `{line}`"))?;
        let known = known.split_whitespace().map(str::to_string).collect();
        ensure!(
            edges.insert(name.trim().to_string(), known).is_none(),
            "`{}` is drawn twice",
            name.trim()
        );
    }
    Ok(edges)
}

fn metadata(root: &Path) -> Result<Edges> {
    let cargo = crate::cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(
        cargo.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&cargo.stderr).trim()
    );
    edges_of(&serde_json::from_slice(&cargo.stdout)?)
}

fn edges_of(metadata: &Value) -> Result<Edges> {
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    let names: BTreeSet<&str> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    let known_by = |package: &Value| {
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let shipped = dependencies.filter(|dependency| dependency["kind"] != "dev");
        shipped
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|name| names.contains(name))
            .map(str::to_string)
            .collect()
    };
    Ok(packages
        .iter()
        .filter_map(|package| Some((package["name"].as_str()?.to_string(), known_by(package))))
        .collect())
}

fn faults(allowed: &Edges, found: &Edges) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, known) in found {
        let Some(may_know) = allowed.get(name) else {
            faults.push(format!("`{name}` is not in the picture"));
            continue;
        };
        for stranger in known.difference(may_know) {
            let list = if may_know.is_empty() {
                "none of ours".into()
            } else {
                Vec::from_iter(may_know.clone()).join(", ")
            };
            faults.push(format!(
                "`{name}` must not know `{stranger}` (allowed: {list})"
            ));
        }
    }
    let gone = allowed.keys().filter(|name| !found.contains_key(*name));
    faults.extend(gone.map(|name| format!("`{name}` is drawn and does not exist")));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PAGE: &str =
        "# Page\n```layers\nledger:\ndata: ledger\n\ntrain: data ledger\n```\nother: text\n";

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
        let list = dependencies
            .iter()
            .map(|(name, kind)| json!({"name": name, "kind": kind}));
        json!({"name": name, "dependencies": list.collect::<Vec<_>>()})
    }

    fn faults_of(packages: &[Value]) -> Vec<String> {
        faults(
            &picture(PAGE).unwrap(),
            &edges_of(&json!({"packages": packages})).unwrap(),
        )
    }

    #[test]
    fn what_is_drawn_passes_and_so_do_fewer_edges_and_other_peoples_crates() {
        let data = package("data", &[("ledger", None), ("serde", None)]);
        assert_eq!(
            faults_of(&[
                package("ledger", &[]),
                data,
                package("train", &[("data", None)])
            ]),
            [""; 0]
        );
    }

    #[test]
    fn a_forbidden_edge_is_named_with_what_is_allowed() {
        let packages = [
            package("ledger", &[("data", None)]),
            package("data", &[("train", Some("build"))]),
            package("train", &[]),
        ];
        assert_eq!(
            faults_of(&packages),
            [
                "`data` must not know `train` (allowed: ledger)",
                "`ledger` must not know `data` (allowed: none of ours)"
            ]
        );
    }

    #[test]
    fn tests_may_know_more() {
        let ledger = package("ledger", &[("data", Some("dev"))]);
        assert_eq!(
            faults_of(&[ledger, package("data", &[]), package("train", &[])]),
            [""; 0]
        );
    }

    #[test]
    fn a_crate_without_a_place_and_a_place_without_a_crate_are_faults() {
        let packages = [
            package("ledger", &[]),
            package("data", &[]),
            package("utils", &[]),
        ];
        assert_eq!(
            faults_of(&packages),
            [
                "`utils` is not in the picture",
                "`train` is drawn and does not exist"
            ]
        );
    }

    #[test]
    fn a_page_without_a_readable_picture_is_refused() {
        for page in [
            "",
            "```layers\na b\n```",
            "```layers\na: b\n```",
            "```layers\na:\na:\n```",
        ] {
            assert!(picture(page).is_err(), "{page:?}");
        }
    }

    #[test]
    fn what_comes_along_through_others_is_found_by_its_whole_name() {
        let strangers = ["clap", "zip"].map(str::to_owned).into();
        let tree = "hone-finetune v0.1.0 (/work)\nserde v1.0.0\nzip v9.0.0\nclap_lex v1.0.0\nzip v9.0.0 (*)\n";
        assert_eq!(brought_along(tree, &strangers), ["zip"]);
    }

    #[test]
    fn this_workspace_is_as_drawn() {
        check(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).unwrap();
    }
}
