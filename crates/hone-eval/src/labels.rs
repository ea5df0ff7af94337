//! Tasks whose references are a few labels that come again and again: how often each is said, and for which other.
//!
//! The mean over all rows hides what a classifier does: one that always gives the commonest label may look good, and one
//! that knows the labels and adds a word is wrong in every row.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::harness::Judged;
use crate::metric::classification::{Confusion, LabelScore};

/// Rows there must be for each label, so that a set of short answers, each its own, is none of labels.
const ROWS_PER_LABEL: usize = 4;
/// Letters of the longest label.
const LONGEST: usize = 60;
/// Labels of the richest task.
const MOST: usize = 50;

/// How a model labels the rows of one task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Labelled {
    /// The share of rows that is answered with their label.
    pub accuracy: f64,
    /// The mean F1 of the labels.
    pub macro_f1: f64,
    /// Matthews' correlation: 0 for no better than chance.
    pub mcc: f64,
    /// Answers that are none of the labels.
    pub unparseable: u64,
    /// The commonest label, and the accuracy of always giving it.
    pub majority: (String, f64),
    /// Each label's precision, recall, F1 and rows.
    pub per_label: Vec<LabelScore>,
    /// Who was taken for whom.
    pub confusion: Confusion,
}

/// The labels of references, the commonest first; `None` where they are no labels.
pub fn labels_of<'a>(references: impl IntoIterator<Item = &'a str>) -> Option<Vec<String>> {
    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    let mut count = 0;
    for reference in references {
        let label = reference.trim();
        if label.is_empty() || label.contains('\n') || label.chars().count() > LONGEST {
            return None;
        }
        *rows.entry(label).or_default() += 1;
        count += 1;
    }
    if !(2..=MOST).contains(&rows.len()) || count < ROWS_PER_LABEL * rows.len() {
        return None;
    }
    let mut labels: Vec<(&str, usize)> = rows.into_iter().collect();
    labels.sort_by_key(|&(label, rows)| (std::cmp::Reverse(rows), label));
    Some(
        labels
            .into_iter()
            .map(|(label, _)| label.to_owned())
            .collect(),
    )
}

impl Labelled {
    /// How the rows of each task were labelled, where its references are labels.
    pub fn per_task(judged: &[Judged]) -> BTreeMap<String, Self> {
        let mut tasks: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
        for row in judged {
            if let Some((reference, said)) = row.scored() {
                let said = (reference.trim(), said.trim());
                tasks.entry(&row.score.task).or_default().push(said);
            }
        }
        let of = |(task, rows): (&str, Vec<(&str, &str)>)| {
            Some((task.to_owned(), Self::of(rows.into_iter())?))
        };
        tasks.into_iter().filter_map(of).collect()
    }

    /// How rows of a reference and an answer are labelled; `None` where the references are no labels.
    fn of<'a>(rows: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Option<Self> {
        let labels = labels_of(rows.clone().map(|(reference, _)| reference))?;
        let answered = rows.map(|(reference, answer)| (reference, Some(answer)));
        let confusion = Confusion::of(&labels, answered).expect("they are the references' labels");
        let (label, share) = confusion.majority()?;
        Some(Self {
            accuracy: confusion.accuracy(),
            macro_f1: confusion.macro_f1(),
            mcc: confusion.mcc(),
            unparseable: confusion.unparseable.iter().sum(),
            majority: (label.to_owned(), share),
            per_label: confusion.per_label(),
            confusion,
        })
    }

    /// Which label was taken for which, and how often, the commonest first.
    pub fn mistaken(&self) -> Vec<(&str, &str, u64)> {
        let Confusion { labels, counts, .. } = &self.confusion;
        let pairs = counts.iter().zip(labels).flat_map(|(row, gold)| {
            let answers = row.iter().zip(labels);
            answers.map(move |(count, answer)| (gold.as_str(), answer.as_str(), *count))
        });
        let mut mistaken: Vec<(&str, &str, u64)> = pairs
            .filter(|&(gold, answer, count)| gold != answer && count > 0)
            .collect();
        mistaken.sort_by_key(|&(gold, answer, count)| (std::cmp::Reverse(count), gold, answer));
        mistaken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_short_texts_that_come_again_are_labels_and_others_are_not() {
        let bugs = [
            "bug", "bug ", "idea", "bug", "idea", "idea", "idea", "bug", "bug",
        ];
        assert_eq!(labels_of(bugs), Some(vec!["bug".into(), "idea".into()]));
        assert_eq!(labels_of(bugs.into_iter().take(7)), None, "too few rows");
        assert_eq!(labels_of(["yes"; 20]), None, "one answer for all");
        let own: Vec<String> = (0..20).map(|row| format!("answer {row}")).collect();
        assert_eq!(labels_of(own.iter().map(String::as_str)), None);
        let with_text = [vec!["bug"; 9], vec!["two\nlines"; 9]].concat();
        assert_eq!(labels_of(with_text), None);
    }

    #[test]
    fn mistakes_are_told_from_answers_that_are_no_label() {
        let rows = [
            [("bug", "bug"); 4].as_slice(),
            &[("bug", "idea"); 2],
            &[("bug", "It is a bug.")],
            &[("idea", "idea"); 3],
            &[("idea", "bug")],
        ]
        .concat();
        let labelled = Labelled::of(rows.into_iter()).unwrap();
        assert_eq!(labelled.accuracy, 7.0 / 11.0);
        assert_eq!(labelled.unparseable, 1);
        assert_eq!(labelled.majority, ("bug".to_owned(), 7.0 / 11.0));
        let mistaken = [("bug", "idea", 2), ("idea", "bug", 1)];
        assert_eq!(labelled.mistaken(), mistaken);
    }
}
