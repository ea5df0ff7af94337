//! A prepared run, run: every event to the file and the living line, every end recorded.

use super::prepare::{Prepared, data, refuse_remains, tidy};
use super::record::{NOT_FINITE, RUN_LOCK, RunRecord, Summary, now_unix};
use crate::dataset::Dataset;
use crate::machine::{free_disk, memory_bytes, peak_memory_bytes};
use crate::place::unlocked;
use crate::plan::{Size, TrainPlan};
use crate::refusal::Refusal;
use crate::screen::{LivingLine, Moment, Talk, plural};
use anyhow::Result;
use hone_curate::leaks::TrainedPrompts;
use hone_ledger::{ContentId, EventLog, Lock, RunStatus, WriteError, read_events, sweep};
use hone_model::weights::BaseWeights;
use hone_model::{NotFinite, Provenance, StopSignal};
use hone_train::{
    Checkpoint, Due, Event, Finished, Note, Outcome, Resumed, RunDir, Sink, TrainError, train,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};

/// The name of the event log in a run's directory.
pub const EVENTS: &str = "events.jsonl";

/// The name of the report in a run's directory.
pub const REPORT: &str = "report.html";
/// Rows that were not used, and why.
pub const SKIPPED: &str = "skipped.txt";

/// The prompts that are trained on, by which `hone eval` knows rows that an adapter has seen; see [`TrainedPrompts`].
pub const TRAINED_PROMPTS: &str = "trained-prompts.bin";

/// Where each training row was read, a line each, in the order of [`hone_train::RowLoss::row`].
pub const TRAIN_ROWS: &str = "train-rows.txt";

/// How a run ended.
pub enum Ended {
    /// All steps were taken.
    Finished(Summary),
    /// It was asked to stop and has saved its work.
    Interrupted {
        /// Steps taken.
        step: usize,
    },
}

impl Prepared {
    /// Trains. What is on disk afterwards says how it ended, whatever happens; `begun` hears when the run is on record as
    /// running. A run whose steps were all taken is left as it is.
    pub fn start(
        &mut self,
        talk: Talk,
        stop: &StopSignal,
        begun: impl FnOnce(&Path),
    ) -> Result<Ended> {
        let out = self.plan.settings.out.value.clone();
        let recorded = self.resumed.as_ref().and_then(|run| run.summary(&out));
        if let Some(summary) = recorded.filter(|_| self.is_done) {
            tidy(&out);
            return Ok(Ended::Finished(summary));
        }
        refuse_full_disk(&out, self.plan.disk, free_disk(&out))?;
        std::fs::create_dir_all(&out).map_err(|source| WriteError::new(&out, 0, source))?;
        self.lock = Some(lock(&out, talk)?);
        let mut dir = self.run_dir(&out)?;
        // Whatever refuses to go on does so here, before anything on disk is another than it was.
        let newest = match &self.resumed {
            Some(begun) => self.newest(&dir, begun)?,
            None => {
                refuse_remains(&out)?;
                None
            }
        };
        for place in [&out, &dir.checkpoints(), &dir.adapter(), &dir.last()] {
            sweep(place);
        }
        let mut record = self.record();
        record.write(&out)?;
        self.keep_prompts(&out)?;
        self.list_rows(&out)?;
        begun(&out);
        dir.record = Some(record.to_json()?);
        let outcome = self.run_loop(&dir, newest.as_ref(), talk, stop);
        // An old checkpoint that could not be removed at its time.
        sweep(&dir.checkpoints());
        let (status, result) = match &outcome {
            Ok(Ended::Finished(summary)) => {
                (RunStatus::Finished, Some(serde_json::to_value(summary)?))
            }
            Ok(Ended::Interrupted { step }) => {
                let peak_memory_bytes = self.peak_memory_bytes();
                let result = json!({ "step": step, "peak_memory_bytes": peak_memory_bytes });
                (RunStatus::Interrupted, Some(result))
            }
            Err(error) => {
                let result = not_finite(error).map(|(step, _)| json!({ NOT_FINITE: step }));
                (RunStatus::Failed, result)
            }
        };
        record.finish(status, result);
        let sealed = match status {
            RunStatus::Finished => record.seal(&out),
            _ => Ok(()),
        };
        let recorded = sealed.and_then(|()| record.write(&out));
        // The reason a run failed matters more than that it could not be written down.
        let ended = outcome.map_err(|error| self.explain(error))?;
        recorded?;
        Ok(ended)
    }

