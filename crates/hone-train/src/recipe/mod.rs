//! Recipes: a run as a page that reads downwards.

mod supervised;

pub use supervised::{
    Data, Finished, Outcome, RunDir, Totals, TrainError, measure_step, train, validate, with_packed,
};
