//! What keeps a file from being written, told apart: a full disk is not one without room for another file.
//!
//! The system answers with a number. Here it becomes a sentence about the place and what to do next, once for every
//! error of writing. An [`Obstacle`] is a link in the chain of each of them, however they are wrapped, so whoever
//! reports an error finds its hints without knowing who wrote.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::aside::{parent, target_of};
use crate::words::path_for_shell;

/// What the system said when something could not be written, and about what.
#[derive(Debug)]
pub struct Obstacle {
    path: PathBuf,
    needed_bytes: u64,
    kind: Kind,
    source: io::Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// No free blocks.
    Full,
    /// Free blocks, but no inode for another file.
    NoMoreFiles,
    Quota,
    ReadOnly,
    Forbidden,
    /// The directory does not exist.
    NoDirectory,
    /// A file where a directory should be, or the other way round.
    FileOrDirectory,
    /// A rename from one file system to another.
    OtherFileSystem,
    /// The disk failed.
    Fault,
    TooLarge,
    NameTooLong,
    TooManyOpen,
    /// Some other program has it.
    Busy,
    Other,
}

impl Obstacle {
    /// Of what was to be written at `path` and takes `needed_bytes`, zero where that is not known.
    pub fn new(path: &Path, needed_bytes: u64, source: io::Error) -> Self {
        Self {
            kind: Kind::of(&source, || has_no_more_files(path)),
            path: named(path),
            needed_bytes,
            source,
        }
    }

    /// The sentence about it, with the path.
    pub fn sentence(&self) -> String {
        let path = self.path.display();
        let needed = match self.needed_bytes {
            0 => String::new(),
            bytes => format!(" ({} needed)", size(bytes)),
        };
        match self.kind {
            Kind::Full => format!("no space left on the disk for {path}{needed}"),
            Kind::NoMoreFiles => {
                format!("the disk has space left, but takes no more files: {path} cannot be made")
            }
            Kind::Quota => format!("your quota on the disk is used up: no room for {path}{needed}"),
            Kind::ReadOnly => format!("cannot write {path}: its file system is read-only"),
            Kind::Forbidden => format!("cannot write {path}: permission denied"),
            Kind::OtherFileSystem => format!(
                "cannot give {path} its name: it would move from one file system to another"
            ),
            Kind::Fault => format!("cannot write {path}: the disk reports a fault"),
            Kind::TooLarge => format!("cannot write {path}: it would be larger than a file may be"),
            Kind::NameTooLong => format!("cannot write {path}: the name is too long"),
            Kind::TooManyOpen => format!("cannot write {path}: too many files are open"),
            Kind::Busy => format!("cannot write {path}: another program has it open"),
            Kind::NoDirectory | Kind::FileOrDirectory | Kind::Other => {
                format!("cannot write {path}")
            }
        }
    }

    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        vec![self.kind.hint(Some(&self.path), self.needed_bytes)]
    }

    /// What to do about an error of the system whose place is not known. `None` where that says nothing.
    pub fn hint_without_place(source: &io::Error) -> Option<String> {
        let kind = Kind::of(source, || false);
        let says_enough = !matches!(
            kind,
            Kind::NoDirectory | Kind::FileOrDirectory | Kind::Other | Kind::Busy
        );
        says_enough.then(|| kind.hint(None, 0))
    }
}

