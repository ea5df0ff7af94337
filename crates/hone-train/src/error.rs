//! Why a run ends early, and what to do next.

use std::error::Error;
use std::path::PathBuf;

use hone_ledger::WriteError;
use hone_model::PeftError;
use hone_tensor::TensorError;

use crate::checkpoint::CheckpointError;
use crate::optimizer::{OptimizerError, OptimizerKind};
use crate::setting::SettingError;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// No adapter on the model.
    #[error("the model has no adapter to train")]
    NoAdapter,
    /// Nothing to learn from.
    #[error("there are no examples to train on")]
    NoExamples,
    /// A token that the model does not know.
    #[error(
        "row {row} has token {id}, and the model knows {vocab_size}; tokenizer and weights do not belong together"
    )]
    UnknownToken {
        /// Row of the data.
        row: usize,
        /// The token.
        id: u32,
        /// How many the model knows.
        vocab_size: usize,
    },
    /// An example that was put together wrongly.
    #[error("row {row} must have {what}")]
    Malformed {
        /// Row of the data.
        row: usize,
        /// What it lacks.
        what: &'static str,
    },
    /// A sequence longer than the model was loaded for.
    #[error("row {row} has {tokens} tokens, and the model was loaded for {limit}")]
    TooLong {
        /// Row of the data.
        row: usize,
        /// Its tokens.
        tokens: usize,
        /// What the model takes.
        limit: usize,
    },
    /// The loss became infinite or not a number.
    #[error(
        "the loss of step {step} is not finite; its examples are rows {}",
        list(rows)
    )]
    NonFiniteLoss {
        /// Counted from 1.
        step: usize,
        /// Rows of the data in the micro-batch at fault.
        rows: Vec<usize>,
    },
    /// The gradient became infinite or not a number.
    #[error(
        "the gradient of step {step} is not finite; its examples are rows {}",
        list(rows)
    )]
    NonFiniteGradient {
        /// Counted from 1.
        step: usize,
        /// Rows of the data in the step.
        rows: Vec<usize>,
    },
    /// A step made parameters infinite or not a number.
    #[error("step {step} made parameters that are not finite: its learning rate {lr} is too high")]
    NonFiniteParameters {
        /// Counted from 1.
        step: usize,
        /// Its rate.
        lr: f32,
    },
    /// A setting that no run can have.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The optimizer cannot be made or used.
    #[error(transparent)]
    Optimizer(OptimizerError),
    /// The adapter was attached without what it starts from.
    #[error(
        "the adapter is to be initialised from its base's singular vectors, and was attached without them"
    )]
    NotInitialized,
    /// The checkpoint belongs to another run.
    #[error("the checkpoint in `{}` was made with other data, another base or another plan", path.display())]
    OtherRun {
        /// Where.
        path: PathBuf,
    },
    /// The checkpoint's moments are of another kind.
    #[error("the checkpoint in `{}` was made with {made_with}, whose state {asked} cannot use", path.display())]
    OtherOptimizer {
        /// Where.
        path: PathBuf,
        /// What made it.
        made_with: OptimizerKind,
        /// What was to go on from it.
        asked: OptimizerKind,
    },
    /// Every checkpoint is damaged.
    #[error("no checkpoint in `{}` is intact: {reason}", path.display())]
    NoIntactCheckpoint {
        /// Where.
        path: PathBuf,
        /// What is wrong with the newest.
        reason: String,
    },
    /// Checkpoints cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The losses of rows cannot be written.
    #[error(transparent)]
    RowLosses(#[from] WriteError),
    /// The adapter cannot be written.
    #[error(transparent)]
    Adapter(#[from] PeftError),
    /// Whoever takes note cannot, or finds that the run is not worth going on with.
    #[error("{0}")]
    Sink(#[source] Box<dyn Error + Send + Sync>),
    /// The device failed.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl From<OptimizerError> for TrainError {
    fn from(error: OptimizerError) -> Self {
        match error {
            OptimizerError::Setting(error) => Self::Setting(error),
            OptimizerError::Tensor(error) => Self::Tensor(error),
            other => Self::Optimizer(other),
        }
    }
}

impl TrainError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            // The first step is computed with the adapter as it began, which changes nothing.
            Self::NonFiniteLoss { step: 1, .. } => vec![
                "nothing was trained before it, so the base itself gives no finite number for these rows: look at them, and fetch the base again if `hone generate` fails too".into(),
            ],
            Self::NonFiniteLoss { .. }
            | Self::NonFiniteGradient { .. }
            | Self::NonFiniteParameters { .. } => vec![
                "begin again with a lower --lr, a longer --warmup-ratio or --clip 0.3, and a new --out; look at the rows too".into(),
                "--resume keeps the options, so it would end here again".into(),
            ],
            Self::OtherRun { .. } => vec![
                "put data, base and checkpoints back as they were when the run began, or begin another one with a new --out".into(),
            ],
            Self::UnknownToken { .. } => {
                vec!["fetch tokenizer and weights again, both from one place".into()]
            }
            Self::OtherOptimizer { made_with, .. } => vec![format!(
                "--optimizer {made_with} continues it; a new --out starts again"
            )],
            Self::NotInitialized => vec!["attach it with `Model::init_and_attach`".into()],
            Self::NoIntactCheckpoint { .. } => vec!["start again with a new --out".into()],
            Self::Adapter(error) => error.hints(),
            _ => vec![],
        }
    }
}

fn list(rows: &[usize]) -> String {
    rows.iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
