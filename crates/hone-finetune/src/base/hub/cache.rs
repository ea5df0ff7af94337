//! The directory that huggingface_hub keeps models in, as it lays it out: `models--owner--name/{blobs,refs,snapshots}`.
//!
//! Bytes lie in `blobs/ETAG`, a snapshot links to them, a reference says which snapshot a branch means. Whatever names a path
//! here is a checked word, so nothing that a server says leads out of the directory.

use super::HubId;
use super::client::{Commit, Etag, Trouble};
use hone_ledger::{WriteError, write_whole};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Where a repository lies on this machine.
#[derive(Debug)]
pub struct RepoCache {
    dir: PathBuf,
    locks: PathBuf,
}

/// `HF_HOME`, or where huggingface_hub puts it; `None` on a machine without a home.
pub fn hub_home() -> Option<PathBuf> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    directory("HF_HOME")
        .or_else(|| directory("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
        .or_else(|| home.map(|home| home.join(".cache/huggingface")))
}

/// A directory that the environment names, its `~` spelt out.
fn directory(variable: &str) -> Option<PathBuf> {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty())?;
    let path = PathBuf::from(value);
    match path.strip_prefix("~") {
        Ok(inner) => Some(std::env::home_dir()?.join(inner)),
        Err(_) => Some(path),
    }
}

impl RepoCache {
    /// The repository's place in `HF_HUB_CACHE`, or in the `hub` of [`hub_home`].
    pub fn from_env(id: &HubId) -> Option<Self> {
        let root = directory("HF_HUB_CACHE").or_else(|| Some(hub_home()?.join("hub")))?;
        Some(Self::at(&root, id))
    }

    fn at(root: &Path, id: &HubId) -> Self {
        let name = format!("models--{}", id.repo.replace('/', "--"));
        Self {
            dir: root.join(&name),
            locks: root.join(".locks").join(name),
        }
    }

    /// The snapshot that a branch, tag or commit means here.
    pub fn snapshot_of(&self, revision: &str) -> Option<PathBuf> {
        let said = fs::read_to_string(self.dir.join("refs").join(revision)).ok();
        let commit = match said {
            Some(said) => Commit::parse(&said)?,
            // A commit needs no reference to itself.
            None => Commit::parse(revision)?,
        };
        Some(self.snapshot(&commit)).filter(|dir| dir.is_dir())
    }

    /// The directory of a commit's files.
    pub fn snapshot(&self, commit: &Commit) -> PathBuf {
        self.dir.join("snapshots").join(commit.as_ref())
    }

    /// Where the bytes of some content lie.
    pub fn blob(&self, etag: &Etag) -> PathBuf {
        self.dir.join("blobs").join(etag.as_ref())
    }

    /// Where bytes gather until all are there.
    pub fn partial(&self, etag: &Etag) -> PathBuf {
        self.dir
            .join("blobs")
            .join(format!("{}.incomplete", etag.as_ref()))
    }

    /// Keeps other programs, huggingface_hub among them, from fetching the same content; `wait` is called while another does.
    /// A file system without locks gives none.
    pub fn lock(
        &self,
        etag: &Etag,
        mut wait: impl FnMut() -> Result<(), Trouble>,
    ) -> Result<Option<File>, Trouble> {
        let path = self.locks.join(format!("{}.lock", etag.as_ref()));
        let fail = |source| Trouble::Write(WriteError::new(&path, 0, source));
        fs::create_dir_all(&self.locks).map_err(fail)?;
        let mut options = File::options();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(fail)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(fs::TryLockError::WouldBlock) => wait()?,
                Err(fs::TryLockError::Error(_)) => return Ok(None),
            }
        }
    }

    /// The directory of everything.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes room for blobs.
    pub fn create(&self) -> Result<(), Trouble> {
        let blobs = self.dir.join("blobs");
        fs::create_dir_all(&blobs)
            .map_err(|source| Trouble::Write(WriteError::new(&blobs, 0, source)))
    }

    /// Lets a snapshot have a file, whose bytes are in their blob. What was there in its place goes.
    ///
    /// `file` is a plain path, checked by the caller.
    pub fn link(&self, commit: &Commit, file: &str, etag: &Etag) -> Result<(), Trouble> {
        let place = self.snapshot(commit).join(file);
        let write = || {
            fs::create_dir_all(place.parent().expect("a file lies in a directory"))?;
            match fs::remove_file(&place) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let up = "../".repeat(2 + file.matches('/').count());
            let blob = PathBuf::from(format!("{up}blobs/{}", etag.as_ref()));
            link_file(&blob, &self.blob(etag), &place)
        };
        write().map_err(|source| Trouble::Write(WriteError::new(&place, 0, source)))
    }

    /// Says which snapshot a branch or tag means.
    pub fn point(&self, revision: &str, commit: &Commit) -> Result<(), Trouble> {
        if revision == commit.as_ref() {
            return Ok(());
        }
        let refs = self.dir.join("refs");
        let path = refs.join(revision);
        fs::create_dir_all(&refs)
            .map_err(|source| Trouble::Write(WriteError::new(&refs, 0, source)))?;
        Ok(write_whole(&path, commit.as_ref().as_bytes())?)
    }
}

#[cfg(unix)]
fn link_file(relative: &Path, _blob: &Path, place: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(relative, place)
}

/// Links need a privilege on Windows; a second name of the bytes, or a copy, serves.
#[cfg(not(unix))]
fn link_file(_relative: &Path, blob: &Path, place: &Path) -> io::Result<()> {
    fs::hard_link(blob, place).or_else(|_| fs::copy(blob, place).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(root: &Path) -> RepoCache {
        RepoCache::at(root, &HubId::parse("own/mod").unwrap())
    }

    #[test]
    fn a_reference_that_names_a_path_leads_nowhere() {
        let root = tempfile::tempdir().unwrap();
        let cache = cache(root.path());
        fs::create_dir_all(cache.dir.join("refs")).unwrap();
        fs::create_dir_all(cache.dir.join("snapshots")).unwrap();
        for said in ["..", "../../..", "", "/", "a/b"] {
            fs::write(cache.dir.join("refs/main"), said).unwrap();
            assert_eq!(cache.snapshot_of("main"), None, "{said}");
        }
    }

    #[test]
    fn a_commit_is_found_without_a_reference_and_a_branch_through_one() {
        let root = tempfile::tempdir().unwrap();
        let cache = cache(root.path());
        let commit = Commit::parse("abc1").unwrap();
        let snapshot = cache.snapshot(&commit);
        fs::create_dir_all(&snapshot).unwrap();
        assert_eq!(cache.snapshot_of("abc1"), Some(snapshot.clone()));
        assert_eq!(cache.snapshot_of("main"), None);
        cache.point("main", &commit).unwrap();
        assert_eq!(cache.snapshot_of("main"), Some(snapshot));
    }

    #[test]
    fn files_in_folders_reach_their_bytes() {
        let root = tempfile::tempdir().unwrap();
        let cache = cache(root.path());
        cache.create().unwrap();
        let (commit, etag) = (Commit::parse("c").unwrap(), Etag::parse("e").unwrap());
        fs::write(cache.blob(&etag), b"bytes").unwrap();
        for file in ["a", "folder/b"] {
            // Twice: what is there is replaced.
            cache.link(&commit, file, &etag).unwrap();
            cache.link(&commit, file, &etag).unwrap();
            let read = fs::read(cache.snapshot(&commit).join(file)).unwrap();
            assert_eq!(read, b"bytes", "{file}");
        }
    }
}