    /// The most memory that this process, or one before it, had at once.
    fn peak_memory_bytes(&self) -> u64 {
        let before = self.resumed.as_ref().and_then(|run| run.result.as_ref());
        let before = before.and_then(|result| result["peak_memory_bytes"].as_u64());
        peak_memory_bytes().max(before.unwrap_or(0))
    }

    /// An error with the rows it is about, and the tensor of the base where that is to blame.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        // Only a first step is computed with an adapter that changes nothing.
        let first = not_finite(&error).filter(|(step, _)| *step == 1);
        let rows = first.map_or(&[] as &[usize], |(_, rows)| rows);
        let examples = self.dataset.train.iter();
        let mut ids = examples.filter(|example| rows.contains(&example.row));
        let cause = ids
            .next()
            .map(|example| self.model.why_not_finite(&example.ids));
        name_rows(error, &self.dataset, cause.and_then(Result::ok))
    }

    /// Where it leaves what, and what goes into the files.
    fn run_dir(&self, out: &Path) -> Result<RunDir> {
        let mut dir = RunDir::new(out, self.plan.identity.clone(), self.provenance());
        dir.save_dtype = self.plan.settings.save_dtype.value;
        dir.beside = self.open.files_beside_an_adapter()?;
        Ok(dir)
    }

    /// What the newest intact checkpoint says, if the run has come as far as to one. A run that had one and has none is not
    /// begun again over what it left.
    fn newest(&self, dir: &RunDir, begun: &RunRecord) -> Result<Option<Note>> {
        let out = &self.plan.settings.out.value;
        let now = RunRecord::read(out).map(|record| record.status);
        if begun.status != RunStatus::Finished && now.is_ok_and(|now| now == RunStatus::Finished) {
            let what = format!(
                "another process has just finished the run in {}",
                out.display()
            );
            return Err(Refusal::failed(what)
                .hint("the same command again shows what came of it")
                .into());
        }
        let path = dir.checkpoints();
        let (newest, damaged) = Checkpoint::newest(&path).map_err(TrainError::from)?;
        if let Some(checkpoint) = newest {
            checkpoint.note.refuse_other(dir, &self.plan.training)?;
            return Ok(Some(checkpoint.note));
        }
        if let Some(error) = damaged.first() {
            let reason = error.to_string();
            return Err(TrainError::NoIntactCheckpoint { path, reason }.into());
        }
        let saved = read_events::<Event>(&out.join(EVENTS))?.rows;
        let saved = saved
            .iter()
            .any(|event| matches!(event, Event::Saved { .. }));
        if !saved && !matches!(begun.status, RunStatus::Finished | RunStatus::Interrupted) {
            return Ok(None);
        }
        let lost = self.remarks.iter().map(|remark| format!("{remark}, and "));
        let what = format!(
            "{}the checkpoints that the run could go on from are gone: {} has none",
            lost.collect::<String>(),
            path.display()
        );
        Err(Refusal::failed(what)
            .hint("put them back, or begin again with another --out")
            .hint(format!("what is in {} stays as it is", out.display()))
            .into())
    }

    /// The log, with what happened up to the checkpoint and nothing else. What is missing of that is made up for or told of.
    fn open_log(&self, newest: Option<&Note>, talk: Talk) -> Result<EventLog> {
        let path = self.plan.settings.out.value.join(EVENTS);
        let mut log = EventLog::open(&path)?;
        let retained = log.retain(|event| is_before(event, newest))?;
        if let Some(aside) = &retained.aside {
            talk.warn(format!(
                "{} of {} could not be read and left out; the file as it was is {}",
                plural(retained.damaged.len(), "line"),
                path.display(),
                aside.display()
            ));
        }
        if !self.changes.is_empty() {
            let step = newest.map_or(0, |note| note.step);
            let changed = self.changes.clone();
            log.append(&Event::Resumed(Resumed { step, changed }))?;
        }
        let Some(note) = newest else {
            log.sync()?;
            return Ok(log);
        };
        let events = read_events::<Event>(&path)?.rows;
        let missing = missing_steps(&events, note.step);
        if !missing.is_empty() {
            talk.warn(format!(
                "{} has nothing of {missing}, which the run has taken: the curves of the report leave it out",
                path.display()
            ));
        }
        // A kill between a checkpoint and its event.
        let step = note.step;
        let is_told = |event: &Event| matches!(event, Event::Saved { step: told } if *told == step);
        if !events.iter().any(is_told) {
            log.append(&Event::Saved { step })?;
        }
        log.sync()?;
        Ok(log)
    }

    fn run_loop(
        &mut self,
        dir: &RunDir,
        newest: Option<&Note>,
        talk: Talk,
        stop: &StopSignal,
    ) -> Result<Ended> {
        self.list_skipped(&self.plan.settings.out.value)?;
        let log = self.open_log(newest, talk)?;
        let is_resumed = self.resumed.is_some();
        let first_step = newest.map_or(0, |note| note.step);
        let training = &self.plan.training;
        let (steps, eval_every) = (training.steps, training.eval_every);
        let mut observer = RunObserver {
            log,
            base: (&self.open.weights, &self.fingerprint),
            line: LivingLine::start(talk, first_step, steps, eval_every),
            untimed: Some(&self.plan).filter(|plan| !is_resumed && !plan.is_timed()),
        };
        let outcome = train(
            &mut self.model,
            data(&self.dataset),
            &self.plan.training,
            dir,
            is_resumed,
            &mut observer,
            stop,
        );
        observer.line.finish();
        match outcome? {
            Outcome::Interrupted { step } => Ok(Ended::Interrupted { step }),
            Outcome::Finished(finished) => {
                if finished.damaged > 0 {
                    talk.warn(format!(
                        "passed over: {}; the run went on from an older one",
                        plural(finished.damaged, "damaged checkpoint")
                    ));
                }
                let peak = self.peak_memory_bytes();
                let mut summary = summary(&finished, dir.adapter(), peak);
                if finished.steps < steps {
                    summary.stopped_early = self.why_stopped_early()?;
                }
                Ok(Ended::Finished(summary))
            }
        }
    }

    /// What the log says of a run that did not take all its steps.
    fn why_stopped_early(&self) -> Result<Option<String>> {
        let events = read_events::<Event>(&self.plan.settings.out.value.join(EVENTS))?.rows;
        let mut told = events.iter().rev();
        let why = told.find_map(|event| match event {
            Event::StoppedEarly(stopped) => Some(stopped.to_string()),
            _ => None,
        });
        let lost = || "stopped early, as validations were no better".to_owned();
        Ok(Some(why.unwrap_or_else(lost)))
    }

    /// Every row that is not used, with its reason, in a file beside the results.
    fn list_skipped(&self, out: &Path) -> Result<()> {
        let lines = self.dataset.skipped();
        if lines.is_empty() {
            return Ok(());
        }
        Ok(hone_ledger::write_whole(
            &out.join(SKIPPED),
            (lines.join("\n") + "\n").as_bytes(),
        )?)
    }

    /// Where the rows that are trained on were read, in a file beside the results.
    fn list_rows(&self, out: &Path) -> Result<()> {
        let path = out.join(TRAIN_ROWS);
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        let is_whole = found.lines().count() == self.dataset.train.len();
        if self.resumed.is_some() && is_whole {
            // The same rows, named as they were when the run began.
            return Ok(());
        }
        let mut lines = String::new();
        for example in &self.dataset.train {
            let source = self.dataset.records[example.row].source.to_string();
            // A name may hold whatever it likes, but a row has one line.
            lines.push_str(&source.replace(['\n', '\r'], " "));
            lines.push('\n');
        }
        Ok(hone_ledger::write_whole(&path, lines.as_bytes())?)
    }

    /// The prompts of the training set, in a file beside the results.
    fn keep_prompts(&self, out: &Path) -> Result<()> {
        let trained = &self.dataset.records[..self.dataset.num_train];
        let prompts = TrainedPrompts::of(trained).to_bytes();
        Ok(hone_ledger::write_whole(
            &out.join(TRAINED_PROMPTS),
            &prompts,
        )?)
    }

    fn provenance(&self) -> Provenance {
        let asked = &self.plan.settings.model.value;
        // Others know a model by its name; a path of this machine would tell them nothing.
        let is_path = Path::new(asked).exists();
        Provenance {
            base_name: (!is_path).then(|| asked.clone()),
            base_fingerprint: Some(self.fingerprint.to_string()),
            template_hash: Some(self.open.renderer.template_hash().to_string()),
            template_date: self.open.printed_date().map(|date| date.to_string()),
            run: Some(self.plan.identity.clone()),
        }
    }

    fn record(&self) -> RunRecord {
        let renderer = &self.open.renderer;
        let mut record = RunRecord {
            hone: env!("CARGO_PKG_VERSION").into(),
            status: RunStatus::Running,
            started_unix: now_unix(),
            finished_unix: None,
            asked: self.asked.clone(),
            plan: self.plan.lines(),
            training: self.plan.training.clone(),
            identity: self.plan.identity.clone(),
            base: json!({
                "name": self.open.base.name,
                "path": self.open.base.path.display().to_string(),
                "fingerprint": self.fingerprint,
                "formats": self.open.weights.format_summary(),
            }),
            text: json!({
                "tokenizer": renderer.tokenizer().hash(),
                "template": renderer.template_hash(),
                "template_origin": self.open.form.to_string(),
                "template_options": self.open.form.options(),
                "template_date": self.open.printed_date().map(|date| date.to_string()),
            }),
            data: self.dataset.summary(),
            machine: json!({
                "threads": self.plan.settings.threads.value,
                "system": std::env::consts::OS,
                "architecture": std::env::consts::ARCH,
            }),
            result: None,
            adapters: BTreeMap::new(),
        };
        if let Some(begun) = &self.resumed {
            record.started_unix = begun.started_unix;
            record.plan = begun.plan.clone();
        }
        record
    }
}

