//! A file is there whole, or not there.
//!
//! Bytes go to a file beside the target under a name that nobody else has, reach the disk, and take the name by one
//! rename. A kill at any point leaves the old content or the new one, and at worst a file that the next write of the same
//! name removes. Two that write the same name at once do not disturb each other: the later rename counts.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
#[cfg(unix)]
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::aside::{made_for, name_beside, parent};
use crate::obstacle::Obstacle;

/// Replaces the content of `path` with `bytes`, all or nothing, and waits for the disk.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    write_for(path, bytes, Readers::AsUsual)
}

/// The same for what nobody but its owner may read, from its first byte on, whatever the mask of the process lets others do.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    write_for(path, bytes, Readers::Owner)
}

/// Who may read a new file, where the system knows of owners.
#[derive(Debug, Clone, Copy)]
enum Readers {
    /// Whoever the mask of the process lets.
    AsUsual,
    /// Only its owner.
    Owner,
}

fn write_for(path: &Path, bytes: &[u8], readers: Readers) -> Result<(), WriteError> {
    let write = || -> io::Result<()> {
        let (mut file, remains) = begin_aside(path, readers)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&remains.0, path)
    };
    write().map_err(|error| WriteError::new(path, bytes.len() as u64, error))?;
    sync_parent(path)
}

/// A new file beside `path`, locked as long as it is open, and whatever removes it unless it takes its name. What killed
/// processes left there is removed first, so that a full disk does not stay full.
fn begin_aside(path: &Path, readers: Readers) -> io::Result<(File, Remains)> {
    made_for(path)
        .iter()
        .for_each(|aside| remove_if_left_behind(aside));
    let aside = name_beside(path)?;
    let mut options = File::options();
    options.write(true).create_new(true);
    match readers {
        Readers::AsUsual => {}
        #[cfg(unix)]
        Readers::Owner => drop(options.mode(0o600)),
        #[cfg(not(unix))]
        Readers::Owner => {}
    }
    let file = options.open(&aside)?;
    // Where there are no locks, somebody else's file may be taken for one that was left behind; the rename then fails.
    let _ = file.try_lock();
    Ok((file, Remains(aside)))
}

/// Removes a file that a process left behind which was killed while it wrote; one that is being written stays.
pub(crate) fn remove_if_left_behind(aside: &Path) {
    // A link leads elsewhere, and a pipe would be waited at.
    let is_file = aside.symlink_metadata().is_ok_and(|found| found.is_file());
    let is_left = is_file && File::open(aside).is_ok_and(|file| file.try_lock().is_ok());
    if is_left {
        // Failing to remove it changes nothing but the room there is.
        let _ = fs::remove_file(aside);
    }
}

/// Lets a write beyond the size that a file may have (`ulimit -f`) be an error of that write, as on a full disk, and not the
/// end of the process. For whoever the process belongs to.
pub fn fail_beyond_file_limit() {
    #[cfg(unix)]
    // SAFETY: no handler is installed; the signal is ignored, and the call that ran into the limit returns EFBIG.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// A file in the making, for contents too large to be handed over as bytes.
///
/// Bytes are appended; [`finish`](Self::finish) gives the file its name. Several files that belong together are each
/// [`sealed`](Self::seal), which is where a disk runs full, and then named one after the other. Dropped before that, it
/// leaves nothing, and what was there before is untouched.
#[derive(Debug)]
pub struct WholeFile {
    path: PathBuf,
    file: BufWriter<File>,
    len: u64,
    is_synced: bool,
    remains: Remains,
}

/// A whole file that has reached the disk and lacks its name only.
#[derive(Debug)]
pub struct SealedFile {
    path: PathBuf,
    /// Open as long as it lacks its name, so that nobody takes it for one that was left behind.
    file: File,
    is_synced: bool,
    remains: Remains,
}

/// The file in the making, removed unless it takes its name. Failing to remove it changes nothing: the next write does.
#[derive(Debug)]
struct Remains(PathBuf);

impl Drop for Remains {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl WholeFile {
    /// Begins the file `path`, empty.
    pub fn begin(path: &Path) -> Result<Self, WriteError> {
        let begun = begin_aside(path, Readers::AsUsual);
        let (file, remains) = begun.map_err(|error| WriteError::new(path, 0, error))?;
        Ok(Self {
            path: path.to_path_buf(),
            // Larger pieces go to the system as they are.
            file: BufWriter::with_capacity(1 << 16, file),
            len: 0,
            is_synced: true,
            remains,
        })
    }

    /// Does not wait for the disk at the end: for files of a directory that waits for all of them before it takes its
    /// name, as [`Unpublished`](crate::Unpublished) does.
    pub fn unsynced(self) -> Self {
        Self {
            is_synced: false,
            ..self
        }
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.len += bytes.len() as u64;
        let written = self.file.write_all(bytes);
        written.map_err(|error| WriteError::new(&self.path, self.len, error))
    }

    /// Waits until the bytes are on the disk.
    pub fn seal(mut self) -> Result<SealedFile, WriteError> {
        let written = self.file.flush();
        let synced = written.and_then(|()| match self.is_synced {
            true => self.file.get_ref().sync_all(),
            false => Ok(()),
        });
        let file = synced.and_then(|()| self.file.into_inner().map_err(|error| error.into_error()));
        let file = file.map_err(|error| WriteError::new(&self.path, self.len, error))?;
        Ok(SealedFile {
            path: self.path,
            file,
            is_synced: self.is_synced,
            remains: self.remains,
        })
    }

    /// Waits until the bytes are on the disk, and gives the file its name.
    pub fn finish(self) -> Result<(), WriteError> {
        self.seal()?.take_the_name()
    }
}

impl SealedFile {
    /// Gives the file its name; another of that name is replaced.
    pub fn take_the_name(self) -> Result<(), WriteError> {
        let Self {
            path,
            file,
            is_synced,
            remains,
        } = self;
        fs::rename(&remains.0, &path).map_err(|error| WriteError::new(&path, 0, error))?;
        drop(file);
        match is_synced {
            true => sync_parent(&path),
            false => Ok(()),
        }
    }
}

/// A write that did not happen, or that the disk did not confirm.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Refused by the system; what was there before is untouched.
    #[error("{}", .0.sentence())]
    Refused(#[source] Obstacle),
    /// Written and readable, but not confirmed by the disk.
    #[error("{path} is written, but the disk did not confirm it; a power cut could lose it")]
    Unconfirmed {
        /// What was written.
        path: PathBuf,
        /// What the system said.
        source: Obstacle,
    },
}

impl WriteError {
    /// Of what was to be written at `path` and takes `needed_bytes`, zero where that is not known.
    pub fn new(path: &Path, needed_bytes: u64, source: io::Error) -> Self {
        Self::Refused(Obstacle::new(path, needed_bytes, source))
    }

    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Refused(obstacle) => obstacle.hints(),
            Self::Unconfirmed { source, .. } => source.hints(),
        }
    }
}

