//! Findings as they are made, counted kind by kind: what is told of them and decided about them begins here.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Against, Decision, Family, Finding, excerpt};

/// Examples shown of a rule.
const EXAMPLES: usize = 3;

/// Findings that are told and decided together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// Has somebody decided about them? What waits is told first.
    is_decided: bool,
    /// The family of the rule.
    pub family: Family,
    /// The rule.
    pub rule: String,
    /// What became of the rows.
    pub decision: Decision,
    /// Is it about a stretch of text, which can be replaced?
    pub has_text: bool,
    /// Are they between the sides of a split that came with the files?
    pub is_of_split: bool,
    /// Are the rows there to evaluate by, and stay?
    pub is_to_evaluate: bool,
    /// Do the rows leave for another reason?
    pub leaves: bool,
}

impl Kind {
    /// The kind of a finding.
    pub fn of(finding: &Finding) -> Self {
        Self {
            is_decided: finding.decision != Decision::Undecided,
            family: finding.family,
            rule: finding.rule.clone(),
            decision: finding.decision,
            has_text: finding.span.is_some(),
            is_of_split: finding.against == Some(Against::Split),
            is_to_evaluate: finding.side.is_some(),
            leaves: finding.leaves,
        }
    }

    /// Do they wait for a decision?
    pub fn is_open(&self) -> bool {
        !self.is_decided
    }
}

/// Findings of a kind.
#[derive(Debug, Default)]
struct Seen {
    count: usize,
    examples: Vec<Finding>,
}

/// Findings as they are made, counted.
#[derive(Debug, Default)]
pub struct Tally {
    kinds: BTreeMap<Kind, Seen>,
    /// Training rows that repeat evaluation rows, with what was decided about each.
    repeating: BTreeMap<(String, usize), Decision>,
    /// How many of them each rule found.
    repeating_by_rule: BTreeMap<String, usize>,
}

/// Training rows that repeat evaluation rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Contamination {
    /// How many there are.
    pub rows: usize,
    /// Those that are not in the dataset.
    pub left: usize,
    /// Those that wait for a decision.
    pub undecided: usize,
    /// How many each rule found.
    pub by_rule: Vec<Bar>,
}

impl Contamination {
    /// All of it in a line; `None` if there is none.
    pub fn told(&self) -> Option<String> {
        let by_rule = |bar: &Bar| format!("{} {}", bar.label, bar.count);
        let by_rule: Vec<String> = self.by_rule.iter().map(by_rule).collect();
        let fates = [
            (self.left, "left"),
            (self.undecided, "to be decided"),
            (self.rows - self.left - self.undecided, "kept"),
        ];
        let fates = fates.into_iter().filter(|(rows, _)| *rows > 0);
        let fates: Vec<String> = fates.map(|(rows, fate)| format!("{rows} {fate}")).collect();
        (self.rows > 0).then(|| {
            format!(
                "contaminated: {} of the training rows repeat{} evaluation rows ({}): {}",
                self.rows,
                if self.rows == 1 { "s" } else { "" },
                by_rule.join(", "),
                fates.join(", ")
            )
        })
    }
}

impl Tally {
    /// Counts a finding.
    pub fn add(&mut self, finding: &Finding) {
        if finding.against.is_some() {
            let row = (finding.file.clone(), finding.line);
            let fate = match finding.leaves {
                true => Decision::Dropped,
                false => finding.decision,
            };
            let decision = self.repeating.entry(row).or_insert(fate);
            *decision = fate.max(*decision);
            *self
                .repeating_by_rule
                .entry(finding.rule.clone())
                .or_default() += 1;
        }
        let seen = self.kinds.entry(Kind::of(finding)).or_default();
        seen.count += 1;
        if seen.examples.len() < EXAMPLES {
            seen.examples.push(finding.clone());
        }
    }

    /// Would this finding be shown, if it were counted now?
    pub fn shows(&self, finding: &Finding) -> bool {
        let known = self.kinds.get(&Kind::of(finding));
        known.is_none_or(|seen| seen.examples.len() < EXAMPLES)
    }

    /// The kinds of findings with how many there are and the first of them: the undecided first, then family by family.
    pub fn kinds(&self) -> Vec<(&Kind, usize, &[Finding])> {
        let seen = |(kind, seen)| {
            let Seen { count, examples }: &Seen = seen;
            (kind, *count, examples.as_slice())
        };
        self.kinds.iter().map(seen).collect()
    }

    /// Training rows that repeat evaluation rows.
    pub fn contamination(&self) -> Contamination {
        let decided = |decision| {
            let mut rows = self.repeating.values();
            rows.by_ref().filter(|&&found| found == decision).count()
        };
        Contamination {
            rows: self.repeating.len(),
            left: decided(Decision::Dropped),
            undecided: decided(Decision::Undecided),
            by_rule: Bar::commonest(
                self.repeating_by_rule
                    .iter()
                    .map(|(rule, &count)| (rule.clone(), count)),
                usize::MAX,
            ),
        }
    }

    /// How often something was decided.
    pub fn count(&self, decision: Decision) -> usize {
        self.by_rule(decision).values().sum()
    }

    /// How often something was decided, by rule.
    fn by_rule(&self, decision: Decision) -> BTreeMap<String, usize> {
        let mut rules = BTreeMap::new();
        for (kind, seen) in self
            .kinds
            .iter()
            .filter(|(kind, _)| kind.decision == decision)
        {
            *rules.entry(kind.rule.clone()).or_default() += seen.count;
        }
        rules
    }

    /// Rows dropped, by rule; several rules about leaks may drop the same row.
    pub fn left(&self) -> Vec<Bar> {
        Bar::commonest(self.by_rule(Decision::Dropped).into_iter(), usize::MAX)
    }

    /// How often each rule left a decision open.
    pub fn undecided(&self) -> BTreeMap<String, usize> {
        self.by_rule(Decision::Undecided)
    }
}

/// A bar of a chart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bar {
    /// What it stands for.
    pub label: String,
    /// How many.
    pub count: usize,
}

impl Bar {
    /// The greatest of some counts, those that are equal by their names.
    pub(crate) fn commonest(
        counts: impl Iterator<Item = (String, usize)>,
        limit: usize,
    ) -> Vec<Bar> {
        let mut bars: Vec<Bar> = counts
            .map(|(label, count)| Bar {
                label: excerpt(&label),
                count,
            })
            .collect();
        bars.sort_by(|a, b| b.count.cmp(&a.count).then(a.label.cmp(&b.label)));
        bars.truncate(limit);
        bars
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_by_rule_and_decision_and_keeps_the_first_examples() {
        let mut tally = Tally::default();
        for line in 1..=5 {
            let source = hone_data::Source::new("f", line);
            let decision = if line == 5 {
                Decision::Undecided
            } else {
                Decision::Dropped
            };
            tally.add(&Finding::of_row(
                "r",
                Family::Format,
                decision,
                &source,
                "m",
            ));
        }
        let kinds = tally.kinds();
        let told: Vec<(Decision, usize)> = kinds
            .iter()
            .map(|(kind, count, _)| (kind.decision, *count))
            .collect();
        // What waits for a decision is told first.
        assert_eq!(told, [(Decision::Undecided, 1), (Decision::Dropped, 4)]);
        let lines: Vec<usize> = kinds[1].2.iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [1, 2, 3]);
        assert_eq!(
            tally.left(),
            [Bar {
                label: "r".into(),
                count: 4
            }]
        );
        assert_eq!(tally.undecided(), BTreeMap::from([("r".to_owned(), 1)]));
    }
}
