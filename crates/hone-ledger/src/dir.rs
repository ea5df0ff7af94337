//! A directory is there complete, or not there: the checkpoint protocol.
//!
//! Files go into a directory beside the target under a name that nobody else has, each reaches the disk, the manifest
//! goes last, and one rename publishes them all. The manifest lists every file with its length and hash, and carries a
//! hash of itself, so a directory that was cut, mixed or flipped by a bad disk is refused by name instead of loaded.
//! Where a directory is replaced, the old one keeps existing beside the new one until that is in place, and is found
//! there by [`open_dir`] after a kill between the two renames. What a kill leaves is removed by the next who writes the
//! same name, or by [`sweep`]; nothing else ever is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::aside::{made_for, made_in, name_beside, parent};
use crate::content::{ContentId, ReadError};
use crate::lock::{Lock, LockError};
use crate::whole::{WriteError, remove_if_left_behind, sync_dir, sync_parent, write_synced};

/// The file that makes a directory complete.
pub const MANIFEST: &str = "manifest.json";

/// Publishes `files` and a note as the directory `path`, all or nothing; a directory of that name is replaced, so the name
/// has to be the caller's, and the caller its only writer.
///
/// Returns the id of the content: the same files and note give the same id, anywhere and at any time.
pub fn publish_dir(
    path: &Path,
    files: &[(&str, &[u8])],
    note: Value,
) -> Result<ContentId, DirError> {
    check_names(path, files)?;
    let manifest = Manifest::of(files, note);
    let needed_bytes = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let fail = |source| DirError::Write(WriteError::new(path, needed_bytes, source));

    finish_for(path);
    let staging = Staging::beside(path).map_err(fail)?;
    fill(&staging.made(), files, &manifest).map_err(fail)?;
    staging.take_the_name().map_err(fail)?;
    sync_parent(path)?;
    Ok(manifest.id)
}

/// A directory in the making, for files too large to be handed over as bytes.
///
/// Whoever holds it writes files under [`path_of`](Self::path_of); [`publish`](Self::publish) lists them and gives
/// the directory its name, unless something of that name has come to be. Dropped before, it leaves nothing. Nobody else
/// makes a directory of that name meanwhile.
#[derive(Debug)]
pub struct Unpublished {
    path: PathBuf,
    names: Vec<String>,
    settling: Option<Settling>,
    // Dropped in this order: nothing is left of the directory when the lock ends.
    staging: Staging,
    lock: Lock,
}

/// Files that are being hashed and brought to the disk.
#[derive(Debug)]
struct Settling {
    hashed: JoinHandle<Result<Vec<Entry>, DirError>>,
    synced: JoinHandle<Result<(), DirError>>,
}

impl Settling {
    fn begin(dir: &Path, names: Vec<String>) -> Self {
        let files: Vec<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
        let dir = dir.to_path_buf();
        Self {
            synced: thread::spawn(move || files.iter().try_for_each(|file| sync(file))),
            hashed: thread::spawn(move || {
                let entries = names.iter().map(|name| Entry::hashed(&dir, name));
                entries.collect()
            }),
        }
    }

    fn finish(self) -> Result<Vec<Entry>, DirError> {
        let hashed = joined(self.hashed);
        joined(self.synced)?;
        hashed
    }
}

