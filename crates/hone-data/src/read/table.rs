//! Comma-separated values: RFC 4180, with commas, tabs or semicolons.
//!
//! The parser is our own because a hostile or broken file must end well: the ones at hand read a quote
//! that is never closed to the end of the file, however long, and give it back as a field.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::lines::endless;
use super::row::{Object, Row, clean};
use super::{MAX_LINE_BYTES, MAX_SKIPPED_BYTES, ReadError};
use crate::Reason;

/// The rows below a header.
pub(super) struct Table<R> {
    file: PathBuf,
    cells: Cells<R>,
    columns: Vec<String>,
}

impl<R: BufRead> Table<R> {
    /// Reads the header.
    pub fn new(file: &Path, delimiter: u8, bytes: R) -> Result<Self, ReadError> {
        let mut table = Self {
            file: file.into(),
            cells: Cells::new(bytes, delimiter),
            columns: Vec::new(),
        };
        table.columns = table.header()?;
        Ok(table)
    }

    /// The names in the header.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    fn header(&mut self) -> Result<Vec<String>, ReadError> {
        let wrong = |what: String| ReadError::Header {
            file: self.file.clone(),
            what,
        };
        let file = self.file.clone();
        let found = self.cells.next_row().map_err(|fault| fault.of(&file))?;
        if found.is_none() {
            return Err(ReadError::Empty { file });
        }
        let cells = self.cells.row.texts();
        let cells = cells.map_err(|reason| wrong(reason.to_string()))?;
        let names: Vec<String> = cells.iter().map(|name| name.trim().to_owned()).collect();
        if self.cells.row.num_cells > MAX_COLUMNS {
            return Err(wrong(format!("it has more than {MAX_COLUMNS} columns")));
        }
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return Err(wrong(format!("two columns are named `{name}`")));
            }
        }
        Ok(names)
    }

    fn object(&self) -> Result<Object, Reason> {
        let cells = self.cells.row.texts()?;
        if self.cells.row.num_cells != self.columns.len() {
            return Err(Reason::Width {
                found: self.cells.row.num_cells,
                columns: self.columns.len(),
            });
        }
        // A list is written in a cell as JSON in a text, and read as one by the shape.
        let value = |cell: &str| match cell {
            "" => Value::Null,
            _ => cell.into(),
        };
        let values = cells.into_iter().map(value);
        Ok(self.columns.iter().cloned().zip(values).collect())
    }
}

impl<R: BufRead> Iterator for Table<R> {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.cells.next_row().map_err(|fault| fault.of(&self.file));
        let row = |line| Row {
            line,
            number: None,
            content: self.object(),
        };
        found.map(|found| found.map(row)).transpose()
    }
}

/// Signs that may part the cells of a row.
const SIGNS: [u8; 3] = [b',', b'\t', b';'];

/// The sign that parts the cells of the header: the commonest one outside quotes.
pub(super) fn delimiter_of(file: &Path, head: &[u8]) -> u8 {
    let mut counts = [0_usize; 3];
    let mut is_quoted = false;
    for byte in head {
        is_quoted ^= *byte == b'"';
        match SIGNS.iter().position(|sign| sign == byte) {
            Some(sign) if !is_quoted => counts[sign] += 1,
            None if !is_quoted && *byte == b'\n' => break,
            _ => {}
        }
    }
    let most = counts.into_iter().max().filter(|&count| count > 0);
    match most.and_then(|most| counts.iter().position(|&count| count == most)) {
        Some(sign) => SIGNS[sign],
        None if file.to_string_lossy().contains(".tsv") => b'\t',
        None => b',',
    }
}

/// Why the cells do not go on.
enum Fault {
    Open { line: usize },
    Io { line: usize, source: io::Error },
}

impl Fault {
    fn of(self, file: &Path) -> ReadError {
        let file = file.to_path_buf();
        match self {
            Self::Open { line } => ReadError::OpenQuote { file, line },
            Self::Io { line, source } => ReadError::Damaged { file, line, source },
        }
    }
}

/// More columns than this are no table of rows.
const MAX_COLUMNS: usize = 1 << 16;

