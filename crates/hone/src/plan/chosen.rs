//! A value together with where it came from.
//!
//! Half of the questions about a run are "why that number?". A plain value cannot answer; a [`Chosen`] one can, and
//! since nothing in a plan is built without one, no value escapes being explained.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Who decided a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The command line.
    Flag,
    /// The run file.
    RunFile,
    /// The run being resumed.
    SavedRun,
    /// The base model.
    Model,
    /// The data.
    Data,
    /// Nobody asked: the shipped default.
    #[default]
    Default,
    /// Nobody asked, and what suits depends on how wide the base is.
    #[serde(rename = "default, by the base's width")]
    BaseWidth,
    /// Observed on this machine just now.
    Measured,
    /// Follows from other values of the plan.
    Derived,
}

impl Origin {
    /// Did somebody ask for the value?
    pub fn is_asked(self) -> bool {
        matches!(self, Self::Flag | Self::RunFile | Self::SavedRun)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Flag => "flag",
            Self::RunFile => "run file",
            Self::SavedRun => "saved run",
            Self::Model => "model",
            Self::Data => "data",
            Self::Default => "default",
            Self::BaseWidth => "default, by the base's width",
            Self::Measured => "measured",
            Self::Derived => "derived",
        })
    }
}

/// A value and its origin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chosen<T> {
    /// The value.
    pub value: T,
    /// Who decided it.
    pub origin: Origin,
}

impl<T> Chosen<T> {
    /// Pairs a value with its origin.
    pub fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}
