//! Why a configuration cannot be used, be it a `config.json` or GGUF metadata.

use std::path::{Path, PathBuf};

use super::gguf::GgufError;
use crate::arch::DecoderConfig;

/// A configuration that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, a key twice in an object, or a key that is no name.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// A field of a wrong type.
    #[error("{}: `{field}`: {source}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Metadata of a wrong type.
    #[error(transparent)]
    Metadata(#[from] GgufError),
    /// A field that must be there.
    #[error("{}: `{field}` is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
    },
    /// A model that computes something else.
    #[error("{}: `{field}` is {found}; Hone supports {supported}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// Its value.
        found: String,
        /// The values that are supported.
        supported: String,
    },
    /// Numbers that contradict each other.
    #[error("{}: {problem}", path.display())]
    Impossible {
        /// The file.
        path: PathBuf,
        /// The contradiction.
        problem: String,
    },
}

/// Refuses what no decoder could be.
pub(super) fn checked(config: DecoderConfig, path: &Path) -> Result<DecoderConfig, ConfigError> {
    match config.problem() {
        Some(problem) => Err(ConfigError::Impossible {
            path: path.into(),
            problem,
        }),
        None => Ok(config),
    }
}

/// The width of a head where nobody says it.
pub(super) fn divide(path: &Path, d_model: usize, num_heads: usize) -> Result<usize, ConfigError> {
    d_model
        .checked_div(num_heads)
        .filter(|width| width * num_heads == d_model)
        .ok_or_else(|| ConfigError::Impossible {
            path: path.into(),
            problem: format!("a width of {d_model} does not divide into {num_heads} heads"),
        })
}
