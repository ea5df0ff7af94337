//! The shapes rows come in, and how each becomes a record.
//!
//! A shape is recognised by its keys alone and then read strictly: a field of the wrong kind, or one
//! that would change the meaning and cannot be honoured, refuses the row. What becomes of keys that a
//! shape does not take is told in [`crate::keys`].

use hone_ledger::words::for_shell;
use std::fmt;

use hone_text::{Conversation, Role, Turn};
use serde_json::{Map, Value, json};

use crate::json::json_in;
use crate::keys::{Account, Fields, MASKS, WEIGHTS, repeats, verdict, weight};
use crate::turn::{REASONING, are_turns, one_reasoning, reasoning, settled_tools, turns};
use crate::value::{content, field, list, text};
use crate::{Body, Preference, Reason, Unpaired};

/// A way of writing one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// `chosen` and `rejected`, and the prompt that both answer; also a conversation and the reply it should not have had.
    Preference,
    /// `messages`: a list of `role` and `content`.
    Messages,
    /// `conversations`: a list of `from` and `value`.
    ShareGpt,
    /// `prompt` and `completion`, texts or lists of messages.
    PromptCompletion,
    /// `instruction`, `input` and `output`.
    Alpaca,
    /// `text`: one text, trained on whole.
    Text,
}

/// A field of a shape.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its names; the first that holds something counts.
    pub names: &'static [&'static str],
    /// Is a row without it of another shape?
    pub is_needed: bool,
    /// What it becomes.
    pub what: &'static str,
}

type Row = Map<String, Value>;

const fn needed(names: &'static [&'static str], what: &'static str) -> Field {
    Field {
        names,
        is_needed: true,
        what,
    }
}

const fn optional(names: &'static [&'static str], what: &'static str) -> Field {
    Field {
        names,
        is_needed: false,
        what,
    }
}

const MESSAGES: &[&str] = &["messages"];
const CONVERSATIONS: &[&str] = &["conversations", "conversation"];
const CHOSEN: &[&str] = &["chosen"];
const REJECTED: &[&str] = &[
    "rejected",
    "rejected_response",
    "rejected_message",
    "rejected_messages",
];
const PROMPT: &[&str] = &["prompt", "query"];
const COMPLETION: &[&str] = &["completion", "response"];
const INSTRUCTION: &[&str] = &["instruction"];
const INPUT: &[&str] = &["input", "context"];
const OUTPUT: &[&str] = &["output", "response"];
const ANSWER: &[&str] = &["completion", "response", "output"];
const SYSTEM: &[&str] = &["system", "system_prompt"];
const HISTORY: &[&str] = &["history"];
const TOOLS: &[&str] = &["tools", "functions"];
const TEXT: &[&str] = &["text"];

const SYSTEM_FIELD: Field = optional(
    SYSTEM,
    "the first turn, of the system; refused if the turns begin with one already",
);
const TOOLS_FIELD: Field = optional(
    TOOLS,
    "the tools that the assistant may call: a list of function schemas, or JSON text of one",
);
const HISTORY_FIELD: Field = optional(
    HISTORY,
    "questions and answers that came before, `[[question, answer], …]`",
);
const REASONING_FIELD: Field = optional(
    REASONING,
    "what the assistant thinks before it answers; trained on with the reply",
);
const TURNS: &str =
    "the turns, a list (or JSON text of one) of `role` and `content` or of `from` and `value`";

impl Shape {
    /// All shapes, in the order in which they are tried.
    pub const ALL: [Self; 6] = [
        Self::Preference,
        Self::Messages,
        Self::ShareGpt,
        Self::PromptCompletion,
        Self::Alpaca,
        Self::Text,
    ];

    /// The shape of a row with these keys.
    pub fn of(row: &Row) -> Option<Self> {
        Self::find(row, |_| true)
    }

    /// The first shape that is wanted and whose fields hold something in the row; else one whose fields are there.
    pub(crate) fn find(row: &Row, is_wanted: impl Fn(Self) -> bool) -> Option<Self> {
        let find = |holds: &dyn Fn(&str) -> bool| {
            let mut shapes = Self::ALL.into_iter();
            shapes.find(|shape| is_wanted(*shape) && shape.fits(holds))
        };
        find(&|key| row.get(key).is_some_and(|value| !value.is_null()))
            .or_else(|| find(&|key| row.contains_key(key)))
    }

