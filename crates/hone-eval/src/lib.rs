//! Judging: tasks, metrics, comparisons.
