//! Why there is no plan: options that were refused, and runs that do not fit.

use super::values::Size;
use hone_finetune::rehearsed::RehearsalError;
use hone_model::{AttachError, LoadError};

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Targets, rank or alpha do not fit the model.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Its steps cannot be rehearsed.
    #[error(transparent)]
    Rehearsal(#[from] RehearsalError),
    /// The run does not fit.
    #[error("this run needs about {needed} and may use {memory}")]
    NoMemory {
        /// The least it needs.
        needed: Size,
        /// What there is.
        memory: Size,
        /// The longest row.
        longest: usize,
        /// The longest row that would fit.
        fitting: usize,
        /// What of it is the program itself, with its tokenizer: no option makes that less.
        program: Size,
        /// Whether it would fit with the base in 4 bits, as far as can be told.
        would_fit_qlora: bool,
        /// Whether it is a run that is continued, whose options are fixed.
        is_resumed: bool,
    },
}

impl PlanError {
    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Attach(error) | Self::Rehearsal(RehearsalError::Attach(error)) => error.hints(),
            Self::Rehearsal(RehearsalError::Load(LoadError::Weights(error))) => error.hints(),
            Self::Rehearsal(RehearsalError::Train(error)) => error.hints(),
            Self::Rehearsal(RehearsalError::Tensor(error)) => error.hints(),
            Self::Rehearsal(RehearsalError::Load(_)) => Vec::new(),
            Self::NoMemory {
                needed,
                memory,
                longest,
                fitting,
                program,
                would_fit_qlora,
                is_resumed,
            } => {
                let is_free = !is_resumed;
                let shorter = (is_free && *fitting >= 64).then(|| {
                    format!("--max-length {fitting} would fit; the longest row has {longest} tokens, longer ones are left out and listed")
                });
                let smaller = (is_free && *would_fit_qlora)
                    .then(|| "--method qlora holds the base in 4 bits".to_string());
                let more = match memory.bytes <= program.bytes {
                    true => format!(
                        "the program itself, with its tokenizer, takes {program} of that, and no option makes it less: give it more than \
                         {needed} with --memory"
                    ),
                    false => "--memory says how much may be used, if more is free than it seems"
                        .to_string(),
                };
                shorter.into_iter().chain(smaller).chain([more]).collect()
            }
        }
    }
}

/// Why options were refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SettingError {
    /// An option without a default was not given.
    #[error("--{name} is needed")]
    Missing {
        /// The option.
        name: &'static str,
        /// What to type.
        hint: &'static str,
    },
    /// A value outside its range.
    #[error("--{name} is {value}, but it has to be {range}")]
    OutOfRange {
        /// The option.
        name: &'static str,
        /// What was asked.
        value: String,
        /// What is possible.
        range: &'static str,
    },
    /// More tokens asked for than the model was made for.
    #[error("--max-length is {asked}, and `{model}` was made for {limit} tokens")]
    PastContext {
        /// What was asked.
        asked: usize,
        /// What the model takes.
        limit: usize,
        /// The model.
        model: String,
    },
    /// Two options that exclude each other.
    #[error("--{first} and --{second} cannot both be given")]
    Conflict {
        /// One.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
}

impl SettingError {
    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Missing { hint, .. } => vec![(*hint).into()],
            Self::PastContext { limit, .. } => {
                vec![format!("--max-length {limit} is the most it takes")]
            }
            Self::Conflict { first, second } => {
                vec![format!("leave out --{first} or --{second}")]
            }
            Self::OutOfRange { name, .. } => {
                vec![format!("`hone train --help` says what --{name} is for")]
            }
        }
    }
}
