//! What a run says about itself while it goes: one enum, one sink.

use std::error::Error;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Something that happened; a line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// An optimiser step was taken.
    Stepped(Stepped),
    /// The held-out examples were judged.
    Validated(Validated),
    /// A checkpoint is on disk.
    Saved {
        /// Steps taken before it.
        step: usize,
    },
    /// The run went on with other options than before, none of which changes a number of it.
    Resumed(Resumed),
}

impl Event {
    /// Steps taken before it, itself included.
    pub fn step(&self) -> usize {
        match self {
            Self::Stepped(stepped) => stepped.step,
            Self::Validated(validated) => validated.step,
            Self::Saved { step } => *step,
            Self::Resumed(resumed) => resumed.step,
        }
    }
}

/// One optimiser step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stepped {
    /// Counted from 1.
    pub step: usize,
    /// Epoch it belongs to, counted from 0.
    pub epoch: usize,
    /// Mean over its supervised tokens, in nats, before the step.
    pub loss: f64,
    /// Learning rate.
    pub lr: f32,
    /// Norm of the mean gradient, before clipping.
    pub grad_norm: f64,
    /// Examples in it.
    pub examples: usize,
    /// Tokens in it.
    pub tokens: usize,
    /// Supervised tokens in it.
    pub supervised_tokens: u64,
    /// Time it took.
    pub seconds: f64,
    /// Greatest memory for activations and adapter so far.
    pub peak_bytes: usize,
}

/// One evaluation of the validation set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validated {
    /// Steps taken before it.
    pub step: usize,
    /// Mean over all supervised tokens, in nats.
    pub loss: f64,
    /// Supervised tokens.
    pub tokens: u64,
    /// The same for each task.
    pub tasks: Vec<TaskLoss>,
    /// Whether no earlier one was better.
    pub best: bool,
    /// Time it took.
    pub seconds: f64,
}

/// Held-out loss of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskLoss {
    /// Name.
    pub task: String,
    /// Mean, in nats.
    pub loss: f64,
    /// Supervised tokens.
    pub tokens: u64,
}

/// A run that went on with other options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resumed {
    /// Steps taken before it.
    pub step: usize,
    /// What is another one now.
    pub changed: Vec<Change>,
}

/// An option that is another one than before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Its name.
    pub option: String,
    /// What was asked when the run began, null where nothing was.
    pub from: Value,
    /// What is asked now.
    pub to: Value,
}

/// Whoever listens: a file, a terminal, a test.
pub trait Sink {
    /// Takes note. An error ends the run before anything of the step is saved: a run that cannot be recorded is not worth its time.
    fn emit(&mut self, event: &Event) -> Result<(), Box<dyn Error + Send + Sync>>;
}

impl<F: FnMut(&Event)> Sink for F {
    fn emit(&mut self, event: &Event) -> Result<(), Box<dyn Error + Send + Sync>> {
        self(event);
        Ok(())
    }
}
