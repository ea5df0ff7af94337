//! Which of a task's labels a model finds likeliest, each as the whole reply with the token that ends it.
//!
//! A model that has never seen the task answers in sentences, and free answers then say nothing about what it knows. Among
//! the labels alone it cannot fail by form. The prompt is read once for all labels, which makes this about as dear as the loss.

use std::collections::BTreeMap;

use hone_data::{Body, Record};
use hone_ledger::Seed;
use hone_text::{Conversation, Renderer, Role, Turn};

use super::paper::{Judging, Paper};
use super::scoring::most;
use super::sitting::Reply;
use crate::harness::Exam;
use crate::labels::labels_of;
use crate::metric::scores::Metric;
use crate::scored::{Rows, Scored};

/// The rows of tasks of labels, each with all of its task's labels.
#[derive(Debug)]
pub struct AmongLabels {
    paper: Paper,
    rows: Vec<Row>,
    /// The labels of each task, in the order in which they are asked.
    labels: BTreeMap<String, Vec<String>>,
}

#[derive(Debug)]
struct Row {
    task: String,
    /// Which label is right.
    gold: usize,
}

impl AmongLabels {
    /// What an exam has of such rows; `None` where no task of it is one of labels.
    pub fn set(renderer: &Renderer, records: &[Record], exam: &Exam) -> Option<Self> {
        let mut of_tasks: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (task, reference) in exam.references() {
            of_tasks.entry(task).or_default().push(reference);
        }
        let labels = of_tasks.into_iter();
        let labels: BTreeMap<String, Vec<String>> = labels
            .filter_map(|(task, references)| Some((task.to_owned(), labels_of(references)?)))
            .collect();
        let mut among = Self {
            paper: Paper::of_judgings(vec![], vec![]),
            rows: Vec::new(),
            labels,
        };
        let mut known: BTreeMap<String, Vec<Vec<u32>>> = BTreeMap::new();
        let (mut judgings, mut places) = (Vec::new(), Vec::new());
        for question in exam.questions.iter().filter(|question| question.is_scored) {
            let example = &exam.examples[question.example];
            let task = &exam.tasks[example.task];
            let Some(labels) = among.labels.get(task) else {
                continue;
            };
            let reference = question.reference.trim();
            let gold = labels.iter().position(|label| label == reference)?;
            let spell =
                |label: &String| reply(renderer, &records[example.row], &question.prompt, label);
            let replies = match known.get(task) {
                // A reply is spelt by itself, so labels are the same tokens in all rows; where a row's own reference is
                // not, the template writes replies otherwise in it.
                Some(replies) if ends_in(&example.ids, &question.prompt, &replies[gold]) => {
                    replies.clone()
                }
                _ => labels.iter().map(spell).collect::<Option<Vec<_>>>()?,
            };
            for reply in &replies {
                judgings.push(Judging {
                    question: among.rows.len(),
                    ids: [&question.prompt[..], reply].concat(),
                    judged: reply.len(),
                });
            }
            known.insert(task.clone(), replies);
            among.rows.push(Row {
                task: task.clone(),
                gold,
            });
            places.push(exam.places[question.example].clone());
        }
        among.paper = Paper::of_judgings(judgings, places);
        (!among.rows.is_empty()).then_some(among)
    }

    /// What is put to a model.
    pub fn paper(&self) -> &Paper {
        &self.paper
    }

    /// The share of each task's rows in which the right label is the likeliest, of one model or of two.
    pub fn scored(
        &self,
        base: &[Reply],
        tuned: Option<&[Reply]>,
        seed: Seed,
    ) -> BTreeMap<String, Scored> {
        let metric = Metric::named("accuracy_among_labels").expect("it is in the list");
        let of = |task: &String| {
            let seed = seed.child(task).child(metric.name);
            let right = |replies: &[Reply]| {
                let rows = self.rows.iter().zip(replies);
                let own = rows.filter(|(row, _)| row.task == *task);
                let is_right = |(row, reply): (&Row, &Reply)| {
                    let chosen = most(reply.log_likelihoods.iter().copied());
                    Some(f64::from(chosen == row.gold))
                };
                Rows::Means(own.map(is_right).collect())
            };
            let (base, tuned) = (right(base), tuned.map(right));
            Some((
                task.clone(),
                Scored {
                    metric,
                    signature: None,
                    base: base.estimate(metric, seed)?,
                    tuned: tuned
                        .as_ref()
                        .and_then(|tuned| tuned.estimate(metric, seed)),
                    difference: tuned.and_then(|tuned| base.compare(&tuned, metric, seed)),
                },
            ))
        };
        self.labels.keys().filter_map(of).collect()
    }
}

