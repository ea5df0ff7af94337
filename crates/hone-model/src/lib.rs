//! Networks: architectures, weight formats, adapters, generation.

mod adapter;
mod batch;
mod decoder;
mod generate;
mod keep;
mod layout;
mod model;
mod pass;
mod prefix;
mod site;
pub mod weights;

pub use adapter::{
    Adapter, AdapterFiles, AdapterSize, AttachError, BeginError, Deltas, Ia3, Initial, LayerRange,
    LoraConfig, NamedMatrix, PeftError, Provenance, Role, SaveDtype, Targets, TrainedBias,
};
pub use batch::{LossSum, Packed};
pub use decoder::{BaseFormat, Decoder, LoadError};
pub use generate::{Completion, GenerateError, Generation, Sampling, Session, Stop};
pub use keep::Activations;
pub use layout::Shortcuts;
pub use model::{ActiveError, Model, StepOptions};
pub use site::Site;
pub use weights::Group;
