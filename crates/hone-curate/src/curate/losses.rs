//! What a build leaves out of each collection and each class: a rule that is wrong about one of them shows here.

use std::collections::BTreeMap;

use hone_data::{Part, Record};
use serde::Serialize;

use crate::Finding;
use crate::duplicates::exact;
use crate::recipe::Curation;

/// A part of the rows, before the rules and after them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Loss {
    /// `collection` or `label`.
    pub of: &'static str,
    /// Its name.
    pub name: String,
    /// Rows read, usable ones.
    pub before: usize,
    /// Rows that the rules have left, before any choice or mixture.
    pub after: usize,
    /// What each rule has left out that nobody has told to, the most first; copies to the letter are none.
    pub undecided: Vec<LostRows>,
}

/// What a rule leaves out of a part of the rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LostRows {
    /// The rule.
    pub rule: String,
    /// How many rows.
    pub rows: usize,
    /// Some of them.
    pub examples: Vec<String>,
}

/// Of a handful of rows one is a large share: fewer than these stop nothing.
const FEW: usize = 10;

impl Loss {
    /// The share that has left.
    pub fn share(&self) -> f64 {
        1.0 - self.after as f64 / self.before.max(1) as f64
    }

    /// Rows that left though nobody has told a rule to leave them out.
    fn num_undecided(&self) -> usize {
        self.undecided.iter().map(|lost| lost.rows).sum()
    }

    /// Is it more than a recipe allows, and nobody has told to?
    pub fn is_too_much(&self, allowed: f64) -> bool {
        let rows = self.num_undecided();
        rows >= FEW && rows as f64 > allowed * self.before as f64
    }

    /// Is more gone than a recipe allows, whoever told to?
    pub fn is_much(&self, allowed: f64) -> bool {
        self.share() > allowed && self.before >= FEW
    }

    /// What it is a part of, in words.
    fn what(&self) -> String {
        match self.of {
            "label" => format!("the rows answered `{}`", self.name),
            _ => format!("the collection {}", self.name),
        }
    }

    /// That more has left than a recipe allows, in a sentence without a full stop.
    pub fn told(&self, allowed: f64) -> String {
        format!(
            "{:.0} % of {} left ({} of {} rows), which is more than max-dropped = {allowed}; the findings say why, and what stays beside it",
            100.0 * self.share(),
            self.what(),
            self.before - self.after,
            self.before
        )
    }

    /// Whose rows would leave, how many, and by which rules, with examples.
    pub fn told_to_stop(&self) -> String {
        let rows = self.num_undecided();
        let by_rule = |lost: &LostRows| {
            format!(
                "{} {}, such as {}",
                lost.rows,
                lost.rule,
                lost.examples.join("; ")
            )
        };
        let by_rule: Vec<String> = self.undecided.iter().map(by_rule).collect();
        format!(
            "{:.0} % of {} would leave, {rows} of {} rows: {}",
            100.0 * rows as f64 / self.before.max(1) as f64,
            self.what(),
            self.before,
            by_rule.join("; ")
        )
    }
}

/// What was left out of each collection and each class, by rule.
#[derive(Debug, Default)]
pub(super) struct Lost {
    parts: BTreeMap<(&'static str, String), BTreeMap<String, LostRows>>,
}

/// Examples that are told of what a rule leaves out.
const EXAMPLES: usize = 2;

impl Lost {
    /// Adds a row of a collection, and perhaps of a class, that a finding leaves out.
    pub fn add(&mut self, origin: &str, label: Option<&str>, finding: &Finding) {
        // So many labels are no classes.
        let label = label.filter(|_| self.parts.len() < 40 * CLASSES);
        let parts = [
            Some(("collection", origin)),
            label.map(|label| ("label", label)),
        ];
        for (of, name) in parts.into_iter().flatten() {
            let part = self.parts.entry((of, name.to_owned())).or_default();
            let lost = part
                .entry(finding.rule.clone())
                .or_insert_with(|| LostRows {
                    rule: finding.rule.clone(),
                    rows: 0,
                    examples: Vec::new(),
                });
            lost.rows += 1;
            if lost.examples.len() < EXAMPLES {
                lost.examples.push(finding.to_string());
            }
        }
    }

