//! Rows that are read and what became of each: the same count, by the same reasons, for every command that reads rows.
//!
//! A row is usable if something can train on it. It is not if it cannot be read, if nothing trains on its kind, if the model
//! cannot render it or it is too long, or if a rule about single rows leaves it out; the first of these is its reason.
//! Rows that say what another one says are usable, and counted beside: whoever builds a dataset leaves them out, whoever
//! trains on files does not.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use hone_data::{Reason, Record, Refused, Source, Usable};
use hone_ledger::ContentId;
use serde::Serialize;

use crate::duplicates::said_id;
use crate::examine::has_answer;
use crate::recipe::Ruled;
use crate::rules::format::unusable_row;
use crate::{Action, Decision, Examiner, Family, Finding};

/// Rows read, and what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RowCount {
    /// All rows.
    pub read: usize,
    /// Rows that something can train on.
    pub usable: usize,
    /// The other rows, by the kind of reason or the rule that leaves them out.
    pub not_usable: BTreeMap<String, usize>,
    /// Usable rows that say what another one says.
    pub exact_duplicates: usize,
    /// Usable rows to evaluate by that training would leave out, by the rule that would.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub odd: BTreeMap<String, usize>,
    /// What the usable rows say.
    #[serde(skip)]
    said: HashSet<ContentId>,
}

impl RowCount {
    /// Counts a row that can be used; `said` is the id of what it says, whatever its case and white space.
    pub fn use_row(&mut self, said: ContentId) {
        self.read += 1;
        self.usable += 1;
        self.exact_duplicates += usize::from(!self.said.insert(said));
    }

    /// Counts a row that cannot.
    pub fn pass_over(&mut self, kind: &str) {
        self.read += 1;
        *self.not_usable.entry(kind.to_owned()).or_default() += 1;
    }
}

impl fmt::Display for RowCount {
    /// `9 rows read: 6 usable, 3 not (1 empty-reply, 2 not-json); 1 of the usable is an exact duplicate`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = if self.read == 1 { "row" } else { "rows" };
        let not: usize = self.not_usable.values().sum();
        write!(
            f,
            "{} {row} read: {} usable, {not} not",
            self.read, self.usable
        )?;
        if not > 0 {
            write!(f, " ({})", by_kind(&self.not_usable))?;
        }
        match self.exact_duplicates {
            0 => {}
            1 => f.write_str("; 1 of the usable is an exact duplicate")?,
            more => write!(f, "; {more} of the usable are exact duplicates")?,
        }
        match self.odd.values().sum() {
            0 => Ok(()),
            1_usize => write!(f, "; 1 to evaluate by is odd ({})", by_kind(&self.odd)),
            more => write!(
                f,
                "; {more} to evaluate by are odd ({})",
                by_kind(&self.odd)
            ),
        }
    }
}

fn by_kind(counts: &BTreeMap<String, usize>) -> String {
    let kinds = counts.iter();
    let kinds: Vec<String> = kinds
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    kinds.join(", ")
}

/// Why nothing trains on a row, and the kind of that reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The kind of reason, or the rule.
    pub kind: String,
    /// The reason, as a sentence without a full stop.
    pub message: String,
    /// What to do about it, where the reason does not say so itself.
    pub hints: Vec<String>,
}

impl Why {
    /// A reason of the reader or of the model.
    pub fn of_reason(reason: &Reason) -> Self {
        Self {
            kind: reason.kind().to_owned(),
            message: reason.to_string(),
            hints: reason.hints(),
        }
    }

    /// The rule that leaves a row out, if one does.
    pub(crate) fn of_findings(findings: &[Finding]) -> Option<Self> {
        let mut findings = findings.iter();
        let out = findings.find(|finding| finding.decision == Decision::Dropped)?;
        Some(Self {
            kind: out.rule.clone(),
            message: out.message.clone(),
            hints: Vec::new(),
        })
    }
}