fn joined<T>(thread: JoinHandle<T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Waits until a file that was written is on the disk.
fn sync(file: &Path) -> Result<(), DirError> {
    // Windows syncs what is open for writing only.
    let synced = File::options()
        .write(true)
        .open(file)
        .and_then(|file| file.sync_all());
    Ok(synced.map_err(|source| WriteError::new(file, 0, source))?)
}

impl Unpublished {
    /// Begins the directory `path`, empty, and removes what others left who were killed while they made it. `command` is
    /// what a second one is told who is refused.
    pub fn begin(path: &Path, command: &str) -> Result<Self, DirError> {
        let fail = |source| WriteError::new(path, 0, source);
        fs::create_dir_all(parent(path)).map_err(fail)?;
        let lock = Lock::take_beside(path, command)?;
        finish_for(path);
        let staging = Staging::beside(path).map_err(fail)?;
        begun().push((staging.dir.clone(), path.to_path_buf()));
        fs::create_dir(staging.made()).map_err(fail)?;
        Ok(Self {
            path: path.to_path_buf(),
            names: Vec::new(),
            settling: None,
            staging,
            lock,
        })
    }

    /// Whether a second process would be refused; a file system without locks refuses nobody.
    pub fn is_locked(&self) -> bool {
        self.lock.is_kept()
    }

    /// Where files are until it has its name.
    pub fn dir(&self) -> PathBuf {
        self.staging.made()
    }

    /// Where to write the file of this name; files are listed in the order in which they were asked for.
    pub fn path_of(&mut self, name: &str) -> PathBuf {
        if !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
        self.staging.made().join(name)
    }

    /// The id that publishing would give.
    pub fn id(&self, note: Value) -> Result<ContentId, DirError> {
        Ok(self.manifest(note, Vec::new())?.id)
    }

    /// Begins to hash the files there are and to bring them to the disk, beside whatever is done until
    /// [`publish`](Self::publish), which would do it otherwise. They must not change any more.
    pub fn settle(&mut self) {
        if self.settling.is_none() {
            self.settling = Some(Settling::begin(&self.dir(), self.names.clone()));
        }
    }

    /// Waits until everything is on the disk and publishes it, and a note, all or nothing.
    ///
    /// Returns the id of the content, as [`publish_dir`] does.
    pub fn publish(mut self, note: Value) -> Result<ContentId, DirError> {
        let settling = self.settling.take();
        let settled = settling.map_or(Ok(Vec::new()), Settling::finish)?;
        let manifest = self.manifest(note, settled)?;
        let fail = |source| DirError::Write(WriteError::new(&self.path, 0, source));
        for folder in folders(self.names.iter().map(String::as_str)) {
            sync_dir(&self.dir().join(folder)).map_err(fail)?;
        }
        write_synced(&self.dir().join(MANIFEST), &manifest.to_json()).map_err(fail)?;
        self.take_the_name()?;
        Ok(manifest.id)
    }

    /// Gives the directory its name as it is, for forms that others define and that have no manifest. Whoever wrote the files
    /// has waited for the disk.
    pub fn publish_without_manifest(self) -> Result<(), DirError> {
        self.take_the_name()
    }

    fn take_the_name(&self) -> Result<(), DirError> {
        let fail = |source| DirError::Write(WriteError::new(&self.path, 0, source));
        sync_dir(&self.dir()).map_err(fail)?;
        self.lock.insist()?;
        if self.path.symlink_metadata().is_ok() {
            return Err(DirError::Taken {
                dir: self.path.clone(),
            });
        }
        fs::rename(self.dir(), &self.path).map_err(fail)?;
        Ok(sync_parent(&self.path)?)
    }

    /// With the entries that are known already.
    fn manifest(&self, note: Value, known: Vec<Entry>) -> Result<Manifest, DirError> {
        let names: Vec<(&str, &[u8])> = self
            .names
            .iter()
            .map(|name| (name.as_str(), &[][..]))
            .collect();
        check_names(&self.path, &names)?;
        let mut known: BTreeMap<String, Entry> = known
            .into_iter()
            .map(|entry| (entry.name.clone(), entry))
            .collect();
        let files = self.names.iter().map(|name| match known.remove(name) {
            Some(entry) => Ok(entry),
            None => Entry::of_file(&self.dir(), name),
        });
        Ok(Manifest::with(files.collect::<Result<_, _>>()?, note))
    }
}

impl Drop for Unpublished {
    fn drop(&mut self) {
        begun().retain(|(dir, _)| *dir != self.staging.dir);
        // Some systems do not remove files that are open.
        if let Some(settling) = self.settling.take() {
            let _ = settling.finish();
        }
    }
}

/// Staging directories of this process, each with the name that it is for.
fn begun() -> MutexGuard<'static, Vec<(PathBuf, PathBuf)>> {
    static BEGUN: Mutex<Vec<(PathBuf, PathBuf)>> = Mutex::new(Vec::new());
    BEGUN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes every directory that this process has begun and not published, for whoever ends the process at once. Another
/// thread may still be writing there, and fails.
pub fn abandon() {
    for (dir, path) in begun().iter() {
        // A file that comes to be meanwhile keeps its directory.
        let is_gone = (0..ATTEMPTS).any(|_| Staging::end(dir, path).is_ok() || !dir.exists());
        if is_gone {
            Lock::remove_beside(path);
        }
    }
}

/// How often the removal of a directory is tried that somebody still writes to.
const ATTEMPTS: usize = 50;

/// A directory of ours beside a target, for what does not have its name yet or no longer.
#[derive(Debug)]
struct Staging {
    path: PathBuf,
    dir: PathBuf,
}

/// The file in it that says that it is ours, with the directories below.
const MARKER: &str = "made-by-hone";
const MARKER_TEXT: &str = "Hone is making or removing a directory here. Left over from a killed process, this is removed by the next one.\n";

/// What will take the name of the target.
const MADE: &str = "made";
/// What had it before.
const REPLACED: &str = "replaced";
/// What had it and is being removed.
const DISCARDED: &str = "discarded";

impl Staging {
    fn beside(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent(path))?;
        let dir = name_beside(path)?;
        fs::create_dir(&dir)?;
        let staging = Self {
            path: path.to_path_buf(),
            dir,
        };
        fs::write(staging.dir.join(MARKER), MARKER_TEXT)?;
        Ok(staging)
    }

    fn made(&self) -> PathBuf {
        self.dir.join(MADE)
    }

    /// Gives what was made its name; what was there moves aside first, since a rename cannot replace a full directory.
    fn take_the_name(&self) -> io::Result<()> {
        if self.path.symlink_metadata().is_ok() {
            fs::rename(&self.path, self.dir.join(REPLACED))?;
        }
        fs::rename(self.made(), &self.path)
    }

    /// Gives `path` back what it was if a replacement was not completed, and removes the rest of the staging directory
    /// `dir`, the marker last, so that a kill on the way leaves one that is known as ours. What somebody else put there
    /// stays, and the directory with it.
    fn end(dir: &Path, path: &Path) -> io::Result<()> {
        let marker = dir.join(MARKER);
        if marker.is_file() {
            let replaced = dir.join(REPLACED);
            if path.symlink_metadata().is_err() && replaced.is_dir() {
                fs::rename(replaced, path)?;
            }
            for part in [MADE, DISCARDED, REPLACED] {
                remove_if_there(&dir.join(part))?;
            }
            fs::remove_file(marker)?;
        }
        fs::remove_dir(dir)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // A failure leaves what the next who writes the same name removes.
        let _ = Self::end(&self.dir, &self.path);
    }
}

