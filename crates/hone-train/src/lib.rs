//! Learning: runs, objectives, optimisers, schedules, checkpoints.
//!
//! A run is deterministic: shuffling and dropout are functions of the seed and the step, sums have a fixed
//! order, and a checkpoint holds the rest. So interrupted equals uninterrupted, byte for byte.

mod activation_cache;
mod begin;
mod checkpoint;
mod data;
mod error;
mod event;
mod identity;
mod objective;
mod optimizer;
mod parameters;
mod plan;
mod row_losses;
mod run;
mod run_dir;
mod schedule;
mod setting;
mod totals;
mod validation;
mod width_rate;

pub use checkpoint::{Checkpoint, CheckpointError, Due, Note};
pub use data::Data;
pub use error::TrainError;
pub use event::{Change, Event, Resumed, Sink, Stepped, StoppedEarly, TaskLoss, Validated};
pub use identity::RunIdentity;
pub use objective::supervised::{WeightedLoss, loss_and_grads, with_packed};
pub use optimizer::{AdamW, AdamWConfig, OptimizerError, OptimizerKind};
pub use plan::TrainingPlan;
pub use row_losses::{ROW_LOSSES, RowLoss, RowLosses, RowLossesError};
pub use run::{Finished, Outcome, dropout_seed, measure_step, train};
pub use run_dir::RunDir;
pub use schedule::{LearningRate, Schedule};
pub use setting::SettingError;
pub use totals::Totals;
pub use validation::{Look, Validation, WATCHED_TOKENS};
pub use width_rate::{RATE_BOUNDS, WHOLE_SHARE, WidthForm, WidthRate, two_digits};
