//! Judging: tasks, metrics, statistics, comparisons.

pub mod harness;
pub mod ifd;
pub mod metric;
pub mod report;
pub mod statistics;
