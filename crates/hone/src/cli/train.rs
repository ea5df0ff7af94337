//! `hone train`: from examples to an adapter.

use super::failure::Exit;
use super::interrupt::Interrupt;
use crate::base::Home;
use crate::dataset::preview;
use crate::notices::say_notices;
use crate::place::refuse_unwritable;
use crate::plan::{Machine, Origin, PlanLine, RawTrain, Settings, Size, TrainPlan, read_run_file};
use crate::refusal::Refusal;
use crate::registry;
use crate::run::{Begun, Ended, Prepared, REPORT, RUN_JSON, SKIPPED, Summary, Told, tidy};
use crate::screen::{self, Talk, duration, plural};
use anyhow::Result;
use hone_eval::diagnosis::{Weight, rows};
use hone_ledger::words::{for_shell, path_for_shell};
use serde_json::json;
use std::path::{Path, PathBuf};

/// What stands below the options of `hone train`.
pub const NEEDED: &str = "\
--model, --data and --out are needed, as options or as keys of the run file (model = \"…\", data = [\"rows.jsonl\"]):
  hone train --model smollm2-135m-instruct --data rows.jsonl --out runs/first --dry-run
shows the plan; the same without --dry-run trains.";

/// Arguments of `hone train`.
#[derive(Debug, clap::Args)]
pub struct Train {
    /// Run file: the options below as TOML; a flag wins over it
    run_file: Option<PathBuf>,
    #[command(flatten)]
    options: RawTrain,
    /// Continue the run in --out where it was interrupted
    #[arg(long)]
    resume: bool,
    /// Show the plan, its time measured, and stop
    #[arg(long)]
    dry_run: bool,
    /// Show every line of the plan, each option with where its value is from
    #[arg(long, short)]
    verbose: bool,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

impl Train {
    /// Plans, trains, reports.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        let home = Home::from_env()?;
        refuse_nameless(&self.options)?;
        let file = self.run_file.as_deref().map(read_run_file).transpose()?;
        if self.resume && !self.dry_run {
            let begun = Begun::find(&self.options, file.clone())?;
            if let Some(summary) = done_already(&begun) {
                if begun.has_other_places()? {
                    Prepared::new(&self.options, file, true, &home)?;
                }
                // It may have been moved to where it is now.
                enter_registry(&begun.dir, &home, talk);
                return self.tell_again(&begun, &summary, talk);
            }
        }
        let out = self.options.out.as_ref();
        let out = out.or(file.as_ref().and_then(|file| file.out.as_ref()));
        if let Some(out) = out.filter(|_| !self.dry_run) {
            refuse_unwritable(out)?;
        }
        let mut options = self.options.clone();
        if self.dry_run && !self.resume {
            let of_file = |named: fn(&RawTrain) -> bool| file.as_ref().is_some_and(named);
            if options.out.is_none() && !of_file(|file| file.out.is_some()) {
                // Nothing is written, so that nothing has to be said of where.
                options.out = Some("not-given".into());
            }
            if options.model.is_none() && !of_file(|file| file.model.is_some()) {
                return show_rows(options, file, talk);
            }
        }
        let mut run = Prepared::new(&options, file, self.resume, &home)?;
        if self.dry_run {
            run.time_a_step()?;
        }
        run.remarks.iter().for_each(|remark| talk.warn(remark));
        show_plan(&run.plan, self.verbose, talk);
        say_notices(&run.open, talk);
        show_skipped(&run, self.dry_run, talk);
        show_noted(&run, talk);
        if self.dry_run {
            if !self.verbose {
                talk.say("--verbose shows every line of the plan, all options among them");
            }
            talk.say("nothing was written; the same without --dry-run trains");
            return Ok(Exit::Done);
        }
        let interrupt = Interrupt::listen(talk)?;
        let ended = run.start(talk, &interrupt.signal(), |out| {
            enter_registry(out, &home, talk);
        });
        interrupt.leave_at_once();
        enter_registry(&run.plan.settings.out.value, &home, talk);
        match ended? {
            Ended::Interrupted { step } => {
                talk.say(format!(
                    "stopped after {}, saved; --resume continues",
                    plural(step, "step")
                ));
                if self.json {
                    screen::data_json(&json!({ "interrupted": true, "steps": step }))?;
                }
                Ok(Exit::Interrupted)
            }
            Ended::Finished(summary) => {
                talk.say("both models answer a few rows for the report");
                let judgement = run.sample(&summary)?;
                let report = run.write_report(&summary, &judgement)?;
                show_summary(&summary, &report, &run.plan.settings.model.value, talk);
                show_diagnosis(&run.plan.settings.out.value, talk)?;
                if self.json {
                    screen::data_json(&summary)?;
                }
                Ok(Exit::Done)
            }
        }
    }

