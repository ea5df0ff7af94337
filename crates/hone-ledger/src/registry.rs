//! Which runs there are: a small SQLite index beside the run directories.
//!
//! The run directories are the truth; this file only finds them quickly. A registry that cannot be read is
//! therefore never a reason to stop: it is renamed aside, an empty one takes its place, and the caller is told
//! so, once, through [`Registry::set_aside`]. Listing needs no writing: [`Registry::read`] leaves everything as it is.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row, TransactionBehavior, params,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::content::ReadError;
use crate::whole::WriteError;

/// Raised with every change of the table; a file of another version is set aside and rebuilt.
const VERSION: i64 = 1;

/// The runs of one user, in `runs.sqlite`.
#[derive(Debug)]
pub struct Registry {
    connection: Connection,
    path: PathBuf,
    set_aside: Option<PathBuf>,
}

impl Registry {
    /// Opens or creates the registry at `path`.
    pub fn open(path: &Path) -> Result<Self, RegistryError> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|source| WriteError::new(parent, 0, source))?;
        }
        let (connection, set_aside) = match connect(path) {
            Ok(connection) => (connection, None),
            Err(error) if is_unreadable(&error) => {
                let aside = rename_aside(path)?;
                (
                    connect(path).map_err(|source| refused(path, source))?,
                    Some(aside),
                )
            }
            Err(source) => return Err(refused(path, source)),
        };
        Ok(Self {
            connection,
            path: path.to_path_buf(),
            set_aside,
        })
    }

    /// Where a registry that could not be read was moved to when this one was opened; worth a note to the user.
    pub fn set_aside(&self) -> Option<&Path> {
        self.set_aside.as_deref()
    }

    /// What the registry at `path` lists, the run started last first. Nothing is written, nor made where there is none.
    pub fn read(path: &Path) -> Result<Listed, RegistryError> {
        match fs::metadata(path) {
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(Listed::default());
            }
            Err(source) => {
                let path = path.to_path_buf();
                return Err(ReadError { path, source }.into());
            }
        }
        let read = || -> rusqlite::Result<Listed> {
            let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            connection.busy_timeout(Duration::from_secs(1))?;
            match check(&connection)? {
                // Made a moment ago by somebody who is about to fill it.
                0 => Ok(Listed::default()),
                _ => list(&connection),
            }
        };
        read().map_err(|source| refused(path, source))
    }

    /// Adds the run, or replaces what was known of it or of its directory.
    pub fn record(&mut self, run: &RunRow) -> Result<(), RegistryError> {
        let record = |connection: &mut Connection| {
            // Immediate, so that the second of two that end at once waits and is not refused.
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute("DELETE FROM runs WHERE dir = ?1", [&run.dir])?;
            insert(&transaction, run)?;
            transaction.commit()
        };
        record(&mut self.connection).map_err(|source| refused(&self.path, source))
    }

    /// All runs, the one started last first.
    pub fn list(&self) -> Result<Listed, RegistryError> {
        list(&self.connection).map_err(|source| refused(&self.path, source))
    }

    /// One run.
    pub fn get(&self, id: &str) -> Result<Option<RunRow>, RegistryError> {
        let found = self
            .connection
            .query_row(&format!("{SELECT} WHERE id = ?1"), [id], run_of)
            .optional();
        found.map_err(|source| refused(&self.path, source))
    }

    /// Replaces everything by what the run directories say, all or nothing.
    pub fn rebuild(&mut self, runs: &[RunRow]) -> Result<(), RegistryError> {
        let rebuild = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            transaction.execute("DELETE FROM runs", [])?;
            runs.iter().try_for_each(|run| insert(&transaction, run))?;
            transaction.commit()
        };
        rebuild(&mut self.connection).map_err(|source| refused(&self.path, source))
    }
}

/// What a registry lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    /// A row for each run.
    pub runs: Vec<RunRow>,
    /// How many rows hold something else than a run, which hides none of the others.
    pub odd: usize,
}

/// One run, as listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// Its name, unique in the registry.
    pub id: String,
    /// Its directory.
    pub dir: String,
    /// When it started, in seconds since 1970.
    pub started_unix: i64,
    /// When it ended, however it ended.
    pub finished_unix: Option<i64>,
    /// How it stands.
    pub status: RunStatus,
    /// What was tuned.
    pub model: String,
    /// The content id of what it was tuned on.
    pub data: String,
    /// The numbers worth a column in a list, as a JSON object.
    pub metrics: Value,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// At work, or killed without a chance to say so.
    Running,
    /// Stopped on request, with a checkpoint to resume from.
    Interrupted,
    /// Done.
    Finished,
    /// Ended by an error.
    Failed,
}

impl RunStatus {
    const ALL: [Self; 4] = [
        Self::Running,
        Self::Interrupted,
        Self::Finished,
        Self::Failed,
    ];

    /// The word shown and stored.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }
}

/// Why the registry could not be used. No run depends on it: report and go on.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// SQLite refused.
    #[error("the run registry {path} cannot be used")]
    Refused {
        /// The registry.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file system refused to let it be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file system refused to let it be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl RegistryError {
    /// Whether the file is no registry, so that making it anew from the run directories loses nothing.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if is_unreadable(source))
    }
}

