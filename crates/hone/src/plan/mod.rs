//! What was written, and what will happen.
//!
//! [`RawTrain`] is what a person wrote, as flags or in a run file. [`Settings`] is every option decided, with its
//! origin. [`TrainPlan`] is what will happen, once the settings have met a model and a dataset.

mod chosen;
mod error;
mod facts;
mod fit;
mod lines;
mod page;
mod rate;
mod raw;
mod run_file;
mod settings;
mod train_plan;

pub use chosen::{Chosen, Origin};
pub use error::{PlanError, SettingError};
pub use facts::{Facts, PlanLine};
pub use hone_finetune::rehearsed::Work;
pub use page::options as options_page;
pub use rate::Rate;
pub use raw::{
    Activations, Bias, Method, Optimizer, Own, RawTrain, SaveDtype, Schedule, Shortcut, Size,
    TooLong,
};
pub use run_file::{RunFileError, option_names, read_run_file};
pub use settings::{Interval, Length, Machine, Settings, VALID_SHARE, Valid};
pub use train_plan::{MAY_CHANGE, TrainPlan};
