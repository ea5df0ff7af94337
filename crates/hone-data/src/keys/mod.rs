//! What becomes of every key of a row: used, listed, or a reason to refuse the row.
//!
//! A key that is passed over in silence may have held the context of a question, a verdict on its answer, or
//! the wish not to train on it. So a row is read through [`Fields`], which notes what was taken from it, and
//! whatever is left over is looked up in the tables below. `docs/rows.md` is made from them.

use hone_ledger::words::for_shell;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::value::{field, is_present, kind};
use crate::{Body, Reason};
use judges::may_forbid;
pub use known::{Fate, KnownKeys, MAX_HARMLESS_CHARS, ROW_KEYS, TURN_KEYS};
pub(crate) use known::{MOST_NAMES, refusal_of_file};
use media::{names_media, no_placeholder};

mod judges;
mod known;
mod media;

/// What becomes of properties that are null in the arguments of a call or in the schema of a tool. A table gives every
/// row the properties of all rows, and written as JSON nobody can tell them from those that are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nulls {
    /// They are part of the row.
    Keep,
    /// They are padding.
    Drop,
}

impl Nulls {
    /// Its name in flags and recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Drop => "drop",
        }
    }
}

/// What was found in the keys of a file's rows, and what was said about them beforehand.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// What null properties are; `None` refuses the row.
    nulls: Option<Nulls>,
    /// Keys that are passed over, `turn.NAME` for those of turns.
    ignored: BTreeSet<String>,
    /// Keys that were not used.
    unused: BTreeSet<String>,
    unused_of_turns: BTreeSet<String>,
    /// Keys of turns.
    met_in_turns: BTreeSet<String>,
    /// The line of the row that is read now.
    line: usize,
    /// Keys that nobody knows and that were harmless since they were short, with the first row in which they were.
    short: BTreeMap<String, usize>,
    /// The same keys where they were long and refused the row.
    long: BTreeMap<String, usize>,
    /// The turns that are read now are a prompt.
    is_context: bool,
}

impl Account {
    /// What was said beforehand.
    pub fn new(nulls: Option<Nulls>, ignored: BTreeSet<String>) -> Self {
        Self {
            nulls,
            ignored,
            ..Self::default()
        }
    }

    /// For rows that were written by us, in which every null is meant.
    pub fn of_own_row() -> Self {
        Self {
            nulls: Some(Nulls::Keep),
            ..Self::default()
        }
    }

    /// What null properties are, if anybody said so.
    pub fn nulls(&self) -> Option<Nulls> {
        self.nulls
    }

