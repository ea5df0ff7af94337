//! Files of rows to records, one row at a time.
//!
//! A file is JSONL, one JSON document, a table, Parquet, or a document of text, packed or not. Whatever
//! it is, it becomes a stream of rows with the lines they start on, so that a file may be larger than
//! memory. Its shape is the first one recognised in it; rows of another shape are refused rather than
//! guessed at, because a file that mixes shapes is usually two files by accident.

use hone_ledger::words::{for_shell, quoted, quoted_to};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::keys::{Account, LABELS, tells_of_no_shape};
use crate::shape::{field, kind};
use crate::{Count, Kind, Reason, Record, Refused, Shape, Source, counts};
use row::{Object, Rows, keys, line_object};

pub use chunk::{ChunkOptions, Chunking};
pub use format::Format;
pub use inputs::Inputs;
pub use layout::{Choices, Doubt, Input, PassedOver, Told};
pub use options::{Progress, ReadOptions, fields};

mod arrow;
mod bytes;
mod chunk;
mod document;
mod format;
mod guard;
mod guess;
mod inputs;
mod layout;
mod lines;
mod open;
mod options;
mod parquet;
mod prose;
mod row;
mod table;
mod unique;

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
}

impl FileReport {
    /// The share of its rows that cannot be used, 0 to 1.
    pub fn bad_share(&self) -> f64 {
        self.refused as f64 / (self.rows + self.refused).max(1) as f64
    }

    /// What a line about the file adds: the keys that are not used, and the rows that nothing trains on.
    pub fn remarks(&self) -> Vec<String> {
        let untrained = self.untrained.iter().map(|(kind, rows)| {
            let row = if *rows == 1 { "row" } else { "rows" };
            format!(
                "{rows} {row} kept: {}; nothing trains on them yet",
                kind.name()
            )
        });
        let unused = (!self.unused.is_empty()).then(|| {
            let name = |key: &String| match key.is_empty() {
                true => "\"\" (no name)".to_owned(),
                false => key.clone(),
            };
            let names: Vec<String> = self.unused.iter().map(name).collect();
            format!("other keys, not used: {}", names.join(", "))
        });
        untrained.chain(unused).collect()
    }
}

/// Why a file gives no rows at all, or no more.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says what each field is
pub enum ReadError {
    #[error("{}: {source}", file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    #[error("{}: damaged from line {line} on: {source}", file.display())]
    Damaged {
        file: PathBuf,
        line: usize,
        source: io::Error,
    },
    #[error("{}: the file is empty", file.display())]
    Empty { file: PathBuf },
    #[error("{}: the file is UTF-16; save it as UTF-8", file.display())]
    Utf16 { file: PathBuf },
    #[error("{}:{line}: not JSON: {}", file.display(), quoted(what))]
    NotJson {
        file: PathBuf,
        line: usize,
        what: String,
    },
    #[error("{}: a JSON object must hold exactly one list of rows; its keys are {}", file.display(), quoted_to(&keys.join(", "), 300))]
    NoList { file: PathBuf, keys: Vec<String> },
    #[error("{}: not a header: {}", file.display(), quoted(what))]
    Header { file: PathBuf, what: String },
    #[error("{}:{line}: a quote that opens in this row is never closed", file.display())]
    OpenQuote { file: PathBuf, line: usize },
    #[error("{}: not a sound Parquet file at row {row}: {}", file.display(), quoted(what))]
    Parquet {
        file: PathBuf,
        row: usize,
        what: String,
    },
    #[error("{}: a Parquet file that is packed once more; unpack it", file.display())]
    PackedParquet { file: PathBuf },
    #[error("{}:{line}: rows of no known shape (keys: {}){}", file.display(), quoted_to(&keys.join(", "), 300), because.as_deref().map(|why| format!(": {why}")).unwrap_or_default())]
    UnknownShape {
        file: PathBuf,
        line: usize,
        keys: Vec<String>,
        /// What one of the keys tells about it.
        because: Option<String>,
    },
    #[error("{}: none of its {count} rows can be used; the first is {first}", file.display())]
    NothingUsable {
        file: PathBuf,
        count: usize,
        first: String,
    },
    #[error("{}: has no column `{column}` for `{field}`; its columns are {}", file.display(), quoted_to(&columns.join(", "), 300))]
    NoColumn {
        file: PathBuf,
        field: String,
        column: String,
        columns: Vec<String>,
    },
    #[error("no shape has a field `{field}` that a column could be read as")]
    UnknownField { field: String },
    #[error("chunks of {tokens} tokens cannot say {overlap} of them again")]
    Overlap { tokens: usize, overlap: usize },
    #[error("{}: no file matches the pattern", pattern.display())]
    NoMatch {
        pattern: PathBuf,
        there: Vec<String>,
    },
    #[error("{}: not a pattern: {what}", pattern.display())]
    Pattern { pattern: PathBuf, what: String },
    #[error("{}: `{}` beside the rows {what}", file.display(), quoted(key))]
    KeyOfFile {
        file: PathBuf,
        key: String,
        what: String,
    },
    #[error("{}: `{}` is the name of a list of rows, and says which side of a dataset they are", file.display(), quoted(key))]
    SideInFile { file: PathBuf, key: String },
    #[error("{}: the folder holds nothing that can be read", folder.display())]
    NothingInFolder { folder: PathBuf },
    #[error("{}: --side leaves out all of it", folder.display())]
    AllLeftOut { folder: PathBuf },
    #[error("--side {name}={}: `{name}` is the name of several files: {}", side.name(), files.join(", "))]
    SeveralMeant {
        name: String,
        side: crate::Side,
        /// The files, each with the side it is known to stand on.
        files: Vec<String>,
        /// Names for each of them that meet nothing else.
        own_names: Vec<String>,
    },
    #[error("{}: not a sound Arrow file at row {row}: {}", file.display(), quoted(what))]
    Arrow {
        file: PathBuf,
        row: usize,
        what: String,
    },
    #[error("{}: a pointer of Git LFS in place of the file", file.display())]
    Pointer { file: PathBuf },
    #[error("{}", doubtful(doubts))]
    Doubts { doubts: Vec<Doubt> },
    #[error("--{flag} {name}: nothing is called so")]
    NotMet {
        flag: &'static str,
        name: String,
        known: Vec<String>,
    },
}

