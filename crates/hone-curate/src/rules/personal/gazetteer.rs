//! Lists of names, and the words of a text that could be of one.
//!
//! First and family names are written by `fixtures/scripts/name_lists.py`, which says where they come from; countries, regions
//! and cities are our own list. A name is looked for only in runs of capitalised words, which are few.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::sync::LazyLock;

use crate::text::hash;

/// Some names.
pub type Names = LazyLock<HashSet<&'static str, BuildHasherDefault<ByWord>>>;

/// First names of people.
pub static FIRST_NAMES: Names =
    LazyLock::new(|| include_str!("gazetteer/first_names.txt").lines().collect());

/// Family names of people.
pub static FAMILY_NAMES: Names =
    LazyLock::new(|| include_str!("gazetteer/family_names.txt").lines().collect());

/// Countries, their regions, cities.
pub static PLACES: Names = LazyLock::new(|| places().collect());

/// The words with which places begin.
pub static PLACE_BEGINNINGS: Names = LazyLock::new(|| {
    places()
        .filter_map(|name| name.split([' ', '.']).next())
        .collect()
});

fn places() -> impl Iterator<Item = &'static str> {
    let names = include_str!("gazetteer/places.txt").split(['|', '\n']);
    names.filter(|name| !name.is_empty())
}

/// A hasher for words: every capitalised word of a text is looked up.
#[derive(Default)]
pub struct ByWord(u64);

impl Hasher for ByWord {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(bytes);
    }

    /// The end of a text, which its length has told already.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Does the text end in one of these phrases, whatever its case?
pub fn ends_in(text: &str, phrases: &[&str]) -> bool {
    let text = text.as_bytes();
    phrases.iter().any(|phrase| {
        let Some(start) = text.len().checked_sub(phrase.len()) else {
            return false;
        };
        let whole =
            start == 0 || !(text[start - 1].is_ascii_alphanumeric() || text[start - 1] >= 0x80);
        text[start..].eq_ignore_ascii_case(phrase.as_bytes()) && whole
    })
}

/// Capitalised words with nothing but a space between them, or a particle such as `von`.
#[derive(Debug)]
pub struct Run<'a> {
    /// The text in which it stands.
    pub text: &'a str,
    /// Its words in bytes of the text, particles left out.
    pub words: Vec<Range<usize>>,
}

impl<'a> Run<'a> {
    /// How many words it has.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// A word of it.
    pub fn word(&self, at: usize) -> &'a str {
        &self.text[self.words[at].clone()]
    }

    /// A stretch of its words, with what is between them.
    pub fn span(&self, words: Range<usize>) -> Range<usize> {
        self.words[words.start].start..self.words[words.end - 1].end
    }

    /// The text before a word of it, without the space between.
    pub fn before(&self, at: usize) -> &'a str {
        self.text[..self.words[at].start].trim_end_matches([' ', '\n'])
    }
}

/// Small words inside names.
const PARTICLES: &[&str] = &[
    "van der", "van den", "van de", "von der", "de la", "de los", "van", "von", "vom", "zu", "de",
    "del", "della", "der", "den", "di", "da", "dos", "das", "do", "du", "la", "le", "el", "al",
    "bin", "ibn", "ter", "ten", "af", "y", "e",
];

/// Every run of a text, in its order. Words that touch what only code has (`::`, `_`, `<`) are no words.
pub fn each_run<'a>(text: &'a str, mut told: impl FnMut(&Run<'a>)) {
    let mut run = Run {
        text,
        words: Vec::new(),
    };
    let mut at = 0;
    while let Some(start) = next_capital(text, at) {
        let end = word_end(text, start);
        at = end;
        if !stands_in_prose(text, start, end) {
            continue;
        }
        if run
            .words
            .last()
            .is_some_and(|last| !joins(text, last, start))
        {
            told(&run);
            run.words.clear();
        }
        run.words.push(start..end);
    }
    if !run.words.is_empty() {
        told(&run);
    }
}

/// The next capital letter from `at` on that begins a word.
fn next_capital(text: &str, mut at: usize) -> Option<usize> {
    loop {
        let found = text.as_bytes()[at..]
            .iter()
            .position(|&byte| byte.is_ascii_uppercase() || byte >= 0xc3)?;
        at += found;
        let c = text[at..].chars().next()?;
        if c.is_uppercase() && !text[..at].ends_with(char::is_alphanumeric) {
            return Some(at);
        }
        at += c.len_utf8();
        if c.is_alphanumeric() {
            // What is inside a word begins none.
            let rest = text[at..].chars().take_while(|c| c.is_alphanumeric());
            at += rest.map(char::len_utf8).sum::<usize>();
        }
    }
}

