//! Parts of a set of rows by what they have in common: where they are from, how long they are, in what language, or what a
//! key of theirs says. A score of all rows hides a part that became worse.

use std::str::FromStr;

use hone_data::{Body, Record};
use hone_text::Role;
use serde_json::Value;

use super::questions::Question;

/// What rows are parted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SliceBy {
    /// Their task.
    Task,
    /// The collection that they are from, or their file.
    Source,
    /// The words of what is asked.
    Length,
    /// The language of what is asked.
    Language,
    /// A key of the rows of a task.
    Key(String),
}

impl FromStr for SliceBy {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "task" => Self::Task,
            "source" => Self::Source,
            "length" => Self::Length,
            "language" => Self::Language,
            "" => {
                return Err(
                    "it is task, source, length, language or a key of a task's rows".into(),
                );
            }
            key => Self::Key(key.into()),
        })
    }
}

impl std::fmt::Display for SliceBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Task => "task",
            Self::Source => "source",
            Self::Length => "length",
            Self::Language => "language",
            Self::Key(key) => key,
        })
    }
}

impl SliceBy {
    /// The part that a row belongs to; `None` for a key, which rows to train on have none of.
    pub fn of_record(&self, record: &Record) -> Option<String> {
        let asked = || match &record.body {
            Body::Chat(chat) => {
                let asked = chat.turns.iter().rfind(|turn| turn.role == Role::User);
                asked.map_or("", |turn| turn.text.as_str())
            }
            Body::Text(text) => text,
            Body::Preference(_) | Body::Unpaired(_) => "",
        };
        Some(match self {
            Self::Task => record.task.clone(),
            Self::Source => match &record.origin {
                Some(origin) => origin.clone(),
                None => file_name(&record.source.file),
            },
            Self::Length => length_of(asked()).to_owned(),
            Self::Language => language_of(asked()),
            Self::Key(_) => return None,
        })
    }

    /// The part that a question belongs to; `None` where its row has no such key.
    pub fn of_question(&self, task: &str, question: &Question) -> Option<String> {
        Some(match self {
            Self::Task => task.to_owned(),
            Self::Source => file_name(&question.source.file),
            Self::Length => length_of(&question.asked).to_owned(),
            Self::Language => language_of(&question.asked),
            Self::Key(key) => match question.fields.get(key)? {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            },
        })
    }
}

fn file_name(file: &std::path::Path) -> String {
    let name = file.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// How many words a text has, in steps that a table can show.
fn length_of(text: &str) -> &'static str {
    match text.split_whitespace().count() {
        0..=10 => "1: up to 10 words",
        11..=30 => "2: 11 to 30 words",
        31..=100 => "3: 31 to 100 words",
        101..=300 => "4: 101 to 300 words",
        _ => "5: over 300 words",
    }
}

/// The language of a text by its ISO code, where it can be told.
fn language_of(text: &str) -> String {
    let found = whatlang::detect(text).filter(whatlang::Info::is_reliable);
    found.map_or_else(
        || "not told".to_owned(),
        |info| info.lang().code().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_parted_by_length_and_language() {
        assert_eq!(length_of("one two"), "1: up to 10 words");
        assert_eq!(length_of(&"word ".repeat(11)), "2: 11 to 30 words");
        assert_eq!(length_of(&"word ".repeat(301)), "5: over 300 words");
        let german =
            "Der Hund läuft über die Straße und bellt den Briefträger an, der gerade kommt.";
        assert_eq!(language_of(german), "deu");
        assert_eq!(language_of("42"), "not told");
    }

    #[test]
    fn other_names_are_keys() {
        assert_eq!("length".parse(), Ok(SliceBy::Length));
        assert_eq!("topic".parse(), Ok(SliceBy::Key("topic".into())));
        assert_eq!(SliceBy::Key("topic".into()).to_string(), "topic");
    }
}
