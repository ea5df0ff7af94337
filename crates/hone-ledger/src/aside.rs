//! What is not finished lies under a name that nobody else has, so that whatever is there under such a name is ours.
//!
//! `NAME` is made as `.NAME.hone-0123456789abcdef`, sixteen random digits, beside it. A process that is killed leaves it
//! there; the next one that writes `NAME` finds it by the form of its name and removes it. Whatever a user calls
//! `NAME.partial`, `NAME.tmp` or `NAME.old` is never looked at.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Between the name and the digits.
const MARK: &str = ".hone-";

/// How many digits.
const DIGITS: usize = 16;

/// A new name beside `path`.
pub(crate) fn name_beside(path: &Path) -> io::Result<PathBuf> {
    // The keys come from the system's generator, so the hash of anything is a random number.
    let random = RandomState::new().hash_one(std::process::id());
    let mut name = hidden(path)?;
    name.push(format!("{MARK}{random:016x}"));
    Ok(parent(path).join(name))
}

/// The directory that holds `path`; a bare name lives in the current one.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// `.NAME`, for something beside `path` that a listing does not show.
pub(crate) fn hidden(path: &Path) -> io::Result<OsString> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(
            ErrorKind::InvalidInput,
            "the path does not end in the name of a file or directory",
        )
    })?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    Ok(hidden)
}

/// What lies beside `path` under names made for it. A directory that cannot be listed holds none that could be removed.
pub(crate) fn made_for(path: &Path) -> Vec<PathBuf> {
    let Ok(mut front) = hidden(path) else {
        return Vec::new();
    };
    front.push(MARK);
    let is_made = |name: &OsStr| {
        let name = name.as_encoded_bytes();
        let digits = name.strip_prefix(front.as_encoded_bytes());
        digits.is_some_and(are_digits)
    };
    let entries = entries(parent(path));
    entries
        .filter(|entry| is_made(&entry.file_name()))
        .map(|entry| entry.path())
        .collect()
}

/// Everything in a directory under such names, each with the name that it was made for.
pub(crate) fn made_in(dir: &Path) -> Vec<(PathBuf, String)> {
    let made = entries(dir).filter_map(|entry| {
        let name = target_of(&entry.file_name())?.to_owned();
        Some((entry.path(), name))
    });
    made.collect()
}

/// What a name was made for, if it is such a name.
pub(crate) fn target_of(name: &OsStr) -> Option<&str> {
    let (name, digits) = name.to_str()?.strip_prefix('.')?.rsplit_once(MARK)?;
    (!name.is_empty() && are_digits(digits.as_bytes())).then_some(name)
}

fn entries(dir: &Path) -> impl Iterator<Item = DirEntry> {
    fs::read_dir(dir).into_iter().flatten().flatten()
}

fn are_digits(bytes: &[u8]) -> bool {
    bytes.len() == DIGITS && bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_new_each_time_and_found_again_for_their_target_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let names = [name_beside(&path).unwrap(), name_beside(&path).unwrap()];
        assert_ne!(names[0], names[1]);
        for name in &names {
            fs::write(name, "half").unwrap();
        }
        for other in [
            "a.json.partial",
            ".a.json.hone-12",
            ".a.json.hone-0123456789abcdeX",
            ".b.a.json.hone-0123456789abcdef",
        ] {
            fs::write(dir.path().join(other), "mine").unwrap();
        }
        let mut found = made_for(&path);
        found.sort();
        let mut expected = names.to_vec();
        expected.sort();
        assert_eq!(found, expected);
        let all: Vec<String> = made_in(dir.path())
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        let of_this = all.iter().filter(|name| *name == "a.json");
        assert_eq!((of_this.count(), all.len()), (2, 3));
    }
}