/// Writes and waits until the bytes are on the disk. The name may still be lost until its directory is synced.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a rename in the parent directory durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), WriteError> {
    sync_dir(parent(path)).map_err(|source| WriteError::Unconfirmed {
        path: path.to_path_buf(),
        source: Obstacle::new(path, 0, source),
    })
}

/// Makes the names in a directory durable.
#[cfg(unix)]
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Windows has no handle to sync a directory by; NTFS journals the rename.
#[cfg(not(unix))]
pub(crate) fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn what_is_private_is_its_owners_from_the_first_byte_on() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("names.key");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        write_whole(&path, b"old").unwrap();
        assert_ne!(mode(), 0o600);
        write_private(&path, b"new").unwrap();
        assert_eq!((mode(), fs::read(&path).unwrap()), (0o600, b"new".to_vec()));
        let (file, remains) = begin_aside(&path, Readers::Owner).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        drop(remains);
    }

    #[test]
    fn the_new_content_replaces_the_old_and_nothing_stays_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        write_whole(&path, b"old").unwrap();
        write_whole(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_kill_before_the_rename_leaves_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        write_whole(&path, b"old").unwrap();
        // What a process killed half-way through the write leaves behind.
        fs::write(name_beside(&path).unwrap(), b"ne").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write_whole(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_that_others_call_partial_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        let others = ["run.json.partial", "run.json.replaced", "run.json.tmp"];
        for name in others {
            fs::write(dir.path().join(name), name).unwrap();
        }
        write_whole(&path, b"new").unwrap();
        for name in others {
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), name.as_bytes());
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn a_file_that_is_being_written_is_no_leftover() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("map.json");
        let mut slow = WholeFile::begin(&path).unwrap();
        slow.append(b"slow").unwrap();
        write_whole(&path, b"quick").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"quick");
        slow.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"slow");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_written_in_parts_has_its_name_only_when_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        write_whole(&path, b"old").unwrap();
        let mut file = WholeFile::begin(&path).unwrap();
        file.append(b"ne").unwrap();
        file.append(b"w").unwrap();
        assert_eq!((file.len(), fs::read(&path).unwrap()), (3, b"old".to_vec()));
        let sealed = file.seal().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        sealed.take_the_name().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        for is_sealed in [false, true] {
            let mut file = WholeFile::begin(&path).unwrap();
            file.append(b"half").unwrap();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            if is_sealed {
                drop(file.seal().unwrap());
            } else {
                drop(file);
            }
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_missing_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("absent/run.json");
        let error = write_whole(&path, b"x").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot write {}", path.display())
        );
        assert!(
            error.hints()[0].contains("absent does not exist"),
            "{:?}",
            error.hints()
        );
    }

    #[test]
    fn a_failed_rename_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        assert!(matches!(
            write_whole(&path, b"x"),
            Err(WriteError::Refused(_))
        ));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_told_apart_and_says_how_much_is_needed() {
        // /dev/full answers every write with ENOSPC.
        let source = write_synced(Path::new("/dev/full"), b"x").unwrap_err();
        let error = WriteError::new(Path::new("runs/adapter.safetensors"), 20_000_000, source);
        assert_eq!(
            error.to_string(),
            "no space left on the disk for runs/adapter.safetensors (20.0 MB needed)"
        );
        assert_eq!(
            error.hints(),
            ["free at least 20.0 MB on the disk that holds runs, or write to another disk"]
        );
    }
}
