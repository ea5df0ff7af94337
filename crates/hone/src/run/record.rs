//! `run.json`: what a run was asked, what it decided, what it stood on, and how it ended.
//!
//! It is written before the first step and again at the end, whole each time, so a directory with a `run.json` says what
//! is in it even after a crash.

use super::start::Summary;
use crate::plan::{PlanLine, RawTrain, TrainPlan};
use anyhow::{Context, Result};
use hone_ledger::{RunStatus, write_whole};
use hone_train::TrainingPlan;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The name of the file in a run's directory.
pub const RUN_JSON: &str = "run.json";

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
}

impl RunRecord {
    /// Writes it into the run's directory.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        Ok(write_whole(
            &dir.join(RUN_JSON),
            format!("{text}\n").as_bytes(),
        )?)
    }

    /// Reads it from a run's directory.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(RUN_JSON);
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is not the record of a run", path.display()))
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
