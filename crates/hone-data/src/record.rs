//! One row of a dataset, where it came from, and why a row may be dropped.

use hone_ledger::words::{quoted, quoted_to};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use hone_ledger::ContentId;
use hone_text::{Conversation, RenderError, Role, Turn};
use serde_json::{Value, json};

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
    /// How often it is trained on in an epoch: mixtures repeat rows.
    pub copies: usize,
    /// What is trained on.
    pub body: Body,
    /// Where it was read.
    pub source: Source,
}

/// A conversation whose replies are trained on, a text that is trained on whole, or two replies to choose between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Only the assistant's turns are supervised.
    Chat(Conversation),
    /// Everything is supervised.
    Text(String),
    /// A better and a worse way to go on; curated and kept, not yet trained on.
    Preference(Preference),
    /// A reply that is said to be good or bad; curated and kept, not yet trained on.
    Unpaired(Unpaired),
}

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A conversation.
    Chat,
    /// A text that is trained on whole.
    Text,
    /// A preference pair.
    Preference,
    /// A reply that is said to be good or bad.
    Unpaired,
}

impl Kind {
    /// Is there something that trains on it?
    pub fn is_trained_on(self) -> bool {
        matches!(self, Self::Chat | Self::Text)
    }

    /// Its name, for several.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "conversations",
            Self::Text => "texts",
            Self::Preference => "preference pairs",
            Self::Unpaired => "unpaired preferences",
        }
    }
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

/// A conversation whose last replies are said to be good or bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpaired {
    /// The prompt and what answers it.
    pub conversation: Conversation,
    /// How many of the turns are the prompt.
    pub num_prompt: usize,
    /// Is the answer a good one?
    pub is_good: bool,
}

/// One text of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Which one.
    pub place: Place,
    /// Who says it; `None` for a text trained on whole.
    pub role: Option<Role>,
    /// What it says.
    pub text: &'a str,
    /// Is it trained on, and not only read?
    pub is_supervised: bool,
}

/// Which text of a record. Turns are counted from 0 here, and from 1 where people read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The text itself.
    Text,
    /// A turn of the conversation, or of a preference's prompt.
    Turn(usize),
    /// A text among what a turn tells the tools it calls.
    Argument {
        /// The turn.
        turn: usize,
        /// Which of the texts of all its calls.
        index: usize,
    },
    /// A turn of the better continuation.
    Chosen(usize),
    /// A turn of the worse one.
    Rejected(usize),
    /// The reasoning of a turn of the conversation, or of a preference's prompt.
    Reasoning(usize),
    /// The reasoning of a turn of the better continuation.
    ChosenReasoning(usize),
    /// The reasoning of a turn of the worse one.
    RejectedReasoning(usize),
    /// The task; like what follows it stands beside the texts, see [`Record::beside`].
    Task,
    /// The group.
    Group,
    /// The collection.
    Origin,
    /// The licence.
    Licence,
    /// A name, an id or a number of a turn or a call.
    Detail(usize),
    /// A text or a number in the definitions of the tools.
    Tool(usize),
}

