//! A file to its rows, whatever kind of file it is.
//!
//! Parquet and packed files are told by their first bytes. Tables and documents are told by name, for
//! everything is a text; JSON by its brackets, since a row on each line and one document look alike in
//! name and are often confused.

use std::cell::Cell;
use std::io::BufRead;
use std::path::Path;
use std::rc::Rc;

use serde_json::Value;

use super::arrow::Arrow;
use super::bytes::Bytes;
use super::document::{self, Document};
use super::lines::JsonLines;
use super::parquet::{self, Parquet};
use super::prose::Prose;
use super::row::{Object, Row, Rows};
use super::table::{self, Table};
use super::{Format, ReadError, ReadOptions};
use crate::Shape;

/// How a file begins that Git LFS has not fetched.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

impl<'a> Rows<'a> {
    /// Opens a file; every byte read from it is counted in `taken`.
    pub(super) fn open(
        file: &Path,
        options: &'a ReadOptions<'a>,
        taken: &'a Cell<u64>,
    ) -> Result<Self, ReadError> {
        let before = taken.get();
        let bytes = Bytes::open(file, taken)?;
        if bytes.head().starts_with(POINTER) {
            return Err(ReadError::Pointer { file: file.into() });
        }
        if Format::named(file) == Some(Format::Arrow) {
            taken.set(before);
            return Self::of_arrow(file, options, taken);
        }
        match bytes.head().starts_with(parquet::MAGIC) {
            true if bytes.was_packed() => Err(ReadError::PackedParquet { file: file.into() }),
            true => {
                taken.set(before);
                Self::of_parquet(file, options, taken)
            }
            false if Format::named(file) == Some(Format::Parquet) => Err(ReadError::Parquet {
                file: file.into(),
                row: 1,
                what: "it does not begin as one".into(),
            }),
            false => Self::of(file, bytes, options),
        }
    }

    fn of_parquet(
        file: &Path,
        options: &'a ReadOptions<'a>,
        taken: &'a Cell<u64>,
    ) -> Result<Self, ReadError> {
        let wanted = |name: &str| options.reads(name);
        let rows = Parquet::open(file, taken, &wanted, &|name| options.needs(name))?;
        let (columns, unread) = (rows.columns(), rows.unread());
        Self::of_columns(
            file,
            Format::Parquet,
            columns,
            unread,
            Box::new(rows),
            options,
        )
    }

    fn of_arrow(
        file: &Path,
        options: &'a ReadOptions<'a>,
        taken: &'a Cell<u64>,
    ) -> Result<Self, ReadError> {
        let wanted = |name: &str| options.reads(name);
        let rows = Arrow::open(file, taken, &wanted, &|name| options.needs(name))?;
        let (columns, unread) = (rows.columns(), rows.unread());
        Self::of_columns(
            file,
            Format::Arrow,
            columns,
            unread,
            Box::new(rows),
            options,
        )
    }

    /// Rows that are kept as columns: their names say of what shape they are.
    fn of_columns(
        file: &Path,
        format: Format,
        columns: Vec<String>,
        unread: Vec<String>,
        rows: Box<dyn Iterator<Item = Result<Row, ReadError>> + 'a>,
        options: &'a ReadOptions<'a>,
    ) -> Result<Self, ReadError> {
        let wanted = |name: &str| options.reads(name);
        let named = columns.iter().filter(|name| wanted(name));
        let mut row: Object = named
            .map(|name| (name.clone(), Value::Bool(true)))
            .collect();
        options.rename(&mut row);
        if let Err(why) = options.shape_of(&row) {
            let missing = options.missing(&columns).next();
            let missing = missing.map(|(field, column)| (field.to_owned(), column.to_owned()));
            return Err(match missing {
                Some((field, column)) => ReadError::no_column(file, &field, &column, columns),
                None => ReadError::UnknownShape {
                    file: file.into(),
                    line: 1,
                    keys: columns,
                    because: why.told_by_a_key(),
                    turns: None,
                },
            });
        }
        Ok(Self {
            format,
            columns: Some(columns),
            unread,
            beside: Rc::default(),
            rows,
        })
    }

    /// The rows among some bytes.
    pub(super) fn of(
        file: &Path,
        bytes: Bytes<'a>,
        options: &'a ReadOptions<'a>,
    ) -> Result<Self, ReadError> {
        let (head, is_whole) = (bytes.head(), bytes.is_whole());
        let format = format_of(file, head, is_whole, options);
        let mut columns = None;
        let beside = Rc::default();
        let rows: Box<dyn Iterator<Item = _> + 'a> = match format {
            Format::Table => {
                let delimiter = table::delimiter_of(file, head);
                let table = Table::new(file, delimiter, bytes.buffered())?;
                columns = Some(table.columns().to_vec());
                Box::new(table)
            }
            Format::Json => {
                let is_row = document::is_row(file, head, is_whole, options)?;
                let beside = Rc::clone(&beside);
                let bytes = bytes.buffered();
                Box::new(Document::new(file.into(), is_row, options, beside, bytes))
            }
            // Parquet and Arrow are opened by their paths: rows are all over the file.
            Format::JsonLines | Format::Parquet | Format::Arrow => {
                Box::new(JsonLines::new(file.into(), bytes.buffered()))
            }
            Format::Text | Format::Markdown => {
                let is_markdown = format == Format::Markdown;
                let bytes = bytes.buffered();
                Box::new(Prose::new(file, is_markdown, bytes, options.chunking))
            }
        };
        Ok(Self {
            format,
            columns,
            unread: Vec::new(),
            beside,
            rows,
        })
    }
}

fn format_of(file: &Path, head: &[u8], is_whole: bool, options: &ReadOptions<'_>) -> Format {
    let named = Format::named(file);
    let first = head.iter().find(|byte| !byte.is_ascii_whitespace());
    match (named, first) {
        (Some(Format::Table), _) => Format::Table,
        (Some(document @ (Format::Text | Format::Markdown)), _) if !holds_rows(head) => document,
        (None, Some(byte)) if !matches!(byte, b'{' | b'[') => Format::Text,
        (_, Some(b'[')) => Format::Json,
        (_, Some(b'{')) if is_json_document(named, head, is_whole, options) => Format::Json,
        _ => Format::JsonLines,
    }
}

/// Does a file that is named as a document begin with a row?
fn holds_rows(head: &[u8]) -> bool {
    let first = head.lines().next().and_then(Result::ok);
    let row = first.and_then(|line| serde_json::from_str::<Object>(&line).ok());
    row.is_some_and(|row| Shape::of(&row).is_some())
}

/// One document, or a row on each line? Where the first line is longer than what was seen of the file,
/// the name tells.
fn is_json_document(
    named: Option<Format>,
    head: &[u8],
    is_whole: bool,
    options: &ReadOptions<'_>,
) -> bool {
    if !is_whole && !head.contains(&b'\n') {
        return named == Some(Format::Json);
    }
    !document::first_line_is_a_row(head, options) && document::is_document(head, is_whole)
}
