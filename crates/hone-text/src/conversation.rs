//! A conversation: who said what, in order.
//!
//! The types are the project's own words; on disk they are the ecosystem's `role` and `content`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who is speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that hold for the whole conversation.
    System,
    /// The person asking.
    User,
    /// The model; the only role that is learnt from.
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
    /// What was said.
    #[serde(rename = "content")]
    pub text: String,
}

impl Turn {
    /// A turn of `role` saying `text`.
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            text: text.into(),
        }
    }
}

/// Turns in the order they were said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Conversation {
    /// The turns, first to last.
    pub turns: Vec<Turn>,
}

impl Conversation {
    /// A conversation of the given turns.
    pub fn new(turns: impl IntoIterator<Item = Turn>) -> Self {
        Self {
            turns: turns.into_iter().collect(),
        }
    }

    /// The conversation up to its last reply, and that reply; `None` when it does not end in one.
    pub fn split_reply(&self) -> Option<(Self, &str)> {
        let (last, before) = self.turns.split_last()?;
        (last.role == Role::Assistant).then(|| (Self::new(before.to_vec()), last.text.as_str()))
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
    fn only_a_conversation_that_ends_in_a_reply_has_one() {
        let asked = Conversation::new([Turn::new(Role::User, "hi")]);
        assert_eq!(asked.split_reply(), None);
        let mut answered = asked.clone();
        answered.turns.push(Turn::new(Role::Assistant, "hello"));
        assert_eq!(answered.split_reply(), Some((asked, "hello")));
    }
}
