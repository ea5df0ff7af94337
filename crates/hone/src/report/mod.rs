//! The report a run leaves behind.

mod chart;
mod page;

pub use chart::{Point, loss_chart};
pub use page::{Headline, Page, PlanRow, Sample, TaskRow};
