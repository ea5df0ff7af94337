//! `hone data check`: what the rules see in some files, and nothing else happens.

use crate::cli::failure::{Exit, Refusal};
use crate::curation::{Curator, RecipeArgs, tell_remarks};
use crate::screen::{self, Talk, plural};
use anyhow::Result;
use hone_curate::overview::{RuleRow, Tally};
use hone_curate::{Decision, Finding};
use std::path::PathBuf;

/// Arguments of `hone data check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Files, folders or patterns of rows
    files: Vec<String>,
    /// Recipe whose rules and sources hold
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    #[command(flatten)]
    flags: RecipeArgs,
    /// Print each finding as a JSON object
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Looks, tells, and ends with 4 if something waits for a decision, would be left out, or is kept and trained on by nothing.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        let mut raw = self
            .flags
            .with_files(&self.files)
            .over(self.recipe.as_deref())?;
        // A check tells of all rows, however many are bad.
        raw.max_bad_rows.get_or_insert(1.0);
        if raw.sources.is_empty() {
            return Err(Refusal::usage("there is nothing to check")
                .hint("hone data check rows.jsonl")
                .into());
        }
        let curator = Curator::new(raw)?;
        let json = self.json;
        let mut sink = |finding: &Finding| match json {
            true => screen::data_json(finding),
            false => Ok(()),
        };
        let curated = curator.curate(&std::env::temp_dir(), talk, &mut sink)?;
        tell_remarks(&curated.files, talk);
        if !json {
            print_tally(&curated.tally)?;
        }
        talk.say(format!(
            "{} read, {} would be kept, {} changed",
            plural(curated.rows_in, "row"),
            curated.kept.len(),
            curated.rows_changed
        ));
        let found = [Decision::Undecided, Decision::Changed, Decision::SetAside];
        let waiting: usize = found
            .into_iter()
            .map(|decision| curated.tally.count(decision))
            .sum();
        Ok(if waiting == 0 && curated.untrained().is_empty() {
            Exit::Done
        } else {
            Exit::Found
        })
    }
}

/// What each rule saw, with its first examples.
pub fn print_tally(tally: &Tally) -> Result<()> {
    for row in tally.rows() {
        screen::data(heading(&row))?;
        for finding in &row.examples {
            screen::data(format!("  {finding}"))?;
        }
    }
    Ok(())
}

fn heading(row: &RuleRow) -> String {
    let decisions: Vec<String> = row
        .decisions
        .iter()
        .map(|(decision, count)| format!("{count} {}", word(*decision)))
        .collect();
    format!("{} ({}): {}", row.rule, row.family, decisions.join(", "))
}

fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Reported => "reported",
        Decision::Undecided => "undecided",
        Decision::Allowed => "allowed",
        Decision::Changed => "changed",
        Decision::SetAside => "set aside",
    }
}