/// Rows of cells, one at a time.
struct Cells<R> {
    bytes: R,
    row: Cursor,
}

/// The row under way.
struct Cursor {
    delimiter: u8,
    line: usize,
    place: Place,
    after_return: bool,
    /// Bytes of the row.
    length: usize,
    /// Cells that have ended.
    num_cells: usize,
    /// The cells, one after the other, and where each ends.
    text: Vec<u8>,
    ends: Vec<usize>,
}

/// Where in a cell the parser stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Start,
    Bare,
    Quoted,
    /// After a quote within quotes: the end of the cell, or the first half of a quote.
    Closed,
}

impl<R: BufRead> Cells<R> {
    fn new(bytes: R, delimiter: u8) -> Self {
        let row = Cursor {
            delimiter,
            line: 1,
            place: Place::Start,
            after_return: false,
            length: 0,
            num_cells: 0,
            text: Vec::new(),
            ends: Vec::new(),
        };
        Self { bytes, row }
    }

    /// Takes the next row that is not empty, and gives its first line.
    fn next_row(&mut self) -> Result<Option<usize>, Fault> {
        loop {
            let line = self.row.begin();
            let is_over = self.take_row(line)?;
            if self.row.length > 0 {
                self.row.end_cell();
                return Ok(Some(line));
            }
            if !is_over {
                return Ok(None);
            }
        }
    }

    /// Takes bytes to the end of the row, or of the file.
    fn take_row(&mut self, first: usize) -> Result<bool, Fault> {
        let fault = |line, source| Fault::Io { line, source };
        loop {
            let available = self.bytes.fill_buf();
            let available = available.map_err(|source| fault(self.row.line, source))?;
            if available.is_empty() {
                return match self.row.place {
                    Place::Quoted => Err(Fault::Open { line: first }),
                    _ => Ok(false),
                };
            }
            let end = available.iter().position(|&byte| self.row.take(byte));
            let taken = end.map_or(available.len(), |end| end + 1);
            self.bytes.consume(taken);
            if end.is_some() {
                return Ok(true);
            }
            if self.row.length as u64 > MAX_SKIPPED_BYTES {
                return Err(fault(first, endless()));
            }
        }
    }
}

impl Cursor {
    /// Begins a row on the line it gives.
    fn begin(&mut self) -> usize {
        self.text.clear();
        self.ends.clear();
        (self.place, self.length, self.num_cells) = (Place::Start, 0, 0);
        self.line
    }

    /// Takes one byte; true if it ends the row.
    fn take(&mut self, byte: u8) -> bool {
        let completes_break = byte == b'\n' && self.after_return;
        self.after_return = byte == b'\r';
        self.line += usize::from(matches!(byte, b'\n' | b'\r') && !completes_break);
        self.place = match (self.place, byte) {
            (Place::Quoted, b'"') => Place::Closed,
            (Place::Start, b'"') => Place::Quoted,
            (Place::Quoted, _) | (Place::Closed, b'"') => {
                self.hold(byte);
                Place::Quoted
            }
            (_, b'\n') if completes_break => return false,
            (_, b'\n' | b'\r') => return true,
            (_, byte) if byte == self.delimiter => {
                self.end_cell();
                Place::Start
            }
            _ => {
                self.hold(byte);
                Place::Bare
            }
        };
        self.length += 1;
        false
    }

    fn hold(&mut self, byte: u8) {
        if self.length < MAX_LINE_BYTES {
            self.text.push(byte);
        }
    }

    fn end_cell(&mut self) {
        self.num_cells += 1;
        if self.num_cells <= MAX_COLUMNS {
            self.ends.push(self.text.len());
        }
    }

