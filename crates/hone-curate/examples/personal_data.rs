//! Recall and precision of the personal-data rules on labelled sentences, and their speed.
//!
//! ```text
//! cargo run --release -p hone-curate --example personal_data -- synth_dataset_v2.json [--misses]
//! ```
//!
//! The file is presidio-evaluator's: `bench/personal_data.py` fetches it. A label counts as found when a hit of a rule
//! for its type covers it with an intersection over union of at least 0.75, in characters; a hit that meets no label
//! of any type is wrong. Names of persons, places and organisations are counted apart from what has a form.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Instant;

use hone_curate::{Check, Params, Row, Rule, rules};
use hone_data::Record;
use serde_json::{Value, json};

/// A type of labels, and the rules that look for it.
type Type = (&'static str, &'static [&'static str]);

/// Names, which are found by lists and context.
static NAMES: [Type; 5] = [
    ("PERSON", &["person-name"]),
    ("STREET_ADDRESS", &["place-name"]),
    ("GPE", &["place-name"]),
    ("LOCATION", &["place-name"]),
    ("ORGANIZATION", &["organisation-name"]),
];

/// All else, which is told by its form.
static PATTERNS: [Type; 12] = [
    ("CREDIT_CARD", &["card"]),
    ("EMAIL_ADDRESS", &["email"]),
    ("PHONE_NUMBER", &["phone"]),
    ("IBAN_CODE", &["iban"]),
    ("US_SSN", &["national-number"]),
    ("IP_ADDRESS", &["ip-address"]),
    ("DOMAIN_NAME", &["web-address"]),
    ("URL", &["web-address"]),
    ("DATE_TIME", &["date-time", "birth-date"]),
    ("ZIP_CODE", &["postal-code"]),
    ("AGE", &["age"]),
    ("US_DRIVER_LICENSE", &[]),
];

/// A rule by its name.
type Named = (&'static str, Box<dyn Rule>);

/// Rule, first character and end of a hit.
type Seen = (&'static str, usize, usize);

#[derive(Default)]
struct Count {
    labels: usize,
    found: usize,
    hits: usize,
    wrong: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args()
        .nth(1)
        .ok_or("the labelled file is missing")?;
    let shows_misses = std::env::args().any(|arg| arg == "--misses");
    let rows: Vec<Value> = serde_json::from_slice(&std::fs::read(file)?)?;
    let bytes: usize = rows
        .iter()
        .filter_map(|row| row["full_text"].as_str())
        .map(str::len)
        .sum();
    let started = Instant::now();
    let patterns = Counts::of(&rows, &PATTERNS, None, shows_misses)?;
    let seconds = started.elapsed().as_secs_f64();
    patterns.print("all patterns");
    println!(
        "{:.1} MB/s on one thread, every rule at its default threshold\n",
        bytes as f64 / 1e6 / seconds
    );
    println!("names, at the default threshold of 0.5:");
    Counts::of(&rows, &NAMES, None, shows_misses)?.print("all names");
    println!("\nnames, at a threshold of 0.3:");
    Counts::of(&rows, &NAMES, Some(0.3), false)?.print("all names");
    Ok(())
}

/// What was found of each type.
struct Counts {
    of_type: BTreeMap<&'static str, Count>,
    /// Labels of types that no rule looks for.
    others: usize,
}

impl Counts {
    fn of(
        rows: &[Value],
        types: &'static [Type],
        threshold: Option<f64>,
        shows_misses: bool,
    ) -> Result<Self, Box<dyn Error>> {
        let rules = rules(types, threshold)?;
        let (mut of_type, mut others) = (BTreeMap::<&str, Count>::new(), 0);
        for row in rows {
            let text = row["full_text"].as_str().ok_or("a row has no full_text")?;
            let hits = hits(&rules, text)?;
            let shown = |from: usize, to: usize| -> String {
                text.chars().skip(from).take(to - from).collect()
            };
            let labels = row["spans"].as_array().into_iter().flatten();
            let labels: Vec<(&str, usize, usize)> = labels.filter_map(label).collect();
            for &(kind, start, end) in &labels {
                let Some((kind, by)) = types.iter().find(|(known, _)| *known == kind) else {
                    others += 1;
                    continue;
                };
                let count = of_type.entry(kind).or_default();
                count.labels += 1;
                let found = hits.iter().any(|(rule, from, to)| {
                    by.contains(rule) && overlap(start, end, *from, *to) >= 0.75
                });
                count.found += usize::from(found);
                if shows_misses && !found {
                    println!("missed {kind}: {:?}", shown(start, end));
                }
            }
            for (rule, from, to) in &hits {
                let Some((kind, _)) = types.iter().find(|(_, by)| by.contains(rule)) else {
                    continue;
                };
                let count = of_type.entry(kind).or_default();
                count.hits += 1;
                // A part of an address or a name is personal all the same; only what touches no label is wrong.
                let is_wrong = !labels
                    .iter()
                    .any(|&(_, start, end)| overlap(start, end, *from, *to) > 0.0);
                count.wrong += usize::from(is_wrong);
                if shows_misses && is_wrong {
                    println!("wrong {rule}: {:?}", shown(*from, *to));
                }
            }
        }
        Ok(Self { of_type, others })
    }

    fn print(&self, all: &str) {
        println!(
            "{:18} {:>6} {:>6} {:>9} {:>9} {:>7}",
            "type", "labels", "hits", "recall", "precision", "F2"
        );
        let mut sum = Count::default();
        for (kind, count) in &self.of_type {
            count.print(kind);
            sum.labels += count.labels;
            sum.found += count.found;
            sum.hits += count.hits;
            sum.wrong += count.wrong;
        }
        sum.print(all);
        println!("{} labels are of other types", self.others);
    }
}

impl Count {
    fn print(&self, name: &str) {
        let recall = self.found as f64 / self.labels.max(1) as f64;
        // Hits of a rule are counted with the first type that it looks for.
        if self.hits == 0 {
            println!("{name:18} {:6} {:6} {recall:9.3}", self.labels, 0);
            return;
        }
        let precision = 1.0 - self.wrong as f64 / self.hits as f64;
        let f2 = 5.0 * precision * recall / (4.0 * precision + recall).max(1e-9);
        println!(
            "{name:18} {:6} {:6} {recall:9.3} {precision:9.3} {f2:7.3}",
            self.labels, self.hits
        );
    }
}

/// The rules of the types, whether or not they are off by default.
fn rules(types: &[Type], threshold: Option<f64>) -> Result<Vec<Named>, Box<dyn Error>> {
    let asked =
        rules::all().filter(|entry| types.iter().any(|(_, by)| by.contains(&entry.doc.name)));
    let written: toml::Table = threshold
        .map(|threshold| ("threshold".to_owned(), threshold.into()))
        .into_iter()
        .collect();
    asked
        .filter_map(|entry| match entry.check {
            Check::Row(make) => Some((entry.doc.name, make)),
            Check::Dataset(_) => None,
        })
        .map(|(name, make)| Ok((name, make(&mut Params::new(written.clone()))?)))
        .collect()
}

/// Rule, first character and end of each hit.
fn hits(rules: &[Named], text: &str) -> Result<Vec<Seen>, Box<dyn Error>> {
    let record = Record::from_json(&json!({ "text": text }).to_string())?;
    let (mut found, mut hits) = (Vec::new(), Vec::new());
    for (name, rule) in rules {
        rule.check(&Row::new(&record, None), &mut hits);
        let place = |at: usize| text[..at].chars().count();
        found.extend(
            hits.drain(..)
                .map(|hit| (*name, place(hit.span.start), place(hit.span.end))),
        );
    }
    Ok(found)
}

fn label(span: &Value) -> Option<(&str, usize, usize)> {
    let place = |key: &str| span[key].as_u64().map(|at| at as usize);
    Some((
        span["entity_type"].as_str()?,
        place("start_position")?,
        place("end_position")?,
    ))
}

/// Intersection over union of two stretches.
fn overlap(start: usize, end: usize, from: usize, to: usize) -> f64 {
    let shared = end.min(to).saturating_sub(start.max(from));
    shared as f64 / ((end - start) + (to - from) - shared).max(1) as f64
}
