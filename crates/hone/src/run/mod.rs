//! A training run, from the wish to the report.

mod diagnose;
mod diagnosis_page;
mod prepare;
mod record;
mod report;
mod start;

pub use diagnose::{Depth, Told};
pub use diagnosis_page::{DIAGNOSIS, write_diagnosis};
pub use prepare::{Begun, Prepared, data, tidy};
pub use record::{RUN_JSON, RUN_LOCK, RunRecord, Summary, has_remains, now_unix};
pub use report::Judgement;
pub use start::{EVENTS, Ended, REPORT, SKIPPED, TRAIN_ROWS, TRAINED_PROMPTS};