/// A file and a line in it, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The file as it was named.
    pub file: Arc<Path>,
    /// The line on which the row starts.
    pub line: usize,
    /// Which row of its file it is, from 1, where several stand on one line.
    pub row: Option<usize>,
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
    #[error("not JSON: {}", quoted(what))]
    NotJson { what: String },
    #[error("not valid UTF-8 from byte {byte} of the line")]
    NotUtf8 { byte: usize },
    #[error("holds a NUL character")]
    Nul,
    #[error("the line is {bytes} bytes long; the limit is {limit}")]
    LineTooLong { bytes: usize, limit: usize },
    #[error("the row is {bytes} bytes long; the limit is {limit}")]
    RowTooLong { bytes: usize, limit: usize },
    #[error("has {found} cells, where the header names {columns} columns")]
    Width { found: usize, columns: usize },
    #[error("not an object but {found}")]
    NotAnObject { found: &'static str },
    #[error("of no known shape (keys: {})", quoted_to(&keys.join(", "), 300))]
    UnknownShape { keys: Vec<String> },
    #[error("of shape {found}, while the file is {file}")]
    OtherShape { found: Shape, file: Shape },
    #[error("`{}` {}", quoted(field), quoted_to(problem, 300))]
    Field { field: String, problem: String },
    #[error("{tokens} tokens long; the limit is {limit}")]
    TooLong { tokens: usize, limit: usize },
    #[error("the prompt alone fills the limit of {limit} tokens ({tokens} in all)")]
    PromptTooLong { tokens: usize, limit: usize },
    #[error("a preference pair: nothing trains on them yet")]
    Preference,
    #[error("an unpaired preference (a reply with a label): nothing trains on them yet")]
    Unpaired,
    #[error("has no supervised token: no reply of the assistant, or each with weight 0")]
    NothingSupervised,
    #[error(transparent)]
    Render(#[from] RenderError),
}

impl Reason {
    /// What is told of the row's shape by one of its keys, if it is.
    pub(crate) fn told_by_a_key(&self) -> Option<String> {
        matches!(self, Self::Field { .. }).then(|| self.to_string())
    }
}

impl Reason {
    /// A name for all reasons of this kind, by which rows are counted.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotJson { .. } => "not-json",
            Self::NotUtf8 { .. } | Self::Nul => "not-text",
            Self::LineTooLong { .. } | Self::RowTooLong { .. } => "too-many-bytes",
            Self::Width { .. } => "wrong-number-of-cells",
            Self::NotAnObject { .. } => "not-an-object",
            Self::UnknownShape { .. } => "unknown-shape",
            Self::OtherShape { .. } => "other-shape",
            Self::Field { .. } => "key",
            Self::TooLong { .. } | Self::PromptTooLong { .. } => "too-long",
            Self::Preference => "preference-pair",
            Self::Unpaired => "unpaired-preference",
            Self::NothingSupervised => "no-reply",
            Self::Render(_) => "not-rendered",
        }
    }

    /// What to do about it that the row itself does not say.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Render(error) => error.hints(),
            _ => Vec::new(),
        }
    }

    /// How long the row is, where that is the reason.
    pub fn tokens(&self) -> Option<usize> {
        match self {
            Self::TooLong { tokens, .. } | Self::PromptTooLong { tokens, .. } => Some(*tokens),
            _ => None,
        }
    }

    /// Is the row too long for the limit that it was encoded under?
    pub fn is_too_long(&self) -> bool {
        matches!(self, Self::TooLong { .. } | Self::PromptTooLong { .. })
    }
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
    /// The id of what is trained on: equal text has equal ids, wherever it was read.
    pub fn content_id(&self) -> ContentId {
        let body = serde_json::to_vec(&self.body.as_line()).expect("keys are texts");
        ContentId::of(&body)
    }

    /// All its texts, first to last.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> + use<'_> {
        self.body.parts()
    }

    /// The text at a place.
    pub fn text(&self, place: Place) -> Option<&str> {
        self.parts()
            .find(|part| part.place == place)
            .map(|part| part.text)
    }

    /// The text at a place, to be changed.
    pub fn text_mut(&mut self, place: Place) -> Option<&mut String> {
        match (&mut self.body, place) {
            (Body::Text(text), Place::Text) => Some(text),
            (body, Place::Argument { turn, index }) => {
                let turn = body.turn_mut(Place::Turn(turn))?;
                turn.arguments_mut().nth(index)
            }
            (body, place) => match place.turn_of_reasoning() {
                Some(of_turn) => body.turn_mut(of_turn)?.reasoning.as_mut(),
                None => body.turn_mut(place).map(|turn| &mut turn.text),
            },
        }
    }

    /// The same as [`Record::to_line`] writes it, as a value.
    ///
    /// # Panics
    /// Never: all keys are texts.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self.as_line()).expect("keys are texts")
    }
}

