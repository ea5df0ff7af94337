//! Files of rows to records, one row at a time.
//!
//! A file is JSONL, one JSON document, a table, Parquet, or a document of text, packed or not. Whatever
//! it is, it becomes a stream of rows with the lines they start on, so that a file may be larger than
//! memory. Its shape is the first one recognised in it; rows of another shape are refused rather than
//! guessed at, because a file that mixes shapes is usually two files by accident.

use hone_ledger::words::quoted;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::keys::{Account, MOST_NAMES, tells_of_no_shape};
use crate::turn::turns_in;
use crate::value::{field, kind};
use crate::{Count, Kind, Reason, Record, Refused, Shape, Source, counts};
use row::{Beside, Object, Rows, keys, line_object};

pub use chunk::{ChunkOptions, Chunking};
pub use error::ReadError;
pub use format::Format;
pub use guard::is_guarded;
pub use inputs::Inputs;
pub(crate) use layout::words::words;
pub use layout::{Choices, Doubt, Input, PassedOver, Told};
pub use options::{Progress, ReadOptions, fields};
pub use plain::{PlainError, plain_rows};

mod arrow;
mod bytes;
mod chunk;
mod document;
mod error;
mod format;
mod guard;
mod guess;
mod inputs;
mod layout;
mod lines;
mod open;
mod options;
mod parquet;
mod plain;
mod prose;
mod row;
mod table;

/// A longer row is refused: it is a file without line breaks rather than a row.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// A row that has not ended after so many bytes more is the end of its file.
const MAX_SKIPPED_BYTES: u64 = 1 << 30;

/// Progress is told after every so many rows.
const ROWS_PER_TELLING: usize = 256;

/// What was found in some files.
#[derive(Debug, Default)]
pub struct Reading {
    /// The usable rows, in the order of the files.
    pub records: Vec<Record>,
    /// What each file turned out to be.
    pub files: Vec<FileReport>,
    /// The rows that cannot be used.
    pub refused: Vec<Refused>,
}

/// What one file turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// The file as it was named.
    pub file: Arc<Path>,
    /// Which of its lists, where they are sides of a dataset.
    pub list: Option<String>,
    /// The list of a JSON document in which its rows stand.
    pub within: Option<String>,
    /// What kind of file it is.
    pub format: Format,
    /// The shape of its rows.
    pub shape: Shape,
    /// Rows used.
    pub rows: usize,
    /// Rows refused.
    pub refused: usize,
    /// Keys of its rows that are not used and do not matter, those of turns as `turn.NAME`.
    pub unused: Vec<String>,
    /// Rows that are kept and that nothing trains on yet, by kind.
    pub untrained: BTreeMap<Kind, usize>,
    /// The first thousand names of its columns or keys, and those of its turns, as `turn.NAME`.
    pub keys: Vec<String>,
    /// Which of the columns that the options name it has.
    pub columns: Vec<String>,
}

impl FileReport {
    /// The file, and which of its lists, as people read it.
    pub fn name(&self) -> String {
        layout::named(&self.file, self.list.as_deref())
    }

    /// How many rows it has, and how many of them cannot be used: `4 rows, 2 of them unusable`.
    pub fn num_rows(&self) -> String {
        let all = self.rows + self.refused;
        let rows = match all {
            1 => "1 row".to_owned(),
            all => format!("{all} rows"),
        };
        match self.refused {
            0 => rows,
            refused if refused == all => format!("{rows}, unusable"),
            refused => format!("{rows}, {refused} of them unusable"),
        }
    }

    /// The share of its rows that cannot be used, 0 to 1.
    pub fn bad_share(&self) -> f64 {
        self.refused as f64 / (self.rows + self.refused).max(1) as f64
    }

    /// What a line about the file adds: where its rows stand, the keys that are not used, and the rows that nothing trains on.
    pub fn remarks(&self) -> Vec<String> {
        let untrained = self.untrained.iter().map(|(kind, rows)| {
            let row = if *rows == 1 { "row" } else { "rows" };
            format!("{}: {rows} {row}; nothing trains on them yet", kind.name())
        });
        let unused = (!self.unused.is_empty()).then(|| {
            let name = |key: &String| match key.is_empty() {
                true => "\"\" (no name)".to_owned(),
                false => key.clone(),
            };
            let names: Vec<String> = self.unused.iter().map(name).collect();
            format!("other keys, not used: {}", names.join(", "))
        });
        // Of a side, the file's name says it.
        let within = self.within.iter().filter(|_| self.list.is_none());
        let within = within.map(|list| format!("its rows are the list `{}`", quoted(list)));
        within.chain(untrained).chain(unused).collect()
    }
}

