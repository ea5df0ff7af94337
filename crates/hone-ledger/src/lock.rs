//! One writer at a time: a lock on a file, which the system takes back when its process ends, however it ends.
//!
//! The file says who holds the lock, for people to read; whether it is held, only the lock itself says. So a file that a
//! killed process left behind hinders nobody. Where a file system has no locks, [`Lock::is_kept`] is `false`, and the
//! caller says so instead of failing.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::aside::hidden;
use crate::aside::parent;
use crate::whole::WriteError;
use crate::words::quoted;

/// Whoever looks whether a lock is held, holds it for that moment.
const PATIENCE: Duration = Duration::from_millis(300);

/// The right of this process to write something, until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    is_kept: bool,
    what: PathBuf,
    /// What is written, locked too where it is a directory: the file may be removed by somebody who tidies up, and a new one
    /// under its name would be another file.
    _dir: Option<File>,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// What it is doing, such as `hone train`.
    pub command: String,
    /// Since when, in seconds since 1970.
    pub since_unix: i64,
}

/// Whether a lock is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// By nobody.
    Free,
    /// By a process, which may not have said yet who it is.
    By(Option<Holder>),
    /// The file system does not tell.
    Unknown,
}

impl Lock {
    /// Takes the lock on `what` by the file `path`, made if need be; `command` is what the others are told.
    pub fn take(path: &Path, what: &Path, command: &str) -> Result<Self, LockError> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let fail = |source| LockError::Write(WriteError::new(path, 0, source));
            // A link leads to a file of somebody's, and a pipe would be waited at.
            if path
                .symlink_metadata()
                .is_ok_and(|found| !found.is_file() && !found.is_dir())
            {
                let path = path.to_path_buf();
                return Err(LockError::Foreign { path });
            }
            let file = match open(path) {
                // Its last holder is removing it.
                Err(error) if is_passing(&error) && Instant::now() < give_up => {
                    thread::sleep(PATIENCE / 20);
                    continue;
                }
                // Left behind by somebody whose files we may not write, in a directory where we may.
                Err(error) if is_left_by_another(&error, path) && fs::remove_file(path).is_ok() => {
                    continue;
                }
                opened => opened.map_err(fail)?,
            };
            let is_kept = match file.try_lock() {
                // Some file systems number a file anew each time; then its name has to do.
                Ok(()) if !is_at(&file, path) && Instant::now() < give_up => continue,
                Ok(()) => true,
                Err(TryLockError::WouldBlock) if Instant::now() < give_up => {
                    thread::sleep(PATIENCE / 20);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Held {
                        what: what.to_path_buf(),
                        holder: Holder::read(path),
                    });
                }
                // Some network drives know no locks.
                Err(TryLockError::Error(_)) => false,
            };
            let dir = match lock_dir(what) {
                Err(TryLockError::WouldBlock) if Instant::now() < give_up => {
                    thread::sleep(PATIENCE / 20);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Held {
                        what: what.to_path_buf(),
                        holder: None,
                    });
                }
                Err(TryLockError::Error(_)) => None,
                Ok(dir) => dir,
            };
            let mut lock = Self {
                file,
                path: path.to_path_buf(),
                is_kept,
                what: what.to_path_buf(),
                _dir: dir,
            };
            lock.refuse_foreign()?;
            lock.sign(command).map_err(fail)?;
            return Ok(lock);
        }
    }

    /// Takes the lock on a file or directory that is to be made, by a hidden file beside it.
    pub fn take_beside(what: &Path, command: &str) -> Result<Self, LockError> {
        let fail = |source| LockError::Write(WriteError::new(what, 0, source));
        Self::take(&path_beside(what).map_err(fail)?, what, command)
    }

    /// Whether there is a lock beside `what`, held or left behind.
    pub(crate) fn is_beside(what: &Path) -> bool {
        path_beside(what).is_ok_and(|path| path.is_file())
    }

    /// Removes the file of a lock that this process holds and that ends with it.
    pub(crate) fn remove_beside(what: &Path) {
        if let Ok(path) = path_beside(what) {
            let _ = fs::remove_file(path);
        }
    }

    /// Whether others are kept out. A file system without locks keeps out nobody.
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Refuses to go on where the file was removed and somebody else has taken the lock anew. Asked before what was made
    /// takes its name.
    ///
    /// # Errors
    /// [`LockError::Held`], with who holds it now.
    pub fn insist(&self) -> Result<(), LockError> {
        if !self.is_kept || is_at(&self.file, &self.path) {
            return Ok(());
        }
        match who_holds(&self.path) {
            Held::By(holder) => Err(LockError::Held {
                what: self.what.clone(),
                holder,
            }),
            Held::Free | Held::Unknown => Ok(()),
        }
    }

    /// A file that says something else is somebody's, who happened on its name.
    fn refuse_foreign(&mut self) -> Result<(), LockError> {
        // Windows lets nobody read what is locked.
        if fs::read(&self.path).map_or(true, |bytes| is_ours(&bytes)) {
            return Ok(());
        }
        let path = std::mem::take(&mut self.path);
        Err(LockError::Foreign { path })
    }

    fn sign(&mut self, command: &str) -> io::Result<()> {
        let holder = Holder {
            pid: std::process::id(),
            command: command.to_owned(),
            since_unix: now_unix(),
        };
        let mut line = serde_json::to_vec(&holder).expect("a holder is plain JSON");
        line.push(b'\n');
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&line)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is held: whoever opened it meanwhile finds that it is not at its path any more, and opens anew.
        // Elsewhere than on Unix a file cannot be told from its successor, and stays.
        let is_ours = !self.path.as_os_str().is_empty() && is_at(&self.file, &self.path);
        if cfg!(unix) && self.is_kept && is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Locks a directory itself, where the system can.
