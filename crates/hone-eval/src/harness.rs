//! Putting a model through an exam: the loss of every reference answer, and an answer of its own to every prompt.
//!
//! An exam is set once and sat by each model, so base and tuned model see the same ids. Answers are decoded greedily,
//! many at a time, which changes the speed and not the answers. What the last assistant turn says is the reference; rows
//! that do not end in one, and plain texts, have a loss and no answer.

use std::collections::HashSet;

use hone_data::{Body, Example, Record, Refused, TooLong, encode, within_budget};
use hone_ledger::{ContentId, Hasher};
use hone_model::{Completion, GenerateError, Generation, Model, NotFinite, Packed, Sampling, Stop};
use hone_tensor::TensorError;
use hone_text::{Renderer, Role, TokenizerError};

use serde::{Deserialize, Serialize};

use crate::metric::exact::{Rule, exact_match};
use crate::metric::rouge::rouge_l;
use crate::report::RowScore;

/// Rows a model can be asked about.
#[derive(Debug)]
pub struct Exam {
    examples: Vec<Example>,
    tasks: Vec<String>,
    /// Where the row of each example was read.
    places: Vec<String>,
    questions: Vec<Question>,
    /// Rows that cannot be asked, and why.
    pub refused: Vec<Refused>,
}

/// One prompt with its reference answer.
#[derive(Debug)]
struct Question {
    /// Index into the examples.
    example: usize,
    /// What is asked, for people.
    asked: String,
    prompt: Vec<u32>,
    reference: String,
    /// A continuation of a text can be read and not be scored: many are right.
    is_scored: bool,
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

/// Losses are taken over about this many tokens at a time.
const LOSS_TOKENS: usize = 2048;

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

    /// The most tokens a model has to be loaded for.
    pub fn max_positions(&self, rules: &Rules) -> usize {
        let references = self.examples.iter().map(|example| example.ids.len());
        let answers = self
            .questions
            .iter()
            .map(|question| question.prompt.len().saturating_add(rules.max_new_tokens));
        references.chain(answers).max().unwrap_or(1)
    }

    /// Has a model sit the exam; `told` hears of the progress.
    pub fn sit(
        &self,
        model: &Model,
        renderer: &Renderer,
        rules: &Rules,
        mut told: impl FnMut(Progress) + Send,
    ) -> Result<Vec<Judged>, ExamError> {
        let num_losses = if rules.with_loss {
            self.examples.len()
        } else {
            0
        };
        let total = num_losses + self.questions.len();
        let unscored = |example| Judged {
            score: self.unscored(example),
            answer: None,
        };
        let mut judged: Vec<Judged> = self.examples.iter().map(unscored).collect();
        if rules.with_loss {
            let losses = self.losses(model, |done| told(Progress { done, total }))?;
            for ((row, example), nats) in judged.iter_mut().zip(&self.examples).zip(losses) {
                (row.score.nats, row.score.tokens) = (nats, example.num_supervised() as u64);
            }
        }
        let mut done = num_losses;
        let completions = self
            .answers(model, renderer, rules, || {
                done += 1;
                told(Progress { done, total });
            })
            .map_err(|error| match error {
                GenerateError::NotFinite { prompt, cause } => {
                    self.not_finite(self.questions[prompt].example, cause)
                }
                error => error.into(),
            })?;
        for (question, completion) in self.questions.iter().zip(completions) {
            let text = renderer.tokenizer().decode(&completion.ids, true)?;
            let row = &mut judged[question.example];
            if question.is_scored {
                let exact = exact_match(&question.reference, &text, rules.exact);
                row.score.exact_match = Some(exact);
                row.score.rouge_l = Some(rouge_l(&question.reference, &text).f);
            }
            row.answer = Some(Answer {
                asked: question.asked.clone(),
                text,
                reference: question.reference.clone(),
                stop: completion.stop,
            });
        }
        Ok(judged)
    }

    fn not_finite(&self, example: usize, cause: NotFinite) -> ExamError {
        ExamError::NotFinite {
            row: self.places[example].clone(),
            cause,
        }
    }