/// Removes what killed processes left beside `path` while they made it, for a command that will not make it itself. Where
/// a process is at it, or nothing can be removed, all stays.
pub fn sweep_beside(path: &Path) {
    // Nothing is left without a lock or something in the making.
    let is_clean = made_for(path).is_empty() && !Lock::is_beside(path);
    if !is_clean && let Ok(_lock) = Lock::take_beside(path, "removing what was left over") {
        finish_for(path);
    }
}

/// Ends what a killed process had begun for the name `path`.
fn finish_for(path: &Path) {
    made_for(path).iter().for_each(|aside| finish(aside, path));
}

/// Removes what killed processes left in `dir`: files and directories that had no name yet or no longer. Only for whoever
/// is the one writer there.
pub fn sweep(dir: &Path) {
    for (aside, name) in made_in(dir) {
        finish(&aside, &dir.join(name));
    }
}

/// What cannot be removed is in nobody's way, and stays.
fn finish(aside: &Path, path: &Path) {
    match aside.is_dir() {
        true => drop(Staging::end(aside, path)),
        false => remove_if_left_behind(aside),
    }
}

/// Opens a published directory after checking every file against the manifest.
pub fn open_dir(path: &Path) -> Result<VerifiedDir, DirError> {
    let path = held_at(path);
    let dir = VerifiedDir {
        manifest: Manifest::read(&path)?,
        path,
    };
    for entry in &dir.manifest.files {
        let file = dir.path.join(&entry.name);
        let found = fs::metadata(&file)
            .map_err(|error| dir.unreadable(&entry.name, error))?
            .len();
        if found != entry.bytes {
            return Err(dir.damaged(
                &entry.name,
                format!("{found} bytes instead of {}", entry.bytes),
            ));
        }
        if ContentId::of_file(&file)? != entry.sha256 {
            return Err(dir.damaged(&entry.name, "its content is not what was written".into()));
        }
    }
    Ok(dir)
}

/// The complete directories in `parent` that are called `series` and a number, the highest number first; what a kill left
/// half-made is not among them, nor what somebody else keeps there. A missing `parent` holds none.
pub fn complete_dirs(parent: &Path, series: &str) -> Result<Vec<PathBuf>, DirError> {
    let fail = |source| ReadError {
        path: parent.to_path_buf(),
        source,
    };
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error).into()),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(fail)?.file_name();
        names.extend(name.to_str().map(str::to_owned));
    }
    // The target of a replacement that was killed half-way.
    names.extend(made_in(parent).into_iter().map(|(_, name)| name));
    let mut found: Vec<(u64, PathBuf)> = names
        .iter()
        .filter_map(|name| Some((number_of(name, series)?, parent.join(name))))
        .filter(|(_, path)| held_at(path).join(MANIFEST).is_file())
        .collect();
    found.sort_by_key(|(number, _)| Reverse(*number));
    found.dedup();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The number in a name of this series.