/// Letters, with an apostrophe or a hyphen only between two of them, and the full stop of an initial.
fn word_end(text: &str, start: usize) -> usize {
    let mut end = start;
    let mut letters = 0;
    let mut rest = text[start..].chars().peekable();
    while let Some(c) = rest.next() {
        let inside = matches!(c, '\'' | '’' | '-')
            && letters > 0
            && rest.peek().is_some_and(|&next| next.is_alphabetic())
            && !is_possessive(&text[end..]);
        if !c.is_alphabetic() && !inside {
            break;
        }
        letters += usize::from(c.is_alphabetic());
        end += c.len_utf8();
    }
    end + usize::from(letters == 1 && text[end..].starts_with('.'))
}

/// Does `'s` end the word here?
fn is_possessive(rest: &str) -> bool {
    let after = rest.strip_prefix("'s").or_else(|| rest.strip_prefix("’s"));
    after.is_some_and(|after| !after.starts_with(char::is_alphanumeric))
}

fn stands_in_prose(text: &str, start: usize, end: usize) -> bool {
    let before = text.as_bytes()[..start].last();
    let after = &text.as_bytes()[end..];
    let code_before = before.is_some_and(|byte| b"_:<.\\/@#$%&`=+-~".contains(byte));
    let code_after = match after {
        [b':', b':', ..]
        | [
            b'_' | b'<' | b'`' | b'/' | b'\\' | b'=' | b'@' | b'{' | b'0'..=b'9',
            ..,
        ] => true,
        [b'(', ..] => true,
        [b'.', next, ..] => next.is_ascii_alphanumeric(),
        _ => false,
    };
    // `Name:Ana` is written so by people as well, `Vec::new` is not.
    let labelled = before == Some(&b':') && !text[..start].ends_with("::");
    (!code_before || labelled) && !code_after
}

/// Does the word that begins at `next` go on the run?
fn joins(text: &str, last: &Range<usize>, next: usize) -> bool {
    let between = &text[last.end..next];
    match between {
        " " | ". " if between == " " || is_short(&text[last.clone()]) => true,
        _ => between
            .strip_prefix(' ')
            .and_then(|rest| rest.strip_suffix(' '))
            .is_some_and(|middle| PARTICLES.contains(&middle)),
    }
}

/// A word that a full stop shortens: `Dr`, `St`.
fn is_short(word: &str) -> bool {
    matches!(
        word,
        "Dr" | "Mr"
            | "Mrs"
            | "Ms"
            | "Prof"
            | "St"
            | "Fr"
            | "Sr"
            | "Jr"
            | "Hr"
            | "Capt"
            | "Gen"
            | "Lt"
            | "Sgt"
            | "Rev"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(text: &str) -> Vec<Vec<&str>> {
        let mut found = Vec::new();
        each_run(text, |run| {
            found.push((0..run.len()).map(|at| run.word(at)).collect())
        });
        found
    }

    #[test]
    fn a_run_is_made_of_capitalised_words_and_particles() {
        assert_eq!(
            runs("so Ana B. Núñez de la Vega met Jean-Luc O'Neil, Dr. Wu"),
            [
                vec!["Ana", "B.", "Núñez", "Vega"],
                vec!["Jean-Luc", "O'Neil"],
                vec!["Dr", "Wu"]
            ]
        );
        assert_eq!(
            runs("Örjan's dog.\nÇa va, Éva? Anna"),
            [vec!["Örjan"], vec!["Ça"], vec!["Éva"], vec!["Anna"]]
        );
    }

    #[test]
    fn code_has_no_names() {
        assert!(runs("Vec::new `Mark` x.Ana Self_ Foo<T> #Tag iPhone éA CamelCase(1)").is_empty());
    }

    #[test]
    fn lists_are_of_names_and_not_of_words() {
        assert!(
            FIRST_NAMES.contains("Giulia")
                && FIRST_NAMES.contains("James")
                && FAMILY_NAMES.contains("Smith")
                && PLACES.contains("Rio de Janeiro")
        );
        assert!(
            ["Will", "The", "In", "May", ""]
                .iter()
                .all(|word| !FIRST_NAMES.contains(word))
        );
    }
}
