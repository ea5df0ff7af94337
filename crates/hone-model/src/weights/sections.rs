//! Tensors written one after the other into one file, each in the place that the header has promised.
//!
//! A header comes first and names offsets, so names and sizes are known before the first number is. What then
//! arrives is compared with that promise: a tensor too many, too few, too long or out of order is an error, never
//! a file that says one thing and holds another. Memory is one buffer, whatever the file's size.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use hone_ledger::{SealedFile, WholeFile, WriteError};

/// Weights that could not be written, and why.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// The disk or the system refused.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Two tensors, or two metadata keys, of one name.
    #[error("{}: `{name}` would be written twice", path.display())]
    Twice {
        /// The file or directory.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// Numbers of another tensor than the one whose turn it is.
    #[error("{}: `{found}` is offered where {expected} comes next", path.display())]
    OutOfOrder {
        /// The file.
        path: PathBuf,
        /// What comes next.
        expected: String,
        /// What was offered.
        found: String,
    },
    /// More numbers than the header says.
    #[error("{}: `{name}` takes {expected} bytes, but {found} were offered", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Bytes it takes.
        expected: u64,
        /// Bytes offered.
        found: u64,
    },
    /// Finished before all numbers were there.
    #[error("{}: {left} bytes of `{name}` were never written", path.display())]
    Unfinished {
        /// The file.
        path: PathBuf,
        /// The first tensor that is not whole.
        name: String,
        /// What it lacks.
        left: u64,
    },
    /// A name, shape or value that the file format cannot hold.
    #[error("{}: `{name}` {problem}", path.display())]
    Unwritable {
        /// The file or directory.
        path: PathBuf,
        /// The tensor or metadata key.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A directory that holds a model already.
    #[error("{} already holds a model ({found})", dir.display())]
    Occupied {
        /// The directory.
        dir: PathBuf,
        /// The first of its files.
        found: String,
    },
}

impl WriterError {
    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Write(error) => error.hints(),
            Self::Occupied { .. } => {
                vec!["name a new directory, or remove the old model first".into()]
            }
            _ => Vec::new(),
        }
    }
}

/// A stretch of the file that belongs to a tensor.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub name: String,
    pub size_bytes: u64,
}

/// A file whose header is written and whose tensors are awaited in order.
#[derive(Debug)]
pub(super) struct Sections {
    path: PathBuf,
    file: WholeFile,
    awaited: VecDeque<Section>,
    /// Bytes of the first awaited one that are still to come.
    left: u64,
    /// Each tensor begins at a multiple of this many bytes from the file's start.
    alignment: u64,
}

impl Sections {
    /// Begins `path` with a header; `sections` follow in their order.
    pub fn begin(
        path: &Path,
        header: &[u8],
        sections: impl IntoIterator<Item = Section>,
        alignment: u64,
    ) -> Result<Self, WriterError> {
        let mut begun = Self {
            path: path.to_path_buf(),
            file: WholeFile::begin(path)?,
            awaited: sections.into_iter().collect(),
            left: 0,
            alignment,
        };
        begun.file.append(header)?;
        begun.pad()?;
        begun.await_next();
        Ok(begun)
    }

    /// As [`WholeFile::unsynced`].
    pub fn unsynced(self) -> Self {
        Self {
            file: self.file.unsynced(),
            ..self
        }
    }

    /// The next bytes of a tensor, all of it or a part.
    pub fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), WriterError> {
        let section = match self.awaited.front() {
            Some(section) if section.name == name => section,
            // Nothing can be said of a tensor without numbers, so it need not have its turn.
            _ if bytes.is_empty() => return Ok(()),
            other => {
                return Err(WriterError::OutOfOrder {
                    path: self.path.clone(),
                    expected: other
                        .map_or("the end".into(), |section| format!("`{}`", section.name)),
                    found: name.to_owned(),
                });
            }
        };
        let offered = bytes.len() as u64;
        if offered > self.left {
            return Err(WriterError::TooLong {
                path: self.path.clone(),
                name: name.to_owned(),
                expected: section.size_bytes,
                found: section.size_bytes - self.left + offered,
            });
        }
        self.file.append(bytes)?;
        self.left -= offered;
        if self.left == 0 {
            self.pad()?;
            self.awaited.pop_front();
            self.await_next();
        }
        Ok(())
    }

    /// Whether every tensor is there.
    pub fn is_complete(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Waits until the whole file is on the disk; it lacks its name only.
    pub fn seal(self) -> Result<SealedFile, WriterError> {
        match self.awaited.front() {
            None => Ok(self.file.seal()?),
            Some(section) => Err(WriterError::Unfinished {
                path: self.path,
                name: section.name.clone(),
                left: self.left,
            }),
        }
    }

    fn await_next(&mut self) {
        while self
            .awaited
            .front()
            .is_some_and(|next| next.size_bytes == 0)
        {
            self.awaited.pop_front();
        }
        self.left = self.awaited.front().map_or(0, |next| next.size_bytes);
    }

    fn pad(&mut self) -> Result<(), WriterError> {
        let len = self.file.len();
        let zeros = vec![0; (len.next_multiple_of(self.alignment) - len) as usize];
        Ok(self.file.append(&zeros)?)
    }
}
