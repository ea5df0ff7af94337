//! A small network that looks again at what the linear model takes for possible: filters over the vectors of one to four
//! words in a row, of each the highest (Kim 2014).
//!
//! A filter that fits `kill a stranger` fits `murder my neighbour` too, because the vectors of the words are alike, and not
//! `kill a process`. `fixtures/scripts/harm_network.py` trains it. Vectors and filters are one byte a number, so sums are
//! whole numbers and the same on every machine.

use super::harmful_text::{hash_of, place_of};

/// Rows of [`DIMENSIONS`] bytes: nothing, each word in the order of its hash, and a word that is not known.
static VECTORS: &[u8] = include_bytes!("word_vectors.bin");
/// For each width the filters, a byte a number, and their biases, four bytes each; then what each filter counts, in 32 bits.
static FILTERS: &[u8] = include_bytes!("harm_network.bin");

const DIMENSIONS: usize = 48;
const PER_WIDTH: usize = 64;
const WIDTHS: usize = 4;
/// Words of nothing before the first word and behind the last.
const BEFORE: usize = 1;
const BEHIND: usize = 4;

/// How much speaks for harm in some words, but for the bias of the whole.
pub(super) fn logit<'a>(words: impl Iterator<Item = &'a [u8]>) -> f64 {
    let mut text = vec![0; BEFORE * DIMENSIONS];
    words.for_each(|word| text.extend_from_slice(vector(word)));
    text.resize(text.len() + BEHIND * DIMENSIONS, 0);
    let mut filters = FILTERS;
    let mut highest = Vec::with_capacity(WIDTHS * PER_WIDTH);
    for width in 1..=WIDTHS {
        let length = width * DIMENSIONS;
        let (weights, rest) = filters.split_at(PER_WIDTH * length);
        let (biases, rest) = rest.split_at(4 * PER_WIDTH);
        filters = rest;
        let (biases, _) = biases.as_chunks::<4>();
        for (filter, bias) in weights.chunks_exact(length).zip(biases) {
            let stretches = (0..=text.len() - length).step_by(DIMENSIONS);
            let sums = stretches.map(|start| dot(filter, &text[start..start + length]));
            let most = sums.max().expect("a text has some words of nothing");
            highest.push(most + i32::from_le_bytes(*bias));
        }
    }
    let (counts, _) = filters.as_chunks::<4>();
    let counted = highest.iter().zip(counts);
    counted.fold(0.0, |sum, (&most, count)| {
        sum + f64::from(f32::from_le_bytes(*count)) * f64::from(most.max(0))
    })
}

/// The vector of a word; of one that is not known as it is spelt, that of the word without its apostrophe.
fn vector(word: &[u8]) -> &'static [u8] {
    let without = || word.iter().copied().filter(|&byte| byte != b'\'');
    let place = place_of(hash_of(word.iter().copied()))
        .or_else(|| place_of(hash_of(word.strip_suffix(b"'s")?.iter().copied())))
        .or_else(|| place_of(hash_of(without())));
    let rows = VECTORS.len() / DIMENSIONS;
    let row = place.map_or(rows - 1, |place| place + 1);
    &VECTORS[row * DIMENSIONS..][..DIMENSIONS]
}

fn dot(a: &[u8], b: &[u8]) -> i32 {
    let product = |(a, b): (&u8, &u8)| i32::from(a.cast_signed()) * i32::from(b.cast_signed());
    a.iter().zip(b).map(product).sum()
}
