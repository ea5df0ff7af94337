//! Adapters on disk, `adapter_config.json` and `adapter_model.safetensors`: in which type their numbers are written, and
//! what can go wrong. Writing stands in `write`, reading in `raw`, `check` and `attach`.

use hone_ledger::words::path_for_shell;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use hone_ledger::{WriteError, write_whole};
use hone_tensor::TensorError;
use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::finding::Finding;

pub(super) const CONFIG: &str = "adapter_config.json";
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";

/// How an adapter's numbers are written; they are trained in f32 whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SaveDtype {
    /// As trained.
    #[default]
    F32,
    /// Half the size, the range of f32, three digits.
    Bf16,
    /// Half the size, four digits, up to 65504.
    F16,
}

impl SaveDtype {
    /// As a person writes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// Appends numbers, each rounded to the nearest, ties to even. The first that this type cannot hold comes back.
    pub(super) fn encode(self, numbers: &[f32], out: &mut Vec<u8>) -> Result<(), f32> {
        for &x in numbers {
            let (bf16, f16) = (bf16::from_f32(x), f16::from_f32(x));
            let is_held = match self {
                Self::F32 => x.is_finite(),
                Self::Bf16 => bf16.is_finite(),
                Self::F16 => f16.is_finite(),
            };
            if !is_held {
                return Err(x);
            }
            match self {
                Self::F32 => out.extend(x.to_le_bytes()),
                Self::Bf16 => out.extend(bf16.to_le_bytes()),
                Self::F16 => out.extend(f16.to_le_bytes()),
            }
        }
        Ok(())
    }

    /// What safetensors calls it.
    pub(super) fn stored(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
            Self::F16 => Dtype::F16,
        }
    }
}

/// Why an adapter cannot be written, read or put on a model.
#[derive(Debug, thiserror::Error)]
pub enum PeftError {
    /// A file could not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A number is beyond the range of the type it was to be written in.
    #[error("`{matrix}` holds {value}, which cannot be written as {}; nothing was written", dtype.name())]
    OutOfRange {
        /// Which matrix.
        matrix: String,
        /// The number.
        value: f32,
        /// What it was to be written in.
        dtype: SaveDtype,
    },
    /// There is no adapter.
    #[error("`{}` is no adapter directory: it has no {missing}", path.display())]
    NoAdapter {
        /// Where.
        path: PathBuf,
        /// What is missing.
        missing: &'static str,
    },
    /// The adapter is in a pickle, which can run code.
    #[error("`{}` holds its weights in adapter_model.bin, a pickle, which Hone does not open", path.display())]
    Pickle {
        /// Where.
        path: PathBuf,
    },
    /// A file is not what it should be.
    #[error("`{}` is damaged: {reason}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// A check found errors.
    #[error("the adapter in `{}` {}: {first}{}", path.display(), verdict(first), others(*more))]
    Refused {
        /// Which adapter.
        path: PathBuf,
        /// The first error.
        first: Box<Finding>,
        /// How many more there are.
        more: usize,
    },
    /// The device failed.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

fn verdict(first: &Finding) -> &'static str {
    match first {
        Finding::OtherShape { .. } | Finding::NoModule { .. } | Finding::NoTarget { .. } => {
            "does not fit this model"
        }
        first if first.is_damage() => "is not sound",
        _ => "is not taken by Hone",
    }
}

fn others(more: usize) -> String {
    match more {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    }
}

impl PeftError {
    /// Refuses the adapter in `path` for the first of these findings, if there is one.
    pub(super) fn refuse<'a>(
        path: &Path,
        mut errors: impl Iterator<Item = &'a Finding>,
    ) -> Result<(), Self> {
        match errors.next() {
            None => Ok(()),
            Some(first) => Err(Self::Refused {
                path: path.to_path_buf(),
                first: Box::new(first.clone()),
                more: errors.count(),
            }),
        }
    }

    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Pickle { .. } => {
                vec!["save it again with PEFT's `save_pretrained`, which writes safetensors".into()]
            }
            Self::Damaged { .. } => {
                vec!["fetch or save the adapter again; nothing of it was used".into()]
            }
            Self::Refused { path, first, .. } => {
                let all = format!(
                    "`hone adapter check {}` names everything",
                    path_for_shell(path)
                );
                let own = first.hint().map(str::to_owned);
                own.into_iter().chain([all]).collect()
            }
            Self::NoAdapter { .. } => vec![format!(
                "an adapter is a directory with {CONFIG} and {WEIGHTS}"
            )],
            Self::OutOfRange { value, dtype, .. } if value.is_finite() => {
                let wider = match dtype {
                    SaveDtype::F16 => "--save-dtype bf16 has the range of f32, f32 its digits too",
                    _ => "--save-dtype f32 writes what was trained",
                };
                vec![wider.into()]
            }
            Self::Write(error) => error.hints(),
            Self::OutOfRange { .. } | Self::Read { .. } | Self::Tensor(_) => vec![],
        }
    }
}

/// Writes files that belong to an adapter and are not its own, such as a tokenizer that has grown, into its directory, each
/// whole or not at all. They come before the adapter: where its configuration is, they are.
pub fn write_beside(dir: &Path, files: &[(String, Vec<u8>)]) -> Result<(), PeftError> {
    for (name, bytes) in files {
        let path = dir.join(name);
        make_dir(path.parent().unwrap_or(dir))?;
        write_whole(&path, bytes)?;
    }
    Ok(())
}

pub(super) fn make_dir(dir: &Path) -> Result<(), PeftError> {
    std::fs::create_dir_all(dir)
        .map_err(|source| WriteError::new(&dir.join(CONFIG), 0, source).into())
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, PeftError> {
    std::fs::read(path).map_err(|source| PeftError::Read {
        path: path.to_path_buf(),
        source,
    })
}
