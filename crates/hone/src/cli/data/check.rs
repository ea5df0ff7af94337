//! `hone data check`: what the rules see in some files, and nothing else happens.

use crate::cli::failure::{Exit, Refusal};
use crate::curation::{
    Curator, REGROUP, RecipeArgs, count_line, tell_losses, tell_remarks, tell_shortfalls,
};
use crate::screen::{self, Talk, plural};
use anyhow::Result;
use hone_curate::overview::{RuleRow, Tally};
use hone_curate::{Decision, Finding, Loss};
use hone_data::{FileReport, Inputs, Side};
use serde_json::json;
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
    /// Print each finding as a JSON object, and one with the counts of rows at the end
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Looks, tells, and ends with 4 if something waits for a decision, would be left out, or is kept and trained on by nothing.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        let raw = self
            .flags
            .with_files(&self.files)
            .over(self.recipe.as_deref())?;
        if raw.sources.is_empty() {
            return Err(
                Refusal::usage("there is nothing to check: no files are named")
                    .hint("hone data check rows.jsonl, or the folder of a dataset")
                    .into(),
            );
        }
        let mut curator = Curator::new(raw)?;
        // Nothing is trained on here: what a folder leaves open is told with the rest.
        curator.curation.asks = false;
        // A check tells of all rows, however many are bad.
        let allowed = std::mem::replace(&mut curator.curation.max_bad_rows, 1.0);
        let json = self.json;
        let mut sink = |finding: &Finding| match json {
            true => screen::data_json(finding),
            false => Ok(()),
        };
        let curated = curator.curate(&std::env::temp_dir(), talk, &mut sink)?;
        match json {
            true => files_in_lines(&curated.inputs, &curated.files)
                .into_iter()
                .for_each(|line| talk.say(line)),
            false => {
                for line in files_in_lines(&curated.inputs, &curated.files) {
                    screen::data(line)?;
                }
                print_tally(&curated.tally, "--json lists all")?;
                print_losses(&curated.losses)?;
            }
        }
        tell_remarks(&curated.files, talk);
        if let Some(said) = curated.names_not_looked_for() {
            talk.say(said);
        }
        tell_shortfalls(&curated.portions, curator.mixes_by(), talk);
        tell_losses(&curated.losses, curator.curation.max_dropped, talk);
        if curated.tally.own_split() > 0 {
            talk.say(REGROUP);
        }
        for doubt in &curated.inputs.doubts {
            talk.say(format!("to decide before training: {}", doubt.what));
            talk.say(format!("  {}", doubt.hint));
        }
        for report in curated
            .files
            .iter()
            .filter(|report| report.bad_share() > allowed)
        {
            talk.say(format!(
                "`hone data build` stops at {}: {} of {} rows are unusable, more than max-bad-rows ({allowed}) allows; --rule unusable-row=drop leaves them out",
                report.file.display(),
                report.refused,
                report.rows + report.refused
            ));
        }
        let count = count_line(&curated.count, curator.counts_lengths());
        match json {
            true => screen::data_json(&json!({ "count": curated.count }))?,
            false => talk.say(&count),
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
        let is_settled = curated.inputs.doubts.is_empty() && curated.untrained().is_empty();
        Ok(if waiting == 0 && is_settled {
            Exit::Done
        } else {
            Exit::Found
        })
    }
}

/// Each file with its side, and the files that are not read.
pub fn files_in_lines(inputs: &Inputs, reports: &[FileReport]) -> Vec<String> {
    let read = inputs.files.iter().map(|input| {
        let side = input.side.map_or("-", Side::name);
        let report = reports.iter().find(|report| input.is_of(report));
        let what = report.map_or("not read".to_owned(), |report| {
            format!(
                "{}, {}, {}",
                plural(report.rows, "row"),
                report.shape,
                report.format
            )
        });
        let told = match input.side {
            Some(_) => format!(" ({})", input.told),
            None => String::new(),
        };
        format!("{side:5}  {}: {what}{told}", input.name())
    });
    // Rows of dataset directories have their sides, too.
    let built = reports
        .iter()
        .filter(|report| !inputs.files.iter().any(|input| input.is_of(report)))
        .map(|report| {
            let rows = plural(report.rows, "row");
            format!(
                "{:5}  {}: {rows}, {}, {}",
                side_of(report),
                report.file.display(),
                report.shape,
                report.format
            )
        });
    let passed_over = inputs
        .passed_over
        .iter()
        .map(|passed| format!("{:5}  {}: {}", "", passed.file.display(), passed.why));
    read.chain(built).chain(passed_over).collect()
}

/// The side of a file of a dataset directory, which is its name.
fn side_of(report: &FileReport) -> &str {
    report
        .file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or("-")
}

/// What each rule saw, with its first examples; `rest` says where the others can be read.
pub fn print_tally(tally: &Tally, rest: &str) -> Result<()> {
    for row in tally.rows() {
        screen::data(heading(&row))?;
        for finding in &row.examples {
            screen::data(format!("  {finding}"))?;
            if let Some(beside) = &finding.beside {
                screen::data(format!("    leaves: {}", beside.this))?;
                screen::data(format!("    stays:  {}", beside.kept))?;
            }
        }
        let found: usize = row.decisions.iter().map(|(_, count)| count).sum();
        if found > row.examples.len() {
            let more = found - row.examples.len();
            screen::data(format!("  … and {more} more; {rest}"))?;
        }
    }
    match tally.contamination().told() {
        Some(told) => Ok(screen::data(told)?),
        None => Ok(()),
    }
}

/// The classes before and after, where some of their rows have left.
pub fn print_losses(losses: &[Loss]) -> Result<()> {
    let labels: Vec<&Loss> = losses.iter().filter(|loss| loss.of == "label").collect();
    if labels.iter().all(|label| label.before == label.after) {
        return Ok(());
    }
    screen::data("labels, before and after")?;
    for label in labels {
        let Loss {
            name,
            before,
            after,
            ..
        } = label;
        screen::data(format!("  {name}: {before}, {after}"))?;
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