    /// Reads turns that only lead up to what is trained on.
    pub fn as_context<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        self.is_context = true;
        let turns = read(self);
        self.is_context = false;
        turns
    }

    /// Is a reply trained on, if the turn itself says this?
    pub fn is_supervised(&self, said: Option<bool>) -> bool {
        said.unwrap_or(!self.is_context)
    }

    /// Goes on to the row of another line.
    pub fn begin_row(&mut self, line: usize) {
        self.line = line;
    }

    /// Was it said that the key is passed over?
    fn is_ignored(&self, key: &str) -> bool {
        self.ignored.contains(key)
    }

    /// Notes what was made of a key that nobody knows, `turn.NAME` for one of a turn.
    fn note_unknown(&mut self, key: String, value: &Value) {
        if names_media(value) {
            return;
        }
        let noted = match is_short(value) {
            true => &mut self.short,
            false => &mut self.long,
        };
        noted.entry(key).or_insert(self.line);
    }

    /// A key that nobody knows and that was passed over in one row and refused another: the key, and both lines.
    pub fn two_answers(&self) -> Option<(&str, usize, usize)> {
        let both = |(key, long): (&'_ String, &usize)| {
            let (key, short) = self.short.get_key_value(key)?;
            Some((key.as_str(), *short, *long))
        };
        self.long.iter().find_map(both)
    }

    /// The keys of turns, as `turn.NAME`.
    pub fn met_in_turns(&self) -> impl Iterator<Item = String> {
        self.met_in_turns.iter().map(|key| format!("turn.{key}"))
    }

    /// Takes keys from a row that its index leaves unread, and lists them.
    pub fn leave_unread<'k>(
        &mut self,
        row: &mut Map<String, Value>,
        unread: impl Iterator<Item = &'k String>,
    ) {
        for key in unread {
            if row
                .shift_remove(key)
                .is_some_and(|value| holds_something(&value))
            {
                self.list(key);
            }
        }
    }

    /// Notes a key of a row that is not used.
    pub fn list(&mut self, key: &str) {
        if !self.unused.contains(key) {
            self.unused.insert(key.to_owned());
        }
    }

    /// The keys that were not used, those of turns as `turn.NAME`.
    pub fn unused(&self) -> Vec<String> {
        let of_turns = self.unused_of_turns.iter();
        let of_turns = of_turns.map(|key| format!("turn.{key}"));
        self.unused.iter().cloned().chain(of_turns).collect()
    }

    /// Takes the keys from a row that are to be passed over.
    pub fn pass_over(&mut self, row: &mut Map<String, Value>) {
        if self.ignored.is_empty() {
            return;
        }
        let ignored: Vec<String> = row
            .keys()
            .filter(|key| self.ignored.contains(*key))
            .cloned()
            .collect();
        for key in ignored {
            row.shift_remove(&key);
            self.list(&key);
        }
    }

    /// A turn without the keys that are to be passed over.
    pub fn heard<'t>(&mut self, turn: &'t Map<String, Value>) -> Cow<'t, Map<String, Value>> {
        for key in turn.keys() {
            if self.met_in_turns.len() < MOST_NAMES && !self.met_in_turns.contains(key) {
                self.met_in_turns.insert(key.clone());
            }
        }
        let ignored = self
            .ignored
            .iter()
            .filter_map(|key| key.strip_prefix("turn."));
        let ignored: Vec<String> = ignored
            .filter(|key| turn.contains_key(*key))
            .map(str::to_owned)
            .collect();
        if ignored.is_empty() {
            return Cow::Borrowed(turn);
        }
        let mut heard = turn.clone();
        for key in ignored {
            heard.shift_remove(&key);
            self.list_of_turn(&key);
        }
        Cow::Owned(heard)
    }

    fn list_of_turn(&mut self, key: &str) {
        if !self.unused_of_turns.contains(key) {
            self.unused_of_turns.insert(key.to_owned());
        }
    }

    /// Accounts for a key of a turn that the turn does not use; `said` is the turn's text.
    pub fn turn_key(
        &mut self,
        place: &str,
        key: &str,
        value: &Value,
        said: &str,
    ) -> Result<(), Reason> {
        if !holds_something(value) {
            return Ok(());
        }
        let is_final = key == "channel" && value == "final";
        let refusal = refusal(TURN_KEYS, key, value, || {
            is_final || repeats(value, &[said])
        });
        if known(TURN_KEYS, key).is_none() && (refusal.is_some() || is_short(value)) {
            self.note_unknown(format!("turn.{key}"), value);
        }
        match refusal {
            None => {
                self.list_of_turn(key);
                Ok(())
            }
            Some(what) => Err(field(
                &format!("{place}.{key}"),
                format!("{what}; to pass over it: --ignore-key turn.{key}"),
            )),
        }
    }
}

