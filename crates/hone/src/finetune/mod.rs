//! Fine-tuning from Rust, under the names that users of PEFT and TRL know.
//!
//! ```text
//! load_base ─→ BaseModel ─get_peft_model(LoraConfig)→ PeftModel ─Trainer::train→ PeftModel ─save_adapter→ PEFT directory
//!                                 │                        │
//!                                 └─load_adapter(dir)──────┘─merge_and_unload(dir)→ BaseModel
//! ```
//!
//! This is the same engine that `hone train` drives; what the command adds is plans, checks of the data and reports.
//! Everything here is deterministic: the same files, options and seed give the same adapter, byte for byte, on any
//! number of threads.
//!
//! # A run in a page
//!
//! ```
//! use hone::finetune::{LoadOptions, LoraConfig, Trainer, TrainerConfig, get_peft_model, load_base};
//!
//! # fn main() -> Result<(), hone::finetune::FineTuneError> {
//! # let base = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/models/tiny-llama-tied");
//! # let place = tempfile::tempdir().unwrap();
//! # let (rows, out) = (place.path().join("rows.jsonl"), place.path().join("run"));
//! # std::fs::write(&rows, "{\"prompt\": \"Which way is north?\", \"completion\": \"Up the hill.\"}\n").unwrap();
//! let base = load_base(base, LoadOptions::default())?; // a directory, a .gguf file, a built-in name or a hub id
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
//! use hone::finetune::{AdamW, AdamWConfig, LoadOptions, LoraConfig, get_peft_model, load_base, pack};
//!
//! # fn main() -> Result<(), hone::finetune::FineTuneError> {
//! # let base = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/models/tiny-llama-tied");
//! # let place = tempfile::tempdir().unwrap();
//! # let rows = place.path().join("rows.jsonl");
//! # std::fs::write(&rows, "{\"prompt\": \"Which way is north?\", \"completion\": \"Up the hill.\"}\n").unwrap();
//! let base = load_base(base, LoadOptions::default())?;
//! let examples = base.encode_files(&[&rows])?;
//! let mut model = get_peft_model(base, LoraConfig::default(), 0)?;
//!
//! let mut optimizer = model.adamw(AdamWConfig::default())?;
//! let batch = pack(&examples.examples.iter().collect::<Vec<_>>());
//! let mut losses = Vec::new();
//! for _ in 0..3 {
//!     let (loss, grads) = model.loss_and_grads(&batch)?; // sums over supervised tokens, in nats
//!     optimizer.step(model.parameters_mut()?, &grads, loss.tokens as f64, 1e-2)?; // divided by their count here, once
//!     losses.extend(loss.mean());
//! }
//! assert!(losses[2] < losses[0]);
//! # Ok(())
//! # }
//! ```

mod model;
mod trainer;

pub use hone_data::{Batch, Encoding, Example, pack};
pub use hone_model::{Activations, BaseFormat, LoraConfig, LossSum, SaveDtype, Targets};
pub use hone_text::TemplateOption;
pub use hone_train::{AdamW, AdamWConfig, Event, OptimizerKind, Schedule};
pub use model::{BaseModel, LoadOptions, PeftModel, get_peft_model, load_base};
pub use trainer::{Trained, Trainer, TrainerConfig};

use crate::base::{AdapterError, BaseError, NoHome, OpenError};
use hone_data::{ReadError, Refused};
use hone_ledger::{LockError, WriteError};
use hone_model::weights::WeightsError;
use hone_model::{ActiveError, AttachError, BeginError, GenerateError, LoadError, PeftError};
use hone_tensor::TensorError;
use hone_text::{RenderError, TokenizerError};
use hone_train::{OptimizerError, TrainError};

/// Why fine-tuning cannot go on; each sentence says what and where, [`FineTuneError::hints`] what next.
#[derive(Debug, thiserror::Error)]
pub enum FineTuneError {
    /// There is no place for fetched models.
    #[error(transparent)]
    Home(#[from] NoHome),
    /// No base of this name.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// The base's files.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Its way into memory.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A configuration that does not fit the base.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// What a fresh adapter starts from.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// Adapters that cannot be on together.
    #[error(transparent)]
    Active(#[from] ActiveError),
    /// Training and saving are of one adapter at a time.
    #[error("several adapters are on, or none, so it is not said which one is meant")]
    NotOneAdapter,
    /// An adapter's files.
    #[error(transparent)]
    Adapter(#[from] PeftError),
    /// An adapter that does not belong on this base.
    #[error(transparent)]
    NotOfThisBase(#[from] AdapterError),
    /// Merging, or the proof of what was merged.
    #[error(transparent)]
    Merge(Box<dyn std::error::Error + Send + Sync>),
    /// Files of rows.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Rows that cannot be used; none is left out in silence.
    #[error("{} rows cannot be used; the first: {}", rows.len(), first_of(rows))]
    Rows {
        /// Each with file, line and reason.
        rows: Vec<Refused>,
    },
    /// A conversation that the template refuses.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Ids that are no text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A step of an optimizer.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
    /// Another process trains in the same directory.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// The directory of a run cannot be made.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Generation.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The device.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl FineTuneError {
    /// What the caller can do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Base(error) => error.hints(),
            Self::Open(error) => error.hints(),
            Self::Weights(error) => error.hints(),
            Self::Adapter(error) => error.hints(),
            Self::Begin(error) => error.hints(),
            Self::Active(error) => error.hints(),
            Self::NotOneAdapter => vec!["`set_adapters` with one name and weight 1 says it".into()],
            Self::Read(error) => error.hints(),
            Self::Train(error) => error.hints(),
            Self::Locked(error) => error.hints(),
            Self::Write(error) => error.hints(),
            Self::NotOfThisBase(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}

fn first_of(rows: &[Refused]) -> String {
    rows.first().map(ToString::to_string).unwrap_or_default()
}