/// Whoever hears of a run's events: the log first, then the person.
struct RunObserver<'a> {
    log: EventLog,
    line: LivingLine,
    /// What is trained on, and its fingerprint as it was at the beginning.
    base: (&'a BaseWeights, &'a ContentId),
    /// A plan that does not know yet how long it takes.
    untimed: Option<&'a TrainPlan>,
}

impl Sink for RunObserver<'_> {
    fn emit(&mut self, event: &Event) -> Result<(), Box<dyn Error + Send + Sync>> {
        let (base, fingerprint) = self.base;
        if !matches!(event, Event::Saved { .. }) {
            base.check_unchanged(Some(fingerprint))?;
        }
        self.log.append(event)?;
        match event {
            Event::Stepped(stepped) => {
                if let Some(plan) = self.untimed.take() {
                    let time = plan.time_at(stepped.seconds);
                    self.line.say(&format!("  time  {time}  (measured)"));
                }
                self.line.tell(Moment {
                    step: stepped.step,
                    loss: stepped.loss,
                    supervised_tokens: stepped.supervised_tokens,
                    tokens: stepped.tokens as u64,
                    seconds: stepped.seconds,
                    memory_bytes: memory_bytes(),
                });
            }
            Event::Validated(look) => {
                self.line.count_look(look.seconds);
                let line = match (look.step, look.best) {
                    (0, _) => format!("validation before the first step: {:.4}", look.loss),
                    (step, true) => format!(
                        "validation after step {step}: {:.4}, the best so far",
                        look.loss
                    ),
                    (step, false) => format!("validation after step {step}: {:.4}", look.loss),
                };
                let moved = look.divergence.filter(|_| look.step > 0);
                let moved = moved.map_or(String::new(), |kl| format!("; KL from the base {kl:.4}"));
                self.line.say(&(line + &moved));
                self.line.show_divergence(look.divergence);
            }
            Event::StoppedEarly(stopped) => self.line.say(&stopped.to_string()),
            Event::Saved { .. } => self.log.sync()?,
            Event::Resumed(_) => {}
        }
        Ok(())
    }

    fn validating(&mut self, _: usize, done: usize, total: usize) {
        self.line.tell_of_look(done, total);
    }
}

