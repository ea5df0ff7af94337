//! `hone adapter`: look at an adapter, repair it, make one of several.

mod check;
mod combine;

use super::failure::Exit;
use crate::screen::Talk;
use anyhow::Result;

/// What can be done with adapters on their own.
#[derive(Debug, clap::Subcommand)]
pub enum Adapter {
    /// Say everything that is wrong with an adapter, and what other programs would do with it
    Check(check::Check),
    /// Make one adapter of several
    Combine(combine::Combine),
}

impl Adapter {
    /// Runs the verb.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        match self {
            Self::Check(verb) => verb.run(talk),
            Self::Combine(verb) => verb.run(talk),
        }
    }
}
