//! A run writes down what happens, one JSON object a line, and only ever adds at the end.
//!
//! The newline commits a line: what follows the last newline was torn by a kill and does not count. A broken
//! line anywhere else is damage and an error. On resume, what happened after the checkpoint is cut off, so the
//! file reads as if the run had never stopped.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::content::ReadError;
use crate::whole::WriteError;

/// A file of events, open at its end.
#[derive(Debug)]
pub struct EventLog {
    file: File,
    path: PathBuf,
}

impl EventLog {
    /// Opens the log for adding, creating it if needed; a torn last line is cut off. Where the system can tell, a log that
    /// another process is writing is refused.
    pub fn open(path: &Path) -> Result<Self, EventError> {
        let fail = |source| WriteError::new(path, 0, source);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(fail)?;
        if !lock(&file) {
            return Err(EventError::InUse {
                path: path.to_path_buf(),
            });
        }
        let log = Self {
            file,
            path: path.to_path_buf(),
        };
        let bytes = read(path)?;
        let whole = committed(&bytes).len();
        if whole < bytes.len() {
            log.cut(whole)?;
        }
        Ok(log)
    }

    /// Adds one event as one line, in one write, visible to readers at once.
    pub fn append<T: Serialize>(&mut self, event: &T) -> Result<(), EventError> {
        let mut line = serde_json::to_vec(event).map_err(|source| EventError::NotJson {
            path: self.path.clone(),
            source,
        })?;
        line.push(b'\n');
        self.file
            .write_all(&line)
            .map_err(|source| self.refused(line.len(), source))
    }

    /// Waits until everything added is on the disk; called with each checkpoint, not with each step.
    pub fn sync(&self) -> Result<(), EventError> {
        self.file
            .sync_data()
            .map_err(|source| self.refused(0, source))
    }

    /// Keeps events from the start as long as `keep` holds, and cuts the rest. Returns how many were cut.
    pub fn truncate_after(
        &mut self,
        mut keep: impl FnMut(&Value) -> bool,
    ) -> Result<usize, EventError> {
        let bytes = read(&self.path)?;
        let (mut kept_bytes, mut cut) = (0, 0);
        for (number, line) in lines(committed(&bytes)) {
            if cut == 0 && keep(&parse(&self.path, number, line)?) {
                kept_bytes += line.len() + 1;
            } else {
                cut += 1;
            }
        }
        self.cut(kept_bytes)?;
        Ok(cut)
    }

    fn cut(&self, length: usize) -> Result<(), EventError> {
        let cut = self
            .file
            .set_len(length as u64)
            .and_then(|()| self.file.sync_all());
        cut.map_err(|source| self.refused(0, source))
    }

    fn refused(&self, needed: usize, source: io::Error) -> EventError {
        WriteError::new(&self.path, needed as u64, source).into()
    }
}

/// Whether somebody has this log open for writing, as far as the system can tell.
pub fn is_being_written(path: &Path) -> bool {
    cfg!(unix)
        && File::open(path)
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Takes the file for this process until it is closed; `false` if another one has it. Windows would keep readers out as
/// well, and some network drives know no locks: there nobody is refused.
fn lock(file: &File) -> bool {
    !cfg!(unix) || !matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// Everything that was committed to the log at `path`.
pub fn read_events<T: DeserializeOwned>(path: &Path) -> Result<Events<T>, EventError> {
    let bytes = read(path)?;
    let whole = committed(&bytes);
    let rows = lines(whole)
        .map(|(number, line)| parse(path, number, line))
        .collect::<Result<_, _>>()?;
    Ok(Events {
        rows,
        torn_bytes: bytes.len() - whole.len(),
    })
}

/// What [`read_events`] found.
#[derive(Debug)]
pub struct Events<T> {
    /// One for each line.
    pub rows: Vec<T>,
    /// The length of a last line that a kill tore, zero as a rule.
    pub torn_bytes: usize,
}

/// Why events could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Another process writes it.
    #[error("{path} is being written by another process: a run is at work in that directory")]
    InUse {
        /// The log.
        path: PathBuf,
    },
    /// A line in the middle is not an event.
    #[error("{path}:{line}: not an event of this log")]
    Line {
        /// The log.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The event has no JSON form.
    #[error("an event for {path} cannot be written as JSON")]
    NotJson {
        /// The log.
        path: PathBuf,
        /// What the serialiser said.
        source: serde_json::Error,
    },
    /// The system refused to read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The system refused to write.
    #[error(transparent)]
    Write(#[from] WriteError),
}

fn read(path: &Path) -> Result<Vec<u8>, ReadError> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|source| ReadError {
            path: path.to_path_buf(),
            source,
        }),
    }
}