/// The right to write in a run's directory.
fn lock(out: &Path, talk: Talk) -> Result<Lock> {
    let lock = Lock::take(&out.join(RUN_LOCK), out, "hone train")?;
    if !lock.is_kept() {
        talk.warn(unlocked(out));
    }
    Ok(lock)
}

/// An hour in, a full disk costs the hour.
fn refuse_full_disk(out: &Path, needed: Size, free: Option<Size>) -> Result<(), Refusal> {
    match free {
        Some(free) if free.bytes < needed.bytes => Err(Refusal::failed(format!(
            "this run writes about {needed} to {}, where {free} is free",
            out.display()
        ))
        .hint("make room, or choose an --out on another disk")),
        _ => Ok(()),
    }
}

/// Whether an event came before the checkpoint, and not with a validation that is still due. That options changed stays on
/// record wherever the run goes on from.
fn is_before(event: &Event, newest: Option<&Note>) -> bool {
    if matches!(event, Event::Resumed(_)) {
        return true;
    }
    let Some(note) = newest else { return false };
    let step = event.step();
    let is_due = |due: &Due| match due {
        Due::Unchanged => step == 0,
        Due::Changed => step == note.step,
    };
    let is_validation = matches!(event, Event::Validated(_));
    step <= note.step && !(is_validation && note.due.iter().any(is_due))
}

