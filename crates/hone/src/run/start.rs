//! A prepared run, run: every event to the file and the living line, every end recorded.

use super::prepare::{Prepared, data};
use super::record::{RunRecord, now_unix};
use crate::dataset::Dataset;
use crate::machine::{free_disk, memory_bytes, peak_memory_bytes};
use crate::plan::{Size, TrainPlan};
use crate::refusal::Refusal;
use crate::screen::{LivingLine, Moment, Talk, plural};
use anyhow::{Context, Result};
use hone_ledger::{ContentId, EventError, EventLog, RunStatus};
use hone_model::{Provenance, StopSignal};
use hone_train::{
    Checkpoint, Due, Event, Finished, Note, Outcome, RunDir, Sink, TrainError, train,
};
use serde_json::{Value, json};
use std::error::Error;
use std::path::{Path, PathBuf};

/// The name of the event log in a run's directory.
pub const EVENTS: &str = "events.jsonl";

/// The name of the report in a run's directory.
pub const REPORT: &str = "report.html";

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

/// The figures of a finished run; with `--json` the last line of stdout.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Summary {
    /// Optimiser steps taken.
    pub steps: usize,
    /// Tokens seen.
    pub tokens: u64,
    /// Supervised tokens seen.
    pub supervised_tokens: u64,
    /// Examples over seconds.
    pub examples_per_second: f64,
    /// Tokens over seconds.
    pub tokens_per_second: f64,
    /// Time spent in optimiser steps.
    pub seconds: f64,
    /// Time spent in validations beside them.
    #[serde(default)]
    pub validation_seconds: f64,
    /// The most memory the process had at once; of a resumed run, the most that any of its processes told of.
    pub peak_memory_bytes: u64,
    /// Mean training loss over the run, in nats per supervised token.
    pub train_loss: Option<f64>,
    /// Held-out loss before the first step.
    pub valid_loss_first: Option<f64>,
    /// Lowest held-out loss.
    pub valid_loss_best: Option<f64>,
    /// Steps taken when it was lowest.
    pub best_step: usize,
    /// Directory of the adapter.
    pub adapter: PathBuf,
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
            return Ok(Ended::Finished(summary));
        }
        refuse_full_disk(&out, self.plan.disk, free_disk(&out))?;
        std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
        // From here on the log says that somebody is at work here.
        let log = open_log(&out)?;
        self.list_set_aside(&out)?;
        let mut record = self.record();
        record.write(&out)?;
        begun(&out);
        let outcome = self.run_loop(&out, log, talk, stop);
        let (status, result) = match &outcome {
            Ok(Ended::Finished(summary)) => {
                (RunStatus::Finished, Some(serde_json::to_value(summary)?))
            }
            Ok(Ended::Interrupted { step }) => {
                let peak_memory_bytes = self.peak_memory_bytes();
                let result = json!({ "step": step, "peak_memory_bytes": peak_memory_bytes });
                (RunStatus::Interrupted, Some(result))
            }
            Err(_) => (RunStatus::Failed, None),
        };
        record.finish(status, result);
        let recorded = record.write(&out);
        // The reason a run failed matters more than that it could not be written down.
        let ended = outcome?;
        recorded?;
        Ok(ended)
    }

    /// The most memory that this process, or one before it, had at once.
    fn peak_memory_bytes(&self) -> u64 {
        let before = self.resumed.as_ref().and_then(|run| run.result.as_ref());
        let before = before.and_then(|result| result["peak_memory_bytes"].as_u64());
        peak_memory_bytes().max(before.unwrap_or(0))
    }

    fn run_loop(
        &mut self,
        out: &Path,
        mut log: EventLog,
        talk: Talk,
        stop: &StopSignal,
    ) -> Result<Ended> {
        let mut dir = RunDir::new(out, self.plan.identity.clone(), self.provenance());
        dir.save_dtype = self.plan.save_dtype();
        dir.beside = self.open.files_beside_an_adapter()?;
        let is_resumed = self.resumed.is_some();
        let newest = match is_resumed {
            true => newest(&dir)?,
            false => None,
        };
        let first_step = newest.as_ref().map_or(0, |note| note.step);
        log.truncate_after(|event| newest.as_ref().is_some_and(|note| is_before(event, note)))?;

        let training = &self.plan.training;
        let (steps, eval_every) = (training.steps, training.eval_every);
        let mut witness = Witness {
            log,
            line: LivingLine::start(talk, first_step, steps, eval_every),
            untimed: Some(&self.plan).filter(|plan| !is_resumed && !plan.is_timed()),
        };
        let outcome = train(
            &mut self.model,
            data(&self.dataset),
            &self.plan.training,
            &dir,
            is_resumed,
            &mut witness,
            stop,
        );
        witness.line.finish();
        match outcome.map_err(|error| name_rows(error, &self.dataset))? {
            Outcome::Interrupted { step } => Ok(Ended::Interrupted { step }),
            Outcome::Finished(finished) => {
                if finished.damaged > 0 {
                    talk.say(format!(
                        "passed over: {}; the run went on from an older one",
                        plural(finished.damaged, "damaged checkpoint")
                    ));
                }
                let peak = self.peak_memory_bytes();
                Ok(Ended::Finished(summary(&finished, dir.adapter(), peak)))
            }
        }
    }

    /// Every row that is not used, with its reason, in a file beside the results.
    fn list_set_aside(&self, out: &Path) -> Result<()> {
        let lines = self.dataset.set_aside();
        if lines.is_empty() {
            return Ok(());
        }
        Ok(hone_ledger::write_whole(
            &out.join("set-aside.txt"),
            (lines.join("\n") + "\n").as_bytes(),
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
                "template_origin": self.open.form.origin().to_string(),
                "template_date": self.open.printed_date().map(|date| date.to_string()),
            }),
            data: self.dataset.summary(),
            machine: json!({
                "threads": self.plan.settings.threads.value,
                "system": std::env::consts::OS,
                "architecture": std::env::consts::ARCH,
            }),
            result: None,
        };
        if let Some(begun) = &self.resumed {
            record.started_unix = begun.started_unix;
            record.plan = begun.plan.clone();
        }
        record
    }
}