#[cfg(unix)]
fn lock_dir(what: &Path) -> Result<Option<File>, TryLockError> {
    if !what.is_dir() {
        return Ok(None);
    }
    let dir = File::open(what).map_err(TryLockError::Error)?;
    dir.try_lock().map(|()| Some(dir))
}

#[cfg(not(unix))]
fn lock_dir(_what: &Path) -> Result<Option<File>, TryLockError> {
    Ok(None)
}

fn path_beside(what: &Path) -> io::Result<PathBuf> {
    let mut name = hidden(what)?;
    name.push(".hone-lock");
    Ok(parent(what).join(name))
}

/// Whether the lock by the file `path` is held, without taking it.
pub fn who_holds(path: &Path) -> Held {
    // A pipe would be waited at.
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return Held::Unknown;
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Held::Free,
        Err(_) => return Held::Unknown,
    };
    match file.try_lock_shared() {
        Ok(()) => Held::Free,
        Err(TryLockError::WouldBlock) => Held::By(Holder::read(path)),
        Err(TryLockError::Error(_)) => Held::Unknown,
    }
}

/// Whether somebody writes in `dir` by the lock file of this name there, also where the file was removed by hand.
pub fn who_writes_in(dir: &Path, name: &str) -> Held {
    match who_holds(&dir.join(name)) {
        Held::Free if is_locked_dir(dir) => Held::By(None),
        held => held,
    }
}

