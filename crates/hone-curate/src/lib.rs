//! Raw rows to a dataset that can be defended.
//!
//! ```text
//! Record ─examine(rules)→ Hit ─decide(recipe)→ Finding, kept or changed row ─compare→ clusters, leaks
//!        ─split→ ─select→ ─mix→ dataset directory: rows, manifest, findings, report
//! ```
//!
//! A rule only says what it sees; what happens then is the recipe's decision, and each decision is a
//! finding with its place and evidence. Rules about one row live in [`rules`], one file each, with
//! their documentation and their cases beside them; rules that compare rows in [`duplicates`] and [`leaks`].

mod boilerplate;
mod count;
mod curate;
pub mod dataset;
pub mod decisions;
pub mod duplicates;
mod examine;
mod finding;
mod hashes;
pub mod leaks;
pub mod mix;
pub mod overview;
pub mod pages;
pub mod recipe;
pub mod redact;
mod replaced;
pub mod report;
mod rows;
mod rule;
pub mod rules;
pub mod select;
mod spool;
pub mod tally;
pub mod text;
mod view;
mod write;

pub use count::{RowCount, Sieve, Sifting, Why};
pub use curate::{CurateError, Curated, Judge, Kept, Loss, LostRows, Tools, UsableRow, curate};
pub use examine::{Examined, Examiner};
pub use finding::{Against, Beside, Decision, Finding, Hit, excerpt};
pub use replaced::{Index as ReplacedIndex, Replaced};
pub use rows::{Rows, RowsError};
pub use rule::{Action, BadParam, Check, Doc, Entry, Family, Param, Params, Row, Rule};
pub use spool::{Spool, SpoolWriter};
pub use write::{Sink, WriteError, Written, write};
