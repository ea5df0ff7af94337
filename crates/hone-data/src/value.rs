//! What a value of a row is, whatever its key: a text, a name, a list, nothing; or the reason why it cannot be one.

use serde_json::Value;

use crate::Reason;

/// A name of the wire: none, or a text.
pub(crate) fn name(value: Option<&Value>, place: &str) -> Result<Option<String>, Reason> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => checked(name, place).map(Some),
        Some(other) => Err(field(place, format!("must be text, not {}", kind(other)))),
    }
}

/// A text, or a list of `{"type": "text", "text": …}` parts put together.
pub(crate) fn content(value: &Value, place: &str) -> Result<String, Reason> {
    match value {
        Value::String(text) => checked(text, place),
        Value::Array(parts) => parts
            .iter()
            .enumerate()
            .map(|(index, part)| match (&part["type"], &part["text"]) {
                (Value::String(kind), Value::String(text)) if kind == "text" => {
                    checked(text, place)
                }
                (Value::String(kind), _) => Err(field(
                    &format!("{place}[{index}]"),
                    format!("is of type `{kind}`; only text is supported"),
                )),
                _ => Err(field(
                    &format!("{place}[{index}]"),
                    "needs `type` and `text`",
                )),
            })
            .collect(),
        other => Err(field(place, format!("must be text, not {}", kind(other)))),
    }
}

/// A value that must be a text.
pub(crate) fn text(value: &Value, key: &str) -> Result<String, Reason> {
    match value {
        Value::String(text) => checked(text, key),
        other => Err(field(key, format!("must be text, not {}", kind(other)))),
    }
}

/// A text if it holds no NUL.
pub(crate) fn checked(text: &str, place: &str) -> Result<String, Reason> {
    match text.contains('\0') {
        true => Err(field(place, "holds a NUL character")),
        false => Ok(text.to_owned()),
    }
}

/// The items of a list.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>, Reason> {
    value
        .as_array()
        .ok_or_else(|| field(key, format!("must be a list, not {}", kind(value))))
}

/// Is there something in the field, or is it only filled in for form's sake?
pub(crate) fn is_present(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    }
}

/// A reason that names a field.
pub(crate) fn field(field: &str, problem: impl Into<String>) -> Reason {
    Reason::Field {
        field: field.to_owned(),
        problem: problem.into(),
    }
}

/// What a value is, in a reader's words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
