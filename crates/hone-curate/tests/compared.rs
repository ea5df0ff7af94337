//! Runs the literate cases of the rules that compare rows, which stand beside them.
//!
//! A case is a block of JSON, one row per line, and the block of findings expected of it; leaks have a block of
//! evaluation rows as well. Rows are counted from 1. A cluster is a line `ROWS: keep ROW`, a leak is a line
//! ``ROW, PLACE `TEXT`: EVALUATION ROW, COVERAGE``. Parameters may be set by a block of TOML.

use std::fs;
use std::path::Path;

use hone_curate::duplicates::{
    Cluster, Fingerprint, Fingerprints, NearOptions, ReplyOptions, exact, near, prompts, replies,
};
use hone_curate::leaks::{Index, Leak, LeakOptions, find};
use hone_curate::{Family, Params, rules};
use hone_data::Record;

#[derive(Default)]
struct Case {
    params: String,
    rows: Vec<Record>,
    evaluation: Vec<Record>,
    expected: String,
    line: usize,
}

#[test]
fn every_rule_that_compares_rows_finds_what_its_cases_say() {
    let mut failures = Vec::new();
    for family in [Family::Duplicate, Family::Leak] {
        for entry in rules::all().filter(|entry| entry.doc.family == family) {
            // Its cases need files; they are tests beside it.
            if entry.doc.name == "semantic-duplicate" {
                continue;
            }
            failures.extend(failures_of(entry.doc.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn failures_of(rule: &str) -> Vec<String> {
    let page = ["duplicates", "leaks"]
        .map(|dir| Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(dir))
        .into_iter()
        .flat_map(|dir| {
            fs::read_dir(dir)
                .unwrap()
                .map(|entry| entry.unwrap().path())
        })
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .map(|path| fs::read_to_string(path).unwrap())
        .find(|text| text.starts_with(&format!("# {rule}\n")))
        .unwrap_or_else(|| panic!("{rule} has no cases"));
    let cases = cases(&page);
    assert!(!cases.is_empty(), "{rule} has no cases");
    let failure = |case: Case| {
        let (found, expected) = (findings(rule, &case), case.expected.trim_end());
        (found != expected).then(|| {
            let line = case.line;
            format!("{rule}, line {line}\n--- expected\n{expected}\n--- found\n{found}")
        })
    };
    cases.into_iter().filter_map(failure).collect()
}

fn cases(page: &str) -> Vec<Case> {
    let (mut cases, mut case) = (Vec::new(), Case::default());
    let mut block: Option<&str> = None;
    for (index, line) in page.lines().enumerate() {
        match (block, line.strip_prefix("```")) {
            (None, Some(kind)) => {
                block = Some(kind);
                case.line = index + 1;
            }
            (Some(kind), Some(_)) => {
                block = None;
                if kind == "findings" {
                    cases.push(std::mem::take(&mut case));
                }
            }
            (Some("json"), None) => case.rows.push(record(line)),
            (Some("evaluation"), None) => case.evaluation.push(record(line)),
            (Some("toml"), None) => case.params += &format!("{line}\n"),
            (Some("findings"), None) => case.expected += &format!("{line}\n"),
            _ => {}
        }
    }
    cases
}

fn record(line: &str) -> Record {
    Record::from_json(line).unwrap_or_else(|reason| panic!("{line}: {reason}"))
}

fn findings(rule: &str, case: &Case) -> String {
    let mut params = Params::new(toml::from_str(&case.params).unwrap());
    let mut leaks = LeakOptions::none();
    let lines: Vec<String> = if leaks.add(rule, &mut params).unwrap() {
        let index = Index::new(&leaks, &case.evaluation).unwrap();
        let found = find(&index, &case.rows).unwrap();
        found.iter().map(|leak| leak_line(leak, case)).collect()
    } else {
        let clusters = clusters(rule, &mut params, &case.rows);
        clusters.iter().map(cluster_line).collect()
    };
    params.finish().unwrap();
    lines.join("\n")
}

fn clusters(rule: &str, params: &mut Params, rows: &Vec<Record>) -> Vec<Cluster> {
    let near_options = match rule {
        "near-duplicate" => NearOptions::take(params).unwrap(),
        _ => NearOptions::default(),
    };
    let fingerprints = Fingerprints::new(&near_options);
    let prints: Vec<Fingerprint> = rows
        .iter()
        .enumerate()
        .map(|(row, record)| fingerprints.of(row, record))
        .collect();
    match rule {
        "exact-duplicate" => exact::clusters(&prints),
        "near-duplicate" => near::clusters(&prints, rows, &near_options).unwrap(),
        "same-prompt" => prompts::clusters(&prints),
        "same-reply" => replies::clusters(&prints, &ReplyOptions::take(params).unwrap()),
        _ => panic!("{rule}: add it to this test"),
    }
}

fn cluster_line(cluster: &Cluster) -> String {
    let rows: Vec<String> = cluster
        .rows
        .iter()
        .map(|row| (row + 1).to_string())
        .collect();
    format!("{}: keep {}", rows.join(", "), cluster.keep + 1)
}

fn leak_line(leak: &Leak, case: &Case) -> String {
    let text = case.rows[leak.row]
        .text(leak.place)
        .expect("a leak is in a text of its row");
    let others = match leak.others {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    format!(
        "{}, {} `{}`: {}{others}, {:.0} %",
        leak.row + 1,
        leak.place,
        &text[leak.span.clone()],
        leak.evaluation + 1,
        100.0 * leak.coverage
    )
}