/// Reads files of any known shape into one reading; each row keeps its file, line and task.
pub fn read<P: AsRef<Path>>(inputs: &[P]) -> Result<Reading, ReadError> {
    Reading::of(inputs, &ReadOptions::default())
}

/// Gives `take` every row of some files, folders or patterns, used or refused, until it has enough.
///
/// # Errors
/// What cannot be read, and a file none of whose rows can be used, once its rows were given.
pub fn stream<P: AsRef<Path>>(
    inputs: &[P],
    options: &ReadOptions<'_>,
    take: &mut dyn FnMut(Result<Record, Refused>) -> ControlFlow<()>,
) -> Result<Vec<FileReport>, ReadError> {
    stream_files(&Inputs::find(inputs)?.files, options, take)
}

/// Gives `take` every row of some files, as [`stream`] does.
///
/// # Errors
/// What cannot be read, and a file none of whose rows can be used, once its rows were given.
pub fn stream_files(
    inputs: &[Input],
    options: &ReadOptions<'_>,
    take: &mut dyn FnMut(Result<Record, Refused>) -> ControlFlow<()>,
) -> Result<Vec<FileReport>, ReadError> {
    options.check()?;
    let meter = Meter::of(inputs, options);
    let mut reports = Vec::new();
    for input in inputs {
        let of_file = options.for_file(input);
        let sorted = Rows::open(&input.file, &of_file, &meter.bytes)
            .and_then(|rows| sort(input, rows, &of_file, &meter, take));
        let (report, flow) = sorted.map_err(|error| error.among(inputs, input))?;
        reports.extend(report);
        if flow.is_break() {
            break;
        }
    }
    Ok(reports)
}

/// Gives `take` the rows of one file.
fn sort(
    input: &Input,
    rows: Rows<'_>,
    options: &ReadOptions<'_>,
    meter: &Meter<'_>,
    take: &mut dyn FnMut(Result<Record, Refused>) -> ControlFlow<()>,
) -> Result<(Option<FileReport>, ControlFlow<()>), ReadError> {
    let mut sorted = Sorted::new(input, &rows, options);
    let flow = sorted.give(rows, meter, take)?;
    meter.tell();
    if flow.is_continue() {
        sorted.check()?;
    }
    Ok((sorted.report(), flow))
}

impl Record {
    /// One row as it stands in a file, without a file.
    ///
    /// # Errors
    /// Why the row cannot be used.
    pub fn from_json(row: &str) -> Result<Self, Reason> {
        let row = line_object(row.as_bytes())?;
        let shape = Shape::of(&row).ok_or_else(|| {
            tells_of_no_shape(&row).unwrap_or_else(|| Reason::UnknownShape { keys: keys(&row) })
        })?;
        let account = &mut Account::of_own_row();
        record(&row, shape, "", Source::new("", 1), account)
    }
}

impl Reading {
    /// Reads files of any known shape, as the options say.
    pub fn of<P: AsRef<Path>>(inputs: &[P], options: &ReadOptions<'_>) -> Result<Self, ReadError> {
        Self::of_files(&Inputs::find(inputs)?.files, options)
    }

    /// Reads these files, as the options say.
    pub fn of_files(inputs: &[Input], options: &ReadOptions<'_>) -> Result<Self, ReadError> {
        let mut reading = Self::default();
        let files = stream_files(inputs, options, &mut |row| reading.take(row))?;
        check_named(&options.columns, &options.ignored_keys, &files)?;
        Ok(Self { files, ..reading })
    }

    fn take(&mut self, row: Result<Record, Refused>) -> ControlFlow<()> {
        match row {
            Ok(record) => self.records.push(record),
            Err(refused) => self.refused.push(refused),
        }
        ControlFlow::Continue(())
    }

    /// Rows per task and file.
    pub fn counts(&self) -> Vec<Count> {
        counts(&self.records)
    }
}