    fn fits(self, holds: &dyn Fn(&str) -> bool) -> bool {
        let any = |names: &[&str]| names.iter().any(|name| holds(name));
        let is_pair = |first: &[&str]| any(first) && any(REJECTED);
        let needed = self.fields().iter().filter(|field| field.is_needed);
        match self {
            Self::Preference => {
                let reply = any(MESSAGES) || any(CONVERSATIONS) || any(ANSWER);
                is_pair(CHOSEN) || reply && any(REJECTED)
            }
            _ => needed.into_iter().all(|field| any(field.names)),
        }
    }

    /// Does the shape have a text of this name?
    pub(crate) fn takes(self, field: &str) -> bool {
        self.fields()
            .iter()
            .any(|known| known.names.contains(&field))
    }

    /// The names of the texts of all shapes, each once.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        let (pairs, others) = Self::ALL.split_at(1);
        let shapes = others.iter().chain(pairs);
        let fields = shapes.flat_map(|shape| shape.fields());
        let mut names: Vec<&str> = Vec::new();
        for name in fields.flat_map(|field| field.names) {
            if !names.contains(name) {
                names.push(name);
            }
        }
        names.into_iter()
    }

    /// A line that describes the shape to somebody whose file has another one.
    pub fn description(self) -> &'static str {
        match self {
            Self::Preference => {
                "preference pairs: chosen and rejected, optional prompt (kept, not yet trained on)"
            }
            Self::Messages => "messages: [{role, content}, …], optional system and tools",
            Self::ShareGpt => {
                "ShareGPT: conversations: [{from, value}, …], optional system and tools"
            }
            Self::PromptCompletion => "prompt and completion (texts, or lists of {role, content})",
            Self::Alpaca => "alpaca: instruction, output, optional input, system and history",
            Self::Text => "text: one text per row, trained on whole",
        }
    }

    /// What a row of the shape is made of.
    pub fn fields(self) -> &'static [Field] {
        match self {
            Self::Preference => {
                const {
                    &[
                        needed(
                            REJECTED,
                            "the worse reply: a text, a turn or a list of turns",
                        ),
                        optional(CHOSEN, "the better reply"),
                        optional(
                            PROMPT,
                            "what both answer, context only; without it, what both begin with",
                        ),
                        optional(
                            MESSAGES,
                            "the prompt, and without `chosen` also the better reply",
                        ),
                        optional(CONVERSATIONS, "the same"),
                        optional(INSTRUCTION, "the prompt"),
                        optional(INPUT, "goes on with the instruction after an empty line"),
                        optional(ANSWER, "the better reply, without `chosen`"),
                        HISTORY_FIELD,
                        SYSTEM_FIELD,
                        TOOLS_FIELD,
                    ]
                }
            }
            Self::Messages => const { &[needed(MESSAGES, TURNS), SYSTEM_FIELD, TOOLS_FIELD] },
            Self::ShareGpt => const { &[needed(CONVERSATIONS, TURNS), SYSTEM_FIELD, TOOLS_FIELD] },
            Self::PromptCompletion => {
                const {
                    &[
                        needed(
                            PROMPT,
                            "the turn of the user; or turns, all of them context: the assistant's are not trained on, unless one says `weight`: 1",
                        ),
                        needed(COMPLETION, "the reply of the assistant; or turns"),
                        REASONING_FIELD,
                        HISTORY_FIELD,
                        SYSTEM_FIELD,
                        TOOLS_FIELD,
                    ]
                }
            }
            Self::Alpaca => {
                const {
                    &[
                        needed(INSTRUCTION, "the turn of the user"),
                        needed(OUTPUT, "the reply of the assistant"),
                        optional(INPUT, "goes on with the instruction after an empty line"),
                        REASONING_FIELD,
                        HISTORY_FIELD,
                        SYSTEM_FIELD,
                        TOOLS_FIELD,
                    ]
                }
            }
            Self::Text => const { &[needed(TEXT, "trained on whole")] },
        }
    }

    /// The record's body, read from a row of this shape; every key of the row is accounted for.
    pub(crate) fn body(self, row: &Row, account: &mut Account) -> Result<Body, Reason> {
        let mut fields = Fields::of(row);
        let (body, num_prompt) = match self {
            Self::Preference => (Body::Preference(preference(&mut fields, account)?), 0),
            Self::Text => {
                let (key, value) = must(&mut fields, TEXT);
                (Body::Text(text(value, key)?), 0)
            }
            _ => {
                let (turns, num_prompt) = self.turns(&mut fields, account)?;
                let tools = tools(&mut fields, account)?;
                (
                    Body::Chat(Conversation::new(turns).with_tools(tools)),
                    num_prompt,
                )
            }
        };
        let body = match verdict(&mut fields, &body)? {
            Some(is_good) => Body::Unpaired(unpaired(body, num_prompt, is_good)?),
            None => body,
        };
        row_weight(row, &mut fields)?;
        fields.account(&body, |value| body.repeats(value), account)?;
        Ok(body)
    }

    /// The turns of a conversation, and how many of them are its prompt.
    fn turns(
        self,
        fields: &mut Fields<'_>,
        account: &mut Account,
    ) -> Result<(Vec<Turn>, usize), Reason> {
        let system = system(fields)?;
        let (said, num_prompt) = match self {
            Self::PromptCompletion => prompt_completion(fields, account)?,
            Self::Alpaca => alpaca(fields)?,
            _ => {
                let (key, list) = match self {
                    Self::Messages => must(fields, MESSAGES),
                    _ => must(fields, CONVERSATIONS),
                };
                let said = turns(list, key, account)?;
                if said.is_empty() {
                    return Err(field(key, "has no turns"));
                }
                let num_prompt = said.len() - 1;
                (said, num_prompt)
            }
        };
        let num_before = usize::from(system.is_some());
        Ok((after_system(system, said)?, num_before + num_prompt))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Messages => "messages",
            Self::ShareGpt => "ShareGPT conversations",
            Self::Preference => "preference pairs",
            Self::PromptCompletion => "prompt/completion",
            Self::Alpaca => "alpaca",
            Self::Text => "text",
        })
    }
}

