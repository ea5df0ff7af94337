//! A directory is there complete, or not there: the checkpoint protocol.
//!
//! Files go into `NAME.partial` beside the target, each reaches the disk, the manifest goes last, and one
//! rename publishes them all. The manifest lists every file with its length and hash, and carries a hash of
//! itself, so a directory that was cut, mixed or flipped by a bad disk is refused by name instead of loaded.
//! Where a directory is replaced, the old one keeps existing as `NAME.replaced` until the new one is in
//! place, and is found there by [`open_dir`] after a kill between the two renames.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::content::{ContentId, ReadError};
use crate::whole::{WriteError, partial_path, sync_dir, sync_parent, with_suffix, write_synced};

/// The file that makes a directory complete.
pub const MANIFEST: &str = "manifest.json";

/// Publishes `files` and a note as the directory `path`, all or nothing; a directory of that name is replaced.
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

    let partial = partial_path(path);
    remove_if_there(&partial).map_err(fail)?;
    if let Err(error) = fill(&partial, files, &manifest) {
        // Gives the space back on a full disk; failing to do so changes nothing.
        let _ = fs::remove_dir_all(&partial);
        return Err(fail(error));
    }
    take_the_name(&partial, path).map_err(fail)?;
    sync_parent(path)?;
    remove_if_there(&replaced_path(path)).map_err(fail)?;
    Ok(manifest.id)
}

/// A directory in the making, for files too large to be handed over as bytes.
///
/// Whoever holds it writes files under [`path_of`](Self::path_of); [`publish`](Self::publish) lists them and gives
/// the directory its name. Dropped before, it leaves nothing.
#[derive(Debug)]
pub struct Unpublished {
    path: PathBuf,
    partial: PathBuf,
    names: Vec<String>,
    settling: Option<Settling>,
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
    /// Begins the directory `path`, empty.
    pub fn begin(path: &Path) -> Result<Self, DirError> {
        let partial = partial_path(path);
        remove_if_there(&partial)
            .and_then(|()| fs::create_dir_all(&partial))
            .map_err(|source| WriteError::new(path, 0, source))?;
        Ok(Self {
            path: path.to_path_buf(),
            partial,
            names: Vec::new(),
            settling: None,
        })
    }

    /// Where files are until it has its name.
    pub fn dir(&self) -> &Path {
        &self.partial
    }

    /// Where to write the file of this name; files are listed in the order in which they were asked for.
    pub fn path_of(&mut self, name: &str) -> PathBuf {
        if !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
        self.partial.join(name)
    }

    /// The id that publishing would give.
    pub fn id(&self, note: Value) -> Result<ContentId, DirError> {
        Ok(self.manifest(note, Vec::new())?.id)
    }

    /// Begins to hash the files there are and to bring them to the disk, beside whatever is done until
    /// [`publish`](Self::publish), which would do it otherwise. They must not change any more.
    pub fn settle(&mut self) {
        if self.settling.is_none() {
            self.settling = Some(Settling::begin(&self.partial, self.names.clone()));
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
        write_synced(&self.partial.join(MANIFEST), &manifest.to_json()).map_err(fail)?;
        sync_dir(&self.partial).map_err(fail)?;
        take_the_name(&self.partial, &self.path).map_err(fail)?;
        sync_parent(&self.path)?;
        remove_if_there(&replaced_path(&self.path)).map_err(fail)?;
        Ok(manifest.id)
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
            None => Entry::of_file(&self.partial, name),
        });
        Ok(Manifest::with(files.collect::<Result<_, _>>()?, note))
    }
}

