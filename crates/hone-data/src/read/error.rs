//! Why a file gives no rows, and what to type next.

use std::io;
use std::path::{Path, PathBuf};

use hone_ledger::words::{for_shell, path_for_shell, quoted, quoted_to};

use super::{Doubt, Input, fields, guess};
use crate::{Shape, nearest};

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
    pub(super) fn among(self, inputs: &[Input], input: &Input) -> Self {
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
            Self::Unreadable { file, source } if source.kind() == io::ErrorKind::NotFound => {
                vec![nearest::instead_of(file)]
            }
            Self::NoMatch { pattern, .. } => vec![nearest::instead_of(pattern)],
            Self::Empty { .. } => vec!["write rows into it, such as one JSON object a line, or leave it out".into()],
            Self::Utf16 { file } => vec![format!(
                "iconv -f UTF-16 -t UTF-8 {} > FILE, and give that one",
                path_for_shell(file)
            )],
            Self::NotJson { .. } | Self::Header { .. } | Self::OpenQuote { .. } => {
                vec!["mend the file at that place, or write it again with the program that made it".into()]
            }
            Self::Parquet { .. } | Self::Damaged { .. } => {
                vec!["fetch the file again, or write it again with the program that made it".into()]
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
