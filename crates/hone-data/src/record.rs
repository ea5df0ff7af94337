//! One row of a dataset, where it came from, and why a row may be set aside.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use hone_ledger::ContentId;
use hone_text::{Conversation, RenderError};
use serde_json::json;

use crate::Shape;

/// Something to learn from, and its provenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The task it belongs to; losses and scores are reported per task.
    pub task: String,
    /// Rows of one group never stand on both sides of a split.
    pub group: Option<String>,
    /// What is learnt.
    pub body: Body,
    /// Where it was read.
    pub source: Source,
}

/// A conversation whose replies are learnt, or a text that is learnt whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Only the assistant's turns are supervised.
    Chat(Conversation),
    /// Everything is supervised.
    Text(String),
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
        let canonical = match &self.body {
            Body::Chat(conversation) => json!({ "messages": conversation }),
            Body::Text(text) => json!({ "text": text }),
        };
        ContentId::of(canonical.to_string().as_bytes())
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
