//! Models and adapters written for others: safetensors, GGUF, MLX.
//!
//! Writers take a [`Merged`] and ask it for panels of rows, so that nothing here knows how large a model
//! is. What this side writes it can also read back, because an export that nobody has read is a guess.

mod gguf_adapter;
mod gguf_model;
mod gguf_names;
mod hf_config;
mod mlx;
mod safetensors;

use std::path::{Path, PathBuf};

use hone_tensor::{Format, StoredError, StoredMatrix};

use crate::adapter::PeftError;
use crate::merge::{MergeError, Merged};
use crate::weights::{GgufError, Malformed, WriterError};

pub use gguf_adapter::{read_gguf_adapter, write_gguf_adapter};
pub use gguf_model::{GgufKind, GgufMetadata, write_gguf};
pub use hf_config::hf_config;
pub use mlx::{read_mlx_adapter, write_mlx_adapter};
pub use safetensors::{MergeDtype, write_safetensors};

/// Rows of `cols` numbers in a stored form, on the threads of the merge.
fn encode(
    merged: &Merged,
    format: Format,
    numbers: &[f32],
    cols: usize,
    (slot, tensor): (&str, &str),
) -> Result<StoredMatrix, ExportError> {
    let rows = numbers.len() / cols.max(1);
    let encoded = merged
        .device()
        .scope(|| StoredMatrix::encode(format, numbers, rows, cols));
    encoded.map_err(|source| match source {
        StoredError::NotFinite { value, .. } => ExportError::NotFinite {
            tensor: slot.to_owned(),
            base: merged.base().path().to_path_buf(),
            value,
        },
        source => ExportError::Encode {
            tensor: tensor.to_owned(),
            format,
            source,
        },
    })
}

/// Why a model or an adapter could not be written for others.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The merge.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// The file.
    #[error(transparent)]
    Write(#[from] WriterError),
    /// A file that was read back.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The adapter.
    #[error(transparent)]
    Peft(#[from] PeftError),
    /// Numbers that the type asked for cannot hold.
    #[error("`{tensor}` cannot be written as {}: {source}; nothing was written", format.name())]
    Encode {
        /// Which tensor.
        tensor: String,
        /// What it was to be written in.
        format: Format,
        /// Why not.
        source: StoredError,
    },
    /// A number that is none.
    #[error("`{tensor}` of the base {}, merged, holds {value}; nothing was written", base.display())]
    NotFinite {
        /// Which tensor, by the name that Hugging Face's files give it.
        tensor: String,
        /// The base.
        base: PathBuf,
        /// The first such number of it.
        value: f32,
    },
    /// A part of an adapter that this format has no place for.
    #[error("{format} has no place for {part}")]
    Unplaced {
        /// The format.
        format: &'static str,
        /// The part.
        part: String,
    },
    /// A model that this format has no name for.
    #[error("{format} export of {what} is not there yet")]
    Unsupported {
        /// The format.
        format: &'static str,
        /// What.
        what: String,
    },
    /// A model of which llama.cpp would make something else.
    #[error("no GGUF file can say all of {what}")]
    Unsaid {
        /// Which, and what would become of it.
        what: String,
    },
    /// A file that says something else than was written.
    #[error("`{}` does not read back as it was written: {reason}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl ExportError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Merge(error) => error.hints(),
            Self::Write(error) => error.hints(),
            Self::Peft(error) => error.hints(),
            Self::NotFinite { .. } => vec![
                "fetch the base again, and try it without its adapter: weights that are not finite are damaged or of a training that failed".into(),
            ],
            Self::Encode { .. } => {
                vec!["bf16 has the range of f32, and f32 its digits too".into()]
            }
            Self::Unplaced { .. } => {
                vec!["`hone merge` works every part of an adapter into its base".into()]
            }
            Self::Unsupported { .. } | Self::Unsaid { .. } => {
                vec!["`hone merge` writes safetensors, which converters of others read".into()]
            }
            Self::Gguf(_) | Self::Unreadable { .. } => vec![],
        }
    }

    fn malformed(path: &Path) -> impl Fn(Malformed) -> Self {
        let path = path.to_path_buf();
        move |problem| {
            Self::Gguf(GgufError {
                path: path.clone(),
                problem,
            })
        }
    }
}
