//! What can be said about files before they are read: names, labels, chunks.

use std::collections::BTreeMap;

use super::row::{Object, keys};
use super::{ChunkOptions, Chunking, ReadError};
use crate::{Reason, Shape};

/// How files are read.
#[derive(Clone, Default)]
pub struct ReadOptions<'a> {
    /// Fields that have another name in the files: `prompt = "question"`.
    pub columns: BTreeMap<String, String>,
    /// The task of rows that name none, instead of the file's name.
    pub task: Option<String>,
    /// The collection of rows that name none.
    pub origin: Option<String>,
    /// The licence of rows that name none.
    pub licence: Option<String>,
    /// How documents are cut; without it a document is one row.
    pub chunking: Option<Chunking<'a>>,
    /// Hears how far the reading is.
    pub told: Option<&'a dyn Fn(Progress)>,
}

/// How far a reading is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes taken from the files.
    pub bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
    /// Rows read, used or refused.
    pub rows: usize,
}

/// Fields that say something about a row and are not its text.
pub(super) const LABELS: [&str; 4] = ["task", "group", "origin", "licence"];

impl ReadOptions<'_> {
    /// The column that holds a field.
    pub(super) fn column<'a>(&'a self, field: &'a str) -> &'a str {
        self.columns.get(field).map_or(field, String::as_str)
    }

    /// Is a column of this name read at all?
    pub(super) fn reads(&self, column: &str) -> bool {
        let mut fields = Shape::fields().chain(LABELS).chain(["id", "functions"]);
        self.columns.values().any(|mapped| mapped == column) || fields.any(|field| field == column)
    }

    /// Refuses what could not be honoured in any file.
    pub(super) fn check(&self) -> Result<(), ReadError> {
        let is_field =
            |name: &str| LABELS.contains(&name) || Shape::fields().any(|field| field == name);
        if let Some(field) = self.columns.keys().find(|field| !is_field(field)) {
            return Err(ReadError::UnknownField {
                field: field.clone(),
            });
        }
        match self.chunking.map(|chunking| chunking.options) {
            Some(ChunkOptions { tokens, overlap }) if overlap >= tokens => {
                Err(ReadError::Overlap { tokens, overlap })
            }
            _ => Ok(()),
        }
    }

    /// Fields whose columns are not among these, and those columns.
    pub(super) fn missing<'a>(
        &'a self,
        columns: &'a [String],
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mapped = self.columns.iter();
        mapped
            .map(|(field, column)| (field.as_str(), column.as_str()))
            .filter(|(_, column)| !columns.iter().any(|there| there == column))
    }

    /// Gives fields their own names.
    pub(super) fn rename(&self, row: &mut Object) {
        let named =
            |(field, column): (&String, &String)| Some((field.clone(), row.get(column)?.clone()));
        let fields: Vec<_> = self.columns.iter().filter_map(named).collect();
        for column in self.columns.values() {
            row.shift_remove(column);
        }
        row.extend(fields);
    }

    /// The shape of a row: the first that it fits and that has every text that was mapped.
    pub(super) fn shape_of(&self, row: &Object) -> Result<Shape, Reason> {
        let texts = || {
            let fields = self.columns.keys().map(String::as_str);
            fields.filter(|field| !LABELS.contains(field))
        };
        Shape::ALL
            .into_iter()
            .find(|shape| shape.fits(row) && texts().all(|field| shape.takes(field)))
            .ok_or_else(|| Reason::UnknownShape { keys: keys(row) })
    }
}
