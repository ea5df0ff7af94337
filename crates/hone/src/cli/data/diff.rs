//! `hone data diff`: which rows and which steps are different.

use crate::cli::failure::{Exit, Refusal};
use crate::screen::{self, plural};
use anyhow::Result;
use hone_curate::dataset::{DatasetDir, Difference, diff, is_dataset};
use hone_data::nearest::instead_of;
use hone_ledger::words::path_for_shell;
use std::path::{Path, PathBuf};

/// Arguments of `hone data diff`.
#[derive(Debug, clap::Args)]
pub struct Diff {
    /// A dataset directory
    first: PathBuf,
    /// Another one
    second: PathBuf,
    /// How many rows of each kind to print
    #[arg(long, value_name = "N", default_value_t = 10)]
    rows: usize,
    /// Print one JSON object with everything
    #[arg(long)]
    json: bool,
}

/// Refuses what is no dataset directory.
fn refuse_other(dir: &Path) -> Result<()> {
    if is_dataset(dir) {
        return Ok(());
    }
    let refusal = match dir.exists() {
        true => Refusal::usage(format!("{} is no dataset directory", dir.display())),
        false => Refusal::usage(format!("{} is not there", dir.display())).hint(instead_of(dir)),
    };
    let from = match dir.exists() {
        true => path_for_shell(dir).to_string(),
        false => "ROWS".to_owned(),
    };
    Err(refusal
        .hint(format!(
            "datasets are compared that were built: hone data build --from {from} --out DIR"
        ))
        .into())
}

impl Diff {
    /// Compares the two.
    pub fn run(self) -> Result<Exit> {
        for dir in [&self.first, &self.second] {
            refuse_other(dir)?;
        }
        let difference = diff(
            &DatasetDir::open(&self.first)?,
            &DatasetDir::open(&self.second)?,
        )?;
        if self.json {
            screen::data_json(&difference)?;
        } else {
            self.print(&difference)?;
        }
        Ok(if difference.is_none() {
            Exit::Done
        } else {
            Exit::Found
        })
    }

    fn print(&self, difference: &Difference) -> Result<()> {
        let row = |sign: &str, side: &str, text: &String| format!("{sign} {side:5}  {text}");
        let removed = difference
            .removed
            .iter()
            .map(|(side, text)| row("-", side.name(), text));
        let added = difference
            .added
            .iter()
            .map(|(side, text)| row("+", side.name(), text));
        let moved = difference
            .moved
            .iter()
            .map(|(from, to, text)| row(">", &format!("{} to {}", from.name(), to.name()), text));
        self.print_rows("only in the first", removed.collect())?;
        self.print_rows("only in the second", added.collect())?;
        self.print_rows("on another side", moved.collect())?;
        for (name, before, after) in &difference.steps {
            screen::data(format!("{name}: {before} → {after}"))?;
        }
        if difference.is_none() {
            screen::data("the same rows by the same steps")?;
        }
        Ok(())
    }

    fn print_rows(&self, what: &str, rows: Vec<String>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        screen::data(format!("{} {what}", plural(rows.len(), "row")))?;
        for row in rows.iter().take(self.rows) {
            screen::data(row)?;
        }
        if rows.len() > self.rows {
            screen::data(format!(
                "… and {} more; --rows shows more",
                rows.len() - self.rows
            ))?;
        }
        Ok(())
    }
}