fn number_of(name: &str, series: &str) -> Option<u64> {
    let digits = name.strip_prefix(series)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}

/// Opens the newest intact directory of a series in `parent`, and says which newer ones had to be passed over.
pub fn open_newest(parent: &Path, series: &str) -> Result<Newest, DirError> {
    let mut newest = Newest {
        dir: None,
        damaged: Vec::new(),
    };
    for path in complete_dirs(parent, series)? {
        match open_dir(&path) {
            Ok(dir) => {
                newest.dir = Some(dir);
                break;
            }
            Err(error) => newest.damaged.push(error),
        }
    }
    Ok(newest)
}

/// What [`open_newest`] found.
#[derive(Debug)]
pub struct Newest {
    /// The newest intact directory, if any.
    pub dir: Option<VerifiedDir>,
    /// Why each newer one was passed over; worth a warning.
    pub damaged: Vec<DirError>,
}

/// Removes a published directory; a kill on the way never leaves one that looks complete.
pub fn discard_dir(path: &Path) -> Result<(), DirError> {
    let fail = |source| DirError::Write(WriteError::new(path, 0, source));
    finish_for(path);
    let staging = Staging::beside(path).map_err(fail)?;
    fs::rename(path, staging.dir.join(DISCARDED)).map_err(fail)
}

/// Discards all complete directories of a series in `parent` but the newest `keep`.
pub fn keep_newest(parent: &Path, series: &str, keep: usize) -> Result<(), DirError> {
    complete_dirs(parent, series)?
        .iter()
        .skip(keep)
        .try_for_each(|path| discard_dir(path))
}

/// A directory whose files are what was published.
#[derive(Debug)]
pub struct VerifiedDir {
    path: PathBuf,
    manifest: Manifest,
}

impl VerifiedDir {
    /// One file, checked once more as it is read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, DirError> {
        let Some(entry) = self.manifest.files.iter().find(|entry| entry.name == name) else {
            let names = self.names().map(str::to_string).collect();
            return Err(DirError::NotListed {
                dir: self.path.clone(),
                name: name.into(),
                names,
            });
        };
        let bytes = fs::read(self.path.join(name)).map_err(|error| self.unreadable(name, error))?;
        if ContentId::of(&bytes) != entry.sha256 {
            return Err(self.damaged(name, "its content is not what was written".into()));
        }
        Ok(bytes)
    }

    /// What the publisher wrote down beside the files.
    pub fn note(&self) -> &Value {
        &self.manifest.note
    }

    /// The names of the files, in the order they were published.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.manifest.files.iter().map(|entry| entry.name.as_str())
    }

    /// The id of files and note together.
    pub fn id(&self) -> ContentId {
        self.manifest.id
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn damaged(&self, file: &str, what: String) -> DirError {
        DirError::Damaged {
            dir: self.path.clone(),
            file: file.into(),
            what,
        }
    }

    fn unreadable(&self, file: &str, error: io::Error) -> DirError {
        match error.kind() {
            ErrorKind::NotFound => self.damaged(file, "it is missing".into()),
            _ => ReadError {
                path: self.path.join(file),
                source: error,
            }
            .into(),
        }
    }
}

/// Why a directory could not be published, opened or listed.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// There is nothing, or nothing complete, at the path.
    #[error("{dir} is not a complete directory: it has no {MANIFEST}")]
    Incomplete {
        /// The directory asked for.
        dir: PathBuf,
    },
    /// A file is not what was published.
    #[error("{dir} is damaged: {file}: {what}")]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// The file in it.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// The directory is intact and has no such file.
    #[error("{dir} holds no `{name}`, only {}", names.join(", "))]
    NotListed {
        /// The directory.
        dir: PathBuf,
        /// The name asked for.
        name: String,
        /// The names it has.
        names: Vec<String>,
    },
    /// A name that cannot be a file of a published directory.
    #[error(
        "`{name}` cannot be published in {dir}: the name of a file in it, used once and other than {MANIFEST}, is expected"
    )]
    Name {
        /// The directory.
        dir: PathBuf,
        /// The name.
        name: String,
    },
    /// Something took the name while the directory was being made.
    #[error("{dir} has come to be while it was being made, and is left as it is")]
    Taken {
        /// The directory.
        dir: PathBuf,
    },
    /// Somebody else is making it.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// The system refused to read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The system refused to write.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl DirError {
    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Taken { .. } => vec!["run the command again with another --out".into()],
            Self::Locked(error) => error.hints(),
            Self::Write(error) => error.hints(),
            _ => Vec::new(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// Of `files` and `note`, so that a manifest cannot be edited or decay unnoticed.
    id: ContentId,
    files: Vec<Entry>,
    note: Value,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    bytes: u64,
    sha256: ContentId,
}

