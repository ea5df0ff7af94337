//! A run writes down what happens, one JSON object a line, and only ever adds at the end.
//!
//! The newline commits a line: what follows the last newline was torn by a kill and does not count. A line that is no event
//! is damage: it is counted and told of, and keeps nobody from the others. On resume, what happened after the checkpoint is
//! cut off, so the file reads as if the run had never stopped. A log has one writer, who holds the lock of its run.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::content::ReadError;
use crate::whole::{WriteError, write_whole};

/// A file of events, open at its end.
#[derive(Debug)]
pub struct EventLog {
    file: File,
    path: PathBuf,
}

/// What [`EventLog::retain`] did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// How many events were cut.
    pub cut: usize,
    /// Lines that were no events and are left out, counted from one.
    pub damaged: Vec<usize>,
    /// Where the file lies as it was, if it was damaged.
    pub aside: Option<PathBuf>,
}

impl EventLog {
    /// Opens the log for adding, creating it if needed; a torn last line is cut off.
    pub fn open(path: &Path) -> Result<Self, EventError> {
        let log = Self {
            file: open_to_add(path)?,
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

    /// Keeps the events for which `keep` holds, and cuts the others. Lines that are no events are left out too; the file as
    /// it was is then kept beside it.
    pub fn retain<T: DeserializeOwned>(
        &mut self,
        mut keep: impl FnMut(&T) -> bool,
    ) -> Result<Retained, EventError> {
        let bytes = read(&self.path)?;
        let mut retained = Retained::default();
        let mut kept = Vec::with_capacity(bytes.len());
        for (number, line) in lines(committed(&bytes)) {
            match serde_json::from_slice::<T>(line) {
                Ok(event) if keep(&event) => {
                    kept.extend_from_slice(line);
                    kept.push(b'\n');
                }
                Ok(_) => retained.cut += 1,
                Err(_) => retained.damaged.push(number),
            }
        }
        if !retained.damaged.is_empty() {
            retained.aside = Some(keep_aside(&self.path, &bytes)?);
        }
        if bytes.starts_with(&kept) {
            self.cut(kept.len())?;
        } else {
            write_whole(&self.path, &kept)?;
            self.file = open_to_add(&self.path)?;
        }
        Ok(retained)
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

/// Everything that was committed to the log at `path`; a log that is not there holds nothing.
pub fn read_events<T: DeserializeOwned>(path: &Path) -> Result<Events<T>, EventError> {
    let bytes = read(path)?;
    let whole = committed(&bytes);
    let mut events = Events {
        rows: Vec::new(),
        damaged: Vec::new(),
        torn_bytes: bytes.len() - whole.len(),
    };
    for (number, line) in lines(whole) {
        match serde_json::from_slice(line) {
            Ok(event) => events.rows.push(event),
            Err(_) => events.damaged.push(number),
        }
    }
    Ok(events)
}

/// What [`read_events`] found.
#[derive(Debug)]
pub struct Events<T> {
    /// One for each line that is an event.
    pub rows: Vec<T>,
    /// The other lines, counted from one.
    pub damaged: Vec<usize>,
    /// The length of a last line that a kill tore, zero as a rule.
    pub torn_bytes: usize,
}

/// Why events could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
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

fn open_to_add(path: &Path) -> Result<File, WriteError> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map_err(|source| WriteError::new(path, 0, source))
}

/// Writes what a damaged log held to the first free of `NAME.damaged-1`, `NAME.damaged-2`, …
fn keep_aside(path: &Path, bytes: &[u8]) -> Result<PathBuf, WriteError> {
    for number in 1.. {
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".damaged-{number}"));
        let aside = PathBuf::from(aside);
        let fail = |source| WriteError::new(&aside, bytes.len() as u64, source);
        match File::options().write(true).create_new(true).open(&aside) {
            Ok(mut file) => {
                file.write_all(bytes).map_err(fail)?;
                return Ok(aside);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(fail(error)),
        }
    }
    unreachable!("numbers do not run out")
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

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
        let retained =
            log.retain(|event: &Value| event["step"].as_u64().is_some_and(|step| step <= 6));
        log.append(&json!({"step": 7})).unwrap();
        assert_eq!(
            retained.unwrap(),
            Retained {
                cut: 3,
                ..Retained::default()
            }
        );
        assert_eq!(steps(&path), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_broken_line_in_the_middle_is_named_and_keeps_nobody_from_the_others() {
        let (dir, path) = log_of(0..1);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"step\":\n{\"step\":2}\n{\"step\":3}\n");
        fs::write(&path, &bytes).unwrap();
        let events = read_events::<Value>(&path).unwrap();
        assert_eq!((events.rows.len(), events.damaged), (3, vec![2]));

        let mut log = EventLog::open(&path).unwrap();
        let retained = log.retain(|event: &Value| event["step"] != 3).unwrap();
        log.append(&json!({"step": 4})).unwrap();
        assert_eq!((retained.cut, retained.damaged), (1, vec![2]));
        assert_eq!(steps(&path), [0, 2, 4]);
        let aside = dir.path().join("events.jsonl.damaged-1");
        assert_eq!(retained.aside.as_ref(), Some(&aside));
        assert_eq!(fs::read(aside).unwrap(), bytes);
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
