//! A list of phrases looked for in one pass, in any case, at the borders of words.

use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};

/// Phrases without regard to case.
pub struct Phrases(AhoCorasick);

impl Phrases {
    /// Of phrases that begin alike, the longest is found.
    pub fn new(phrases: &[&str]) -> Self {
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostLongest)
            .build(phrases);
        Self(automaton.expect("a short list of phrases"))
    }

    /// Where they stand, first to last.
    pub fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
        let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        self.0
            .find_iter(text)
            .map(|found| found.range())
            .filter(move |span| {
                !inside(text[..span.start].chars().next_back())
                    && !inside(text[span.end..].chars().next())
            })
    }
}
