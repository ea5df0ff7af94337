//! `docs/rules/` says what the rules say: `UPDATE_PAGES=1 cargo test -p hone-curate --test pages` writes it anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hone_curate::{pages, rules};

#[test]
fn the_pages_of_the_rules_are_made_from_the_rules() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rules");
    let made = made();
    if std::env::var_os("UPDATE_PAGES").is_some() {
        fs::remove_dir_all(&dir).ok();
        fs::create_dir_all(&dir).unwrap();
        made.iter()
            .for_each(|(name, text)| fs::write(dir.join(name), text).unwrap());
    }
    let found: BTreeMap<String, String> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read_to_string(entry.path()).unwrap(),
            )
        })
        .collect();
    let stale: Vec<&String> = made
        .keys()
        .chain(found.keys())
        .filter(|name| made.get(*name) != found.get(*name))
        .collect();
    assert!(
        stale.is_empty(),
        "stale: {stale:?}; UPDATE_PAGES=1 cargo test -p hone-curate --test pages"
    );
}

fn made() -> BTreeMap<String, String> {
    let cases = cases(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    let page = |entry| {
        let mut text = pages::page(entry);
        if let Some(cases) = cases.get(entry.doc.name) {
            text += &format!("\n## Cases\n\n{cases}");
        }
        (format!("{}.md", entry.doc.name), text)
    };
    let mut made: BTreeMap<String, String> = rules::all().map(page).collect();
    made.insert("README.md".into(), pages::index());
    made
}

/// The cases of each rule, by its name.
fn cases(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let entries: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    for path in entries {
        if path.is_dir() {
            found.extend(cases(&path));
        } else if path.extension().is_some_and(|ending| ending == "md") {
            let text = fs::read_to_string(&path).unwrap();
            let (title, cases) = text.split_once('\n').unwrap();
            found.insert(
                title.trim_start_matches("# ").to_owned(),
                cases.trim_start().to_owned(),
            );
        }
    }
    found
}
