//! What every format comes down to: a row as a JSON object, and the line it starts on.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::error::Category;
use serde_json::{Map, Value};

use super::unique::Unique;
use super::{Format, MAX_LINE_BYTES, ReadError};
use crate::Reason;
use crate::shape::kind;

/// A row's fields, in their order.
pub(crate) type Object = Map<String, Value>;

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

/// The object written in a text.
pub(crate) fn object(text: &str) -> Result<Object, Reason> {
    let Unique(value) = serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Data => Reason::Field {
            field: plain(&error),
            problem: format!(
                "stands twice in one object (column {}), and nobody can tell which of the two is meant",
                error.column()
            ),
        },
        _ => match half_character(text, &error) {
            Some(key) => Reason::Field {
                field: key,
                problem: "holds half of a character: a \\uD800 to \\uDFFF without its other half, as programs write that cut texts between the two; \
                          write the character whole or leave it out"
                    .into(),
            },
            None => Reason::NotJson {
                what: complaint(&error),
            },
        },
    })?;
    match value {
        Value::Object(object) => Ok(object),
        other => Err(Reason::NotAnObject {
            found: kind(&other),
        }),
    }
}

/// The key of the text in which the parser met one half of a surrogate pair, if that is what stopped it.
fn half_character(text: &str, error: &serde_json::Error) -> Option<String> {
    let message = plain(error);
    let is_half = message.contains("surrogate") || message.contains("end of hex escape");
    let before: usize = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum();
    let read = text.get(..(before + error.column()).min(text.len()))?;
    // The parser gives up a little after the half, so what has to be there is an escape of one.
    let escapes = read.rmatch_indices("\\u").take(3);
    let mut escapes = escapes.filter_map(|(at, _)| text.get(at + 2..at + 3));
    (is_half && escapes.any(|digit| digit.eq_ignore_ascii_case("d"))).then(|| last_key(read))
}

/// The key whose value a text of JSON breaks off in, `the row` if it is none.
fn last_key(read: &str) -> String {
    // Of each object that is open, outermost first, the key that was read last.
    let mut keys: Vec<String> = Vec::new();
    let (mut said, mut is_text, mut is_escaped) = (String::new(), false, false);
    for letter in read.chars() {
        match (is_text, letter) {
            (true, letter) if is_escaped => {
                said.push(letter);
                is_escaped = false;
            }
            (true, '\\') => is_escaped = true,
            (true, '"') => is_text = false,
            (true, letter) => said.push(letter),
            (false, '"') => {
                said.clear();
                is_text = true;
            }
            (false, '{') => keys.push(String::new()),
            (false, '}') => drop(keys.pop()),
            (false, ':') => {
                if let Some(key) = keys.last_mut() {
                    *key = std::mem::take(&mut said);
                }
            }
            _ => {}
        }
    }
    let key = keys.pop().filter(|key| !key.is_empty());
    key.unwrap_or_else(|| "the row".to_owned())
}

/// The JSON written in a text of a row, as tables hold it; `None` if the text is none.
///
/// # Errors
/// A key that stands twice in one object of it.
pub(crate) fn json_in(text: &str, place: &str) -> Result<Option<Value>, Reason> {
    match serde_json::from_str(text) {
        Ok(Unique(value)) => Ok(Some(value)),
        Err(error) if error.classify() == Category::Data => Err(Reason::Field {
            field: place.to_owned(),
            problem: format!(
                "is JSON in which `{}` stands twice in one object, and nobody can tell which of the two is meant",
                plain(&error)
            ),
        }),
        Err(_) => Ok(None),
    }
}

/// serde_json's message without its own idea of the line.
pub(crate) fn complaint(error: &serde_json::Error) -> String {
    match (plain(error), error.column()) {
        (plain, 0) => plain,
        (plain, column) => format!("{plain} (column {column})"),
    }
}

/// The message without the position.
fn plain(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    message
        .strip_suffix(&position)
        .unwrap_or(&message)
        .to_owned()
}

/// The names of a row's fields.
pub(crate) fn keys(row: &Object) -> Vec<String> {
    row.keys().cloned().collect()
}
