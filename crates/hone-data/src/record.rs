//! One row of a dataset, where it came from, and why a row may be set aside.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use hone_ledger::ContentId;
use hone_text::{Conversation, RenderError, Role, Turn};
use serde_json::{Map, Value, json};

use crate::Shape;

/// Something to learn from, and its provenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The task it belongs to; losses and scores are reported per task.
    pub task: String,
    /// Rows of one group never stand on both sides of a split.
    pub group: Option<String>,
    /// The collection it belongs to, where one was named.
    pub origin: Option<String>,
    /// The licence its text is under, as an SPDX expression, where it is known.
    pub licence: Option<String>,
    /// What is learnt.
    pub body: Body,
    /// Where it was read.
    pub source: Source,
}

/// A conversation whose replies are learnt, a text that is learnt whole, or two replies to choose between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Only the assistant's turns are supervised.
    Chat(Conversation),
    /// Everything is supervised.
    Text(String),
    /// A better and a worse way to go on; curated and kept, not yet trained on.
    Preference(Preference),
}

/// Two ways to go on from one prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preference {
    /// What both answer.
    pub prompt: Conversation,
    /// The better way to go on.
    pub chosen: Conversation,
    /// The worse one.
    pub rejected: Conversation,
}

/// One text of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Which one.
    pub place: Place,
    /// Who says it; `None` for a text learnt whole.
    pub role: Option<Role>,
    /// What it says.
    pub text: &'a str,
}

/// Which text of a record. Turns are counted from 0 here, and from 1 where people read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The text itself.
    Text,
    /// A turn of the conversation, or of a preference's prompt.
    Turn(usize),
    /// A turn of the better continuation.
    Chosen(usize),
    /// A turn of the worse one.
    Rejected(usize),
}

/// A file and a line in it, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The file as it was named.
    pub file: Arc<Path>,
    /// The line on which the row starts.
    pub line: usize,
}

/// A row that is not used.
#[derive(Debug)]
pub struct Refused {
    /// Where it stands.
    pub source: Source,
    /// Why it is not used.
    pub reason: Reason,
}

/// Why a row is not used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says what each field is
pub enum Reason {
    #[error("not JSON: {what}")]
    NotJson { what: String },
    #[error("not valid UTF-8 from byte {byte} of the line")]
    NotUtf8 { byte: usize },
    #[error("holds a NUL character")]
    Nul,
    #[error("the line is {bytes} bytes long; the limit is {limit}")]
    LineTooLong { bytes: usize, limit: usize },
    #[error("not an object but {found}")]
    NotAnObject { found: &'static str },
    #[error("of no known shape (keys: {})", keys.join(", "))]
    UnknownShape { keys: Vec<String> },
    #[error("of shape {found}, while the file is {file}")]
    OtherShape { found: Shape, file: Shape },
    #[error("`{field}` {problem}")]
    Field { field: String, problem: String },
    #[error("{tokens} tokens long; the limit is {limit}")]
    TooLong { tokens: usize, limit: usize },
    #[error("the prompt alone fills the limit of {limit} tokens ({tokens} in all)")]
    PromptTooLong { tokens: usize, limit: usize },
    #[error("a pair of preferences: there is nothing yet that trains on them")]
    Preference,
    #[error("has no token to learn from (no reply of the assistant)")]
    NothingSupervised,
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// How many rows of one task come from one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The task.
    pub task: String,
    /// The file.
    pub file: Arc<Path>,
    /// Rows.
    pub rows: usize,
}

impl Record {
    /// The id of what is learnt: equal text has equal ids, wherever it was read.
    pub fn content_id(&self) -> ContentId {
        ContentId::of(self.body.to_json().to_string().as_bytes())
    }

    /// All its texts, first to last.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> + use<'_> {
        let whole = self.body.whole().map(|text| Part {
            place: Place::Text,
            role: None,
            text,
        });
        let turns = self.body.turns().map(|(place, turn)| Part {
            place,
            role: Some(turn.role),
            text: &turn.text,
        });
        whole.into_iter().chain(turns)
    }

    /// The text at a place.
    pub fn text(&self, place: Place) -> Option<&str> {
        self.parts()
            .find(|part| part.place == place)
            .map(|part| part.text)
    }

    /// The text at a place, to be changed.
    pub fn text_mut(&mut self, place: Place) -> Option<&mut String> {
        let (turns, index) = match (&mut self.body, place) {
            (Body::Text(text), Place::Text) => return Some(text),
            (Body::Chat(chat), Place::Turn(index)) => (&mut chat.turns, index),
            (Body::Preference(pair), Place::Turn(index)) => (&mut pair.prompt.turns, index),
            (Body::Preference(pair), Place::Chosen(index)) => (&mut pair.chosen.turns, index),
            (Body::Preference(pair), Place::Rejected(index)) => (&mut pair.rejected.turns, index),
            _ => return None,
        };
        turns.get_mut(index).map(|turn| &mut turn.text)
    }

