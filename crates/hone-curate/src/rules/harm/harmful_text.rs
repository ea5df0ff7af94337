//! Abuse and harmful requests, by a small linear model.
//!
//! The model is trained, calibrated and measured by `fixtures/scripts/harm_classifier.py`, which wrote the
//! weights and their card beside this file: one byte per weight, 2^18 of them, for hashed n-grams of bytes
//! and for words. Sums are whole numbers, so a score is the same on every machine.

use std::ops::Range;

use serde::Deserialize;

use crate::{Action, BadParam, Doc, Family, Hit, Param, Params, Row, Rule};

pub static DOC: Doc = Doc {
    name: "harmful-text",
    family: Family::Harm,
    summary: "a small model takes the text for abuse or a harmful request",
    why: "A model repeats the tone of what it learnt, and few words are always abuse or never: a score finds what no list has.",
    what: "Logistic regression on hashed 3- to 5-grams of bytes, words and pairs of words, over windows of up to 400 bytes; the highest counts. Trained on labelled comments and harmful prompts of public packages; the card `harmful_text.json` has provenance, licence and the figures on held-out rows. The score is calibrated (Platt 1999) on rows as mixed as those it was trained on, of which a third were harmful. It knows English only, and takes news and novels about violence for what they tell of: read before you drop.",
    default: Action::Report,
    params: &[
        Param {
            name: "threshold",
            what: "score from which a text is reported, 0 to 1; 0.93, at which one in a hundred harmless rows was",
        },
        Param {
            name: "min-words",
            what: "words from which a text is scored; 4",
        },
    ],
};

static WEIGHTS: &[u8; 1 << BITS] = include_bytes!("harmful_text.bin");
const CARD: &str = include_str!("harmful_text.json");

const BITS: u32 = 18;
const WINDOW: usize = 400;
/// A window is cut at white space in its second half, or else in the middle of a word.
const HALF: usize = 200;
const OFFSET: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;
/// Words start from another state, so that a word and the same letters inside another differ.
const WORD_OFFSET: u32 = OFFSET ^ 0x5bd1_e995;

/// From a window's margin to its score, and from which one a text is reported.
#[derive(Deserialize)]
struct Calibration {
    slope: f64,
    bias: f64,
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
            if part
                .text
                .split_ascii_whitespace()
                .nth(self.min_words.saturating_sub(1))
                .is_none()
            {
                continue;
            }
            let (margin, window) = worst_window(part.text, &mut buffer);
            let score = self.calibration.score(margin);
            if score >= self.threshold {
                let message = "taken for abuse or a harmful request";
                hits.push(Hit::at(part.place, window, message).scored(score as f32));
            }
        }
    }
}

impl Calibration {
    fn score(&self, margin: f64) -> f64 {
        1.0 / (1.0 + (-(self.slope * margin + self.bias)).exp())
    }
}

/// The highest margin, and the window that has it.
fn worst_window(text: &str, buffer: &mut Vec<u8>) -> (f64, Range<usize>) {
    let (mut worst, mut at) = ((f64::NEG_INFINITY, 0..0), 0);
    loop {
        let end = at + window_length(&text[at..]);
        let margin = margin(&text.as_bytes()[at..end], buffer);
        if margin > worst.0 {
            worst = (margin, at..end);
        }
        at = end;
        if at == text.len() {
            return worst;
        }
    }
}

fn window_length(text: &str) -> usize {
    if text.len() <= WINDOW {
        return text.len();
    }
    let is_space = |at: &usize| matches!(text.as_bytes()[*at], b' ' | b'\t' | b'\n' | b'\r');
    let cut = (HALF..WINDOW).rev().find(is_space);
    cut.unwrap_or_else(|| text.floor_char_boundary(WINDOW))
}

/// The sum of the weights of all features, over the root of their number.
fn margin(window: &[u8], buffer: &mut Vec<u8>) -> f64 {
    normalise(window, buffer);
    let (mut sum, mut count) = (0i64, 0usize);
    let mut add = |hash: u32| {
        sum += i64::from(weight(hash));
        count += 1;
    };
    each_gram(buffer, &mut add);
    each_word(buffer, &mut add);
    sum as f64 / (count.max(1) as f64).sqrt()
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
fn each_gram(bytes: &[u8], add: &mut impl FnMut(u32)) {
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

/// Hashes of all words, and of each with the one before it.
fn each_word(bytes: &[u8], add: &mut impl FnMut(u32)) {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80 || *byte == b'\'';
    if bytes.len() < 3 {
        return;
    }
    let mut before = None;
    for word in bytes
        .split(|byte| !is_letter(byte))
        .filter(|word| !word.is_empty())
    {
        let hashed = |state: u32| word.iter().fold(state, |state, &byte| step(state, byte));
        if let Some(before) = before {
            add(hashed(step(before, b' ')));
        }
        let hash = hashed(WORD_OFFSET);
        add(hash);
        before = Some(hash);
    }
}

fn step(state: u32, byte: u8) -> u32 {
    (state ^ u32::from(byte)).wrapping_mul(PRIME)
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
            let (margin, _) = worst_window(&text, &mut Vec::new());
            let found = calibration().score(margin);
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
}