/// The tokens of a label as a row's whole reply, with the one that ends it.
fn reply(renderer: &Renderer, record: &Record, prompt: &[u32], label: &str) -> Option<Vec<u32>> {
    let Body::Chat(conversation) = &record.body else {
        return None;
    };
    let (_, before) = conversation.turns.split_last()?;
    let turns = before
        .iter()
        .cloned()
        .chain([Turn::new(Role::Assistant, label)]);
    let labelled = Conversation::new(turns).with_tools(conversation.tools.clone());
    let encoded = renderer.encode_conversation(&labelled).ok()?;
    let end = encoded
        .supervised
        .iter()
        .rposition(|is_supervised| *is_supervised)?
        + 1;
    let reply = encoded.ids[..end].strip_prefix(prompt)?;
    (!reply.is_empty()).then(|| reply.to_vec())
}

fn ends_in(ids: &[u32], prompt: &[u32], reply: &[u32]) -> bool {
    ids.strip_prefix(prompt)
        .is_some_and(|rest| rest.starts_with(reply))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::golden::tiny;
    use hone_data::Source;

    fn record(line: usize, question: &str, reply: &str) -> Record {
        let turns = [
            Turn::new(Role::User, question),
            Turn::new(Role::Assistant, reply),
        ];
        Record {
            task: "tickets".into(),
            group: None,
            origin: None,
            licence: None,
            copies: 1,
            body: Body::Chat(Conversation::new(turns)),
            source: Source::new("rows.jsonl", line),
        }
    }

    #[test]
    fn labels_are_judged_as_whole_replies() {
        let (model, renderer) = tiny(256);
        let labels = ["bug", "idea", "bug", "bug report"];
        let rows: Vec<Record> = (0..20)
            .map(|row| record(row, &format!("Ticket {row}"), labels[row % 4]))
            .collect();
        let exam = Exam::set(&renderer, &rows, 256);
        let among = AmongLabels::set(&renderer, &rows, &exam).unwrap();
        assert_eq!(among.labels["tickets"], ["bug", "bug report", "idea"]);
        let replies = among.paper.sit(&model, &renderer, 4, |_| ()).unwrap();
        let scored = among.scored(&replies, None, Seed::new(0));
        assert_eq!(scored["tickets"].base.rows, 20);
        // Each label as likely as the row with it as its reply says.
        for (at, label) in among.labels["tickets"].iter().enumerate() {
            let row = record(3, "Ticket 3", label);
            let exam = Exam::set(&renderer, std::slice::from_ref(&row), 256);
            let rules = crate::harness::Rules {
                max_new_tokens: 1,
                slots: 1,
                exact: crate::metric::exact::Rule::Strict,
                with_loss: true,
            };
            let judged = exam.sit(&model, &renderer, &rules, |_| ()).unwrap();
            let (own, theirs) = (replies[3].log_likelihoods[at], -judged[0].score.nats);
            assert!((own - theirs).abs() < 1e-4, "{label}: {own}, {theirs}");
        }
    }

    #[test]
    fn rows_without_labels_have_none() {
        let (_, renderer) = tiny(256);
        let rows: Vec<Record> = (0..20)
            .map(|row| record(row, "Why?", &format!("Because of {row}.")))
            .collect();
        let exam = Exam::set(&renderer, &rows, 256);
        assert!(AmongLabels::set(&renderer, &rows, &exam).is_none());
    }
}
