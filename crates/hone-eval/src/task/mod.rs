//! Evaluation tasks as files: questions made of rows by templates, and how what a model makes of them is scored.
//!
//! ```text
//! file ─toml, lm_eval→ Definition ─questions→ Question ─paper→ token ids ─sitting→ Reply ─scoring→ scores of each row
//! ```
//!
//! What a definition means is what lm-evaluation-harness makes of the same words, so that a score can be put beside its
//! scores: how examples are put before a question, where a choice is cut from its prompt, how ties are broken. There is no
//! Python: what asks for it is refused by its name.

pub mod among_labels;
pub mod definition;
mod error;
mod filter;
#[cfg(test)]
mod golden;
mod keys;
pub mod lm_eval;
mod metrics;
mod paper;
mod python_literal;
mod python_random;
mod questions;
mod scoring;
mod sitting;
pub mod slices;
mod text;
pub mod toml;

pub use definition::{Definition, Kind};
pub use error::TaskError;
pub use paper::Paper;
pub use questions::{Question, Task};
pub use scoring::{RowReport, TaskScored, filtered, report_rows, scored};
pub use sitting::Reply;

/// What Python's `str.isspace`, `strip` and `\s` take for white space.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}
