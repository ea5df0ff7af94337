//! `hone data`: look at a dataset as a model sees it, or build one.

use super::failure::{Exit, Refusal};
use super::model::ModelArgs;
use super::progress::Count;
use crate::base::Home;
use crate::screen::{self, Talk, count, plural};
use anyhow::Result;
use clap::ValueEnum;
use hone_data::recipe::rust_lints::{self, RecipeError, Written};
use hone_data::{Reason, Record, encode_row};
use hone_ledger::Seed;
use hone_text::{Encoded, Renderer};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Verbs about datasets.
#[derive(Debug, clap::Subcommand)]
pub enum Data {
    /// Print rows with the tokens that are learnt marked
    Show(Show),
    /// Build a dataset from what is on this machine
    Build(Build),
}

impl Data {
    /// Runs the verb.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        match self {
            Self::Show(verb) => verb.run(talk),
            Self::Build(verb) => verb.run(talk),
        }
    }
}

/// Arguments of `hone data show`.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// File of examples
    file: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// How many rows to print
    #[arg(long, value_name = "N", default_value_t = 3)]
    rows: usize,
    /// The first row to print, counted from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from: u64,
    /// Print one JSON object per row, and one with the counts at the end
    #[arg(long)]
    json: bool,
}

impl Show {
    fn run(self, talk: Talk) -> Result<Exit> {
        let open = self.model.open()?;
        let reading = hone_data::read(&[&self.file])?;
        for refused in &reading.refused {
            talk.say(format!("set aside: {}: {}", refused.source, refused.reason));
        }
        let first = self.from as usize - 1;
        if first >= reading.records.len() {
            let num_rows = plural(reading.records.len(), "row");
            return Err(Refusal::usage(format!(
                "--from {} is past the end: the file has {num_rows}",
                self.from
            ))
            .into());
        }
        let marks = if screen::has_colour() { COLOUR } else { PLAIN };
        for record in reading.records.iter().skip(first).take(self.rows) {
            self.print_row(
                record,
                encode_row(&open.renderer, record),
                &open.renderer,
                marks,
            )?;
        }
        self.print_counts(&reading.records, &open.renderer)?;
        Ok(Exit::Done)
    }

    fn print_row(
        &self,
        record: &Record,
        encoded: Result<Encoded, Reason>,
        renderer: &Renderer,
        marks: Marks,
    ) -> Result<()> {
        let encoded = match encoded {
            Ok(encoded) => encoded,
            Err(reason) => {
                return Ok(screen::data(format!(
                    "── {}: not usable: {reason}",
                    record.source
                ))?);
            }
        };
        let learnt = num_learnt(&encoded);
        if self.json {
            let object = json!({
                "source": record.source.to_string(), "task": record.task,
                "ids": encoded.ids, "supervised": encoded.supervised, "text": encoded.text,
            });
            return Ok(screen::data_json(&object)?);
        }
        screen::data(format!(
            "── {}  task {}  {} tokens, {learnt} learnt",
            record.source,
            record.task,
            encoded.ids.len()
        ))?;
        Ok(screen::data(mark(&encoded, renderer, marks)?)?)
    }

    fn print_counts(&self, records: &[Record], renderer: &Renderer) -> Result<()> {
        let encoded: Vec<Encoded> = records
            .iter()
            .filter_map(|record| encode_row(renderer, record).ok())
            .collect();
        let tokens: usize = encoded.iter().map(|encoded| encoded.ids.len()).sum();
        let learnt: usize = encoded.iter().map(num_learnt).sum();
        let longest = encoded
            .iter()
            .map(|encoded| encoded.ids.len())
            .max()
            .unwrap_or(0);
        if self.json {
            let object = json!({
                "rows": records.len(), "usable": encoded.len(), "tokens": tokens,
                "supervised_tokens": learnt, "longest": longest,
            });
            return Ok(screen::data_json(&object)?);
        }
        let (rows, tokens, learnt) = (
            plural(records.len(), "row"),
            count(tokens as u64),
            count(learnt as u64),
        );
        Ok(screen::data(format!(
            "── {rows}, {} usable, {tokens} tokens, {learnt} learnt, longest {longest}",
            encoded.len()
        ))?)
    }
}