impl ReadError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::UnknownShape { keys, .. } => {
                let known = Shape::ALL
                    .map(Shape::description)
                    .map(|shape| format!("known shape: {shape}"));
                let mapped = match guess::columns(keys) {
                    Some(flags) => format!("if these are what is asked and answered: {flags}"),
                    None => {
                        "--column gives a column its meaning, such as --column prompt=question --column completion=answer"
                            .to_owned()
                    }
                };
                [mapped].into_iter().chain(known).collect()
            }
            Self::NoList { .. } => {
                vec!["write one JSON object per line, or a list of objects".into()]
            }
            Self::UnknownField { .. } => {
                let fields: Vec<&str> = fields().collect();
                vec![format!("fields are {}", fields.join(", "))]
            }
            Self::NoColumn { field, columns, .. } => {
                let near = columns.iter().find(|column| column.eq_ignore_ascii_case(field));
                let near = near.or(columns.first());
                near.map(|column| for_shell(&format!("{field}={column}")))
                    .map(|flag| format!("--column {flag} reads that one"))
                    .into_iter()
                    .collect()
            }
            Self::PackedParquet { .. } => vec!["gunzip or zstd -d unpacks it; Parquet packs its pages itself".into()],
            Self::NothingUsable { .. } => vec![
                "--column FIELD=COLUMN reads a column of another name; `hone data show FILE` tells of each row".into(),
            ],
            Self::NoMatch { there, .. } if !there.is_empty() => {
                vec![format!("there are {}", there.join(", "))]
            }
            Self::NothingInFolder { .. } => vec![
                "read are .jsonl, .json, .csv, .tsv, .parquet, .arrow, .txt and .md, also packed as .gz or .zst"
                    .into(),
            ],
            Self::Pointer { .. } => vec!["git lfs pull brings the file".into()],
            Self::KeyOfFile { key, .. } => {
                vec![format!("to pass over it: --ignore-key {}", for_shell(key))]
            }
            Self::SideInFile { file, key } => vec![
                format!(
                    "write its rows to a file of their own: jq .{} {} > {}",
                    for_shell(key),
                    for_shell(&file.display().to_string()),
                    for_shell(&format!("{key}.json"))
                ),
                format!("to read the other rows without it: --ignore-key {}", for_shell(key)),
            ],
            Self::SeveralMeant {
                side, own_names, ..
            } => {
                let flag = |name: &String| {
                    let said = format!("{name}={}", side.name());
                    format!("--side {}", for_shell(&said))
                };
                let mut flags: Vec<String> = own_names.iter().map(flag).collect();
                flags.dedup();
                vec![format!("name the one that is meant: {}", flags.join(", or "))]
            }
            Self::Doubts { doubts } => doubts.iter().map(|doubt| doubt.hint.clone()).collect(),
            Self::NotMet { known, .. } if !known.is_empty() => {
                vec![format!("there are {}", known.join(", "))]
            }
            _ => Vec::new(),
        }
    }
}

