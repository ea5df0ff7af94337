//! One row under all rules about single rows, and what becomes of it.
//!
//! Rules are asked in the order of their families; the first that drops the row ends the examination.
//! Replacements of all rules are made together at the end, so that every span means the text as it was read; then
//! each replaced value is looked for in all else that the row carries, and in what the findings say about it.

use std::collections::BTreeMap;
use std::ops::Range;

use hone_data::{Body, Part, Place, Record, Side, Source};

use crate::recipe::Ruled;
use crate::redact::{Pseudonyms, Replacement, StandIn, Values, masked, replace};
use crate::replaced::is_telling;
use crate::{Action, Decision, Doc, Family, Finding, Hit, Row, excerpt};

/// What became of a row.
#[derive(Debug)]
pub struct Examined {
    /// The row, perhaps changed; `None` if it is dropped.
    pub record: Option<Record>,
    /// What was seen and decided.
    pub findings: Vec<Finding>,
    /// What was replaced and is one person's wherever it stands, with what stands in for it.
    pub(crate) replaced: Vec<(String, StandIn, &'static Doc)>,
}

/// The rules about single rows, and what stands in for what they redact.
pub struct Examiner<'a> {
    rules: Vec<&'a Ruled>,
    pseudonyms: Option<&'a Pseudonyms>,
}

/// A hit with what is decided about it.
struct Seen<'a> {
    ruled: &'a Ruled,
    hit: Hit,
    decision: Decision,
    /// Would the row leave, if the user had not brought it to evaluate by?
    is_kept: bool,
}

