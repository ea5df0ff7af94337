//! What can be wrong with a GGUF file, in sentences that name the key or the tensor.

use std::io;
use std::path::PathBuf;

use hone_tensor::StoredError;

/// A GGUF file that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct GgufError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub problem: Malformed,
}

/// What is wrong with a GGUF file.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// The file cannot be opened.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// The first four bytes are something else.
    #[error("not a GGUF file: it starts with {0:02x?} instead of \"GGUF\"")]
    Magic(Vec<u8>),
    /// A version from before or after.
    #[error("GGUF version {0}; versions 2 and 3 in little-endian order are known")]
    Version(u32),
    /// The file ends too early.
    #[error(
        "ends inside {what}: {needed} bytes needed at offset {at}, {left} left; the file may be truncated"
    )]
    Truncated {
        /// What was being read.
        what: String,
        /// Where in the file.
        at: usize,
        /// How many bytes it takes.
        needed: usize,
        /// How many there are.
        left: usize,
    },
    /// A count that the rest of the file could not hold.
    #[error("claims {count} {what}, more than the {left} bytes left can hold")]
    Count {
        /// What is counted.
        what: String,
        /// How many.
        count: u64,
        /// Bytes left in the file.
        left: usize,
    },
    /// Text that is not UTF-8.
    #[error("{what} is not UTF-8 text")]
    NotText {
        /// What was being read.
        what: String,
    },
    /// A name that is none.
    #[error("{what} is too long or holds control characters: `{name}`")]
    Name {
        /// Metadata or tensor.
        what: &'static str,
        /// Its beginning.
        name: String,
    },
    /// A metadata type that does not exist, or an array of arrays.
    #[error("metadata `{key}` has type {id}, which is unknown here")]
    ValueType {
        /// The key.
        key: String,
        /// The type's number.
        id: u32,
    },
    /// A key or a tensor that appears twice.
    #[error("{what} `{name}` appears twice")]
    Duplicate {
        /// Metadata or tensor.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// An alignment that is not a power of two.
    #[error("alignment {0} is not a power of two")]
    Alignment(u64),
    /// No axes, or too many.
    #[error("tensor `{name}` has {count} axes; one to four are possible")]
    Axes {
        /// The tensor.
        name: String,
        /// How many axes.
        count: u32,
    },
    /// A tensor of nothing, or of more than memory can address.
    #[error("tensor `{name}` has the impossible shape {dims:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Extent of each axis, as written.
        dims: Vec<u64>,
    },
    /// A type Hone does not read.
    #[error("tensor `{name}` is stored as {found}; Hone reads {known}")]
    TensorType {
        /// The tensor.
        name: String,
        /// The type's name, or its number.
        found: String,
        /// The ones that are read.
        known: String,
    },
    /// Data outside the file, or not where data can start.
    #[error(
        "tensor `{name}` takes {size_bytes} bytes at data offset {offset}, but the file holds {available} bytes of data in steps of {alignment}"
    )]
    Offset {
        /// The tensor.
        name: String,
        /// Where its data starts.
        offset: u64,
        /// How long it is.
        size_bytes: usize,
        /// How much data there is.
        available: usize,
        /// Where data can start.
        alignment: usize,
    },
    /// Two tensors in one place.
    #[error("tensors `{first}` and `{second}` overlap")]
    Overlap {
        /// The one that starts earlier.
        first: String,
        /// The other.
        second: String,
    },
    /// A key with another type than it should have.
    #[error("metadata `{key}` should be {expected}, found {found}")]
    Key {
        /// The key.
        key: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A key that must be there.
    #[error("metadata `{key}` is missing")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A part of a model that is spread over several files, with an impossible number.
    #[error("claims to be part {number} of {count}")]
    PartNumber {
        /// Which part, counted from 1.
        number: usize,
        /// Of how many.
        count: usize,
    },
    /// A part whose name does not say so, so that the others cannot be found.
    #[error(
        "this is part {number} of {count}, and the others are found by the name NAME-{number:05}-of-{count:05}.gguf, which this file does not have"
    )]
    PartName {
        /// Which part, counted from 1.
        number: usize,
        /// Of how many.
        count: usize,
    },
    /// A part that is not there.
    #[error("this is part {number} of {count}, and {missing} is not beside it")]
    MissingPart {
        /// Which part was given, counted from 1.
        number: usize,
        /// Of how many.
        count: usize,
        /// The name of the one that is missing.
        missing: String,
    },
    /// A file in the place of a part that it is not.
    #[error("this is not part {number} of {count} of the model, as its name says")]
    OtherPart {
        /// Which part it should be, counted from 1.
        number: usize,
        /// Of how many.
        count: usize,
    },
    /// Parts that do not hold what there should be.
    #[error("its parts hold {found} tensors together, and there should be {counted}")]
    PartTensors {
        /// How many there should be.
        counted: usize,
        /// How many there are.
        found: usize,
    },
    /// A tensor that does not fit its type.
    #[error("tensor `{name}`: {source}")]
    Matrix {
        /// The tensor.
        name: String,
        /// What does not fit.
        source: StoredError,
    },
}
