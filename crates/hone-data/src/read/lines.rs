//! Lines of bounded length, and JSONL: one row a line.

use std::io::{self, BufRead, Read};
use std::path::PathBuf;

use super::row::{Row, line_object};
use super::{MAX_LINE_BYTES, MAX_SKIPPED_BYTES, ReadError};
use crate::Reason;

/// Lines, counted from 1. A line that is too long is passed over and not held.
pub(super) struct Lines<R> {
    bytes: R,
    /// The number of the line that was read last.
    pub number: usize,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub fn new(bytes: R) -> Self {
        Self {
            bytes,
            number: 0,
            line: Vec::new(),
        }
    }

    /// The next line with its break, or how many bytes it has, break and all, if they are too many.
    pub fn next_line(&mut self) -> io::Result<Option<Result<&[u8], usize>>> {
        self.line.clear();
        let most = MAX_LINE_BYTES + 2;
        let held = self
            .bytes
            .by_ref()
            .take(most as u64)
            .read_until(b'\n', &mut self.line)?;
        if held == 0 {
            return Ok(None);
        }
        self.number += 1;
        if held < most || self.line.ends_with(b"\n") {
            return Ok(Some(Ok(&self.line)));
        }
        let skipped = self
            .bytes
            .by_ref()
            .take(MAX_SKIPPED_BYTES)
            .skip_until(b'\n')?;
        match skipped as u64 == MAX_SKIPPED_BYTES {
            true => Err(endless()),
            false => Ok(Some(Err(held + skipped))),
        }
    }
}

/// What is said of a row that does not come to an end.
pub(super) fn endless() -> io::Error {
    let gibibytes = MAX_SKIPPED_BYTES >> 30;
    io::Error::other(format!("one row is longer than {gibibytes} GiB"))
}

/// The rows of a file that has one on each line.
pub(super) struct JsonLines<R> {
    file: PathBuf,
    lines: Lines<R>,
}

impl<R: BufRead> JsonLines<R> {
    pub fn new(file: PathBuf, bytes: R) -> Self {
        let lines = Lines::new(bytes);
        Self { file, lines }
    }

    fn row(&mut self) -> io::Result<Option<Row>> {
        loop {
            let content = match self.lines.next_line()? {
                None => return Ok(None),
                Some(Ok(line)) if line.trim_ascii().is_empty() => continue,
                Some(Ok(line)) => line_object(line.trim_ascii_end()),
                Some(Err(bytes)) => Err(Reason::LineTooLong {
                    bytes,
                    limit: MAX_LINE_BYTES,
                }),
            };
            let line = self.lines.number;
            return Ok(Some(Row {
                line,
                number: None,
                content,
            }));
        }
    }
}

impl<R: BufRead> Iterator for JsonLines<R> {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.row().map_err(|source| ReadError::Damaged {
            file: self.file.clone(),
            line: self.lines.number + 1,
            source,
        });
        row.transpose()
    }
}