impl Body {
    /// What it is for.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Chat(_) => Kind::Chat,
            Self::Text(_) => Kind::Text,
            Self::Preference(_) => Kind::Preference,
            Self::Unpaired(_) => Kind::Unpaired,
        }
    }

    /// All its texts, first to last, with who says them.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part<'_>> + use<'_> {
        let whole = self.whole().map(|text| Part {
            place: Place::Text,
            role: None,
            text,
            is_supervised: true,
        });
        whole.into_iter().chain(self.turns().flat_map(parts))
    }

    /// All its texts, first to last.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts().map(|part| part.text)
    }

    /// The conversation of which places speak, if it is one.
    fn conversation(&self) -> Option<&Conversation> {
        match self {
            Self::Chat(chat) => Some(chat),
            Self::Unpaired(judged) => Some(&judged.conversation),
            _ => None,
        }
    }

    /// The turn whose text stands at a place.
    fn turn_mut(&mut self, place: Place) -> Option<&mut Turn> {
        let (turns, index) = match (self, place) {
            (Self::Chat(chat), Place::Turn(index)) => (&mut chat.turns, index),
            (Self::Unpaired(judged), Place::Turn(index)) => (&mut judged.conversation.turns, index),
            (Self::Preference(pair), Place::Turn(index)) => (&mut pair.prompt.turns, index),
            (Self::Preference(pair), Place::Chosen(index)) => (&mut pair.chosen.turns, index),
            (Self::Preference(pair), Place::Rejected(index)) => (&mut pair.rejected.turns, index),
            _ => return None,
        };
        turns.get_mut(index)
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
            Self::Text(_) | Self::Chat(_) | Self::Unpaired(_) => {
                let turns = self.conversation().map_or(&[][..], |chat| &chat.turns);
                [
                    (Place::Turn, turns),
                    (Place::Chosen, &[]),
                    (Place::Rejected, &[]),
                ]
            }
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

/// What a turn thinks, says, and tells tools. A turn that only calls says nothing.
fn parts((place, turn): (Place, &Turn)) -> impl Iterator<Item = Part<'_>> {
    let part = |place, text| Part {
        place,
        role: Some(turn.role),
        text,
        is_supervised: turn.role == Role::Assistant && turn.is_supervised,
    };
    let reasoning = turn.reasoning.as_deref();
    let reasoning = reasoning.zip(place.reasoning());
    let reasoning = reasoning.map(|(text, place)| part(place, text));
    let said = turn.calls.is_empty() || !turn.text.is_empty();
    let text = said.then(|| part(place, turn.text.as_str()));
    let arguments = turn
        .arguments()
        .enumerate()
        .filter_map(move |(index, text)| {
            let Place::Turn(turn) = place else {
                return None;
            };
            Some(part(Place::Argument { turn, index }, text))
        });
    reasoning.into_iter().chain(text).chain(arguments)
}

impl Place {
    /// Does the text stand in the continuation that is not wanted?
    pub fn is_rejected(self) -> bool {
        matches!(self, Self::Rejected(_) | Self::RejectedReasoning(_))
    }

    /// Is it what somebody thinks before they answer?
    pub fn is_reasoning(self) -> bool {
        self.turn_of_reasoning().is_some()
    }

    /// The place of the text whose reasoning stands here.
    fn turn_of_reasoning(self) -> Option<Self> {
        match self {
            Self::Reasoning(turn) => Some(Self::Turn(turn)),
            Self::ChosenReasoning(turn) => Some(Self::Chosen(turn)),
            Self::RejectedReasoning(turn) => Some(Self::Rejected(turn)),
            _ => None,
        }
    }

    /// The place of the reasoning of the turn whose text stands here.
    fn reasoning(self) -> Option<Self> {
        match self {
            Self::Turn(turn) => Some(Self::Reasoning(turn)),
            Self::Chosen(turn) => Some(Self::ChosenReasoning(turn)),
            Self::Rejected(turn) => Some(Self::RejectedReasoning(turn)),
            _ => None,
        }
    }
}

impl Part<'_> {
    /// Is this text trained on, and not only read?
    pub fn is_supervised(&self) -> bool {
        self.is_supervised
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Turn(index) => write!(f, "turn {}", index + 1),
            Self::Argument { turn, index } => {
                write!(f, "turn {}, argument {}", turn + 1, index + 1)
            }
            Self::Chosen(index) => write!(f, "chosen turn {}", index + 1),
            Self::Rejected(index) => write!(f, "rejected turn {}", index + 1),
            Self::Reasoning(index) => write!(f, "turn {}, reasoning", index + 1),
            Self::ChosenReasoning(index) => write!(f, "chosen turn {}, reasoning", index + 1),
            Self::RejectedReasoning(index) => write!(f, "rejected turn {}, reasoning", index + 1),
            Self::Task => f.write_str("task"),
            Self::Group => f.write_str("group"),
            Self::Origin => f.write_str("origin"),
            Self::Licence => f.write_str("licence"),
            Self::Detail(index) => write!(f, "name, id or number {} of the turns", index + 1),
            Self::Tool(index) => write!(f, "tools, value {}", index + 1),
        }
    }
}

