//! Networks: architectures, weight formats, adapters, generation.

mod adapter;
mod batch;
mod decoder;
mod generate;
mod memory;
mod model;
mod pass;
pub mod weights;

pub use adapter::{
    Adapter, AdapterFiles, AdapterSize, AttachError, LoraConfig, NamedMatrix, PeftError,
    Provenance, SaveDtype, Targets,
};
pub use batch::{LossSum, Packed};
pub use decoder::{BaseFormat, Decoder, Group, LoadError, Site};
pub use generate::{Completion, GenerateError, Generation, Sampling, Session, Stop};
pub use memory::{MemoryModel, StepMemory};
pub use model::{Model, StepOptions};
