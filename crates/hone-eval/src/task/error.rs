//! Why a task cannot be used: one line that says what and where, and what to do.

use std::path::{Path, PathBuf};

use hone_data::PlainError;
use hone_ledger::words::quoted;
use hone_text::{RenderError, RowTemplateError, TokenizerError};

/// Why a task cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says what each field is
pub enum TaskError {
    #[error("cannot read the task {}: {source}", file.display())]
    Unreadable {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: {}", file.display(), what)]
    Malformed { file: PathBuf, what: String },
    #[error("{}: unknown key `{}`", file.display(), quoted(key))]
    UnknownKey {
        file: PathBuf,
        key: String,
        hints: Vec<String>,
    },
    #[error("{}: `{key}` {what}", file.display())]
    Key {
        file: PathBuf,
        key: String,
        what: String,
        hints: Vec<String>,
    },
    #[error(transparent)]
    Data(#[from] PlainError),
    #[error("{}: `{key}`: {source}", file.display())]
    Template {
        file: PathBuf,
        key: &'static str,
        source: RowTemplateError,
    },
    #[error("{place}: `{key}` {what}")]
    Row {
        /// Where the row stands.
        place: String,
        key: &'static str,
        what: String,
    },
    #[error("{place}: {source}")]
    Render { place: String, source: RenderError },
    #[error("{place}: {source}")]
    Tokenizer {
        place: String,
        source: TokenizerError,
    },
}

impl TaskError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Unreadable { file, .. } if !file.exists() => {
                vec![hone_data::nearest::instead_of(file)]
            }
            Self::UnknownKey { hints, .. } | Self::Key { hints, .. } => hints.clone(),
            Self::Data(error) => error.hints(),
            Self::Render { source, .. } => source.hints(),
            Self::Tokenizer { source, .. } => source.hints(),
            Self::Row { .. } => vec![
                "what a task makes of its rows is decided by its templates: docs/tasks.md".into(),
            ],
            _ => vec![],
        }
    }

    pub(super) fn key(
        file: &Path,
        key: impl Into<String>,
        what: impl Into<String>,
        hint: Option<String>,
    ) -> Self {
        Self::Key {
            file: file.into(),
            key: key.into(),
            what: what.into(),
            hints: hint.into_iter().collect(),
        }
    }
}
