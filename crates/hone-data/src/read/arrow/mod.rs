//! Arrow: rows kept as columns, batch by batch, as `save_to_disk` of the datasets library and Feather write them.
//!
//! The arrow-ipc crate decodes batches; what a file says of itself is not believed: each message is looked at before it is
//! given to it, so that it never reserves more than the file can hold, and its panics are errors. As with Parquet, only columns are
//! looked at that some shape knows, and a field that is empty in a row is not there.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::{DataType, Field, Schema};
use serde_json::Value;

use super::ReadError;
use super::guard::guarded;
use super::row::{Assembled, Object, Row};
use messages::Messages;

mod messages;
mod packed;

/// Types may stand in each other so deep.
const MAX_DEPTH: usize = 32;

/// The rows of an Arrow file.
pub(super) struct Arrow<'a> {
    path: PathBuf,
    messages: Messages,
    decoder: StreamDecoder,
    /// What was read and not yet decoded.
    pending: VecDeque<arrow_buffer::Buffer>,
    taken: &'a Cell<u64>,
    columns: Vec<String>,
    /// Which of the columns are read.
    wanted: Vec<usize>,
    batch: Option<RecordBatch>,
    next_in_batch: usize,
    num_rows: usize,
    is_over: bool,
}

impl<'a> Arrow<'a> {
    /// Opens a file for the fields that are wanted. Those that are not needed may be of any type: what is no text
    /// and no number is only said to be there.
    pub fn open(
        path: &Path,
        taken: &'a Cell<u64>,
        wanted: &dyn Fn(&str) -> bool,
        needed: &dyn Fn(&str) -> bool,
    ) -> Result<Self, ReadError> {
        let unreadable = |source| ReadError::Unreadable {
            file: path.into(),
            source,
        };
        let messages = File::open(path)
            .and_then(Messages::of)
            .map_err(unreadable)?;
        let mut arrow = Self {
            path: path.into(),
            messages,
            decoder: StreamDecoder::new(),
            pending: VecDeque::new(),
            taken,
            columns: Vec::new(),
            wanted: Vec::new(),
            batch: None,
            next_in_batch: 0,
            num_rows: 0,
            is_over: false,
        };
        arrow.batch = arrow.next_batch().map_err(|what| arrow.unsound(what))?;
        let Some(schema) = arrow.decoder.schema() else {
            return Err(arrow.unsound("it does not begin as a stream of batches".into()));
        };
        let strange = guarded(|| -> Result<_, String> { Ok(strange_field(&schema, needed)) });
        if let Some(field) = strange.map_err(|what| arrow.unsound(what))? {
            return Err(arrow.unsound(format!("the type of column `{field}` is no text")));
        }
        let fields = schema.fields().iter();
        arrow.columns = fields.map(|field| field.name().clone()).collect();
        arrow.wanted = (0..arrow.columns.len())
            .filter(|&column| wanted(&arrow.columns[column]))
            .collect();
        Ok(arrow)
    }

    /// The names of all its columns.
    pub fn columns(&self) -> Vec<String> {
        self.columns.clone()
    }

    /// The names of the columns that are not looked at.
    pub fn unread(&self) -> Vec<String> {
        let columns = self.columns.iter().enumerate();
        let unread = columns.filter(|(column, _)| !self.wanted.contains(column));
        unread.map(|(_, name)| name.clone()).collect()
    }

    fn unsound(&self, what: String) -> ReadError {
        ReadError::Arrow {
            file: self.path.clone(),
            row: self.num_rows + 1,
            what,
        }
    }

    /// The next batch that has rows.
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, String> {
        loop {
            let Some(part) = self.pending.front_mut() else {
                let messages = &mut self.messages;
                let next = guarded(|| messages.next())?;
                self.taken
                    .set(self.taken.get() + std::mem::take(&mut self.messages.taken));
                match next {
                    Some(parts) => self.pending.extend(parts),
                    None => {
                        let decoder = &mut self.decoder;
                        return guarded(|| decoder.finish()).map(|()| None);
                    }
                }
                continue;
            };
            let decoder = &mut self.decoder;
            let batch = guarded(|| decoder.decode(part))?;
            if part.is_empty() {
                self.pending.pop_front();
            }
            match batch {
                Some(batch) if batch.num_rows() > 0 => return Ok(Some(batch)),
                _ => {}
            }
        }
    }

