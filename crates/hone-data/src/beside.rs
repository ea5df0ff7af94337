//! What a record carries beside its texts: labels, names and ids of its turns, numbers that tools are told, and the
//! definitions of its tools.
//!
//! Nobody replies with them, yet they are written with every row, so what must not be known must not stand in them.

use std::borrow::Cow;

use hone_text::{Conversation, ToolCall, Turn};
use serde_json::{Map, Value};

use crate::{Body, Place, Record};

/// One of the things that stand beside the texts of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Beside<'a> {
    /// Which one.
    pub place: Place,
    /// What it says; a number as it is written.
    pub text: Cow<'a, str>,
}

/// Makes another text of a text, or of a number as it is written (`true`); `None` leaves it as it is.
pub type Rewrite<'a> = dyn FnMut(&str, bool) -> Option<String> + 'a;

impl Record {
    /// What stands beside its texts, in the order in which it is numbered.
    pub fn beside(&self) -> Vec<Beside<'_>> {
        let labels = [
            (Place::Task, Some(&self.task)),
            (Place::Group, self.group.as_ref()),
            (Place::Origin, self.origin.as_ref()),
            (Place::Licence, self.licence.as_ref()),
        ];
        let mut found: Vec<Beside<'_>> = labels
            .into_iter()
            .filter_map(|(place, text)| Some((place, text?.as_str())))
            .map(|(place, text)| Beside {
                place,
                text: text.into(),
            })
            .collect();
        let mut details = Vec::new();
        for (conversation, has_arguments_as_texts) in self.conversations() {
            for turn in &conversation.turns {
                details_of(turn, has_arguments_as_texts, &mut details);
            }
        }
        let detail = |(index, text)| Beside {
            place: Place::Detail(index),
            text,
        };
        found.extend(details.into_iter().enumerate().map(detail));
        let mut tools = Vec::new();
        for (conversation, _) in self.conversations() {
            (conversation.tools.iter()).for_each(|tool| leaves(tool, true, &mut tools));
        }
        let tool = |(index, text)| Beside {
            place: Place::Tool(index),
            text,
        };
        found.extend(tools.into_iter().enumerate().map(tool));
        found
    }

    /// Has every text of the record, and all that stands beside them, rewritten; keys and numbers too.
    pub fn rewrite(&mut self, change: &mut Rewrite<'_>) {
        let labels = [
            Some(&mut self.task),
            self.group.as_mut(),
            self.origin.as_mut(),
            self.licence.as_mut(),
        ];
        for label in labels.into_iter().flatten() {
            rewrite_text(label, change);
        }
        match &mut self.body {
            Body::Text(text) => rewrite_text(text, change),
            Body::Chat(chat) => rewrite_conversation(chat, change),
            Body::Unpaired(judged) => rewrite_conversation(&mut judged.conversation, change),
            Body::Preference(pair) => {
                for part in [&mut pair.prompt, &mut pair.chosen, &mut pair.rejected] {
                    rewrite_conversation(part, change);
                }
            }
        }
    }

    /// Its conversations, and whether the texts that their calls tell tools are among [`Record::parts`].
    fn conversations(&self) -> Vec<(&Conversation, bool)> {
        match &self.body {
            Body::Text(_) => Vec::new(),
            Body::Chat(chat) => vec![(chat, true)],
            Body::Unpaired(judged) => vec![(&judged.conversation, true)],
            Body::Preference(pair) => vec![
                (&pair.prompt, true),
                (&pair.chosen, false),
                (&pair.rejected, false),
            ],
        }
    }
}

/// Names and ids of a turn and its calls, and of what the calls tell the numbers; the texts too where no part holds them.
fn details_of<'a>(turn: &'a Turn, texts_are_parts: bool, found: &mut Vec<Cow<'a, str>>) {
    let named = [turn.name.as_deref(), turn.call_id.as_deref()];
    found.extend(named.into_iter().flatten().map(Cow::from));
    for call in &turn.calls {
        found.extend(call.id.as_deref().map(Cow::from));
        found.push(call.name.as_str().into());
        for (key, value) in &call.arguments {
            found.extend(says_something(key).then(|| Cow::from(key.as_str())));
            leaves(value, !texts_are_parts, found);
        }
    }
}

/// May a key be more than the name of a field, such as an address or a number?
fn says_something(key: &str) -> bool {
    !key.bytes()
        .all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-'))
}

