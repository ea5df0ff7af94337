//! A dataset directory: rows of each side, the findings, the report, and a manifest that vouches for them.
//!
//! The directory never changes. Its content id is a hash over the canonical rows of all sides, whatever their
//! order: one changed character of one message changes it. The manifest tells what the rows were made from and
//! by which steps, with every parameter in force.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use hone_data::Record;
use hone_ledger::{ContentId, DirError, VerifiedDir, open_dir};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::recipe::{Side, ruled};
use crate::{Examiner, Finding};

/// The findings of a build, a line each.
pub const FINDINGS: &str = "findings.jsonl";
/// The report of a build.
pub const REPORT: &str = "report.html";

/// What a manifest says beside the list of its files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// `dataset`, so that no other directory is taken for one.
    pub kind: String,
    /// What made it, with its version.
    pub tool: String,
    /// The id of all rows.
    pub content: ContentId,
    /// Rows and id of each side.
    pub sides: BTreeMap<Side, SideNote>,
    /// What it was made from.
    pub parents: Vec<Parent>,
    /// Evaluation rows that leaks were looked for from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub benchmarks: Vec<Parent>,
    /// Values that are not a rule's: seed, shares, mixture.
    pub settings: Value,
    /// Rules in force, with their parameters.
    pub steps: Value,
    /// Rows read, kept, dropped, changed.
    pub counts: BTreeMap<String, usize>,
    /// Findings that wait for a decision, by rule.
    pub undecided: BTreeMap<String, usize>,
}

/// One side in a manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SideNote {
    /// The id of its rows.
    pub id: ContentId,
    /// Its rows, repeats not counted.
    pub rows: usize,
}

/// A file that a dataset was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Its name, without its folder: the same file elsewhere makes the same dataset.
    pub file: String,
    /// Its hash.
    pub sha256: ContentId,
    /// Usable rows.
    pub rows: usize,
    /// Unusable rows.
    pub refused: usize,
}

/// The kind of directory that this is.
pub const KIND: &str = "dataset";

/// Why a directory is no dataset, or cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says what each field is
pub enum DatasetError {
    #[error(transparent)]
    Dir(#[from] DirError),
    #[error("{} is no dataset: {what}", path.display())]
    NotADataset { path: PathBuf, what: String },
    #[error("{}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}:{line}: {what}", path.display())]
    Row {
        path: PathBuf,
        line: usize,
        what: String,
    },
}

/// A dataset directory whose files are what was written.
#[derive(Debug)]
pub struct DatasetDir {
    dir: VerifiedDir,
    /// What its manifest says.
    pub note: Note,
}

/// Is this a directory that claims to be a dataset?
pub fn is_dataset(path: &Path) -> bool {
    let manifest = || -> Option<Value> {
        let file = File::open(path.join(hone_ledger::MANIFEST)).ok()?;
        serde_json::from_reader(BufReader::new(file)).ok()
    };
    path.is_dir() && manifest().is_some_and(|manifest| manifest["note"]["kind"] == KIND)
}

impl DatasetDir {
    /// Opens a directory after checking every file.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        let dir = open_dir(path)?;
        let note = Note::deserialize(dir.note()).map_err(|error| DatasetError::NotADataset {
            path: path.to_path_buf(),
            what: error.to_string(),
        })?;
        match note.kind == KIND {
            true => Ok(Self { dir, note }),
            false => Err(DatasetError::NotADataset {
                path: path.to_path_buf(),
                what: format!("it is a {}", note.kind),
            }),
        }
    }

    /// The file of a side, if it has rows.
    pub fn rows_of(&self, side: Side) -> Option<PathBuf> {
        let rows = self.note.sides.get(&side)?.rows;
        (rows > 0).then(|| self.dir.path().join(file_of(side)))
    }

    /// The findings of the build.
    pub fn findings(&self) -> Result<Vec<Finding>, DatasetError> {
        each_line(&self.dir.path().join(FINDINGS), |line| {
            serde_json::from_str(line)
        })
    }

    /// Every row of a side.
    pub fn records(&self, side: Side) -> Result<Vec<Record>, DatasetError> {
        match self.rows_of(side) {
            Some(path) => each_line(&path, Record::from_json),
            None => Ok(Vec::new()),
        }
    }
}

/// The name of a side's file.
pub fn file_of(side: Side) -> String {
    format!("{}.jsonl", side.name())
}