const SELECT: &str =
    "SELECT id, dir, started_unix, finished_unix, status, model, data, metrics FROM runs";

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    // Two runs may end in the same moment; the second waits.
    connection.busy_timeout(Duration::from_secs(5))?;
    let version = check(&connection)?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS runs (
            id TEXT PRIMARY KEY, dir TEXT NOT NULL, started_unix INTEGER NOT NULL, finished_unix INTEGER,
            status TEXT NOT NULL, model TEXT NOT NULL, data TEXT NOT NULL, metrics TEXT NOT NULL
        ) STRICT",
    )?;
    if version != VERSION {
        connection.pragma_update(None, "user_version", VERSION)?;
    }
    // A table of the same name and other columns shows here and not in the middle of a run.
    connection
        .prepare(SELECT)
        .map(drop)
        .map_err(|_| unreadable())?;
    Ok(connection)
}

/// The version of its table, 0 where it has none yet; a file that is damaged or of another version is no registry.
fn check(connection: &Connection) -> rusqlite::Result<i64> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let health: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    match health == "ok" && matches!(version, 0 | VERSION) {
        true => Ok(version),
        false => Err(unreadable()),
    }
}

fn list(connection: &Connection) -> rusqlite::Result<Listed> {
    let select = format!("{SELECT} ORDER BY started_unix DESC, id");
    let mut select =
        connection
            .prepare(&select)
            .map_err(|error| match error.sqlite_error_code() {
                // A table of the same name and other columns.
                Some(ErrorCode::Unknown) => unreadable(),
                _ => error,
            })?;
    let mut rows = select.query([])?;
    let mut listed = Listed::default();
    while let Some(row) = rows.next()? {
        match run_of(row) {
            Ok(run) => listed.runs.push(run),
            Err(_) => listed.odd += 1,
        }
    }
    Ok(listed)
}

fn insert(connection: &Connection, run: &RunRow) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO runs (id, dir, started_unix, finished_unix, status, model, data, metrics)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            run.id,
            run.dir,
            run.started_unix,
            run.finished_unix,
            run.status.word(),
            run.model,
            run.data,
            run.metrics.to_string()
        ],
    )?;
    Ok(())
}

fn run_of(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let (status, metrics): (String, String) = (row.get(4)?, row.get(7)?);
    Ok(RunRow {
        id: row.get(0)?,
        dir: row.get(1)?,
        started_unix: row.get(2)?,
        finished_unix: row.get(3)?,
        status: RunStatus::of_word(&status).ok_or_else(unreadable)?,
        model: row.get(5)?,
        data: row.get(6)?,
        metrics: serde_json::from_str(&metrics).map_err(|_| unreadable())?,
    })
}

fn unreadable() -> rusqlite::Error {
    let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    let what = "it does not hold the table of runs that this version of Hone keeps";
    rusqlite::Error::SqliteFailure(corrupt, Some(what.to_owned()))
}

fn is_unreadable(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
    )
}