    /// The cells of the row that was taken.
    fn texts(&self) -> Result<Vec<&str>, Reason> {
        if self.length > MAX_LINE_BYTES {
            return Err(Reason::RowTooLong {
                bytes: self.length,
                limit: MAX_LINE_BYTES,
            });
        }
        let text = clean(&self.text)?;
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        // Halves of a character in two cells are valid only together.
        let cell = |(start, &end): (usize, &usize)| {
            let byte = start + 1;
            text.get(start..end).ok_or(Reason::NotUtf8 { byte })
        };
        starts.zip(&self.ends).map(cell).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    type Rows = Vec<(usize, Result<Object, String>)>;

    fn rows(text: impl AsRef<[u8]>) -> Result<Rows, ReadError> {
        let (text, file) = (text.as_ref(), Path::new("x.csv"));
        // A small buffer, so that rows do not end where reading does.
        let bytes = BufReader::with_capacity(7, text);
        let table = Table::new(file, delimiter_of(file, text), bytes)?;
        let row = |row: Row| (row.line, row.content.map_err(|reason| reason.to_string()));
        table.map(|found| found.map(row)).collect()
    }

    fn cells(row: &Result<Object, String>) -> Vec<&str> {
        let values = row.as_ref().unwrap().values();
        values.map(|value| value.as_str().unwrap_or("")).collect()
    }

    #[test]
    fn quoted_cells_may_hold_delimiters_breaks_and_quotes() {
        let table = "prompt,completion\r\n\"a, b\",\"c\r\nd\"\r\n\r\n\"\"\"e\"\"\",5\" disk\n,last";
        let found = rows(table).unwrap();
        assert_eq!(found.iter().map(|row| row.0).collect::<Vec<_>>(), [2, 5, 6]);
        assert_eq!(cells(&found[0].1), ["a, b", "c\r\nd"]);
        assert_eq!(cells(&found[1].1), ["\"e\"", "5\" disk"]);
        assert_eq!(found[2].1.as_ref().unwrap()["prompt"], Value::Null);
    }

    #[test]
    fn tabs_and_semicolons_part_cells_where_the_header_has_them() {
        for table in ["a\tb\n1,5\t2", "a;b\n1,5;2", "\"a,,,,\";b\n1,5;2"] {
            assert_eq!(cells(&rows(table).unwrap()[0].1), ["1,5", "2"], "{table}");
        }
    }

    #[test]
    fn what_is_written_in_cells_stays_text() {
        let found = rows("messages,n\n\"[{\"\"role\"\": \"\"user\"\"}]\",1\n[oops,2").unwrap();
        assert_eq!(cells(&found[0].1), ["[{\"role\": \"user\"}]", "1"]);
        assert_eq!(cells(&found[1].1), ["[oops", "2"]);
    }

    #[test]
    fn broken_rows_are_refused_and_the_rest_is_kept() {
        let found = rows(b"a,b\n1\n1,2,3\n\xc3,\xa9\n1,\0\nx,y\n").unwrap();
        let told: Vec<_> = found
            .iter()
            .map(|(line, row)| (*line, row.clone().err().unwrap_or_default()))
            .collect();
        assert_eq!(
            told[0],
            (2, "has 1 cells, where the header names 2 columns".into())
        );
        assert_eq!(
            told[1],
            (3, "has 3 cells, where the header names 2 columns".into())
        );
        assert!(
            told[2].1.contains("UTF-8") && told[3].1.contains("NUL"),
            "{told:?}"
        );
        assert_eq!(told[4], (6, String::new()));
    }

    #[test]
    fn a_quote_that_is_never_closed_is_an_error_with_its_line() {
        let error = rows("a,b\n1,2\n3,\"4\n5,6\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "x.csv:3: a quote that opens in this row is never closed"
        );
        let error = rows("a,a\n").unwrap_err().to_string();
        assert_eq!(error, "x.csv: not a header: two columns are named `a`");
    }

    proptest! {
        #[test]
        fn what_the_csv_crate_writes_is_read_back(table in prop::collection::vec(prop::collection::vec("[ab,;\\t\"\r\né]{0,6}", 3), 1..8)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["x", "y", "z"]).unwrap();
            table.iter().for_each(|row| writer.write_record(row).unwrap());
            let found = rows(writer.into_inner().unwrap()).unwrap();
            let read: Vec<Vec<&str>> = found.iter().map(|row| cells(&row.1)).collect();
            prop_assert_eq!(read, table);
        }
    }
}
