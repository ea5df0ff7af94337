//! Words of abuse, by severity, and what their sentence does with them.
//!
//! A list alone cannot tell an insult from somebody who reports one, so a word in quotation marks, after a
//! negation or in a sentence about words counts half. That is what HateCheck (Röttger et al. 2021,
//! arXiv:2012.15606) tests with its negated, quoted and counter-speech cases.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::rules::phrases::Phrases;
use crate::{Action, BadParam, Doc, Family, Hit, Param, Params, Row, Rule};

pub static DOC: Doc = Doc {
    name: "harmful-words",
    family: Family::Harm,
    summary: "words of abuse, hate or threat",
    why: "What the model reads it will say, to people who did not choose the data.",
    what: "A short list of our own, `lexicon.tsv`: coarse (0.3), abusive (0.6), hateful or threatening (0.9), and hatred against a group of people (0.9), at the borders of words, with their endings, in any case, and with letters written as digits, signs or stars. The score is halved where the word is quoted, where a negation stands in the four words before it, and where the sentence talks about words or condemns them. What remains below `threshold` is not told.",
    default: Action::Report,
    params: &[Param {
        name: "threshold",
        what: "score from which a word is told, 0 to 1; 0.5",
    }],
};

const LEXICON: &str = include_str!("lexicon.tsv");
/// By severity 1, 2, 3.
const SCORES: [f32; 3] = [0.3, 0.6, 0.9];
const NAMES: [&str; 3] = ["coarse", "abusive", "hateful or threatening"];

/// What a word of the list may end in.
const ENDINGS: &[&str] = &[
    "", "s", "es", "ed", "er", "ers", "ing", "in", "y", "d", "t", "head", "heads", "ted", "ting",
    "ter",
];

/// What one does to people one hates, and whom.
const HATRED: [&[&str]; 2] = [
    &[
        "hate",
        "hates",
        "despise",
        "detest",
        "loathe",
        "kill",
        "exterminate",
        "deport",
        "gas",
        "lynch",
        "hang",
        "shoot",
        "bomb",
        "attack",
        "hurt",
        "beat up",
    ],
    &[
        "women",
        "men",
        "gays",
        "gay people",
        "lesbians",
        "homosexuals",
        "trans people",
        "transgender people",
        "black people",
        "blacks",
        "white people",
        "asians",
        "mexicans",
        "jews",
        "muslims",
        "christians",
        "hindus",
        "arabs",
        "immigrants",
        "refugees",
        "foreigners",
        "disabled people",
        "the disabled",
    ],
];
/// Words that may stand between the two.
const BETWEEN: &[&str] = &[
    "",
    "all ",
    "all the ",
    "all of the ",
    "the ",
    "these ",
    "those ",
    "every ",
    "fucking ",
];

/// Sentences about words, and against them.
static COUNTER_SPEECH: LazyLock<Phrases> = LazyLock::new(|| {
    Phrases::new(&[
        "no one should",
        "nobody should",
        "a slur",
        "slurs",
        "swear word",
        "swear words",
        "the word",
        "the words",
        "the term",
        "the phrase",
        "offensive",
        "insult",
        "insulting",
        "insulted",
        "hate speech",
        "hateful",
        "derogatory",
        "racist",
        "sexist",
        "homophobic",
        "transphobic",
        "unacceptable",
        "not okay",
        "not ok",
        "is wrong",
        "never say",
        "do not say",
        "don't say",
        "called me",
        "called him",
        "called her",
        "called them",
        "call people",
        "calling people",
        "calling someone",
        "call someone",
        "stop saying",
        "profanity",
        "means",
    ])
});
static NEGATIONS: &[&str] = &[
    "not",
    "no",
    "never",
    "nobody",
    "none",
    "don't",
    "doesn't",
    "didn't",
    "isn't",
    "aren't",
    "wasn't",
    "won't",
    "can't",
    "cannot",
    "shouldn't",
    "wouldn't",
    "without",
    "neither",
    "nor",
    "stop",
];

/// See [`DOC`].
pub struct HarmfulWords {
    threshold: f32,
    words: AhoCorasick,
    /// Severity of each word, counted from 0.
    severities: Vec<usize>,
}

/// The rule with a recipe's parameters.
pub fn rule(params: &mut Params) -> Result<Box<dyn Rule>, BadParam> {
    let threshold = params.number("threshold", 0.5)? as f32;
    let (severities, words): (Vec<usize>, Vec<String>) = lexicon().unzip();
    let automaton = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::LeftmostLongest)
        .build(words);
    Ok(Box::new(HarmfulWords {
        threshold,
        words: automaton.expect("a short list of words"),
        severities,
    }))
}

/// Severity and word, the hatred of groups included.
fn lexicon() -> impl Iterator<Item = (usize, String)> {
    let lines = LEXICON.lines().filter(|line| !line.starts_with('#'));
    let listed = lines.map(|line| {
        let (severity, word) = line.split_once('\t').expect("severity, tab, word");
        let severity: usize = severity.parse().expect("a number");
        (severity - 1, word.to_owned())
    });
    let hatred = HATRED[0].iter().flat_map(|act| {
        let whom = BETWEEN
            .iter()
            .flat_map(|between| HATRED[1].iter().map(move |whom| format!("{between}{whom}")));
        whom.map(move |whom| (2, format!("{act} {whom}")))
    });
    listed.chain(hatred)
}

