//! Replies to scores: what each metric of a task makes of each question, and of all of them.

use std::collections::BTreeMap;

use hone_ledger::Seed;
use serde::Serialize;

use super::filter::Filter;
use super::is_space;
use super::metrics::{How, TaskMetric};
use super::questions::{Context, Gold, Question, Task};
use super::sitting::Reply;
use crate::scored::{Rows, Scored};

/// One metric of a task, after one filter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskScored {
    /// The filter, where a task has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The score.
    #[serde(flatten)]
    pub scored: Scored,
}

impl TaskScored {
    /// Metric and filter as a table shows them.
    pub fn label(&self) -> String {
        match &self.filter {
            None => self.scored.metric.name.to_owned(),
            Some(filter) => format!("{},{filter}", self.scored.metric.name),
        }
    }
}

/// The scores of replies to a task's questions, metric by metric; `chosen` says which questions count, by number.
pub fn scored(
    task: &Task,
    chosen: &[usize],
    base: &[Reply],
    tuned: Option<&[Reply]>,
    seed: Seed,
) -> Vec<TaskScored> {
    let definition = &task.definition;
    let mut all = Vec::new();
    for filter in &definition.filters {
        for metric in &definition.metrics {
            let rows = |replies| rows_of(task, chosen, metric, filter, replies);
            let (name, own) = (metric.metric.name, metric.metric);
            let seed = seed.child(&definition.name).child(&filter.name).child(name);
            let (base, tuned) = (rows(base), tuned.map(rows));
            let Some(estimate) = base.estimate(own, seed) else {
                continue;
            };
            all.push(TaskScored {
                filter: (!filter.is_none()).then(|| filter.name.clone()),
                scored: Scored {
                    metric: own,
                    signature: base.signature(num_golds(task, chosen)),
                    base: estimate,
                    tuned: tuned.as_ref().and_then(|tuned| tuned.estimate(own, seed)),
                    difference: tuned.and_then(|tuned| base.compare(&tuned, own, seed)),
                },
            });
        }
    }
    all
}

/// What is left of the answers to each question, by filter; a task without filters has one without a name.
pub fn filtered(task: &Task, replies: &[Reply]) -> Vec<(Option<String>, Vec<String>)> {
    let filters = task.definition.filters.iter();
    filters
        .map(|filter| {
            let name = (!filter.is_none()).then(|| filter.name.clone());
            let left = replies.iter().map(|reply| filter.apply(&reply.answers));
            (name, left.collect())
        })
        .collect()
}

/// How many answers are right, where it is equally many for all questions.
fn num_golds(task: &Task, chosen: &[usize]) -> Option<usize> {
    let mut counts = chosen.iter().map(|at| match &task.questions[*at].gold {
        Gold::Choices(golds) => golds.len(),
        Gold::Texts(golds) => golds.len(),
    });
    let first = counts.next()?;
    counts.all(|count| count == first).then_some(first)
}

/// One question and what models made of it: a line of a report's answers.
#[derive(Debug, Serialize)]
pub struct RowReport<'a> {
    /// Where the row stands.
    pub source: String,
    /// The task.
    pub task: &'a str,
    /// What the model was given.
    pub prompt: Prompt<'a>,
    /// What there was to choose among.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub choices: &'a [String],
    /// What is right.
    pub target: Vec<String>,
    /// Was the tuned model trained on the question? Left out where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trained_on: Option<bool>,
    /// What the base made of it.
    pub base: Made<'a>,
    /// What the tuned model made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tuned: Option<Made<'a>>,
}

/// A prompt: a text, or turns.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Prompt<'a> {
    /// A text that was continued.
    Text(&'a str),
    /// Turns that were replied to.
    Turns(&'a [hone_text::Turn]),
}

/// What a model made of a question.
#[derive(Debug, Serialize)]
pub struct Made<'a> {
    /// Of each choice, or of the text.
    #[serde(skip_serializing_if = "<[f64]>::is_empty")]
    pub log_likelihoods: &'a [f64],
    /// What it said.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub answers: &'a [String],
    /// Why it ended.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub stops: &'a [String],
    /// The answer by filter, where there are filters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub filtered: BTreeMap<&'a str, String>,
    /// The question's own score, where a metric has one for each.
    pub scores: BTreeMap<String, f64>,
}

