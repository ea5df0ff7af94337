//! One row under all rules about single rows, and what becomes of it.
//!
//! Rules are asked in the order of their families; the first that drops the row ends the examination.
//! Replacements of all rules are made together at the end, so that every span means the text as it was read.

use hone_data::{Place, Record};

use crate::recipe::Ruled;
use crate::redact::{Pseudonyms, Replacement, masked, placeholder, replace};
use crate::{Action, Decision, Family, Finding, Hit, Row, excerpt};

/// What became of a row.
#[derive(Debug)]
pub struct Examined {
    /// The row, perhaps changed; `None` if it is set aside.
    pub record: Option<Record>,
    /// What was seen and decided.
    pub findings: Vec<Finding>,
}

/// The rules about single rows, and what stands in for what they redact.
pub struct Examiner<'a> {
    rules: Vec<&'a Ruled>,
    pseudonyms: Option<&'a Pseudonyms>,
}

impl<'a> Examiner<'a> {
    /// Examines by these rules; without `pseudonyms`, a pseudonym is a placeholder.
    pub fn new(
        rules: impl IntoIterator<Item = &'a Ruled>,
        pseudonyms: Option<&'a Pseudonyms>,
    ) -> Self {
        let asked = |ruled: &&Ruled| ruled.rule.is_some() && ruled.action != Action::Off;
        Self {
            rules: rules.into_iter().filter(asked).collect(),
            pseudonyms,
        }
    }

    /// Examines a row of `tokens` tokens.
    pub fn examine(&self, record: Record, tokens: Option<usize>) -> Examined {
        let (mut findings, mut changes) = (Vec::new(), Vec::new());
        let mut hits = Vec::new();
        for ruled in &self.rules {
            let Some(rule) = &ruled.rule else { continue };
            rule.check(
                &Row {
                    record: &record,
                    tokens,
                },
                &mut hits,
            );
            for hit in hits.drain(..) {
                let decision = decision(ruled.action, &hit);
                findings.push(finding(&record, ruled, &hit, decision));
                if let (Decision::Changed, Some(place)) = (decision, hit.place) {
                    changes.push((place, self.replacement(&record, place, ruled.action, hit)));
                }
            }
            if findings
                .last()
                .is_some_and(|last| last.decision == Decision::SetAside)
            {
                return Examined {
                    record: None,
                    findings,
                };
            }
        }
        Examined {
            record: Some(change(record, changes)),
            findings,
        }
    }

    /// The row with what these rules replace in it, and nothing else done: what rows are compared with has to read as they do.
    pub fn replaced(&self, record: Record) -> Record {
        let (mut changes, mut hits) = (Vec::new(), Vec::new());
        for ruled in &self.rules {
            let (Action::Redact | Action::Pseudonymise, Some(rule)) = (ruled.action, &ruled.rule)
            else {
                continue;
            };
            let row = Row {
                record: &record,
                tokens: None,
            };
            rule.check(&row, &mut hits);
            for hit in hits.drain(..) {
                if let (Decision::Changed, Some(place)) = (decision(ruled.action, &hit), hit.place)
                {
                    changes.push((place, self.replacement(&record, place, ruled.action, hit)));
                }
            }
        }
        change(record, changes)
    }

    fn replacement(&self, record: &Record, place: Place, action: Action, hit: Hit) -> Replacement {
        let text = &record.text(place).expect("a hit is in a text of its row")[hit.span.clone()];
        let by = match (action, self.pseudonyms) {
            (Action::Pseudonymise, Some(pseudonyms)) => pseudonyms.of(hit.label, text),
            _ => placeholder(hit.label),
        };
        Replacement {
            span: hit.span,
            by,
            score: hit.score,
        }
    }
}

fn decision(action: Action, hit: &Hit) -> Decision {
    match action {
        Action::Drop => Decision::SetAside,
        Action::Allow => Decision::Allowed,
        Action::Ask => Decision::Undecided,
        // What is about a row as a whole has nothing to replace.
        Action::Redact | Action::Pseudonymise if hit.span.is_empty() => Decision::Undecided,
        Action::Redact | Action::Pseudonymise => Decision::Changed,
        Action::Report | Action::Off => Decision::Reported,
    }
}

