//! Which runs there are on this machine, and how they stand.
//!
//! Their directories are the truth. They are found by the registry, an SQLite file, and by a list of directories beside
//! it, a line each: where the registry is damaged, locked or of somebody else, the list finds them, and the registry is
//! made again from what they say. How a run stands is asked of the lock in its directory, because one that was killed
//! could not write it down. Listing writes nothing.

use crate::base::Home;
use crate::run::{RUN_JSON, RUN_LOCK, RunRecord, has_remains};
use anyhow::{Context, Result};
use hone_ledger::words::{for_shell, path_for_shell};
use hone_ledger::{ContentId, Held, Registry, RunRow, RunStatus, WriteError, who_writes_in};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The runs of this machine.
#[derive(Debug, Default)]
pub struct Listing {
    /// The one started last first.
    pub runs: Vec<RunRow>,
    /// What could not be read, and what was done about it.
    pub remarks: Vec<String>,
}

/// Notes the run in `out` in the registry and in the list.
pub fn enter(out: &Path, home: &Home) -> Result<()> {
    let dir = absolute(out)?;
    let row = row_of(&dir, &RunRecord::read(Path::new(&dir))?);
    fs::create_dir_all(home.root()).map_err(|source| WriteError::new(home.root(), 0, source))?;
    let listed = add_to_list(&home.run_list(), &dir);
    let mut registry = Registry::open(&home.registry())?;
    registry.record(&row)?;
    // Those that were there before there was a list.
    let known = registry.list()?.runs;
    listed.and_then(|()| {
        known
            .iter()
            .try_for_each(|row| add_to_list(&home.run_list(), &row.dir))
    })
}

/// Every run that the registry or the list knows of, as its directory tells it.
pub fn list(home: &Home) -> Listing {
    let mut listing = Listing::default();
    let (rows, trouble) = match Registry::read(&home.registry()) {
        Ok(listed) => {
            if listed.odd > 0 {
                listing.remarks.push(format!(
                    "{}: {} of its rows cannot be read; the others are listed",
                    home.registry().display(),
                    listed.odd
                ));
            }
            (listed.runs, None)
        }
        Err(error) => (Vec::new(), Some(error)),
    };
    let mut known = BTreeSet::new();
    let dirs = read_list(&home.run_list());
    let rows = rows.into_iter().map(|row| (row.dir.clone(), Some(row)));
    for (dir, row) in rows.chain(dirs.into_iter().map(|dir| (dir, None))) {
        if known.insert(dir.clone()) {
            let found = as_it_stands(&dir, row, &mut listing.remarks);
            listing.runs.extend(found);
        }
    }
    let (gone, without): (Vec<_>, Vec<_>) = (listing.runs.iter())
        .filter(|run| run.status == RunStatus::Finished)
        .map(|run| Path::new(&run.dir))
        .filter(|dir| {
            !dir.join("adapter")
                .join("adapter_model.safetensors")
                .is_file()
        })
        .partition(|dir| !dir.exists());
    if let Some(dir) = gone.first() {
        let more = match gone.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        listing.remarks.push(format!(
            "what finished runs left is gone: {} is no more{more}",
            dir.display()
        ));
    }
    for dir in without {
        listing.remarks.push(format!(
            "the adapter of the finished run in {0} is not there; `hone train --resume --out {1}` makes it again from its checkpoints",
            dir.display(),
            path_for_shell(dir)
        ));
    }
    listing
        .runs
        .sort_by(|a, b| (b.started_unix, &a.id).cmp(&(a.started_unix, &b.id)));
    if let Some(error) = trouble {
        let reason = in_words(&anyhow::Error::new(error));
        let made = make_again(home, &listing.runs);
        listing.remarks.push(match made {
            Ok(Some(aside)) => format!(
                "{reason}: it is now {}, and was made again from the directories of the runs",
                aside.display()
            ),
            Ok(None) | Err(_) => {
                format!("{reason}: the runs are listed from their directories")
            }
        });
    }
    listing
}

/// An error and its cause in a line. Causes of causes of SQLite's say the same again.
pub fn in_words(error: &anyhow::Error) -> String {
    let links = error.chain().take(2).map(ToString::to_string);
    links.collect::<Vec<_>>().join(": ")
}

/// The directories of runs below `root`; folders that cannot be looked into hold none.
pub fn runs_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        if dir.join(RUN_JSON).is_file() {
            found.push(dir);
            continue;
        }
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        // Links could lead in a circle.
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        open.extend(folders.map(|entry| entry.path()));
    }
    found.sort();
    found
}

