//! What a pull tells while it is under way, and how it learns that it should stop.

/// One thing worth telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullEvent<'a> {
    /// What will be fetched.
    Planned {
        /// Files that are not here yet.
        num_files: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// How far a file is.
    Bytes {
        /// Its name.
        file: &'a str,
        /// Bytes that are here.
        done: u64,
        /// Bytes that it has.
        total: u64,
    },
    /// The network failed in a way that may pass.
    AskingAgain {
        /// What is asked for.
        what: &'a str,
        /// What happened.
        because: &'a str,
    },
    /// Another program is doing the same.
    Waiting {
        /// What for.
        what: &'a str,
    },
}

/// Someone who watches a pull.
pub trait PullWatch {
    /// Takes note.
    fn tell(&mut self, event: PullEvent<'_>);
    /// Whether the pull should stop; looked at several times a second, also while the network is silent.
    fn is_stopped(&self) -> bool;
}

/// Nobody watches.
#[derive(Debug)]
pub struct Unwatched;

impl PullWatch for Unwatched {
    fn tell(&mut self, _event: PullEvent<'_>) {}

    fn is_stopped(&self) -> bool {
        false
    }
}
