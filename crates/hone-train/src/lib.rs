//! Learning: recipes, optimisers, schedules, checkpoints.
//!
//! A run is deterministic: shuffling and dropout are functions of the seed and the step, sums have a fixed
//! order, and a checkpoint holds the rest. So interrupted equals uninterrupted, byte for byte.

mod checkpoint;
mod entries;
mod event;
mod optimizer;
mod plan;
mod recipe;
mod schedule;
mod width_rate;

pub use checkpoint::{Checkpoint, CheckpointError, Due, Note};
pub use event::{Change, Event, Resumed, Sink, Stepped, TaskLoss, Validated};
pub use optimizer::{AdamW, AdamWConfig, OptimizerKind};
pub use plan::TrainingPlan;
pub use recipe::{
    Data, Finished, Outcome, RunDir, Totals, TrainError, measure_step, train, validate, with_packed,
};
pub use schedule::{LearningRate, Schedule};
pub use width_rate::{RATE_BOUNDS, WHOLE_SHARE, WidthForm, WidthRate, two_digits};