impl From<Conversation> for Record {
    /// A conversation as a row of no file.
    fn from(conversation: Conversation) -> Self {
        Self {
            task: String::new(),
            group: None,
            origin: None,
            licence: None,
            copies: 1,
            body: Body::Chat(conversation),
            source: Source::new("", 1),
        }
    }
}

impl Source {
    /// A line of a file.
    pub fn new(file: impl AsRef<Path>, line: usize) -> Self {
        Self {
            file: Arc::from(file.as_ref()),
            line,
            row: None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)?;
        match self.row {
            Some(row) => write!(f, " (row {row})"),
            None => Ok(()),
        }
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
            copies: 1,
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

    fn called(arguments: &str, more: &str) -> Record {
        let row = r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": ARGUMENTS}}]MORE}]}"#;
        let row = row.replace("ARGUMENTS", arguments).replace("MORE", more);
        Record::from_json(&row).unwrap()
    }

    #[test]
    fn ids_of_plain_rows_know_nothing_of_calls_and_ids_of_calls_see_every_character() {
        let plain = r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 1}]}"#;
        let id = Record::from_json(plain).unwrap().content_id();
        let written =
            r#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}"#;
        assert_eq!(id, ContentId::of(written.as_bytes()));
        let ids = [
            called(r#"{"a": "x"}"#, ""),
            called(r#"{"a": "y"}"#, ""),
            called(r#"{"b": "x"}"#, ""),
            called(r#"{"a": "x"}"#, r#", "weight": 0"#),
        ];
        let ids: std::collections::BTreeSet<_> = ids.iter().map(Record::content_id).collect();
        assert_eq!(ids.len(), 4);
    }

    #[test]
    fn a_record_read_back_from_its_row_is_the_same() {
        let mut record = called(r#"{"a": ["x", 1]}"#, r#", "weight": 0"#);
        record.task = "t".into();
        let row = record.to_json().to_string();
        assert_eq!(Record::from_json(&row).unwrap().body, record.body);
    }

    #[test]
    fn what_tools_are_told_are_parts_that_can_be_changed() {
        let mut record = called(r#"{"a": ["x", 1, {"b": "y"}]}"#, "");
        let told = |record: &Record| {
            let parts = record.parts();
            parts
                .map(|part| {
                    (
                        part.place.to_string(),
                        part.text.to_owned(),
                        part.is_supervised(),
                    )
                })
                .collect::<Vec<_>>()
        };
        let part = |place: &str, text: &str, is_supervised| {
            (place.to_owned(), text.to_owned(), is_supervised)
        };
        let expected = [
            part("turn 1", "q", false),
            part("turn 2, argument 1", "x", true),
            part("turn 2, argument 2", "y", true),
        ];
        assert_eq!(told(&record), expected);
        *record
            .text_mut(Place::Argument { turn: 1, index: 1 })
            .unwrap() = "z".into();
        assert_eq!(
            record.text(Place::Argument { turn: 1, index: 1 }),
            Some("z")
        );
        assert!(
            told(&called("{}", r#", "weight": 0, "content": "hm""#))
                .iter()
                .all(|part| !part.2)
        );
    }

    #[test]
    fn reasoning_is_a_part_of_the_row_that_ids_see_and_that_can_be_changed() {
        let row = |reasoning: &str| {
            let row = r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"REASONING}]}"#;
            Record::from_json(&row.replace("REASONING", reasoning)).unwrap()
        };
        let plain = row("");
        let mut thought = row(r#", "thinking": "hm""#);
        assert_ne!(plain.content_id(), thought.content_id());
        assert_ne!(
            row(r#", "thinking": "so""#).content_id(),
            thought.content_id()
        );
        let same = row(r#", "reasoning_content": "hm""#);
        assert_eq!(same.content_id(), thought.content_id());
        assert_eq!(row(r#", "reasoning": """#).content_id(), plain.content_id());
        let parts: Vec<_> = thought.parts().collect();
        assert_eq!(parts[1].place.to_string(), "turn 2, reasoning");
        assert_eq!((parts[1].text, parts[1].is_supervised), ("hm", true));
        thought.task = "t".into();
        *thought.text_mut(Place::Reasoning(1)).unwrap() = "so".into();
        assert_eq!(thought.text(Place::Reasoning(1)), Some("so"));
        let written = thought.to_json().to_string();
        assert_eq!(Record::from_json(&written).unwrap().body, thought.body);
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
