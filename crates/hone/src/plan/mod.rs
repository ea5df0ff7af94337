//! What was written, and what will happen.
//!
//! [`RawTrain`] is what a person wrote, as flags or in a run file. [`Settings`] is every option decided, with its
//! origin. [`TrainPlan`] is what will happen, once the settings have met a model and a dataset.

mod cadence;
mod chosen;
mod error;
mod facts;
mod fit;
mod lines;
mod options;
mod page;
mod rate;
mod run_file;
mod settings;
mod table;
mod train_plan;
mod values;

pub use chosen::{Chosen, Origin};
pub use error::{PlanError, SettingError};
pub use facts::{Facts, PlanLine};
pub use hone_finetune::rehearsed::Work;
pub use options::{OPTIONS, RawTrain, Settings};
pub use page::options as options_page;
pub use rate::Rate;
pub use run_file::{RunFileError, option_names, read_run_file};
pub use settings::Valid;
pub use table::{OnResume, OptionInfo, ResumeKind};
pub use train_plan::TrainPlan;
pub use values::{Machine, Method, Own, Shortcut, Size};
