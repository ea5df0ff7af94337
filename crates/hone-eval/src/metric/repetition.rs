//! Does the model repeat itself? Loops inside an answer and one opener for all answers are the two ways in which a
//! tuned model goes wrong while its loss still falls. Words here are what white space separates, in lower case.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

/// How repetitive a set of answers is; `None` where the answers are too short to tell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Repetition {
    /// Distinct word pairs over all word pairs, all answers together (distinct-2).
    pub distinct_2: Option<f64>,
    /// Mean share of repeated four-word runs within an answer (rep-4).
    pub rep_4: Option<f64>,
    /// The most common first three words.
    pub opener: Option<Opener>,
}

impl Repetition {
    /// Measures the answers.
    pub fn of<S: AsRef<str>>(answers: &[S]) -> Self {
        let within: Vec<f64> = answers
            .iter()
            .filter_map(|answer| rep_n(answer.as_ref(), 4))
            .collect();
        Self {
            distinct_2: distinct_n(answers, 2),
            rep_4: (!within.is_empty()).then(|| within.iter().sum::<f64>() / within.len() as f64),
            opener: most_common_opener(answers, 3),
        }
    }
}

/// Words that many answers begin with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Opener {
    /// The words.
    pub words: String,
    /// The share of all answers that begin with them.
    pub share: f64,
}

/// Distinct n-grams over all n-grams, all answers together (Li et al. 2016).
pub fn distinct_n<S: AsRef<str>>(answers: &[S], n: usize) -> Option<f64> {
    let answers: Vec<Vec<String>> = answers
        .iter()
        .map(|answer| words(answer.as_ref()))
        .collect();
    distinct_share(answers.iter().flat_map(|words| words.windows(n)))
}

/// The share of an answer's n-grams that it had already said: `1 − distinct / all` (Welleck et al. 2020).
pub fn rep_n(answer: &str, n: usize) -> Option<f64> {
    distinct_share(words(answer).windows(n)).map(|distinct| 1.0 - distinct)
}

/// The first `n` words that most answers share; of equally common ones the first in the alphabet.
pub fn most_common_opener<S: AsRef<str>>(answers: &[S], n: usize) -> Option<Opener> {
    let mut counts: HashMap<Vec<String>, usize> = HashMap::new();
    for answer in answers {
        let words = words(answer.as_ref());
        if words.len() >= n {
            *counts.entry(words[..n].to_vec()).or_default() += 1;
        }
    }
    let (words, count) = counts
        .into_iter()
        .max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(&a.0)))?;
    Some(Opener {
        words: words.join(" "),
        share: count as f64 / answers.len() as f64,
    })
}

fn distinct_share<'a>(grams: impl Iterator<Item = &'a [String]>) -> Option<f64> {
    let (mut all, mut distinct) = (0_usize, HashSet::new());
    for gram in grams {
        all += 1;
        distinct.insert(gram);
    }
    (all > 0).then(|| distinct.len() as f64 / all as f64)
}

fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split_whitespace()
        .map(str::to_string)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_seen_within_an_answer() {
        // Nine runs of four words, three of them distinct.
        assert_eq!(rep_n("a b c a b c a b c a b c", 4), Some(1.0 - 3.0 / 9.0));
        assert_eq!(rep_n("a b c d e", 4), Some(0.0));
        assert_eq!(rep_n("a b c", 4), None);
    }

    #[test]
    fn distinct_pairs_are_counted_over_all_answers() {
        assert_eq!(distinct_n(&["a b c", "A b d"], 2), Some(0.75));
        assert_eq!(distinct_n(&["a"], 2), None);
    }

    #[test]
    fn the_opener_is_a_share_of_all_answers() {
        let answers = [
            "This lint checks for x",
            "this lint  checks y",
            "Other words here",
            "short",
        ];
        let opener = most_common_opener(&answers, 3).unwrap();
        assert_eq!(
            opener,
            Opener {
                words: "this lint checks".into(),
                share: 0.5
            }
        );
    }

    #[test]
    fn equally_common_openers_give_the_same_answer_every_time() {
        let answers = ["b b b", "a a a", "c c c"];
        (0..20).for_each(|_| assert_eq!(most_common_opener(&answers, 3).unwrap().words, "a a a"));
    }

    #[test]
    fn too_short_answers_leave_every_number_open() {
        let nothing = Repetition {
            distinct_2: None,
            rep_4: None,
            opener: None,
        };
        assert_eq!(Repetition::of(&["", "yes"]), nothing);
        assert_eq!(Repetition::of::<&str>(&[]), nothing);
    }
}
