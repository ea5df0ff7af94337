//! What was named, as files: a file, a folder, or a pattern.
//!
//! Files are taken in the order in which they were named; what a pattern or a folder holds, in
//! alphabetical order. A folder's documents are only taken if it holds no rows: a card beside the
//! rows it describes is not part of them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use glob::MatchOptions;

use super::{Format, ReadError};

/// The files behind some names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Files to be read, in this order.
    pub files: Vec<PathBuf>,
    /// Files in the folders named that are not read.
    pub passed_over: Vec<PathBuf>,
}

impl Inputs {
    /// Finds the files; a name that leads to none is an error.
    pub fn find<P: AsRef<Path>>(names: &[P]) -> Result<Self, ReadError> {
        let mut inputs = Self::default();
        let mut matched = HashSet::new();
        for name in names.iter().map(AsRef::as_ref) {
            let found = match fs::metadata(name) {
                Ok(metadata) if metadata.is_dir() => inputs.folder(name)?,
                Err(_) if is_pattern(name) => matches(name)?,
                _ => {
                    inputs.files.push(name.into());
                    continue;
                }
            };
            // Two patterns may meet in a file, and it is still one file.
            let new = found
                .into_iter()
                .filter(|file| matched.insert(file.clone()));
            inputs.files.extend(new);
        }
        Ok(inputs)
    }

    fn folder(&mut self, folder: &Path) -> Result<Vec<PathBuf>, ReadError> {
        let mut all = Vec::new();
        list(folder, &mut all).map_err(|source| ReadError::Unreadable {
            file: folder.into(),
            source,
        })?;
        all.sort_unstable();
        let named = |file: &PathBuf| Format::named(file);
        let has_rows = all
            .iter()
            .any(|file| named(file).is_some_and(Format::has_rows));
        let (taken, passed_over): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|file| named(file).is_some_and(|format| format.has_rows() == has_rows));
        if taken.is_empty() {
            return Err(ReadError::NothingInFolder {
                folder: folder.into(),
            });
        }
        self.passed_over.extend(passed_over);
        Ok(taken)
    }
}

/// All files below a folder, without hidden ones and without following links to other folders.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            list(&path, files)?;
        } else if path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn is_pattern(name: &Path) -> bool {
    name.to_string_lossy().contains(['*', '?', '['])
}

fn matches(pattern: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let text = pattern.to_string_lossy();
    let wrong = |what: &str| ReadError::Pattern {
        pattern: pattern.into(),
        what: what.into(),
    };
    let visible = MatchOptions {
        require_literal_leading_dot: true,
        ..MatchOptions::new()
    };
    let found = glob::glob_with(&text, visible).map_err(|error| wrong(error.msg))?;
    let mut files: Vec<PathBuf> = found
        .filter_map(Result::ok)
        .filter(|path| path.is_file())
        .collect();
    files.sort_unstable();
    match files.is_empty() {
        true => Err(ReadError::NoMatch {
            pattern: pattern.into(),
            there: neighbours(pattern),
        }),
        false => Ok(files),
    }
}

/// How many names a hint tells.
const NEIGHBOURS: usize = 8;

/// What stands where the pattern looks.
fn neighbours(pattern: &Path) -> Vec<String> {
    let folder = pattern
        .ancestors()
        .skip(1)
        .find(|folder| !is_pattern(folder))
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort_unstable();
    names.truncate(NEIGHBOURS);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_of(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        folder
    }

    fn names(folder: &Path, files: &[PathBuf]) -> Vec<String> {
        let name = |file: &PathBuf| file.strip_prefix(folder).unwrap().display().to_string();
        files.iter().map(name).collect()
    }

    #[test]
    fn folders_and_patterns_become_files_in_alphabetical_order_each_once() {
        let folder = folder_of(&[
            "b.jsonl",
            "a.jsonl.gz",
            "sub/c.parquet",
            "README.md",
            "d.png",
            ".e.jsonl",
        ]);
        let root = folder.path();
        let found = Inputs::find(&[root.join("*.jsonl"), root.into()]).unwrap();
        assert_eq!(
            names(root, &found.files),
            ["b.jsonl", "a.jsonl.gz", "sub/c.parquet"]
        );
        assert_eq!(names(root, &found.passed_over), ["README.md", "d.png"]);
    }

    #[test]
    fn a_folder_of_documents_alone_is_read_as_such() {
        let folder = folder_of(&["two.txt", "one.md", "three.rs"]);
        let found = Inputs::find(&[folder.path()]).unwrap();
        assert_eq!(names(folder.path(), &found.files), ["one.md", "two.txt"]);
    }

    #[test]
    fn a_name_that_leads_to_nothing_is_an_error_that_says_what_there_is() {
        let folder = folder_of(&["rows.jsonl", "notes.rs"]);
        let error = Inputs::find(&[folder.path().join("*.csv")]).unwrap_err();
        assert!(
            error.to_string().ends_with("no file matches the pattern"),
            "{error}"
        );
        assert!(
            error.hints()[0].contains("notes.rs, rows.jsonl"),
            "{error:?}"
        );
        let nothing = folder_of(&["notes.rs"]);
        let error = Inputs::find(&[nothing.path()]).unwrap_err();
        assert!(error.hints()[0].contains(".jsonl"), "{error:?}");
        let error = Inputs::find(&["a***b"]).unwrap_err().to_string();
        assert!(error.starts_with("a***b: not a pattern"), "{error}");
    }
}