/// A row of which it is known what was taken.
pub(crate) struct Fields<'a> {
    row: &'a Map<String, Value>,
    used: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub fn of(row: &'a Map<String, Value>) -> Self {
        Self {
            row,
            used: Vec::new(),
        }
    }

    /// Takes a field by the first of its names that holds something, or that is there at all.
    pub fn take(&mut self, names: &[&'static str]) -> Option<(&'static str, &'a Value)> {
        let named = |name: &&'static str| Some((*name, self.row.get(*name)?));
        let there = || names.iter().filter_map(named);
        let found = there()
            .find(|(_, value)| is_present(Some(value)))
            .or_else(|| there().find(|(_, value)| !value.is_null()))
            .or_else(|| there().next())?;
        self.used.push(found.0);
        Some(found)
    }

    /// Takes a field if it holds something.
    pub fn take_present(&mut self, names: &[&'static str]) -> Option<(&'static str, &'a Value)> {
        self.take(names)
            .filter(|(_, value)| is_present(Some(value)))
    }

    /// The row itself.
    pub fn row(&self) -> &'a Map<String, Value> {
        self.row
    }

    /// Notes fields that were looked at.
    pub fn note(&mut self, names: &[&'static str]) {
        let there = |name: &&&'static str| self.row.contains_key(**name);
        self.used.extend(names.iter().filter(there));
    }

    /// Does one of the names hold something?
    pub fn holds(&self, names: &[&'static str]) -> bool {
        names.iter().any(|name| is_present(self.row.get(*name)))
    }

    /// Accounts for everything that was not taken; `repeats` says whether a value only repeats the body.
    pub fn account(
        self,
        body: &Body,
        repeats: impl Fn(&Value) -> bool,
        account: &mut Account,
    ) -> Result<(), Reason> {
        for (key, value) in self.row {
            let is_label = LABELS.contains(&key.as_str());
            if is_label || self.used.contains(&key.as_str()) || !holds_something(value) {
                continue;
            }
            let refusal = refusal(ROW_KEYS, key, value, || repeats(value));
            if known(ROW_KEYS, key).is_none() && (refusal.is_some() || is_short(value)) {
                account.note_unknown(key.clone(), value);
            }
            match refusal {
                Some(what) => return Err(unexpected(key, what)),
                None => account.list(key),
            }
        }
        no_placeholder(self.row, body, account)
    }
}

/// Fields that say something about a row and are not its text; `id` is the group where none is named.
pub(crate) const LABELS: [&str; 7] = [
    "task", "group", "id", "origin", "licence", "license", "copies",
];

/// Is the column known to be harmless, so that its values need not be looked at?
pub(crate) fn is_harmless(key: &str) -> bool {
    known(ROW_KEYS, key).is_some_and(|known| known.fate == Fate::Listed)
}

/// Why a row of no known shape cannot be one, if one of its keys tells.
pub(crate) fn tells_of_no_shape(row: &Map<String, Value>) -> Option<Reason> {
    let told = row.iter().find_map(|(key, value)| {
        let first = &ROW_KEYS[..ROW_KEYS.len() - 2];
        let known = known(first, key)?;
        let refused = known.fate == Fate::Refused && holds_something(value);
        refused.then(|| field(key, known.what))
    });
    let is_prompt_only = || {
        let only = |key: &str| key == "prompt" || is_harmless(key) || LABELS.contains(&key);
        row.contains_key("prompt") && row.keys().all(|key| only(key))
    };
    told.or_else(|| {
        is_prompt_only()
            .then(|| field("prompt", "has no completion: there is no reply to train on"))
    })
}

fn unexpected(key: &str, what: &str) -> Reason {
    field(
        key,
        format!("{what}; to pass over it: --ignore-key {}", for_shell(key)),
    )
}

fn known(keys: &'static [KnownKeys], key: &str) -> Option<&'static KnownKeys> {
    keys.iter().find(|known| known.names.contains(&key))
}

/// Why a key that was not used refuses its row; `None` if it is harmless, as one that only repeats what is said.
fn refusal(
    keys: &'static [KnownKeys],
    key: &str,
    value: &Value,
    repeats: impl FnOnce() -> bool,
) -> Option<&'static str> {
    let what = match known(keys, key) {
        Some(known) if !known.fate.refuses(value) => return None,
        // What orders or judges does so whatever the texts say.
        Some(known) if known.fate != Fate::Refused => return Some(known.what),
        Some(known) => known.what,
        None if names_media(value) => {
            "names a file with a picture, a sound or a video, which is not read"
        }
        None if may_forbid(key, value).is_some() => {
            // What judges in its own words may be the class that the reply names.
            let is_class = value.is_string() && repeats();
            return may_forbid(key, value).filter(|_| !is_class);
        }
        None if is_short(value) => return None,
        None => {
            "is a key that Hone does not know, and what it holds may belong to the prompt or to the reply"
        }
    };
    (!repeats()).then_some(what)
}

/// Are all texts of the value together short, and in one line?
fn is_short(value: &Value) -> bool {
    fn chars(value: &Value) -> usize {
        match value {
            Value::String(text) if text.contains('\n') => MAX_HARMLESS_CHARS + 1,
            Value::String(text) => text.chars().take(MAX_HARMLESS_CHARS + 1).count(),
            Value::Array(items) => items.iter().map(chars).sum(),
            Value::Object(fields) => fields.values().map(chars).sum(),
            _ => 0,
        }
    }
    chars(value) <= MAX_HARMLESS_CHARS
}

/// Is there anything in the value, however deep? Tables fill in what a row lacks.
pub(crate) fn holds_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !matches!(text.as_str(), "" | "[]" | "{}" | "null"),
        Value::Array(items) => items.iter().any(holds_something),
        Value::Object(fields) => fields.values().any(holds_something),
        _ => true,
    }
}