    /// What a finished run says when it is resumed: nothing is done, and nothing on disk changes.
    fn tell_again(&self, begun: &Begun, summary: &Summary, talk: Talk) -> Result<Exit> {
        tidy(&begun.dir);
        talk.say(format!(
            "the run in {} is finished, nothing is left to do; a new --out starts another",
            begun.dir.display()
        ));
        let changed = begun.changed()?;
        if !changed.is_empty() {
            talk.say(format!(
                "{} not taken over, as nothing is left to do",
                changed.join(", ")
            ));
        }
        let model = begun.record.asked.model.as_deref().unwrap_or_default();
        show_summary(summary, &begun.dir.join(REPORT), model, talk);
        if self.json {
            screen::data_json(summary)?;
        }
        Ok(Exit::Done)
    }
}

/// Refuses paths that no text can hold: a run's record is text, and could not say where it lies.
fn refuse_nameless(options: &RawTrain) -> Result<(), Refusal> {
    let named = |name: &'static str| move |path: &PathBuf| (name, path.clone());
    let mut paths = (options.out.iter().map(named("out")))
        .chain(options.data.iter().flatten().map(named("data")))
        .chain(options.valid.iter().map(named("valid")));
    let Some((name, path)) = paths.find(|(_, path)| path.to_str().is_none()) else {
        return Ok(());
    };
    let what = format!("the name --{name} {} is not UTF-8", path.display());
    Err(Refusal::usage(what).hint("give it another name, which a run's record can hold"))
}

/// The figures of a run that has nothing left to do: all steps taken, adapters and report in place.
fn done_already(begun: &Begun) -> Option<Summary> {
    let summary = begun.record.summary(&begun.dir)?;
    let is_whole = begun.is_done() && begun.dir.join(REPORT).is_file();
    is_whole.then_some(summary)
}

/// What can be said of a run whose model is not named: its rows and their sides.
fn show_rows(mut options: RawTrain, file: Option<RawTrain>, talk: Talk) -> Result<Exit> {
    options.model = Some("not-given".into());
    let file = file.unwrap_or_default();
    let settings = Settings::resolve(&options, &file, Origin::RunFile, Machine::measure())?;
    let line = |(name, value): (&str, String)| PlanLine {
        name: name.into(),
        value,
        origin: Origin::Data,
    };
    let lines: Vec<PlanLine> = preview(&settings)?.into_iter().map(line).collect();
    show_lines(&lines, |_| false, talk);
    talk.say("--model adds tokens, steps, memory and time to this plan");
    Ok(Exit::Done)
}

/// The plan in a screenful, or every line of it, and what a user may not expect of the data.
pub fn show_plan(plan: &TrainPlan, is_verbose: bool, talk: Talk) {
    if is_verbose {
        return show_lines(&plan.lines(), |_| true, talk);
    }
    // That something is in the data, follows from the rest, or is the default, goes without saying.
    let goes_without = [Origin::Derived, Origin::Default, Origin::Data];
    show_lines(
        &plan.overview(),
        |origin| !goes_without.contains(&origin),
        talk,
    );
    for PlanLine { name, value, .. } in &plan.facts.notes {
        talk.say(format!("note: {name}: {value}"));
    }
}

fn show_lines(lines: &[PlanLine], is_told: impl Fn(Origin) -> bool, talk: Talk) {
    let width = lines.iter().map(|line| line.name.len()).max().unwrap_or(0);
    for PlanLine {
        name,
        value,
        origin,
    } in lines
    {
        let told = match is_told(*origin) {
            true => format!("  ({origin})"),
            false => String::new(),
        };
        talk.say(format!("  {name:width$}  {value}{told}"));
    }
}

