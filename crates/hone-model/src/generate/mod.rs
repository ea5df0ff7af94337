//! Saying something: what a model remembers of sequences, greedy and sampled decoding, many sequences in one batch.
//!
//! A step of generation is an ordinary packed batch in which most sequences bring one token, so a fresh prompt can join while
//! others are in mid-sentence, each with the adapter it asked for, and there is one decoder for all of it. What a sequence
//! says depends on its prompt, its adapter and its settings, to the bit, and not on what stands beside it.
//! [`engine`] is what takes sequences in and steps them on, [`session`] a conversation of its own; both read tokens into a
//! [`cache`], whose [`pages`] sequences that begin alike share; [`sampling`] chooses the next token.

mod cache;
mod engine;
mod pages;
mod sampling;
mod session;

use hone_tensor::TensorError;
use serde::{Deserialize, Serialize};

use crate::finite::NotFinite;
use crate::mixed::MixedError;
use crate::model::Model;

pub use engine::{Engine, EngineLimits, Request, SequenceEvent, SequenceId};
pub use sampling::Sampling;
pub use session::Session;

/// When to stop, and how to choose until then.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// At most this many new tokens.
    pub max_new_tokens: usize,
    /// Tokens that end the answer; the one met is not part of it.
    pub stop_ids: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// A stop token came.
    Token(u32),
    /// The limit on new tokens was met.
    Length,
    /// The model's context is full.
    Context,
    /// The caller had enough.
    Caller,
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "stop_token",
            Self::Length => "length",
            Self::Context => "context",
            Self::Caller => "caller",
        })
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Its tokens, the stop token not among them.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub stop: Stop,
}

/// Why nothing can be generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// Nothing to continue.
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    /// The prompt alone fills the context.
    #[error(
        "the prompt has {tokens} tokens, and the model takes at most {limit} with room for an answer"
    )]
    PromptTooLong {
        /// Its tokens.
        tokens: usize,
        /// What fits.
        limit: usize,
    },
    /// A token is to be scored that is not there, or has nothing before it, or is named out of order.
    #[error(
        "token {place} cannot be scored: of {tokens} tokens those from 1 on can, each once and in their order"
    )]
    ScoredPlace {
        /// Which.
        place: usize,
        /// How many there are.
        tokens: usize,
    },
    /// A token that the model does not have.
    #[error("token {id} is not in the model's vocabulary of {vocab_size}")]
    UnknownToken {
        /// The token.
        id: u32,
        /// How many there are.
        vocab_size: usize,
    },
    /// The model gives no number for the next token.
    #[error("the model gives no finite numbers for the next token: {cause}")]
    NotFinite {
        /// Which of the prompts was to be continued.
        prompt: usize,
        /// Where they come from.
        cause: NotFinite,
    },
    /// Its adapters are not there, or cannot stand beside those of other sequences.
    #[error(transparent)]
    Adapters(#[from] MixedError),
    /// The device failed.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl GenerateError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::EmptyPrompt => {
                vec!["an answer begins after a prompt of at least one token".into()]
            }
            Self::PromptTooLong { tokens, limit } => vec![format!(
                "leave out {} tokens of it, or take a base with a longer context",
                tokens - limit
            )],
            Self::UnknownToken { .. } => {
                vec!["the tokenizer and the weights are of different models; fetch both from one place".into()]
            }
            Self::NotFinite { cause, .. } => cause.hints(),
            Self::Adapters(error) => error.hints(),
            Self::Tensor(_) | Self::ScoredPlace { .. } => vec![],
        }
    }
}

impl Model {
    /// Answers many prompts, `slots` at a time; a slot that falls free takes the next prompt. Answers
    /// come back in the order of the prompts; `done` hears of each as it ends.
    pub fn generate_many(
        &self,
        prompts: &[Vec<u32>],
        settings: &Generation,
        slots: usize,
        mut done: impl FnMut(usize, &Completion) + Send,
    ) -> Result<Vec<Completion>, GenerateError> {
        let mut engine = Engine::new(self, EngineLimits::of(slots));
        for (number, prompt) in prompts.iter().enumerate() {
            engine.add(Request {
                number: number as u64,
                generation: settings.clone(),
                ..Request::new(prompt.clone())
            })?;
        }
        let mut answers: Vec<Option<Completion>> = vec![None; prompts.len()];
        while !engine.is_idle() {
            for event in engine.step()? {
                match event {
                    SequenceEvent::Ended {
                        number, completion, ..
                    } => {
                        done(number as usize, &completion);
                        answers[number as usize] = Some(completion);
                    }
                    SequenceEvent::Failed { error, .. } => return Err(error),
                    SequenceEvent::Scored { .. } | SequenceEvent::Said { .. } => {}
                }
            }
        }
        let answers = answers.into_iter();
        Ok(answers
            .map(|answer| answer.expect("each prompt was answered"))
            .collect())
    }

    fn check_prompt(&self, prompt: &[u32]) -> Result<(), GenerateError> {
        let limit = self.max_positions().saturating_sub(1);
        if prompt.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        if prompt.len() > limit {
            return Err(GenerateError::PromptTooLong {
                tokens: prompt.len(),
                limit,
            });
        }
        self.check_ids(prompt)
    }

    pub(crate) fn check_ids(&self, ids: &[u32]) -> Result<(), GenerateError> {
        let vocab_size = self.config().vocab_size;
        match ids.iter().find(|&&id| id as usize >= vocab_size) {
            Some(&id) => Err(GenerateError::UnknownToken { id, vocab_size }),
            None => Ok(()),
        }
    }
}
