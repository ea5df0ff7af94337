//! The shapes rows come in, and how each becomes a record.
//!
//! A shape is recognised by its keys alone and then read strictly: a field of the wrong kind, or one
//! that would change the meaning and cannot be honoured, refuses the row. Keys that say nothing about
//! the text (ids, dates, scores) are let through.

use std::fmt;

use hone_text::{Conversation, Role, ToolCall, Turn};
use serde_json::{Map, Value};

use crate::{Body, Preference, Reason};

/// A way of writing one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// `messages`: a list of `role` and `content`.
    Messages,
    /// `conversations`: a list of `from` and `value`.
    ShareGpt,
    /// `chosen` and `rejected`, and the `prompt` that both answer.
    Preference,
    /// `prompt` and `completion`, texts or lists of messages.
    PromptCompletion,
    /// `instruction`, `input` and `output`.
    Alpaca,
    /// `text`: one text, learnt whole.
    Text,
}

type Row = Map<String, Value>;

impl Shape {
    /// All shapes, in the order in which they are tried.
    pub const ALL: [Self; 6] = [
        Self::Messages,
        Self::ShareGpt,
        Self::Preference,
        Self::PromptCompletion,
        Self::Alpaca,
        Self::Text,
    ];

    /// The shape of a row with these keys.
    pub fn of(row: &Row) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.fits(row))
    }

    /// Does the row have the keys of the shape?
    pub(crate) fn fits(self, row: &Row) -> bool {
        let mut keys = self.keys().iter();
        keys.all(|alternatives| first(row, alternatives).is_some())
    }

    /// Does the shape have a text of this name?
    pub(crate) fn takes(self, field: &str) -> bool {
        let mut keys = self.keys().iter().copied().flatten();
        keys.any(|key| *key == field) || self.more().contains(&field)
    }

    /// The names of the texts of all shapes, each once.
    pub(crate) fn fields() -> impl Iterator<Item = &'static str> {
        let of = |shape: &Self| {
            let keys = shape.keys().iter().copied().flatten().copied();
            keys.chain(shape.more().iter().copied())
        };
        let mut fields: Vec<&str> = Vec::new();
        for field in Self::ALL.iter().flat_map(of) {
            if !fields.contains(&field) {
                fields.push(field);
            }
        }
        fields.into_iter()
    }

    /// A line that describes the shape to somebody whose file has another one.
    pub fn description(self) -> &'static str {
        match self {
            Self::Messages => "messages: [{role, content}, …], optional tools",
            Self::ShareGpt => "ShareGPT: conversations: [{from, value}, …]",
            Self::Preference => "preference pairs: chosen and rejected, optional prompt",
            Self::PromptCompletion => "prompt and completion (texts, or lists of {role, content})",
            Self::Alpaca => "alpaca: instruction, output, optional input, system and history",
            Self::Text => "text: one text per row, learnt whole",
        }
    }

    /// The record's body, read from a row of this shape.
    pub(crate) fn body(self, row: &Row) -> Result<Body, Reason> {
        if is_present(row.get("functions")) {
            return Err(field("functions", "is not supported; write `tools`"));
        }
        let turns = match self {
            Self::Messages => messages(&row["messages"], "messages")?,
            Self::ShareGpt => share_gpt(row)?,
            Self::Preference => return Ok(Body::Preference(preference(row)?)),
            Self::PromptCompletion => prompt_completion(row)?,
            Self::Alpaca => alpaca(row)?,
            Self::Text => return Ok(Body::Text(text(row, "text")?)),
        };
        match turns.is_empty() {
            true => Err(field(self.keys()[0][0], "has no turns")),
            false => Ok(Body::Chat(
                Conversation::new(turns).with_tools(tools(row.get("tools"))?),
            )),
        }
    }

    /// What a row may have beside its keys.
    fn more(self) -> &'static [&'static str] {
        match self {
            Self::Messages => &["tools"],
            Self::ShareGpt | Self::PromptCompletion => &["system", "tools"],
            Self::Preference => &["prompt", "system"],
            Self::Alpaca => &["input", "context", "system", "history"],
            Self::Text => &[],
        }
    }

    /// What a row must have: one key of each list.
    fn keys(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Messages => &[&["messages"]],
            Self::ShareGpt => &[&["conversations"]],
            Self::Preference => &[&["chosen"], &["rejected"]],
            Self::PromptCompletion => &[&["prompt"], COMPLETION],
            Self::Alpaca => &[&["instruction"], OUTPUT],
            Self::Text => &[&["text"]],
        }
    }
}