/// The first doubt, and how many there are.
fn doubtful(doubts: &[Doubt]) -> String {
    let first = doubts.first().map_or("", |doubt| doubt.what.as_str());
    match doubts.len() {
        0 | 1 => first.to_owned(),
        several => format!("{first} (and {} more)", several - 1),
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
        let rows = Rows::open(&input.file, &of_file, &meter.bytes)?;
        let (report, flow) = sort(&input.file, rows, &of_file, &meter, take)?;
        reports.extend(report);
        if flow.is_break() {
            break;
        }
    }
    Ok(reports)
}

/// Gives `take` the rows of one file.
fn sort(
    file: &Path,
    rows: Rows<'_>,
    options: &ReadOptions<'_>,
    meter: &Meter<'_>,
    take: &mut dyn FnMut(Result<Record, Refused>) -> ControlFlow<()>,
) -> Result<(Option<FileReport>, ControlFlow<()>), ReadError> {
    let mut sorted = Sorted::new(file, &rows, options)?;
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
        let mut reading = Self::default();
        let files = stream(inputs, options, &mut |row| reading.take(row))?;
        Ok(Self { files, ..reading })
    }

    /// Reads these files, as the options say.
    pub fn of_files(inputs: &[Input], options: &ReadOptions<'_>) -> Result<Self, ReadError> {
        let mut reading = Self::default();
        let files = stream_files(inputs, options, &mut |row| reading.take(row))?;
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
    /// Whether the columns were looked at; a row of JSON is looked at for want of a header.
    has_header: bool,
    /// The line and the names of the first row of no known shape, and what a key tells about it.
    unknown: Option<(usize, Vec<String>, Option<String>)>,
    /// What becomes of the keys of its rows.
    account: Account,
    untrained: BTreeMap<Kind, usize>,
    /// The first row refused.
    first: Option<String>,
}

impl<'a> Sorted<'a> {
    fn new(file: &Path, rows: &Rows<'_>, options: &'a ReadOptions<'a>) -> Result<Self, ReadError> {
        let own_task = match rows.format.has_rows() {
            true => format::task_of(file),
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
            has_header: rows.columns.is_some() || !rows.format.has_rows(),
            unknown: None,
            account: Account::new(options.nulls, options.ignored_keys.clone()),
            untrained: BTreeMap::new(),
            first: None,
        };
        rows.unread.iter().for_each(|key| sorted.account.list(key));
        if let Some(columns) = &rows.columns {
            sorted.look_for_columns(columns, |_| true)?;
        }
        Ok(sorted)
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
            beside.take().iter().for_each(|key| self.account.list(key));
            let source = Source {
                file: self.file.clone(),
                line: row.line,
            };
            if let (false, Ok(object)) = (self.has_header, &row.content) {
                // Labels may be missing in a row; a text that was mapped is in all of them.
                let is_text = |field: &str| !LABELS.contains(&field);
                self.look_for_columns(&keys(object), is_text)?;
                self.has_header = true;
            }
            let record = row.content.and_then(|object| self.record(object, &source));
            meter.count_row();
            if take(self.count(record, source)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        beside.take().iter().for_each(|key| self.account.list(key));
        Ok(ControlFlow::Continue(()))
    }

    fn look_for_columns(
        &self,
        columns: &[String],
        is_needed: impl Fn(&str) -> bool,
    ) -> Result<(), ReadError> {
        let mut missing = self.options.missing(columns);
        match missing.find(|(field, _)| is_needed(field)) {
            None => Ok(()),
            Some((field, column)) => Err(ReadError::NoColumn {
                file: self.file.to_path_buf(),
                field: field.into(),
                column: column.into(),
                columns: columns.to_vec(),
            }),
        }
    }

    fn record(&mut self, mut row: Object, source: &Source) -> Result<Record, Reason> {
        self.options.rename(&mut row);
        self.account.pass_over(&mut row);
        let found = self.options.shape_of(&row);
        if let (Err(why), None) = (&found, &self.unknown) {
            self.unknown = Some((source.line, keys(&row), why.told_by_a_key()));
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
                Err(refused)
            }
        }
    }