/// What a row that is not curated is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sifting {
    /// It is used.
    Usable,
    /// It is used, because the user brought it to evaluate by; a rule would leave it out of training.
    Odd(Why),
    /// Nothing is done with it.
    Unusable(Why),
}

impl Sifting {
    /// Why nothing is done with the row, if so.
    pub fn why_not(&self) -> Option<&Why> {
        match self {
            Self::Unusable(why) => Some(why),
            Self::Usable | Self::Odd(_) => None,
        }
    }
}

/// Asks of rows that are not curated what curation asks of each of its rows, and counts them.
pub struct Sieve<'a> {
    usable: Usable<'a>,
    /// The rules that the user has drop rows.
    decided: Examiner<'a>,
    /// The rules that drop rows unasked.
    others: Examiner<'a>,
    /// The rows so far.
    pub count: RowCount,
}

impl<'a> Sieve<'a> {
    /// Rows that `usable` lets through and no rule of the family `format` drops.
    pub fn new(usable: Usable<'a>, rules: &'a [Ruled]) -> Self {
        let drops = |is_decided: bool| {
            rules.iter().filter(move |ruled| {
                ruled.doc.family == Family::Format
                    && ruled.action == Action::Drop
                    && ruled.is_decided == is_decided
            })
        };
        Self {
            usable,
            decided: Examiner::new(drops(true), None),
            others: Examiner::new(drops(false), None),
            count: RowCount::default(),
        }
    }

    /// Counts a row that could not be read.
    pub fn refuse(&mut self, refused: &Refused) {
        self.count.pass_over(refused.reason.kind());
    }

    /// Counts a row, and tells what it is good for. Rows that Hone wrote were examined before they were; rows to evaluate by
    /// stay, unless there is nothing in them that an answer could be compared with or the user has a rule drop them.
    pub fn sift(&mut self, record: &Record, is_own: bool, is_to_evaluate: bool) -> Sifting {
        let sifting = match self.usable.tokens(record) {
            Err(reason) => Sifting::Unusable(Why::of_reason(&reason)),
            Ok(_) if is_own => Sifting::Usable,
            Ok(tokens) => self.examine(record, tokens, is_to_evaluate),
        };
        match &sifting {
            Sifting::Unusable(why) => self.count.pass_over(&why.kind),
            Sifting::Usable => self.count.use_row(said_id(record)),
            Sifting::Odd(why) => {
                self.count.use_row(said_id(record));
                *self.count.odd.entry(why.kind.clone()).or_default() += 1;
            }
        }
        sifting
    }

    fn examine(&self, record: &Record, tokens: Option<usize>, is_to_evaluate: bool) -> Sifting {
        let asked = |examiner: &Examiner<'_>| Why::of_findings(&examiner.look(record, tokens));
        if let Some(why) = asked(&self.decided) {
            return Sifting::Unusable(why);
        }
        match asked(&self.others) {
            None => Sifting::Usable,
            Some(why) if is_to_evaluate && has_answer(record) => Sifting::Odd(why),
            Some(why) => Sifting::Unusable(why),
        }
    }
}

/// The finding about a row that cannot be used.
pub(crate) fn unusable(source: &Source, reason: &Reason, decision: Decision) -> Finding {
    let doc = &unusable_row::DOC;
    Finding {
        kind: Some(reason.kind().to_owned()),
        ..Finding::of_row(doc.name, doc.family, decision, source, reason.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_names_every_kind_and_the_duplicates_among_the_usable() {
        let mut count = RowCount::default();
        assert_eq!(count.to_string(), "0 rows read: 0 usable, 0 not");
        count.use_row(ContentId::of(b"a"));
        assert_eq!(count.to_string(), "1 row read: 1 usable, 0 not");
        count.use_row(ContentId::of(b"a"));
        count.pass_over("not-json");
        count.pass_over("empty-reply");
        count.pass_over("not-json");
        assert_eq!(
            count.to_string(),
            "5 rows read: 2 usable, 3 not (1 empty-reply, 2 not-json); 1 of the usable is an exact duplicate"
        );
    }
}