const COMPLETION: &[&str] = &["completion", "response"];
const OUTPUT: &[&str] = &["output", "response"];
const INPUT: &[&str] = &["input", "context"];

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

fn alpaca(row: &Row) -> Result<Vec<Turn>, Reason> {
    let mut turns = system(row)?;
    turns.extend(history(row)?);
    let mut question = text(row, "instruction")?;
    if let Some(input) = first(row, INPUT).filter(|key| is_present(row.get(*key))) {
        question = format!("{question}\n\n{}", text(row, input)?);
    }
    let answer = text(row, first(row, OUTPUT).expect("the shape has an output"))?;
    turns.extend([
        Turn::new(Role::User, question),
        Turn::new(Role::Assistant, answer),
    ]);
    Ok(turns)
}

/// Questions and answers that came before.
fn history(row: &Row) -> Result<Vec<Turn>, Reason> {
    if !is_present(row.get("history")) {
        return Ok(Vec::new());
    }
    let mut turns = Vec::new();
    for (index, pair) in list(&row["history"], "history")?.iter().enumerate() {
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

fn prompt_completion(row: &Row) -> Result<Vec<Turn>, Reason> {
    let completion = first(row, COMPLETION).expect("the shape has a completion");
    let mut turns = system(row)?;
    for (key, role) in [("prompt", Role::User), (completion, Role::Assistant)] {
        match &row[key] {
            list @ Value::Array(_) => turns.extend(messages(list, key)?),
            _ => turns.push(Turn::new(role, text(row, key)?)),
        }
    }
    Ok(turns)
}

/// A pair whose prompt is a field of its own, or the turns with which both continuations begin.
fn preference(row: &Row) -> Result<Preference, Reason> {
    let side = |key: &str| match &row[key] {
        list @ Value::Array(_) => messages(list, key),
        _ => Ok(vec![Turn::new(Role::Assistant, text(row, key)?)]),
    };
    let (mut chosen, mut rejected) = (side("chosen")?, side("rejected")?);
    let mut prompt = system(row)?;
    match row.get("prompt") {
        Some(list @ Value::Array(_)) => prompt.extend(messages(list, "prompt")?),
        Some(_) => prompt.push(Turn::new(Role::User, text(row, "prompt")?)),
        None => {
            let shared = chosen
                .iter()
                .zip(&rejected)
                .take_while(|(a, b)| a == b)
                .count();
            prompt.extend(chosen.drain(..shared));
            rejected.drain(..shared);
        }
    }
    for (key, turns) in [("chosen", &chosen), ("rejected", &rejected)] {
        if turns.is_empty() {
            return Err(field(key, "has nothing that the other does not have"));
        }
    }
    for (key, turns) in [
        ("prompt", &prompt),
        ("chosen", &chosen),
        ("rejected", &rejected),
    ] {
        if turns.iter().any(|turn| !turn.calls.is_empty()) {
            return Err(field(key, "calls tools, which preference pairs cannot yet"));
        }
    }
    let [prompt, chosen, rejected] = [prompt, chosen, rejected].map(Conversation::new);
    Ok(Preference {
        prompt,
        chosen,
        rejected,
    })
}

fn share_gpt(row: &Row) -> Result<Vec<Turn>, Reason> {
    let mut turns = system(row)?;
    for (index, item) in list(&row["conversations"], "conversations")?
        .iter()
        .enumerate()
    {
        let place = format!("conversations[{index}]");
        let (Some(from), Some(value)) = (item.get("from"), item.get("value")) else {
            return Err(field(&place, "needs `from` and `value`"));
        };
        let role = match from.as_str() {
            Some("human" | "user") => Role::User,
            Some("gpt" | "assistant" | "chatgpt" | "model" | "bot") => Role::Assistant,
            Some("system") => Role::System,
            Some("tool" | "observation" | "function_response") => Role::Tool,
            _ => {
                return Err(field(
                    &format!("{place}.from"),
                    format!("is {from}; known are human, gpt, system and tool"),
                ));
            }
        };
        turns.push(Turn::new(role, content(value, &format!("{place}.value"))?));
    }
    Ok(turns)
}

fn messages(value: &Value, key: &str) -> Result<Vec<Turn>, Reason> {
    let turn = |(index, item): (usize, &Value)| message(item, &format!("{key}[{index}]"));
    list(value, key)?.iter().enumerate().map(turn).collect()
}

fn message(item: &Value, place: &str) -> Result<Turn, Reason> {
    let Some(role) = item.get("role") else {
        return Err(field(place, "needs `role` and `content`"));
    };
    let role = match role.as_str() {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        _ => {
            return Err(field(
                &format!("{place}.role"),
                format!("is {role}; known are system, user, assistant and tool"),
            ));
        }
    };
    if is_present(item.get("function_call")) {
        let place = format!("{place}.function_call");
        return Err(field(&place, "is not supported; write `tool_calls`"));
    }
    let calls = calls(item.get("tool_calls"), &format!("{place}.tool_calls"))?;
    let weight = weight(item.get("weight"), &format!("{place}.weight"))?;
    if role != Role::Assistant && !calls.is_empty() {
        let place = format!("{place}.tool_calls");
        return Err(field(&place, "only the assistant calls tools"));
    }
    let text = match item.get("content") {
        None | Some(Value::Null) if !calls.is_empty() => String::new(),
        said => content(said.unwrap_or(&Value::Null), &format!("{place}.content"))?,
    };
    let of_tool = |key: &str| match role {
        Role::Tool => name(item.get(key), &format!("{place}.{key}")),
        _ => Ok(None),
    };
    let reasoning = reasoning(item, place)?;
    if role != Role::Assistant && reasoning.is_some() {
        return Err(field(place, "has reasoning, which only the assistant has"));
    }
    Ok(Turn {
        reasoning,
        calls,
        call_id: of_tool("tool_call_id")?,
        name: of_tool("name")?,
        is_learnt: weight || role != Role::Assistant,
        ..Turn::new(role, text)
    })
}

/// What the assistant thinks before it answers, by any of its names; two that differ are no reasoning.
fn reasoning(item: &Value, place: &str) -> Result<Option<String>, Reason> {
    let mut found: Option<(&str, String)> = None;
    for key in REASONING {
        let Some(value) = item.get(key).filter(|value| is_present(Some(value))) else {
            continue;
        };
        let text = content(value, &format!("{place}.{key}"))?;
        match &found {
            Some((other, known)) if *known != text => {
                let problem = format!("is not what `{other}` says");
                return Err(field(&format!("{place}.{key}"), problem));
            }
            _ => found = Some((key, text)),
        }
    }
    Ok(found.map(|(_, text)| text))
}

/// What families of models call the reasoning of a turn.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// Whether a reply is learnt.
fn weight(value: Option<&Value>, place: &str) -> Result<bool, Reason> {
    match value {
        None | Some(Value::Null) => Ok(true),
        Some(value) if value.as_f64() == Some(1.0) => Ok(true),
        Some(value) if value.as_f64() == Some(0.0) => Ok(false),
        Some(other) => Err(field(place, format!("must be 0 or 1, not {other}"))),
    }
}

fn calls(value: Option<&Value>, place: &str) -> Result<Vec<ToolCall>, Reason> {
    if !is_present(value) {
        return Ok(Vec::new());
    }
    let calls = list(value.unwrap_or(&Value::Null), place)?;
    let call = |(index, value): (usize, &Value)| call(value, &format!("{place}[{index}]"));
    calls.iter().enumerate().map(call).collect()
}

fn call(value: &Value, place: &str) -> Result<ToolCall, Reason> {
    let function = value.get("function").unwrap_or(value);
    let place_of = |key: &str| format!("{place}.function.{key}");
    let Some(name) = name(function.get("name"), &place_of("name"))? else {
        return Err(field(place, "needs a function's `name` and `arguments`"));
    };
    let place = place_of("arguments");
    // OpenAI writes the arguments as JSON in a text, Hugging Face as an object.
    let written = match function.get("arguments") {
        Some(Value::String(written)) => Some(checked(written, &place)?),
        _ => None,
    };
    let arguments = match (&written, function.get("arguments")) {
        (Some(written), _) => {
            serde_json::from_str(written).map_err(|_| field(&place, "is not JSON"))?
        }
        (None, None | Some(Value::Null)) => Value::Object(Map::new()),
        (None, Some(other)) => other.clone(),
    };
    match arguments {
        Value::Object(arguments) => Ok(ToolCall {
            id: self::name(value.get("id"), &place)?,
            name,
            arguments,
            written,
        }),
        other => Err(field(
            &place,
            format!("must be an object, not {}", kind(&other)),
        )),
    }
}

/// The tools a row names: a list of schemas, or the same as JSON in a text, as tables hold it.
fn tools(value: Option<&Value>) -> Result<Vec<Value>, Reason> {
    if !is_present(value) {
        return Ok(Vec::new());
    }
    let written = match value {
        Some(Value::String(text)) => serde_json::from_str(text).ok(),
        other => other.cloned(),
    };
    let tools = written.unwrap_or(Value::Null);
    let is_schema = |tool: &Value| tool.get("function").unwrap_or(tool)["name"].is_string();
    match tools {
        Value::Array(tools) if tools.iter().all(is_schema) => Ok(tools),
        _ => Err(field(
            "tools",
            "must be a list of function schemas, each with a `name`",
        )),
    }
}

/// A name of the wire: none, or a text.
fn name(value: Option<&Value>, place: &str) -> Result<Option<String>, Reason> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => checked(name, place).map(Some),
        Some(other) => Err(field(place, format!("must be text, not {}", kind(other)))),
    }
}

