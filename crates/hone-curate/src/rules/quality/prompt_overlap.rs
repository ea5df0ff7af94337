//! Replies copied out of their prompt.

use std::collections::HashSet;

use hone_text::Role;

use crate::rules::prose;
use crate::{Action, BadParam, Doc, Family, Hit, Param, Params, Row, Rule};

pub static DOC: Doc = Doc {
    name: "prompt-overlap",
    family: Family::Quality,
    summary: "most of a reply stands in its prompt already",
    why: "There is little to learn from a reply that the prompt holds: the model learns to copy. Extraction and correction are meant to be like this; for them, switch the rule off.",
    what: "Share of the reply's word five-grams, outside of code and without regard to case, that occur in the turns before it: `most` or above, for replies of at least `min-words` words.",
    default: Action::Report,
    params: &[
        Param {
            name: "most",
            what: "share of five-grams, 0 to 1; 0.8",
        },
        Param {
            name: "min-words",
            what: "words from which a reply is measured; 20",
        },
    ],
};

const GRAM: usize = 5;

/// See [`DOC`].
pub struct PromptOverlap {
    most: f64,
    min_words: usize,
}

/// The rule with a recipe's parameters.
pub fn rule(params: &mut Params) -> Result<Box<dyn Rule>, BadParam> {
    let most = params.number("most", 0.8)?;
    let min_words = params.count("min-words", 20)?.max(GRAM);
    Ok(Box::new(PromptOverlap { most, min_words }))
}

impl Rule for PromptOverlap {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        let mut read = HashSet::new();
        let replies = row
            .parts()
            .filter(|part| part.role == Some(Role::Assistant));
        // Nothing is asked of the prompt while no reply is long enough.
        if !replies.into_iter().any(|part| {
            prose::all_words(part.text)
                .nth(self.min_words - 1)
                .is_some()
        }) {
            return;
        }
        for part in row.parts() {
            let grams = grams(part.text);
            if part.role == Some(Role::Assistant) && grams.len() + GRAM > self.min_words {
                let known = grams.iter().filter(|gram| read.contains(*gram)).count();
                let share = known as f64 / grams.len() as f64;
                if share >= self.most {
                    let message =
                        format!("{:.0} % of the reply stands in the prompt", share * 100.0);
                    hits.push(Hit::of(part.place, message));
                }
            }
            read.extend(grams);
        }
    }
}

/// Hashes of the text's five-grams.
fn grams(text: &str) -> Vec<u64> {
    let words: Vec<u64> = prose::all_words(text).map(hash).collect();
    let join = |gram: &[u64]| {
        gram.iter().fold(0, |hash: u64, word| {
            (hash.rotate_left(7) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        })
    };
    words.windows(GRAM).map(join).collect()
}

fn hash(word: &str) -> u64 {
    word.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
    })
}
