//! Why a conversation has no ids, and what to do about it.

use crate::template::ANOTHER;
use crate::{Role, TemplateError, TemplateOption, TokenizerError};

/// Why a conversation has no ids.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says what each field is
pub enum RenderError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error("the conversation has no turns")]
    Empty,
    #[error("turn {number} ({role}) does not appear in what the chat template writes")]
    Dropped { number: usize, role: Role },
    #[error("the chat template writes turn {number} ({role}) {count} times")]
    Repeated {
        number: usize,
        role: Role,
        count: usize,
    },
    #[error(
        "the chat template changes the text of turn {number} ({role}), so the place of its tokens cannot be proven"
    )]
    Rewritten { number: usize, role: Role },
    #[error(
        "a finished conversation does not begin with its generation prompt, which ends in {tail:?}, so training would differ from serving"
    )]
    PromptDiffers { tail: String },
    #[error(
        "after a reply the chat template writes {glue:?} and no end-of-turn token, so the model could not learn to stop"
    )]
    NoEndToken { glue: String },
    #[error(
        "the reply in turn {number} melts into the prompt before it, so what is supervised cannot be exact"
    )]
    Straddled { number: usize },
    #[error("the chat template does not show the reasoning of turn {number}")]
    ReasoningDropped { number: usize },
    #[error(
        "the generation prompt opens the reasoning of a reply (it ends in {tail:?}), and turn {number} has none{}",
        remedy(.option, "closes")
    )]
    ReasoningMissing {
        number: usize,
        tail: String,
        /// What would close it.
        option: Option<Box<TemplateOption>>,
    },
    #[error(
        "the generation prompt closes the reasoning before it begins (it ends in {tail:?}), and turn {number} has some{}",
        remedy(.option, "opens")
    )]
    ReasoningClosed {
        number: usize,
        tail: String,
        /// What would open it.
        option: Option<Box<TemplateOption>>,
    },
    #[error(
        "a tool or a call holds the number {number}, which is too large to be kept as it is written"
    )]
    NumberTooLarge { number: String },
    #[error("the chat template does not show what turn {number} tells the tool it calls")]
    CallDropped { number: usize },
    #[error("the chat template does not show the tools that the row names")]
    ToolsDropped,
    #[error("where the tool call in turn {number} begins cannot be told from what comes before it")]
    CallUnplaced { number: usize },
    #[error(
        "the reply in turn {number} holds {token:?}, which ends replies, before its call, so the model would never come to write it"
    )]
    StopBeforeCall { number: usize, token: String },
    #[error("a tool or a call holds the control token {token:?}")]
    ControlInCall { token: String },
    #[error(
        "it holds the token {token:?} (number {id}), and the model has rows for {rows} tokens only, from 0 on"
    )]
    NoRow { token: String, id: u32, rows: usize },
    #[error("the tokenizer names no end-of-sequence token, which this kind of text must end with")]
    NoEndOfSequence,
}

fn remedy(option: &Option<Box<TemplateOption>>, does: &str) -> String {
    let said = |option| format!("; --template-option {option} {does} it");
    option.as_ref().map_or(String::new(), said)
}

impl RenderError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        let one = |hint: &str| vec![hint.to_owned()];
        match self {
            Self::Template(error) => error.hints(),
            Self::Tokenizer(_) => one(
                "write the text in characters that the tokenizer knows, or take another base",
            ),
            Self::Empty => one("a conversation has at least one turn"),
            Self::ReasoningMissing { .. } => vec![
                "give the reply its reasoning, as `reasoning_content` beside `content` or as `<think>…</think>` in front of it".into(),
                "or choose a chat template whose prompt does not open the reasoning: --chat-template FILE".into(),
            ],
            Self::ReasoningClosed { .. } => one(
                "leave the reasoning out of the row, or choose a chat template that asks for it: --chat-template FILE",
            ),
            Self::ReasoningDropped { .. } => one(
                "choose a chat template that knows reasoning (--chat-template FILE), or write it into `content` as `<think>…</think>`",
            ),
            Self::StopBeforeCall { .. } => one("`weight`: 0 on that turn keeps it as context"),
            Self::NumberTooLarge { .. } => one("write it as text, between quotes"),
            Self::PromptDiffers { .. }
            | Self::Rewritten { .. }
            | Self::Dropped { .. }
            | Self::Repeated { .. }
            | Self::Straddled { .. }
            | Self::CallUnplaced { .. } => vec![format!(
                "give the model a chat template that writes every turn as it is: {ANOTHER}"
            )],
            Self::CallDropped { .. } | Self::ToolsDropped => one(
                "choose a chat template that knows tools (--chat-template FILE), or a model that has one",
            ),
            Self::NoEndToken { .. } => vec![format!(
                "give the model a chat template that ends replies with a control token, as `{{{{ eos_token }}}}`: {ANOTHER}"
            )],
            Self::ControlInCall { .. } => one("take the token out of the tool or the call"),
            Self::NoRow { .. } => one(
                "take the token out of the text or the chat template; if it should have a row, fetch tokenizer and weights again, both from one place",
            ),
            Self::NoEndOfSequence => one(
                "name the token in the model's tokenizer_config.json, as \"eos_token\": \"</s>\"",
            ),
        }
    }
}
