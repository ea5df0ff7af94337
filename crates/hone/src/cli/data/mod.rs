//! `hone data`: look at a dataset, check it, build one, compare two.

mod again;
mod build;
mod check;
mod diff;
mod rules;
mod rust_lints;
mod show;

use super::failure::Exit;
use crate::screen::Talk;
use anyhow::Result;
pub use rust_lints::rust_lints_at_home;

/// Verbs about datasets.
#[derive(Debug, clap::Subcommand)]
pub enum Data {
    /// Print rows with their supervised tokens marked
    Show(show::Show),
    /// Look for what should not be trained on; changes nothing
    Check(check::Check),
    /// Build a dataset directory: checked, deduplicated, split, with a report
    Build(build::Build),
    /// Say what is different between two datasets
    Diff(diff::Diff),
    /// List the rules, or tell all about one
    Rules(rules::Rules),
}

impl Data {
    /// Runs the verb.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        match self {
            Self::Show(verb) => verb.run(talk),
            Self::Check(verb) => verb.run(talk),
            Self::Build(verb) => verb.run(talk),
            Self::Diff(verb) => verb.run(),
            Self::Rules(verb) => verb.run(),
        }
    }
}
