//! An exam for models: the loss of every reference answer, and an answer of its own to every prompt.
//!
//! An exam is set once and sat by each model ([`crate::sitting`]), so base and tuned model see the same ids. What the last assistant turn says is the reference; rows
//! that do not end in one, and plain texts, have a loss and no answer.

use std::collections::{BTreeMap, HashSet};

use hone_data::{Body, Example, Record, Refused, TooLong, encode};
use hone_ledger::{ContentId, Hasher};
use hone_model::{GenerateError, NotFinite, Stop};
use hone_tensor::TensorError;
use hone_text::{Renderer, Role, TokenizerError};

use serde::{Deserialize, Serialize};

use crate::metric::exact::Rule;
use crate::report::RowScore;

/// Rows a model can be asked about.
#[derive(Debug)]
pub struct Exam {
    pub(crate) examples: Vec<Example>,
    pub(crate) tasks: Vec<String>,
    /// Where the row of each example was read.
    pub(crate) places: Vec<String>,
    pub(crate) questions: Vec<Question>,
    /// Rows that cannot be asked, and why.
    pub refused: Vec<Refused>,
}

/// One prompt with its reference answer.
#[derive(Debug)]
pub(crate) struct Question {
    /// Index into the examples.
    pub example: usize,
    /// What is asked, for people.
    pub asked: String,
    pub prompt: Vec<u32>,
    pub reference: String,
    /// A continuation of a text can be read and not be scored: many are right.
    pub is_scored: bool,
}

/// How answers are made and matched.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Longest answer in tokens; a longer one is cut there and judged as it is.
    pub max_new_tokens: usize,
    /// Answers written at the same time.
    pub slots: usize,
    /// What counts as an exact match.
    pub exact: Rule,
    /// Whether the loss of the references is taken too; it costs as much as reading all prompts again.
    pub with_loss: bool,
}

/// What became of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Its numbers.
    pub score: RowScore,
    /// What was said, when something was asked.
    pub answer: Option<Answer>,
}

impl Judged {
    /// The reference and what was said, where an answer is scored.
    pub(crate) fn scored(&self) -> Option<(&str, &str)> {
        self.score.exact_match?;
        let answer = self.answer.as_ref()?;
        Some((&answer.reference, &answer.text))
    }
}

/// An answer beside its reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What was asked: the last thing the user said, or the beginning of a text.
    pub asked: String,
    /// What the model said.
    pub text: String,
    /// What it should have said.
    pub reference: String,
    /// Why it stopped.
    pub stop: Stop,
}

/// How far a sitting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Losses and answers done.
    pub done: usize,
    /// Losses and answers to be done.
    pub total: usize,
}

/// Why a sitting failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says it all
pub enum ExamError {
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error("{row}: the model gives no finite numbers: {cause}")]
    NotFinite { row: String, cause: NotFinite },
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

impl ExamError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Generate(error) => error.hints(),
            Self::NotFinite { cause, .. } => cause.hints(),
            Self::Tensor(_) | Self::Tokenizer(_) => vec![],
        }
    }
}

impl Exam {
    /// Sets an exam; rows longer than `max_length` with their reference are refused.
    pub fn set(renderer: &Renderer, records: &[Record], max_length: usize) -> Self {
        let encoding = encode(renderer, records, max_length, TooLong::Drop);
        let question = |(example, encoded): (usize, &Example)| {
            let Body::Chat(conversation) = &records[encoded.row].body else {
                return None;
            };
            // A call is judged by its loss alone: what a tool is told has no one wording. So is a reply
            // that is not to be trained on.
            let reply = conversation.turns.last()?;
            if !reply.calls.is_empty() || !reply.is_supervised {
                return None;
            }
            let (prompt, reference) = conversation.split_reply()?;
            let asked = prompt.turns.iter().rfind(|turn| turn.role == Role::User);
            Some(Question {
                example,
                asked: asked.map(|turn| turn.text.clone()).unwrap_or_default(),
                // The conversation has ids, so its prompt has: it is a prefix of it.
                prompt: renderer.encode_prompt(&prompt).ok()?,
                reference: reference.to_owned(),
                is_scored: true,
            })
        };
        let questions = encoding
            .examples
            .iter()
            .enumerate()
            .filter_map(question)
            .collect();
        let places = encoding.examples.iter();
        let places = places.map(|example| records[example.row].source.to_string());
        let places = places.collect();
        let (examples, tasks, refused) = (encoding.examples, encoding.tasks, encoding.refused);
        Self {
            examples,
            tasks,
            places,
            questions,
            refused,
        }
    }

