//! A conversation: who said what, in order.
//!
//! The types are the project's own words; on disk they are the ecosystem's `role` and `content`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::python::dumps;

/// Who is speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that hold for the whole conversation.
    System,
    /// The person asking.
    User,
    /// The model; the only role that is trained on.
    Assistant,
    /// The result of a tool the model called.
    Tool,
}

impl Role {
    /// The name chat templates know the role by.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing said by one speaker.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Turn {
    /// Who said it.
    pub role: Role,
    /// What was said; empty where an assistant only calls tools.
    #[serde(rename = "content", deserialize_with = "text_or_null")]
    pub text: String,
    /// What the assistant thinks before it answers, where it stands apart from the text; never empty.
    #[serde(
        default,
        rename = "reasoning_content",
        alias = "thinking",
        alias = "reasoning",
        deserialize_with = "text_or_none",
        skip_serializing_if = "Option::is_none"
    )]
    pub reasoning: Option<String>,
    /// Tools that the assistant calls.
    #[serde(default, rename = "tool_calls", skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ToolCall>,
    /// Which call a tool answers.
    #[serde(
        default,
        rename = "tool_call_id",
        skip_serializing_if = "Option::is_none"
    )]
    pub call_id: Option<String>,
    /// The tool that speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Is the reply trained on, and not only read?
    #[serde(
        default = "supervised",
        rename = "weight",
        skip_serializing_if = "is_supervised",
        serialize_with = "as_weight",
        deserialize_with = "from_weight"
    )]
    pub is_supervised: bool,
}

/// A tool that is called, with what it is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "WrittenCall", into = "WrittenCall")]
pub struct ToolCall {
    /// What the tool's answer refers to.
    pub id: Option<String>,
    /// The tool's name.
    pub name: String,
    /// What it is told.
    pub arguments: Map<String, Value>,
    /// The same as JSON in a text, where a row has it so; see [`ToolCall::arguments_text`].
    pub written: Option<String>,
}

impl ToolCall {
    /// The arguments as JSON: as the row has them, if it has them as a text and nobody changed them since, or as Python's
    /// `json.dumps` writes them.
    pub fn arguments_text(&self) -> String {
        match &self.written {
            Some(written) if self.is_as_written(written) => written.clone(),
            _ => dumps(&Value::Object(self.arguments.clone())),
        }
    }

    /// The texts among the arguments, in their order.
    pub(crate) fn arguments_texts(&self) -> impl Iterator<Item = &str> {
        let mut texts = Vec::new();
        let values = self.arguments.values();
        values.for_each(|value| collect_texts(value, &mut texts));
        texts.into_iter()
    }

    /// The same texts, to be changed.
    pub(crate) fn arguments_texts_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let mut texts = Vec::new();
        let values = self.arguments.values_mut();
        values.for_each(|value| collect_texts_mut(value, &mut texts));
        texts.into_iter()
    }

    /// Whether the row has the arguments as a text.
    pub(crate) fn is_text(&self) -> bool {
        self.written.is_some()
    }

    fn is_as_written(&self, written: &str) -> bool {
        serde_json::from_str::<Map<String, Value>>(written).is_ok_and(|read| read == self.arguments)
    }
}

/// A call as it is written on disk and shown to chat templates.
#[derive(Serialize, Deserialize)]
struct WrittenCall {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "type", default)]
    kind: CallKind,
    function: Function,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CallKind {
    #[default]
    Function,
}

#[derive(Serialize, Deserialize)]
struct Function {
    name: String,
    arguments: WrittenArguments,
}

/// OpenAI writes the arguments as JSON in a text, Hugging Face as an object.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenArguments {
    Object(Map<String, Value>),
    Text(String),
}

impl TryFrom<WrittenCall> for ToolCall {
    type Error = serde_json::Error;

    fn try_from(WrittenCall { id, function, .. }: WrittenCall) -> Result<Self, Self::Error> {
        let (arguments, written) = match function.arguments {
            WrittenArguments::Object(arguments) => (arguments, None),
            WrittenArguments::Text(text) => (serde_json::from_str(&text)?, Some(text)),
        };
        Ok(Self {
            id,
            name: function.name,
            arguments,
            written,
        })
    }
}

impl From<ToolCall> for WrittenCall {
    fn from(call: ToolCall) -> Self {
        let arguments = match call.is_text() {
            true => WrittenArguments::Text(call.arguments_text()),
            false => WrittenArguments::Object(call.arguments),
        };
        Self {
            id: call.id,
            kind: CallKind::Function,
            function: Function {
                name: call.name,
                arguments,
            },
        }
    }
}

fn text_or_null<'de, D: Deserializer<'de>>(text: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(text)?.unwrap_or_default())
}

fn text_or_none<'de, D: Deserializer<'de>>(text: D) -> Result<Option<String>, D::Error> {
    Ok(Option::deserialize(text)?.filter(|text: &String| !text.is_empty()))
}

fn supervised() -> bool {
    true
}

fn is_supervised(is_supervised: &bool) -> bool {
    *is_supervised
}

fn as_weight<S: Serializer>(is_supervised: &bool, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_u8(u8::from(*is_supervised))
}

fn from_weight<'de, D: Deserializer<'de>>(weight: D) -> Result<bool, D::Error> {
    Ok(f64::deserialize(weight)? != 0.0)
}