/// The first token has nothing before it to be predicted from.
fn num_learnt(encoded: &Encoded) -> usize {
    encoded
        .supervised
        .iter()
        .skip(1)
        .filter(|&&supervised| supervised)
        .count()
}

/// What stands around a run of learnt tokens.
type Marks = (&'static str, &'static str);

const PLAIN: Marks = ("⟦", "⟧");
const COLOUR: Marks = ("\x1b[1;32m⟦", "⟧\x1b[0m");

/// The row's tokens as text, learnt runs between marks.
fn mark(encoded: &Encoded, renderer: &Renderer, (begin, end): Marks) -> Result<String> {
    let mut marked = String::new();
    let mut rest = encoded.ids.as_slice();
    for run in encoded.supervised.chunk_by(|a, b| a == b) {
        let (ids, after) = rest.split_at(run.len());
        let text = renderer.tokenizer().decode(ids, false)?;
        if run[0] {
            marked.extend([begin, &text, end]);
        } else {
            marked.push_str(&text);
        }
        rest = after;
    }
    Ok(marked)
}

/// Arguments of `hone data build`.
#[derive(Debug, clap::Args)]
pub struct Build {
    /// Which dataset
    recipe: Recipe,
    /// Where to write it; kept in HONE_HOME if not given
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Recipe {
    /// Meaning, group and fix of about 800 Clippy lints, from the installed Rust toolchain
    RustLints,
}

impl Build {
    fn run(self, talk: Talk) -> Result<Exit> {
        let Recipe::RustLints = self.recipe;
        let home = Home::from_env()?;
        let written = match &self.out {
            Some(dir) => build_rust_lints(dir, talk)?,
            None => rust_lints_at_home(&home, talk)?,
        };
        let provenance = written.provenance.display().to_string();
        if self.json {
            let object = json!({
                "train": written.train, "valid": written.valid, "provenance": provenance,
                "train_rows": written.train_rows, "valid_rows": written.valid_rows,
            });
            screen::data_json(&object)?;
        } else {
            talk.say(format!(
                "{} to learn from, {} held out",
                plural(written.train_rows, "row"),
                written.valid_rows
            ));
            for path in [&written.train, &written.valid, &written.provenance] {
                screen::data(path.display().to_string())?;
            }
        }
        Ok(Exit::Done)
    }
}

/// Share of the lints that is held out.
const VALID_SHARE: f64 = 0.2;

/// The dataset of this toolchain, built on first use: another toolchain has other lints.
pub fn rust_lints_at_home(home: &Home, talk: Talk) -> Result<Written> {
    let toolchain = clippy_version()?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let parts: Vec<&str> = toolchain
        .split(|c| !is_part(c))
        .filter(|part| !part.is_empty())
        .collect();
    let dir = home
        .datasets()
        .join(format!("rust-lints-{}", parts.join("-")));
    let written = Written {
        train: dir.join("train.jsonl"),
        valid: dir.join("valid.jsonl"),
        provenance: dir.join("provenance.json"),
        train_rows: 0,
        valid_rows: 0,
    };
    // The provenance is written last: where it is, the rest is.
    if !written.provenance.is_file() {
        return build_rust_lints(&dir, talk);
    }
    let num_rows = |path: &Path| std::fs::read_to_string(path).map(|text| text.lines().count());
    Ok(Written {
        train_rows: num_rows(&written.train)?,
        valid_rows: num_rows(&written.valid)?,
        ..written
    })
}

/// The version of the Clippy that would be asked.
fn clippy_version() -> Result<String> {
    let output = Command::new("clippy-driver").arg("-V").output();
    let output = output
        .ok()
        .filter(|output| output.status.success())
        .ok_or(RecipeError::MissingClippy)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

fn build_rust_lints(dir: &Path, talk: Talk) -> Result<Written> {
    let count = Mutex::new(Count::start(talk));
    let lints = rust_lints::build(&|done, total| {
        if let Ok(mut count) = count.lock() {
            count.tell_of(done, total, "lints explained");
        }
    })?;
    if let Ok(count) = count.into_inner() {
        count.finish();
    }
    Ok(lints.write(dir, VALID_SHARE, Seed::new(0))?)
}
