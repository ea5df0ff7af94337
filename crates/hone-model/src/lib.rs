//! Networks: architectures, weight formats, adapters, generation.

mod adapter;
pub mod arch;
mod batch;
mod combine;
mod decoder;
mod decompose;
pub mod export;
mod finite;
mod generate;
mod keep;
mod layout;
mod merge;
mod mixed;
mod model;
mod narrow;
mod one_line;
mod pass;
mod prefix;
mod reading;
mod state;
mod stop_signal;
mod watched;
mod weighted_sum;
pub mod weights;

pub use adapter::{
    Adapter, AdapterCheck, AdapterFiles, AdapterSize, AdapterWeights, AdapterWeightsError,
    AttachError, CheckedBase, Factors, Facts, Finding, Ia3, InitError, Initial, LayerRange,
    LoraConfig, LoraPair, Outcome, Param, PeftError, Provenance, RateGroup, RawAdapter, Role,
    Runtime, SaveDtype, Severity, Targets, TrainedBias, TrainedRows, Verdict, check_adapter,
    write_beside,
};
pub use arch::{Group, Site};
pub use batch::{BatchError, LossSum, Packed};
pub use combine::{Combination, CombineError, CombineKind, combine};
pub use decoder::{BaseFormat, Decoder, LoadError};
pub use finite::NotFinite;
pub use generate::{
    Completion, Engine, EngineLimits, GenerateError, Generation, Request, Sampling, SequenceEvent,
    SequenceId, Session, Stop,
};
pub use keep::Activations;
pub use layout::Shortcuts;
pub use merge::{MergeBase, MergeError, Merged, Residual};
pub use mixed::MixedError;
pub use model::{ActiveError, Model, StepOptions};
pub use pass::shares::Adapters;
pub use reading::Reading;
pub use stop_signal::StopSignal;
pub use weighted_sum::{BesideSum, ROUNDING, beside_weighted_sum};
