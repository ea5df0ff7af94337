//! What a run says about itself while it goes: one enum, one sink.

use std::error::Error;
use std::fmt;

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
    /// The run ended before its last step, because validations were no better.
    StoppedEarly(StoppedEarly),
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
            Self::StoppedEarly(stopped) => stopped.step,
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
    /// Rows that were evaluated.
    #[serde(default)]
    pub rows: usize,
    /// How far the next-token distributions of prompts are from the base's: the mean of `Σ p ln(p / q)`, in nats a token.
    #[serde(default)]
    pub divergence: Option<f64>,
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

/// Why a run ended before its last step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoppedEarly {
    /// Steps taken.
    pub step: usize,
    /// Validations in a row that were no better.
    pub waited: usize,
    /// By more than this a loss had to be lower to be better.
    pub min_improvement: f64,
    /// The loss that they were compared with.
    pub to_beat: f64,
    /// Steps taken when validation loss was lowest; the adapter kept is of then.
    pub best_step: usize,
    /// That loss.
    pub best_loss: f64,
}

impl fmt::Display for StoppedEarly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            step,
            waited,
            min_improvement: least,
            best_step,
            best_loss,
            to_beat,
        } = self;
        let by = match *least {
            0.0 => String::new(),
            least => format!(" by more than {least}"),
        };
        let (validations, were) = match waited {
            1 => ("the last validation", "was"),
            _ => ("the last validations", "were"),
        };
        write!(
            f,
            "stopped early after step {step}: {validations} ({waited}) {were} not below {to_beat:.4}{by}; the adapter kept is that of step {best_step}, {best_loss:.4}"
        )
    }
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

    /// Hears how many rows of a validation are done, of how many: of the base first, where it has to be read, and of the tuned
    /// model then. Nothing is recorded of it.
    fn validating(&mut self, step: usize, done: usize, total: usize) {
        let _ = (step, done, total);
    }
}

impl<F: FnMut(&Event)> Sink for F {
    fn emit(&mut self, event: &Event) -> Result<(), Box<dyn Error + Send + Sync>> {
        self(event);
        Ok(())
    }
}
