//! Judging: tasks, metrics, statistics, comparisons.

pub mod answers;
pub mod diagnosis;
pub mod evaluation;
pub mod harness;
pub mod ifd;
pub mod judging;
pub mod labels;
pub mod metric;
pub mod report;
pub mod scored;
pub mod sitting;
pub mod statistics;
pub mod task;
