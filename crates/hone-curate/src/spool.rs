//! Rows on disk that can be looked at again by their number.
//!
//! A build looks at rows several times (rules, twins, leaks, writing) and keeps in memory only what it
//! needs of all of them at once: for each row its place here and where it was read. The file has no name
//! and is gone with the process.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use hone_data::{Record, Source};

use crate::{Rows, RowsError};

/// Rows being written down.
#[derive(Debug)]
pub struct SpoolWriter {
    file: BufWriter<File>,
    index: Index,
}

/// Rows written down.
#[derive(Debug)]
pub struct Spool {
    file: Mutex<File>,
    index: Index,
    /// Rows that have changed since they were written down.
    changed: HashMap<usize, Record>,
}

/// Where each row stands, here and in the file it was read from.
#[derive(Debug, Default)]
struct Index {
    /// The end of each row; it begins where the one before ends.
    ends: Vec<u64>,
    /// The number of its file, its line there, and its number among the rows of the file where the line does not say it.
    sources: Vec<(u32, u32, u32)>,
    files: Vec<Arc<Path>>,
}

impl SpoolWriter {
    /// Begins in a folder that has room.
    pub fn begin(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            file: BufWriter::with_capacity(1 << 20, tempfile::tempfile_in(dir)?),
            index: Index::default(),
        })
    }

    /// Writes down the next row.
    pub fn push(&mut self, record: &Record) -> io::Result<()> {
        let row = record.to_line();
        self.file.write_all(row.as_bytes())?;
        let end = self.index.ends.last().unwrap_or(&0) + row.len() as u64;
        self.index.ends.push(end);
        let file = self.index.number_of(&record.source.file);
        let line = u32::try_from(record.source.line).unwrap_or(u32::MAX);
        // 0 where the line says it all.
        let number = record
            .source
            .row
            .map_or(0, |row| u32::try_from(row).unwrap_or(0));
        self.index.sources.push((file, line, number));
        Ok(())
    }

    /// Ends the writing.
    pub fn finish(self) -> io::Result<Spool> {
        Ok(Spool {
            file: Mutex::new(self.file.into_inner().map_err(|error| error.into_error())?),
            index: self.index,
            changed: HashMap::new(),
        })
    }
}

impl Spool {
    /// Has a row say something else from now on; for few rows, which are kept in memory.
    pub fn change(&mut self, row: usize, record: Record) {
        self.changed.insert(row, record);
    }

    /// Where a row was read.
    pub fn source(&self, row: usize) -> Source {
        let (file, line, number) = self.index.sources[row];
        Source {
            file: self.index.files[file as usize].clone(),
            line: line as usize,
            row: Some(number as usize).filter(|number| *number > 0),
        }
    }

    /// Where a row stands in the file, in bytes.
    pub(crate) fn span(&self, row: usize) -> Range<u64> {
        let before = row.checked_sub(1);
        before.map_or(0, |before| self.index.ends[before])..self.index.ends[row]
    }

    /// A row as it was written down.
    pub(crate) fn line(&self, row: usize) -> io::Result<String> {
        let Range { start, end } = self.span(row);
        let mut bytes = vec![0; (end - start) as usize];
        {
            let mut file = self.file.lock().expect("nobody panics while holding it");
            file.seek(SeekFrom::Start(start))?;
            file.read_exact(&mut bytes)?;
        }
        String::from_utf8(bytes).map_err(io::Error::other)
    }

    fn read(&self, row: usize) -> io::Result<Record> {
        let text = self.line(row)?;
        let record = Record::from_line(&text).map_err(io::Error::other)?;
        Ok(Record {
            source: self.source(row),
            ..record
        })
    }
}

impl Rows for Spool {
    fn len(&self) -> usize {
        self.index.ends.len()
    }

    fn record(&self, row: usize) -> Result<Cow<'_, Record>, RowsError> {
        if let Some(record) = self.changed.get(&row) {
            return Ok(Cow::Borrowed(record));
        }
        let read = self.read(row).map(Cow::Owned);
        read.map_err(|source| RowsError {
            row,
            source: Box::new(source),
        })
    }
}

impl Index {
    fn number_of(&mut self, file: &Arc<Path>) -> u32 {
        // Rows of one file come together, so the last file is nearly always the one.
        let known = self.files.iter().rposition(|known| known == file);
        known.unwrap_or_else(|| {
            self.files.push(file.clone());
            self.files.len() - 1
        }) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_in_any_order() {
        let rows = [
            (
                r#"{"task":"t","messages":[{"role":"user","content":"ä"},{"role":"assistant","content":"b"}]}"#,
                "a.jsonl",
                1,
            ),
            (
                r#"{"task":"u","group":"g","origin":"o","licence":"MIT","text":"x"}"#,
                "b.jsonl",
                7,
            ),
            (
                r#"{"task":"p","prompt":[],"chosen":[{"role":"assistant","content":"1"}],"rejected":[{"role":"assistant","content":"2"}]}"#,
                "a.jsonl",
                2,
            ),
        ];
        let records = rows.map(|(row, file, line)| Record {
            source: Source::new(file, line),
            ..Record::from_json(row).unwrap()
        });
        let mut writer = SpoolWriter::begin(&std::env::temp_dir()).unwrap();
        records
            .iter()
            .for_each(|record| writer.push(record).unwrap());
        let spool = writer.finish().unwrap();
        for row in [2, 0, 1, 0] {
            assert_eq!(*spool.record(row).unwrap(), records[row]);
        }
        assert_eq!(spool.len(), 3);
    }
}
