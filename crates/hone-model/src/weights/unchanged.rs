//! Files that have to stay as they are as long as they are mapped: what is written into them is what is computed with.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// A file as it was when it was opened. One that is replaced by another of its name has not changed: what is mapped stays.
#[derive(Debug)]
pub(super) struct Stamp {
    pub path: PathBuf,
    file: File,
    len: u64,
    times: Mutex<Times>,
}

/// When a file was last written, and when last anything about it, its times among that. Not every system tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    modified: Option<SystemTime>,
    touched: Option<(i64, i64)>,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is shorter or longer.
    Len { was: u64, is: u64 },
    /// Something was written into it, which may be what was there.
    Written(Times),
    /// Its name, its owner or its rights are others, or it was written and its time put back.
    Touched(Times),
}

impl Stamp {
    pub fn of(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let found = file.metadata()?;
        Ok(Self {
            path: path.to_path_buf(),
            len: found.len(),
            times: Mutex::new(Times::of(&found)),
            file,
        })
    }

    /// What became of it since then.
    pub fn change(&self) -> io::Result<Option<Change>> {
        let found = self.file.metadata()?;
        let (was, is) = (self.len, found.len());
        if was != is {
            return Ok(Some(Change::Len { was, is }));
        }
        let known = *self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let times = Times::of(&found);
        Ok(match times.modified == known.modified {
            false => Some(Change::Written(times)),
            true if times.touched == known.touched => None,
            true => Some(Change::Touched(times)),
        })
    }

    /// Takes note of times at which it was found to hold what it held.
    pub fn accept(&self, times: Times) {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner) = times;
    }
}

impl Times {
    fn of(found: &Metadata) -> Self {
        Self {
            modified: found.modified().ok(),
            touched: touched(found),
        }
    }
}

#[cfg(unix)]
fn touched(found: &Metadata) -> Option<(i64, i64)> {
    use std::os::unix::fs::MetadataExt;
    Some((found.ctime(), found.ctime_nsec()))
}

#[cfg(not(unix))]
fn touched(_found: &Metadata) -> Option<(i64, i64)> {
    None
}
