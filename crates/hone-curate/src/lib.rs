//! Raw rows to a dataset that can be defended.
//!
//! ```text
//! Record ─examine(rules)→ Hit ─decide(recipe)→ Finding, kept or changed row ─compare→ clusters, leaks
//!        ─split→ ─select→ ─mix→ dataset directory: rows, manifest, findings, report
//! ```
//!
//! A rule only says what it sees; what happens then is the recipe's decision, and each decision is a
//! finding with its place and evidence. Rules about one row live in [`rules`], one file each, with
//! their documentation and their cases beside them.

pub mod dataset;
mod examine;
mod finding;
pub mod mix;
pub mod overview;
pub mod pages;
pub mod recipe;
pub mod redact;
pub mod report;
mod rule;
pub mod rules;
pub mod select;
mod spool;

pub use examine::{Examined, Examiner};
pub use finding::{Decision, Finding, Hit, excerpt};
pub use rule::{Action, BadParam, Check, Doc, Entry, Family, Param, Params, Row, Rule};
pub use spool::{Spool, SpoolWriter};