/// The steps up to `last` of which there is no event, as in `steps 1 to 14 and 16`; empty if there are all.
pub(super) fn missing_steps(events: &[Event], last: usize) -> String {
    let told: BTreeSet<usize> = events
        .iter()
        .filter(|event| matches!(event, Event::Stepped(_)))
        .map(Event::step)
        .collect();
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for step in (1..=last).filter(|step| !told.contains(step)) {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == step => *end = step,
            _ => ranges.push((step, step)),
        }
    }
    let text = |(first, end): &(usize, usize)| match first == end {
        true => first.to_string(),
        false => format!("{first} to {end}"),
    };
    match &ranges[..] {
        [] => String::new(),
        [(first, end)] if first == end => format!("step {first}"),
        [ranges @ .., last] if !ranges.is_empty() => {
            let ranges: Vec<String> = ranges.iter().map(text).collect();
            format!("steps {} and {}", ranges.join(", "), text(last))
        }
        [range, ..] => format!("steps {}", text(range)),
    }
}

fn summary(finished: &Finished, adapter: PathBuf, peak_memory_bytes: u64) -> Summary {
    let totals = &finished.totals;
    let seconds = totals.seconds.max(1e-9);
    Summary {
        steps: finished.steps,
        tokens: totals.tokens,
        supervised_tokens: totals.supervised_tokens,
        examples_per_second: totals.examples as f64 / seconds,
        tokens_per_second: totals.tokens as f64 / seconds,
        seconds: totals.seconds,
        validation_seconds: totals.validation_seconds,
        peak_memory_bytes,
        train_loss: totals.train_loss(),
        valid_loss_first: totals.valid_loss_first,
        valid_loss_best: totals.valid_loss_best,
        best_step: totals.best_step,
        divergence: totals.divergence,
        stopped_early: None,
        adapter,
    }
}

/// The step whose numbers were not finite, and the rows of it, if that is what ended a run.
fn not_finite(error: &anyhow::Error) -> Option<(usize, &[usize])> {
    match error.downcast_ref::<TrainError>()? {
        TrainError::NonFiniteLoss { step, rows } | TrainError::NonFiniteGradient { step, rows } => {
            Some((*step, rows))
        }
        _ => None,
    }
}

/// Rows of an error by file and line, as the user knows them, and why numbers are not finite, if a weight is to blame.
fn name_rows(error: anyhow::Error, dataset: &Dataset, cause: Option<NotFinite>) -> anyhow::Error {
    let Some((step, rows)) = not_finite(&error) else {
        return error;
    };
    let error = error.downcast_ref::<TrainError>();
    let why = cause.as_ref();
    let why = why.map_or(String::new(), |cause| format!(": {cause}"));
    let what = match error {
        Some(TrainError::NonFiniteLoss { .. }) => "loss",
        _ => "gradient",
    };
    let sources: Vec<String> = rows
        .iter()
        .map(|&row| dataset.records[row].source.to_string())
        .collect();
    let named = format!(
        "the {what} of step {step} is not finite{why}; its rows are {}",
        sources.join(", ")
    );
    let hints = match cause {
        Some(cause @ NotFinite::Base { .. }) => cause.hints(),
        _ => error.map_or(vec![], TrainError::hints),
    };
    hints
        .into_iter()
        .fold(Refusal::failed(named), Refusal::hint)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_train::Stepped;

    #[test]
    fn a_disk_that_is_too_full_is_refused_before_anything_is_written() {
        let size = |bytes| Size { bytes };
        let out = Path::new("runs/one");
        let error = refuse_full_disk(out, size(300_000_000), Some(size(20_000_000))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this run writes about 300 MB to runs/one, where 20 MB is free"
        );
        refuse_full_disk(out, size(300), Some(size(300))).unwrap();
        refuse_full_disk(out, size(300), None).unwrap();
    }
    #[test]
    fn steps_without_an_event_are_told_in_ranges() {
        let stepped = |step| {
            Event::Stepped(Stepped {
                step,
                epoch: 0,
                loss: 1.0,
                lr: 0.1,
                grad_norm: 1.0,
                examples: 1,
                tokens: 1,
                supervised_tokens: 1,
                seconds: 0.0,
                peak_bytes: 0,
            })
        };
        let missing = |told: &[usize], last| {
            let events: Vec<Event> = told.iter().map(|&step| stepped(step)).collect();
            missing_steps(&events, last)
        };
        assert_eq!(missing(&[1, 2], 2), "");
        assert_eq!(missing(&[1, 3], 3), "step 2");
        assert_eq!(missing(&[], 3), "steps 1 to 3");
        assert_eq!(missing(&[3, 5], 8), "steps 1 to 2, 4 and 6 to 8");
    }
}
