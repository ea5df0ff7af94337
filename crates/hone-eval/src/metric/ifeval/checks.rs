//! What each instruction looks for in an answer.

use std::sync::LazyLock;

use regex::Regex;
use whatlang::Lang;

use super::instruction::Instruction;
use super::words::{capital_words, is_lower, is_upper, sentences, words};
use crate::metric::exact::is_space;

impl Instruction {
    /// Whether the answer obeys. Empty answers are for the caller to refuse.
    pub fn is_obeyed(&self, answer: &str) -> bool {
        match self {
            Self::KeywordsExist(keywords) => keywords.iter().all(|word| word.is_match(answer)),
            Self::KeywordFrequency(keyword, relation) => {
                relation.holds(keyword.find_iter(answer).count())
            }
            Self::ForbiddenWords(words) => !words.iter().any(|word| word.is_match(answer)),
            Self::LetterFrequency(letter, relation) => {
                let lower = answer.to_lowercase();
                relation.holds(lower.chars().filter(|c| c == letter).count())
            }
            Self::ResponseLanguage(language) => is_in(*language, answer),
            Self::NumberSentences(relation) => relation.holds(sentences(answer)),
            Self::NumberParagraphs(count) => has_paragraphs(answer, *count),
            Self::NumberWords(relation) => relation.holds(words(answer)),
            Self::NthParagraphFirstWord {
                paragraphs,
                nth,
                first_word,
            } => begins_paragraph(answer, *paragraphs, *nth as usize, first_word),
            Self::NumberPlaceholders(least) => count(r"\[.*?\]", answer) >= *least,
            Self::Postscript(marker) => marker.is_match(&answer.to_lowercase()),
            Self::NumberBulletLists(number) => {
                count(r"(?m)^\s*\*[^\*].*$", answer) + count(r"(?m)^\s*-.*$", answer) == *number
            }
            Self::ConstrainedResponse => OPTIONS.iter().any(|option| answer.contains(option)),
            Self::NumberHighlightedSections(least) => highlights(answer) >= *least as usize,
            Self::MultipleSections(splitter, least) => {
                splitter.find_iter(answer).count() as u64 >= *least
            }
            Self::JsonFormat => is_json(answer),
            Self::Title => has_title(answer),
            Self::TwoResponses => has_two_responses(answer),
            Self::RepeatPrompt(prompt) => strip(answer).to_lowercase().starts_with(prompt),
            Self::EndChecker(phrase) => {
                let answer = strip(answer).trim_matches('"');
                answer.to_lowercase().ends_with(phrase)
            }
            Self::CapitalWordFrequency(relation) => relation.holds(capital_words(answer)),
            Self::EnglishCapital => is_upper(answer) && is_in(Lang::Eng, answer),
            Self::EnglishLowercase => is_lower(answer) && is_in(Lang::Eng, answer),
            Self::NoComma => !answer.contains(','),
            Self::Quotation => {
                let answer = strip(answer);
                answer.len() > 1 && answer.starts_with('"') && answer.ends_with('"')
            }
        }
    }
}

const OPTIONS: [&str; 3] = [
    "My answer is yes.",
    "My answer is no.",
    "My answer is maybe.",
];

fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// A pattern of our own, kept once it was made.
fn count(pattern: &'static str, text: &str) -> u64 {
    find(pattern, text).len() as u64
}

fn find<'a>(pattern: &'static str, text: &'a str) -> Vec<&'a str> {
    static PATTERNS: LazyLock<Vec<(&str, Regex)>> = LazyLock::new(|| {
        let patterns = [
            r"\[.*?\]",
            r"(?m)^\s*\*[^\*].*$",
            r"(?m)^\s*-.*$",
            r"\*[^\n\*]*\*",
            r"\*\*[^\n\*]*\*\*",
            r"<<[^\n]+>>",
        ];
        let built = |pattern| (pattern, Regex::new(pattern).expect("a pattern of our own"));
        patterns.map(built).to_vec()
    });
    let known = PATTERNS.iter().find(|(other, _)| *other == pattern);
    let (_, regex) = known.expect("a pattern of the list");
    regex.find_iter(text).map(|found| found.as_str()).collect()
}

/// What no language can be told of is in the one that was asked for, as in the reference.
fn is_in(language: Lang, text: &str) -> bool {
    whatlang::detect_lang(text).is_none_or(|found| found == language)
}

/// Paragraphs stand between `***`; an empty one in the middle is none, at an end it does not count.
fn has_paragraphs(text: &str, count: u64) -> bool {
    static DIVIDER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\s?\*\*\*\s?").expect("a pattern of our own"));
    let paragraphs: Vec<&str> = DIVIDER.split(text).collect();
    let is_blank = |at: &usize| strip(paragraphs[*at]).is_empty();
    let blank: Vec<usize> = (0..paragraphs.len()).filter(is_blank).collect();
    blank
        .iter()
        .all(|at| *at == 0 || *at == paragraphs.len() - 1)
        && (paragraphs.len() - blank.len()) as u64 == count
}

/// Paragraphs stand between empty lines here; the word ends at a sign.
fn begins_paragraph(text: &str, count: u64, nth: usize, first_word: &str) -> bool {
    let paragraphs: Vec<&str> = text.split("\n\n").collect();
    let written = paragraphs
        .iter()
        .filter(|one| !strip(one).is_empty())
        .count();
    if written as u64 != count || nth > written {
        return false;
    }
    let paragraph = strip(paragraphs[nth - 1]);
    let Some(word) = paragraph
        .split(is_space)
        .next()
        .filter(|word| !word.is_empty())
    else {
        return false;
    };
    let word = word.trim_start_matches('\'').trim_start_matches('"');
    let end = word
        .find(['.', ',', '?', '!', '\'', '"'])
        .unwrap_or(word.len());
    // Letter by letter, as the reference does: a sigma at the end of a word stays the one of its middle.
    let lower: String = word[..end].chars().flat_map(char::to_lowercase).collect();
    lower == first_word
}

/// `*one*` counts, and `**two**` counts again.
fn highlights(text: &str) -> usize {
    let once = find(r"\*[^\n\*]*\*", text).into_iter();
    let once = once.filter(|found| !strip(found.trim_matches('*')).is_empty());
    let twice = find(r"\*\*[^\n\*]*\*\*", text).into_iter();
    let twice = twice.filter(|found| !strip(&found[2..found.len() - 2]).is_empty());
    once.count() + twice.count()
}

fn is_json(text: &str) -> bool {
    let mut text = strip(text);
    for fence in ["```json", "```Json", "```JSON", "```"] {
        text = text.strip_prefix(fence).unwrap_or(text);
    }
    let text = strip(text.strip_suffix("```").unwrap_or(text));
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

fn has_title(text: &str) -> bool {
    let mut titles = find(r"<<[^\n]+>>", text).into_iter();
    titles.any(|title| {
        let title = title.trim_start_matches('<').trim_end_matches('>');
        !strip(title).is_empty()
    })
}

/// Two that differ, with `******` between them; an empty one in the middle is none.
fn has_two_responses(text: &str) -> bool {
    let responses: Vec<&str> = text.split("******").map(strip).collect();
    let last = responses.len() - 1;
    let blank_within = |at: usize| responses[at].is_empty() && at != 0 && at != last;
    let written: Vec<&&str> = responses.iter().filter(|one| !one.is_empty()).collect();
    !(0..=last).any(blank_within) && written.len() == 2 && written[0] != written[1]
}
