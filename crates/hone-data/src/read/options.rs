//! What can be said about files before they are read: names, labels, chunks.

use std::collections::{BTreeMap, BTreeSet};

use super::row::{Object, keys};
use super::{ChunkOptions, Chunking, Input, ReadError};
use crate::keys::{LABELS, Nulls, is_harmless, tells_of_no_shape};
use crate::{Reason, Shape};

/// How files are read.
#[derive(Clone, Default)]
pub struct ReadOptions<'a> {
    /// Fields that have another name in the files: `prompt = "question"`.
    pub columns: BTreeMap<String, String>,
    /// Keys that are passed over whatever they hold; `turn.NAME` for keys of turns.
    pub ignored_keys: BTreeSet<String>,
    /// What null properties of arguments and of tools are; rows of JSON that have one are refused without it.
    pub nulls: Option<Nulls>,
    /// Which of the lists of a JSON document is read, where several are sides of a dataset.
    pub list: Option<String>,
    /// May rows ask without an answer, as those of a benchmark may? The answer is an empty text then.
    pub replies_are_optional: bool,
    /// Did Hone write the rows? Every null in them is meant, and a file may hold rows of several shapes.
    pub is_own: bool,
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

/// The names of fields that a column can be read as.
pub fn fields() -> impl Iterator<Item = &'static str> {
    Shape::names().chain(LABELS)
}

impl<'a> ReadOptions<'a> {
    /// These options with what is known of a file; what the user says of a field wins.
    pub(super) fn for_file(&self, input: &Input) -> Self {
        let mut columns = input.columns.clone();
        columns.extend(self.columns.clone());
        Self {
            columns,
            nulls: self.nulls.or(input.is_own.then_some(Nulls::Keep)),
            is_own: self.is_own || input.is_own,
            list: input.list.clone().or_else(|| self.list.clone()),
            licence: self.licence.clone().or_else(|| input.licence.clone()),
            ..self.clone()
        }
    }

    /// For files that Hone wrote: what is null in them is meant.
    pub fn of_own_rows() -> Self {
        Self {
            nulls: Some(Nulls::Keep),
            is_own: true,
            ..Self::default()
        }
    }

    /// Is a column of this name looked at? Only those that are known to be harmless are not.
    pub(super) fn reads(&self, column: &str) -> bool {
        let is_mapped = self.columns.values().any(|mapped| mapped == column);
        is_mapped || !is_harmless(column) && !self.ignored_keys.contains(column)
    }

    /// Is what stands in a column of this name part of the row?
    pub(super) fn needs(&self, column: &str) -> bool {
        let mut fields = Shape::names().chain(LABELS);
        self.columns.values().any(|mapped| mapped == column) || fields.any(|field| field == column)
    }

    /// Refuses what could not be honoured in any file.
    pub(super) fn check(&self) -> Result<(), ReadError> {
        let is_field =
            |name: &str| LABELS.contains(&name) || Shape::names().any(|field| field == name);
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
    pub(super) fn missing<'b>(
        &'b self,
        columns: &'b [String],
    ) -> impl Iterator<Item = (&'b str, &'b str)> {
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
        if self.replies_are_optional && Shape::of(row).is_none() {
            let replies = [
                ("instruction", "output"),
                ("prompt", "completion"),
                ("query", "completion"),
            ];
            if let Some((_, reply)) = replies.iter().find(|(asked, _)| row.contains_key(*asked)) {
                row.insert((*reply).to_owned(), String::new().into());
            }
        }
    }

    /// The shape of a row: the first that it fits and that has every text that was mapped.
    pub(super) fn shape_of(&self, row: &Object) -> Result<Shape, Reason> {
        // A file that lacks the column is read as what it is.
        let texts = || {
            let fields = self.columns.keys().map(String::as_str);
            fields.filter(|field| !LABELS.contains(field) && row.contains_key(*field))
        };
        let takes_all = |shape: Shape| texts().all(|field| shape.takes(field));
        Shape::find(row, takes_all).ok_or_else(|| {
            tells_of_no_shape(row).unwrap_or_else(|| Reason::UnknownShape { keys: keys(row) })
        })
    }
}
