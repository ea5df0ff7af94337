//! What a task is, however it was written down.

use std::path::PathBuf;

use hone_text::Role;

use super::filter::Filter;
use super::metrics::TaskMetric;
use super::text::{Choices, Target, Text};

/// What a model is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To find one of several choices more likely than the others.
    MultipleChoice,
    /// To find a text likely after another.
    Loglikelihood,
    /// To find a text likely.
    LoglikelihoodRolling,
    /// To answer.
    GenerateUntil,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::MultipleChoice,
        Self::Loglikelihood,
        Self::LoglikelihoodRolling,
        Self::GenerateUntil,
    ];

    /// Its name in task files, which is lm-evaluation-harness's.
    pub fn name(self) -> &'static str {
        match self {
            Self::MultipleChoice => "multiple_choice",
            Self::Loglikelihood => "loglikelihood",
            Self::LoglikelihoodRolling => "loglikelihood_rolling",
            Self::GenerateUntil => "generate_until",
        }
    }

    /// Whether its questions are answered in words.
    pub fn is_answered(self) -> bool {
        self == Self::GenerateUntil
    }

    /// The kind of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A task as a file says it. All that is made of it depends on this and on the rows.
#[derive(Debug)]
pub struct Definition {
    /// The file.
    pub file: PathBuf,
    /// What it is called.
    pub name: String,
    /// Which version of it this is; told beside the scores.
    pub version: Option<String>,
    /// One line of what it is about.
    pub about: Option<String>,
    /// What a model is asked to do.
    pub kind: Kind,
    /// The file of the rows that are asked.
    pub rows: PathBuf,
    /// A command that scores answers, as its words stand in the file.
    pub scorer: Option<String>,
    pub(super) prompt: Prompt,
    pub(super) target: Option<Target>,
    pub(super) choices: Option<Choices>,
    /// What stands between a prompt and its answer.
    pub(super) target_delimiter: String,
    pub(super) few_shot: FewShot,
    pub(super) generation: Generation,
    pub(super) filters: Vec<Filter>,
    pub(super) metrics: Vec<TaskMetric>,
}

/// How a question is put.
#[derive(Clone, Debug)]
pub(super) enum Prompt {
    /// As a text that the model continues.
    Text(Plain),
    /// As turns, through the model's chat template.
    Chat(Vec<(Role, Text)>),
}

/// A question as a text.
#[derive(Clone, Debug)]
pub(super) struct Plain {
    /// What stands before everything else.
    pub description: Option<Text>,
    /// The question; a task of whole texts has none.
    pub question: Option<Text>,
    /// How the answer begins.
    pub prefix: Option<Text>,
}

/// Examples before a question.
#[derive(Clone, Debug)]
pub(super) struct FewShot {
    pub number: usize,
    /// Where they are taken from; the rows themselves where it is not said, and then never the row that is asked.
    pub rows: Option<PathBuf>,
    /// Is it the rows that are asked, without the one at hand?
    pub is_own_rows: bool,
    pub order: Order,
    /// What stands behind each example.
    pub delimiter: String,
    /// What differs in examples from the question; that of the task where there is none.
    pub question: Option<Text>,
    pub target: Option<Target>,
    /// Only with these a target may be a number.
    pub choices: Option<Choices>,
    pub prefix: Option<Text>,
    pub target_delimiter: String,
}

/// Which rows are shown as examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The first ones, to every question.
    First,
    /// Drawn for each question, as Python draws them.
    Random { seed: u64 },
}

/// lm-evaluation-harness's own seed of examples.
pub(super) const FEW_SHOT_SEED: u64 = 1234;

/// How answers are written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Generation {
    /// Texts before which an answer ends.
    pub until: Vec<String>,
    pub max_tokens: usize,
    /// 0 takes the most likely token each time.
    pub temperature: f32,
    pub seed: u64,
    /// Answers to each question.
    pub repeats: usize,
}

/// As many tokens as lm-evaluation-harness lets an answer have.
pub(super) const MAX_TOKENS: usize = 256;
