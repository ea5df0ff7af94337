//! Rows per rule and megabytes per second, with the rules' defaults, on files that training could read.
//!
//! ```text
//! cargo run --release -p hone-curate --example rule_speed -- [--show RULE] [--only FAMILY] [--threads N] FILE…
//! ```
//!
//! `--show` prints the evidence of a rule's hits instead of times.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use hone_curate::{Check, Entry, Hit, Params, Row, Rule, excerpt, rules};
use hone_data::Record;
use rayon::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut files, mut show, mut only, mut threads) = (Vec::new(), None, None, 2);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--show" => show = args.next(),
            "--only" => only = args.next(),
            "--threads" => threads = args.next().ok_or("--threads wants a number")?.parse()?,
            file => files.push(PathBuf::from(file)),
        }
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()?;
    let records = hone_data::read(&files)?.records;
    let bytes: usize = records
        .iter()
        .flat_map(Record::parts)
        .map(|part| part.text.len())
        .sum();
    let chosen = rules::all().filter(|entry| {
        let family = entry.doc.family.name();
        only.as_deref().is_none_or(|only| only == family)
    });
    let made: Vec<(&Entry, Box<dyn Rule>)> = chosen
        .filter_map(|entry| match entry.check {
            Check::Row(make) => Some(make(&mut Params::default()).map(|rule| (entry, rule))),
            Check::Dataset(_) => None,
        })
        .collect::<Result<_, _>>()?;
    match show {
        Some(name) => made
            .iter()
            .filter(|(entry, _)| entry.doc.name == name)
            .for_each(|(_, rule)| {
                evidence(rule.as_ref(), &records);
            }),
        None => times(&made, &records, bytes),
    }
    Ok(())
}

fn times(rules: &[(&Entry, Box<dyn Rule>)], records: &[Record], bytes: usize) {
    let megabytes = bytes as f64 / 1e6;
    println!("{} rows, {megabytes:.2} MB of text", records.len());
    let (mut seconds, mut dropped) = (0.0, vec![false; records.len()]);
    for (entry, rule) in rules {
        let hits = |record| !hits(rule.as_ref(), record).is_empty();
        hits(&records[0]);
        let start = Instant::now();
        let seen: Vec<bool> = records.par_iter().map(hits).collect();
        let took = start.elapsed().as_secs_f64();
        seconds += took;
        if entry.doc.default == hone_curate::Action::Drop {
            dropped
                .iter_mut()
                .zip(&seen)
                .for_each(|(dropped, seen)| *dropped |= seen);
        }
        let rows = seen.into_iter().filter(|seen| *seen).count();
        println!(
            "{:26} {:7} {rows:7} rows {:9.1} MB/s",
            entry.doc.name,
            entry.doc.default.name(),
            megabytes / took
        );
    }
    let dropped = dropped.into_iter().filter(|dropped| *dropped).count();
    println!(
        "{:26} {:7} {dropped:7} rows {:9.1} MB/s",
        "all",
        "drop",
        megabytes / seconds
    );
}

fn evidence(rule: &dyn Rule, records: &[Record]) {
    for record in records {
        for hit in hits(rule, record) {
            let text = hit
                .place
                .and_then(|place| record.text(place))
                .unwrap_or_default();
            let seen = if hit.span.is_empty() {
                text
            } else {
                &text[hit.span.clone()]
            };
            println!(
                "{} {:.3} {}: {}",
                record.source,
                hit.score,
                hit.message,
                excerpt(seen)
            );
        }
    }
}

fn hits(rule: &dyn Rule, record: &Record) -> Vec<Hit> {
    let mut hits = Vec::new();
    rule.check(&Row::new(record, None), &mut hits);
    hits
}