/// A text, or a list of `{"type": "text", "text": …}` parts put together.
fn content(value: &Value, place: &str) -> Result<String, Reason> {
    match value {
        Value::String(text) => checked(text, place),
        Value::Array(parts) => parts
            .iter()
            .enumerate()
            .map(|(index, part)| match (&part["type"], &part["text"]) {
                (Value::String(kind), Value::String(text)) if kind == "text" => {
                    checked(text, place)
                }
                (Value::String(kind), _) => Err(field(
                    &format!("{place}[{index}]"),
                    format!("is of type `{kind}`; only text is supported"),
                )),
                _ => Err(field(
                    &format!("{place}[{index}]"),
                    "needs `type` and `text`",
                )),
            })
            .collect(),
        other => Err(field(place, format!("must be text, not {}", kind(other)))),
    }
}

fn system(row: &Row) -> Result<Vec<Turn>, Reason> {
    match row.get("system").filter(|value| is_present(Some(value))) {
        Some(_) => Ok(vec![Turn::new(Role::System, text(row, "system")?)]),
        None => Ok(Vec::new()),
    }
}

fn text(row: &Row, key: &str) -> Result<String, Reason> {
    match row.get(key) {
        Some(Value::String(text)) => checked(text, key),
        other => Err(field(
            key,
            format!("must be text, not {}", kind(other.unwrap_or(&Value::Null))),
        )),
    }
}