/// What every line of a file says.
fn each_line<T, E: fmt::Display>(
    path: &Path,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, DatasetError> {
    let fail = |source| DatasetError::Unreadable {
        path: path.to_path_buf(),
        source,
    };
    let lines = BufReader::new(File::open(path).map_err(fail)?).lines();
    let parsed = lines.enumerate().map(|(index, line)| {
        parse(&line.map_err(fail)?).map_err(|error| DatasetError::Row {
            path: path.to_path_buf(),
            line: index + 1,
            what: error.to_string(),
        })
    });
    parsed.collect()
}

/// What is different between two datasets.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Difference {
    /// Rows only in the first, by side.
    pub removed: Vec<(Side, String)>,
    /// Rows only in the second, by side.
    pub added: Vec<(Side, String)>,
    /// Rows that stand on another side: from, to.
    pub moved: Vec<(Side, Side, String)>,
    /// Settings and steps that differ: name, first, second.
    pub steps: Vec<(String, String, String)>,
}

impl Difference {
    /// Is there none?
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Compares two datasets row by row and step by step.
pub fn diff(first: &DatasetDir, second: &DatasetDir) -> Result<Difference, DatasetError> {
    let (before, after) = (rows_by_content(first)?, rows_by_content(second)?);
    let mut difference = Difference {
        steps: differing_steps(&first.note, &second.note),
        ..Difference::default()
    };
    let differs = |(row, side): &(&ContentId, &Side)| after.get(row) != Some(side);
    let shown = shown_rows(first, before.iter().filter(differs).map(|(row, _)| *row))?;
    for (row, shown) in shown {
        let side = before[&row];
        match after.get(&row) {
            None => difference.removed.push((side, shown)),
            Some(&there) => difference.moved.push((side, there, shown)),
        }
    }
    let new = after.keys().filter(|row| !before.contains_key(*row));
    let shown = shown_rows(second, new.copied())?;
    difference.added = shown
        .into_iter()
        .map(|(row, shown)| (after[&row], shown))
        .collect();
    difference.removed.sort();
    difference.added.sort();
    difference.moved.sort();
    Ok(difference)
}

/// Rows by what they say and are labelled, with their side.
fn rows_by_content(dataset: &DatasetDir) -> Result<BTreeMap<ContentId, Side>, DatasetError> {
    let mut rows = BTreeMap::new();
    for side in Side::ALL {
        for record in dataset.records(side)? {
            rows.insert(id_of(&record), side);
        }
    }
    Ok(rows)
}

fn id_of(record: &Record) -> ContentId {
    ContentId::of(record.to_line().as_bytes())
}

/// How some rows begin and end, with what the rules about personal data see in them masked, as a report shows rows.
fn shown_rows(
    dataset: &DatasetDir,
    wanted: impl Iterator<Item = ContentId>,
) -> Result<BTreeMap<ContentId, String>, DatasetError> {
    let wanted: BTreeSet<ContentId> = wanted.collect();
    let mut shown = BTreeMap::new();
    if wanted.is_empty() {
        return Ok(shown);
    }
    let rules = ruled(&BTreeMap::new()).expect("every rule can do what it does by default");
    let examiner = Examiner::new(&rules, None);
    for side in Side::ALL {
        for record in dataset.records(side)? {
            let id = id_of(&record);
            if wanted.contains(&id) {
                let text: Vec<&str> = record.parts().map(|part| part.text).collect();
                let text = text.join(" ⏎ ");
                shown.insert(id, examiner.shown(&text, 0..text.len()));
            }
        }
    }
    Ok(shown)
}

fn differing_steps(first: &Note, second: &Note) -> Vec<(String, String, String)> {
    let (before, after) = (step_values(first), step_values(second));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let value = |values: &BTreeMap<String, String>, name: &String| {
        values.get(name).cloned().unwrap_or_else(|| "–".into())
    };
    names
        .into_iter()
        .map(|name| (name.clone(), value(&before, name), value(&after, name)))
        .filter(|(_, before, after)| before != after)
        .collect()
}

fn step_values(note: &Note) -> BTreeMap<String, String> {
    let steps = note.steps.as_array().into_iter().flatten();
    let rules = steps.map(|step| {
        let mut rest = step.clone();
        let name = rest["rule"].as_str().unwrap_or_default().to_owned();
        if let Some(rest) = rest.as_object_mut() {
            rest.remove("rule");
        }
        (name, rest.to_string())
    });
    let settings = note.settings.as_object().into_iter().flatten();
    let settings = settings.map(|(name, value)| (name.clone(), value.to_string()));
    let tool = ("tool".to_owned(), note.tool.clone());
    let parents = note
        .parents
        .iter()
        .map(|parent| (format!("parent {}", parent.file), parent.sha256.short()));
    rules.chain(settings).chain([tool]).chain(parents).collect()
}