impl Seen<'_> {
    fn is_personal(&self) -> bool {
        self.ruled.doc.family == Family::PersonalData
    }

    /// The text seen, as it was read.
    fn text<'r>(&self, row: &'r Row<'_>) -> &'r str {
        let text = self.hit.place.and_then(|place| row.text(place));
        &text.unwrap_or("")[self.hit.span.clone()]
    }
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
        self.examine_on(None, record, tokens)
    }

    /// Examines a row of a side that the user brought to evaluate by, if it is one: it stays, unless there is nothing in it
    /// that an answer could be compared with.
    pub fn examine_on(
        &self,
        held_out: Option<Side>,
        record: Record,
        tokens: Option<usize>,
    ) -> Examined {
        let row = Row::new(&record, tokens);
        let stays = held_out.is_some() && has_answer(&record);
        let (seen, is_dropped) = self.see(&row, stays, |_| true);
        let found = self.found(&row, &seen);
        let mut findings = self.findings(&row, &seen, &found);
        for finding in &mut findings {
            finding.side = held_out;
            if is_dropped {
                finding.leave();
            }
        }
        let changed = match is_dropped || found.changes.is_empty() {
            true => None,
            false => Some(change(&row, &found)),
        };
        drop(row);
        Examined {
            record: match (is_dropped, changed) {
                (true, _) => None,
                (false, changed) => Some(changed.unwrap_or(record)),
            },
            findings,
            replaced: found.telling,
        }
    }

    /// What the rules say of a row of `tokens` tokens, which stays as it is.
    pub fn look(&self, record: &Record, tokens: Option<usize>) -> Vec<Finding> {
        let row = Row::new(record, tokens);
        let (seen, _) = self.see(&row, false, |_| true);
        let found = self.found(&row, &seen);
        self.findings(&row, &seen, &found)
    }

    /// The row with what these rules replace in it, and nothing else done: what rows are compared with has to read as they do.
    pub fn replaced(&self, record: Record) -> Record {
        let replaces =
            |ruled: &Ruled| matches!(ruled.action, Action::Redact | Action::Pseudonymise);
        let row = Row::new(&record, None);
        let (seen, _) = self.see(&row, true, replaces);
        let found = self.found(&row, &seen);
        let changed = (!found.changes.is_empty()).then(|| change(&row, &found));
        drop(row);
        changed.unwrap_or(record)
    }

    /// What the rules that are asked see, and whether the row is dropped for it, unless it stays whatever is seen.
    fn see(
        &self,
        row: &Row<'_>,
        stays: bool,
        is_asked: impl Fn(&Ruled) -> bool,
    ) -> (Vec<Seen<'a>>, bool) {
        let (mut seen, mut hits) = (Vec::new(), Vec::new());
        for &ruled in self.rules.iter().filter(|ruled| is_asked(ruled)) {
            let Some(rule) = &ruled.rule else { continue };
            rule.check(row, &mut hits);
            seen.extend(hits.drain(..).map(|hit| {
                let decision = decision(ruled.action, &hit);
                let is_kept = stays && decision == Decision::Dropped;
                Seen {
                    decision: if is_kept {
                        Decision::Reported
                    } else {
                        decision
                    },
                    ruled,
                    hit,
                    is_kept,
                }
            }));
            let last = seen.last().map(|seen| seen.decision);
            if last == Some(Decision::Dropped) {
                return (seen, true);
            }
        }
        (seen, false)
    }

    /// What is replaced where, and which values must not stand elsewhere.
    fn found(&self, row: &Row<'_>, seen: &[Seen<'_>]) -> Found {
        let mut found = Found::default();
        for seen in seen
            .iter()
            .filter(|seen| seen.decision == Decision::Changed)
        {
            let Some(place) = seen.hit.place else {
                continue;
            };
            let text = seen.text(row);
            let by = match (seen.ruled.action, self.pseudonyms) {
                (Action::Pseudonymise, Some(pseudonyms)) => pseudonyms.of(seen.hit.label, text),
                _ => StandIn::placeholder(seen.hit.label),
            };
            if seen.is_personal() {
                found.values.add(text, by.clone());
                if is_telling(seen.hit.label, text) {
                    let told = (text.to_owned(), by.clone(), seen.ruled.doc);
                    found.telling.push(told);
                }
            }
            found.changes.entry(place).or_default().push(Replacement {
                span: seen.hit.span.clone(),
                by,
                score: seen.hit.score,
            });
        }
        found
    }

    /// What is told: personal data only masked, also where another rule shows the text around it.
    fn findings(&self, row: &Row<'_>, seen: &[Seen<'_>], found: &Found) -> Vec<Finding> {
        let mut personal: BTreeMap<Place, Vec<Range<usize>>> = BTreeMap::new();
        for seen in seen.iter().filter(|seen| seen.is_personal()) {
            if let Some(place) = seen.hit.place {
                let spans = personal.entry(place).or_default();
                spans.push(seen.hit.span.clone());
            }
        }
        let mut values = Values::default();
        for seen in seen.iter().filter(|seen| seen.is_personal()).take(PLACED) {
            values.add(seen.text(row), StandIn::placeholder(seen.hit.label));
        }
        let around = |at: usize, seen: &Seen<'_>, evidence: &str| {
            let text = seen.hit.place.and_then(|place| row.text(place));
            match text.filter(|_| at < PLACED && !seen.hit.span.is_empty()) {
                Some(text) => self.around(text, seen, &personal, &values, evidence),
                None => String::new(),
            }
        };
        let shown = |seen: &Seen<'_>| {
            let text = seen.text(row);
            if seen.is_personal() {
                return masked(text);
            }
            if text.is_empty() {
                return String::new();
            }
            let hit = &seen.hit;
            let place = hit.place.expect("what is not empty stands somewhere");
            let spans = match seen.decision {
                // The rules that come later have not been asked.
                Decision::Dropped => {
                    let text = row.text(place).unwrap_or("");
                    self.personal_in(text, &hit.span)
                }
                _ => personal.get(&place).cloned().unwrap_or_default(),
            };
            excerpt(&masked_within(text, hit.span.start, &spans))
        };
        seen.iter()
            .enumerate()
            .map(|(at, seen)| {
                let mut finding = finding(row.record, seen, shown(seen));
                finding.around = around(at, seen, &finding.evidence);
                let Finding {
                    message,
                    evidence,
                    around,
                    ..
                } = &mut finding;
                for told in [message, evidence, around] {
                    if let Some(masked) = found.values.masked(told) {
                        *told = masked;
                    }
                }
                finding
            })
            .collect()
    }

    /// What stands before and behind what was seen, as it may be shown; empty where nothing does.
    fn around(
        &self,
        text: &str,
        seen: &Seen<'_>,
        personal: &BTreeMap<Place, Vec<Range<usize>>>,
        values: &Values,
        evidence: &str,
    ) -> String {
        let span = &seen.hit.span;
        let start = text.floor_char_boundary(span.start.saturating_sub(AROUND));
        let end = text.ceil_char_boundary((span.end + AROUND).min(text.len()));
        let known = seen.hit.place.and_then(|place| personal.get(&place));
        let spans = match seen.decision {
            Decision::Dropped => self.personal_in(text, span),
            _ => known.cloned().unwrap_or_default(),
        };
        let masked = |part: Range<usize>| {
            let part = masked_within(&text[part.clone()], part.start, &spans);
            let part = values.masked(&part).unwrap_or(part);
            part.replace(char::is_control, " ")
        };
        let (before, after) = (masked(start..span.start), masked(span.end..end));
        if before.trim().is_empty() && after.trim().is_empty() {
            return String::new();
        }
        let (skipped, cut) = (before.chars().count(), after.chars().count());
        let before: String = before
            .chars()
            .skip(skipped.saturating_sub(BESIDE))
            .collect();
        let after: String = after.chars().take(BESIDE).collect();
        let more = |is_more| if is_more { "… " } else { "" };
        let (begins, ends) = (more(skipped > BESIDE), more(cut > BESIDE));
        format!("{begins}{before}⟦{evidence}⟧{after}{}", ends.trim_end())
    }

    /// A stretch of a text as it may be shown: shortened, and what the rules about personal data see in it masked.
    pub fn shown(&self, text: &str, span: Range<usize>) -> String {
        let spans = self.personal_in(text, &span);
        excerpt(&masked_within(&text[span.clone()], span.start, &spans))
    }

    /// A text, with what the rules about personal data see in it masked.
    pub fn shown_whole(&self, text: &str) -> String {
        let spans = self.personal_in(text, &(0..text.len()));
        masked_within(text, 0, &spans)
    }

    /// What the rules about personal data see in a stretch of a text and close by.
    fn personal_in(&self, text: &str, span: &Range<usize>) -> Vec<Range<usize>> {
        let start = text.floor_char_boundary(span.start.saturating_sub(AROUND));
        let end = text.ceil_char_boundary((span.end + AROUND).min(text.len()));
        let record = a_text(&text[start..end]);
        let row = Row::new(&record, None);
        let mut hits = Vec::new();
        let rules = self.rules.iter();
        for ruled in rules.filter(|ruled| ruled.doc.family == Family::PersonalData) {
            if let Some(rule) = &ruled.rule {
                rule.check(&row, &mut hits);
            }
        }
        let spans = hits.into_iter().map(|hit| hit.span);
        spans
            .map(|span| start + span.start..start + span.end)
            .collect()
    }
}