    /// Is there a row that can be used?
    fn check(&self) -> Result<(), ReadError> {
        let file = self.file.to_path_buf();
        match (&self.first, &self.unknown) {
            _ if self.rows > 0 => Ok(()),
            (None, _) => Err(ReadError::Empty { file }),
            (_, Some((line, keys, because))) if self.shape.is_none() => {
                Err(ReadError::UnknownShape {
                    file,
                    line: *line,
                    keys: keys.clone(),
                    because: because.clone(),
                })
            }
            (Some(first), _) => Err(ReadError::NothingUsable {
                file,
                count: self.refused,
                first: first.clone(),
            }),
        }
    }

    fn report(&self) -> Option<FileReport> {
        Some(FileReport {
            file: self.file.clone(),
            format: self.format,
            shape: self.shape?,
            rows: self.rows,
            refused: self.refused,
            unused: self.account.unused(),
            untrained: self.untrained.clone(),
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
        licence: label(row, "licence")?,
        copies: copies(row)?,
        body: shape.body(row, account)?,
        source,
    })
}

/// How often the row is learnt, as mixtures note it.
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
mod tests {
    use super::bytes::Bytes;
    use super::*;

    fn reading(name: &str, bytes: impl AsRef<[u8]>) -> Result<Reading, ReadError> {
        reading_with(name, bytes, &ReadOptions::default())
    }

    fn reading_with(
        name: &str,
        bytes: impl AsRef<[u8]>,
        options: &ReadOptions<'_>,
    ) -> Result<Reading, ReadError> {
        let (file, mut reading) = (Path::new(name), Reading::default());
        let bytes = Bytes::unpack(file, Box::new(bytes.as_ref()))?;
        let rows = Rows::of(file, bytes, options)?;
        let meter = Meter::of(&[], options);
        let (report, _) = sort(file, rows, options, &meter, &mut |row| reading.take(row))?;
        reading.files.extend(report);
        Ok(reading)
    }

    fn texts(reading: &Reading) -> Vec<(usize, String)> {
        let text = |record: &Record| record.parts().map(|part| part.text).collect::<String>();
        reading
            .records
            .iter()
            .map(|record| (record.source.line, text(record)))
            .collect()
    }

    fn refusals(reading: &Reading) -> Vec<String> {
        reading.refused.iter().map(Refused::to_string).collect()
    }

