//! What every format comes down to: a row as a JSON object, and the line it starts on.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::Value;

use super::{Format, MAX_LINE_BYTES, ReadError};
use crate::Reason;
pub(super) use crate::json::Object;
use crate::json::object;

/// A row as an object, or why it is none.
pub(crate) struct Row {
    pub line: usize,
    /// Which row of its list it is, from 1, where several stand on one line.
    pub number: Option<usize>,
    pub content: Result<Object, Reason>,
}

/// The rows of a file, in its order; an error is the end of them.
pub(crate) struct Rows<'a> {
    pub format: Format,
    /// The names in its header, if it has one.
    pub columns: Option<Vec<String>>,
    /// Columns that are not looked at.
    pub unread: Vec<String>,
    /// What stands around the rows, as far as the file was read.
    pub beside: Rc<RefCell<Beside>>,
    pub rows: Box<dyn Iterator<Item = Result<Row, ReadError>> + 'a>,
}

/// What a file holds beside its rows.
#[derive(Default)]
pub(crate) struct Beside {
    /// Keys that were passed over.
    pub keys: Vec<String>,
    /// The list in which the rows stand.
    pub list: Option<String>,
}

/// A row that is put together from columns: how large it is so far, and why it cannot be used.
#[derive(Default)]
pub(crate) struct Assembled {
    bytes: usize,
    refused: Option<Reason>,
}

/// What an item of a list or a field costs beside its text.
const VALUE_BYTES: usize = 16;

impl Assembled {
    pub fn count_value(&mut self) {
        self.bytes += VALUE_BYTES;
    }

    /// Is there room for more?
    pub fn is_short(&self) -> bool {
        self.bytes <= MAX_LINE_BYTES
    }

    /// A text of the row. Of a field that is not needed and holds no text it is enough to know that it is there.
    pub fn text(&mut self, bytes: &[u8], is_needed: bool) -> Value {
        self.bytes += bytes.len();
        match clean(bytes) {
            Ok(text) if self.is_short() => text.into(),
            Ok(_) => Value::Null,
            // Pictures and the like: that they are there is all that matters.
            Err(_) if !is_needed => "bytes".into(),
            Err(reason) => {
                self.refused.get_or_insert(reason);
                Value::Null
            }
        }
    }

    /// The row, if nothing in it refuses it and it is not too long.
    pub fn content(self, row: Object) -> Result<Object, Reason> {
        match self.is_short() {
            true => self.refused.map_or(Ok(row), Err),
            false => Err(Reason::RowTooLong {
                bytes: self.bytes,
                limit: MAX_LINE_BYTES,
            }),
        }
    }
}

/// The object written in a line of JSONL.
pub(crate) fn line_object(line: &[u8]) -> Result<Object, Reason> {
    if line.len() > MAX_LINE_BYTES {
        return Err(Reason::LineTooLong {
            bytes: line.len(),
            limit: MAX_LINE_BYTES,
        });
    }
    object(clean(line)?)
}

/// Bytes as text that a row may hold.
pub(crate) fn clean(bytes: &[u8]) -> Result<&str, Reason> {
    if bytes.contains(&0) {
        return Err(Reason::Nul);
    }
    str::from_utf8(bytes).map_err(|error| Reason::NotUtf8 {
        byte: error.valid_up_to() + 1,
    })
}

/// The names of a row's fields.
pub(crate) fn keys(row: &Object) -> Vec<String> {
    row.keys().cloned().collect()
}
