//! Text that says the same things over and over, by Gopher's fractions.
//!
//! N-grams are counted by hashes in one table that is cleared for each length; a text without a repeated
//! five-gram has no repeated longer one, which spares most texts the rest.

use std::collections::HashSet;
use std::ops::Range;

use crate::rules::prose;
use crate::{Action, BadParam, Doc, Family, Hit, Param, Params, Row, Rule};

pub static DOC: Doc = Doc {
    name: "gopher-repetition",
    family: Family::Quality,
    summary: "lines, paragraphs or phrases of a supervised text repeat",
    why: "Loops in the data are loops in the model: repetition is the commonest fault of generated text, and it is learned.",
    what: "Gopher's fractions with datatrove's reading of them (Rae et al. 2021, arXiv:2112.11446, table A1): duplicate paragraphs or lines above 30 % by number or 20 % by characters; the most frequent 2-, 3- or 4-gram above 20, 18 or 16 % of the characters; repeated 5- to 10-grams above 15, 14, 13, 12, 11 or 10 %. Code is left out. Fractions of short texts say nothing, so replies of less than `min-words` words pass; a most frequent n-gram has to occur twice.",
    default: Action::Report,
    params: &[Param {
        name: "min-words",
        what: "words from which a text is measured; 50, as in Gopher's quality rule",
    }],
};

const DUPLICATE_NUMBER: f64 = 0.30;
const DUPLICATE_CHARACTERS: f64 = 0.20;
const TOP: [(usize, f64); 3] = [(2, 0.20), (3, 0.18), (4, 0.16)];
const REPEATED: [(usize, f64); 6] = [
    (5, 0.15),
    (6, 0.14),
    (7, 0.13),
    (8, 0.12),
    (9, 0.11),
    (10, 0.10),
];

/// See [`DOC`].
pub struct GopherRepetition {
    min_words: usize,
}

/// The rule with a recipe's parameters.
pub fn rule(params: &mut Params) -> Result<Box<dyn Rule>, BadParam> {
    let min_words = params.count("min-words", 50)?;
    Ok(Box::new(GopherRepetition { min_words }))
}

impl Rule for GopherRepetition {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        // A word and the space after it are two bytes at least.
        let long_enough = |text: &str| text.len() + 1 >= 2 * self.min_words;
        for part in row.supervised().filter(|part| long_enough(part.text)) {
            let text = Measured::new(part.text);
            let problem = (text.words.len() >= self.min_words)
                .then(|| text.problem())
                .flatten();
            hits.extend(problem.map(|problem| Hit::of(part.place, problem)));
        }
    }
}

/// The prose of a text, in words with their hashes.
struct Measured<'a> {
    text: &'a str,
    stretches: Vec<Range<usize>>,
    words: Vec<Word>,
    length: f64,
}

#[derive(Clone, Copy)]
struct Word {
    hash: u64,
    length: usize,
}

impl<'a> Measured<'a> {
    fn new(text: &'a str) -> Self {
        let stretches = prose::stretches(text);
        let words = stretches
            .iter()
            .flat_map(|stretch| prose::words(text, stretch.clone()));
        let words = words.map(|word| Word::of(&text[word])).collect();
        let characters = |stretch: &Range<usize>| text[stretch.clone()].chars().count();
        let length = stretches.iter().map(characters).sum::<usize>() as f64;
        Self {
            text,
            stretches,
            words,
            length,
        }
    }

    fn problem(&self) -> Option<String> {
        let of_pieces = self
            .repeated_pieces("\n\n", "paragraphs")
            .or_else(|| self.repeated_pieces("\n", "lines"));
        of_pieces.or_else(|| self.phrases())
    }

