//! Rows that share their rarest words: candidates that the bands of a MinHash miss.
//!
//! One changed word of twenty takes five of sixteen shingles with it, so a short row with a typing error is no
//! candidate by its shingles. By its words it is: two rows that differ in a word or two share nearly all others, the
//! rarest among them. So rows are listed by their rarest words, and rows of one list are compared by the weight of
//! the words they share, where a word that every row has weighs nothing.

use rayon::prelude::*;

use crate::text::mix;

/// Words kept of a row: the least of their hashes, which is a fair sample of longer rows.
pub(super) const WORDS: usize = 32;
/// Rarest words that a row is listed by: a word or two that were replaced may be among them.
const LISTED_BY: usize = 4;
/// Rows of one list at most. A word that more rows have lists them together with another such word.
const LIST: usize = 64;
/// The least share of the weight of all words of two rows that is on words that both have.
const SHARED: f32 = 0.5;

/// The words of a row to be kept, in order.
pub(super) fn sample(words: &[u64]) -> Box<[u32]> {
    let mut words: Vec<u32> = words.iter().map(|word| (word >> 32) as u32).collect();
    words.sort_unstable();
    words.dedup();
    words.truncate(WORDS);
    words.into()
}

/// Pairs of rows, by their places in `rows`, that share much of what is rare.
pub(super) fn pairs(rows: &[&[u32]]) -> Vec<[usize; 2]> {
    let often = Often::of(rows);
    let weights: Vec<Box<[u8]>> = rows
        .par_iter()
        .map(|words| words.iter().map(|&word| often.weight(word)).collect())
        .collect();
    let listed: Vec<[u32; LISTED_BY]> = rows.par_iter().map(|words| often.rarest(words)).collect();
    let mut lists: Vec<(u64, u32)> = listed
        .iter()
        .enumerate()
        .flat_map(|(row, words)| {
            let keys = often.keys(words).into_iter();
            keys.map(move |key| (key, row as u32))
        })
        .collect();
    lists.par_sort_unstable();
    let lists: Vec<&[(u64, u32)]> = lists
        .chunk_by(|a, b| a.0 == b.0)
        .filter(|list| (2..=LIST).contains(&list.len()))
        .collect();
    let mut pairs: Vec<[usize; 2]> = lists
        .par_iter()
        .flat_map_iter(|list| {
            let alike = |a: usize, b: usize| {
                let words = (rows[a], rows[b]);
                shared(words.0, &weights[a], words.1, &weights[b]) >= SHARED
            };
            let mut found = Vec::new();
            for (at, &(_, a)) in list.iter().enumerate() {
                for &(_, b) in &list[at + 1..] {
                    let (a, b) = (a as usize, b as usize);
                    if alike(a, b) {
                        found.push([a, b]);
                    }
                }
            }
            found
        })
        .collect();
    pairs.par_sort_unstable();
    pairs.dedup();
    pairs
}

/// No word.
const NONE: u32 = u32::MAX;

/// In how many rows words are, or few more: words that share a place are counted together.
struct Often {
    counts: Vec<u32>,
    rows: usize,
}

impl Often {
    fn of(rows: &[&[u32]]) -> Self {
        let words: usize = rows.iter().map(|words| words.len()).sum();
        let mut often = Self {
            counts: vec![0; words.next_power_of_two().max(1 << 10)],
            rows: rows.len(),
        };
        for words in rows {
            for &word in *words {
                let place = often.place(word);
                often.counts[place] += 1;
            }
        }
        often
    }

    fn place(&self, word: u32) -> usize {
        mix(u64::from(word)) as usize & (self.counts.len() - 1)
    }

    fn rows(&self, word: u32) -> u32 {
        self.counts[self.place(word)]
    }

    /// What a row is listed by: each of its rarest words, and pairs of those that too many rows have.
    fn keys(&self, words: &[u32]) -> Vec<u64> {
        let words = words.iter().copied().filter(|&word| word != NONE);
        let is_rare = |word: &u32| self.rows(*word) as usize <= LIST;
        let (rare, others): (Vec<u32>, Vec<u32>) = words.partition(is_rare);
        let mut keys: Vec<u64> = rare.into_iter().map(u64::from).collect();
        for (at, &a) in others.iter().enumerate() {
            for &b in &others[at + 1..] {
                keys.push(mix(u64::from(a.min(b)) << 32 | u64::from(a.max(b))));
            }
        }
        keys
    }

    /// Eighths of a bit.
    fn weight(&self, word: u32) -> u8 {
        let often = f64::from(self.rows(word).max(1));
        (8.0 * ((self.rows + 1) as f64 / often).log2()).round() as u8
    }

    /// The rarest words that another row may have too.
    fn rarest(&self, words: &[u32]) -> [u32; LISTED_BY] {
        let mut shared: Vec<(u32, u32)> = words
            .iter()
            .map(|&word| (self.rows(word), word))
            .filter(|&(rows, word)| rows > 1 && word != NONE)
            .collect();
        let last = LISTED_BY.min(shared.len());
        if last < shared.len() {
            shared.select_nth_unstable(last);
        }
        let mut rarest = [NONE; LISTED_BY];
        shared.truncate(last);
        shared.sort_unstable();
        rarest
            .iter_mut()
            .zip(shared)
            .for_each(|(slot, (_, word))| *slot = word);
        rarest
    }
}

/// The share of the weight of all words that is on those that both have.
fn shared(a: &[u32], a_weights: &[u8], b: &[u32], b_weights: &[u8]) -> f32 {
    let (mut i, mut j, mut common) = (0, 0, 0_u32);
    while i < a.len() && j < b.len() {
        let (left, right) = (a[i], b[j]);
        if left == right {
            common += u32::from(a_weights[i]);
        }
        i += usize::from(left <= right);
        j += usize::from(right <= left);
    }
    let all = |weights: &[u8]| weights.iter().map(|&weight| u32::from(weight)).sum::<u32>();
    let all = all(a_weights) + all(b_weights) - common;
    common as f32 / all.max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Numbers, Words};

    fn of(text: &str) -> Box<[u32]> {
        sample(&Words::of(text, Numbers::Kept).hashes().collect::<Vec<_>>())
    }

    #[test]
    fn rows_that_differ_in_a_word_are_candidates_and_rows_of_one_template_are_not() {
        let mut rows: Vec<Box<[u32]>> = (0..40)
            .map(|row| {
                of(&format!(
                    "read this short message and say what it is about, please: {}",
                    word(row)
                ))
            })
            .collect();
        rows.push(of("the ferry carries parcels for a few islands"));
        rows.push(of("the ferry carries packages for a few islands"));
        let rows: Vec<&[u32]> = rows.iter().map(|words| &**words).collect();
        assert_eq!(pairs(&rows), [[40, 41]]);
    }

    /// Three words of its own.
    fn word(row: usize) -> String {
        let letter = |at: usize| char::from(b'a' + (at % 26) as u8);
        let word = |salt: usize| -> String {
            [row, salt, row / 26 + salt]
                .into_iter()
                .map(letter)
                .collect()
        };
        format!("{} {} {}", word(1), word(5), word(9))
    }
}