impl Turn {
    /// A turn of `role` saying `text`.
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            text: text.into(),
            reasoning: None,
            calls: Vec::new(),
            call_id: None,
            name: None,
            is_supervised: true,
        }
    }

    /// The texts among the arguments of its calls, in their order.
    pub fn arguments(&self) -> impl Iterator<Item = &str> {
        self.calls.iter().flat_map(ToolCall::arguments_texts)
    }

    /// The same texts, to be changed.
    pub fn arguments_mut(&mut self) -> impl Iterator<Item = &mut String> {
        self.calls
            .iter_mut()
            .flat_map(ToolCall::arguments_texts_mut)
    }
}

fn collect_texts<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Object(fields) => fields.values().for_each(|item| collect_texts(item, texts)),
        _ => {}
    }
}

fn collect_texts_mut<'a>(value: &'a mut Value, texts: &mut Vec<&'a mut String>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| collect_texts_mut(item, texts)),
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|item| collect_texts_mut(item, texts)),
        _ => {}
    }
}

/// Turns in the order they were said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Conversation {
    /// The turns, first to last.
    pub turns: Vec<Turn>,
    /// The tools that the assistant may call, as JSON schemas; on disk they stand beside the turns.
    #[serde(skip)]
    pub tools: Vec<Value>,
}

impl Conversation {
    /// A conversation of the given turns.
    pub fn new(turns: impl IntoIterator<Item = Turn>) -> Self {
        Self {
            turns: turns.into_iter().collect(),
            tools: Vec::new(),
        }
    }

    /// The same with tools that the assistant may call.
    pub fn with_tools(self, tools: Vec<Value>) -> Self {
        Self { tools, ..self }
    }

    /// The first turns, and the tools.
    pub fn up_to(&self, turn: usize) -> Self {
        Self::new(self.turns[..turn].to_vec()).with_tools(self.tools.clone())
    }

    /// The conversation up to its last reply, and that reply; `None` when it does not end in one.
    pub fn split_reply(&self) -> Option<(Self, &str)> {
        let last = self.turns.last()?;
        let is_reply = last.role == Role::Assistant;
        is_reply.then(|| (self.up_to(self.turns.len() - 1), last.text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_a_list_of_role_and_content_on_disk() {
        let conversation = Conversation::new([Turn::new(Role::User, "hi")]);
        let json = serde_json::to_string(&conversation).expect("plain data serialises");
        assert_eq!(json, r#"[{"role":"user","content":"hi"}]"#);
        let back: Conversation = serde_json::from_str(&json).expect("what was written can be read");
        assert_eq!(back, conversation);
    }

    #[test]
    fn calls_and_weights_are_written_as_openai_writes_them_and_only_where_they_are() {
        let written = r#"[{"role":"assistant","content":"","tool_calls":[{"id":"c1","type":"function","function":{"name":"find","arguments":{"q":"a"}}}],"weight":0},{"role":"tool","content":"b","tool_call_id":"c1","name":"find"}]"#;
        let conversation: Conversation = serde_json::from_str(written).unwrap();
        assert_eq!(conversation.turns[0].calls[0].name, "find");
        assert!(!conversation.turns[0].is_supervised && conversation.turns[1].is_supervised);
        assert_eq!(serde_json::to_string(&conversation).unwrap(), written);
        let sparse = r#"[{"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f","arguments":{}}}],"weight":1.0}]"#;
        let conversation: Conversation = serde_json::from_str(sparse).unwrap();
        assert!(conversation.turns[0].is_supervised && conversation.turns[0].text.is_empty());
    }

    #[test]
    fn reasoning_is_read_by_its_three_names_and_written_by_one() {
        for name in ["reasoning_content", "thinking", "reasoning"] {
            let written = format!(r#"[{{"role":"assistant","content":"4","{name}":"2 + 2"}}]"#);
            let conversation: Conversation = serde_json::from_str(&written).unwrap();
            assert_eq!(conversation.turns[0].reasoning.as_deref(), Some("2 + 2"));
            let canonical = written.replace(name, "reasoning_content");
            assert_eq!(serde_json::to_string(&conversation).unwrap(), canonical);
        }
        let none = r#"[{"role":"assistant","content":"4","reasoning_content":""}]"#;
        let conversation: Conversation = serde_json::from_str(none).unwrap();
        assert_eq!(conversation.turns[0].reasoning, None);
    }

    #[test]
    fn the_texts_of_arguments_are_found_and_changed_in_their_order() {
        let written = r#"[{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"b":["x",{"c":"y"}],"a":1}}},{"function":{"name":"g","arguments":{"d":"z"}}}]}]"#;
        let mut conversation: Conversation = serde_json::from_str(written).unwrap();
        let turn = &mut conversation.turns[0];
        assert_eq!(turn.arguments().collect::<Vec<_>>(), ["x", "y", "z"]);
        *turn.arguments_mut().nth(1).unwrap() = "w".into();
        assert_eq!(turn.arguments().collect::<Vec<_>>(), ["x", "w", "z"]);
    }

    #[test]
    fn only_a_conversation_that_ends_in_a_reply_has_one() {
        let asked = Conversation::new([Turn::new(Role::User, "hi")]);
        assert_eq!(asked.split_reply(), None);
        let mut answered = asked.clone();
        answered.turns.push(Turn::new(Role::Assistant, "hello"));
        assert_eq!(answered.split_reply(), Some((asked, "hello")));
    }
}
