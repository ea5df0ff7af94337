//! Why fine-tuning cannot go on, in one type, and what to do next in the words of this library.

use hone_data::{ReadError, Refused};
use hone_ledger::{DirError, LockError, WriteError};
use hone_model::export::ExportError;
use hone_model::weights::WeightsError;
use hone_model::{
    ActiveError, AdapterWeightsError, AttachError, BatchError, GenerateError, InitError, LoadError,
    MergeError, PeftError,
};
use hone_tensor::TensorError;
use hone_text::{RenderError, TokenizerError};
use hone_train::{OptimizerError, SettingError, TrainError};
use std::path::PathBuf;

use crate::base::{AdapterError, BaseError, FilesError, NoHome, OpenError};
use crate::rehearsed::RehearsalError;

/// Why fine-tuning cannot go on; each sentence says what and where, [`FineTuneError::hints`] what next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FineTuneError {
    /// There is no place for fetched models.
    #[error(transparent)]
    Home(#[from] NoHome),
    /// No base of this name.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// The base's files.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Its way into memory.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A configuration that does not fit the base.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// What a fresh adapter starts from.
    #[error(transparent)]
    Init(#[from] InitError),
    /// Adapters that cannot be active together.
    #[error(transparent)]
    Active(#[from] ActiveError),
    /// An adapter would take the place of another.
    #[error("this model has an adapter `{name}` already")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// Training and saving are of one adapter at a time.
    #[error("several adapters are active, or none, so it is not said which one is meant")]
    NotOneAdapter,
    /// Gradients or an optimizer of another adapter.
    #[error("{what} belong to another adapter than the active one")]
    OtherAdapter {
        /// What was given.
        what: &'static str,
    },
    /// The loss of a loop's step became infinite or not a number.
    #[error("the loss of step {step} is not finite")]
    NonFiniteLoss {
        /// Counted from 0.
        step: usize,
    },
    /// A step of a loop that was taken already.
    #[error("step {step} was taken already")]
    StepTaken {
        /// Counted from 0.
        step: usize,
    },
    /// An adapter's files.
    #[error(transparent)]
    Adapter(#[from] PeftError),
    /// An adapter that does not belong on this base.
    #[error(transparent)]
    NotOfThisBase(#[from] AdapterError),
    /// An adapter that cannot be worked into the base.
    #[error(transparent)]
    AdapterWeights(#[from] AdapterWeightsError),
    /// Merging.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// Writing what was merged.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// What was written does not answer as this model does; nothing was left.
    #[error("what was written does not answer as the model does: {}", reasons.join("; "))]
    NotAsTrained {
        /// What differs, and by how much.
        reasons: Vec<String>,
    },
    /// A result would take the place of something.
    #[error("{} exists already", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// A setting out of its range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A batch that the model cannot be given.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Files of rows.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Rows that cannot be used; none is left out in silence.
    #[error("{} rows cannot be used; the first: {}", rows.len(), first_of(rows))]
    Rows {
        /// Each with file, line and reason.
        rows: Vec<Refused>,
    },
    /// No row at all.
    #[error("there is no row to train on")]
    NoRows,
    /// A conversation that the template refuses.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Ids that are no text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A step of an optimizer.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
    /// There is nothing to go on from.
    #[error("there is no checkpoint in {} to resume from", path.display())]
    NothingToResume {
        /// Where checkpoints would lie.
        path: PathBuf,
    },
    /// A run that is to begin where another one left its checkpoints.
    #[error("{} has checkpoints of a run", path.display())]
    RunExists {
        /// The run's directory.
        path: PathBuf,
    },
    /// A resumed run has other settings than it began with.
    #[error("a resumed run keeps its settings, and {} changed", changed.join(", "))]
    ChangedOnResume {
        /// The settings, by name.
        changed: Vec<String>,
    },
    /// Another process trains in the same directory.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// A directory or a file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A directory cannot be published.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The files beside a model's weights.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Generation.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The device.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl From<RehearsalError> for FineTuneError {
    fn from(error: RehearsalError) -> Self {
        match error {
            RehearsalError::Attach(error) => error.into(),
            RehearsalError::Load(error) => error.into(),
            RehearsalError::Train(error) => error.into(),
            RehearsalError::Tensor(error) => error.into(),
        }
    }
}

impl FineTuneError {
    /// What the caller can do next. Options are called by the names that they have in this library.
    pub fn hints(&self) -> Vec<String> {
        let hints = match self {
            Self::Base(error) => error.hints(),
            Self::Open(error) => error.hints(),
            Self::Weights(error) => error.hints(),
            Self::Adapter(error) => error.hints(),
            Self::Attach(error) => error.hints(),
            Self::Init(error) => error.hints(),
            Self::Active(error) => error.hints(),
            Self::AdapterWeights(error) => error.hints(),
            Self::Merge(error) => error.hints(),
            Self::Export(error) => error.hints(),
            Self::Read(error) => error.hints(),
            Self::Locked(error) => error.hints(),
            Self::Write(error) => error.hints(),
            Self::Dir(error) => error.hints(),
            Self::Files(error) => error.hints(),
            Self::Generate(error) => error.hints(),
            Self::NotOfThisBase(error) => error.hints(),
            Self::Train(error) => error.hints(),
            Self::Home(_) => vec!["`LoadOptions::home` says where fetched models lie".into()],
            Self::NameTaken { .. } => {
                vec!["`remove_adapter` takes it off first; or choose another name".into()]
            }
            Self::NotOneAdapter => vec!["`set_adapters` with one name and weight 1 says it".into()],
            Self::OtherAdapter { .. } => vec![
                "`set_adapters` makes the adapter active that they were made for; `gradients` and `optimizer` make new ones".into(),
            ],
            Self::StepTaken { .. } => {
                vec!["count a loop's steps up: each has a dropout mask of its own".into()]
            }
            Self::Exists { .. } => vec!["name a directory that is not there yet".into()],
            Self::NothingToResume { .. } => vec!["train without `resume` to begin a run".into()],
            Self::RunExists { .. } => {
                vec!["`resume` goes on with it; or choose another directory".into()]
            }
            Self::ChangedOnResume { .. } => vec![
                "leave the settings as they were; or begin another run in a new directory from the adapter that this one left in `last`".into(),
            ],
            Self::Optimizer(OptimizerError::NonFiniteParameters { .. }) => {
                vec!["begin again with a lower rate: these parameters are lost".into()]
            }
            _ => Vec::new(),
        };
        hints
            .iter()
            .map(|hint| in_words_of_the_library(hint))
            .collect()
    }
}

/// Crates below name options as the command does, `--warmup-ratio`; here they are the fields of that name.
fn in_words_of_the_library(hint: &str) -> String {
    let mut said = String::new();
    let mut rest = hint;
    while let Some(at) = rest.find("--") {
        let (before, flag) = rest.split_at(at);
        let flag = &flag[2..];
        let end = flag
            .find(|c: char| !(c.is_ascii_lowercase() || c == '-' || c.is_ascii_digit()))
            .unwrap_or(flag.len());
        said.push_str(before);
        let (name, after) = flag.split_at(end);
        said.push_str(&match name {
            "" => "--".to_owned(),
            "out" => "directory".to_owned(),
            name => format!("`{}`", name.replace('-', "_")),
        });
        rest = after;
    }
    said + rest
}

fn first_of(rows: &[Refused]) -> String {
    rows.first().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_speak_of_settings_and_not_of_flags() {
        let error = FineTuneError::from(TrainError::NonFiniteLoss {
            step: 3,
            rows: vec![1],
        });
        let hints = error.hints().join(" ");
        assert!(
            hints.contains("a lower `lr`, a longer `warmup_ratio`") && !hints.contains("--"),
            "{hints}"
        );
        assert!(hints.contains("a new directory"), "{hints}");
    }
}
