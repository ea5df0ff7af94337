//! Megabytes per second of each pass of curation, as a build makes it: all threads at once, rows in memory.
//!
//! ```text
//! cargo run --release -p hone-curate --example pass_speed -- ROWS.jsonl [--threads N] [--repeats N]
//! ```
//!
//! `bench/debian.py` fetches rows to measure with. One row in sixty plays the evaluation row of the pass about leaks,
//! under all of its rules; the shortest of the repeats counts.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use hone_curate::duplicates::{Fingerprint, Fingerprints, NearOptions, near};
use hone_curate::leaks::{Index, LeakOptions, find};
use hone_curate::recipe::{self, Ruled};
use hone_curate::{Action, Examiner, Family};
use hone_data::Record;
use rayon::prelude::*;

/// How many megabytes per second a pass shall manage on two threads.
const GOALS: [(&str, f64); 3] = [
    ("near-duplicates", 20.0),
    ("personal data", 20.0),
    ("leaks", 50.0),
];

fn main() -> Result<(), Box<dyn Error>> {
    let (mut file, mut threads, mut repeats) = (None, 2, 3);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().ok_or(format!("{arg} wants a number"));
        match arg.as_str() {
            "--threads" => threads = number()?.parse()?,
            "--repeats" => repeats = number()?.parse::<usize>()?,
            _ => file = Some(PathBuf::from(arg)),
        }
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()?;
    let records = hone_data::read(&[file.ok_or("the file of rows is missing")?])?.records;
    let bytes = bytes_of(&records);
    println!(
        "{} rows, {:.2} MB of text, {threads} threads",
        records.len(),
        bytes as f64 / 1e6
    );
    let personal = ruled(Some(Family::PersonalData))?;
    let all = ruled(None)?;
    let (evaluation, rest) = apart(&records);
    for (name, bytes, pass) in [
        (
            "near-duplicates",
            bytes,
            &(|| near_duplicates(&records)) as &dyn Fn() -> Result<usize, Box<dyn Error>>,
        ),
        ("personal data", bytes, &|| {
            Ok(examined(&personal, &records))
        }),
        ("leaks", bytes_of(&rest), &|| leaks(&evaluation, &rest)),
        ("all rules about rows", bytes, &|| {
            Ok(examined(&all, &records))
        }),
    ] {
        tell(name, bytes, repeats, pass)?;
    }
    Ok(())
}

fn tell(
    name: &str,
    bytes: usize,
    repeats: usize,
    pass: &dyn Fn() -> Result<usize, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let (mut best, mut seen) = (f64::INFINITY, 0);
    for _ in 0..repeats {
        let start = Instant::now();
        seen = pass()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    let goal = GOALS.iter().find(|(goal, _)| *goal == name);
    let goal = goal.map_or(String::new(), |(_, goal)| format!(" (goal {goal})"));
    println!(
        "{name:22} {:8.1} MB/s{goal:12} {seen} found",
        bytes as f64 / 1e6 / best
    );
    Ok(())
}

fn near_duplicates(records: &Vec<Record>) -> Result<usize, Box<dyn Error>> {
    let options = NearOptions::default();
    let prints = Fingerprints::new(&options);
    let prints: Vec<Fingerprint> = records
        .par_iter()
        .enumerate()
        .map(|(row, record)| prints.of(row, record))
        .collect();
    Ok(near::clusters(&prints, records, &options)?.len())
}

/// The rules of a family, or all, as they are without a recipe; those that are off by default too.
fn ruled(family: Option<Family>) -> Result<Vec<Ruled>, Box<dyn Error>> {
    let mut rules = recipe::ruled(&Default::default())?;
    rules.retain(|rule| family.is_none_or(|family| rule.doc.family == family));
    for rule in &mut rules {
        rule.action = Action::Report;
    }
    Ok(rules)
}

fn examined(rules: &[Ruled], records: &[Record]) -> usize {
    let examiner = Examiner::new(rules, None);
    let findings = |record: &Record| examiner.examine(record.clone(), None).findings.len();
    records.par_iter().map(findings).sum()
}

fn leaks(evaluation: &Vec<Record>, rows: &Vec<Record>) -> Result<usize, Box<dyn Error>> {
    let index = Index::new(&LeakOptions::all(), evaluation)?;
    Ok(find(&index, rows)?.len())
}

fn apart(records: &[Record]) -> (Vec<Record>, Vec<Record>) {
    let (mut evaluation, mut rest) = (Vec::new(), Vec::new());
    for (at, record) in records.iter().enumerate() {
        match at % 60 == 0 {
            true => evaluation.push(record.clone()),
            false => rest.push(record.clone()),
        }
    }
    (evaluation, rest)
}

fn bytes_of(records: &[Record]) -> usize {
    let parts = records.iter().flat_map(Record::parts);
    parts.map(|part| part.text.len()).sum()
}