impl Entry {
    /// The file as it is on disk by now.
    fn of_file(dir: &Path, name: &str) -> Result<Self, DirError> {
        sync(&dir.join(name))?;
        Self::hashed(dir, name)
    }

    /// The file as others find it, which need not have reached the disk.
    fn hashed(dir: &Path, name: &str) -> Result<Self, DirError> {
        let path = dir.join(name);
        let found = fs::metadata(&path).map_err(|source| WriteError::new(&path, 0, source))?;
        let bytes = found.len();
        Ok(Self {
            name: name.to_owned(),
            bytes,
            sha256: ContentId::of_file(&path)?,
        })
    }
}

impl Manifest {
    fn of(files: &[(&str, &[u8])], note: Value) -> Self {
        let entry = |&(name, bytes): &(&str, &[u8])| Entry {
            name: name.to_string(),
            bytes: bytes.len() as u64,
            sha256: ContentId::of(bytes),
        };
        Self::with(files.iter().map(entry).collect(), note)
    }

    fn with(files: Vec<Entry>, note: Value) -> Self {
        Self {
            id: id_of(&files, &note),
            files,
            note,
        }
    }

    fn read(dir: &Path) -> Result<Self, DirError> {
        let path = dir.join(MANIFEST);
        let damaged = |what| DirError::Damaged {
            dir: dir.to_path_buf(),
            file: MANIFEST.into(),
            what,
        };
        let bytes = fs::read(&path).map_err(|source| match source.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => DirError::Incomplete {
                dir: dir.to_path_buf(),
            },
            _ => ReadError { path, source }.into(),
        })?;
        let manifest: Self =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if id_of(&manifest.files, &manifest.note) != manifest.id {
            return Err(damaged("its content is not what was written".into()));
        }
        if let Some(entry) = manifest.files.iter().find(|entry| !is_plain(&entry.name)) {
            return Err(damaged(format!(
                "it lists `{}`, which is no name of a file in it",
                entry.name
            )));
        }
        Ok(manifest)
    }

    fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self)
            .expect("a manifest holds only strings, numbers and JSON");
        json.push(b'\n');
        json
    }
}

fn id_of(files: &[Entry], note: &Value) -> ContentId {
    ContentId::of(
        &serde_json::to_vec(&(files, note))
            .expect("a manifest holds only strings, numbers and JSON"),
    )
}

fn check_names(dir: &Path, files: &[(&str, &[u8])]) -> Result<(), DirError> {
    for (at, &(name, _)) in files.iter().enumerate() {
        let again = files[..at].iter().any(|&(earlier, _)| earlier == name);
        if again || !is_plain(name) {
            return Err(DirError::Name {
                dir: dir.to_path_buf(),
                name: name.into(),
            });
        }
    }
    Ok(())
}

/// A file of the directory, or of a folder in it: names are joined by `/` on every system.
fn is_plain(name: &str) -> bool {
    let is_plain =
        |part: &str| !matches!(part, "" | "." | ".." | MANIFEST) && !part.contains(['\\', '\0']);
    name.split('/').all(is_plain)
}

/// The folders that hold these files below the directory.
fn folders<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let folder = |name: &'a str| name.rsplit_once('/').map(|(folder, _)| folder);
    names.filter_map(folder).collect()
}

fn fill(dir: &Path, files: &[(&str, &[u8])], manifest: &Manifest) -> io::Result<()> {
    fs::create_dir(dir)?;
    let folders = folders(files.iter().map(|(name, _)| *name));
    for folder in &folders {
        fs::create_dir_all(dir.join(folder))?;
    }
    for &(name, bytes) in files {
        write_synced(&dir.join(name), bytes)?;
    }
    for folder in &folders {
        sync_dir(&dir.join(folder))?;
    }
    write_synced(&dir.join(MANIFEST), &manifest.to_json())?;
    sync_dir(dir)
}

/// Where the content of `path` is: a kill in the middle of a replacement leaves it under the other name.
fn held_at(path: &Path) -> PathBuf {
    if path.exists() {
        return path.to_path_buf();
    }
    let replaced = made_for(path).into_iter().map(|aside| aside.join(REPLACED));
    let mut replaced = replaced.filter(|replaced| replaced.is_dir());
    replaced.next().unwrap_or_else(|| path.to_path_buf())
}

fn remove_if_there(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