/// Does the value only say again what one of the texts says, or all of what they say?
pub(crate) fn repeats(value: &Value, texts: &[&str]) -> bool {
    let number;
    let said = match value {
        Value::String(text) => text.trim(),
        Value::Number(n) => {
            number = n.to_string();
            &number
        }
        _ => return false,
    };
    // A rendering may put other words between the lines of what was said.
    let mut lines = texts
        .iter()
        .flat_map(|text| text.lines())
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .peekable();
    texts.iter().any(|text| text.contains(said))
        || lines.peek().is_some() && lines.all(|line| said.contains(line))
}

/// A value that says yes or no: true or false, 1 or 0, or the same as text, as tables hold it.
pub(crate) fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "1.0" => Some(true),
            "false" | "0" | "0.0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Names of the wish to train on something, or not to.
pub(crate) const WEIGHTS: &[&str] = &[
    "weight",
    "train",
    "training",
    "trainable",
    "loss",
    "loss_weight",
    "loss_scale",
    "compute_loss",
    "supervise",
    "supervised",
    "learn",
];
/// Names of the opposite wish.
pub(crate) const MASKS: &[&str] = &["masked", "is_masked", "no_train", "no_loss"];

/// Whether something is trained on, if one of its keys says so; `get` looks a key up.
pub(crate) fn weight<'v>(
    get: impl Fn(&str) -> Option<&'v Value>,
    place_of: impl Fn(&str) -> String,
) -> Result<Option<bool>, Reason> {
    let mut said: Option<(&str, bool)> = None;
    for (names, is_wish) in [(WEIGHTS, true), (MASKS, false)] {
        for key in names {
            let Some(value) = get(key).filter(|value| !value.is_null()) else {
                continue;
            };
            let Some(truth) = truth(value) else {
                let problem = match value {
                    Value::Number(number) => format!(
                        "must be 0 or 1, not {number}; training weights between them are not there yet"
                    ),
                    other => format!("must be true or false, or 0 or 1, not {}", kind(other)),
                };
                return Err(field(&place_of(key), problem));
            };
            let trains = truth == is_wish;
            match said {
                Some((other, known)) if known != trains => {
                    let problem = format!("says the opposite of `{other}`");
                    return Err(field(&place_of(key), problem));
                }
                _ => said = Some((key, trains)),
            }
        }
    }
    Ok(said.map(|(_, trains)| trains))
}

/// Words that judge an answer as true and false do; what they mean exactly nobody knows.
pub(crate) const VERDICTS: &[&str] = &[
    "good",
    "bad",
    "chosen",
    "rejected",
    "accepted",
    "accept",
    "reject",
    "desirable",
    "undesirable",
    "positive",
    "negative",
    "correct",
    "incorrect",
    "right",
    "wrong",
    "yes",
    "no",
    "like",
    "dislike",
    "helpful",
    "unhelpful",
    "preferred",
    "pass",
    "fail",
    "thumbs_up",
    "thumbs_down",
    "upvote",
    "downvote",
];

/// Whether the row's reply is a good answer, if the row says so (`label`, `kto_tag`: unpaired preferences).
///
/// # Errors
/// A label that may be a verdict or a class: the row does not tell.
pub(crate) fn verdict(fields: &mut Fields<'_>, body: &Body) -> Result<Option<bool>, Reason> {
    let mut found: Option<(&str, bool)> = None;
    for key in ["kto_tag", "label"] {
        let Some(value) = fields.row.get(key).filter(|value| holds_something(value)) else {
            continue;
        };
        let either = "; write true or false, or pass over it: --ignore-key ";
        let verdict = match (key, value, truth(value)) {
            (_, _, Some(verdict)) => verdict,
            // A class that the reply names, or any other short name, says nothing about the reply.
            ("label", Value::String(text), _) if is_class(text, body) => continue,
            _ => {
                let what =
                    format!("is neither true nor false, so it may judge the reply{either}{key}");
                return Err(field(key, what));
            }
        };
        fields
            .used
            .push(if key == "label" { "label" } else { "kto_tag" });
        match found {
            Some((other, known)) if known != verdict => {
                return Err(field(key, format!("says the opposite of `{other}`")));
            }
            _ => found = Some((key, verdict)),
        }
    }
    Ok(found.map(|(_, verdict)| verdict))
}

fn is_class(text: &str, body: &Body) -> bool {
    let lower = text.trim().to_lowercase();
    let is_named = || {
        body.texts()
            .any(|said| said.to_lowercase().contains(lower.as_str()))
    };
    let is_verdict = VERDICTS.contains(&lower.replace([' ', '-'], "_").as_str());
    is_short(&Value::from(text)) && (!is_verdict || is_named())
}
