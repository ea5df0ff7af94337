//! Rows in memory, curated by the rules that `hone data build` follows, then encoded for a model: no file is written.
//!
//! `cargo run --example curate -- MODEL_DIR`

use std::error::Error;
use std::path::Path;

use hone_curate::recipe::ruled;
use hone_curate::{Action, Examiner, Family};
use hone_finetune::{Encoding, LoadOptions, Record, open_base};

/// Rows as a program may have them; the second names a person's address, the third says nothing.
const ROWS: [&str; 3] = [
    r#"{"messages": [{"role": "user", "content": "Which way is north?"}, {"role": "assistant", "content": "Up the hill."}]}"#,
    r#"{"prompt": "Whom do I ask?", "completion": "Write to bo.lund@kranich-it.ch."}"#,
    r#"{"prompt": "And south?", "completion": ""}"#,
];

/// The rows that are kept, encoded.
pub fn run(base: &Path) -> Result<Encoding, Box<dyn Error>> {
    let mut rules = ruled(&Default::default())?;
    let personal = |rule: &hone_curate::recipe::Ruled| rule.doc.family == Family::PersonalData;
    for rule in rules.iter_mut().filter(|rule| personal(rule)) {
        rule.action = Action::Redact;
    }
    let examiner = Examiner::new(&rules, None);
    let mut kept = Vec::new();
    for row in ROWS {
        let Ok(record) = Record::from_json(row) else {
            println!("unusable: {row}");
            continue;
        };
        let examined = examiner.examine(record, None);
        for finding in &examined.findings {
            println!("{}: {}", finding.rule, finding.message);
        }
        kept.extend(examined.record);
    }
    // Headers and tokenizer are enough to encode; no weight is read.
    let base = open_base(base, LoadOptions::default())?;
    let examples = base.encode(&kept)?;
    println!(
        "{} rows, {} tokens",
        examples.examples.len(),
        examples.num_tokens()
    );
    Ok(examples)
}

#[allow(dead_code)] // the tests call `run`
fn main() -> Result<(), Box<dyn Error>> {
    let base = std::env::args().nth(1).ok_or("usage: curate MODEL_DIR")?;
    run(base.as_ref()).map(|_| ())
}