fn checked(text: &str, place: &str) -> Result<String, Reason> {
    match text.contains('\0') {
        true => Err(field(place, "holds a NUL character")),
        false => Ok(text.to_owned()),
    }
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>, Reason> {
    value
        .as_array()
        .ok_or_else(|| field(key, format!("must be a list, not {}", kind(value))))
}

fn first(row: &Row, alternatives: &[&'static str]) -> Option<&'static str> {
    alternatives
        .iter()
        .copied()
        .find(|key| row.contains_key(*key))
}

/// Is there something in the field, or is it only filled in for form's sake?
fn is_present(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    }
}

pub(crate) fn field(field: &str, problem: impl Into<String>) -> Reason {
    Reason::Field {
        field: field.to_owned(),
        problem: problem.into(),
    }
}

pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(json: &str) -> Result<Vec<(Role, String)>, String> {
        let row: Row = serde_json::from_str(json).unwrap();
        let shape = Shape::of(&row).ok_or("no shape")?;
        match shape.body(&row).map_err(|reason| reason.to_string())? {
            Body::Chat(conversation) => Ok(conversation
                .turns
                .into_iter()
                .map(|turn| (turn.role, turn.text))
                .collect()),
            Body::Text(text) => Ok(vec![(Role::Tool, text)]),
            Body::Preference(pair) => Ok([pair.prompt, pair.chosen, pair.rejected]
                .into_iter()
                .flat_map(|part| part.turns)
                .map(|turn| (turn.role, turn.text))
                .collect()),
        }
    }

    fn dialogue(turns: &[(Role, &str)]) -> Result<Vec<(Role, String)>, String> {
        Ok(turns
            .iter()
            .map(|&(role, text)| (role, text.to_owned()))
            .collect())
    }

    use Role::{Assistant as A, System as S, User as U};

    #[test]
    fn every_shape_becomes_turns() {
        let talk = [(S, "s"), (U, "q"), (A, "a")];
        for row in [
            r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#,
            r#"{"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "q"}]}, {"role": "assistant", "content": "a", "weight": 1}]}"#,
            r#"{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "s"}"#,
            r#"{"system": "s", "instruction": "q", "input": "", "output": "a", "id": 7}"#,
            r#"{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}"#,
            r#"{"system": "s", "prompt": "q", "response": "a"}"#,
        ] {
            assert_eq!(turns(row), dialogue(&talk), "{row}");
        }
        assert_eq!(
            turns(r#"{"instruction": "q", "input": "i", "output": "a"}"#),
            dialogue(&[(U, "q\n\ni"), (A, "a")])
        );
        assert_eq!(
            turns(r#"{"instruction": "q", "output": "a", "history": [["x", "y"], ["z", ""]]}"#),
            dialogue(&[(U, "x"), (A, "y"), (U, "z"), (A, ""), (U, "q"), (A, "a")])
        );
        for pair in [
            r#"{"prompt": "q", "chosen": "a", "rejected": "b"}"#,
            r#"{"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}"#,
        ] {
            assert_eq!(turns(pair), dialogue(&[(U, "q"), (A, "a"), (A, "b")]));
        }
        assert_eq!(turns(r#"{"text": "t"}"#), dialogue(&[(Role::Tool, "t")]));
    }

    #[test]
    fn what_cannot_be_honoured_refuses_the_row_by_field() {
        for (row, told) in [
            (
                r#"{"messages": [{"role": "robot", "content": ""}]}"#,
                "`messages[0].role` is \"robot\"",
            ),
            (
                r#"{"messages": [{"content": "x"}]}"#,
                "`messages[0]` needs `role`",
            ),
            (
                r#"{"messages": [{"role": "user", "content": 3}]}"#,
                "`messages[0].content` must be text, not a number",
            ),
            (
                r#"{"messages": [{"role": "user", "content": [{"type": "image"}]}]}"#,
                "of type `image`",
            ),
            (
                r#"{"messages": [{"role": "assistant", "content": null, "tool_calls": [{}]}]}"#,
                "`messages[0].tool_calls[0]` needs a function's `name`",
            ),
            (
                r#"{"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}]}"#,
                "function.arguments` must be an object, not a list",
            ),
            (
                r#"{"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]}"#,
                "function.arguments` is not JSON",
            ),
            (
                r#"{"messages": [{"role": "user", "content": "x", "tool_calls": [{"function": {"name": "f"}}]}]}"#,
                "only the assistant calls tools",
            ),
            (
                r#"{"messages": [{"role": "assistant", "content": null, "function_call": {"name": "f"}}]}"#,
                "write `tool_calls`",
            ),
            (
                r#"{"messages": [{"role": "assistant", "content": "x"}], "tools": [{"type": "function"}]}"#,
                "`tools` must be a list of function schemas",
            ),
            (
                r#"{"messages": [{"role": "assistant", "content": "x"}], "functions": [{"name": "f"}]}"#,
                "write `tools`",
            ),
            (
                r#"{"chosen": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}], "rejected": "b"}"#,
                "`chosen` calls tools",
            ),
            (
                r#"{"messages": [{"role": "assistant", "content": "x", "weight": 0.5}]}"#,
                "`messages[0].weight` must be 0 or 1, not 0.5",
            ),
            (r#"{"messages": []}"#, "`messages` has no turns"),
            (
                r#"{"messages": "x"}"#,
                "`messages` must be a list, not text",
            ),
            (
                r#"{"conversations": [{"from": "alien", "value": "x"}]}"#,
                "\"alien\"",
            ),
            (
                r#"{"instruction": "q", "output": "a", "history": [["x"]]}"#,
                "`history[0]` must be a question and an answer",
            ),
            (
                r#"{"instruction": "q", "output": null}"#,
                "`output` must be text, not nothing",
            ),
            (r#"{"text": "a\u0000b"}"#, "`text` holds a NUL"),
            (
                r#"{"chosen": [{"role": "user", "content": "q"}], "rejected": [{"role": "user", "content": "q"}]}"#,
                "`chosen` has nothing that the other",
            ),
            (r#"{"question": "x"}"#, "no shape"),
        ] {
            let error = turns(row).unwrap_err();
            assert!(error.contains(told), "{row}: {error}");
        }
    }

    fn body(json: &str) -> Body {
        let row: Row = serde_json::from_str(json).unwrap();
        Shape::of(&row).unwrap().body(&row).unwrap()
    }

    #[test]
    fn calls_are_the_same_with_arguments_as_text_or_as_an_object_and_tools_likewise() {
        let openai = body(
            r#"{"messages": [{"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\": [\"x\"]}"}}]}, {"role": "tool", "tool_call_id": "c", "name": "f", "content": "1"}], "tools": "[{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]"}"#,
        );
        let hugging_face = body(
            r#"{"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "c", "function": {"arguments": {"a": ["x"]}, "name": "f"}}]}, {"role": "tool", "tool_call_id": "c", "name": "f", "content": "1"}], "tools": [{"type": "function", "function": {"name": "f"}}]}"#,
        );
        let (Body::Chat(mut chat), Body::Chat(same)) = (openai, hugging_face) else {
            panic!("two chats")
        };
        // A template that prints them shows the row's own text.
        let written = chat.turns[0].calls[0].written.take();
        assert_eq!(written.as_deref(), Some(r#"{"a": ["x"]}"#));
        assert_eq!(chat, same);
        assert_eq!(chat.turns[0].calls[0].arguments["a"][0], "x");
        assert_eq!(chat.tools[0]["function"]["name"], "f");
        assert_eq!(chat.turns[1].call_id.as_deref(), Some("c"));
    }

    #[test]
    fn a_weight_of_nothing_keeps_a_reply_from_being_learnt_and_one_changes_nothing() {
        let learnt = |weight: &str| {
            let row = format!(
                r#"{{"messages": [{{"role": "user", "content": "q", "weight": 0}}, {{"role": "assistant", "content": "a"{weight}}}]}}"#
            );
            let Body::Chat(chat) = body(&row) else {
                panic!("a chat")
            };
            chat.turns
                .iter()
                .map(|turn| turn.is_learnt)
                .collect::<Vec<_>>()
        };
        assert_eq!(learnt(r#", "weight": 0"#), [true, false]);
        assert_eq!(learnt(r#", "weight": 1"#), learnt(""));
    }
}
