//! The pages that a run and an evaluation leave behind.

mod chart;
mod evaluation;
mod page;

pub use chart::{Point, loss_chart};
pub use evaluation::EvaluationPage;
pub use page::{Headline, Page, PlanRow, Sample, TaskRow};