impl Drop for Unpublished {
    fn drop(&mut self) {
        // Some systems do not remove files that are open.
        if let Some(settling) = self.settling.take() {
            let _ = settling.finish();
        }
        // After publishing there is nothing of that name; a failure leaves what the next beginning removes.
        let _ = fs::remove_dir_all(&self.partial);
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

/// The complete directories in `parent`, newest first; what a kill left half-made is not among them.
///
/// Newest is the highest number at the end of the name (`step-90` before `step-100`), because clocks and
/// copies change times but not names. A missing `parent` holds none.
pub fn complete_dirs(parent: &Path) -> Result<Vec<PathBuf>, DirError> {
    let fail = |source| ReadError {
        path: parent.to_path_buf(),
        source,
    };
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error).into()),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(fail)?.path();
        let published = match path.extension().and_then(|extension| extension.to_str()) {
            Some("partial") => continue,
            Some("replaced") => path.with_extension(""),
            _ => path.clone(),
        };
        if path.join(MANIFEST).is_file() && !found.contains(&published) {
            found.push(published);
        }
    }
    found.sort_by_cached_key(|path| Reverse(order_of(path)));
    Ok(found)
}

/// Opens the newest intact directory in `parent`, and says which newer ones had to be passed over.
pub fn open_newest(parent: &Path) -> Result<Newest, DirError> {
    let mut newest = Newest {
        dir: None,
        damaged: Vec::new(),
    };
    for path in complete_dirs(parent)? {
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
    let partial = partial_path(path);
    remove_if_there(&partial).map_err(fail)?;
    fs::rename(held_at(path), &partial).map_err(fail)?;
    remove_if_there(&replaced_path(path)).map_err(fail)?;
    fs::remove_dir_all(&partial).map_err(fail)
}

/// Discards all complete directories in `parent` but the newest `keep`.
pub fn keep_newest(parent: &Path, keep: usize) -> Result<(), DirError> {
    complete_dirs(parent)?
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
        "`{name}` cannot be published in {dir}: a plain file name, used once and other than {MANIFEST}, is expected"
    )]
    Name {
        /// The directory.
        dir: PathBuf,
        /// The name.
        name: String,
    },
    /// The system refused to read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The system refused to write.
    #[error(transparent)]
    Write(#[from] WriteError),
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
                "it lists `{}`, which is not a plain file name",
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

fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | ".." | MANIFEST) && !name.contains(['/', '\\', '\0'])
}

fn fill(partial: &Path, files: &[(&str, &[u8])], manifest: &Manifest) -> io::Result<()> {
    fs::create_dir_all(partial)?;
    for &(name, bytes) in files {
        write_synced(&partial.join(name), bytes)?;
    }
    write_synced(&partial.join(MANIFEST), &manifest.to_json())?;
    sync_dir(partial)
}

/// Renames `partial` to `path`; what was there moves to `.replaced` first, since a rename cannot replace a full directory.
fn take_the_name(partial: &Path, path: &Path) -> io::Result<()> {
    if path.exists() {
        let replaced = replaced_path(path);
        remove_if_there(&replaced)?;
        fs::rename(path, &replaced)?;
    }
    fs::rename(partial, path)
}

/// Where the content of `path` is: a kill in the middle of a replacement leaves it under the other name.
fn held_at(path: &Path) -> PathBuf {
    let replaced = replaced_path(path);
    if !path.exists() && replaced.exists() {
        replaced
    } else {
        path.to_path_buf()
    }
}

fn replaced_path(path: &Path) -> PathBuf {
    with_suffix(path, ".replaced")
}