    fn repeated_pieces(&self, separator: &str, name: &str) -> Option<String> {
        let (mut seen, mut count) = (HashSet::new(), 0);
        let (mut again, mut characters) = (0, 0);
        let pieces = self
            .stretches
            .iter()
            .flat_map(|stretch| self.text[stretch.clone()].split(separator));
        for piece in pieces.map(str::trim).filter(|piece| !piece.is_empty()) {
            count += 1;
            if !seen.insert(piece) {
                again += 1;
                characters += piece.chars().count();
            }
        }
        let (by_number, by_characters) = (
            f64::from(again) / f64::from(count.max(1)),
            characters as f64 / self.length,
        );
        let exceeds = by_number > DUPLICATE_NUMBER || by_characters > DUPLICATE_CHARACTERS;
        exceeds.then(|| format!("{again} of {count} {name} repeat an earlier one"))
    }

    fn phrases(&self) -> Option<String> {
        let mut table = Table::new(self.words.len());
        let top = TOP.into_iter().find_map(|(n, limit)| {
            let share = self.most_frequent(n, &mut table) as f64 / self.length;
            (share > limit).then(|| {
                format!(
                    "one phrase of {n} words is {:.0} % of the text",
                    share * 100.0
                )
            })
        });
        top.or_else(|| self.repeated_phrases(&mut table))
    }

    fn repeated_phrases(&self, table: &mut Table) -> Option<String> {
        for (n, limit) in REPEATED {
            let characters = self.repeated(n, table);
            let share = characters as f64 / self.length;
            if share > limit {
                return Some(format!(
                    "phrases of {n} words that occurred before are {:.0} % of the text",
                    share * 100.0
                ));
            }
            if characters == 0 {
                break;
            }
        }
        None
    }

    /// Characters of the most frequent n-gram with the spaces in it, times its occurrences.
    fn most_frequent(&self, n: usize, table: &mut Table) -> usize {
        table.clear();
        let mut best = (1, 0);
        for gram in self.words.windows(n) {
            let count = table.count(hash(gram));
            // Ties go to the first that reached the count, whatever its length.
            if count > best.0 {
                best = (count, length(gram) + n - 1);
            }
        }
        best.0 as usize * best.1
    }

    /// Characters of n-grams that occurred before, none counted twice.
    fn repeated(&self, n: usize, table: &mut Table) -> usize {
        table.clear();
        let (mut characters, mut at) = (0, 0);
        while let Some(gram) = self.words.get(at..at + n) {
            if table.count(hash(gram)) > 1 {
                characters += length(gram);
                at += n;
            } else {
                at += 1;
            }
        }
        characters
    }
}

impl Word {
    fn of(word: &str) -> Self {
        let hash = word.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self {
            hash,
            length: word.chars().count(),
        }
    }
}

fn hash(gram: &[Word]) -> u64 {
    gram.iter().fold(0, |hash: u64, word| {
        let mixed = (hash.rotate_left(5) ^ word.hash).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 32)
    })
}

fn length(gram: &[Word]) -> usize {
    gram.iter().map(|word| word.length).sum()
}

/// Counts by hash, open addressing; at most half full.
struct Table {
    slots: Vec<(u64, u32)>,
}

impl Table {
    fn new(entries: usize) -> Self {
        let slots = vec![(0, 0); (2 * entries).next_power_of_two()];
        Self { slots }
    }

    fn clear(&mut self) {
        self.slots.fill((0, 0));
    }

    /// How often the hash was counted, this time included.
    fn count(&mut self, hash: u64) -> u32 {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = &mut self.slots[at];
            if slot.1 == 0 || slot.0 == hash {
                *slot = (hash, slot.1 + 1);
                return slot.1;
            }
            at = (at + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fractions_are_gophers() {
        let text = Measured::new("a b c d e a b c d e f a b");
        let mut table = Table::new(text.words.len());
        assert_eq!(text.most_frequent(2, &mut table), 3 * "a b".len());
        assert_eq!(text.repeated(5, &mut table), "abcde".len());
        assert_eq!(text.repeated(6, &mut table), 0);
    }

    #[test]
    fn counting_holds_when_hashes_share_a_slot() {
        let mut table = Table::new(4);
        let counts: Vec<u32> = [8, 16, 8, 24, 16, 8]
            .into_iter()
            .map(|hash| table.count(hash))
            .collect();
        assert_eq!(counts, [1, 1, 2, 1, 2, 3]);
    }
}
