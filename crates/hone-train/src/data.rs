//! The examples of a run.

use hone_data::Example;

/// What a run learns from and is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// Examples to learn from.
    pub train: &'a [Example],
    /// Held-out examples; may be none.
    pub valid: &'a [Example],
    /// Names of the tasks that examples refer to.
    pub tasks: &'a [String],
}
