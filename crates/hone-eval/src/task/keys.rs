//! The keys of a task file, taken out one by one; what is left over is refused with the nearest key that there is.

use std::path::Path;

use hone_data::nearest::nearest;
use hone_ledger::words::quoted;
use serde_json::{Map, Value};

use super::TaskError;

/// The keys of one table of a file.
pub(super) struct Keys<'a> {
    file: &'a Path,
    /// What the table is called in messages: `few-shot.` or nothing.
    within: String,
    map: Map<String, Value>,
    known: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    pub fn new(file: &'a Path, map: Map<String, Value>) -> Self {
        Self {
            file,
            within: String::new(),
            map,
            known: Vec::new(),
        }
    }

    pub fn file(&self) -> &'a Path {
        self.file
    }

    /// What a key holds; what is null is not there.
    pub fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.map.shift_remove(key).filter(|value| !value.is_null())
    }

    /// The same of a key that nobody should be pointed to.
    pub fn take_unnamed(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key).filter(|value| !value.is_null())
    }

    pub fn wrong(&self, key: &str, what: impl Into<String>) -> TaskError {
        TaskError::key(self.file, format!("{}{key}", self.within), what, None)
    }

    pub fn wrong_with(
        &self,
        key: &str,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> TaskError {
        let key = format!("{}{key}", self.within);
        TaskError::key(self.file, key, what, Some(hint.into()))
    }

    fn must_be(&self, key: &str, what: &str, found: &Value) -> TaskError {
        self.wrong(
            key,
            format!("must be {what}, not {}", quoted(&found.to_string())),
        )
    }

    pub fn text(&mut self, key: &'static str) -> Result<Option<String>, TaskError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.must_be(key, "a text", &other)),
        }
    }

    /// A text, or a number as a text: versions are both.
    pub fn word(&mut self, key: &'static str) -> Result<Option<String>, TaskError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(other) => Err(self.must_be(key, "a text or a number", &other)),
        }
    }

    pub fn number(&mut self, key: &'static str) -> Result<Option<usize>, TaskError> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => match value.as_u64().and_then(|number| number.try_into().ok()) {
                Some(number) => Ok(Some(number)),
                None => Err(self.must_be(key, "a whole number", &value)),
            },
        }
    }

    pub fn real(&mut self, key: &'static str) -> Result<Option<f64>, TaskError> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.must_be(key, "a number", &value)),
            },
        }
    }

    pub fn flag(&mut self, key: &'static str) -> Result<Option<bool>, TaskError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(self.must_be(key, "true or false", &other)),
        }
    }

    /// A text or a list of texts.
    pub fn texts(&mut self, key: &'static str) -> Result<Option<Vec<String>>, TaskError> {
        let wrong =
            |keys: &Self, value: &Value| keys.must_be(key, "a text or a list of texts", value);
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(vec![text])),
            Some(Value::Array(items)) => {
                let text = |item: &Value| {
                    let text = item.as_str().map(str::to_owned);
                    text.ok_or_else(|| wrong(self, item))
                };
                items.iter().map(text).collect::<Result<_, _>>().map(Some)
            }
            Some(other) => Err(wrong(self, &other)),
        }
    }

    pub fn list(&mut self, key: &'static str) -> Result<Option<Vec<Value>>, TaskError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(self.must_be(key, "a list", &other)),
        }
    }

    /// A table within this one.
    pub fn table(&mut self, key: &'static str) -> Result<Option<Keys<'a>>, TaskError> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => self.within(key, value).map(Some),
        }
    }

    /// A value that must be a table, named as a part of this one.
    pub fn within(&self, key: &str, value: Value) -> Result<Keys<'a>, TaskError> {
        match value {
            Value::Object(map) => Ok(Keys {
                file: self.file,
                within: format!("{}{key}.", self.within),
                map,
                known: Vec::new(),
            }),
            other => Err(self.must_be(key, "a table of keys", &other)),
        }
    }

    /// Is there such a key?
    pub fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Refuses what is left over.
    pub fn finish(self) -> Result<(), TaskError> {
        let Some(key) = self.map.keys().next() else {
            return Ok(());
        };
        let near = nearest(key, self.known.iter().copied());
        let near = near.map(|near| format!("did you mean `{near}`?"));
        let known = match self.known.is_empty() {
            true => None,
            false => Some(format!("known keys: {}", self.known.join(", "))),
        };
        Err(TaskError::UnknownKey {
            file: self.file.into(),
            key: format!("{}{key}", self.within),
            hints: near.into_iter().chain(known).collect(),
        })
    }
}