impl Rule for HarmfulWords {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        for part in row.parts() {
            let plain = self.plain(part.text).chain(self.disguised(part.text));
            for (span, severity) in plain {
                let score = SCORES[severity] * weight_in_context(part.text, &span);
                if score >= self.threshold {
                    let message = format!("{} word", NAMES[severity]);
                    hits.push(Hit::at(part.place, span, message).scored(score));
                }
            }
        }
    }
}

impl HarmfulWords {
    /// Words as they are written, with their endings.
    fn plain<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (Range<usize>, usize)> + 'a {
        self.words.find_iter(text).filter_map(|found| {
            let inside_word = text[..found.start()].ends_with(char::is_alphanumeric);
            let rest = &text[found.end()..];
            let ending = rest
                .find(|c: char| !c.is_alphanumeric())
                .unwrap_or(rest.len());
            let known = ENDINGS
                .iter()
                .any(|known| known.eq_ignore_ascii_case(&rest[..ending]));
            let span = found.start()..found.end() + ending;
            (!inside_word && known).then_some((span, self.severities[found.pattern()]))
        })
    }

    /// Words with a digit or sign for a letter: `sh1t`, `a$$hole`, `f**k`.
    fn disguised<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (Range<usize>, usize)> + 'a {
        let is_sign = |byte: &u8| b"013457@$*!".contains(byte);
        let any = text.bytes().any(|byte| is_sign(&byte));
        let words = any.then(|| {
            text.split(|c: char| c.is_whitespace() || ".,;:?\"'()[]`/\\-_<>=+".contains(c))
        });
        words.into_iter().flatten().filter_map(move |word| {
            let word = word.trim_end_matches('!').trim_matches('*');
            let signs = word.bytes().filter(is_sign).count();
            let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
            if signs == 0 || letters < 2 || letters < signs || letters + signs != word.len() {
                return None;
            }
            let start = word.as_ptr() as usize - text.as_ptr() as usize;
            let severity = self.severity_of(word)?;
            Some((start..start + word.len(), severity))
        })
    }

    /// The severity of a word whose signs are taken for letters.
    fn severity_of(&self, word: &str) -> Option<usize> {
        let letter = |byte: u8| match byte {
            b'0' => 'o',
            b'1' | b'!' => 'i',
            b'3' => 'e',
            b'4' | b'@' => 'a',
            b'5' | b'$' => 's',
            b'7' => 't',
            other => other.to_ascii_lowercase() as char,
        };
        let folded: String = word.bytes().map(letter).collect();
        if !folded.contains('*') {
            return self.plain(&folded).map(|(_, severity)| severity).next();
        }
        let fits = |known: &str| {
            known.len() == folded.len()
                && known
                    .bytes()
                    .zip(folded.bytes())
                    .all(|(known, seen)| known == seen || seen == b'*')
        };
        let mut words = LEXICON.lines().filter_map(|line| line.split_once('\t'));
        let (severity, _) = words.find(|(severity, known)| *severity != "1" && fits(known))?;
        severity.parse::<usize>().ok().map(|severity| severity - 1)
    }
}

/// 1, or a half for each thing in the sentence that takes the word's edge.
fn weight_in_context(text: &str, span: &Range<usize>) -> f32 {
    let sentence = sentence_around(text, span);
    let before = &text[sentence.start..span.start];
    let mut weight = 1.0;
    if is_quoted(before, &text[span.end..sentence.end]) {
        weight /= 2.0;
    }
    if is_negated(before) {
        weight /= 2.0;
    }
    if COUNTER_SPEECH.find(&text[sentence]).next().is_some() {
        weight /= 2.0;
    }
    weight
}

fn sentence_around(text: &str, span: &Range<usize>) -> Range<usize> {
    let is_end = |c: char| matches!(c, '.' | '!' | '?' | '\n');
    let start = text[..span.start].rfind(is_end).map_or(0, |at| at + 1);
    let end = text[span.end..]
        .find(is_end)
        .map_or(text.len(), |at| span.end + at);
    start..end
}

fn is_quoted(before: &str, after: &str) -> bool {
    let straight = before.matches('"').count() % 2 == 1 && after.contains('"');
    let curly = before.rfind('“') > before.rfind('”') && after.contains('”');
    let code = before.matches('`').count() % 2 == 1 && after.contains('`');
    let single = before.contains(" '") && after.contains('\'');
    straight || curly || code || single
}

fn is_negated(before: &str) -> bool {
    let last = before.split_whitespace().rev().take(4);
    let mut words = last.map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
    words.any(|word| {
        let word = word.replace('’', "'");
        NEGATIONS
            .iter()
            .any(|negation| negation.eq_ignore_ascii_case(&word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_each_word_once_in_lower_case() {
        let mut words: Vec<String> = lexicon().map(|(_, word)| word).collect();
        let count = words.len();
        assert!(words.iter().all(|word| word.to_lowercase() == *word));
        words.sort();
        words.dedup();
        assert_eq!(words.len(), count);
    }
}
