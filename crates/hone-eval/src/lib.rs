//! Judging: tasks, metrics, comparisons.

pub mod metric;
pub mod report;