    fn unscored(&self, example: &Example) -> RowScore {
        RowScore {
            row: example.row,
            task: self.tasks[example.task].clone(),
            nats: 0.0,
            tokens: 0,
            exact_match: None,
            rouge_l: None,
        }
    }

    /// Nats of each example's reference.
    fn losses(&self, model: &Model, mut told: impl FnMut(usize)) -> Result<Vec<f64>, ExamError> {
        let examples: Vec<&Example> = self.examples.iter().collect();
        let mut losses = Vec::with_capacity(examples.len());
        for batch in within_budget(&examples, LOSS_TOKENS) {
            let (rows, targets): (Vec<usize>, Vec<u32>) =
                batch.targets.iter().map(|t| (t.row, t.token)).unzip();
            let packed = Packed {
                ids: &batch.ids,
                boundaries: &batch.boundaries,
                rows: &rows,
                targets: &targets,
                weights: None,
            };
            let nats = model.nats(packed)?;
            let mut rest = nats.as_slice();
            for example in &examples[losses.len()..][..batch.num_examples()] {
                let (own, others) = rest.split_at(example.num_supervised());
                let nats: f64 = own.iter().sum();
                if !nats.is_finite() {
                    return Err(self.not_finite(losses.len(), model.why_not_finite(&example.ids)?));
                }
                losses.push(nats);
                rest = others;
            }
            told(losses.len());
        }
        Ok(losses)
    }