/// Is there something in a row that an answer could be compared with?
pub(crate) fn has_answer(record: &Record) -> bool {
    let last = record.parts().filter(Part::is_supervised).last();
    last.is_some_and(|part| !part.text.trim().is_empty())
}

/// How far around what is shown personal data is looked for, in bytes: an end of it may be inside.
const AROUND: usize = 512;

/// How much is shown before and behind what was seen, in characters.
const BESIDE: usize = 48;

/// Findings of a row that are shown with what stands around them; a list of a thousand addresses need not be.
const PLACED: usize = 8;

/// What is replaced in a row.
#[derive(Default)]
struct Found {
    changes: BTreeMap<Place, Vec<Replacement>>,
    values: Values,
    /// Of these, what is one person's wherever it stands.
    telling: Vec<(String, StandIn, &'static Doc)>,
}

/// A text that begins at `start` with what lies in the spans masked.
fn masked_within(text: &str, start: usize, spans: &[Range<usize>]) -> String {
    let inside = spans.iter().filter_map(|span| {
        let from = span.start.saturating_sub(start).min(text.len());
        let to = span.end.saturating_sub(start).min(text.len());
        let mask = masked(text.get(from..to).filter(|inside| !inside.is_empty())?);
        Some(Replacement {
            span: from..to,
            by: StandIn {
                text: mask.clone(),
                number: mask,
            },
            score: (to - from) as f32,
        })
    });
    replace(text, inside.collect())
}

/// A row that says this and nothing else.
fn a_text(text: &str) -> Record {
    Record {
        task: String::new(),
        group: None,
        origin: None,
        licence: None,
        copies: 1,
        body: Body::Text(text.to_owned()),
        source: Source::new("", 0),
    }
}

fn decision(action: Action, hit: &Hit) -> Decision {
    match action {
        Action::Drop => Decision::Dropped,
        Action::Allow => Decision::Allowed,
        Action::Ask => Decision::Undecided,
        // What is about a row as a whole has nothing to replace.
        Action::Redact | Action::Pseudonymise if hit.span.is_empty() => Decision::Undecided,
        Action::Redact | Action::Pseudonymise => Decision::Changed,
        Action::Report | Action::Off => Decision::Reported,
    }
}

fn finding(record: &Record, seen: &Seen<'_>, evidence: String) -> Finding {
    let &Seen {
        ruled,
        ref hit,
        decision,
        is_kept,
    } = seen;
    let message = match is_kept {
        true => format!("{}; evaluation rows stay", hit.message),
        false => hit.message.clone(),
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
            message,
        )
    }
}

/// The row without what was found: where it was seen, and then wherever else it stands.
fn change(row: &Row<'_>, found: &Found) -> Record {
    let mut changed = row.record.clone();
    for (&place, replacements) in &found.changes {
        // What stands beside the texts is found by its value.
        if let Some(text) = changed.text_mut(place) {
            *text = replace_in(text, replacements.clone(), &found.values);
        }
    }
    if !found.values.is_empty() {
        changed.rewrite(&mut |text, is_number| found.values.replaced(text, is_number));
    }
    changed
}

/// A text with stretches replaced; one that was JSON stays JSON.
fn replace_in(text: &str, replacements: Vec<Replacement>, values: &Values) -> String {
    let replaced = replace(text, replacements);
    let is_json = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    match text
        .trim_start()
        .starts_with(['{', '['])
        .then(|| is_json(text))
    {
        Some(Some(value)) if is_json(&replaced).is_none() => {
            let mut value = value;
            hone_data::rewrite_json(&mut value, &mut |text, is_number| {
                values.replaced(text, is_number)
            });
            value.to_string()
        }
        _ => replaced,
    }
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
            is_decided: true,
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
            (Action::Drop, Decision::Dropped, None),
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
    fn a_row_that_is_dropped_is_not_examined_further() {
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