/// A field that the row has, because its shape was told by it.
fn must<'a>(fields: &mut Fields<'a>, names: &[&'static str]) -> (&'static str, &'a Value) {
    fields.take(names).expect("the shape has the field")
}

/// The turn of the system beside the others, with the name of its field.
fn system(fields: &mut Fields<'_>) -> Result<Option<(&'static str, Turn)>, Reason> {
    let found = fields.take_present(SYSTEM);
    let turn = |(key, value)| Ok((key, Turn::new(Role::System, text(value, key)?)));
    found.map(turn).transpose()
}

/// The turn of the system before the others, which must not begin with another one.
fn after_system(
    system: Option<(&'static str, Turn)>,
    mut turns: Vec<Turn>,
) -> Result<Vec<Turn>, Reason> {
    let Some((key, system)) = system else {
        return Ok(turns);
    };
    match turns.iter().find(|turn| turn.role == Role::System) {
        Some(other) if other.text != system.text => Err(field(
            key,
            "stands beside a turn of the system that says something else; one of the two is enough",
        )),
        Some(_) => Err(field(
            key,
            "stands beside a turn of the system; one of the two is enough",
        )),
        None => {
            turns.insert(0, system);
            Ok(turns)
        }
    }
}

fn alpaca(fields: &mut Fields<'_>) -> Result<(Vec<Turn>, usize), Reason> {
    let mut turns = history(fields)?;
    turns.push(instruction(fields)?);
    let num_prompt = turns.len();
    let (key, answer) = must(fields, OUTPUT);
    let answer = text(answer, key)?;
    turns.push(reply(fields, answer)?);
    Ok((turns, num_prompt))
}

/// What is asked by `instruction`, and `input` if there is one.
fn instruction(fields: &mut Fields<'_>) -> Result<Turn, Reason> {
    let (key, question) = must(fields, INSTRUCTION);
    let mut question = text(question, key)?;
    if let Some((key, input)) = fields.take_present(INPUT) {
        let input = text(input, key)?;
        // Tables fill in what a row lacks: an empty instruction is none.
        question = match question.is_empty() {
            true => input,
            false => format!("{question}\n\n{input}"),
        };
    }
    Ok(Turn::new(Role::User, question))
}

/// A reply, with the reasoning that stands beside it.
fn reply(fields: &mut Fields<'_>, answer: String) -> Result<Turn, Reason> {
    let reasoning = reasoning(fields.row(), "")?;
    fields.note(REASONING);
    if reasoning.is_some() {
        one_reasoning(&answer, "completion")?;
    }
    Ok(Turn {
        reasoning,
        ..Turn::new(Role::Assistant, answer)
    })
}

/// Questions and answers that came before.
fn history(fields: &mut Fields<'_>) -> Result<Vec<Turn>, Reason> {
    let Some((key, history)) = fields.take_present(HISTORY) else {
        return Ok(Vec::new());
    };
    let parsed;
    let history = match history {
        Value::String(text) => {
            parsed = json_in(text, key)?.unwrap_or(Value::Null);
            if parsed.is_array() { &parsed } else { history }
        }
        other => other,
    };
    let mut turns = Vec::new();
    for (index, pair) in list(history, key)?.iter().enumerate() {
        let place = format!("history[{index}]");
        let Some([question, answer]) = pair.as_array().map(Vec::as_slice) else {
            return Err(field(&place, "must be a question and an answer"));
        };
        for (role, value) in [(Role::User, question), (Role::Assistant, answer)] {
            turns.push(Turn::new(role, content(value, &place)?));
        }
    }
    Ok(turns)
}

fn prompt_completion(
    fields: &mut Fields<'_>,
    account: &mut Account,
) -> Result<(Vec<Turn>, usize), Reason> {
    let mut said = history(fields)?;
    let (key, prompt) = must(fields, PROMPT);
    said.extend(account.as_context(|account| side(prompt, key, Role::User, account))?);
    let num_prompt = said.len();
    let (key, completion) = must(fields, COMPLETION);
    let mut answered = side(completion, key, Role::Assistant, account)?;
    let thought = reply(fields, String::new())?.reasoning;
    if let Some(thought) = thought {
        let last = answered
            .iter_mut()
            .rfind(|turn| turn.role == Role::Assistant);
        match last {
            Some(turn) if turn.reasoning.is_none() => {
                one_reasoning(&turn.text, key)?;
                turn.reasoning = Some(thought);
            }
            _ => {
                return Err(field(
                    "reasoning",
                    "stands beside a completion that has its own, or no reply",
                ));
            }
        }
    }
    said.extend(answered);
    if said.is_empty() {
        return Err(field(key, "has no turns"));
    }
    Ok((said, num_prompt))
}

/// One side of a conversation: a text, or turns.
fn side(value: &Value, key: &str, role: Role, account: &mut Account) -> Result<Vec<Turn>, Reason> {
    match are_turns(value) {
        true => turns(value, key, account),
        false => Ok(vec![Turn::new(role, text(value, key)?)]),
    }
}

/// A pair whose prompt is a field of its own, or the turns with which both continuations begin.
fn preference(fields: &mut Fields<'_>, account: &mut Account) -> Result<Preference, Reason> {
    let system = system(fields)?;
    let (rejected_key, worse) = must(fields, REJECTED);
    let mut rejected = side(worse, rejected_key, Role::Assistant, account)?;
    let mut prompt = history(fields)?;
    let asked = if let Some((key, prompt)) = fields.take_present(PROMPT) {
        Some(side(prompt, key, Role::User, account)?)
    } else if fields.holds(MESSAGES) {
        Some(turns(must(fields, MESSAGES).1, "messages", account)?)
    } else if fields.holds(CONVERSATIONS) {
        let (key, list) = must(fields, CONVERSATIONS);
        Some(turns(list, key, account)?)
    } else if fields.holds(INSTRUCTION) {
        Some(vec![instruction(fields)?])
    } else {
        None
    };
    let has_prompt = asked.is_some();
    prompt.extend(asked.unwrap_or_default());
    let (chosen_key, mut chosen) = if fields.holds(CHOSEN) {
        let (key, better) = must(fields, CHOSEN);
        (key, side(better, key, Role::Assistant, account)?)
    } else if fields.holds(ANSWER) {
        let (key, better) = must(fields, ANSWER);
        (key, side(better, key, Role::Assistant, account)?)
    } else {
        // The conversation ends in the better reply.
        let last = prompt.pop_if(|turn| turn.role == Role::Assistant);
        let last = last.ok_or_else(|| field(rejected_key, "has no better reply beside it"))?;
        ("messages", vec![last])
    };
    // What a side says again of the prompt stands there once.
    let num_shared = match has_prompt {
        true if chosen.starts_with(&prompt) && chosen.len() > prompt.len() => prompt.len(),
        true => 0,
        false => chosen
            .iter()
            .zip(&rejected)
            .take_while(|(a, b)| a == b)
            .count(),
    };
    match has_prompt {
        true => {
            chosen.drain(..num_shared);
            if rejected.starts_with(&prompt) && rejected.len() > prompt.len() {
                rejected.drain(..prompt.len());
            }
        }
        false => {
            prompt.extend(chosen.drain(..num_shared));
            rejected.drain(..num_shared);
        }
    }
    let mut prompt = after_system(system, prompt)?;
    let replies = prompt
        .iter_mut()
        .filter(|turn| turn.role == Role::Assistant);
    // Only the two continuations are judged.
    replies.for_each(|turn| turn.is_supervised = false);
    for (key, turns) in [(chosen_key, &chosen), (rejected_key, &rejected)] {
        if turns.is_empty() {
            return Err(field(key, "has nothing that the other does not have"));
        }
    }
    for (key, turns) in [
        ("prompt", &prompt),
        (chosen_key, &chosen),
        (rejected_key, &rejected),
    ] {
        if turns.iter().any(|turn| !turn.calls.is_empty()) {
            return Err(field(key, "calls tools, which preference pairs cannot yet"));
        }
    }
    let tools = tools(fields, account)?;
    let [prompt, chosen, rejected] = [prompt, chosen, rejected].map(Conversation::new);
    Ok(Preference {
        prompt: prompt.with_tools(tools),
        chosen,
        rejected,
    })
}

/// A conversation whose last reply is judged.
fn unpaired(body: Body, num_prompt: usize, is_good: bool) -> Result<Unpaired, Reason> {
    let refuse = |what: &str| {
        Err(field(
            "label",
            format!("{what}; to pass over it: --ignore-key label"),
        ))
    };
    match body {
        Body::Chat(conversation) => match conversation.turns.last() {
            Some(last) if last.role == Role::Assistant => Ok(Unpaired {
                conversation,
                num_prompt,
                is_good,
            }),
            _ => refuse(
                "is a class to be told, beside a conversation without a reply; write prompt and completion",
            ),
        },
        Body::Text(_) => refuse(
            "stands beside a text, which would be trained on without it; write prompt and completion",
        ),
        _ => refuse("stands beside chosen and rejected, and does not say which of them it judges"),
    }
}

/// The wish not to train on the row, or to train on it more or less than on others.
fn row_weight(row: &Row, fields: &mut Fields<'_>) -> Result<(), Reason> {
    fields.note(WEIGHTS);
    fields.note(MASKS);
    let place = |key: &str| key.to_owned();
    match weight(|key| row.get(key), place) {
        Ok(Some(false)) => {
            let keys = WEIGHTS.iter().chain(MASKS);
            let key = keys.copied().find(|key| row.contains_key(*key));
            Err(field(
                key.unwrap_or("weight"),
                "says that the row is not trained on",
            ))
        }
        Ok(_) => Ok(()),
        Err(Reason::Field {
            field: key,
            problem,
        }) => {
            let problem = format!(
                "{problem}; if it is no weight, pass over it: --ignore-key {}",
                for_shell(&key)
            );
            Err(field(&key, problem))
        }
        Err(other) => Err(other),
    }
}

/// The tools a row names: a list of schemas, or the same as JSON in a text, as tables hold it.
fn tools(fields: &mut Fields<'_>, account: &Account) -> Result<Vec<Value>, Reason> {
    let Some((key, value)) = fields.take_present(TOOLS) else {
        return Ok(Vec::new());
    };
    let written = match value {
        Value::String(text) if text.trim().is_empty() => return Ok(Vec::new()),
        // A text was never part of a table's columns, so what is null in it is meant.
        Value::String(text) => json_in(text, key)?.unwrap_or(Value::Null),
        other => settled_tools(other.clone(), account)?,
    };
    let is_schema = |tool: &Value| tool.get("function").unwrap_or(tool)["name"].is_string();
    match written {
        Value::Array(tools) if tools.iter().all(is_schema) && key == "functions" => {
            let tool = |function| json!({"type": "function", "function": function});
            Ok(tools.into_iter().map(tool).collect())
        }
        Value::Array(tools) if tools.iter().all(is_schema) => Ok(tools),
        _ => Err(field(
            key,
            "must be a list of function schemas, each with a `name`",
        )),
    }
}

impl Body {
    /// Does a value that no field takes only repeat the row: one of its texts, or its rendering?
    fn repeats(&self, value: &Value) -> bool {
        let texts: Vec<&str> = self.texts().collect();
        match value {
            Value::Array(_) => turns(value, "", &mut Account::of_own_row()).is_ok_and(|turns| {
                let is_there = |text: &str| texts.iter().any(|known| known.trim() == text.trim());
                turns.iter().all(|turn| is_there(&turn.text))
            }),
            _ => repeats(value, &texts),
        }
    }
}

#[cfg(test)]
mod tests;