fn finding(record: &Record, ruled: &Ruled, hit: &Hit, decision: Decision) -> Finding {
    let text = hit.place.and_then(|place| record.text(place)).unwrap_or("");
    let seen = &text[hit.span.clone()];
    let evidence = match ruled.doc.family {
        Family::PersonalData => masked(seen),
        _ => excerpt(seen),
    };
    Finding {
        place: hit.place.map(|place| place.to_string()),
        span: (!hit.span.is_empty()).then_some([hit.span.start, hit.span.end]),
        evidence,
        score: hit.score,
        reason: ruled
            .reason
            .clone()
            .filter(|_| decision == Decision::Allowed),
        ..Finding::of_row(
            ruled.doc.name,
            ruled.doc.family,
            decision,
            &record.source,
            &hit.message,
        )
    }
}

fn change(mut record: Record, mut changes: Vec<(Place, Replacement)>) -> Record {
    changes.sort_by_key(|(place, _)| *place);
    for of_one_text in changes.chunk_by(|a, b| a.0 == b.0) {
        let replacements = of_one_text
            .iter()
            .map(|(_, replacement)| replacement.clone());
        let place = of_one_text[0].0;
        let text = record
            .text_mut(place)
            .expect("a hit is in a text of its row");
        *text = replace(text, replacements.collect());
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::ruled;
    use crate::{Doc, Rule};

    /// Sees every `x`.
    struct Exes;

    static DOC: Doc = Doc {
        name: "exes",
        family: Family::PersonalData,
        summary: "",
        why: "",
        what: "",
        default: Action::Ask,
        params: &[],
    };

    impl Rule for Exes {
        fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
            for part in row.parts() {
                let found = part.text.match_indices('x');
                hits.extend(
                    found.map(|(at, _)| Hit::at(part.place, at..at + 1, "an x").labelled("EX")),
                );
            }
        }
    }

    fn examined(action: Action, text: &str) -> Examined {
        let exes = Ruled {
            doc: &DOC,
            action,
            reason: Some("because".into()),
            params: toml::Table::new(),
            rule: Some(Box::new(Exes)),
        };
        let row = format!(r#"{{"prompt": "q", "completion": "{text}"}}"#);
        let mut all = ruled(&Default::default()).unwrap();
        all.retain(|ruled| ruled.doc.name == "empty-reply");
        all.push(exes);
        Examiner::new(&all, None).examine(Record::from_json(&row).unwrap(), None)
    }

    #[test]
    fn the_recipe_decides_what_becomes_of_a_hit() {
        for (action, decision, text) in [
            (Action::Report, Decision::Reported, Some("a x x")),
            (Action::Ask, Decision::Undecided, Some("a x x")),
            (Action::Allow, Decision::Allowed, Some("a x x")),
            (Action::Redact, Decision::Changed, Some("a <EX> <EX>")),
            (Action::Drop, Decision::SetAside, None),
        ] {
            let examined = examined(action, "a x x");
            let kept = examined
                .record
                .as_ref()
                .map(|record| record.text(Place::Turn(1)).unwrap());
            assert_eq!(kept, text, "{action}");
            assert!(
                examined
                    .findings
                    .iter()
                    .all(|finding| finding.decision == decision),
                "{action}"
            );
            assert_eq!(examined.findings[0].span, Some([2, 3]));
            assert_eq!(
                examined.findings[0].reason.is_some(),
                action == Action::Allow
            );
        }
        assert!(examined(Action::Off, "a x x").findings.is_empty());
    }

    #[test]
    fn a_row_that_is_set_aside_is_not_examined_further() {
        let examined = examined(Action::Ask, " ");
        assert!(examined.record.is_none());
        assert_eq!(examined.findings.len(), 1);
        assert_eq!(examined.findings[0].rule, "empty-reply");
    }

    #[test]
    fn personal_evidence_is_masked() {
        assert_eq!(examined(Action::Report, "x").findings[0].evidence, "•");
    }
}
