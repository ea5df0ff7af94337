//! What the command itself refuses, and how a command ends.
//!
//! Each crate has errors of its own; these are the situations that only the product knows: a directory that is in use,
//! an option that cannot change now.

use std::fmt;
use std::process::ExitCode;

/// How a command ends, for scripts. `hone --help` lists these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Done = 0,
    /// It could not.
    Failed = 1,
    /// The command line or run file was wrong; nothing was started.
    Usage = 2,
    /// It was interrupted and has saved its work.
    Interrupted = 3,
    /// A file of weights was cut short by another program while it was read.
    CutShort = hone_model::weights::EXIT_WHEN_CUT_SHORT as isize,
    /// It looked, and found something to decide or a difference.
    Found = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// A refusal of the command line itself, with its hints.
#[derive(Debug)]
pub struct Refusal {
    what: String,
    hints: Vec<String>,
    exit: Exit,
}

impl Refusal {
    /// The command was asked for something that cannot be.
    pub fn usage(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hints: Vec::new(),
            exit: Exit::Usage,
        }
    }

    /// The command was right, the world was not.
    pub fn failed(what: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            ..Self::usage(what)
        }
    }

    /// Adds what the user can do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        self.hints.clone()
    }

    /// How the command ends.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Refusal {}
