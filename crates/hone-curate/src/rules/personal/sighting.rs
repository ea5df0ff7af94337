//! What the rules of this family share: a stretch of text, how sure its form makes, and what the words beside it add.
//!
//! Scores follow Presidio: a pattern has a base score, a context word among the five before it adds 0.35 (at least
//! 0.4, at most 1), valid check digits make certain and wrong ones forbid. Where a check digit alone is weak, one
//! number in ten passes by chance, so it makes certain only beside a context word. The word after counts as well.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

use aho_corasick::AhoCorasick;

use crate::text::has_no_spaces;
use crate::view::View;
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
    /// Words and phrases beside which it is something else, unless a word of its context stands there too.
    pub against: &'static [&'static str],
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
            against: &[],
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

    /// The same, unlikely beside one of these words.
    pub fn unless(self, against: &'static [&'static str]) -> Self {
        Self { against, ..self }
    }

    /// How sure it is where it stands.
    pub fn score(&self, text: &str) -> f32 {
        if self.in_context <= self.alone && self.against.is_empty() {
            return self.alone;
        }
        let around = Around::of(text, &self.span);
        if self.in_context > self.alone && around.holds_any(self.context) {
            return self.in_context;
        }
        match around.holds_any(self.against) {
            true => self.alone.min(AGAINST),
            false => self.alone,
        }
    }
}

/// How sure at most beside a word that says that it is something else.
const AGAINST: f32 = 0.3;

/// Looks for one kind of personal data in a text.
pub type See = dyn Fn(&View<'_>, &mut Vec<Sighting>) + Send + Sync;

/// A rule of the family: what is seen, from a score on.
pub struct Personal {
    see: Box<See>,
    threshold: f32,
    looks_beside: bool,
}

/// The parameter that all rules of the family have.
pub const THRESHOLD: Param = Param {
    name: "threshold",
    what: "score from which on it is a hit, 0 to 1; 0.5",
};

/// A rule with nothing but a threshold to set. Rules that are sure of what they see look at labels, names and numbers
/// beside the texts too; in a word or two a name is not told from a word.
pub fn rule(
    params: &mut Params,
    see: fn(&View<'_>, &mut Vec<Sighting>),
    looks_beside: bool,
) -> Result<Box<dyn Rule>, BadParam> {
    let threshold = params.number("threshold", 0.5)?;
    if !(0.0..=1.0).contains(&threshold) {
        return Err(BadParam::Value {
            name: "threshold".into(),
            problem: format!("a score is between 0 and 1, not {threshold}"),
        });
    }
    Ok(Box::new(Personal {
        see: Box::new(see),
        threshold: threshold as f32,
        looks_beside,
    }))
}

impl Rule for Personal {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        let mut seen = Vec::new();
        let views = row.views().iter();
        for view in views.filter(|view| self.looks_beside || !view.is_beside()) {
            (self.see)(view, &mut seen);
            let scored = seen.drain(..).filter_map(|sighting| {
                let score = sighting.score(view);
                let span = view.back(&sighting.span);
                let hit = Hit::at(view.place, span, sighting.message);
                (score >= self.threshold).then(|| hit.scored(score).labelled(sighting.label))
            });
            hits.extend(settle(scored.collect()));
        }
    }
}

/// Hits of which no two overlap, in the order of the text: of those that do, the surest, then the longest, then the first
/// given, and all that they cover.
pub fn settle(mut found: Vec<Hit>) -> Vec<Hit> {
    found.sort_by_key(|hit| hit.span.start);
    let mut settled: Vec<(Hit, usize)> = Vec::new();
    for hit in found {
        let length = hit.span.len();
        match settled.last_mut() {
            Some((last, best)) if hit.span.start < last.span.end => {
                let span = last.span.start..last.span.end.max(hit.span.end);
                if (hit.score, length) > (last.score, *best) {
                    (*last, *best) = (hit, length);
                }
                last.span = span;
            }
            _ => settled.push((hit, length)),
        }
    }
    settled.into_iter().map(|(hit, _)| hit).collect()
}

/// How many words before a stretch are its context.
const WORDS_BEFORE: usize = 5;

/// How many words after it.
const WORDS_AFTER: usize = 2;

/// No further than this, in bytes: a text without white space is no context.
const REACH: usize = 160;

/// The words around a stretch: those before and after it, and what stands at the head of its column.
struct Around {
    words: String,
}

impl Around {
    fn of(text: &str, span: &Range<usize>) -> Self {
        let start = text.floor_char_boundary(span.start.saturating_sub(REACH));
        let before = words(&text[start..span.start]);
        let before = &before[before.len().saturating_sub(WORDS_BEFORE)..];
        let end = text.floor_char_boundary((span.end + REACH / 4).min(text.len()));
        let line = text[span.end..end].lines().next().unwrap_or_default();
        let after = words(line);
        let after = &after[..after.len().min(WORDS_AFTER)];
        let head = words(head_of_column(text, span));
        let words = format!(
            " {} | {} | {} ",
            before.join(" "),
            after.join(" "),
            head.join(" ")
        );
        Self { words }
    }

    fn holds_any(&self, phrases: &'static [&'static str]) -> bool {
        if phrases.len() < MANY {
            return phrases
                .iter()
                .any(|phrase| holds_phrase(&self.words, phrase));
        }
        LISTS.with_borrow_mut(|lists| {
            let list = lists
                .entry(phrases.as_ptr())
                .or_insert_with(|| stems(phrases));
            let mut found = list.find_overlapping_iter(&self.words);
            found.any(|found| {
                let phrase = phrases[found.pattern().as_usize()];
                stands_there(&self.words, found.range(), phrase)
            })
        })
    }
}