    /// Has each part know what left it that nobody has told to.
    pub fn tell(mut self, losses: &mut [Loss], curation: &Curation) {
        let is_decided = |rule: &str| {
            let mut rules = curation.rules.iter();
            rule == exact::DOC.name || rules.any(|ruled| ruled.doc.name == rule && ruled.is_decided)
        };
        for loss in losses {
            let lost = self.parts.remove(&(loss.of, loss.name.clone()));
            let lost = lost.into_iter().flat_map(BTreeMap::into_values);
            loss.undecided = lost.filter(|lost| !is_decided(&lost.rule)).collect();
            loss.undecided
                .sort_by_key(|lost| (std::cmp::Reverse(lost.rows), lost.rule.clone()));
        }
    }
}

/// Labels of more characters or words are answers.
const LONGEST: usize = 40;
const WORDS: usize = 4;
/// More different labels are no classes.
const CLASSES: usize = 50;
/// Rows of a class on average, from which on labels are classes.
const MEMBERS: usize = 5;

/// The last reply of a row, if it is so short that it may be a label. What may be an address or a number of somebody is none.
pub(super) fn label_of(record: &Record) -> Option<String> {
    let reply = record.parts().filter(Part::is_supervised).last()?;
    let label = reply.text.trim();
    let is_short = label.chars().count() <= LONGEST && label.split_whitespace().count() <= WORDS;
    let may_be = |c: char| !c.is_ascii_digit() && c != '@' && !c.is_control();
    (reply.role.is_some() && is_short && !label.is_empty() && label.chars().all(may_be))
        .then(|| label.to_lowercase())
}

/// How often each label was read; given up where there are too many to be classes.
#[derive(Debug, Default)]
pub(super) struct Labels {
    counts: BTreeMap<String, usize>,
    too_many: bool,
}

impl Labels {
    pub fn add(&mut self, label: &str) {
        if self.too_many {
            return;
        }
        match self.counts.get_mut(label) {
            Some(count) => *count += 1,
            None => {
                self.counts.insert(label.to_owned(), 1);
                // Rare ones come late; a thousand are no classes whatever follows.
                self.too_many = self.counts.len() > 20 * CLASSES;
            }
        }
    }

    /// The classes, with how many rows of each are left; empty where labels are no classes.
    pub fn losses<'a>(&self, left: impl Iterator<Item = &'a str>) -> Vec<Loss> {
        let rows: usize = self.counts.values().sum();
        let is_classes = !self.too_many
            && (2..=CLASSES).contains(&self.counts.len())
            && rows >= MEMBERS * self.counts.len();
        if !is_classes {
            return Vec::new();
        }
        let mut after: BTreeMap<&str, usize> = BTreeMap::new();
        left.for_each(|label| *after.entry(label).or_default() += 1);
        let loss = |(name, &before): (&String, &usize)| Loss {
            of: "label",
            name: name.clone(),
            before,
            after: after.get(name.as_str()).copied().unwrap_or(0),
            undecided: Vec::new(),
        };
        self.counts.iter().map(loss).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_replies_of_few_kinds_are_classes_and_numbers_are_not() {
        let row = |reply: &str| {
            Record::from_json(&format!(r#"{{"prompt": "q", "completion": "{reply}"}}"#)).unwrap()
        };
        assert_eq!(label_of(&row("Not spam")), Some("not spam".into()));
        assert_eq!(label_of(&row("42")), None);
        assert_eq!(label_of(&row("a longer answer than any label")), None);
        let mut labels = Labels::default();
        for label in ["yes"; 8].into_iter().chain(["no"; 4]) {
            labels.add(label);
        }
        let losses = labels.losses(["yes", "no", "no"].into_iter());
        let told: Vec<(usize, usize)> = losses
            .iter()
            .map(|loss| (loss.before, loss.after))
            .collect();
        assert_eq!(told, [(4, 2), (8, 1)]);
        assert!(
            losses[1]
                .told(0.3)
                .starts_with("88 % of the rows answered `yes` left (7 of 8 rows)")
        );
        labels.add("maybe");
        labels.add("perhaps");
        assert!(
            labels.losses([].into_iter()).is_empty(),
            "14 rows are too few for four classes"
        );
    }
}