/// Whoever hears of a run's events: the log first, then the person.
struct Witness<'a> {
    log: EventLog,
    line: LivingLine,
    /// A plan that does not know yet how long it takes.
    untimed: Option<&'a TrainPlan>,
}

impl Sink for Witness<'_> {
    fn emit(&mut self, event: &Event) -> Result<(), Box<dyn Error + Send + Sync>> {
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
                self.line.say(&line);
            }
            Event::Saved { .. } => self.log.sync()?,
        }
        Ok(())
    }
}

/// The run's log, which one process writes at a time.
fn open_log(out: &Path) -> Result<EventLog> {
    EventLog::open(&out.join(EVENTS)).map_err(|error| match error {
        EventError::InUse { .. } => Refusal::usage(format!(
            "another process is at work on the run in {}",
            out.display()
        ))
        .hint("wait until it ends, or choose another --out")
        .into(),
        error => error.into(),
    })
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

/// What the newest intact checkpoint says.
fn newest(dir: &RunDir) -> Result<Option<Note>> {
    let (newest, _) = Checkpoint::newest(&dir.checkpoints())?;
    Ok(newest.map(|checkpoint| checkpoint.note))
}

/// Whether an event came before the checkpoint, and not with a validation that is still due.
fn is_before(event: &Value, note: &Note) -> bool {
    let Some(step) = event["step"].as_u64() else {
        return false;
    };
    let is_due = |due: &Due| match due {
        Due::Unchanged => step == 0,
        Due::Changed => step == note.step as u64,
    };
    let is_validation = event["event"] == "validated";
    step <= note.step as u64 && !(is_validation && note.due.iter().any(is_due))
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
        adapter,
    }
}

/// Rows of an error by file and line, as the user knows them.
fn name_rows(error: TrainError, dataset: &Dataset) -> anyhow::Error {
    let (TrainError::NonFiniteLoss { step, rows } | TrainError::NonFiniteGradient { step, rows }) =
        &error
    else {
        return error.into();
    };
    let what = if matches!(error, TrainError::NonFiniteLoss { .. }) {
        "loss"
    } else {
        "gradient"
    };
    let sources: Vec<String> = rows
        .iter()
        .map(|&row| dataset.records[row].source.to_string())
        .collect();
    let named = format!(
        "the {what} of step {step} is not finite; its rows are {}",
        sources.join(", ")
    );
    error
        .hints()
        .into_iter()
        .fold(Refusal::failed(named), Refusal::hint)
        .into()
}

/// A short name for a run, from when it began and what it is.
pub fn run_id(record: &RunRecord) -> String {
    let whole = format!("{} {}", record.started_unix, record.identity);
    ContentId::of(whole.as_bytes()).short()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
