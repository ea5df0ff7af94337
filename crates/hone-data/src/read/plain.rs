//! The rows of a file as they stand in it, whatever their keys are called: for evaluation tasks, which say themselves what
//! their keys mean.

use std::cell::Cell;
use std::path::Path;

use super::arrow::Arrow;
use super::bytes::Bytes;
use super::document::Document;
use super::lines::JsonLines;
use super::parquet::{self, Parquet};
use super::row::{Object, Row};
use super::table::{self, Table};
use super::{Format, ReadError, ReadOptions};
use crate::{Refused, Source};

/// Why the rows of a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PlainError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] ReadError),
    /// A row cannot.
    #[error("{}: {}", .0.source, .0.reason)]
    Row(Refused),
}

impl PlainError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::File(error) => error.hints(),
            Self::Row(_) => vec![],
        }
    }
}

/// All rows of a file of JSONL, JSON, a table, Parquet or Arrow. Unlike rows to train on, one that cannot be read is an
/// error: a task without some of its rows is another task.
///
/// # Errors
/// The first thing that cannot be read.
pub fn plain_rows(file: &Path) -> Result<Vec<(Source, Object)>, PlainError> {
    let (taken, options) = (Cell::new(0), ReadOptions::default());
    let rows = open(file, &taken, &options)?;
    let mut found = Vec::new();
    for row in rows {
        let Row {
            line,
            number,
            content,
        } = row?;
        let source = Source {
            row: number,
            ..Source::new(file, line)
        };
        match content {
            Ok(row) => found.push((source, row)),
            Err(reason) => return Err(PlainError::Row(Refused { source, reason })),
        }
    }
    match found.is_empty() {
        true => Err(ReadError::Empty { file: file.into() }.into()),
        false => Ok(found),
    }
}

type Rows<'a> = Box<dyn Iterator<Item = Result<Row, ReadError>> + 'a>;

fn open<'a>(
    file: &Path,
    taken: &'a Cell<u64>,
    options: &'a ReadOptions<'a>,
) -> Result<Rows<'a>, ReadError> {
    // A picture beside the texts is no reason to refuse a row.
    let (wanted, needed) = (|_: &str| true, |_: &str| false);
    if Format::named(file) == Some(Format::Arrow) {
        return Ok(Box::new(Arrow::open(file, taken, &wanted, &needed)?));
    }
    let bytes = Bytes::open(file, taken)?;
    if bytes.head().starts_with(parquet::MAGIC) {
        return Ok(Box::new(Parquet::open(file, taken, &|_| true, &|_| true)?));
    }
    let head = bytes.head();
    let delimiter = table::delimiter_of(file, head);
    let first = head.iter().find(|byte| !byte.is_ascii_whitespace());
    let first_line = head.split(|byte| *byte == b'\n').next();
    let is_lines = Format::named(file) == Some(Format::JsonLines)
        || first_line.is_some_and(|line| serde_json::from_slice::<Object>(line).is_ok());
    Ok(match (Format::named(file), first) {
        (Some(Format::Table), _) => Box::new(Table::new(file, delimiter, bytes.buffered())?),
        (_, Some(b'[' | b'{')) if !is_lines => {
            let bytes = bytes.buffered();
            Box::new(Document::new(
                file.into(),
                false,
                options,
                Default::default(),
                bytes,
            ))
        }
        _ => Box::new(JsonLines::new(file.into(), bytes.buffered())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_of_any_keys_are_read_from_every_kind_of_file() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            let file = dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            let rows = plain_rows(&file).map_err(|error| error.to_string())?;
            Ok::<_, String>(rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>())
        };
        let row = json!({"q": "a", "choices": ["x", "y"]});
        let row = row.as_object().unwrap();
        let text = serde_json::to_string(row).unwrap();
        for (name, text) in [
            ("one.jsonl", text.clone()),
            ("one.json", text.clone()),
            ("list.json", format!("[{text}]")),
            ("within.json", format!("{{\n\"data\": [{text}]}}")),
        ] {
            assert_eq!(read(name, &text).unwrap(), vec![row.clone()], "{name}");
        }
        let table = read("t.csv", "q,a\n\"x, y\",2\n").unwrap();
        assert_eq!(
            table,
            [json!({"q": "x, y", "a": "2"}).as_object().unwrap().clone()]
        );
        let error = read("bad.jsonl", "{\"a\":1}\n{\n").unwrap_err();
        assert!(error.contains("bad.jsonl:2: not JSON"), "{error}");
        assert!(read("empty.jsonl", "").unwrap_err().contains("is empty"));
    }

    #[test]
    fn a_row_that_cannot_be_read_is_an_error_and_others_keep_their_lists() {
        let file = |name: &str| {
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../../fixtures/rows")
                .join(name)
        };
        let rows = plain_rows(&file("chats.parquet")).unwrap();
        assert!(
            rows[0].1.values().any(serde_json::Value::is_array),
            "{rows:?}"
        );
        let error = plain_rows(&file("labels.parquet")).unwrap_err().to_string();
        assert!(error.contains("labels.parquet:3"), "{error}");
    }
}