/// The lines of a report's answers, in the order of the questions.
pub fn report_rows<'a>(
    task: &'a Task,
    base: &'a [Reply],
    tuned: Option<&'a [Reply]>,
) -> Vec<RowReport<'a>> {
    let every: Vec<usize> = (0..task.questions.len()).collect();
    let made = |replies: &'a [Reply]| -> Vec<Made<'a>> {
        let mut made: Vec<Made<'a>> = replies.iter().map(|reply| made_of(task, reply)).collect();
        for filter in &task.definition.filters {
            for metric in &task.definition.metrics {
                let Rows::Means(rows) = rows_of(task, &every, metric, filter, replies) else {
                    continue;
                };
                let name = match filter.is_none() {
                    true => metric.metric.name.to_owned(),
                    false => format!("{},{}", metric.metric.name, filter.name),
                };
                for (made, score) in made.iter_mut().zip(rows) {
                    made.scores.extend(score.map(|score| (name.clone(), score)));
                }
            }
        }
        made
    };
    let base = made(base).into_iter();
    let mut tuned = tuned.map(made).unwrap_or_default().into_iter();
    let of = |(question, base): (&'a Question, Made<'a>)| RowReport {
        source: question.source.to_string(),
        task: &task.definition.name,
        prompt: match &question.context {
            Context::Text(text) => Prompt::Text(text),
            Context::Chat(turns) => Prompt::Turns(turns),
        },
        choices: &question.choices,
        target: question.gold.shown(&question.choices),
        trained_on: None,
        base,
        tuned: tuned.next(),
    };
    task.questions.iter().zip(base).map(of).collect()
}

fn made_of<'a>(task: &'a Task, reply: &'a Reply) -> Made<'a> {
    let filters = task.definition.filters.iter();
    let filters = filters.filter(|filter| !filter.is_none() && !reply.answers.is_empty());
    Made {
        log_likelihoods: &reply.log_likelihoods,
        answers: &reply.answers,
        stops: &reply.stops,
        filtered: filters
            .map(|filter| (filter.name.as_str(), filter.apply(&reply.answers)))
            .collect(),
        scores: BTreeMap::new(),
    }
}

