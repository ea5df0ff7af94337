//! What a model writes: does it repeat itself, begin or end every answer alike, write one answer for many prompts, or not end?
//!
//! References to the same prompts are the control: replies that all begin alike are what the rows teach, and nothing is wrong
//! with a model that learned it. Words are what white space separates, in lower case.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::{Finding, Weight, plural};
use crate::metric::bleu::Bleu;
use crate::metric::repetition::{distinct_n, most_common_opener, rep_n};

/// Fewer answers tell nothing about a model's habits.
pub const LEAST_ANSWERS: usize = 8;
/// Self-BLEU and near-duplicates compare each answer with all others; of more, these many.
const MOST_COMPARED: usize = 100;
/// Answers are near-duplicates if they share so much of their runs of three words.
const NEAR: f64 = 0.8;

/// Habits of a set of texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Habits {
    /// Texts.
    pub texts: usize,
    /// Distinct words, pairs and triples over all of them, all texts together.
    pub distinct: [Option<f64>; 3],
    /// Mean BLEU-4 of each text against all the others (0 to 100): how much they are alike.
    pub self_bleu: Option<f64>,
    /// Mean share of repeated four-word runs within a text.
    pub rep_4: Option<f64>,
    /// Share of texts that begin with the most common first three words.
    pub opener_share: Option<f64>,
    /// These words.
    pub opener: Option<String>,
    /// Share of texts that end with the most common last sentence.
    pub last_sentence_share: Option<f64>,
    /// Share of texts of which another is a near-duplicate.
    pub near_duplicates: Option<f64>,
    /// Share of texts that did not end before the limit, of those whose reference does.
    pub unended: Option<f64>,
}

impl Habits {
    /// Measures texts; `unended` says of each whether it did not end although its reference is short enough, and `None` where
    /// that cannot be asked.
    pub fn of<S: AsRef<str>>(texts: &[S], unended: &[Option<bool>]) -> Self {
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let rep: Vec<f64> = texts.iter().filter_map(|text| rep_n(text, 4)).collect();
        let opener = most_common_opener(&texts, 3);
        let asked: Vec<bool> = unended.iter().copied().flatten().collect();
        let share = |hits: usize, all: usize| (all > 0).then(|| hits as f64 / all as f64);
        let compared = &texts[..texts.len().min(MOST_COMPARED)];
        Self {
            texts: texts.len(),
            distinct: [1, 2, 3].map(|n| distinct_n(&texts, n)),
            self_bleu: self_bleu(compared),
            rep_4: (!rep.is_empty()).then(|| rep.iter().sum::<f64>() / rep.len() as f64),
            opener_share: opener.as_ref().map(|opener| opener.share),
            opener: opener.map(|opener| opener.words),
            last_sentence_share: last_sentence_share(&texts),
            near_duplicates: near_duplicates(compared),
            unended: share(asked.iter().filter(|is| **is).count(), asked.len()),
        }
    }
}

/// Mean sentence BLEU of each text, the others being its references.
fn self_bleu(texts: &[&str]) -> Option<f64> {
    if texts.len() < 2 {
        return None;
    }
    let bleu = Bleu {
        effective_order: true,
        ..Bleu::default()
    };
    let of = |at: usize| {
        let mut others = texts.to_vec();
        let own = others.remove(at);
        bleu.sentence(&others, own).bleu
    };
    Some((0..texts.len()).map(of).sum::<f64>() / texts.len() as f64)
}

fn last_sentence_share(texts: &[&str]) -> Option<f64> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for text in texts {
        let ends = |c| matches!(c, '.' | '!' | '?' | '\n' | '。');
        let mut sentences = text
            .split(ends)
            .map(str::trim)
            .filter(|part| !part.is_empty());
        if let Some(last) = sentences.next_back() {
            *counts.entry(last.to_lowercase()).or_default() += 1;
        }
    }
    let most = counts.values().max()?;
    Some(*most as f64 / texts.len() as f64)
}

/// Runs of three words, or the whole of a shorter text.
fn shingles(text: &str) -> HashSet<Vec<String>> {
    let words: Vec<String> = text
        .to_lowercase()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    match words.len() {
        0..=3 => HashSet::from([words]),
        _ => words.windows(3).map(<[String]>::to_vec).collect(),
    }
}

fn near_duplicates(texts: &[&str]) -> Option<f64> {
    let sets: Vec<HashSet<Vec<String>>> = texts.iter().map(|text| shingles(text)).collect();
    let is_near = |a: &HashSet<Vec<String>>, b: &HashSet<Vec<String>>| {
        let shared = a.intersection(b).count() as f64;
        shared >= NEAR * (a.len() + b.len()) as f64 / (1.0 + NEAR)
    };
    let has_near = |at: usize| {
        let mut others = (0..sets.len()).filter(|&other| other != at);
        others.any(|other| is_near(&sets[at], &sets[other]))
    };
    let near = (0..sets.len()).filter(|&at| has_near(at)).count();
    (texts.len() > 1).then(|| near as f64 / texts.len() as f64)
}

/// Habits of both models, and of what they should have said.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// The base.
    pub base: Habits,
    /// The tuned model.
    pub tuned: Habits,
    /// The references.
    pub references: Habits,
}