/// Refuses columns and keys that were named and that no row has: a misspelt one would leave out a part of every row, or not
/// leave out what was meant.
///
/// # Errors
/// The first such column, or all such keys, with those that could be meant.
pub fn check_named<'a, 'f>(
    columns: impl IntoIterator<Item = (&'a String, &'a String)>,
    ignored: impl IntoIterator<Item = &'a String>,
    files: impl IntoIterator<Item = &'f FileReport> + Clone,
) -> Result<(), ReadError> {
    let files = || files.clone().into_iter();
    let Some(first) = files().next() else {
        return Ok(());
    };
    let has = |file: &FileReport, column: &String| file.columns.contains(column);
    let mut columns = columns.into_iter();
    if let Some((field, column)) = columns.find(|(_, column)| !files().any(|f| has(f, column))) {
        let mut names: Vec<String> = Vec::new();
        for key in files().flat_map(|file| &file.keys) {
            let is_new = !names.contains(key) && !key.starts_with("turn.");
            names.extend(is_new.then(|| key.clone()));
        }
        return Err(ReadError::no_column(&first.file, field, column, names));
    }
    let mut known: Vec<String> = files()
        .flat_map(|f| f.unused.iter().chain(&f.keys))
        .cloned()
        .collect();
    known.sort_unstable();
    known.dedup();
    let ignored = ignored.into_iter();
    let keys: Vec<String> = ignored
        .filter(|key| known.binary_search(key).is_err())
        .cloned()
        .collect();
    match keys.is_empty() {
        true => Ok(()),
        false => Err(ReadError::NoKey { keys, known }),
    }
}

/// How far the reading is, for whoever wants to hear of it.
struct Meter<'a> {
    bytes: Cell<u64>,
    rows: Cell<usize>,
    total_bytes: u64,
    told: Option<&'a dyn Fn(Progress)>,
}

impl<'a> Meter<'a> {
    fn of(inputs: &[Input], options: &ReadOptions<'a>) -> Self {
        let bytes = |input: &Input| fs::metadata(&input.file).map_or(0, |metadata| metadata.len());
        Self {
            bytes: Cell::new(0),
            rows: Cell::new(0),
            total_bytes: inputs.iter().map(bytes).sum(),
            told: options.told,
        }
    }

    fn count_row(&self) {
        self.rows.set(self.rows.get() + 1);
        if self.rows.get().is_multiple_of(ROWS_PER_TELLING) {
            self.tell();
        }
    }

    fn tell(&self) {
        if let Some(told) = self.told {
            told(Progress {
                bytes: self.bytes.get(),
                total_bytes: self.total_bytes,
                rows: self.rows.get(),
            });
        }
    }
}

/// The rows of one file, sorted into used and refused.
struct Sorted<'a> {
    options: &'a ReadOptions<'a>,
    file: Arc<Path>,
    format: Format,
    task: String,
    shape: Option<Shape>,
    rows: usize,
    refused: usize,
    /// Columns that its index names and that it must have.
    needed: &'a BTreeMap<String, String>,
    /// Keys that its index leaves unread.
    unread: &'a BTreeSet<String>,
    /// The names of its columns, as far as its rows have them, in their order and to be looked up.
    names: Vec<String>,
    keys: BTreeSet<String>,
    /// Which of the columns that the options name it has.
    columns: BTreeSet<String>,
    /// The first row of no known shape.
    unknown: Option<Unknown>,
    /// What becomes of the keys of its rows.
    account: Account,
    /// The list in which its rows stand.
    within: Option<String>,
    untrained: BTreeMap<Kind, usize>,
    /// The first row refused.
    first: Option<String>,
    /// Rows refused, by the kind of reason, with the first of each.
    kinds: BTreeMap<&'static str, (usize, String)>,
}

/// A row of no known shape.
struct Unknown {
    line: usize,
    keys: Vec<String>,
    /// What one of its keys tells about it.
    because: Option<String>,
    /// The key under which turns stand.
    turns: Option<String>,
}

impl<'a> Sorted<'a> {
    fn new(input: &'a Input, rows: &Rows<'_>, options: &'a ReadOptions<'a>) -> Self {
        let file = &*input.file;
        let own_task = match rows.format.has_rows() {
            // The same file has the same task by whatever path it is named: a run that is resumed names it by its whole path.
            true => match std::path::absolute(file) {
                Ok(whole) => format::task_of(&whole),
                Err(_) => format::task_of(file),
            },
            // A folder of documents is one task, not as many as there are documents.
            false => "text".to_owned(),
        };
        let mut sorted = Self {
            options,
            file: Arc::from(file),
            format: rows.format,
            task: options.task.clone().unwrap_or(own_task),
            shape: None,
            rows: 0,
            refused: 0,
            needed: &input.columns,
            unread: &input.unread,
            names: Vec::new(),
            keys: BTreeSet::new(),
            columns: BTreeSet::new(),
            unknown: None,
            account: Account::new(options.nulls, options.ignored_keys.clone()),
            within: None,
            untrained: BTreeMap::new(),
            first: None,
            kinds: BTreeMap::new(),
        };
        rows.unread.iter().for_each(|key| sorted.account.list(key));
        sorted.meet(rows.columns.iter().flatten().chain(&rows.unread));
        sorted
    }