fn rename_aside(path: &Path) -> Result<PathBuf, RegistryError> {
    let aside = (1..)
        .map(|n| with_suffix(path, &format!(".unreadable-{n}")))
        .find(|aside| !aside.exists())
        .expect("numbers do not run out");
    fs::rename(path, &aside).map_err(|source| WriteError::new(&aside, 0, source))?;
    // A journal left by a crash would be played into the new, empty file.
    for suffix in ["-journal", "-wal", "-shm"] {
        let _ = fs::remove_file(with_suffix(path, suffix));
    }
    Ok(aside)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn refused(path: &Path, source: rusqlite::Error) -> RegistryError {
    RegistryError::Refused {
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(id: &str, started_unix: i64) -> RunRow {
        RunRow {
            id: id.into(),
            dir: format!("/runs/{id}"),
            started_unix,
            finished_unix: None,
            status: RunStatus::Running,
            model: "smollm2-135m-instruct".into(),
            data: "rust-lints".into(),
            metrics: json!({}),
        }
    }

    fn ids(registry: &Registry) -> Vec<String> {
        registry
            .list()
            .unwrap()
            .runs
            .into_iter()
            .map(|run| run.id)
            .collect()
    }

    #[test]
    fn a_run_is_recorded_once_and_its_latest_state_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut registry = Registry::open(&dir.path().join("home/runs.sqlite")).unwrap();
        registry.record(&run("a", 1)).unwrap();
        let finished = RunRow {
            finished_unix: Some(9),
            status: RunStatus::Finished,
            metrics: json!({"valid_loss_best": 1.25}),
            ..run("a", 1)
        };
        registry.record(&finished).unwrap();
        assert_eq!(
            registry.list().unwrap().runs,
            std::slice::from_ref(&finished)
        );
        assert_eq!(registry.get("a").unwrap(), Some(finished));
        assert_eq!(registry.get("b").unwrap(), None);
    }

    #[test]
    fn the_list_survives_reopening_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.sqlite");
        let mut registry = Registry::open(&path).unwrap();
        ["old", "new", "middle"]
            .iter()
            .zip([1, 3, 2])
            .for_each(|(id, at)| registry.record(&run(id, at)).unwrap());
        drop(registry);
        let registry = Registry::open(&path).unwrap();
        assert_eq!(ids(&registry), ["new", "middle", "old"]);
        assert_eq!(registry.set_aside(), None);
    }

    #[test]
    fn every_status_is_stored_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut registry = Registry::open(&dir.path().join("runs.sqlite")).unwrap();
        for status in RunStatus::ALL {
            registry
                .record(&RunRow {
                    status,
                    ..run("a", 1)
                })
                .unwrap();
            assert_eq!(registry.get("a").unwrap().unwrap().status, status);
            assert_eq!(serde_json::to_value(status).unwrap(), status.word());
        }
    }

    #[test]
    fn an_unreadable_registry_is_kept_aside_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.sqlite");
        fs::write(
            &path,
            b"this was never a database, and it is long enough to be looked at",
        )
        .unwrap();
        let mut registry = Registry::open(&path).unwrap();
        let aside = registry.set_aside().unwrap().to_path_buf();
        assert!(fs::read(aside).unwrap().starts_with(b"this was never"));
        registry.record(&run("a", 1)).unwrap();
        assert_eq!(ids(&registry), ["a"]);
    }

    #[test]
    fn a_registry_with_broken_pages_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.sqlite");
        let mut registry = Registry::open(&path).unwrap();
        (0..200).for_each(|n| registry.record(&run(&format!("run-{n}"), n)).unwrap());
        drop(registry);
        let mut bytes = fs::read(&path).unwrap();
        bytes[4096..8192].fill(0xa5);
        fs::write(&path, bytes).unwrap();
        let registry = Registry::open(&path).unwrap();
        assert!(registry.set_aside().is_some());
        assert_eq!(ids(&registry), Vec::<String>::new());
    }

    #[test]
    fn a_table_of_another_version_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.sqlite");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE runs (id TEXT); PRAGMA user_version = 1")
            .unwrap();
        assert!(Registry::open(&path).unwrap().set_aside().is_some());
        Connection::open(&path)
            .unwrap()
            .execute_batch("PRAGMA user_version = 99")
            .unwrap();
        assert!(Registry::open(&path).unwrap().set_aside().is_some());
    }

    #[test]
    fn a_rebuild_forgets_what_the_directories_do_not_hold() {
        let dir = tempfile::tempdir().unwrap();
        let mut registry = Registry::open(&dir.path().join("runs.sqlite")).unwrap();
        registry.record(&run("gone", 1)).unwrap();
        registry.rebuild(&[run("a", 1), run("b", 2)]).unwrap();
        assert_eq!(ids(&registry), ["b", "a"]);
    }

    #[test]
    fn a_row_that_is_no_run_hides_none_of_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.sqlite");
        let mut registry = Registry::open(&path).unwrap();
        registry.record(&run("a", 1)).unwrap();
        registry.record(&run("b", 2)).unwrap();
        let broken = "UPDATE runs SET status = 'asleep' WHERE id = 'a'";
        Connection::open(&path)
            .unwrap()
            .execute_batch(broken)
            .unwrap();
        let listed = Registry::read(&path).unwrap();
        assert_eq!((listed.runs, listed.odd), (vec![run("b", 2)], 1));
    }

    #[test]
    fn reading_makes_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("home/runs.sqlite");
        assert_eq!(Registry::read(&path).unwrap(), Listed::default());
        assert!(!dir.path().join("home").exists());
        Registry::open(&path).unwrap().record(&run("a", 1)).unwrap();
        let before = fs::read(&path).unwrap();
        assert_eq!(Registry::read(&path).unwrap().runs, [run("a", 1)]);
        fs::write(&path, [0xa5; 8192]).unwrap();
        assert!(Registry::read(&path).unwrap_err().is_damage());
        assert_eq!(fs::read(&path).unwrap(), [0xa5; 8192]);
        fs::write(&path, before).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("home")).unwrap().count(), 1);
    }

    #[test]
    fn a_registry_that_somebody_has_locked_is_not_taken_for_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.sqlite");
        Registry::open(&path).unwrap().record(&run("a", 1)).unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let error = Registry::read(&path).unwrap_err();
        assert!(!error.is_damage(), "{error}");
    }

    #[test]
    fn a_directory_is_listed_once_whatever_runs_it_held() {
        let dir = tempfile::tempdir().unwrap();
        let mut registry = Registry::open(&dir.path().join("runs.sqlite")).unwrap();
        registry.record(&run("a", 1)).unwrap();
        let next = RunRow {
            dir: run("a", 1).dir,
            ..run("b", 2)
        };
        registry.record(&next).unwrap();
        assert_eq!(ids(&registry), ["b"]);
    }

    #[test]
    fn a_path_that_cannot_hold_a_registry_is_an_error_not_a_rebuild() {
        let dir = tempfile::tempdir().unwrap();
        let error = Registry::open(dir.path()).unwrap_err().to_string();
        assert!(error.starts_with("the run registry "), "{error}");
        assert!(dir.path().is_dir());
    }
}