/// The numbers in a value and the keys that are no plain names, and its texts where `with_texts`.
fn leaves<'a>(value: &'a Value, with_texts: bool, found: &mut Vec<Cow<'a, str>>) {
    match value {
        Value::String(text) if with_texts => found.push(text.as_str().into()),
        Value::Number(number) => found.push(number.to_string().into()),
        Value::Array(items) => items
            .iter()
            .for_each(|item| leaves(item, with_texts, found)),
        Value::Object(fields) => fields.iter().for_each(|(key, field)| {
            found.extend(says_something(key).then(|| Cow::from(key.as_str())));
            leaves(field, with_texts, found);
        }),
        _ => {}
    }
}

fn rewrite_text(text: &mut String, change: &mut Rewrite<'_>) {
    if let Some(changed) = change(text, false) {
        *text = changed;
    }
}

fn rewrite_conversation(conversation: &mut Conversation, change: &mut Rewrite<'_>) {
    for turn in &mut conversation.turns {
        rewrite_text(&mut turn.text, change);
        let names = [
            turn.reasoning.as_mut(),
            turn.name.as_mut(),
            turn.call_id.as_mut(),
        ];
        (names.into_iter().flatten()).for_each(|name| rewrite_text(name, change));
        (turn.calls.iter_mut()).for_each(|call| rewrite_call(call, change));
    }
    (conversation.tools.iter_mut()).for_each(|tool| rewrite_json(tool, change));
}

fn rewrite_call(call: &mut ToolCall, change: &mut Rewrite<'_>) {
    if let Some(id) = &mut call.id {
        rewrite_text(id, change);
    }
    rewrite_text(&mut call.name, change);
    rewrite_fields(&mut call.arguments, change);
}

/// Has every text, key and number of a value rewritten. A number becomes a number where what it becomes is one.
pub fn rewrite_json(value: &mut Value, change: &mut Rewrite<'_>) {
    match value {
        Value::String(text) => rewrite_text(text, change),
        Value::Number(number) => {
            if let Some(changed) = change(&number.to_string(), true) {
                *value = serde_json::from_str(&changed)
                    .ok()
                    .filter(Value::is_number)
                    .unwrap_or(Value::String(changed));
            }
        }
        Value::Array(items) => {
            (items.iter_mut()).for_each(|item| rewrite_json(item, change));
        }
        Value::Object(fields) => rewrite_fields(fields, change),
        _ => {}
    }
}

fn rewrite_fields(fields: &mut Map<String, Value>, change: &mut Rewrite<'_>) {
    fields
        .values_mut()
        .for_each(|value| rewrite_json(value, change));
    // The order of the fields stays; a key that becomes one that is there gets a number.
    if fields.keys().any(|key| change(key, false).is_some()) {
        let mut renamed = Map::new();
        for (key, value) in std::mem::take(fields) {
            let key = change(&key, false).unwrap_or(key);
            let mut free = key.clone();
            let mut number = 2;
            while renamed.contains_key(&free) {
                free = format!("{key} {number}");
                number += 1;
            }
            renamed.insert(free, value);
        }
        *fields = renamed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = r#"{"task":"t","group":"g-1","origin":"o","licence":"MIT","messages":[{"role":"assistant","content":"hi","tool_calls":[{"id":"c1","type":"function","function":{"name":"pay","arguments":{"x":"text","pan":12345678,"who 7":[1.5]}}}]},{"role":"tool","content":"ok","tool_call_id":"c1","name":"pay"}],"tools":[{"function":{"name":"pay","default":99}}]}"#;

    #[test]
    fn labels_names_numbers_and_tools_stand_beside_the_texts() {
        let record = Record::from_json(ROW).unwrap();
        let beside = record.beside();
        let texts: Vec<&str> = beside.iter().map(|beside| &*beside.text).collect();
        assert_eq!(
            texts,
            [
                "t", "g-1", "o", "MIT", "c1", "pay", "12345678", "who 7", "1.5", "pay", "c1",
                "pay", "99"
            ]
        );
        assert_eq!(beside[1].place, Place::Group);
    }

    #[test]
    fn rewriting_reaches_every_text_key_and_number_and_nothing_else() {
        let mut record = Record::from_json(ROW).unwrap();
        record.rewrite(&mut |_, _| None);
        assert_eq!(record, Record::from_json(ROW).unwrap());
        record.rewrite(&mut |text, is_number| {
            let changed = text.replace("12345678", "0").replace('7', "<N>");
            let changed = changed.replace("pay", "call").replace("text", "said");
            (changed != text)
                .then_some(changed)
                .filter(|_| !is_number || text.len() > 4)
        });
        let json = record.to_json().to_string();
        for left in ["12345678", "pay", "text", "who 7"] {
            assert!(!json.contains(left), "{left} in {json}");
        }
        assert!(json.contains(r#""pan":0,"who <N>":[1.5]"#), "{json}");
    }
}