    /// The record as a row of a dataset: its labels and its text, in a fixed order.
    pub fn to_json(&self) -> Value {
        let labels = [
            ("task", Some(&self.task)),
            ("group", self.group.as_ref()),
            ("origin", self.origin.as_ref()),
            ("licence", self.licence.as_ref()),
        ];
        let labels = labels
            .into_iter()
            .filter_map(|(name, label)| Some((name.to_owned(), label?.as_str().into())));
        let mut row: Map<String, Value> = labels.collect();
        if let Value::Object(body) = self.body.to_json() {
            row.extend(body);
        }
        row.into()
    }
}

impl Body {
    fn to_json(&self) -> Value {
        match self {
            Self::Chat(conversation) => json!({ "messages": conversation }),
            Self::Text(text) => json!({ "text": text }),
            Self::Preference(pair) => {
                json!({ "prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected })
            }
        }
    }

    fn whole(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn turns(&self) -> impl Iterator<Item = (Place, &Turn)> {
        type Named<'a> = (fn(usize) -> Place, &'a [Turn]);
        let lists: [Named<'_>; 3] = match self {
            Self::Text(_) => [
                (Place::Turn, &[]),
                (Place::Chosen, &[]),
                (Place::Rejected, &[]),
            ],
            Self::Chat(chat) => [
                (Place::Turn, &chat.turns),
                (Place::Chosen, &[]),
                (Place::Rejected, &[]),
            ],
            Self::Preference(pair) => [
                (Place::Turn, &pair.prompt.turns),
                (Place::Chosen, &pair.chosen.turns),
                (Place::Rejected, &pair.rejected.turns),
            ],
        };
        lists.into_iter().flat_map(|(place, turns)| {
            turns
                .iter()
                .enumerate()
                .map(move |(index, turn)| (place(index), turn))
        })
    }
}

impl Part<'_> {
    /// Is this text learnt, and not only read?
    pub fn is_learnt(&self) -> bool {
        matches!(self.role, None | Some(Role::Assistant))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Turn(index) => write!(f, "turn {}", index + 1),
            Self::Chosen(index) => write!(f, "chosen turn {}", index + 1),
            Self::Rejected(index) => write!(f, "rejected turn {}", index + 1),
        }
    }
}

impl Source {
    /// A line of a file.
    pub fn new(file: impl AsRef<Path>, line: usize) -> Self {
        Self {
            file: Arc::from(file.as_ref()),
            line,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.reason)
    }
}

/// The id of a set of rows, whatever their order and files.
pub fn dataset_id(records: &[Record]) -> ContentId {
    let row = |record: &Record| json!([record.task, record.group, record.content_id()]).to_string();
    let mut rows: Vec<String> = records.iter().map(row).collect();
    rows.sort_unstable();
    ContentId::of(rows.join("\n").as_bytes())
}

/// Rows per task and file, in the order of their names.
pub fn counts(records: &[Record]) -> Vec<Count> {
    let mut rows: BTreeMap<(&str, &Arc<Path>), usize> = BTreeMap::new();
    for record in records {
        *rows.entry((&record.task, &record.source.file)).or_default() += 1;
    }
    let count = |((task, file), rows): ((&str, &Arc<Path>), usize)| Count {
        task: task.to_owned(),
        file: file.clone(),
        rows,
    };
    rows.into_iter().map(count).collect()
}

#[cfg(test)]
mod tests {
    use hone_text::{Role, Turn};

    use super::*;

    fn record(task: &str, file: &str, text: &str) -> Record {
        Record {
            task: task.into(),
            group: None,
            origin: None,
            licence: None,
            body: Body::Text(text.into()),
            source: Source::new(file, 1),
        }
    }

    #[test]
    fn a_dataset_id_sees_every_character_but_no_order_and_no_file() {
        let rows = [record("t", "a", "one"), record("t", "a", "two")];
        let moved = [record("t", "b", "two"), record("t", "b", "one")];
        assert_eq!(dataset_id(&rows), dataset_id(&moved));
        assert_ne!(
            dataset_id(&rows),
            dataset_id(&[record("t", "a", "one"), record("t", "a", "twO")])
        );
        assert_ne!(
            dataset_id(&rows),
            dataset_id(&[record("u", "a", "one"), record("t", "a", "two")])
        );
        assert_ne!(dataset_id(&rows), dataset_id(&rows[..1]));
    }

    #[test]
    fn one_character_of_one_turn_changes_the_content_id() {
        let chat = |text: &str| Record {
            body: Body::Chat(Conversation::new([
                Turn::new(Role::User, "q"),
                Turn::new(Role::Assistant, text),
            ])),
            ..record("t", "a", "")
        };
        assert_ne!(chat("a").content_id(), chat("b").content_id());
        assert_eq!(chat("a").content_id(), chat("a").content_id());
    }

    #[test]
    fn rows_are_counted_per_task_and_file() {
        let rows = [
            record("b", "x", "1"),
            record("a", "x", "2"),
            record("b", "x", "3"),
            record("b", "y", "4"),
        ];
        let seen: Vec<_> = counts(&rows)
            .iter()
            .map(|c| (c.task.clone(), c.file.display().to_string(), c.rows))
            .collect();
        assert_eq!(
            seen,
            [
                ("a".into(), "x".into(), 1),
                ("b".into(), "x".into(), 2),
                ("b".into(), "y".into(), 1)
            ]
        );
    }
}