/// The words of a text in lower case; `phoneNumber` is two.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut was_lower) = (String::new(), false);
    for c in text.chars().chain([' ']) {
        let begins = was_lower && c.is_uppercase();
        if (begins || !is_word(c)) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if is_word(c) {
            word.extend(c.to_lowercase().filter(|c| *c != '\u{307}'));
        }
        was_lower = c.is_lowercase();
    }
    words
}

/// Letters, digits, and the marks that are a part of letters.
fn is_word(c: char) -> bool {
    let is_mark = matches!(c, '\u{300}'..='\u{36f}' | '\u{5b0}'..='\u{5c7}' | '\u{64b}'..='\u{65f}' | '\u{900}'..='\u{dff}' | '\u{e31}'..='\u{e4e}');
    c.is_alphanumeric() || is_mark
}

/// The longest line of a table, in bytes.
const LINE: usize = 2048;

/// What the first line of a table says above a stretch; empty where there is no table.
fn head_of_column<'a>(text: &'a str, span: &Range<usize>) -> &'a str {
    // A line is no longer than this, or it is no row of a table.
    let near = text.floor_char_boundary(span.start.saturating_sub(LINE));
    let Some(line_start) = text[near..span.start].rfind('\n').map(|at| near + at + 1) else {
        return "";
    };
    let line_of = |start: usize| {
        let reach = text.floor_char_boundary((start + 2 * LINE).min(text.len()));
        text[start..reach].lines().next().unwrap_or_default()
    };
    let line = line_of(line_start);
    let mut head = line_of(0);
    if line.trim_start().starts_with('|') {
        // A table of Markdown may stand anywhere in the text.
        let near = text.floor_char_boundary(line_start.saturating_sub(4 * LINE));
        let above = text[near..line_start].lines().rev().take(100);
        head = above
            .take_while(|above| above.trim_start().starts_with('|'))
            .last()
            .unwrap_or(head);
    }
    let Some(joint) = [',', ';', '\t', '|'].into_iter().find(|&joint| {
        let cells = head.matches(joint).count();
        head.len() < REACH * 4 && cells > 0 && cells <= line.matches(joint).count()
    }) else {
        return "";
    };
    let mut is_quoted = false;
    let column = text[line_start..span.start]
        .chars()
        .filter(|&c| {
            is_quoted ^= c == '"';
            c == joint && !is_quoted
        })
        .count();
    head.split(joint).nth(column).unwrap_or_default()
}

/// From how many phrases on they are looked for all at once.
const MANY: usize = 24;

thread_local! {
    /// What finds the long lists' phrases, by the list's address: they are constants.
    static LISTS: RefCell<HashMap<*const &'static str, AhoCorasick>> = RefCell::default();
}

fn stems(phrases: &[&str]) -> AhoCorasick {
    let stems = phrases.iter().map(|phrase| phrase.trim_end_matches('*'));
    AhoCorasick::new(stems).expect("a few hundred phrases fit")
}

/// Is the phrase among the words, each of which stands between blanks?
fn holds_phrase(words: &str, phrase: &str) -> bool {
    let stem = phrase.trim_end_matches('*');
    let mut found = words.match_indices(stem);
    found.any(|(at, _)| stands_there(words, at..at + stem.len(), phrase))
}

/// Is what stands there the phrase, and not a part of other words? Scripts that do not part their words, or join them
/// with what stands before and after, have it within a word too.
fn stands_there(words: &str, at: Range<usize>, phrase: &str) -> bool {
    let first = phrase.chars().next().unwrap_or(' ');
    if has_no_spaces(first) || matches!(first, '\u{590}'..='\u{6ff}' | '\u{900}'..='\u{dff}') {
        return true;
    }
    let rest = &words[at.end..];
    let open = phrase.ends_with('*');
    words[..at.start].ends_with(' ') && (open || rest.starts_with(' ') || rest.starts_with("s "))
}

#[cfg(test)]
mod tests {
    use hone_data::Place;

    use super::*;

    fn stands_beside(text: &str, span: &Range<usize>, phrases: &'static [&'static str]) -> bool {
        Around::of(text, span).holds_any(phrases)
    }

    fn hit(span: Range<usize>, score: f32) -> Hit {
        Hit::at(Place::Text, span, "").scored(score)
    }

    #[test]
    fn overlapping_hits_are_one_that_covers_them_all() {
        let found = vec![
            hit(0..4, 0.6),
            hit(2..9, 0.9),
            hit(8..20, 0.9),
            hit(20..22, 0.5),
            hit(30..31, 0.1),
        ];
        let settled = settle(found);
        let kept: Vec<_> = settled.iter().map(|hit| hit.span.clone()).collect();
        assert_eq!(kept, [0..20, 20..22, 30..31]);
        assert_eq!(settled[0].score, 0.9);
    }

    #[test]
    fn a_table_s_head_is_context_for_its_columns() {
        let beside = |text: &str| {
            let at = text.find('#').unwrap();
            stands_beside(text, &(at..at + 1), &["telefon"])
        };
        assert!(beside("name;Telefon;ort\na;1;b\nc;#;d"));
        assert!(!beside("name;Telefon;ort\na;1;b\nc;1;#"));
        assert!(beside("Hier:\n| Name | Telefon |\n|---|---|\n| a | # |"));
        assert!(beside("name,Telefon\n\"a, b\",#"));
        assert!(beside("{\"phone\": 1, \"heimTelefon\": #}"));
    }

    #[test]
    fn context_reaches_five_words_back_and_one_ahead() {
        let beside = |text: &str, phrases: &'static [&'static str]| {
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
        assert!(beside("我的信用卡号#请", &["信用卡"]));
        assert!(beside("phoneNumber=#", &["phone"]));
    }
}
