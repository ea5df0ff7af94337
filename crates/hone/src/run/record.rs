//! `run.json`: what a run was asked, what it decided, what it stood on, and how it ended.
//!
//! It is written before the first step and again at the end, whole each time, so a directory with a `run.json` says what
//! is in it even after a crash. Every checkpoint holds a copy of it.

use crate::plan::{OptionInfo, PlanLine, RawTrain, TrainPlan};
use crate::refusal::Refusal;
use anyhow::{Context, Result, anyhow, ensure};
use hone_ledger::{ContentId, RunStatus, write_whole};
use hone_train::{Checkpoint, ROW_LOSSES, RunIdentity, TrainingPlan};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The name of the file in a run's directory.
pub const RUN_JSON: &str = "run.json";

/// The file in a run's directory that its one writer has locked.
pub const RUN_LOCK: &str = "run.lock";

/// The directory of checkpoints in a run's directory.
const CHECKPOINTS: &str = "checkpoints";

/// The first thing in `dir` that only a run leaves there, if there is one. A run that was killed before it wrote anything
/// down leaves nothing that is of use.
pub fn has_remains(dir: &Path) -> Option<&'static str> {
    // A link is something that is there, whether it leads somewhere or not.
    let found = |name: &str| dir.join(name).symlink_metadata();
    let holds = |name: &&str| match *name {
        "events.jsonl" => found(name).is_ok_and(|found| found.len() > 0),
        name => found(name).is_ok(),
    };
    let names = [RUN_JSON, "events.jsonl", "adapter", "last", CHECKPOINTS];
    names.into_iter().find(holds)
}

/// The first thing in `dir` that a run would write over, if there is one: a report or a list that is none of its own.
pub fn has_others(dir: &Path) -> Option<&'static str> {
    let names = [
        super::REPORT,
        super::SKIPPED,
        super::TRAINED_PROMPTS,
        super::TRAIN_ROWS,
        ROW_LOSSES,
        super::DIAGNOSIS[0],
        super::DIAGNOSIS[1],
    ];
    let mut names = names
        .into_iter()
        .filter(|name| dir.join(name).symlink_metadata().is_ok());
    names.next()
}

/// Everything there is to know about a run but its numbers over time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of Hone.
    pub hone: String,
    /// How it stands.
    pub status: RunStatus,
    /// When it began, in seconds since 1970.
    pub started_unix: i64,
    /// When it ended.
    pub finished_unix: Option<i64>,
    /// What was asked, in the words of the flags; `--resume` asks the same again.
    pub asked: RawTrain,
    /// The plan as it was shown.
    pub plan: Vec<PlanLine>,
    /// The numbers of the training loop.
    pub training: TrainingPlan,
    /// What a checkpoint of this run belongs to.
    pub identity: String,
    /// The base model: name, path, fingerprint, formats.
    pub base: Value,
    /// Hashes of tokenizer and chat template.
    pub text: Value,
    /// The data: ids, counts, files.
    pub data: Value,
    /// The machine: threads, system.
    pub machine: Value,
    /// The figures at the end.
    pub result: Option<Value>,
    /// The hash of the weights of each adapter that a finished run left.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub adapters: BTreeMap<String, ContentId>,
}

/// The figures of a finished run; with `--json` the last line of stdout.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// How far the last validation found the adapter to have moved its base on prompts: KL(tuned‖base), in nats a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence: Option<f64>,
    /// Why not all steps were taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_early: Option<String>,
    /// Directory of the adapter.
    pub adapter: PathBuf,
}

/// Where `result` says at which step the numbers of a failed run were not finite.
pub const NOT_FINITE: &str = "not_finite_at_step";

/// The adapters of a finished run: the best and the last.
const ADAPTERS: [&str; 2] = ["adapter", "last"];
const WEIGHTS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";

impl RunRecord {
    /// Writes it into the run's directory.
    pub fn write(&self, dir: &Path) -> Result<()> {
        Ok(write_whole(&dir.join(RUN_JSON), &self.to_json()?)?)
    }

