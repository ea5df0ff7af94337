//! Quantised checkpoints: what `quantization_config` says, and how several tensors make one weight.
//!
//! A quantised layer is spread over tensors (codes, scales, zeros, orders) whose meaning only `config.json` tells. Four
//! families are read: bitsandbytes' four bits, GPTQ and AWQ with four bits, and floats of eight bits. They stay in four or
//! eight bits. Whatever else the configuration says that would change a number is refused by its name; so is a field that
//! nobody here knows.

mod bnb;
mod fields;
mod fp8;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hone_tensor::{StoredError, StoredMatrix};
use safetensors::tensor::Dtype;

use super::located::Located;
use crate::one_line::one_line;

pub(super) use words::Packing;

/// How a checkpoint's linear layers are stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Quantised {
    /// bitsandbytes, NF4 or FP4: each layer says which.
    BitsAndBytes,
    /// GPTQ or AWQ, four bits in words of 32.
    Words(Packing),
    /// Floats of eight bits; rows and columns that share a scale, when blocks do.
    Fp8 {
        /// The block, or one scale for a tensor or for each row.
        block: Option<(usize, usize)>,
    },
}

/// A quantised checkpoint that cannot be read, and why.
#[derive(Debug, thiserror::Error)]
pub enum QuantisedError {
    /// A way of quantising that is not computed.
    #[error("{}: `{field}` is {found}; Hone reads {known}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// Its value.
        found: String,
        /// The values that are read.
        known: String,
    },
    /// Tensors that do not make a weight.
    #[error("{}: `{tensor}` {problem}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A weight that does not fit its type.
    #[error("{}: `{tensor}`: {source}", path.display())]
    Matrix {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What does not fit.
        source: StoredError,
    },
}

type Tensors = BTreeMap<String, Located>;

impl Quantised {
    /// What a `config.json` says; `None` when it says nothing of quantisation.
    pub fn from_config(json: &[u8], path: &Path) -> Result<Option<Self>, QuantisedError> {
        // A configuration that is no JSON is told of by whoever reads the rest of it.
        let config: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
        let refuse = |field: &str, found: String, known: &str| QuantisedError::Unsupported {
            path: path.to_path_buf(),
            field: field.to_owned(),
            found,
            known: known.to_owned(),
        };
        if let Some(other) = config.get("compression_config").filter(|it| !it.is_null()) {
            let known = "compressed-tensors only by `quantization_config`";
            return Err(refuse("compression_config", one_line(other), known));
        }
        match config.get("quantization_config") {
            None | Some(serde_json::Value::Null) => Ok(None),
            Some(said) => fields::read(said)
                .map(Some)
                .map_err(|wrong| refuse(&wrong.field, wrong.found, &wrong.known)),
        }
    }

    /// The names of whole weights: of each quantised one its own, and none of the tensors that it is made of.
    pub fn names(&self, tensors: &Tensors) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = tensors.keys().cloned().collect();
        for (name, located) in tensors {
            let parts = match self {
                Self::BitsAndBytes if located.info.dtype == Dtype::U8 => bnb::parts(name, tensors),
                Self::Words(_) => words::parts(name, tensors),
                Self::Fp8 { .. } => fp8::parts(name, located),
                Self::BitsAndBytes => Vec::new(),
            };
            for part in parts {
                names.remove(&part);
            }
            if let (Self::Words(_), Some(layer)) = (self, name.strip_suffix(".qweight")) {
                names.insert(format!("{layer}.weight"));
            }
        }
        names
    }

    /// The weight of this name, when it is quantised; `None` when it is an ordinary tensor, or not there.
    pub fn matrix(
        &self,
        name: &str,
        tensors: &Tensors,
    ) -> Option<Result<StoredMatrix, QuantisedError>> {
        let layer = Layer { name, tensors };
        match self {
            Self::BitsAndBytes => (layer.dtype()? == Dtype::U8).then(|| bnb::matrix(&layer)),
            Self::Words(packing) => words::matrix(&layer, packing),
            Self::Fp8 { block } => {
                (layer.dtype()? == Dtype::F8_E4M3).then(|| fp8::matrix(&layer, *block))
            }
        }
    }
}

/// A weight that is being put together, and the tensors it may take.
struct Layer<'a> {
    /// `….weight`.
    name: &'a str,
    tensors: &'a Tensors,
}

impl<'a> Layer<'a> {
    fn dtype(&self) -> Option<Dtype> {
        Some(self.tensors.get(self.name)?.info.dtype)
    }

    fn get(&self, name: &str) -> Option<&'a Located> {
        self.tensors.get(name)
    }

    /// A tensor that must be there.
    fn need(&self, name: &str) -> Result<&'a Located, QuantisedError> {
        self.get(name).ok_or_else(|| {
            let path = self.tensors.values().next().map(|located| &located.path);
            QuantisedError::Tensor {
                path: path.cloned().unwrap_or_default(),
                tensor: self.name.to_owned(),
                problem: format!("is quantised, but `{name}`, which belongs to it, is not there"),
            }
        })
    }

    /// A tensor of the type and shape it must have.
    fn need_as(
        &self,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
    ) -> Result<&'a Located, QuantisedError> {
        let located = self.need(name)?;
        if located.info.dtype == dtype && located.info.shape == shape {
            return Ok(located);
        }
        let (found, has) = (located.info.dtype, &located.info.shape);
        let problem = format!("is {found:?} {has:?}, and must be {dtype:?} {shape:?}");
        Err(located.wrong(name, problem))
    }

    /// Numbers of 16 or 32 bits, finite.
    fn numbers(&self, name: &str) -> Result<Vec<f32>, QuantisedError> {
        let located = self.need(name)?;
        let bytes = located.bytes.as_slice();
        let numbers: Vec<f32> = match located.info.dtype {
            Dtype::F32 => le(bytes, f32::from_le_bytes),
            Dtype::F16 => le(bytes, |half| half::f16::from_le_bytes(half).to_f32()),
            Dtype::BF16 => le(bytes, |half| half::bf16::from_le_bytes(half).to_f32()),
            found => {
                let problem = format!("is {found:?}; scales are F32, F16 or BF16");
                return Err(located.wrong(name, problem));
            }
        };
        match numbers.iter().find(|number| !number.is_finite()) {
            Some(number) => Err(located.wrong(name, format!("holds {number}"))),
            None => Ok(numbers),
        }
    }
}

fn le<const WIDTH: usize, T>(bytes: &[u8], number: impl Fn([u8; WIDTH]) -> T) -> Vec<T> {
    let chunks = bytes.as_chunks::<WIDTH>().0.iter();
    chunks.map(|bytes| number(*bytes)).collect()
}

impl Located {
    /// Says what is wrong with this tensor.
    fn wrong(&self, name: &str, problem: impl Into<String>) -> QuantisedError {
        QuantisedError::Tensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
            problem: one_line(problem.into()),
        }
    }
}