    fn answers(
        &self,
        model: &Model,
        renderer: &Renderer,
        rules: &Rules,
        mut told: impl FnMut() + Send,
    ) -> Result<Vec<Completion>, GenerateError> {
        let prompts: Vec<Vec<u32>> = self
            .questions
            .iter()
            .map(|question| question.prompt.clone())
            .collect();
        let generation = Generation {
            max_new_tokens: rules.max_new_tokens,
            stop_ids: renderer.stop_ids().to_vec(),
            sampling: Sampling::GREEDY,
        };
        model.generate_many(&prompts, &generation, rules.slots, |_, _| told())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_data::Source;
    use hone_model::{BaseFormat, weights::BaseWeights};
    use hone_tensor::Device;
    use hone_text::{ChatTemplate, Conversation, Tokenizer, Turn};
    use std::path::Path;

    const RULES: Rules = Rules {
        max_new_tokens: 8,
        slots: 3,
        exact: Rule::Strict,
        with_loss: true,
    };

    fn tiny() -> (Model, Renderer) {
        let dir =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models/tiny-llama-tied");
        let weights = BaseWeights::open(&dir).unwrap();
        let config = weights.file("tokenizer_config.json").unwrap().unwrap();
        let tokenizer = Tokenizer::from_json(&weights.tokenizer_json().unwrap().unwrap()).unwrap();
        let template = ChatTemplate::from_config(&config).unwrap();
        let renderer =
            Renderer::new(tokenizer.with_config(&config).unwrap(), template, &[]).unwrap();
        let device = Device::cpu(1).unwrap();
        (
            Model::load(&weights, &device, BaseFormat::Stored, 256).unwrap(),
            renderer,
        )
    }

    fn record(line: usize, body: Body) -> Record {
        Record {
            task: "talk".into(),
            group: None,
            origin: None,
            licence: None,
            copies: 1,
            body,
            source: Source::new("rows.jsonl", line),
        }
    }

    fn chat(line: usize, question: &str, reply: &str) -> Record {
        let turns = [
            Turn::new(Role::User, question),
            Turn::new(Role::Assistant, reply),
        ];
        record(line, Body::Chat(Conversation::new(turns)))
    }

    fn rows() -> Vec<Record> {
        let questions = [
            "Who are you?",
            "Count to three, please.",
            "Why?",
            "Say nothing at all.",
            "And then?",
        ];
        questions
            .iter()
            .enumerate()
            .map(|(line, question)| chat(line + 1, question, "Nobody knows."))
            .collect()
    }

    #[test]
    fn a_row_is_judged_alike_alone_and_among_others() {
        let (model, renderer) = tiny();
        let rows = rows();
        let together = Exam::set(&renderer, &rows, 256)
            .sit(&model, &renderer, &RULES, |_| ())
            .unwrap();
        for (at, row) in rows.iter().enumerate() {
            let exam = Exam::set(&renderer, std::slice::from_ref(row), 256);
            let alone = exam
                .sit(&model, &renderer, &RULES, |_| ())
                .unwrap()
                .remove(0);
            assert!(
                (alone.score.nats - together[at].score.nats).abs() < 1e-4,
                "row {at}"
            );
            assert_eq!(
                (alone.score.tokens, &alone.answer),
                (together[at].score.tokens, &together[at].answer)
            );
        }
    }

    #[test]
    fn the_models_own_answer_is_an_exact_match() {
        let (model, renderer) = tiny();
        let first = Exam::set(&renderer, &rows(), 256)
            .sit(&model, &renderer, &RULES, |_| ())
            .unwrap();
        assert!(
            first.iter().all(|row| row.score.exact_match == Some(false)),
            "a random model knew the answer"
        );
        let answer = first[0].answer.as_ref().unwrap();
        let exam = Exam::set(&renderer, &[chat(1, "Who are you?", &answer.text)], 256);
        let score = exam
            .sit(&model, &renderer, &RULES, |_| ())
            .unwrap()
            .remove(0)
            .score;
        assert_eq!(score.exact_match, Some(true), "{answer:?}");
    }

    #[test]
    fn a_text_has_a_loss_and_no_answer() {
        let (model, renderer) = tiny();
        let exam = Exam::set(
            &renderer,
            &[record(1, Body::Text("Some words to know by heart.".into()))],
            256,
        );
        let judged = exam.sit(&model, &renderer, &RULES, |_| ()).unwrap();
        assert!(judged[0].score.nats > 0.0 && judged[0].score.tokens > 3);
        assert_eq!(
            (&judged[0].answer, judged[0].score.exact_match),
            (&None, None)
        );
    }

    #[test]
    fn a_text_is_continued_on_request_and_not_scored() {
        let (model, renderer) = tiny();
        let text = record(1, Body::Text("Some words to know by heart.".into()));
        let exam = Exam::set(&renderer, &[text, rows().remove(0)], 256);
        let exam = exam.with_continuations(&renderer).unwrap();
        let judged = exam.sit(&model, &renderer, &RULES, |_| ()).unwrap();
        let answer = judged[0].answer.as_ref().unwrap();
        assert_eq!(
            format!("{}{}", answer.asked, answer.reference),
            "Some words to know by heart."
        );
        assert_eq!(judged[0].score.rouge_l, None);
        assert_eq!(judged[1].answer.as_ref().unwrap().asked, "Who are you?");
    }

    #[test]
    fn answers_without_losses_are_the_same_answers() {
        let (model, renderer) = tiny();
        let exam = Exam::set(&renderer, &rows(), 256);
        let with = exam.sit(&model, &renderer, &RULES, |_| ()).unwrap();
        let quick = Rules {
            with_loss: false,
            ..RULES
        };
        let without = exam.sit(&model, &renderer, &quick, |_| ()).unwrap();
        for (with, without) in with.iter().zip(&without) {
            assert_eq!((without.score.tokens, &without.answer), (0, &with.answer));
            assert!(with.score.tokens > 0 && with.answer.is_some());
        }
    }

    #[test]
    fn rows_beyond_the_limit_are_refused_and_progress_reaches_its_total() {
        let (model, renderer) = tiny();
        let mut rows = rows();
        rows.push(chat(6, &"far too long ".repeat(60), "Indeed."));
        let exam = Exam::set(&renderer, &rows, 200);
        assert_eq!(
            (
                exam.num_rows(),
                exam.refused.len(),
                exam.refused[0].source.line
            ),
            (5, 1, 6)
        );
        let mut heard = Vec::new();
        exam.sit(&model, &renderer, &RULES, |progress| heard.push(progress))
            .unwrap();
        assert_eq!(
            heard.last(),
            Some(&Progress {
                done: 10,
                total: 10
            })
        );
    }
}
