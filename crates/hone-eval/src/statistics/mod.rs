//! From the scores of rows to a number that can be believed: how far it may be off, and whether two models differ.
//!
//! Whatever is drawn by chance is drawn from a seed, each resample from a branch of its own, so the numbers are the same
//! for any number of threads. What is tested here is tested on models whose true scores are known: an interval of 95 %
//! that holds the truth in 90 of 100 cases would be worse than none.

pub mod bootstrap;
pub mod corrected;
pub mod estimate;
pub mod holm;
mod normal;
pub mod paired;
pub mod proportion;

/// From a lower to an upper end.
pub type Interval = (f64, f64);

/// The share of cases in which an interval should hold the true value, unless something else is asked for.
pub const LEVEL: f64 = 0.95;

/// So many resamples give an interval that is stable in its second digit.
pub const RESAMPLES: usize = 1000;
