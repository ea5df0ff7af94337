//! Files of rows to records, one row at a time.
//!
//! A file is JSONL, one JSON document, a table, Parquet, or a document of text, packed or not. Whatever
//! it is, it becomes a stream of rows with the lines they start on, so that a file may be larger than
//! memory. Its shape is the first one recognised in it; rows of another shape are refused rather than
//! guessed at, because a file that mixes shapes is usually two files by accident.

use hone_ledger::words::{for_shell, quoted, quoted_to};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::keys::{Account, MOST_NAMES, tells_of_no_shape};
use crate::nearest;
use crate::shape::{field, kind};
use crate::turn::turns_in;
use crate::{Count, Kind, Reason, Record, Refused, Shape, Source, counts};
use row::{Beside, Object, Rows, keys, line_object};

pub use chunk::{ChunkOptions, Chunking};
pub use format::Format;
pub use inputs::Inputs;
pub(crate) use layout::words::words;
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
pub(crate) mod row;
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

    /// The share of its rows that cannot be used, 0 to 1.
    pub fn bad_share(&self) -> f64 {
        self.refused as f64 / (self.rows + self.refused).max(1) as f64
    }

    /// What a line about the file adds: where its rows stand, the keys that are not used, and the rows that nothing trains on.
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
        // Of a side, the file's name says it.
        let within = self.within.iter().filter(|_| self.list.is_none());
        let within = within.map(|list| format!("its rows are the list `{}`", quoted(list)));
        within.chain(untrained).chain(unused).collect()
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
        /// The key under which turns stand, if one does.
        turns: Option<String>,
    },
    #[error("{}: none of its {count} rows can be used; the first is {first}", file.display())]
    NothingUsable {
        file: PathBuf,
        count: usize,
        first: String,
        /// Where the reasons are of several kinds: how many rows of each, and the first of them.
        kinds: Vec<(usize, String)>,
        /// Are there rows of another shape, which may have columns of other names?
        has_other_shapes: bool,
    },
    #[error("{}: has no column `{column}` for `{field}`; its columns are {}", file.display(), quoted_to(&columns.join(", "), 300))]
    NoColumn {
        file: PathBuf,
        field: String,
        column: String,
        columns: Vec<String>,
        /// The columns whose names are nearest.
        near: Vec<String>,
    },
    #[error("{}: `{}` is a key that Hone does not know; it is short in line {short} and long in line {long}, and nobody can tell whether it belongs to the prompt or to the reply", file.display(), quoted(key))]
    TwoAnswers {
        file: PathBuf,
        key: String,
        /// The line of a row in which it could be passed over.
        short: usize,
        /// The line of a row in which it could not.
        long: usize,
    },
    #[error("{error}")]
    AmongOthers {
        error: Box<Self>,
        /// The name that leaves the file out.
        name: String,
    },
    #[error("no row has {}, which --ignore-key is to pass over", list_of(keys))]
    NoKey {
        keys: Vec<String>,
        /// The keys there are, those of turns as `turn.NAME`.
        known: Vec<String>,
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
    /// A column that a file does not have.
    pub(super) fn no_column(file: &Path, field: &str, column: &str, columns: Vec<String>) -> Self {
        Self::NoColumn {
            file: file.into(),
            field: field.to_owned(),
            column: column.to_owned(),
            near: nearest::several(column, columns.iter().map(String::as_str)),
            columns,
        }
    }

    /// The same, told of one of several files, which can be left out if it holds no rows.
    fn among(self, inputs: &[Input], input: &Input) -> Self {
        let is_about_what_it_holds = matches!(
            self,
            Self::UnknownShape { .. }
                | Self::NothingUsable { .. }
                | Self::NoColumn { .. }
                | Self::NoList { .. }
                | Self::NotJson { .. }
                | Self::Header { .. }
                | Self::OpenQuote { .. }
                | Self::Empty { .. }
        );
        if inputs.len() < 2 || !is_about_what_it_holds {
            return self;
        }
        let name = input.file.file_name();
        let is_same = |other: &&Input| other.file.file_name() == name;
        let name = match inputs.iter().filter(is_same).count() {
            1 => name.unwrap_or_default().to_string_lossy().into_owned(),
            _ => input.file.display().to_string(),
        };
        Self::AmongOthers {
            error: Box::new(self),
            name,
        }
    }

    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::UnknownShape { keys, turns, because, .. } => {
                let known = Shape::ALL
                    .map(Shape::description)
                    .map(|shape| format!("known shape: {shape}"));
                let mapped = match (turns, guess::columns(keys)) {
                    (Some(key), _) => {
                        let flag = for_shell(&format!("messages={key}"));
                        format!("`{}` holds turns: --column {flag}", quoted(key))
                    }
                    (None, Some(flags)) => {
                        format!("if these are what is asked and answered: {flags}")
                    }
                    (None, None) => {
                        "--column gives a column its meaning, such as --column prompt=question --column completion=answer"
                            .to_owned()
                    }
                };
                // Where one of its keys tells why, reading others under other names would not help.
                let mapped = because.is_none().then_some(mapped);
                mapped.into_iter().chain(known).collect()
            }
            Self::AmongOthers { error, name } => {
                let skip = for_shell(&format!("{name}=skip"));
                let mut hints = error.hints();
                hints.insert(0, format!("if it holds no rows, leave it out: --side {skip}"));
                hints
            }
            Self::NoKey { keys, known } => {
                let near = |key: &String| {
                    let near = near_key(key, known)?;
                    Some(format!("did you mean --ignore-key {}?", for_shell(near)))
                };
                let near: Vec<String> = keys.iter().filter_map(near).collect();
                match near.is_empty() {
                    true => vec![format!("leave it out; there are {}", quoted_to(&known.join(", "), 300))],
                    false => near,
                }
            }
            Self::TwoAnswers { key, .. } => vec![
                format!("to pass over it in all rows: --ignore-key {}", for_shell(key)),
                "to read it as a field: --column FIELD=KEY".into(),
            ],
            Self::NoList { .. } => {
                vec!["write one JSON object per line, or a list of objects".into()]
            }
            Self::UnknownField { .. } => {
                let fields: Vec<&str> = fields().collect();
                vec![format!("fields are {}", fields.join(", "))]
            }
            Self::NoColumn { field, near, columns, .. } => match (&near[..], guess::columns(columns)) {
                ([], Some(flags)) => vec![format!("if these are what is asked and answered: {flags}")],
                ([], None) => vec!["--column FIELD=COLUMN names one of them".into()],
                (near, _) => near
                    .iter()
                    .map(|column| format!("did you mean --column {}?", for_shell(&format!("{field}={column}"))))
                    .collect(),
            },
            Self::PackedParquet { .. } => vec!["gunzip or zstd -d unpacks it; Parquet packs its pages itself".into()],
            Self::NothingUsable { kinds, has_other_shapes, .. } => {
                let kind = |(count, first): &(usize, String)| match count {
                    1 => format!("1 row: {first}"),
                    count => format!("{count} rows, the first of them {first}"),
                };
                let kinds = kinds.iter().map(kind);
                let columns = "--column FIELD=COLUMN reads a column of another name".to_owned();
                kinds.chain(has_other_shapes.then_some(columns)).collect()
            }
            Self::NoMatch { there, .. } if !there.is_empty() => {
                vec![format!("there are {}", there.join(", "))]
            }
            Self::NothingInFolder { .. } => vec![
                "read are .jsonl, .json, .csv, .tsv, .parquet, .arrow, .feather, .txt and .md, also packed as .gz or .zst"
                    .into(),
            ],
            Self::Pointer { .. } => vec!["git lfs pull brings the file".into()],
            Self::KeyOfFile { key, .. } => {
                vec![format!("to pass over it: --ignore-key {}", for_shell(key))]
            }
            Self::SideInFile { key, .. } => vec![
                format!(
                    "say which: --side {}, or =valid, =train, =skip",
                    for_shell(&format!("{key}=test"))
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
            Self::NotMet { flag, name, known } if !known.is_empty() => {
                let near = nearest::nearest(name, known.iter().map(String::as_str));
                let near = near.map(|near| format!("did you mean --{flag} {}?", for_shell(near)));
                let there = format!("there are {}", known.join(", "));
                near.into_iter().chain([there]).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Names in a sentence.
fn list_of(names: &[String]) -> String {
    let names: Vec<String> = names
        .iter()
        .map(|name| format!("`{}`", quoted(name)))
        .collect();
    names.join(" and no ")
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

/// The key of a row or of its turns that a misspelt one probably means.
fn near_key<'k>(key: &str, known: &'k [String]) -> Option<&'k str> {
    let known = || known.iter().map(String::as_str);
    // A key of turns is often named without its `turn.`, and one of the row with it.
    let of_turns = known().find(|met| met.strip_prefix("turn.") == Some(key));
    let of_row = known().find(|met| key.strip_prefix("turn.") == Some(met));
    of_turns
        .or(of_row)
        .or_else(|| nearest::nearest(key, known()))
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
        let (input, mut reading) = (Input::new(name), Reading::default());
        let bytes = Bytes::unpack(&input.file, Box::new(bytes.as_ref()))?;
        let rows = Rows::of(&input.file, bytes, options)?;
        let meter = Meter::of(&[], options);
        let (report, _) = sort(&input, rows, options, &meter, &mut |row| reading.take(row))?;
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