    /// Also has the texts among the rows continued from their first half, to be read and not scored.
    pub fn with_continuations(mut self, renderer: &Renderer) -> Result<Self, TokenizerError> {
        let tokenizer = renderer.tokenizer();
        let asked: HashSet<usize> = self
            .questions
            .iter()
            .map(|question| question.example)
            .collect();
        for (example, encoded) in self.examples.iter().enumerate() {
            let (beginning, rest) = encoded.ids.split_at(encoded.ids.len() / 2);
            if asked.contains(&example) || beginning.is_empty() {
                continue;
            }
            self.questions.push(Question {
                example,
                asked: tokenizer.decode(beginning, true)?,
                prompt: beginning.to_vec(),
                reference: tokenizer.decode(rest, true)?,
                is_scored: false,
            });
        }
        Ok(self)
    }

    /// The task and the reference of each row that will be asked and scored.
    pub fn references(&self) -> impl Iterator<Item = (&str, &str)> {
        let scored = self.questions.iter().filter(|question| question.is_scored);
        scored.map(|question| {
            let task = self.examples[question.example].task;
            (self.tasks[task].as_str(), question.reference.as_str())
        })
    }

    /// The id of all that a sitting depends on but for the model and its tokenizer: the same rows under the same rules have
    /// the same id.
    pub fn id(&self, rules: &Rules) -> ContentId {
        let mut hasher = Hasher::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        let numbers = |numbers: &[u32]| -> Vec<u8> {
            numbers.iter().flat_map(|id| id.to_le_bytes()).collect()
        };
        // Slots change the speed alone.
        let Rules {
            max_new_tokens,
            slots: _,
            exact,
            with_loss,
        } = rules;
        add(format!("{max_new_tokens} {exact:?} {with_loss}").as_bytes());
        for example in &self.examples {
            add(&numbers(&example.ids));
            let supervised = example.supervised.iter().map(|is| u8::from(*is));
            add(&supervised.collect::<Vec<u8>>());
            add(self.tasks[example.task].as_bytes());
            add(&example.row.to_le_bytes());
        }
        for question in &self.questions {
            add(&question.example.to_le_bytes());
            add(question.asked.as_bytes());
            add(&numbers(&question.prompt));
            add(question.reference.as_bytes());
            add(&[u8::from(question.is_scored)]);
        }
        hasher.finish()
    }

    /// Rows that will be judged.
    pub fn num_rows(&self) -> usize {
        self.examples.len()
    }

    /// What was judged of its rows, once for each, in their order; of other rows nothing.
    pub fn in_order(&self, judged: Vec<Judged>) -> Vec<Judged> {
        let mut by_row: BTreeMap<usize, Judged> = BTreeMap::new();
        by_row.extend(judged.into_iter().map(|judged| (judged.score.row, judged)));
        let rows = self.examples.iter();
        rows.filter_map(|example| by_row.remove(&example.row))
            .collect()
    }

    /// The most tokens a model has to be loaded for.
    pub fn max_positions(&self, rules: &Rules) -> usize {
        let references = self.examples.iter().map(|example| example.ids.len());
        let answers = self
            .questions
            .iter()
            .map(|question| question.prompt.len().saturating_add(rules.max_new_tokens));
        references.chain(answers).max().unwrap_or(1)
    }

    /// A row that nobody has answered.
    pub(crate) fn unscored(&self, example: &Example) -> RowScore {
        RowScore {
            row: example.row,
            task: self.tasks[example.task].clone(),
            nats: 0.0,
            tokens: 0,
            exact_match: None,
            rouge_l: None,
        }
    }
}