#[cfg(unix)]
fn is_locked_dir(dir: &Path) -> bool {
    let opened = File::open(dir).ok().filter(|_| dir.is_dir());
    opened.is_some_and(|dir| matches!(dir.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

#[cfg(not(unix))]
fn is_locked_dir(_dir: &Path) -> bool {
    false
}

impl Holder {
    fn read(path: &Path) -> Option<Self> {
        let mut line = String::new();
        File::open(path).ok()?.read_to_string(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = now_unix().saturating_sub(self.since_unix).max(0);
        // The file is anybody's who writes there.
        let (pid, command) = (self.pid, quoted(&self.command));
        write!(f, "process {pid} (`{command}`, for ")?;
        match seconds {
            0..120 => write!(f, "{seconds} s)"),
            120..7200 => write!(f, "{} min)", seconds / 60),
            _ => write!(f, "{} h)", seconds / 3600),
        }
    }
}

/// Why a lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else is writing.
    #[error("{} is being written by {}", what.display(), by(holder.as_ref()))]
    Held {
        /// What was to be written.
        what: PathBuf,
        /// Who writes it, where that can be read.
        holder: Option<Holder>,
    },
    /// The file is somebody's and no lock.
    #[error("{} is in the way: Hone keeps a lock under this name, and this is none", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl LockError {
    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Held { .. } => vec!["wait until it ends, or choose another --out".into()],
            Self::Foreign { path } => vec![format!(
                "look at {}, and move it to another name",
                path.display()
            )],
            Self::Write(error) => error.hints(),
        }
    }
}

fn by(holder: Option<&Holder>) -> String {
    holder.map_or("another process".to_owned(), Holder::to_string)
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path)
}

/// Whether a lock file says nothing but who held it. Signing is one write, so that a kill leaves nothing or a line, and a
/// power cut at worst zeros.
fn is_ours(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0) || serde_json::from_slice::<Holder>(bytes).is_ok()
}

fn is_left_by_another(error: &io::Error, path: &Path) -> bool {
    error.kind() == ErrorKind::PermissionDenied
        && who_holds(path) == Held::Free
        && fs::read(path).is_ok_and(|bytes| is_ours(&bytes))
}

/// Windows refuses to open a file that is being removed.
fn is_passing(error: &io::Error) -> bool {
    cfg!(windows) && error.kind() == ErrorKind::PermissionDenied
}

/// Whether the file that was opened is still the one at the path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let there = fs::metadata(path).map(|found| (found.dev(), found.ino()));
    let ours = file.metadata().map(|found| (found.dev(), found.ino()));
    matches!((there, ours), (Ok(there), Ok(ours)) if there == ours)
}

#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

