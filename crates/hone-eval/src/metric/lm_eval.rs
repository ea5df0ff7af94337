//! `exact_match` with its options, and the two readings of GSM8K's answers, as lm-evaluation-harness 0.4.13 has them.
//!
//! The patterns are Rust's: look-around and references back are refused, and `$` is the very end of the text, where
//! Python's also stands before a last line break.

use std::sync::LazyLock;

use regex::Regex;

/// What is taken out of answer and reference before they are compared. The default compares the bare texts.
#[derive(Clone, Debug, Default)]
pub struct ExactMatch {
    /// What matches one of these, one after the other: `regexes_to_ignore`.
    pub regexes_to_ignore: Vec<Regex>,
    /// Upper and lower case are the same: `ignore_case`.
    pub ignore_case: bool,
    /// ASCII punctuation is taken out: `ignore_punctuation`.
    pub ignore_punctuation: bool,
    /// The ASCII digits are taken out: `ignore_numbers`.
    pub ignore_numbers: bool,
}

/// A pattern of a task cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{pattern}` in regexes_to_ignore cannot be used: {reason}")]
pub struct BadPattern {
    /// As it was given.
    pub pattern: String,
    /// One line of why.
    pub reason: String,
}

impl ExactMatch {
    /// Patterns as a task file spells them.
    pub fn ignoring(mut self, patterns: &[impl AsRef<str>]) -> Result<Self, BadPattern> {
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let regex = Regex::new(pattern).map_err(|error| BadPattern {
                pattern: pattern.to_string(),
                reason: super::wrong_in_pattern(&error),
            })?;
            self.regexes_to_ignore.push(regex);
        }
        Ok(self)
    }

    /// Whether the answer is the reference.
    pub fn matches(&self, reference: &str, prediction: &str) -> bool {
        self.bare(reference) == self.bare(prediction)
    }

    fn bare(&self, text: &str) -> String {
        let mut text = text.to_string();
        for regex in &self.regexes_to_ignore {
            text = regex.replace_all(&text, "").into_owned();
        }
        if self.ignore_case {
            text = text.to_lowercase();
        }
        let ignored = |c: char| {
            self.ignore_punctuation && c.is_ascii_punctuation()
                || self.ignore_numbers && c.is_ascii_digit()
        };
        text.retain(|c| !ignored(c));
        text
    }
}

/// Whether a numeric answer is right, read in both of GSM8K's ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gsm8k {
    /// By the number behind the first `####`.
    pub strict: bool,
    /// By the last number of the text.
    pub flexible: bool,
}

/// Compares with a reference that ends in `#### NUMBER` or is the number.
pub fn gsm8k(reference: &str, prediction: &str) -> Gsm8k {
    static RULE: LazyLock<ExactMatch> = LazyLock::new(|| {
        let rule = ExactMatch {
            ignore_case: true,
            ..ExactMatch::default()
        };
        rule.ignoring(&[",", r"\$", r"(?s).*#### ", r"\.$"])
            .expect("patterns of our own")
    });
    let is_right = |answer: Option<&str>| RULE.matches(reference, answer.unwrap_or("[invalid]"));
    Gsm8k {
        strict: is_right(strict_number(prediction)),
        flexible: is_right(last_number(prediction)),
    }
}

/// The number behind the first `#### ` that has one: GSM8K's own form of an answer.
pub fn strict_number(text: &str) -> Option<&str> {
    static NUMBER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"#### (\-?[0-9\.\,]+)").expect("a pattern of our own"));
    NUMBER.captures(text)?.get(1).map(|number| number.as_str())
}

/// The last number in the text, wherever it stands.
pub fn last_number(text: &str) -> Option<&str> {
    static NUMBER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"-?[$0-9.,]{2,}|-?[0-9]+").expect("a pattern of our own"));
    NUMBER.find_iter(text).last().map(|number| number.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_cannot_be_used_is_named() {
        let error = ExactMatch::default().ignoring(&["(?<=a)b"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`(?<=a)b` in regexes_to_ignore cannot be used: look-around, including look-ahead and look-behind, is not supported"
        );
    }

    #[test]
    fn the_last_number_is_taken_where_the_form_is_missed() {
        let right = gsm8k("3 + 4\n#### 7", "So 3 and 4 are 7.");
        assert_eq!((right.strict, right.flexible), (false, true));
        let right = gsm8k("#### 1,250", "it costs\n#### 1250");
        assert_eq!((right.strict, right.flexible), (true, true));
        let right = gsm8k("#### 7", "I do not know");
        assert_eq!((right.strict, right.flexible), (false, false));
    }
}