/// Up to and with the last newline.
fn committed(bytes: &[u8]) -> &[u8] {
    let end = bytes
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |newline| newline + 1);
    &bytes[..end]
}

/// Lines without their newline, counted from one.
fn lines(committed: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = committed.split(|&byte| byte == b'\n');
    let count = committed.iter().filter(|&&byte| byte == b'\n').count();
    lines
        .take(count)
        .enumerate()
        .map(|(at, line)| (at + 1, line))
}

fn parse<T: DeserializeOwned>(path: &Path, line: usize, bytes: &[u8]) -> Result<T, EventError> {
    serde_json::from_slice(bytes).map_err(|source| EventError::Line {
        path: path.to_path_buf(),
        line,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn log_of(steps: std::ops::Range<u64>) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut log = EventLog::open(&path).unwrap();
        steps.for_each(|step| log.append(&json!({"step": step})).unwrap());
        (dir, path)
    }

    fn steps(path: &Path) -> Vec<u64> {
        read_events::<Value>(path)
            .unwrap()
            .rows
            .iter()
            .map(|row| row["step"].as_u64().unwrap())
            .collect()
    }

    #[test]
    #[cfg(unix)]
    fn a_log_has_one_writer_at_a_time() {
        let (_dir, path) = log_of(0..2);
        assert!(!is_being_written(&path));
        let log = EventLog::open(&path).unwrap();
        assert!(is_being_written(&path));
        let refused = EventLog::open(&path).unwrap_err();
        assert!(matches!(refused, EventError::InUse { .. }), "{refused}");
        assert_eq!(steps(&path), [0, 1], "a reader is kept out");
        drop(log);
        assert!(!is_being_written(&path));
        assert!(!is_being_written(&path.with_extension("nowhere")));
    }

    #[test]
    fn reopening_adds_at_the_end() {
        let (_dir, path) = log_of(0..2);
        EventLog::open(&path)
            .unwrap()
            .append(&json!({"step": 2}))
            .unwrap();
        assert_eq!(steps(&path), [0, 1, 2]);
    }

    #[test]
    fn a_log_that_was_never_written_is_empty() {
        assert!(
            read_events::<Value>(Path::new("/nowhere/events.jsonl"))
                .unwrap()
                .rows
                .is_empty()
        );
    }

    #[test]
    fn events_after_the_checkpoint_are_cut_on_resume() {
        let (_dir, path) = log_of(0..10);
        let mut log = EventLog::open(&path).unwrap();
        let cut = log
            .truncate_after(|event| event["step"].as_u64().is_none_or(|step| step <= 6))
            .unwrap();
        log.append(&json!({"step": 7})).unwrap();
        assert_eq!(cut, 3);
        assert_eq!(steps(&path), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_broken_line_in_the_middle_is_named() {
        let (_dir, path) = log_of(0..1);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"step\":\n{\"step\":2}\n");
        fs::write(&path, bytes).unwrap();
        let error = read_events::<Value>(&path).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("{}:2: not an event of this log", path.display())
        );
    }

    #[test]
    fn an_event_with_a_newline_in_a_string_stays_on_one_line() {
        let (_dir, path) = log_of(0..0);
        EventLog::open(&path)
            .unwrap()
            .append(&json!({"sample": "a\nb"}))
            .unwrap();
        assert_eq!(
            read_events::<Value>(&path).unwrap().rows,
            [json!({"sample": "a\nb"})]
        );
    }

    proptest! {
        // Each case waits for the disk.
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_cut_at_any_byte_loses_only_the_line_it_tore(cut: prop::sample::Index) {
            let (_dir, path) = log_of(0..12);
            let bytes = fs::read(&path).unwrap();
            let cut = cut.index(bytes.len() + 1);
            fs::write(&path, &bytes[..cut]).unwrap();

            let whole = bytes[..cut].iter().filter(|&&byte| byte == b'\n').count() as u64;
            prop_assert_eq!(steps(&path), (0..whole).collect::<Vec<_>>());

            let mut log = EventLog::open(&path).unwrap();
            for step in whole..12 {
                log.append(&json!({"step": step})).unwrap();
            }
            prop_assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }
}
