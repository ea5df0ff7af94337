//! Runs the literate cases that stand beside the rules.
//!
//! A case is a block of JSON, one row per line, and the block of findings expected of it, one per line:
//! `PLACE: MESSAGE` for a whole text, `PLACE `TEXT`: MESSAGE` for a stretch of it. Parameters may be set by a
//! block of TOML before the rows; it holds for that case alone. Of rows that cannot be read the reasons are expected.

use std::fs;
use std::path::{Path, PathBuf};

use hone_curate::{Check, Hit, Params, Row, Rule, rules};
use hone_data::Record;

#[derive(Default)]
struct Case {
    params: String,
    rows: String,
    expected: String,
    line: usize,
}

#[test]
fn every_rule_finds_what_its_cases_say() {
    let mut failures = Vec::new();
    let mut seen = Vec::new();
    for path in pages(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/rules"))) {
        let text = fs::read_to_string(&path).unwrap();
        let name = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# "))
            .unwrap_or_else(|| panic!("{}: begins with `# NAME-OF-THE-RULE`", path.display()));
        let entry =
            rules::named(name).unwrap_or_else(|| panic!("{}: no rule {name}", path.display()));
        let cases = cases(&text);
        assert!(!cases.is_empty(), "{} has no cases", path.display());
        for case in cases {
            let found = match entry.check {
                Check::Row(make) => {
                    let mut params = Params::new(toml::from_str(&case.params).unwrap());
                    let rule = make(&mut params).unwrap();
                    params.finish().unwrap();
                    findings(rule.as_ref(), &case.rows)
                }
                // A row that cannot be read is no row that a rule could look at.
                Check::Dataset(_) if name == "unusable-row" => refusals(&case.rows),
                Check::Dataset(_) => panic!("{name} is not a rule about one row"),
            };
            if found != case.expected.trim_end() {
                failures.push(format!(
                    "{}:{}\n--- expected\n{}\n--- found\n{found}",
                    path.display(),
                    case.line,
                    case.expected.trim_end()
                ));
            }
        }
        seen.push(name.to_owned());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    for entry in rules::all().filter(|entry| matches!(entry.check, Check::Row(_))) {
        assert!(
            seen.iter().any(|name| name == entry.doc.name),
            "{} has no cases",
            entry.doc.name
        );
    }
}

fn pages(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(pages(&path));
        } else if path.extension().is_some_and(|ending| ending == "md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn cases(text: &str) -> Vec<Case> {
    let (mut cases, mut case) = (Vec::new(), Case::default());
    let mut block: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        match (block, line.strip_prefix("```")) {
            (None, Some(kind)) => {
                block = Some(kind);
                if kind == "json" {
                    case.line = index + 1;
                }
            }
            (Some(kind), Some(_)) => {
                block = None;
                if kind == "findings" {
                    cases.push(std::mem::take(&mut case));
                }
            }
            (Some("json"), None) => case.rows += &format!("{line}\n"),
            (Some("toml"), None) => case.params += &format!("{line}\n"),
            (Some("findings"), None) => case.expected += &format!("{line}\n"),
            _ => {}
        }
    }
    cases
}

fn refusals(rows: &str) -> String {
    let rows = rows.lines().enumerate();
    let refused = rows.filter_map(|(index, row)| Some((index, Record::from_json(row).err()?)));
    let lines: Vec<String> = refused
        .map(|(index, reason)| format!("row {}: {reason}", index + 1))
        .collect();
    lines.join("\n")
}

fn findings(rule: &dyn Rule, rows: &str) -> String {
    let mut lines = Vec::new();
    for row in rows.lines() {
        let record = Record::from_json(row).unwrap_or_else(|reason| panic!("{row}: {reason}"));
        let mut hits = Vec::new();
        rule.check(&Row::new(&record, None), &mut hits);
        lines.extend(hits.iter().map(|hit| line(&record, hit)));
    }
    lines.join("\n")
}

fn line(record: &Record, hit: &Hit) -> String {
    let Some(place) = hit.place else {
        return format!("row: {}", hit.message);
    };
    let text = record.text(place).expect("a hit is in a text of its row");
    match hit.span.is_empty() {
        true => format!("{place}: {}", hit.message),
        false => format!("{place} `{}`: {}", &text[hit.span.clone()], hit.message),
    }
}
