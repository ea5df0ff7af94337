//! What a rule saw, and what was decided about it.

use std::fmt;
use std::ops::Range;

use hone_data::{Place, Side, Source};
use serde::{Deserialize, Serialize};

use crate::Family;

/// What a rule saw in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Which text of the row; `None` when it is about the row as a whole.
    pub place: Option<Place>,
    /// Where in that text, in bytes; empty when it is about the whole text.
    pub span: Range<usize>,
    /// What was seen, as a sentence without a full stop.
    pub message: String,
    /// How sure the rule is, 0 to 1.
    pub score: f32,
    /// What stands in for the text when it is redacted: `EMAIL` becomes `<EMAIL>`.
    pub label: &'static str,
}

impl Hit {
    /// Something about the whole row.
    pub fn of_row(message: impl Into<String>) -> Self {
        Self {
            place: None,
            span: 0..0,
            message: message.into(),
            score: 1.0,
            label: "",
        }
    }

    /// Something about one text of the row.
    pub fn of(place: Place, message: impl Into<String>) -> Self {
        Self {
            place: Some(place),
            ..Self::of_row(message)
        }
    }

    /// A stretch of one text of the row.
    pub fn at(place: Place, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            span,
            ..Self::of(place, message)
        }
    }

    /// The same, less sure.
    pub fn scored(self, score: f32) -> Self {
        Self { score, ..self }
    }

    /// The same, with the name of its kind.
    pub fn labelled(self, label: &'static str) -> Self {
        Self { label, ..self }
    }
}

/// What became of a row because of a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// It stays, and this is noted.
    Reported,
    /// It stays, and waits for a decision.
    Undecided,
    /// It stays, for a reason the recipe gives.
    Allowed,
    /// It stays, and the text seen was replaced.
    Changed,
    /// It is not in the dataset.
    #[serde(alias = "set-aside")]
    Dropped,
}

/// One line of `findings.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule's name.
    pub rule: String,
    /// What the rule is about.
    pub family: Family,
    /// What became of the row.
    pub decision: Decision,
    /// The file the row was read from, as it was named.
    pub file: String,
    /// Its line there, from 1.
    pub line: usize,
    /// Which row of the file it is, from 1, where several stand on one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<usize>,
    /// Which text of the row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Where in that text, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<[usize; 2]>,
    /// The kind of reason why the row cannot be used, where the rule has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What was seen.
    pub message: String,
    /// The text seen, shortened; masked where it is personal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub evidence: String,
    /// What stands around it, masked likewise, with `⟦ ⟧` around the evidence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub around: String,
    /// How sure the rule is, 0 to 1.
    pub score: f32,
    /// The side, if the user brought the row to evaluate by: such a row stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// The row it is compared with: a duplicate's twin, an evaluation row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
    /// Why it was allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The evaluation rows that the row repeats, if it repeats one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Against>,
    /// The row beside the one that stays, with what differs marked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
    /// Does the row leave for another reason? Then nobody has to decide about it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaves: bool,
}

/// Which evaluation rows a training row repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Against {
    /// Rows of a benchmark.
    Benchmark,
    /// Rows of a test side.
    Test,
    /// Rows that the user gives to validate by.
    Validation,
    /// Rows of the validation side of a split that came with the files, and can be made anew.
    Split,
}

impl Against {
    /// What such a row is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Benchmark => "benchmark row",
            Self::Test => "test row",
            Self::Validation => "validation row",
            Self::Split => "validation row of your split,",
        }
    }
}

/// Two texts of which one leaves; what differs stands in `⟦ ⟧`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    /// The row that the finding is about.
    pub this: String,
    /// The row that stays.
    pub kept: String,
}

impl Finding {
    /// A finding about a row, without place or evidence.
    pub fn of_row(
        rule: &str,
        family: Family,
        decision: Decision,
        source: &Source,
        message: impl Into<String>,
    ) -> Self {
        Self {
            rule: rule.to_owned(),
            family,
            decision,
            file: source.file.display().to_string(),
            line: source.line,
            row: source.row,
            place: None,
            span: None,
            kind: None,
            message: message.into(),
            evidence: String::new(),
            around: String::new(),
            score: 1.0,
            side: None,
            other: None,
            reason: None,
            against: None,
            beside: None,
            leaves: false,
        }
    }
}

impl Finding {
    /// The row leaves for another reason: what waited for a decision is only noted.
    pub(crate) fn leave(&mut self) {
        if self.decision == Decision::Undecided {
            (self.decision, self.leaves) = (Decision::Reported, true);
        }
    }

    /// Where the row was read, in words.
    pub fn source(&self) -> String {
        let mut source = Source::new(&self.file, self.line);
        source.row = self.row;
        source.to_string()
    }
}

impl fmt::Display for Finding {
    /// Where and what, in a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source())?;
        if let Some(place) = &self.place {
            write!(f, ", {place}")?;
        }
        write!(f, ": {}", self.message)?;
        if !self.evidence.is_empty() {
            write!(f, ": {}", self.evidence)?;
        }
        match &self.other {
            Some(other) => write!(f, " ({other})"),
            None => Ok(()),
        }
    }
}

/// The longest excerpt of evidence, in characters.
const EXCERPT: usize = 120;

/// At most the first and last sixty characters of a text, on one line.
pub fn excerpt(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let length = line.chars().count();
    if length <= EXCERPT {
        return line;
    }
    let head: String = line.chars().take(EXCERPT / 2).collect();
    let tail: String = line.chars().skip(length - EXCERPT / 2).collect();
    format!("{head} … {tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_line_of_bounded_length_from_both_ends() {
        assert_eq!(excerpt("a\nb"), "a b");
        let long = excerpt(&format!("{}{}", "ä".repeat(500), "z".repeat(500)));
        assert_eq!(long.chars().count(), 123);
        assert!(long.starts_with("ää") && long.ends_with("zz"));
    }

    #[test]
    fn findings_of_earlier_builds_are_read() {
        let read = |text: &str| serde_json::from_str::<Decision>(text).unwrap();
        assert_eq!(read("\"set-aside\""), Decision::Dropped);
        let written = serde_json::to_string(&Decision::Dropped).unwrap();
        assert_eq!(written, "\"dropped\"");
    }
}
