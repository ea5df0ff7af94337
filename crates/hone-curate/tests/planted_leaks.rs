//! What each leak rule finds of evaluation rows that were planted among the rows to learn from, and what it takes for
//! one by mistake: the table of `docs/leaks.md`. `UPDATE_PAGES=1 cargo test -p hone-curate --test planted_leaks`
//! writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use hone_curate::leaks::{Index, LeakOptions, find};
use hone_data::Record;
use hone_ledger::{Seed, Stream};
use serde_json::json;

/// Evaluation rows, and rows of each way of planting.
const ROWS: usize = 100;

/// A way to have an evaluation row among those that are trained on.
type Plant = fn(&str, &mut Stream) -> String;

const PLANTS: [(&str, Plant); 6] = [
    ("verbatim", |question, _| question.to_owned()),
    ("upper case, no punctuation", |question, _| {
        question.to_uppercase().replace(['.', ',', '?'], "")
    }),
    ("inside a longer text", |question, stream| {
        format!("{} {question} {}", words(30, stream), words(30, stream))
    }),
    ("one word of 32 replaced", |question, stream| {
        replaced(question, 32, stream)
    }),
    ("one word in ten replaced", |question, stream| {
        replaced(question, 10, stream)
    }),
    ("words in another order", |question, stream| {
        let mut words: Vec<&str> = question.split(' ').collect();
        stream.shuffle(&mut words);
        words.join(" ")
    }),
];

/// Rows that share only what all rows of a task begin with.
const PREAMBLE: &str =
    "Read the question below with care and answer it in one short sentence, please.";

#[test]
fn planted_rows_are_found_as_the_page_says() {
    let mut stream = Seed::new(11).stream();
    let questions: Vec<String> = (0..ROWS)
        .map(|_| format!("{PREAMBLE} {}?", words(32, &mut stream)))
        .collect();
    let evaluation: Vec<Record> = questions.iter().map(|question| row(question)).collect();
    let mut supervised: Vec<(&str, Record)> = Vec::new();
    for (way, plant) in PLANTS {
        supervised.extend(questions.iter().map(|question| {
            let asked = question
                .strip_prefix(PREAMBLE)
                .expect("every question has it")
                .trim();
            let planted = match way {
                // The row as it is, with what all rows begin with.
                "verbatim" => question.clone(),
                _ => plant(asked, &mut stream),
            };
            (way, row(&planted))
        }));
    }
    let clean = |stream: &mut Stream| row(&words(40, stream));
    let alike = |stream: &mut Stream| row(&format!("{PREAMBLE} {}?", words(32, stream)));
    supervised.extend((0..5 * ROWS).map(|_| (CLEAN, clean(&mut stream))));
    supervised.extend((0..ROWS).map(|_| (ALIKE, alike(&mut stream))));

    let index = Index::new(&LeakOptions::all(), &evaluation).unwrap();
    let rows: Vec<Record> = supervised
        .iter()
        .map(|(_, record)| record.clone())
        .collect();
    let mut found: BTreeMap<(&str, &str), BTreeSet<usize>> = BTreeMap::new();
    for leak in find(&index, &rows).unwrap() {
        for rule in [leak.rule, ANY] {
            found
                .entry((rule, supervised[leak.row].0))
                .or_default()
                .insert(leak.row);
        }
    }
    let mut rules = index.rules();
    rules.push(ANY);
    // The very prompt is no rewording.
    for rule in rules.iter().filter(|rule| **rule != "reworded-prompt") {
        assert_eq!(
            found.get(&(*rule, "verbatim")).map_or(0, BTreeSet::len),
            ROWS,
            "{rule} misses verbatim rows"
        );
    }
    let page = page(&rules, &found);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/leaks.md");
    if std::env::var_os("UPDATE_PAGES").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        page,
        "stale: UPDATE_PAGES=1 cargo test -p hone-curate --test planted_leaks"
    );
}

/// Any of the rules: what a build calls contaminated.
const ANY: &str = "any rule";
const CLEAN: &str = "nothing";
const ALIKE: &str = "the same first fourteen words";

fn page(rules: &[&str], found: &BTreeMap<(&str, &str), BTreeSet<usize>>) -> String {
    let count = |rule: &str, way: &str| found.get(&(rule, way)).map_or(0, BTreeSet::len);
    let mut page = format!(
        "# What the leak rules find\n\n{ROWS} made-up questions of 32 words after a beginning that all share, planted in six ways among {} rows that are not\
         \nevaluation rows, {ROWS} of them with the same beginning; written by `crates/hone-curate/tests/planted_leaks.rs`. Each cell: rows found of {ROWS}.\n\n| planted |",
        6 * ROWS
    );
    rules.iter().for_each(|rule| page += &format!(" {rule} |"));
    page += &format!("\n|---|{}\n", "---|".repeat(rules.len()));
    for (way, _) in PLANTS {
        page += &format!("| {way} |");
        rules
            .iter()
            .for_each(|rule| page += &format!(" {} |", count(rule, way)));
        page.push('\n');
    }
    for way in [ALIKE, CLEAN] {
        page += &format!("| (wrong) {way} |");
        rules
            .iter()
            .for_each(|rule| page += &format!(" {} |", count(rule, way)));
        page.push('\n');
    }
    page += "| precision |";
    for rule in rules {
        let right: usize = PLANTS.iter().map(|(way, _)| count(rule, way)).sum();
        let wrong = count(rule, ALIKE) + count(rule, CLEAN);
        page += &format!(" {:.3} |", right as f64 / (right + wrong).max(1) as f64);
    }
    page + "\n\nWhat more than ten evaluation rows or ten training rows have in common is the template of their task: it is found by\
            \nthe number of rows that have it, and overlap is counted on the rest. A row under the same instruction is no leak for that. None\
            \nfinds a paraphrase without the words of the question. `bench/curation.py --kind leaks` measures the same through a build.\n"
}

fn row(prompt: &str) -> Record {
    let row = json!({ "prompt": prompt, "completion": "So it is." });
    Record::from_json(&row.to_string()).unwrap()
}

/// Made-up words of three syllables, of which there are eight thousand.
fn words(count: usize, stream: &mut Stream) -> String {
    const SYLLABLES: [&str; 20] = [
        "ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "ri", "so", "tu",
        "va", "we", "xi", "yo", "zu",
    ];
    let mut syllable = || SYLLABLES[stream.below(20) as usize];
    let word = |_| format!("{}{}{}", syllable(), syllable(), syllable());
    (0..count).map(word).collect::<Vec<_>>().join(" ")
}

fn replaced(text: &str, every: usize, stream: &mut Stream) -> String {
    let replace = |(index, word): (usize, &str)| match index % every == every / 2 {
        true => words(1, stream),
        false => word.to_owned(),
    };
    text.split(' ')
        .enumerate()
        .map(replace)
        .collect::<Vec<_>>()
        .join(" ")
}