fn remove_if_there(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The number at the end of the name, then the name.
fn order_of(path: &Path) -> (u64, PathBuf) {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let digits = name.len() - name.bytes().rev().take_while(u8::is_ascii_digit).count();
    (name[digits..].parse().unwrap_or(0), path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::whole::WholeFile;
    use serde_json::json;

    const FILES: [(&str, &[u8]); 2] = [("adapter.bin", b"weights"), ("state.bin", b"moments")];

    fn published() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("step-10");
        publish_dir(&path, &FILES, json!({"step": 10})).unwrap();
        (root, path)
    }

    /// What a process killed before the last write of [`publish_dir`] leaves behind.
    fn killed_after(root: &Path, name: &str, num_files: usize) {
        let partial = partial_path(&root.join(name));
        fs::create_dir(&partial).unwrap();
        for (file, bytes) in &FILES[..num_files] {
            fs::write(partial.join(file), bytes).unwrap();
        }
    }

    #[test]
    fn a_directory_filled_by_its_holder_is_the_same_as_one_of_bytes() {
        let (root, path) = published();
        let twin = root.path().join("twin");
        let mut dir = Unpublished::begin(&twin).unwrap();
        for (name, bytes) in FILES {
            fs::write(dir.path_of(name), bytes).unwrap();
        }
        let id = dir.publish(json!({"step": 10})).unwrap();
        assert_eq!(id, open_dir(&path).unwrap().id());
        assert_eq!(
            open_dir(&twin).unwrap().read("state.bin").unwrap(),
            b"moments"
        );
    }

    #[test]
    fn files_that_settle_early_are_published_as_any_others() {
        let (root, path) = published();
        let twin = root.path().join("twin");
        let mut dir = Unpublished::begin(&twin).unwrap();
        let mut large = WholeFile::begin(&dir.path_of("adapter.bin"))
            .unwrap()
            .unsynced();
        large.append(b"weights").unwrap();
        large.finish().unwrap();
        dir.settle();
        fs::write(dir.path_of("state.bin"), b"moments").unwrap();
        let id = dir.publish(json!({"step": 10})).unwrap();
        assert_eq!(id, open_dir(&path).unwrap().id());
        assert_eq!(id, open_dir(&twin).unwrap().id());
    }

    #[test]
    fn a_file_that_vanished_while_settling_is_named() {
        let root = tempfile::tempdir().unwrap();
        let mut dir = Unpublished::begin(&root.path().join("d")).unwrap();
        dir.path_of("promised.bin");
        dir.settle();
        let error = dir.publish(json!({})).unwrap_err();
        assert!(error.to_string().contains("promised.bin"), "{error}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_unpublished_directory_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let mut dir = Unpublished::begin(&root.path().join("d")).unwrap();
        fs::write(dir.path_of("a"), b"1").unwrap();
        dir.settle();
        drop(dir);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_was_published_is_read_back() {
        let (_root, path) = published();
        let dir = open_dir(&path).unwrap();
        assert_eq!(dir.note(), &json!({"step": 10}));
        assert_eq!(
            dir.names().collect::<Vec<_>>(),
            ["adapter.bin", "state.bin"]
        );
        assert_eq!(dir.read("state.bin").unwrap(), b"moments");
    }

    #[test]
    fn the_same_content_has_the_same_id_and_the_same_bytes() {
        let (_a, first) = published();
        let (_b, second) = published();
        assert_eq!(
            open_dir(&first).unwrap().id(),
            open_dir(&second).unwrap().id()
        );
        assert_eq!(
            fs::read(first.join(MANIFEST)).unwrap(),
            fs::read(second.join(MANIFEST)).unwrap()
        );
    }

    #[test]
    fn a_kill_before_the_rename_is_never_seen_as_a_checkpoint() {
        for num_files in 0..=FILES.len() {
            let (root, path) = published();
            killed_after(root.path(), "step-20", num_files);
            assert_eq!(complete_dirs(root.path()).unwrap(), [path]);
            let next = root.path().join("step-20");
            assert!(matches!(open_dir(&next), Err(DirError::Incomplete { .. })));
            publish_dir(&next, &FILES, json!({"step": 20})).unwrap();
            assert_eq!(open_dir(&next).unwrap().note()["step"], 20);
        }
    }

    #[test]
    fn a_kill_between_the_renames_of_a_replacement_keeps_the_old_one_in_reach() {
        let (root, path) = published();
        fs::rename(&path, replaced_path(&path)).unwrap();
        killed_after(root.path(), "step-10", 2);
        assert_eq!(
            complete_dirs(root.path()).unwrap(),
            std::slice::from_ref(&path)
        );
        assert_eq!(open_dir(&path).unwrap().note()["step"], 10);
        keep_newest(root.path(), 1).unwrap();
        publish_dir(&path, &FILES, json!({"step": 11})).unwrap();
        assert_eq!(open_dir(&path).unwrap().note()["step"], 11);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn replacing_leaves_one_directory() {
        let (root, path) = published();
        publish_dir(&path, &FILES[..1], json!({"step": 11})).unwrap();
        assert_eq!(
            open_dir(&path).unwrap().names().collect::<Vec<_>>(),
            ["adapter.bin"]
        );
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (_root, path) = published();
        let original = open_dir(&path).unwrap();
        for name in ["adapter.bin", "state.bin", MANIFEST] {
            let file = path.join(name);
            let bytes = fs::read(&file).unwrap();
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                fs::write(&file, &flipped).unwrap();
                match open_dir(&path) {
                    Err(DirError::Damaged { file, .. }) => assert_eq!(file, name),
                    Err(other) => panic!("{other}"),
                    // White space between two tokens of the manifest may become another white space.
                    Ok(dir) => assert_eq!((name, dir.id()), (MANIFEST, original.id())),
                }
            }
            fs::write(&file, &bytes).unwrap();
        }
    }

    #[test]
    fn a_cut_or_missing_file_is_named() {
        let (_root, path) = published();
        fs::write(path.join("state.bin"), b"mom").unwrap();
        let error = open_dir(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("is damaged: state.bin: 3 bytes instead of 7"),
            "{error}"
        );
        fs::remove_file(path.join("state.bin")).unwrap();
        let error = open_dir(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("is damaged: state.bin: it is missing"),
            "{error}"
        );
    }

    #[test]
    fn a_file_changed_after_opening_is_refused_on_reading() {
        let (_root, path) = published();
        let dir = open_dir(&path).unwrap();
        fs::write(path.join("state.bin"), b"MOMENTS").unwrap();
        assert!(matches!(
            dir.read("state.bin"),
            Err(DirError::Damaged { .. })
        ));
    }

    #[test]
    fn the_newest_intact_one_is_opened_and_the_damaged_one_reported() {
        let root = tempfile::tempdir().unwrap();
        for step in [90, 100, 110] {
            publish_dir(
                &root.path().join(format!("step-{step}")),
                &FILES,
                json!({"step": step}),
            )
            .unwrap();
        }
        fs::write(root.path().join("step-110/adapter.bin"), b"WEIGHTS").unwrap();
        let newest = open_newest(root.path()).unwrap();
        assert_eq!(newest.dir.unwrap().note()["step"], 100);
        assert!(
            newest.damaged[0]
                .to_string()
                .contains("step-110 is damaged: adapter.bin")
        );
        assert_eq!(newest.damaged.len(), 1);
    }

    #[test]
    fn only_the_newest_are_kept() {
        let root = tempfile::tempdir().unwrap();
        for step in [8, 9, 10] {
            publish_dir(
                &root.path().join(format!("step-{step}")),
                &FILES,
                json!(null),
            )
            .unwrap();
        }
        keep_newest(root.path(), 2).unwrap();
        assert_eq!(
            complete_dirs(root.path()).unwrap(),
            [root.path().join("step-10"), root.path().join("step-9")]
        );
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
    }

    #[test]
    fn discarding_also_finds_one_whose_replacement_was_killed() {
        let (root, path) = published();
        fs::rename(&path, replaced_path(&path)).unwrap();
        discard_dir(&path).unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_parent_holds_no_directories() {
        assert_eq!(
            complete_dirs(Path::new("/nowhere/checkpoints")).unwrap(),
            Vec::<PathBuf>::new()
        );
    }

    #[test]
    fn names_that_leave_the_directory_or_collide_are_refused() {
        let root = tempfile::tempdir().unwrap();
        for name in ["../out", "a/b", "", "..", MANIFEST] {
            let published = publish_dir(&root.path().join("x"), &[(name, b"")], json!(null));
            assert!(matches!(published, Err(DirError::Name { .. })), "{name}");
        }
        let twice: [(&str, &[u8]); 2] = [("a", b"1"), ("a", b"2")];
        assert!(matches!(
            publish_dir(&root.path().join("x"), &twice, json!(null)),
            Err(DirError::Name { .. })
        ));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let (_root, path) = published();
        let error = open_dir(&path)
            .unwrap()
            .read("optimizer.bin")
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("holds no `optimizer.bin`, only adapter.bin, state.bin"),
            "{error}"
        );
    }
}
