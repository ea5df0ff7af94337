//! Judging: tasks, metrics, comparisons.

pub mod harness;
pub mod ifd;
pub mod metric;
pub mod report;
pub mod statistics;
