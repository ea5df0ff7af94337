//! Base weights as they lie on disk: Hugging Face directories and GGUF files, read through memory maps.
//!
//! [`BaseWeights`] is the one door: it speaks Hugging Face names and shapes whatever the file, and has compared
//! every tensor with the configuration before it opens.

mod config_error;
mod converted;
mod cut_short;
mod described;
mod families;
mod gguf;
mod gguf_keys;
mod hf;
mod hf_fields;
mod located;
mod mapped;
mod metadata;
pub mod mixture;
mod nearest;
mod pointer;
mod quantised;
mod sections;
mod shards;
mod shards_writer;
mod source;
mod unchanged;
pub(crate) mod unique;

pub use config_error::ConfigError;
pub use cut_short::EXIT_WHEN_CUT_SHORT;
pub(crate) use families::decimal;
pub use gguf::{
    Gguf, GgufError, GgufTensor, GgufWriter, Malformed, PartName, TensorEntry, Typed, Value,
};
pub(crate) use nearest::distance;
pub use quantised::QuantisedError;
pub use safetensors::Dtype;
pub use sections::WriterError;
pub use shards::{Shards, ShardsError};
pub(crate) use shards_writer::header as safetensors_header;
pub use shards_writer::{ShardsWriter, TensorSpec};
pub use source::{BaseWeights, NewRows, WeightsError};