impl Kind {
    fn of(source: &io::Error, has_no_more_files: impl FnOnce() -> bool) -> Self {
        match source.kind() {
            ErrorKind::StorageFull if has_no_more_files() => Self::NoMoreFiles,
            ErrorKind::StorageFull => Self::Full,
            ErrorKind::QuotaExceeded => Self::Quota,
            ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            ErrorKind::PermissionDenied => Self::Forbidden,
            ErrorKind::NotFound => Self::NoDirectory,
            ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::AlreadyExists => {
                Self::FileOrDirectory
            }
            ErrorKind::CrossesDevices => Self::OtherFileSystem,
            ErrorKind::FileTooLarge => Self::TooLarge,
            ErrorKind::InvalidFilename => Self::NameTooLong,
            ErrorKind::ResourceBusy | ErrorKind::ExecutableFileBusy => Self::Busy,
            // These have no kind of their own.
            _ => match code_of(source) {
                #[cfg(unix)]
                Some(code) if code == rustix::io::Errno::IO.raw_os_error() => Self::Fault,
                #[cfg(unix)]
                Some(code)
                    if [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
                        .map(rustix::io::Errno::raw_os_error)
                        .contains(&code) =>
                {
                    Self::TooManyOpen
                }
                _ => Self::Other,
            },
        }
    }

    fn hint(self, path: Option<&Path>, needed_bytes: u64) -> String {
        let dir = path.map_or("that directory".to_owned(), |path| {
            parent(path).display().to_string()
        });
        let disk = match path {
            Some(_) => format!("the disk that holds {dir}"),
            None => "that disk".to_owned(),
        };
        let room = match needed_bytes {
            0 => "some space".to_owned(),
            bytes => format!("at least {}", size(bytes)),
        };
        match self {
            Self::Full => format!("free {room} on {disk}, or write to another disk"),
            Self::NoMoreFiles => {
                let counted = path.map_or(String::new(), |path| {
                    format!(" (`df -i {}` counts them)", path_for_shell(existing(path)))
                });
                format!("remove files on {disk}, however small{counted}, or write to another disk")
            }
            Self::Quota => format!(
                "remove files of yours on {disk} (`quota` tells what you may have), or write to another disk"
            ),
            Self::ReadOnly => format!(
                "write to another disk; if {dir} could be written before, the system has found a fault (`dmesg` tells)"
            ),
            Self::Forbidden => match path {
                Some(_) => format!(
                    "check that you may write in {dir} (`ls -ld` tells), or write elsewhere"
                ),
                // It may have been to be read.
                None => "check whose it is and what you may do there (`ls -ld` tells)".to_owned(),
            },
            Self::NoDirectory if path.is_some_and(Path::is_symlink) => {
                format!("the link of this name in {dir} leads nowhere: remove it")
            }
            Self::NoDirectory => match path.and_then(missing) {
                Some(missing) => format!("the directory {} does not exist", missing.display()),
                None => format!(
                    "look whether something removed {dir} meanwhile; not every file system takes files, so write elsewhere if it is there"
                ),
            },
            Self::FileOrDirectory => match path.and_then(no_directory) {
                Some(found) => format!(
                    "move {} away, which is no directory, or write elsewhere",
                    found.display()
                ),
                None => format!("move away what has this name in {dir}, or write elsewhere"),
            },
            Self::OtherFileSystem => {
                format!("name a directory that is no mount point, and write beside {dir}")
            }
            Self::Fault => format!(
                "look what the system says of {disk} (`dmesg`), then give the command again or write to another disk"
            ),
            Self::TooLarge => {
                "lift the limit (`ulimit -f` tells it), or write to another file system".to_owned()
            }
            Self::NameTooLong => "choose a shorter name".to_owned(),
            Self::TooManyOpen => {
                "raise the limit with `ulimit -n 4096`, or end other programs".to_owned()
            }
            Self::Busy => "end the other program, or write elsewhere".to_owned(),
            Self::Other => format!("look at {dir}, then give the command again or write elsewhere"),
        }
    }
}

/// The number that the system gave, also where an error of the system is wrapped in another.
fn code_of(error: &io::Error) -> Option<i32> {
    let inner = || error.source()?.downcast_ref::<io::Error>()?.raw_os_error();
    error.raw_os_error().or_else(inner)
}

/// `path` under the names that people know: what is being made aside is called what it will be.
fn named(path: &Path) -> PathBuf {
    let mut parts = path.components();
    let mut named = PathBuf::new();
    while let Some(part) = parts.next() {
        match target_of(part.as_os_str()) {
            Some(target) => {
                named.push(target);
                // The directory in it that will have the name.
                parts.next();
            }
            None => named.push(part),
        }
    }
    named
}

/// The directory that `path` lacks, if it does.
fn missing(path: &Path) -> Option<&Path> {
    let dir = parent(path);
    (!dir.exists()).then_some(dir)
}

/// What is there in place of a directory that `path` would lie in.
fn no_directory(path: &Path) -> Option<&Path> {
    let mut above = path.ancestors().skip(1);
    above.find(|place| place.symlink_metadata().is_ok() && !place.is_dir())
}

/// The directory that is there and that `path` lies or would lie in.
fn existing(path: &Path) -> &Path {
    let mut above = path.ancestors().skip(1);
    let there = above.find(|place| place.exists());
    there.unwrap_or(Path::new("."))
}

/// Whether the file system of `path` has space and no inode left. Some count no inodes, and never run out of them.
#[cfg(unix)]
fn has_no_more_files(path: &Path) -> bool {
    rustix::fs::statvfs(existing(path))
        .is_ok_and(|found| found.f_files > 0 && found.f_favail == 0 && found.f_bavail > 0)
}

#[cfg(not(unix))]
fn has_no_more_files(_path: &Path) -> bool {
    false
}

/// What the system said, in its words.
impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Error for Obstacle {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "runs/out/events.jsonl";

    #[test]
    #[cfg(target_os = "linux")]
    fn every_answer_of_the_system_becomes_a_sentence_with_the_path_and_a_hint() {
        // ENOSPC, EDQUOT, EROFS, EACCES, EPERM, EXDEV, EIO, EFBIG, ENAMETOOLONG, EMFILE, ENFILE, EBUSY, ENOENT, ENOTDIR,
        // ESTALE, and one that means nothing here.
        let codes = [
            28, 122, 30, 13, 1, 18, 5, 27, 36, 24, 23, 16, 2, 20, 116, 71,
        ];
        for code in codes {
            let obstacle = Obstacle::new(Path::new(PATH), 27, io::Error::from_raw_os_error(code));
            assert!(obstacle.sentence().contains(PATH), "{obstacle:?}");
            assert_eq!(obstacle.hints().len(), 1, "{obstacle:?}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_the_system_means_is_told_apart() {
        let said = |code: i32| {
            let source = io::Error::from_raw_os_error(code);
            let obstacle = Obstacle::new(Path::new(PATH), 27, source);
            (obstacle.sentence(), obstacle.hints()[0].clone())
        };
        for (code, sentence, hint) in [
            (
                28,
                "no space left on the disk for",
                "free at least 27 bytes on the disk that holds runs/out",
            ),
            (122, "your quota on the disk is used up", "`quota`"),
            (30, "its file system is read-only", "another disk"),
            (
                13,
                "permission denied",
                "check that you may write in runs/out",
            ),
            (18, "from one file system to another", "mount point"),
            (5, "the disk reports a fault", "dmesg"),
            (27, "larger than a file may be", "ulimit -f"),
            (36, "the name is too long", "shorter"),
            (24, "too many files are open", "ulimit -n"),
        ] {
            let (said, hinted) = said(code);
            assert!(said.contains(sentence), "{said}");
            assert!(hinted.contains(hint), "{hinted}");
        }
    }

    #[test]
    fn what_is_made_aside_is_called_what_it_will_be() {
        let aside = ".out.hone-0123456789abcdef";
        for (path, name) in [
            (
                format!("runs/{aside}/made/findings.jsonl"),
                "runs/out/findings.jsonl",
            ),
            (format!("./{aside}"), "./out"),
            ("runs/.out.hone-lock".into(), "runs/.out.hone-lock"),
        ] {
            assert_eq!(named(Path::new(&path)), Path::new(name));
        }
    }

    #[test]
    fn what_is_in_the_way_is_named_however_far_above() {
        let place = tempfile::tempdir().unwrap();
        let notes = place.path().join("notes.txt");
        std::fs::write(&notes, "mine").unwrap();
        for path in ["notes.txt/a", "notes.txt/a/b/c"] {
            let path = place.path().join(path);
            let source = std::fs::write(&path, "").unwrap_err();
            let hint = Obstacle::new(&path, 0, source).hints().remove(0);
            let told = format!("move {} away, which is no directory", notes.display());
            assert!(hint.starts_with(&told), "{hint}");
        }
        #[cfg(unix)]
        {
            let link = place.path().join("events.jsonl");
            std::os::unix::fs::symlink("not/there", &link).unwrap();
            let source = std::fs::write(&link, "").unwrap_err();
            let hint = Obstacle::new(&link, 0, source).hints().remove(0);
            assert!(hint.ends_with("leads nowhere: remove it"), "{hint}");
        }
    }

    #[test]
    fn a_disk_that_takes_no_more_files_is_not_called_full() {
        let full = io::Error::from(ErrorKind::StorageFull);
        assert_eq!(Kind::of(&full, || true), Kind::NoMoreFiles);
        assert_eq!(Kind::of(&full, || false), Kind::Full);
        let hint = Kind::NoMoreFiles.hint(None, 0);
        assert!(!hint.contains("df -i"), "{hint}");
        // A command that is offered can be given as it stands: the place is there, and one word.
        let place = tempfile::tempdir().unwrap();
        let odd = place.path().join("my runs; $(x)");
        std::fs::create_dir(&odd).unwrap();
        let hint = Kind::NoMoreFiles.hint(Some(&odd.join("not/yet.json")), 0);
        let offered = format!("`df -i '{}'`", odd.display());
        assert!(hint.contains(&offered), "{hint}");
    }
}
