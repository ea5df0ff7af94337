//! A record as a line of a dataset, and back: what Hone writes, in the order in which it writes it.
//!
//! A build looks at each of its rows several times, so the line is written and read without a tree of values in between.
//! Files of others are read by [`crate::stream`], which accounts for every key.

use hone_text::{Conversation, Turn};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::record::{Body, Preference, Record, Source, Unpaired};

/// The labels, then the body.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    task: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    licence: Option<&'a str>,
    #[serde(skip_serializing_if = "is_one")]
    copies: usize,
    #[serde(flatten)]
    body: BodyOfLine<'a>,
}

/// What is trained on; by the keys that are there it is known which of the bodies it is.
#[derive(Default, Serialize)]
pub(crate) struct BodyOfLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<&'a [Turn]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<&'a [Turn]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chosen: Option<&'a [Turn]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected: Option<&'a [Turn]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion: Option<&'a [Turn]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<bool>,
    #[serde(skip_serializing_if = "<[Value]>::is_empty")]
    tools: &'a [Value],
}

/// The same, read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadLine {
    task: String,
    group: Option<String>,
    origin: Option<String>,
    licence: Option<String>,
    #[serde(default = "one")]
    copies: usize,
    text: Option<String>,
    messages: Option<Vec<Turn>>,
    prompt: Option<Vec<Turn>>,
    chosen: Option<Vec<Turn>>,
    rejected: Option<Vec<Turn>>,
    completion: Option<Vec<Turn>>,
    label: Option<bool>,
    #[serde(default)]
    tools: Vec<Value>,
}

fn is_one(copies: &usize) -> bool {
    *copies == 1
}

fn one() -> usize {
    1
}

impl Record {
    pub(crate) fn as_line(&self) -> Line<'_> {
        Line {
            task: &self.task,
            group: self.group.as_deref(),
            origin: self.origin.as_deref(),
            licence: self.licence.as_deref(),
            copies: self.copies,
            body: self.body.as_line(),
        }
    }

    /// The record as a line of a dataset: its labels and its text, in a fixed order, without an end of line.
    ///
    /// # Panics
    /// Never: all keys are texts, and every value of a record has a form in JSON.
    pub fn to_line(&self) -> String {
        serde_json::to_string(&self.as_line()).expect("keys are texts")
    }

    /// The record of a line that [`Record::to_line`] wrote. Its source is told by whoever knows where the line stands.
    ///
    /// # Errors
    /// What the line has that no such line has.
    pub fn from_line(line: &str) -> Result<Self, serde_json::Error> {
        let ReadLine {
            task,
            group,
            origin,
            licence,
            copies,
            text,
            messages,
            prompt,
            chosen,
            rejected,
            completion,
            label,
            tools,
        } = serde_json::from_str(line)?;
        let turns = |turns| Conversation {
            turns,
            tools: Vec::new(),
        };
        let with_tools = |turns| Conversation { turns, tools };
        let body = match (text, messages, prompt, chosen, rejected, completion, label) {
            (Some(text), None, None, None, None, None, None) => Body::Text(text),
            (None, Some(messages), None, None, None, None, None) => {
                Body::Chat(with_tools(messages))
            }
            (None, None, Some(prompt), Some(chosen), Some(rejected), None, None) => {
                Body::Preference(Preference {
                    prompt: with_tools(prompt),
                    chosen: turns(chosen),
                    rejected: turns(rejected),
                })
            }
            (None, None, Some(mut prompt), None, None, Some(completion), Some(is_good)) => {
                let num_prompt = prompt.len();
                prompt.extend(completion);
                Body::Unpaired(Unpaired {
                    conversation: with_tools(prompt),
                    num_prompt,
                    is_good,
                })
            }
            _ => return Err(serde::de::Error::custom("not the keys of a record")),
        };
        Ok(Self {
            task,
            group,
            origin,
            licence,
            copies,
            body,
            source: Source::new("", 1),
        })
    }
}

impl Body {
    pub(crate) fn as_line(&self) -> BodyOfLine<'_> {
        let none = BodyOfLine::default();
        match self {
            Self::Text(text) => BodyOfLine {
                text: Some(text),
                ..none
            },
            Self::Chat(chat) => BodyOfLine {
                messages: Some(&chat.turns),
                tools: &chat.tools,
                ..none
            },
            Self::Preference(pair) => BodyOfLine {
                prompt: Some(&pair.prompt.turns),
                chosen: Some(&pair.chosen.turns),
                rejected: Some(&pair.rejected.turns),
                tools: &pair.prompt.tools,
                ..none
            },
            Self::Unpaired(judged) => {
                let (prompt, completion) = judged.conversation.turns.split_at(judged.num_prompt);
                BodyOfLine {
                    prompt: Some(prompt),
                    completion: Some(completion),
                    label: Some(judged.is_good),
                    tools: &judged.conversation.tools,
                    ..none
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of each body, with everything that may stand in it.
    const LINES: [&str; 6] = [
        r#"{"task":"t","text":"x\n\u0001\"ä"}"#,
        r#"{"task":"t","group":"g","origin":"o","licence":"MIT","copies":3,"text":""}"#,
        r#"{"task":"t","messages":[{"role":"system","content":"s"},{"role":"user","content":"u"},{"role":"assistant","content":"a","reasoning_content":"r","weight":0}]}"#,
        r#"{"task":"t","messages":[{"role":"user","content":"u"},{"role":"assistant","content":"","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":{"b":1.5,"a":[null,"x"]}}},{"type":"function","function":{"name":"g","arguments":"{\"z\":1,  \"a\": 2.0}"}}]},{"role":"tool","content":"1","tool_call_id":"1","name":"f"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"b":1,"a":{}}}}]}"#,
        r#"{"task":"t","prompt":[{"role":"user","content":"u"}],"chosen":[{"role":"assistant","content":"1"}],"rejected":[{"role":"assistant","content":"2"}],"tools":[{"type":"function","function":{"name":"f"}}]}"#,
        r#"{"task":"t","prompt":[{"role":"user","content":"u"}],"completion":[{"role":"assistant","content":"1"}],"label":false}"#,
    ];

    #[test]
    fn a_line_is_read_as_any_row_is_and_written_as_it_was() {
        for line in LINES {
            let record = Record::from_line(line).unwrap();
            assert_eq!(record, Record::from_json(line).unwrap(), "{line}");
            assert_eq!(record.to_line(), line);
            assert_eq!(record.to_json().to_string(), line);
        }
    }

    #[test]
    fn a_line_of_other_keys_is_refused() {
        for line in [
            r#"{"task":"t"}"#,
            r#"{"task":"t","text":"x","messages":[]}"#,
            r#"{"task":"t","prompt":[],"chosen":[]}"#,
            r#"{"task":"t","text":"x","note":"n"}"#,
        ] {
            assert!(Record::from_line(line).is_err(), "{line}");
        }
    }
}
