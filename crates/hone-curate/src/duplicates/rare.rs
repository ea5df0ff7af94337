//! Rows that share their rarest words: candidates that the bands of a MinHash miss.
//!
//! One changed word of twenty takes five of sixteen shingles with it, so a short row with a typing error is no
//! candidate by its shingles. By its words it is: two rows that differ in a word or two share nearly all others, the
//! rarest among them. So rows are listed by their rarest words, and rows of one list are compared by the weight of
//! the words they share, where a word that every row has weighs nothing.

use std::cmp::Ordering;

use rayon::prelude::*;

use crate::text::mix;

/// Words kept of a row: the least of their hashes, which is a fair sample of longer rows.
pub(super) const WORDS: usize = 32;
/// Rarest words that a row is listed by: a word or two that were replaced may be among them.
const LISTED_BY: usize = 4;
/// Rows of one list at most. A word that more rows have lists them together with another such word.
const LIST: usize = 64;
/// One part in so many of the weight of all words of two rows is on words that both have.
const SHARED: u32 = 2;

/// The words of a row to be kept, in order.
pub(super) fn sample(words: &[u64]) -> Box<[u32]> {
    let mut words: Vec<u32> = words.iter().map(|word| (word >> 32) as u32).collect();
    words.sort_unstable();
    words.dedup();
    words.truncate(WORDS);
    words.into()
}

/// Has each of two rows at most so many words that the other has not? Of longer rows the samples tell of a part.
pub(super) fn are_within(a: &[u32], b: &[u32], allowed: usize) -> bool {
    let end = |sample: &[u32]| match sample {
        [.., last] if sample.len() == WORDS => *last,
        _ => u32::MAX,
    };
    // Of no greater word is it known whether both have it.
    let end = end(a).min(end(b));
    let (mut i, mut j, mut missed, mut their_missed) = (0, 0, 0, 0);
    loop {
        let next = |words: &[u32], at: usize| words.get(at).copied().filter(|word| *word <= end);
        let (mine, theirs) = (next(a, i), next(b, j));
        // Every word comes before none.
        let order = match (mine, theirs) {
            (None, None) => return true,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(mine), Some(theirs)) => mine.cmp(&theirs),
        };
        missed += usize::from(order == Ordering::Less);
        their_missed += usize::from(order == Ordering::Greater);
        if missed > allowed || their_missed > allowed {
            return false;
        }
        i += usize::from(order != Ordering::Greater);
        j += usize::from(order != Ordering::Less);
    }
}

/// Pairs of rows, by their places in `rows`, that share much of what is rare.
pub(super) fn pairs(rows: &[&[u32]]) -> Vec<[u32; 2]> {
    let often = Often::of(rows);
    let weighted: Vec<Weighted> = rows.par_iter().map(|words| often.weighted(words)).collect();
    let keys = rows.par_iter().enumerate().flat_map_iter(|(row, words)| {
        let keys = often.keys(&often.rarest(words)).into_iter();
        keys.map(move |key| (key, row as u32))
    });
    let mut lists: Vec<(u64, u32)> = keys.collect();
    lists.par_sort_unstable();
    let lists: Vec<&[(u64, u32)]> = lists
        .chunk_by(|a, b| a.0 == b.0)
        .filter(|list| (2..=LIST).contains(&list.len()))
        .collect();
    let mut pairs: Vec<[u32; 2]> = lists
        .par_iter()
        .flat_map_iter(|list| {
            let alike = |a: u32, b: u32| {
                let (a, b) = (a as usize, b as usize);
                weighted[a].share_much(rows[a], &weighted[b], rows[b])
            };
            let mut found = Vec::new();
            for (at, &(_, a)) in list.iter().enumerate() {
                let others = list[at + 1..].iter().map(|&(_, b)| b);
                found.extend(others.filter(|&b| alike(a, b)).map(|b| [a, b]));
            }
            found
        })
        .collect();
    pairs.par_sort_unstable();
    pairs.dedup();
    pairs
}

/// The weights of a row's words.
struct Weighted {
    of_words: Box<[u8]>,
    sum: u32,
}

impl Weighted {
    /// Is half of the weight of all words of two rows on words that both have?
    fn share_much(&self, words: &[u32], other: &Self, theirs: &[u32]) -> bool {
        let both = self.sum + other.sum;
        // `common / (both - common) >= 1 / SHARED`, so no less than this is on common words.
        let needed = both.max(1).div_ceil(SHARED + 1);
        if self.sum.min(other.sum) < needed {
            return false;
        }
        // What each may still have that the other has not.
        let (spare, their_spare) = (self.sum - needed, other.sum - needed);
        let (mut i, mut j) = (0, 0);
        let (mut common, mut missed, mut their_missed) = (0_u32, 0_u32, 0_u32);
        while i < words.len() && j < theirs.len() && missed <= spare && their_missed <= their_spare
        {
            let (left, right) = (words[i], theirs[j]);
            let (weight, their_weight) = (self.of_words[i], other.of_words[j]);
            common += u32::from(weight) * u32::from(left == right);
            missed += u32::from(weight) * u32::from(left < right);
            their_missed += u32::from(their_weight) * u32::from(right < left);
            i += usize::from(left <= right);
            j += usize::from(right <= left);
        }
        common >= needed
    }
}

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
    fn keys(&self, rarest: &[(u32, u32)]) -> Vec<u64> {
        let (rare, others): (Vec<_>, Vec<_>) =
            rarest.iter().partition(|(rows, _)| *rows as usize <= LIST);
        let mut keys: Vec<u64> = rare.into_iter().map(|&(_, word)| u64::from(word)).collect();
        for (at, &&(_, a)) in others.iter().enumerate() {
            for &&(_, b) in &others[at + 1..] {
                keys.push(mix(u64::from(a.min(b)) << 32 | u64::from(a.max(b))));
            }
        }
        keys
    }

    fn weighted(&self, words: &[u32]) -> Weighted {
        let of_words: Box<[u8]> = words.iter().map(|&word| self.weight(word)).collect();
        Weighted {
            sum: of_words.iter().map(|&weight| u32::from(weight)).sum(),
            of_words,
        }
    }

    /// Eighths of a bit.
    fn weight(&self, word: u32) -> u8 {
        let often = f64::from(self.rows(word).max(1));
        (8.0 * ((self.rows + 1) as f64 / often).log2()).round() as u8
    }

    /// The rarest words that another row may have too, and how many rows have them; in order.
    fn rarest(&self, words: &[u32]) -> Vec<(u32, u32)> {
        let shared = words.iter().map(|&word| (self.rows(word), word));
        let mut shared: Vec<(u32, u32)> = shared.filter(|&(rows, _)| rows > 1).collect();
        shared.sort_unstable();
        shared.truncate(LISTED_BY);
        shared
    }
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
