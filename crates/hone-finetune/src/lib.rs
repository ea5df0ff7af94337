//! Fine-tuning from Rust, under the names that users of PEFT and TRL know.
//!
//! ```text
//! open_base ─→ BaseFiles ─load→ BaseModel ─get_peft_model(LoraConfig)→ PeftModel ─Trainer::train→ PeftModel ─save_adapter→ PEFT directory
//!                  │                │                                      │
//!                 plan              └─load_adapter(dir)────────────────────┘─merge→ BaseModel, ─save_merged(dir)→ model directory
//! ```
//!
//! This is the engine that `hone train` drives, without terminal, flags or global state: no environment is read but where
//! [`base::Home::from_env`] is called or, with the feature `hub`, huggingface_hub's cache is looked up. Everything is
//! deterministic: the same files, options and seed give the same adapter, byte for byte, on any number of threads.
//!
//! # A run in a page
//!
//! ```
//! use hone_finetune::{LoadOptions, LoraConfig, Trainer, TrainerConfig, get_peft_model, load_base};
//!
//! # fn main() -> Result<(), hone_finetune::FineTuneError> {
//! # let base = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/models/tiny-llama-tied");
//! # let place = tempfile::tempdir().unwrap();
//! # let (rows, out) = (place.path().join("rows.jsonl"), place.path().join("run"));
//! # std::fs::write(&rows, "{\"prompt\": \"Which way is north?\", \"completion\": \"Up the hill.\"}\n").unwrap();
//! let base = load_base(base, LoadOptions::default())?; // a directory, a .gguf file, or the name of a fetched model
//! let examples = base.encode_files(&[&rows])?;
//!
//! let lora = LoraConfig { rank: 4, alpha: 8.0, ..LoraConfig::default() };
//! let mut model = get_peft_model(base, lora, 0)?;
//!
//! let config = TrainerConfig { epochs: 3.0, lr: Some(1e-2), ..TrainerConfig::default() };
//! let trained = Trainer::new(config, &out).train(&mut model, &examples, None, |event| println!("{event:?}"))?;
//!
//! assert_eq!(trained.steps, 3);
//! assert!(out.join("last/adapter_model.safetensors").is_file()); // what PEFT's `PeftModel.from_pretrained` reads
//! # Ok(())
//! # }
//! ```
//!
//! # A loop of one's own
//!
//! ```
//! use hone_finetune::{AdamWConfig, LoadOptions, LoraConfig, get_peft_model, load_base, pack};
//!
//! # fn main() -> Result<(), hone_finetune::FineTuneError> {
//! # let base = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/models/tiny-llama-tied");
//! # let place = tempfile::tempdir().unwrap();
//! # let rows = place.path().join("rows.jsonl");
//! # std::fs::write(&rows, "{\"prompt\": \"Which way is north?\", \"completion\": \"Up the hill.\"}\n").unwrap();
//! let base = load_base(base, LoadOptions::default())?;
//! let examples = base.encode_files(&[&rows])?;
//! let mut model = get_peft_model(base, LoraConfig::default(), 0)?;
//!
//! let mut optimizer = model.optimizer(AdamWConfig::default())?;
//! let mut grads = model.gradients(0)?;
//! let batch = pack(&examples.examples.iter().collect::<Vec<_>>());
//! let mut losses = Vec::new();
//! for step in 0..3 {
//!     let loss = model.accumulate(&batch, step, &mut grads)?; // as many batches as there are in a step
//!     optimizer.step(&mut model, &grads, 1e-2)?; // along the mean over all of them
//!     losses.extend(loss.mean());
//! }
//! assert!(losses[2] < losses[0]);
//! # Ok(())
//! # }
//! ```
//!
//! `Trainer::training_plan` gives the batches and rates of [`Trainer`]'s own loop; a loop that follows it ends with the same
//! parameters, to the bit. More in `examples/`: validation and early stopping, adapters that are switched, generation piece by
//! piece, curated rows, another back-end.
//!
//! # Debug builds
//!
//! The engine is in crates below this one, and Cargo builds a dependent's debug profile without optimization: forty times
//! slower. These lines of the dependent's `Cargo.toml` help:
//!
//! ```toml
//! [profile.dev.package."*"]
//! opt-level = 3
//! ```

#![warn(missing_debug_implementations)]

pub mod base;
mod control;
mod disk;
mod error;
mod generate;
mod load;
mod merged;
mod model;
mod own_loop;
pub mod parity;
mod plan;
pub mod rehearsed;
mod trainer;

pub use base::Home;
pub use control::{Control, StopHandle};
pub use disk::free_bytes;
pub use error::FineTuneError;
pub use generate::{GenerateOptions, Reply, ReplyEnd};
pub use load::{BaseFiles, BaseModel, LoadOptions, load_base, open_base};
pub use model::{PeftModel, get_peft_model};
pub use own_loop::{Gradients, Optimizer};
pub use plan::{RunPlan, plan};
pub use trainer::{TrainEnd, Trained, Trainer, TrainerConfig};

pub use hone_data::{
    Batch, Encoding, Example, ReadError, Reason, Record, Refused, Source, Target, pack,
};
pub use hone_ledger::{DirError, LockError, WriteError};
pub use hone_model::arch::DecoderConfig;
pub use hone_model::export::ExportError;
pub use hone_model::weights::WeightsError;
pub use hone_model::{
    Activations, ActiveError, Adapter, AdapterWeightsError, AttachError, BaseFormat, BatchError,
    GenerateError, Ia3, InitError, Initial, LayerRange, LoadError, LoraConfig, LossSum, MergeError,
    Model, PeftError, SaveDtype, Targets, TrainedBias,
};
pub use hone_tensor::{Backend, Cost, Device, Rehearsal, Tensor, TensorError};
pub use hone_text::{
    Conversation, RenderError, Renderer, Role, TemplateOption, Tokenizer, TokenizerError, Turn,
};
pub use hone_train::{
    AdamWConfig, Event, LearningRate, OptimizerError, OptimizerKind, Schedule, SettingError,
    TrainError, TrainingPlan, WeightedLoss,
};
