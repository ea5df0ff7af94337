//! Files that have to stay as they are as long as they are mapped: what is written into them is what is computed with.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file as it was when it was opened. One that is replaced by another of its name has not changed: what is mapped stays.
#[derive(Debug)]
pub(super) struct Stamp {
    pub path: PathBuf,
    file: File,
    len: u64,
    modified: Option<SystemTime>,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is shorter or longer.
    Len { was: u64, is: u64 },
    /// Something was written into it, which may be what was there.
    Written,
}

impl Stamp {
    pub fn of(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let found = file.metadata()?;
        Ok(Self {
            path: path.to_path_buf(),
            len: found.len(),
            modified: modified(&found),
            file,
        })
    }

    /// What became of it since then.
    pub fn change(&self) -> io::Result<Option<Change>> {
        let found = self.file.metadata()?;
        let (was, is) = (self.len, found.len());
        Ok(match was == is {
            false => Some(Change::Len { was, is }),
            true => (modified(&found) != self.modified).then_some(Change::Written),
        })
    }
}

/// Not every system tells.
fn modified(found: &Metadata) -> Option<SystemTime> {
    found.modified().ok()
}