    fn row(&mut self) -> Result<Option<Row>, ReadError> {
        loop {
            let Some(batch) = &self.batch else {
                return Ok(None);
            };
            if self.next_in_batch < batch.num_rows() {
                let at = self.next_in_batch;
                let mut assembly = Assembly::default();
                let columns = self
                    .wanted
                    .iter()
                    .map(|&column| (&self.columns[column], batch.column(column)));
                let row = guarded(|| -> Result<Object, String> { assembly.row(columns, at) });
                let row = row.map_err(|what| self.unsound(what))?;
                self.next_in_batch += 1;
                self.num_rows += 1;
                return Ok(Some(Row {
                    line: self.num_rows,
                    number: None,
                    content: assembly.0.content(row),
                }));
            }
            self.next_in_batch = 0;
            self.batch = self.next_batch().map_err(|what| self.unsound(what))?;
        }
    }
}

impl Iterator for Arrow<'_> {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let row = self.row().transpose();
        self.is_over = !matches!(row, Some(Ok(_)));
        row
    }
}

/// The first needed field of a type that holds no text, number or list of such.
fn strange_field(schema: &Schema, needed: &dyn Fn(&str) -> bool) -> Option<String> {
    let mut fields = schema.fields().iter();
    let strange = fields.find(|field| needed(field.name()) && !is_known(field, 0));
    strange.map(|field| field.name().clone())
}

fn is_known(field: &Field, depth: usize) -> bool {
    fn of(kind: &DataType, depth: usize) -> bool {
        use DataType as T;
        match kind {
            T::Null | T::Boolean | T::Utf8 | T::LargeUtf8 | T::Utf8View => true,
            T::Int8 | T::Int16 | T::Int32 | T::Int64 => true,
            T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 | T::Float32 | T::Float64 => true,
            T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => {
                is_known(item, depth + 1)
            }
            T::Struct(fields) => fields.iter().all(|field| is_known(field, depth + 1)),
            T::Dictionary(_, values) => depth < MAX_DEPTH && of(values, depth + 1),
            _ => false,
        }
    }
    depth < MAX_DEPTH && of(field.data_type(), depth)
}

/// A row under way.
#[derive(Default)]
struct Assembly(Assembled);

impl Assembly {
    fn row<'a>(
        &mut self,
        columns: impl Iterator<Item = (&'a String, &'a ArrayRef)>,
        at: usize,
    ) -> Result<Object, String> {
        let mut row = Object::new();
        for (name, column) in columns {
            let value = self.value(column, at)?;
            if !value.is_null() {
                row.insert(name.clone(), value);
            }
        }
        Ok(row)
    }

    fn value(&mut self, array: &ArrayRef, at: usize) -> Result<Value, String> {
        self.0.count_value();
        if array.is_null(at) || !self.0.is_short() {
            return Ok(Value::Null);
        }
        macro_rules! number {
            ($kind:ty) => {
                array.as_primitive::<$kind>().value(at).into()
            };
        }
        Ok(match array.data_type() {
            DataType::Null => Value::Null,
            DataType::Boolean => array.as_boolean().value(at).into(),
            DataType::Int8 => number!(Int8Type),
            DataType::Int16 => number!(Int16Type),
            DataType::Int32 => number!(Int32Type),
            DataType::Int64 => number!(Int64Type),
            DataType::UInt8 => number!(UInt8Type),
            DataType::UInt16 => number!(UInt16Type),
            DataType::UInt32 => number!(UInt32Type),
            DataType::UInt64 => number!(UInt64Type),
            DataType::Float32 => f64::from(array.as_primitive::<Float32Type>().value(at)).into(),
            DataType::Float64 => number!(Float64Type),
            DataType::Utf8 => self.text(array.as_string::<i32>().value(at)),
            DataType::LargeUtf8 => self.text(array.as_string::<i64>().value(at)),
            DataType::Utf8View => self.text(array.as_string_view().value(at)),
            DataType::List(_) => self.list(&array.as_list::<i32>().value(at))?,
            DataType::LargeList(_) => self.list(&array.as_list::<i64>().value(at))?,
            DataType::FixedSizeList(..) => self.list(&array.as_fixed_size_list().value(at))?,
            DataType::Struct(fields) => {
                let mut object = Object::new();
                for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                    let value = self.value(column, at)?;
                    // A field that is empty in this row is there because another row has it.
                    if !value.is_null() {
                        object.insert(field.name().clone(), value);
                    }
                }
                object.into()
            }
            DataType::Dictionary(..) => {
                // The keys of all rows are a list made anew for each that asks for one.
                let one = array.slice(at, 1);
                let dictionary = one.as_any_dictionary();
                let key = dictionary.normalized_keys()[0];
                self.value(dictionary.values(), key)?
            }
            // A picture, a date: a row has one.
            _ => true.into(),
        })
    }

    fn list(&mut self, items: &ArrayRef) -> Result<Value, String> {
        let mut values = Vec::new();
        for at in 0..items.len() {
            if !self.0.is_short() {
                break;
            }
            values.push(self.value(items, at)?);
        }
        Ok(values.into())
    }

    fn text(&mut self, text: &str) -> Value {
        self.0.text(text.as_bytes(), true)
    }
}
