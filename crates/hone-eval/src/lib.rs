//! Judging: tasks, metrics, comparisons.

pub mod harness;
pub mod metric;
pub mod report;
