//! `hone data show`: rows as a model sees them, with the tokens that are learnt marked.

use crate::cli::failure::{Exit, Refusal};
use crate::cli::model::ModelArgs;
use crate::curation::{KeyArgs, tell_remarks};
use crate::screen::{self, Talk, count, plural};
use anyhow::Result;
use hone_data::{Reading, Reason, Record, encode_row};
use hone_text::{Encoded, Renderer};
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `hone data show`.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// File of examples
    file: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    keys: KeyArgs,
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
    /// Prints the rows.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        let open = self.model.open(talk)?;
        let reading = Reading::of(&[&self.file], &self.keys.options())?;
        tell_remarks(&reading.files, talk);
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
