//! What a task makes of a row: a key of it, a template over it, or what stands in the task itself.

use std::path::Path;

use hone_text::{RowTemplate, RowTemplateError};
use serde_json::{Map, Value};

use super::TaskError;
use super::python_literal::literal;

/// A row's fields.
pub(super) type Row = Map<String, Value>;

/// A text of a task: the name of a key, or a template.
#[derive(Clone, Debug)]
pub(super) struct Text {
    source: String,
    template: RowTemplate,
}

impl Text {
    /// Compiles it; `key` is where it stands in the task.
    pub fn new(file: &Path, key: &'static str, source: String) -> Result<Self, TaskError> {
        let template = RowTemplate::new(&source);
        let template = template.map_err(|source| TaskError::Template {
            file: file.into(),
            key,
            source,
        })?;
        Ok(Self { source, template })
    }

    /// What it is for a row: the key's value as it is, or the text that the template writes.
    pub fn value(&self, row: &Row) -> Result<Value, RowTemplateError> {
        match row.get(&self.source) {
            Some(value) => Ok(value.clone()),
            None => self.template.render(row).map(Value::String),
        }
    }

    /// The same as a text.
    pub fn text(&self, row: &Row) -> Result<String, RowTemplateError> {
        self.value(row).map(|value| shown(&value))
    }

    /// What the template writes, whatever keys the row has.
    pub fn written(&self, row: &Row) -> Result<String, RowTemplateError> {
        self.template.render(row)
    }

    pub fn source(&self) -> &str {
        &self.source
    }
}

/// What the answer is: in the row, or the same for all rows.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Text(Text),
    Fixed(Value),
}

impl Target {
    /// Its value: a number that names a choice, a text, or a list of either. `with_choices` says that digits are a number.
    pub fn value(&self, row: &Row, with_choices: bool) -> Result<Value, RowTemplateError> {
        let text = match self {
            Self::Fixed(value) => return Ok(value.clone()),
            Self::Text(text) if row.contains_key(&text.source) => return text.value(row),
            Self::Text(text) => text.written(row)?,
        };
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(number) = text
            .parse::<u64>()
            .ok()
            .filter(|_| is_number && with_choices)
        {
            return Ok(number.into());
        }
        let is_list = text.len() >= 2 && text.starts_with('[') && text.ends_with(']');
        let list = is_list.then(|| literal(&text)).flatten();
        Ok(list.unwrap_or(Value::String(text)))
    }
}

/// What can be chosen among.
#[derive(Clone, Debug)]
pub(super) enum Choices {
    Text(Text),
    Fixed(Vec<String>),
}

impl Choices {
    /// The choices of a row.
    ///
    /// # Errors
    /// What the template does wrong, or what it gives that is no list of texts.
    pub fn of(&self, row: &Row) -> Result<Vec<String>, String> {
        let text = match self {
            Self::Fixed(choices) => return Ok(choices.clone()),
            Self::Text(text) => text,
        };
        let value = match row.get(text.source()) {
            Some(value) => value.clone(),
            None => {
                let written = text.written(row).map_err(|error| error.to_string())?;
                let shown = || hone_ledger::words::quoted(&written);
                literal(&written).ok_or_else(|| format!("gives no list: {}", shown()))?
            }
        };
        let Value::Array(items) = value else {
            return Err(format!(
                "gives no list: {}",
                hone_ledger::words::quoted(&value.to_string())
            ));
        };
        Ok(items.iter().map(shown).collect())
    }
}

/// A value as Python's `str` shows it, where templates and targets are texts.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        other => other.to_string(),
    }
}
