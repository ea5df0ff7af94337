//! Hone as a library: one door to the crates underneath, and the product built on them.
//!
//! The engine is in the crates re-exported here; what this crate adds is what a person meets: models by name, run files
//! and plans, screens, reports, and the command line.

// `screen` is the only door to stdout and stderr; `clippy.toml` names the functions.
#![warn(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

pub use hone_curate as curate;
pub use hone_data as data;
pub use hone_eval as eval;
pub use hone_finetune as finetune;
pub use hone_finetune::{base, parity};
pub use hone_ledger as ledger;
pub use hone_model as model;
pub use hone_tensor as tensor;
pub use hone_text as text;
pub use hone_train as train;

use hone_data::nearest;

pub mod bundle;
pub mod card;
pub mod cli;
pub mod curation;
pub mod data_flags;
pub mod dataset;
mod elsewhere;
pub mod judge;
mod judging;
mod kept_answers;
pub mod machine;
mod meant;
mod notices;
pub mod ollama;
mod place;
pub mod plan;
pub mod refusal;
pub mod registry;
pub mod report;
pub mod run;
pub mod screen;
pub mod sifted;
