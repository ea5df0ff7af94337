//! Parquet: rows kept as columns, group by group.
//!
//! The parquet crate finds and unpacks pages; putting rows together is done here, because its own rows
//! panic on text that is not UTF-8 and hold a row whatever its size. Columns that are
//! known to say nothing about the text are not read. A field that is empty in a row is not
//! there: a list of messages has one set of columns for all that any message has.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parquet::column::reader::get_column_reader;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{Length, SerializedPageReader};

use super::ReadError;
use super::guard::guarded;
use super::row::Row;
use guard::{Allowance, Guarded, Pages};
use tree::{Assembly, Column, Forest};

mod guard;
mod thrift;
mod tree;

/// What a Parquet file begins and ends with.
pub(super) const MAGIC: &[u8] = b"PAR1";

/// Rows put together at a time.
const BATCH_ROWS: usize = 64;

/// A longer footer is no footer.
const MAX_FOOTER_BYTES: u64 = 32 << 20;

/// A schema of more groups is refused: they may stand in each other, and trees are walked by recursion.
const MAX_GROUPS: usize = 1000;

/// The rows of a Parquet file.
pub(super) struct Parquet<'a> {
    file: PathBuf,
    source: Arc<Guarded>,
    metadata: ParquetMetaData,
    forest: Forest,
    allowance: Allowance,
    /// The group of rows under way, how many of it are left, and its columns.
    group: usize,
    rows_left: usize,
    columns: Vec<Column>,
    ready: VecDeque<Row>,
    /// The rows put together so far.
    num_rows: usize,
    taken: &'a Cell<u64>,
    is_damaged: bool,
}

impl<'a> Parquet<'a> {
    /// Opens a file for the fields that are wanted. Those that are not needed may be of any type: what is no text
    /// and no number is only said to be there.
    pub fn open(
        path: &Path,
        taken: &'a Cell<u64>,
        wanted: &dyn Fn(&str) -> bool,
        needed: &dyn Fn(&str) -> bool,
    ) -> Result<Self, ReadError> {
        let unsound = |what: String| ReadError::Parquet {
            file: path.into(),
            row: 1,
            what,
        };
        let file = File::open(path).map_err(|source| ReadError::Unreadable {
            file: path.into(),
            source,
        })?;
        let footer = footer(&file).map_err(unsound)?;
        let metadata = guarded(|| ParquetMetaDataReader::decode_metadata(&footer));
        let metadata = metadata.map_err(unsound)?;
        guarded(|| check_places(&metadata, file.len())).map_err(unsound)?;
        let schema = metadata.file_metadata().schema_descr();
        let forest = Forest::of(schema.root_schema(), wanted, needed)
            .map_err(|field| unsound(format!("the type of column `{field}` is no text")))?;
        Ok(Self {
            file: path.into(),
            source: Arc::new(Guarded {
                file,
                taken: 0.into(),
            }),
            metadata,
            forest,
            allowance: Allowance::default(),
            group: 0,
            rows_left: 0,
            columns: Vec::new(),
            ready: VecDeque::new(),
            num_rows: 0,
            taken,
            is_damaged: false,
        })
    }

    /// The names of all its columns.
    pub fn columns(&self) -> Vec<String> {
        let schema = self.metadata.file_metadata().schema_descr();
        let fields = schema.root_schema().get_fields().iter();
        fields.map(|field| field.name().to_owned()).collect()
    }

    /// The names of the columns that are not looked at.
    pub fn unread(&self) -> Vec<String> {
        let is_read = |name: &String| self.forest.fields.iter().any(|(field, _)| field == name);
        let columns = self.columns().into_iter();
        columns.filter(|name| !is_read(name)).collect()
    }

    fn fill(&mut self) -> Result<(), String> {
        while self.rows_left == 0 && self.group < self.metadata.num_row_groups() {
            let rows = self.metadata.row_group(self.group).num_rows();
            self.rows_left = usize::try_from(rows).map_err(|_| "a group of less than no rows")?;
            self.columns = guarded(|| self.open_columns())?;
            self.group += 1;
        }
        let rows = self.rows_left.min(BATCH_ROWS);
        self.rows_left -= rows;
        for column in &mut self.columns {
            self.allowance.refill();
            guarded(|| column.read(rows))?;
        }
        for _ in 0..rows {
            let mut assembly = Assembly::default();
            let row = assembly.row(&self.forest.fields, &mut self.columns);
            let row = row.ok_or("its columns do not fit together")?;
            self.num_rows += 1;
            self.ready.push_back(Row {
                line: self.num_rows,
                number: None,
                content: assembly.0.content(row),
            });
        }
        self.taken
            .set(self.taken.get() + self.source.taken.swap(0, Ordering::Relaxed));
        Ok(())
    }

    fn open_columns(&self) -> ParquetResult<Vec<Column>> {
        let group = self.metadata.row_group(self.group);
        let open = |&(index, is_needed): &(usize, bool)| {
            let chunk = group.column(index);
            let description = chunk.column_descr_ptr();
            let max_def = description.max_def_level();
            let rows = usize::try_from(group.num_rows()).unwrap_or_default();
            let pages = SerializedPageReader::new(self.source.clone(), chunk, rows, None)?;
            let allowance = self.allowance.clone();
            let pages = Box::new(Pages { pages, allowance });
            Ok(Column::new(
                get_column_reader(description, pages),
                max_def,
                is_needed,
            ))
        };
        self.forest.columns.iter().map(open).collect()
    }
}