/// What a metric keeps of each question.
fn rows_of(
    task: &Task,
    chosen: &[usize],
    metric: &TaskMetric,
    filter: &Filter,
    replies: &[Reply],
) -> Rows {
    let pairs = chosen
        .iter()
        .map(|at| (&task.questions[*at], &replies[*at]));
    let means = |of: &dyn Fn(&Question, &Reply) -> f64| {
        Rows::Means(
            pairs
                .clone()
                .map(|(question, reply)| Some(of(question, reply)))
                .collect(),
        )
    };
    let quotients = |of: &dyn Fn(&Question, &Reply) -> (f64, f64), finish| {
        Rows::Quotient(
            pairs
                .clone()
                .map(|(question, reply)| of(question, reply))
                .collect(),
            finish,
        )
    };
    let by_text = |count: fn(&str) -> usize| {
        move |question: &Question, reply: &Reply| {
            let sum: f64 = reply.log_likelihoods.iter().sum();
            (-sum, count(text_of(question)) as f64)
        }
    };
    match &metric.how {
        How::Acc => means(&|question, reply| picked(question, reply, |_| 1.0)),
        How::AccNorm => means(&|question, reply| {
            picked(question, reply, |choice| choice.chars().count() as f64)
        }),
        How::AccBytes => {
            means(&|question, reply| picked(question, reply, |choice| choice.len() as f64))
        }
        How::AccMutualInfo => means(&|question, reply| {
            let (with, without) = reply.log_likelihoods.split_at(question.choices.len());
            let gains = with
                .iter()
                .zip(without)
                .map(|(with, without)| with - without);
            is_right(question, most(gains))
        }),
        How::ChoiceExact => means(&|question, reply| {
            let Gold::Choices(golds) = &question.gold else {
                return 0.0;
            };
            let is_greedy = |gold: &usize| reply.greedy.get(*gold) == Some(&true);
            f64::from(golds.iter().any(is_greedy))
        }),
        How::Brier => means(&brier),
        How::LikelihoodAcc => means(&|_, reply| f64::from(reply.greedy.first() == Some(&true))),
        How::Perplexity => quotients(
            &|_, reply| (-reply.log_likelihoods.iter().sum::<f64>(), 1.0),
            f64::exp,
        ),
        How::WordPerplexity => quotients(&by_text(num_words), f64::exp),
        How::BytePerplexity => quotients(&by_text(str::len), f64::exp),
        How::BitsPerByte => quotients(&by_text(str::len), |nats| nats / std::f64::consts::LN_2),
        How::Exact(exact) => means(&|question, reply| {
            let said = filter.apply(&reply.answers);
            let golds = question.gold.shown(&question.choices);
            f64::from(golds.iter().any(|gold| exact.matches(gold, &said)))
        }),
        How::Reference => {
            let said: Vec<(Vec<String>, String)> = pairs
                .map(|(question, reply)| {
                    let golds = question.gold.shown(&question.choices);
                    (golds, filter.apply(&reply.answers))
                })
                .collect();
            let said = said.iter();
            let borrowed = said
                .map(|(golds, said)| (golds.iter().map(String::as_str).collect(), said.as_str()));
            Rows::of_any(metric.metric, &borrowed.collect::<Vec<_>>())
        }
    }
}

fn text_of(question: &Question) -> &str {
    match &question.gold {
        Gold::Texts(texts) => texts.first().map_or("", String::as_str),
        Gold::Choices(_) => "",
    }
}

/// As `re.split(r"\s+", text)` counts them: one more than there are runs of white space.
fn num_words(text: &str) -> usize {
    let mut was_space = false;
    let mut runs = 0;
    for c in text.chars() {
        let is = is_space(c);
        runs += usize::from(is && !was_space);
        was_space = is;
    }
    runs + 1
}

/// The first of the greatest, as numpy's `argmax` has it.
pub(crate) fn most(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (at, value) in values.enumerate() {
        if value > best.1 {
            best = (at, value);
        }
    }
    best.0
}

fn is_right(question: &Question, choice: usize) -> f64 {
    f64::from(matches!(&question.gold, Gold::Choices(golds) if golds.contains(&choice)))
}

/// Is the likeliest choice right, each by its log-likelihood over its length?
fn picked(question: &Question, reply: &Reply, length: impl Fn(&str) -> f64) -> f64 {
    let shares = reply.log_likelihoods.iter().zip(&question.choices);
    is_right(
        question,
        most(shares.map(|(nats, choice)| nats / length(choice))),
    )
}

/// The squared distance of the choices' probabilities from what is right.
fn brier(question: &Question, reply: &Reply) -> f64 {
    let own = &reply.log_likelihoods[..question.choices.len()];
    let top = own.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = own.iter().map(|nats| (nats - top).exp()).sum();
    let distance =
        |(at, nats): (usize, &f64)| ((nats - top).exp() / sum - is_right(question, at)).powi(2);
    own.iter().enumerate().map(distance).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_as_python_splits_them() {
        for (text, words) in [
            ("", 1),
            ("a", 1),
            ("a b", 2),
            (" a  b\n", 4),
            ("a\u{a0}b", 2),
        ] {
            assert_eq!(num_words(text), words, "{text:?}");
        }
    }

    #[test]
    fn of_equal_choices_the_first_is_taken() {
        assert_eq!(most([-1.0, -0.5, -0.5].into_iter()), 1);
        assert_eq!(most([f64::NEG_INFINITY; 2].into_iter()), 0);
    }
}
