//! A prepared run, run: every event to the file and the living line, every end recorded.

use super::prepare::{Prepared, data};
use super::record::{RunRecord, now_unix};
use crate::dataset::Dataset;
use crate::machine::{free_disk, memory_bytes, peak_memory_bytes};
use crate::plan::{Size, TrainPlan};
use crate::refusal::Refusal;
use crate::screen::{LivingLine, Moment, Talk};
use anyhow::{Context, Result};
use hone_ledger::{ContentId, EventLog, RunStatus};
use hone_model::Provenance;
use hone_text::TemplateOrigin;
use hone_train::{Checkpoint, Event, Finished, Outcome, RunDir, Sink, TrainError, train};
use serde_json::{Value, json};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// The name of the event log in a run's directory.
pub const EVENTS: &str = "events.jsonl";

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
#[derive(Debug, Clone, serde::Serialize)]
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
    /// The most memory the process had at once.
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
    /// Trains. What is on disk afterwards says how it ended, whatever happens.
    pub fn start(&mut self, talk: Talk, stop: &AtomicBool) -> Result<Ended> {
        let out = self.plan.settings.out.value.clone();
        refuse_full_disk(&out, self.plan.disk, free_disk(&out))?;
        std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
        self.list_set_aside(&out)?;
        let mut record = self.record();
        record.write(&out)?;
        let outcome = self.run_loop(&out, talk, stop);
        let (status, result) = match &outcome {
            Ok(Ended::Finished(summary)) => {
                (RunStatus::Finished, Some(serde_json::to_value(summary)?))
            }
            Ok(Ended::Interrupted { step }) => {
                (RunStatus::Interrupted, Some(json!({ "step": step })))
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

    fn run_loop(&mut self, out: &Path, talk: Talk, stop: &AtomicBool) -> Result<Ended> {
        let mut dir = RunDir::new(out, self.plan.identity.clone(), self.provenance());
        dir.save_dtype = self.plan.save_dtype();
        dir.beside = self.open.files_beside_an_adapter()?;
        let is_resumed = self.resumed.is_some();
        let first_step = if is_resumed { step_of_newest(&dir)? } else { 0 };
        let mut log = EventLog::open(&out.join(EVENTS))?;
        log.truncate_after(|event| is_resumed && first_step > 0 && is_before(event, first_step))?;

        let steps = self.plan.training.steps;
        let mut witness = Witness {
            log,
            line: LivingLine::start(talk, first_step, steps),
            tokens: 0,
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
                        "{} damaged checkpoint(s) were passed over",
                        finished.damaged
                    ));
                }
                Ok(Ended::Finished(summary(&finished, dir.adapter())))
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
            run: Some(self.plan.identity.clone()),
        }
    }

    fn record(&self) -> RunRecord {
        let renderer = &self.open.renderer;
        let template_origin = match renderer.template_origin() {
            TemplateOrigin::Model => "model",
            TemplateOrigin::Fallback => "none in the model: Instruction/Response form",
        };
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
                "template_origin": template_origin,
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
    tokens: u64,
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
                self.tokens += stepped.tokens as u64;
                let (step, loss, tokens) = (stepped.step, stepped.loss, self.tokens);
                self.line.tell(Moment {
                    step,
                    loss,
                    tokens,
                    memory_bytes: memory_bytes(),
                });
            }
            Event::Validated(look) => {
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

/// Steps of the newest intact checkpoint.
fn step_of_newest(dir: &RunDir) -> Result<usize> {
    let (newest, _) = Checkpoint::newest(&dir.checkpoints())?;
    Ok(newest.map_or(0, |checkpoint| checkpoint.note.step))
}

fn is_before(event: &Value, first_step: usize) -> bool {
    event["step"]
        .as_u64()
        .is_some_and(|step| step <= first_step as u64)
}

fn summary(finished: &Finished, adapter: PathBuf) -> Summary {
    let totals = &finished.totals;
    let seconds = totals.seconds.max(1e-9);
    Summary {
        steps: finished.steps,
        tokens: totals.tokens,
        supervised_tokens: totals.supervised_tokens,
        examples_per_second: totals.examples as f64 / seconds,
        tokens_per_second: totals.tokens as f64 / seconds,
        seconds: totals.seconds,
        peak_memory_bytes: peak_memory_bytes(),
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
