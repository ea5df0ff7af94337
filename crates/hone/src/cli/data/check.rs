//! `hone data check`: what the rules see in some files, and nothing else happens.

use super::again::again;
use crate::cli::failure::{Exit, Refusal};
use crate::cli::interrupt::leave_at_once;
use crate::curation::{
    Curator, RecipeArgs, count_line, tell_losses, tell_remarks, tell_shortfalls,
};
use crate::screen::{self, Talk, plural};
use anyhow::Result;
use hone_curate::decisions::{Told, class_lines, told};
use hone_curate::tally::Tally;
use hone_curate::{Decision, Finding, Loss};
use hone_data::{FileReport, Inputs, Side};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
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
    /// Print each finding as a JSON object, the undecided first, and at the end one with the counts of rows and what decides each kind of finding
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
        let mut curator = Curator::new(raw, &self.flags.open_options(), talk)?;
        // Nothing is trained on here: what a folder leaves open is told with the rest.
        curator.curation.asks = false;
        // A check tells of all rows, however many are bad.
        let allowed = std::mem::replace(&mut curator.curation.max_bad_rows, 1.0);
        leave_at_once(talk, || {
            "a check writes nothing, and nothing is kept".into()
        })?;
        let json = self.json;
        let mut behind = json.then(Behind::begin).transpose()?;
        let mut sink = |finding: &Finding| match &mut behind {
            Some(behind) => behind.take(finding),
            None => Ok(()),
        };
        let curated = curator.curate(&std::env::temp_dir(), talk, &mut sink)?;
        if let Some(behind) = behind {
            behind.finish()?;
        }
        let told = told(
            &curated.tally,
            &curator.curation,
            &again(),
            "--json lists all",
        );
        match json {
            true => files_in_lines(&curated.inputs, &curated.files)
                .into_iter()
                .for_each(|line| talk.say(line)),
            false => {
                for line in files_in_lines(&curated.inputs, &curated.files) {
                    screen::data(line)?;
                }
                print_told(&told, &curated.tally, &curated.losses)?;
            }
        }
        tell_remarks(&curated.files, talk);
        if let Some(said) = curated.names_not_looked_for() {
            talk.say(said);
        }
        tell_shortfalls(&curated.portions, curator.mixes_by(), talk);
        tell_losses(&curated.losses, curator.curation.max_dropped, talk);
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
            true => screen::data_json(
                &json!({ "count": curated.count, "kinds": told, "losses": curated.losses, "names_not_looked_for": curated.names_not_looked_for() }),
            )?,
            false => talk.say(&count),
        }
        talk.say(format!(
            "{} read, {} would be kept, {} changed",
            plural(curated.rows_in, "row"),
            curated.kept.len(),
            curated.rows_changed
        ));
        let found = [Decision::Undecided, Decision::Changed, Decision::Dropped];
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
            format!("{}, {}, {}", report.num_rows(), report.shape, report.format)
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
            format!(
                "{:5}  {}: {}, {}, {}",
                side_of(report),
                report.file.display(),
                report.num_rows(),
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

/// What was seen, kind by kind, the undecided first, each with what decides it.
pub fn print_told(told: &[Told], tally: &Tally, losses: &[Loss]) -> Result<()> {
    for line in told.iter().flat_map(Told::lines) {
        screen::data(line)?;
    }
    if let Some(line) = tally.contamination().told() {
        screen::data(line)?;
    }
    for line in class_lines(losses) {
        screen::data(line)?;
    }
    Ok(())
}

/// Findings as JSON, the undecided as they come and the others behind them.
struct Behind {
    later: BufWriter<File>,
}

impl Behind {
    fn begin() -> io::Result<Self> {
        Ok(Self {
            later: BufWriter::new(tempfile::tempfile()?),
        })
    }

    fn take(&mut self, finding: &Finding) -> io::Result<()> {
        match finding.decision {
            Decision::Undecided => screen::data_json(finding),
            _ => writeln!(self.later, "{}", serde_json::to_string(finding)?),
        }
    }

    fn finish(self) -> io::Result<()> {
        let mut later = self
            .later
            .into_inner()
            .map_err(|error| error.into_error())?;
        later.rewind()?;
        let lines = BufReader::new(later).lines();
        for line in lines {
            screen::data_json(&serde_json::from_str::<Finding>(&line?)?)?;
        }
        Ok(())
    }
}
