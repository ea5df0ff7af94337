//! JSON as rows and their texts hold it: no key twice, no half of a character, and reasons that say where.

use serde_json::error::Category;
use serde_json::{Map, Value};

use crate::Reason;
use crate::value::kind;
pub(crate) use unique::Unique;

mod unique;

/// A row's fields, in their order.
pub(crate) type Object = Map<String, Value>;

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