/// What the rules saw in rows that stay, a line for all.
fn show_noted(run: &Prepared, talk: Talk) {
    let noted = run.dataset.noted();
    if !noted.is_empty() {
        let rules: Vec<String> = noted
            .iter()
            .map(|(rule, count)| format!("{count} of {rule}"))
            .collect();
        talk.say(format!(
            "noted: {}; to list them: {}",
            rules.join(", "),
            run.plan.settings.check_command()
        ));
    }
}

/// The first rows that were skipped, and where the others are listed.
fn show_skipped(run: &Prepared, is_dry_run: bool, talk: Talk) {
    const SHOWN: usize = 3;
    let lines = run.dataset.skipped();
    for line in lines.iter().take(SHOWN) {
        talk.say(format!("skipped: {line}"));
    }
    if lines.len() > SHOWN && is_dry_run {
        let more = lines.len() - SHOWN;
        let check = run.plan.settings.check_command();
        talk.say(format!("and {more} more; to list them: {check}"));
    } else if lines.len() > SHOWN {
        let out = run.plan.settings.out.value.join(SKIPPED);
        talk.say(format!(
            "and {} more, listed in {}",
            lines.len() - SHOWN,
            out.display()
        ));
    }
}

/// What came of it.
pub fn show_summary(summary: &Summary, report: &Path, model: &str, talk: Talk) {
    let peak = Size {
        bytes: summary.peak_memory_bytes,
    };
    let beside = match summary.validation_seconds {
        0.0 => String::new(),
        seconds => format!(", {} with validations", duration(summary.seconds + seconds)),
    };
    talk.say(format!(
        "{} in {} ({:.0} tokens/s){beside}, peak memory {peak}",
        plural(summary.steps, "step"),
        duration(summary.seconds),
        summary.tokens_per_second
    ));
    if let (Some(first), Some(best)) = (summary.valid_loss_first, summary.valid_loss_best) {
        talk.say(format!(
            "validation loss {first:.4} before, {best:.4} at its best (step {})",
            summary.best_step
        ));
        if summary.best_step == 0 && summary.steps > 0 {
            talk.warn(
                "no step made the validation loss better, so the adapter is as it was initialized: it learned nothing; more --epochs, another --lr, or more rows may",
            );
        }
    } else if let Some(loss) = summary.train_loss {
        talk.say(format!(
            "mean training loss {loss:.4}; no rows were held out"
        ));
    }
    talk.say(format!("adapter  {}", summary.adapter.display()));
    talk.say(format!("report   {}", report.display()));
    talk.say(format!(
        "chat     hone chat --model {} --adapter {}",
        for_shell(model),
        path_for_shell(&summary.adapter)
    ));
}

/// What the run's numbers say of it, without asking its model anything.
fn show_diagnosis(out: &Path, talk: Talk) -> Result<()> {
    let diagnosis = Told::read(out)?.short();
    talk.say(format!("diagnosis  {}", diagnosis.sentence()));
    let matters = diagnosis.findings.iter();
    for finding in matters.filter(|finding| finding.weight < Weight::Note) {
        talk.say(format!("  {}", finding.what));
        finding
            .change
            .iter()
            .for_each(|change| talk.say(format!("  {change}")));
    }
    if let Some(rows) = diagnosis
        .rows
        .as_ref()
        .filter(|rows| !rows.listed.is_empty())
    {
        talk.say(format!("  {}", rows::summary(rows)));
    }
    talk.say(format!(
        "  hone diagnose {} asks the model as well",
        path_for_shell(out)
    ));
    Ok(())
}

/// Notes the run in the registry. No run depends on it, so trouble is told, to the quiet too, and forgotten.
pub fn enter_registry(out: &Path, home: &Home, talk: Talk) {
    // A run that was refused before it began is none.
    if !out.join(RUN_JSON).is_file() {
        return;
    }
    if let Err(error) = registry::enter(out, home) {
        talk.warn(format!(
            "the run is not in the registry ({}); {} has it all",
            registry::in_words(&error),
            out.join(RUN_JSON).display()
        ));
    }
}