/// A damaged registry is moved aside and made anew; any other trouble passes, or is not ours to end.
fn make_again(home: &Home, runs: &[RunRow]) -> Result<Option<PathBuf>> {
    let is_damaged = Registry::read(&home.registry()).is_err_and(|error| error.is_damage());
    if !is_damaged {
        return Ok(None);
    }
    let mut registry = Registry::open(&home.registry())?;
    registry.rebuild(runs)?;
    Ok(registry.set_aside().map(Path::to_path_buf))
}

/// The run in `dir`, by its record, or by what the registry knows where that cannot be read.
fn as_it_stands(dir: &str, row: Option<RunRow>, remarks: &mut Vec<String>) -> Option<RunRow> {
    let path = Path::new(dir);
    let row = match (RunRecord::read(path), row) {
        (Ok(record), _) => row_of(dir, &record),
        (Err(error), row) => {
            let is_there = has_remains(path).is_some();
            if is_there {
                remarks.push(format!(
                    "{}; `hone train --resume --out {}` says what can be done",
                    in_words(&error),
                    for_shell(dir)
                ));
            }
            // Of a directory that is gone only the registry's row is left.
            row.or_else(|| is_there.then(|| unreadable_run(dir)))?
        }
    };
    Some(RunRow {
        status: status(path, row.status),
        ..row
    })
}

/// How a run stands that says of itself that it is `recorded`.
fn status(dir: &Path, recorded: RunStatus) -> RunStatus {
    match (who_writes_in(dir, RUN_LOCK), recorded) {
        // The report of a finished run is still being written.
        (Held::By(_), RunStatus::Finished) => RunStatus::Finished,
        (Held::By(_), _) => RunStatus::Running,
        (Held::Free, RunStatus::Running) => RunStatus::Interrupted,
        (Held::Free | Held::Unknown, recorded) => recorded,
    }
}

fn row_of(dir: &str, record: &RunRecord) -> RunRow {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_string();
    RunRow {
        id: id_of(&format!(
            "{} {} {dir}",
            record.started_unix, record.identity
        )),
        dir: dir.to_owned(),
        started_unix: record.started_unix,
        finished_unix: record.finished_unix,
        status: record.status,
        model: text(&record.base["name"]),
        data: text(&record.data["train"]["id"]),
        metrics: record.result.clone().unwrap_or_else(|| json!({})),
    }
}

/// A run of which there is a directory and no record.
fn unreadable_run(dir: &str) -> RunRow {
    RunRow {
        id: id_of(dir),
        dir: dir.to_owned(),
        started_unix: 0,
        finished_unix: None,
        status: RunStatus::Running,
        model: String::new(),
        data: String::new(),
        metrics: json!({}),
    }
}

/// A short name. The directory is part of what it is made from, so that runs of the same plan that begin in the same second
/// have different ones.
fn id_of(whole: &str) -> String {
    ContentId::of(whole.as_bytes()).short()
}

fn absolute(dir: &Path) -> Result<String> {
    let absolute = std::path::absolute(dir);
    let absolute = absolute.with_context(|| format!("cannot find {}", dir.display()))?;
    Ok(absolute.display().to_string())
}

/// The directories in the list; lines that a kill tore are no paths, and lead nowhere.
fn read_list(list: &Path) -> Vec<String> {
    let bytes = fs::read(list).unwrap_or_default();
    let lines = bytes.split(|&byte| byte == b'\n');
    lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}

fn add_to_list(list: &Path, dir: &str) -> Result<()> {
    if read_list(list).iter().any(|known| known == dir) {
        return Ok(());
    }
    // The newline before ends a line that a kill tore.
    let line = format!("\n{}\n", json!(dir));
    let mut options = OpenOptions::new();
    let opened = options.create(true).append(true).open(list);
    let written = opened.and_then(|mut file| file.write_all(line.as_bytes()));
    Ok(written.map_err(|source| WriteError::new(list, line.len() as u64, source))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_in_the_list_once_and_a_torn_line_costs_no_other() {
        let place = tempfile::tempdir().unwrap();
        let list = place.path().join("runs.list");
        for dir in ["/a", "/b\nc", "/a"] {
            add_to_list(&list, dir).unwrap();
        }
        let whole = fs::read(&list).unwrap();
        fs::write(&list, &whole[..whole.len() - 2]).unwrap();
        add_to_list(&list, "/d").unwrap();
        assert_eq!(read_list(&list), ["/a", "/d"]);
    }
}