fn now_unix() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| elapsed.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (lock, what) = (dir.path().join("run.lock"), dir.path().join("run"));
        (dir, lock, what)
    }

    #[test]
    fn the_second_is_told_who_holds_it() {
        let (_dir, path, what) = place();
        assert_eq!(who_holds(&path), Held::Free);
        let first = Lock::take(&path, &what, "hone train").unwrap();
        assert!(first.is_kept());
        let Held::By(Some(holder)) = who_holds(&path) else {
            panic!("nobody holds it")
        };
        assert_eq!(
            (holder.pid, holder.command.as_str()),
            (std::process::id(), "hone train")
        );
        let error = Lock::take(&path, &what, "hone train").unwrap_err();
        let said = error.to_string();
        let pid = std::process::id();
        assert!(
            said.contains(&format!(
                "is being written by process {pid} (`hone train`, for "
            )),
            "{said}"
        );
        drop(first);
        assert_eq!(who_holds(&path), Held::Free);
        Lock::take(&path, &what, "hone train").unwrap();
        assert!(!path.exists(), "the file of a lock that ended stays");
    }

    #[test]
    #[cfg(unix)]
    fn a_lock_whose_file_was_removed_by_hand_still_keeps_others_out_of_its_directory() {
        let (_dir, path, what) = place();
        fs::create_dir(&what).unwrap();
        let first = Lock::take(&path, &what, "hone train").unwrap();
        fs::remove_file(&path).unwrap();
        let error = Lock::take(&path, &what, "hone train").unwrap_err();
        assert!(matches!(error, LockError::Held { .. }), "{error}");
        assert_eq!(who_writes_in(&what, "run.lock"), Held::By(None));
        drop(first);
        assert_eq!(who_writes_in(&what, "run.lock"), Held::Free);
        Lock::take(&path, &what, "hone train").unwrap();
    }

    #[test]
    #[cfg(unix)]
    fn who_lost_a_lock_to_another_is_told_and_leaves_the_others_file_alone() {
        let (_dir, path, what) = place();
        let first = Lock::take(&path, &what, "hone merge").unwrap();
        fs::remove_file(&path).unwrap();
        first.insist().unwrap();
        let second = Lock::take(&path, &what, "hone export").unwrap();
        let error = first.insist().unwrap_err();
        assert!(error.to_string().contains("`hone export`"), "{error}");
        drop(first);
        assert!(path.is_file());
        second.insist().unwrap();
    }

    #[test]
    fn what_a_lock_says_of_its_holder_is_told_in_a_short_line() {
        let (_dir, path, what) = place();
        let _first = Lock::take(&path, &what, &"a\u{1b}[2J\n".repeat(10_000)).unwrap();
        let said = Lock::take(&path, &what, "hone train").unwrap_err();
        let said = said.to_string();
        assert!(
            said.len() < 1000 && !said.contains(char::is_control),
            "{said}"
        );
    }

    #[test]
    fn a_file_that_a_dead_process_left_hinders_nobody() {
        let (_dir, path, what) = place();
        for left in [
            "",
            "{\"pid\":1,\"command\":\"hone train\",\"since_unix\":0}\n",
        ] {
            fs::write(&path, left).unwrap();
            assert_eq!(who_holds(&path), Held::Free);
            Lock::take(&path, &what, "hone train").unwrap();
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_file_that_a_dead_process_of_another_user_left_hinders_nobody() {
        use std::os::unix::fs::PermissionsExt;
        let (_dir, path, what) = place();
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        Lock::take(&path, &what, "hone train").unwrap();
    }

    #[test]
    fn somebodys_file_of_that_name_is_left_alone() {
        let (_dir, path, what) = place();
        fs::write(&path, "my notes").unwrap();
        let error = Lock::take(&path, &what, "hone train").unwrap_err();
        assert!(matches!(error, LockError::Foreign { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"my notes");
    }

    #[test]
    #[cfg(unix)]
    fn a_link_of_that_name_leads_to_no_file_of_somebodys() {
        let (dir, path, what) = place();
        let empty = dir.path().join("thesis.txt");
        fs::write(&empty, "").unwrap();
        for target in [&empty, &dir.path().join("absent")] {
            std::os::unix::fs::symlink(target, &path).unwrap();
            let error = Lock::take(&path, &what, "hone train").unwrap_err();
            assert!(matches!(error, LockError::Foreign { .. }), "{error}");
            assert!(path.is_symlink());
            fs::remove_file(&path).unwrap();
        }
        assert_eq!(fs::read(&empty).unwrap(), b"");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_pipe_of_that_name_is_not_waited_at() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let (_dir, path, what) = place();
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert_eq!(who_holds(&path), Held::Unknown);
        let error = Lock::take(&path, &what, "hone train").unwrap_err();
        assert!(matches!(error, LockError::Foreign { .. }), "{error}");
    }

    #[test]
    fn who_looks_does_not_keep_out_who_writes() {
        let (_dir, path, what) = place();
        fs::write(&path, "").unwrap();
        let looking = File::open(&path).unwrap();
        looking.lock_shared().unwrap();
        let soon = thread::spawn(move || {
            thread::sleep(PATIENCE / 4);
            drop(looking);
        });
        Lock::take(&path, &what, "hone train").unwrap();
        soon.join().unwrap();
    }

    #[test]
    fn of_many_that_come_at_once_one_writes_at_a_time() {
        let (_dir, path, what) = place();
        let writers: std::sync::atomic::AtomicUsize = 0.into();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut taken = 0;
                    while taken < 20 {
                        let Ok(_lock) = Lock::take(&path, &what, "hone train") else {
                            continue;
                        };
                        use std::sync::atomic::Ordering::SeqCst;
                        assert_eq!(writers.fetch_add(1, SeqCst), 0);
                        writers.fetch_sub(1, SeqCst);
                        taken += 1;
                    }
                });
            }
        });
    }
}