impl Compared {
    /// What of the tuned model's habits is none of the references'.
    pub fn judge(self) -> (Self, Vec<Finding>) {
        let (tuned, control) = (&self.tuned, &self.references);
        if tuned.texts < LEAST_ANSWERS {
            return (self, vec![]);
        }
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        // What it has to be at least, and by how much more than the references'.
        let stands_out = |own: Option<f64>, other: Option<f64>, least: f64, more: f64| {
            own.filter(|own| *own >= least && *own >= other.unwrap_or(0.0) + more)
        };
        let of = plural(tuned.texts, "answer");
        let there = |other: Option<f64>| percent(other.unwrap_or(0.0));
        let repeats = stands_out(tuned.rep_4, control.rep_4, 0.3, 0.1).map(|share| {
            let what = format!(
                "the tuned model repeats itself: {} of the four-word runs of {of} occur before in the same answer ({} in the references)",
                percent(share),
                there(control.rep_4)
            );
            Finding::new("answers-repeat", Weight::Problem, what).change("fewer --epochs or a lower --lr; look for loops in the training rows")
        });
        let opener = stands_out(tuned.opener_share, control.opener_share, 0.5, 0.3).map(|share| {
            let words = tuned.opener.as_deref().unwrap_or_default();
            let what = format!(
                "{} of {of} begin with “{words}” ({} of the references share their beginning)",
                percent(share),
                there(control.opener_share)
            );
            Finding::new("answers-begin-alike", Weight::Warning, what)
                .change("fewer --epochs, or rows whose replies begin in more ways")
        });
        let end = stands_out(
            tuned.last_sentence_share,
            control.last_sentence_share,
            0.5,
            0.3,
        )
        .map(|share| {
            let what = format!("{} of {of} end with the same sentence", percent(share));
            Finding::new("answers-end-alike", Weight::Warning, what)
        });
        let near = stands_out(tuned.near_duplicates, control.near_duplicates, 0.3, 0.2).map(|share| {
            let what = format!(
                "{} of {of} are nearly the same as another one's ({} of the references)",
                percent(share),
                there(control.near_duplicates)
            );
            Finding::new("answers-alike", Weight::Problem, what)
                .change("the prompts no longer make a difference: fewer --epochs, a lower --lr, or more rows")
        });
        let unended = tuned.unended.filter(|share| *share >= 0.2);
        let unended = unended.filter(|share| *share >= self.base.unended.unwrap_or(0.0)).map(|share| {
            let what = format!("{} of {of} did not end before the limit, although their references do", percent(share));
            Finding::new("answers-do-not-end", Weight::Warning, what)
                .change("look whether replies in the training rows end; --too-long truncate cuts their ends")
        });
        let findings = [repeats, near, opener, end, unended];
        let findings = findings.into_iter().flatten().collect();
        (self, findings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARIED: [&str; 8] = [
        "The river runs north past the old mill and the two bridges.",
        "A prime has exactly two divisors, so ninety one is none.",
        "Water boils at a lower temperature on a high mountain.",
        "She wrote the letter twice and sent neither of them home.",
        "Copper conducts heat better than iron does, at any temperature.",
        "In autumn the swallows gather on wires before they leave.",
        "An index makes reading faster and every write a little slower.",
        "The train at seven is late because of snow on the line.",
    ];

    fn compared(tuned: &[String]) -> Vec<&'static str> {
        let habits = |texts: &[&str]| Habits::of(texts, &[]);
        let tuned: Vec<&str> = tuned.iter().map(String::as_str).collect();
        let compared = Compared {
            base: habits(&VARIED),
            tuned: habits(&tuned),
            references: habits(&VARIED),
        };
        compared
            .judge()
            .1
            .iter()
            .map(|finding| finding.rule)
            .collect()
    }

    #[test]
    fn varied_answers_have_nothing_said_of_them() {
        assert_eq!(compared(&VARIED.map(String::from)), [""; 0]);
        let habits = Habits::of(&VARIED, &[]);
        assert!(habits.self_bleu.unwrap() < 20.0, "{habits:?}");
        assert_eq!(habits.near_duplicates, Some(0.0));
    }

    #[test]
    fn loops_openers_and_one_answer_for_all_are_seen() {
        let looping = VARIED.map(|text| {
            format!("{text} and so on and so on and so on and so on and so on and so on and so on")
        });
        assert!(compared(&looping).contains(&"answers-repeat"));
        let opened = VARIED.map(|text| format!("Sure, here is {text}"));
        assert_eq!(compared(&opened), ["answers-begin-alike"]);
        let same = VARIED.map(|_| VARIED[0].to_owned());
        assert_eq!(
            compared(&same),
            ["answers-alike", "answers-begin-alike", "answers-end-alike"]
        );
        assert_eq!(
            Habits::of(&same, &[]).self_bleu.map(f64::round),
            Some(100.0)
        );
    }

    #[test]
    fn what_the_references_do_as_well_is_learned_and_not_wrong() {
        let opened = VARIED.map(|text| format!("This lint checks {text}"));
        let habits = || Habits::of(&opened, &[]);
        let compared = Compared {
            base: habits(),
            tuned: habits(),
            references: habits(),
        };
        assert_eq!(compared.judge().1, []);
    }

    #[test]
    fn answers_without_an_end_are_counted_where_an_end_was_due() {
        let habits = Habits::of(
            &VARIED,
            &[Some(true), Some(false), None, Some(true), Some(false)],
        );
        assert_eq!(habits.unended, Some(0.5));
    }
}
