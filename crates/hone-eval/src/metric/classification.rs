//! Answers that are one of a few labels: accuracy, F1, Matthews' correlation, and who was taken for whom, as
//! scikit-learn computes them.
//!
//! A generated answer may be no label at all. Such an answer is wrong, belongs to no label, and has a column of its own,
//! so that a model that fails by its form is told from one that fails by its judgement.

use serde::Serialize;

/// Gold labels against answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// The labels, in the order of rows and columns.
    pub labels: Vec<String>,
    /// `counts[gold][answer]`.
    pub counts: Vec<Vec<u64>>,
    /// For each gold label: answers that are none of the labels.
    pub unparseable: Vec<u64>,
}

/// A row's gold label is not among the labels.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {row} has the label `{label}`, which is not among the labels {}", .labels.join(", "))]
pub struct UnknownLabel {
    /// Which row, counted from 0.
    pub row: usize,
    /// Its label.
    pub label: String,
    /// Those that there are.
    pub labels: Vec<String>,
}

/// How one label fared; a share of nothing is 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelScore {
    /// The label.
    pub label: String,
    /// Of the answers with this label, the share that is right.
    pub precision: f64,
    /// Of the rows with this label, the share that is answered so.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
    /// How many rows have the label.
    pub support: u64,
}

impl Confusion {
    /// Counts rows of a gold label and an answer: `None`, or a text that is no label, is unparseable.
    pub fn of<'a>(
        labels: &[impl AsRef<str>],
        rows: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Result<Self, UnknownLabel> {
        let labels: Vec<String> = labels.iter().map(|l| l.as_ref().to_string()).collect();
        let place = |label: &str| labels.iter().position(|other| other == label);
        let mut counts = vec![vec![0; labels.len()]; labels.len()];
        let mut unparseable = vec![0; labels.len()];
        for (row, (gold, answer)) in rows.into_iter().enumerate() {
            let Some(gold_at) = place(gold) else {
                return Err(UnknownLabel {
                    row,
                    label: gold.to_string(),
                    labels,
                });
            };
            match answer.and_then(place) {
                Some(answer) => counts[gold_at][answer] += 1,
                None => unparseable[gold_at] += 1,
            }
        }
        Ok(Self {
            labels,
            counts,
            unparseable,
        })
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        (0..self.labels.len()).map(|at| self.support(at)).sum()
    }

    /// The share of rows answered with their label; 0 without rows.
    pub fn accuracy(&self) -> f64 {
        ratio(self.correct(), self.rows())
    }

    /// The share of answers that are no label; 0 without rows.
    pub fn unparseable_share(&self) -> f64 {
        ratio(self.unparseable.iter().sum(), self.rows())
    }

    /// The most common gold label (of equally common ones the first) and the accuracy of always answering it.
    pub fn majority(&self) -> Option<(&str, f64)> {
        let places = 0..self.labels.len();
        let most = places.rev().max_by_key(|at| self.support(*at))?;
        (self.rows() > 0).then(|| {
            (
                self.labels[most].as_str(),
                ratio(self.support(most), self.rows()),
            )
        })
    }

    /// How each label fared.
    pub fn per_label(&self) -> Vec<LabelScore> {
        let of = |(at, label): (usize, &String)| {
            let (right, said, support) = (self.counts[at][at], self.answered(at), self.support(at));
            LabelScore {
                label: label.clone(),
                precision: ratio(right, said),
                recall: ratio(right, support),
                f1: ratio(2 * right, said + support),
                support,
            }
        };
        self.labels.iter().enumerate().map(of).collect()
    }

    /// The mean F1 of the labels, each as important as any other.
    pub fn macro_f1(&self) -> f64 {
        let scores = self.per_label();
        let sum: f64 = scores.iter().map(|score| score.f1).sum();
        sum / scores.len().max(1) as f64
    }

    /// F1 of all labels' counts together. Above the accuracy where answers are unparseable: those are no label's
    /// wrong answers.
    pub fn micro_f1(&self) -> f64 {
        let said: u64 = (0..self.labels.len()).map(|at| self.answered(at)).sum();
        ratio(2 * self.correct(), said + self.rows())
    }

    /// Matthews' correlation coefficient (Gorodkin 2004 for more than two labels), with unparseable answers as a
    /// label of their own: 1 for all right, 0 for no better than chance or where one label is all there is.
    pub fn mcc(&self) -> f64 {
        let rows = self.rows() as f64;
        let labels = 0..self.labels.len();
        let golds: Vec<f64> = labels.clone().map(|at| self.support(at) as f64).collect();
        let mut answers: Vec<f64> = labels.map(|at| self.answered(at) as f64).collect();
        let agreement: f64 = golds.iter().zip(&answers).map(|(a, b)| a * b).sum();
        answers.push(self.unparseable.iter().sum::<u64>() as f64);
        let square = |all: &[f64]| all.iter().map(|count| count * count).sum::<f64>();
        let spread = (rows * rows - square(&golds)) * (rows * rows - square(&answers));
        if spread == 0.0 {
            return 0.0;
        }
        (self.correct() as f64 * rows - agreement) / spread.sqrt()
    }

    fn correct(&self) -> u64 {
        (0..self.labels.len()).map(|at| self.counts[at][at]).sum()
    }

    fn support(&self, gold: usize) -> u64 {
        self.counts[gold].iter().sum::<u64>() + self.unparseable[gold]
    }

    fn answered(&self, label: usize) -> u64 {
        self.counts.iter().map(|row| row[label]).sum()
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_label_is_wrong_and_shown() {
        let rows = [
            ("a", Some("a")),
            ("a", None),
            ("b", Some("neither")),
            ("b", Some("b")),
        ];
        let confusion = Confusion::of(&["a", "b"], rows).unwrap();
        assert_eq!(confusion.accuracy(), 0.5);
        assert_eq!(confusion.unparseable, [1, 1]);
        assert_eq!(confusion.unparseable_share(), 0.5);
        assert_eq!(confusion.per_label()[0].precision, 1.0);
        assert_eq!(confusion.per_label()[0].recall, 0.5);
    }

    #[test]
    fn the_majority_is_the_first_of_equally_common_labels() {
        let rows = [("b", None), ("a", None)];
        let confusion = Confusion::of(&["a", "b"], rows).unwrap();
        assert_eq!(confusion.majority(), Some(("a", 0.5)));
        assert_eq!(Confusion::of(&["a"], []).unwrap().majority(), None);
    }

    #[test]
    fn a_gold_label_that_is_none_is_refused_by_name() {
        let error = Confusion::of(&["a", "b"], [("a", None), ("c", None)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "row 1 has the label `c`, which is not among the labels a, b"
        );
    }
}
