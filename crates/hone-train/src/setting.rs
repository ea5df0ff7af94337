//! A setting that is out of its range, in one form for optimizers and runs.

use std::fmt;

/// A setting that makes no sense, whatever the model and the rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value}, and must be {must}")]
#[non_exhaustive]
pub struct SettingError {
    /// Which setting.
    pub name: &'static str,
    /// What it is.
    pub value: String,
    /// What it must be.
    pub must: &'static str,
}

impl SettingError {
    /// Fails unless the setting `is_right`.
    ///
    /// # Errors
    /// The setting, what it is and what it must be.
    pub fn unless(
        is_right: bool,
        name: &'static str,
        value: impl fmt::Display,
        must: &'static str,
    ) -> Result<(), Self> {
        match is_right {
            true => Ok(()),
            false => Err(Self {
                name,
                value: value.to_string(),
                must,
            }),
        }
    }
}