    #[test]
    fn lines_lists_and_objects_with_a_list_are_all_read_with_their_lines() {
        let rows = [(1, "a"), (3, "b")].map(|(line, text)| (line, text.to_owned()));
        assert_eq!(
            texts(&reading("x.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \"b\"}").unwrap()),
            rows
        );
        assert_eq!(
            texts(
                &reading(
                    "x.jsonl",
                    "\u{feff}{\"text\": \"a\"}\r\n\r\n{\"text\": \"b\"}\r\n"
                )
                .unwrap()
            ),
            rows
        );
        assert_eq!(
            texts(&reading("x.json", "[{\"text\": \"a\"},\n\n{\"text\": \"b\"}]").unwrap()),
            rows
        );
        let inside =
            "{\"version\": 1,\n \"data\": [\n  {\"text\": \"a\"},\n  {\n\"text\": \"b\"}]}";
        assert_eq!(
            texts(&reading("x.json", inside).unwrap()),
            [(3, "a".into()), (4, "b".into())]
        );
        assert_eq!(
            texts(&reading("x.json", r#"{"data": [{"text": "a"}]}"#).unwrap()),
            [(1, "a".into())]
        );
        let spread = "{\n\"messages\": [\n{\"role\": \"user\", \"content\": \"a\"}]\n}\n";
        assert_eq!(
            texts(&reading("x.json", spread).unwrap()),
            [(1, "a".into())]
        );
        let one_row = r#"{"messages": [{"role": "user", "content": "a"}]}"#;
        assert_eq!(
            texts(&reading("x.jsonl", one_row).unwrap()),
            [(1, "a".into())]
        );
    }

    #[test]
    fn bad_rows_are_refused_by_file_and_line_and_the_rest_is_kept() {
        let file = [
            &b"{\"text\": \"ok\"}\n"[..],
            b"{\"text\": \"open}\n",
            b"{\"text\": \"\xff\"}\n",
            b"{\"text\": \"\0\"}\n",
            b"[1]\n",
            b"{\"prompt\": \"q\", \"completion\": \"a\"}\n",
            b"{\"other\": 1}\n",
            b"{\"text\": 5}\n",
            b"{\"text\": \"x\", \"task\": []}\n",
        ];
        let reading = reading("d/x.jsonl", file.concat()).unwrap();
        assert_eq!(texts(&reading), [(1, "ok".into())]);
        let told = refusals(&reading);
        let expected = [
            "d/x.jsonl:2: not JSON: EOF while parsing a string",
            "d/x.jsonl:3: not valid UTF-8 from byte 11",
            "d/x.jsonl:4: holds a NUL",
            "d/x.jsonl:5: not an object but a list",
            "d/x.jsonl:6: of shape prompt/completion, while the file is text",
            "d/x.jsonl:7: of no known shape (keys: other)",
            "d/x.jsonl:8: `text` must be text, not a number",
            "d/x.jsonl:9: `task` must be text or a number, not a list",
        ];
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{told} / {expected}");
        }
        let report = &reading.files[0];
        assert_eq!(
            (report.shape, report.rows, report.refused),
            (Shape::Text, 1, 8)
        );
    }

    #[test]
    fn a_line_without_end_is_refused_not_read() {
        let long = format!(
            "{{\"text\": \"ok\"}}\n{{\"text\": \"{}\"}}",
            "x".repeat(MAX_LINE_BYTES)
        );
        let reading = reading("x.jsonl", long).unwrap();
        assert!(refusals(&reading)[0].contains("limit is 16777216"));
    }

    #[test]
    fn tasks_and_groups_are_kept_and_the_file_names_the_rest() {
        let rows = "{\"text\": \"a\", \"task\": \"sum\", \"group\": \"g\", \"id\": 1}\n{\"text\": \"b\", \"id\": 7}\n{\"text\": \"c\"}";
        let reading = reading("dir/poems.jsonl", rows).unwrap();
        let labels: Vec<_> = reading
            .records
            .iter()
            .map(|r| (r.task.as_str(), r.group.as_deref()))
            .collect();
        assert_eq!(
            labels,
            [("sum", Some("g")), ("poems", Some("7")), ("poems", None)]
        );
    }

    #[test]
    fn files_without_rows_are_errors_in_one_sentence() {
        let error = |name: &str, bytes: &[u8]| reading(name, bytes).unwrap_err().to_string();
        assert_eq!(error("x.jsonl", b" \n\n"), "x.jsonl: the file is empty");
        assert_eq!(error("x.json", b"[]"), "x.json: the file is empty");
        assert!(error("x.json", b"\xff\xfe[\0").contains("UTF-16"));
        assert!(
            error("x.json", b"[{\"text\": \"a\"},\n\n{\"text\" 5}]")
                .starts_with("x.json:3: not JSON: expected `:`")
        );
        assert!(
            error("x.json", b"[\n\"\xff\"]").starts_with("x.json:2: not JSON: not valid UTF-8")
        );
        assert!(error("x.json", b"{\n\"a\": [], \"b\": []}").contains("its keys are a, b"));
        assert!(
            error("x.jsonl", b"{\"text\": 1}\n{\"text\": 2}")
                .contains("none of its 2 rows can be used; the first is x.jsonl:1")
        );
        assert!(error("x.jsonl", b"nonsense\n").contains("none of its 1 rows"));
    }

    #[test]
    fn an_unknown_shape_says_what_was_seen_and_what_is_known() {
        let error = reading("x.jsonl", r#"{"question": "q", "answer": "a"}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x.jsonl:1: rows of no known shape (keys: question, answer)"
        );
        let hints = error.hints();
        assert_eq!(hints.len(), Shape::ALL.len() + 1);
        let flags = "--column prompt=question --column completion=answer";
        assert!(hints[0].ends_with(flags), "{hints:?}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(&["/nonexistent/x.jsonl"]).unwrap_err().to_string();
        assert!(error.starts_with("/nonexistent/x.jsonl: "), "{error}");
    }

    #[test]
    fn several_files_make_one_reading() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a.jsonl", "b.json"].map(|name| dir.path().join(name));
        fs::write(&paths[0], "{\"text\": \"1\"}\n{\"text\": \"2\"}").unwrap();
        fs::write(&paths[1], "[{\"prompt\": \"q\", \"completion\": \"a\"}]").unwrap();
        let reading = read(&paths).unwrap();
        let counts: Vec<_> = reading
            .counts()
            .into_iter()
            .map(|count| (count.task, count.rows))
            .collect();
        assert_eq!(counts, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
        let shapes: Vec<_> = reading.files.iter().map(|file| file.shape).collect();
        assert_eq!(shapes, [Shape::Text, Shape::PromptCompletion]);
    }
}