impl Iterator for Parquet<'_> {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let is_over =
            |this: &Self| this.rows_left == 0 && this.group == this.metadata.num_row_groups();
        if self.ready.is_empty()
            && !self.is_damaged
            && !is_over(self)
            && let Err(what) = self.fill()
        {
            self.is_damaged = true;
            return Some(Err(ReadError::Parquet {
                file: self.file.clone(),
                row: self.num_rows + 1,
                what,
            }));
        }
        self.ready.pop_front().map(Ok)
    }
}

/// The bytes that say what is where, once they are known to be harmless.
fn footer(file: &File) -> Result<Vec<u8>, String> {
    let length = file.len();
    let end = read_at(file, length.saturating_sub(8), 8)?;
    let (size, magic) = end.split_at_checked(4).ok_or("it is too short")?;
    if magic != MAGIC {
        return Err("it does not end as one, so its end may be missing".into());
    }
    let size = u64::from(u32::from_le_bytes(size.try_into().expect("four bytes")));
    if size > MAX_FOOTER_BYTES || size + 12 > length {
        return Err(format!("its footer cannot be {size} bytes long"));
    }
    let footer = read_at(file, length - 8 - size, size)?;
    let mut num_groups = 0;
    let mut may_be = |path: &[i16], number: i64| {
        // Field 2 is the schema, and field 5 of its items the number of their children.
        let is_children = path == [2, 5];
        num_groups += usize::from(is_children && number > 0);
        !is_children || (0..=size as i64).contains(&number) && num_groups <= MAX_GROUPS
    };
    match thrift::struct_length(&footer, &mut may_be) {
        Some(_) => Ok(footer),
        None => Err("its footer contradicts itself".into()),
    }
}

fn read_at(mut file: &File, start: u64, length: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = file
        .seek(SeekFrom::Start(start))
        .and_then(|_| file.take(length).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

/// Is every column within the file?
fn check_places(metadata: &ParquetMetaData, length: u64) -> Result<(), String> {
    let chunks = metadata
        .row_groups()
        .iter()
        .flat_map(|group| group.columns());
    for (start, bytes) in chunks.map(|chunk| chunk.byte_range()) {
        if start.checked_add(bytes).is_none_or(|end| end > length) {
            return Err("a column lies outside the file".into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use serde_json::Value;

    use super::super::row::Object;
    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fixtures/rows")
            .join(name)
    }

    fn rows(name: &str) -> Result<Vec<Object>, String> {
        let taken = Cell::new(0);
        let rows = Parquet::open(&fixture(name), &taken, &|_| true, &|_| true)
            .map_err(|e| e.to_string())?;
        let rows = rows.map(|row| Ok(row.map_err(|error| error.to_string())?.content.unwrap()));
        rows.collect()
    }

    /// Parquet has one set of columns for all rows, and says nothing where a row lacks one.
    fn without_nothing(value: Value) -> Value {
        match value {
            Value::Object(fields) => {
                let filled = fields.into_iter().filter(|(_, value)| !value.is_null());
                filled
                    .map(|(name, value)| (name, without_nothing(value)))
                    .collect()
            }
            Value::Array(items) => items.into_iter().map(without_nothing).collect(),
            other => other,
        }
    }

    #[test]
    fn rows_are_those_of_the_twin_in_jsonl_whoever_wrote_and_packed_them() {
        for name in ["chats", "calls", "pairs", "datasets"] {
            let twin = fs::read_to_string(fixture(&format!("{name}.jsonl"))).unwrap();
            let twin: Vec<Value> = twin
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            let twin: Vec<Value> = twin.into_iter().map(without_nothing).collect();
            let found = rows(&format!("{name}.parquet")).unwrap();
            let found: Vec<Value> = found.into_iter().map(Value::Object).collect();
            assert_eq!(found, twin, "{name}");
        }
    }

    #[test]
    fn hostile_files_are_errors_in_one_sentence_and_soon() {
        for (name, told) in [
            ("cut", "its end may be missing"),
            ("long_footer", "its footer cannot be 2147483648 bytes long"),
            ("many_columns", "its footer contradicts itself"),
            ("wide_page", "a page has no sound header"),
            ("damaged_page", "not a sound Parquet file at row 1"),
        ] {
            let started = Instant::now();
            let error = rows(&format!("hostile/{name}.parquet")).unwrap_err();
            assert!(error.contains(told), "{name}: {error}");
            assert!(started.elapsed().as_secs() < 5, "{name}");
        }
    }

    #[test]
    fn no_changed_byte_ends_the_program() {
        let sound = fs::read(fixture("calls.parquet")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.parquet");
        let taken = Cell::new(0);
        for at in (0..sound.len()).step_by(3) {
            let mut bytes = sound.clone();
            bytes[at] ^= 0xff;
            fs::write(&path, &bytes).unwrap();
            if let Ok(rows) = Parquet::open(&path, &taken, &|_| true, &|_| true) {
                assert!(rows.take(100).count() <= 100);
            }
        }
    }
}