    /// Notes names of columns.
    fn meet<'k>(&mut self, names: impl Iterator<Item = &'k String>) {
        for name in names {
            if self.keys.contains(name) {
                continue;
            }
            if self.options.columns.values().any(|column| column == name) {
                self.columns.insert(name.clone());
            }
            if self.names.len() < MOST_NAMES {
                self.keys.insert(name.clone());
                self.names.push(name.clone());
            }
        }
    }

    fn give(
        &mut self,
        rows: Rows<'_>,
        meter: &Meter<'_>,
        take: &mut dyn FnMut(Result<Record, Refused>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let beside = rows.beside;
        for row in rows.rows {
            let row = row?;
            self.stand_beside(beside.take());
            let source = Source {
                file: self.file.clone(),
                line: row.line,
                row: row.number,
            };
            if let Ok(object) = &row.content {
                self.meet(object.keys());
            }
            self.account.begin_row(row.line);
            let record = row.content.and_then(|object| self.record(object, &source));
            meter.count_row();
            if take(self.count(record, source)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        self.stand_beside(beside.take());
        Ok(ControlFlow::Continue(()))
    }

    /// Notes what stands around the rows.
    fn stand_beside(&mut self, beside: Beside) {
        beside.keys.iter().for_each(|key| self.account.list(key));
        self.within = beside.list.or(self.within.take());
    }

    fn record(&mut self, mut row: Object, source: &Source) -> Result<Record, Reason> {
        if !self.unread.is_empty() {
            let mapped = &self.options.columns;
            let unread = self.unread.iter();
            let unread = unread.filter(|key| !mapped.values().any(|column| column == *key));
            self.account.leave_unread(&mut row, unread);
        }
        self.options.rename(&mut row);
        self.account.pass_over(&mut row);
        let found = self.options.shape_of(&row);
        if let (Err(why), None) = (&found, &self.unknown) {
            self.unknown = Some(Unknown {
                line: source.line,
                keys: keys(&row),
                because: why.told_by_a_key(),
                turns: turns_in(&row).map(str::to_owned),
            });
        }
        let (found, file) = (found?, self.shape);
        let shape = *self.shape.get_or_insert(found);
        let shape = match file.filter(|file| *file != found) {
            None => shape,
            Some(_) if self.options.is_own => found,
            Some(file) => return Err(Reason::OtherShape { found, file }),
        };
        let source = source.clone();
        let record = record(&row, shape, &self.task, source, &mut self.account)?;
        Ok(Record {
            origin: record.origin.or_else(|| self.options.origin.clone()),
            licence: record.licence.or_else(|| self.options.licence.clone()),
            ..record
        })
    }

    fn count(&mut self, record: Result<Record, Reason>, source: Source) -> Result<Record, Refused> {
        match record {
            Ok(record) => {
                self.rows += 1;
                let kind = record.body.kind();
                if !kind.is_trained_on() {
                    *self.untrained.entry(kind).or_default() += 1;
                }
                Ok(record)
            }
            Err(reason) => {
                self.refused += 1;
                let refused = Refused { source, reason };
                self.first.get_or_insert_with(|| refused.to_string());
                let kind = self.kinds.entry(refused.reason.kind());
                kind.or_insert_with(|| (0, refused.to_string())).0 += 1;
                Err(refused)
            }
        }
    }

    /// Is there a row that can be used, and is all of the file read in one way?
    fn check(&self) -> Result<(), ReadError> {
        let file = self.file.to_path_buf();
        let missing = |(_, column): &(&'_ String, &'_ String)| !self.columns.contains(*column);
        let is_in_force = |(field, column): &(&'_ String, &'_ String)| {
            self.options.columns.get(*field) == Some(column)
        };
        let no_column = |(field, column): (&String, &String)| {
            Err(ReadError::no_column(
                &file,
                field,
                column,
                self.names.clone(),
            ))
        };
        if let (Some(missing), true) = (
            self.needed.iter().filter(is_in_force).find(missing),
            self.first_row(),
        ) {
            return no_column(missing);
        }
        if let (true, Some((key, short, long))) = (self.rows > 0, self.account.two_answers()) {
            return Err(ReadError::TwoAnswers {
                file,
                key: key.to_owned(),
                short,
                long,
            });
        }
        match (&self.first, &self.unknown) {
            _ if self.rows > 0 => Ok(()),
            (None, _) => Err(ReadError::Empty { file }),
            (Some(first), unknown) => {
                // A misspelt column is the reason why no row is of a known shape.
                if let Some(missing) = self.options.columns.iter().find(missing) {
                    return no_column(missing);
                }
                Err(match unknown {
                    Some(unknown) if self.shape.is_none() => ReadError::UnknownShape {
                        file,
                        line: unknown.line,
                        keys: unknown.keys.clone(),
                        because: unknown.because.clone(),
                        turns: unknown.turns.clone(),
                    },
                    _ => ReadError::NothingUsable {
                        file,
                        count: self.refused,
                        first: first.clone(),
                        has_other_shapes: ["unknown-shape", "other-shape"]
                            .iter()
                            .any(|kind| self.kinds.contains_key(kind)),
                        kinds: match self.kinds.len() {
                            1 => Vec::new(),
                            _ => self.kinds.values().cloned().collect(),
                        },
                    },
                })
            }
        }
    }

    /// Was there a row at all?
    fn first_row(&self) -> bool {
        self.rows + self.refused > 0
    }

    fn report(&self) -> Option<FileReport> {
        Some(FileReport {
            file: self.file.clone(),
            list: self.options.list.clone(),
            within: self.within.clone(),
            format: self.format,
            shape: self.shape?,
            rows: self.rows,
            refused: self.refused,
            unused: self.account.unused(),
            untrained: self.untrained.clone(),
            keys: self
                .names
                .iter()
                .cloned()
                .chain(self.account.met_in_turns())
                .collect(),
            columns: self.columns.iter().cloned().collect(),
        })
    }
}

fn record(
    row: &Object,
    shape: Shape,
    task: &str,
    source: Source,
    account: &mut Account,
) -> Result<Record, Reason> {
    let group = match label(row, "group")? {
        Some(group) => Some(group),
        None => label(row, "id")?,
    };
    Ok(Record {
        task: label(row, "task")?.unwrap_or_else(|| task.to_owned()),
        group,
        origin: label(row, "origin")?,
        licence: licence(row),
        copies: copies(row)?,
        body: shape.body(row, account)?,
        source,
    })
}

/// The licence that a row declares, by our name or by the Hub's; of a list, as of a dataset's card, all hold.
fn licence(row: &Object) -> Option<String> {
    let keys = ["licence", "license"];
    keys.into_iter()
        .filter_map(|key| row.get(key))
        .find_map(licence_named)
}

/// A licence as a row or a dataset's card writes it: a text, or a list of texts.
pub(super) fn licence_named(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(name) => Some(name.trim().to_owned()).filter(|name| !name.is_empty()),
        Value::Array(names) => {
            let names: Vec<String> = names.iter().filter_map(licence_named).collect();
            (!names.is_empty()).then(|| names.join(" AND "))
        }
        other => Some(other.to_string()),
    }
}

/// How often the row is trained on, as mixtures note it.
fn copies(row: &Object) -> Result<usize, Reason> {
    match row.get("copies") {
        None | Some(Value::Null) => Ok(1),
        Some(count) => match count.as_u64() {
            Some(count @ 1..=MAX_COPIES) => Ok(count as usize),
            _ => Err(field(
                "copies",
                format!("must be 1 to {MAX_COPIES}, not {count}"),
            )),
        },
    }
}

/// No row is worth more repeats; a larger number is a mistake, or an attack on memory.
const MAX_COPIES: u64 = 1000;

/// A name or a number that says something about the row.
fn label(row: &Object, key: &str) -> Result<Option<String>, Reason> {
    match row.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if name.trim().is_empty() => Err(field(key, "is empty")),
        Some(Value::String(name)) => Ok(Some(name.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => Err(field(
            key,
            format!("must be text or a number, not {}", kind(other)),
        )),
    }
}

#[cfg(test)]
mod tests;