    /// As it is written.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads it from a run's directory.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(RUN_JSON);
        // A pipe would be waited at.
        let is_other = fs::metadata(&path).is_ok_and(|found| !found.is_file());
        ensure!(!is_other, "{} is not a file", path.display());
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is not the record of a run", path.display()))
    }

    /// The record of the run in `dir`. Where it is missing or damaged, the copy in the newest checkpoint takes its place, and
    /// a sentence says so.
    pub fn find(dir: &Path) -> Result<(Self, Option<String>)> {
        let error = match Self::read(dir) {
            Ok(record) => match record.altered(dir) {
                None => return Ok((record, None)),
                Some(error) => error,
            },
            Err(error) => error,
        };
        if has_remains(dir).is_none() {
            let what = format!("there is no run to resume in {}", dir.display());
            return Err(Refusal::usage(what)
                .hint("`hone runs` lists the runs of this machine and their directories")
                .hint("to begin one there, leave --resume out and name --model and --data")
                .into());
        }
        let path = dir.join(RUN_JSON);
        let what = match path.exists() {
            true => format!("{error:#}"),
            false => format!("{} is missing", path.display()),
        };
        match Self::copy_in(dir) {
            Some((record, step)) => Ok((
                record,
                Some(format!("{what}; the copy in the checkpoint of step {step} takes its place")),
            )),
            None => Err(Refusal::usage(format!(
                "{what}, and no intact checkpoint holds a copy of it: the run in {} cannot be continued",
                dir.display()
            ))
            .hint("begin again with another --out; what is left of this run stays as it is")
            .into()),
        }
    }

    /// The copy in the newest intact checkpoint of the run in `dir`, and the checkpoint's step.
    fn copy_in(dir: &Path) -> Option<(Self, usize)> {
        let (newest, _) = Checkpoint::newest(&dir.join(CHECKPOINTS)).ok()?;
        let newest = newest?;
        let record = serde_json::from_slice(&newest.record?).ok()?;
        Some((record, newest.note.step))
    }

    /// What is wrong with a record that can be read, and says other options or numbers of its run than the copy in the newest
    /// checkpoint of the same run does: nothing of them changes as long as a run goes on.
    fn altered(&self, dir: &Path) -> Option<anyhow::Error> {
        let is_done = self.status == RunStatus::Finished;
        let (copy, _) =
            Self::copy_in(dir).filter(|(copy, _)| !is_done && copy.identity == self.identity)?;
        let fixed = |record: &Self| -> Option<Map<String, Value>> {
            let mut asked = match serde_json::to_value(&record.asked).ok()? {
                Value::Object(asked) => asked,
                _ => return None,
            };
            asked.retain(|name, _| name != "out" && !OptionInfo::may_change(name));
            Some(asked)
        };
        let parts = [
            (
                "training",
                RunIdentity::counted(&self.training) != RunIdentity::counted(&copy.training),
            ),
            ("asked", fixed(self) != fixed(&copy)),
        ];
        let (part, _) = parts.into_iter().find(|(_, is_other)| *is_other)?;
        let path = dir.join(RUN_JSON);
        Some(anyhow!(
            "{} is damaged: its part `{part}` is not that of this run",
            path.display()
        ))
    }

    /// Takes down the adapters of a finished run.
    pub fn seal(&mut self, dir: &Path) -> Result<()> {
        for name in ADAPTERS {
            let id = ContentId::of_file(&dir.join(name).join(WEIGHTS))?;
            self.adapters.insert(name.to_owned(), id);
        }
        Ok(())
    }

    /// What of its adapters is not as a finished run left it, a sentence each.
    pub fn lost(&self, dir: &Path) -> Vec<String> {
        let lost = |name: &str| {
            let (weights, config) = (dir.join(name).join(WEIGHTS), dir.join(name).join(CONFIG));
            let is_config = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).is_ok();
            match (ContentId::of_file(&weights), fs::read(&config)) {
                (Err(_), _) => Some(format!("{} is missing", weights.display())),
                (_, Err(_)) => Some(format!("{} is missing", config.display())),
                (Ok(id), _) if self.adapters.get(name).is_some_and(|left| *left != id) => {
                    Some(format!("{} is damaged", weights.display()))
                }
                (_, Ok(bytes)) if !is_config(&bytes) => {
                    Some(format!("{} is damaged", config.display()))
                }
                _ => None,
            }
        };
        ADAPTERS.into_iter().filter_map(lost).collect()
    }

    /// Marks its end.
    pub fn finish(&mut self, status: RunStatus, result: Option<Value>) {
        self.status = status;
        self.finished_unix = Some(now_unix());
        self.result = result;
    }

    /// The figures of a run whose steps were all taken; `dir` is where it is now.
    pub fn summary(&self, dir: &Path) -> Option<Summary> {
        let result = self
            .result
            .as_ref()
            .filter(|_| self.status == RunStatus::Finished)?;
        let summary: Summary = serde_json::from_value(result.clone()).ok()?;
        Some(Summary {
            adapter: dir.join("adapter"),
            ..summary
        })
    }

    /// The step that a run ended at because its numbers were not finite: it would end there again.
    pub fn ended_not_finite(&self) -> Option<u64> {
        self.result.as_ref()?[NOT_FINITE].as_u64()
    }

    /// Takes over what a plan decided.
    pub fn set_plan(&mut self, plan: &TrainPlan) {
        self.plan = plan.lines();
        self.training = plan.training.clone();
        self.identity = plan.identity.clone();
    }
}

/// Seconds since 1970.
pub fn now_unix() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs() as i64)
}
