//! What the rules of this family share: a stretch of text, how sure its form makes, and what the words beside it add.
//!
//! Scores follow Presidio: a pattern has a base score, a context word among the five before it adds 0.35 (at least
//! 0.4, at most 1), valid check digits make certain and wrong ones forbid. Where a check digit alone is weak, one
//! number in ten passes by chance, so it makes certain only beside a context word. The word after counts as well.

use std::ops::Range;

use crate::redact::Taken;
use crate::{BadParam, Hit, Param, Params, Row, Rule};

/// A stretch that may be personal.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// Where, in bytes.
    pub span: Range<usize>,
    /// What stands in for it when it is redacted.
    pub label: &'static str,
    /// What it looks like.
    pub message: &'static str,
    /// How sure its form makes, 0 to 1.
    pub alone: f32,
    /// How sure it is beside a word of its context.
    pub in_context: f32,
    /// Words and phrases in lower case; `telefon*` stands for all words that begin so.
    pub context: &'static [&'static str],
}

impl Sighting {
    /// Something certain.
    pub fn new(span: Range<usize>, label: &'static str, message: &'static str) -> Self {
        Self {
            span,
            label,
            message,
            alone: 1.0,
            in_context: 1.0,
            context: &[],
        }
    }

    /// The same, as sure as its form makes and no context word changes.
    pub fn scored(self, alone: f32) -> Self {
        Self {
            alone,
            in_context: alone,
            ..self
        }
    }

    /// The same, surer beside one of these words.
    pub fn beside(self, context: &'static [&'static str]) -> Self {
        Self {
            in_context: (self.alone + 0.35).clamp(0.4, 1.0),
            context,
            ..self
        }
    }

    /// The same, certain beside a word of its context: its check digits agree.
    pub fn checked(self) -> Self {
        Self {
            in_context: 1.0,
            ..self
        }
    }

    /// How sure it is where it stands.
    pub fn score(&self, text: &str) -> f32 {
        match self.in_context > self.alone && stands_beside(text, &self.span, self.context) {
            true => self.in_context,
            false => self.alone,
        }
    }
}

/// Looks for one kind of personal data in a text.
pub type See = dyn Fn(&str, &mut Vec<Sighting>) + Send + Sync;

/// A rule of the family: what is seen, from a score on.
pub struct Personal {
    see: Box<See>,
    threshold: f32,
}

/// The parameter that all rules of the family have.
pub const THRESHOLD: Param = Param {
    name: "threshold",
    what: "score from which on it is a hit, 0 to 1; 0.5",
};

/// A rule with nothing but a threshold to set.
pub fn rule(
    params: &mut Params,
    see: fn(&str, &mut Vec<Sighting>),
) -> Result<Box<dyn Rule>, BadParam> {
    Ok(Box::new(Personal::new(params, Box::new(see))?))
}

impl Personal {
    /// A rule that sees with `see`.
    pub fn new(params: &mut Params, see: Box<See>) -> Result<Self, BadParam> {
        let threshold = params.number("threshold", 0.5)?;
        if !(0.0..=1.0).contains(&threshold) {
            return Err(BadParam::Value {
                name: "threshold".into(),
                problem: format!("a score is between 0 and 1, not {threshold}"),
            });
        }
        Ok(Self {
            see,
            threshold: threshold as f32,
        })
    }
}

impl Rule for Personal {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        let mut seen = Vec::new();
        for part in row.parts() {
            (self.see)(part.text, &mut seen);
            let scored = seen.drain(..).filter_map(|sighting| {
                let score = sighting.score(part.text);
                let hit = Hit::at(part.place, sighting.span, sighting.message);
                (score >= self.threshold).then(|| hit.scored(score).labelled(sighting.label))
            });
            hits.extend(settle(scored.collect()));
        }
    }
}

/// Of hits in one text that overlap, the surest, then the longest, then the first given; in the order of the text.
pub fn settle(mut found: Vec<Hit>) -> Vec<Hit> {
    found.sort_by(|a, b| {
        let surer = b.score.total_cmp(&a.score);
        surer.then_with(|| b.span.len().cmp(&a.span.len()))
    });
    let mut taken = Taken::default();
    found.retain(|hit| taken.take(&hit.span));
    found.sort_by_key(|hit| hit.span.start);
    found
}

/// How many words before a stretch are its context.
const WORDS_BEFORE: usize = 5;

/// No further back than this, in bytes: a text without white space is no context.
const REACH: usize = 160;

/// Is one of the phrases among the five words before the stretch and the one after it?
pub fn stands_beside(text: &str, span: &Range<usize>, phrases: &[&str]) -> bool {
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect()
    };
    let before =
        words(&text[text.floor_char_boundary(span.start.saturating_sub(REACH))..span.start]);
    let rest = &text[span.end..text.floor_char_boundary((span.end + REACH / 4).min(text.len()))];
    let after = words(rest.lines().next().unwrap_or_default());
    let around = format!(
        " {} | {} ",
        before[before.len().saturating_sub(WORDS_BEFORE)..].join(" "),
        after.first().map_or("", String::as_str)
    );
    phrases.iter().any(|phrase| holds_phrase(&around, phrase))
}

/// Is the phrase among the words, each of which stands between blanks?
fn holds_phrase(words: &str, phrase: &str) -> bool {
    let (stem, open) = match phrase.strip_suffix('*') {
        Some(stem) => (stem, true),
        None => (phrase, false),
    };
    words.match_indices(stem).any(|(at, _)| {
        let rest = &words[at + stem.len()..];
        words[..at].ends_with(' ') && (open || rest.starts_with(' ') || rest.starts_with("s "))
    })
}

#[cfg(test)]
mod tests {
    use hone_data::Place;

    use super::*;

    fn hit(span: Range<usize>, score: f32) -> Hit {
        Hit::at(Place::Text, span, "").scored(score)
    }

    #[test]
    fn of_overlapping_hits_the_surest_and_then_the_longest_stays() {
        let found = vec![
            hit(0..4, 0.6),
            hit(2..9, 0.9),
            hit(8..20, 0.9),
            hit(30..31, 0.1),
        ];
        let kept: Vec<_> = settle(found).into_iter().map(|hit| hit.span).collect();
        assert_eq!(kept, [0..4, 8..20, 30..31]);
    }

    #[test]
    fn context_reaches_five_words_back_and_one_ahead() {
        let beside = |text: &str, phrases: &[&str]| {
            let at = text.find('#').unwrap();
            stands_beside(text, &(at..at + 1), phrases)
        };
        assert!(beside("card: a b c d #", &["card"]));
        assert!(!beside("card: a b c d e #", &["card"]));
        assert!(beside("# Office, 2nd floor", &["office"]));
        assert!(!beside("#\nOffice", &["office"]));
        assert!(beside("the CARDS of #", &["card"]));
        assert!(!beside("cardinal #", &["card"]));
        assert!(beside("Telefonnummer #", &["telefon*"]));
        assert!(beside("date of birth #", &["date of birth"]));
        assert!(!beside("birth #", &["date of birth"]));
    }
}
