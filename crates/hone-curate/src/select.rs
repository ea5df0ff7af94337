//! Which rows to keep when fewer are wanted: quality first, but not the same thing twice.
//!
//! Two rules. DEITA's (Liu et al. 2024): the best first, leaving out a row whose cosine with any row already
//! chosen is above a limit. Facility location (Superfiltering.D, Li et al. 2024): the set for which every
//! candidate has a chosen row like it, grown greedily, which is within 1 - 1/e of the best set. Likeness is
//! the cosine of hashed word and word-pair counts, or of embeddings that the caller has.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use hone_ledger::ContentId;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Action, Check, Doc, Entry, Family};

/// `not-chosen`.
pub static DOC: Doc = Doc {
    name: "not-chosen",
    family: Family::Quality,
    summary: "the row is not among those chosen",
    why: "A thousand rows that are good and unlike each other often teach more than ten thousand; what was left out should be \
          seen, or a choice cannot be questioned.",
    what: "Works when the recipe has [select]. A row's worth is its IFD (Superfiltering): the perplexity of its reply with its \
           prompt over that without, by the base model at hand; rows whose prompt does not help (1 and more) are worth nothing. \
           `quality-then-diversity` takes the best first and leaves out what is like a chosen row; `facility-location` takes \
           the set that stands for all.",
    default: Action::Drop,
    params: &[],
};

/// The rule, carried out when the recipe asks for it.
pub const RULES: &[Entry] = &[Entry {
    doc: &DOC,
    check: Check::Dataset(|_| Ok(())),
}];

/// How many rows to choose.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawSelect {
    /// Rows to keep for learning.
    pub rows: usize,
    /// How they are chosen.
    pub by: Option<SelectBy>,
    /// Rows more alike than this are not both chosen (cosine).
    pub max_similarity: Option<f64>,
}

/// How rows are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SelectBy {
    /// The best first, leaving out what is like a chosen one (DEITA's rule).
    #[default]
    QualityThenDiversity,
    /// The set that stands for the whole best (facility location).
    FacilityLocation,
}

/// A row that may be chosen.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its id, which decides between rows of equal worth.
    pub id: ContentId,
    /// Its worth; more is better.
    pub quality: f64,
    /// Where it stands among others; of length 1.
    pub features: Vec<f32>,
}

/// Why a row was not chosen.
#[derive(Clone, Debug, PartialEq)]
pub enum Passed {
    /// It is like a chosen row, with this cosine.
    Like(usize, f64),
    /// There was no room left.
    NoRoom,
}

/// What was chosen, best first, and why each other row was not.
#[derive(Debug, PartialEq)]
pub struct Selection {
    /// Chosen rows, in the order in which they were chosen.
    pub chosen: Vec<usize>,
    /// The others, in the order of the candidates.
    pub passed: Vec<(usize, Passed)>,
}

/// The largest set of candidates among which facility location compares every pair.
pub const MAX_FACILITIES: usize = 20_000;

/// Chooses at most `rows` rows.
pub fn select(
    candidates: &[Candidate],
    rows: usize,
    by: SelectBy,
    max_similarity: f64,
) -> Selection {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|&a, &b| better_first(&candidates[a], &candidates[b]));
    match by {
        SelectBy::QualityThenDiversity => best_unlike(candidates, &order, rows, max_similarity),
        SelectBy::FacilityLocation => representatives(candidates, &order, rows),
    }
}

fn better_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.quality.total_cmp(&a.quality).then(a.id.cmp(&b.id))
}

fn best_unlike(candidates: &[Candidate], order: &[usize], rows: usize, limit: f64) -> Selection {
    let (mut chosen, mut passed) = (Vec::new(), Vec::new());
    for &row in order {
        if chosen.len() == rows {
            passed.push((row, Passed::NoRoom));
            continue;
        }
        let alike = |&other: &usize| (other, cosine(&candidates[row], &candidates[other]));
        let nearest = chosen
            .par_iter()
            .map(alike)
            .find_first(|(_, cosine)| *cosine > limit);
        match nearest {
            Some((other, cosine)) => passed.push((row, Passed::Like(other, cosine))),
            None => chosen.push(row),
        }
    }
    passed.sort_by_key(|(row, _)| *row);
    Selection { chosen, passed }
}

/// Greedy facility location with lazy gains: a gain only shrinks, so a stale one that stays first is the first.
fn representatives(candidates: &[Candidate], order: &[usize], rows: usize) -> Selection {
    let pool = &order[..order.len().min(MAX_FACILITIES)];
    let mut covered = vec![0.0f64; pool.len()];
    let gain = |at: usize, covered: &[f64]| -> f64 {
        pool.iter()
            .zip(covered)
            .map(|(&other, &before)| {
                (cosine(&candidates[pool[at]], &candidates[other]) - before).max(0.0)
            })
            .sum()
    };
    let first: Vec<f64> = (0..pool.len())
        .into_par_iter()
        .map(|at| gain(at, &covered))
        .collect();
    let mut heap: BinaryHeap<Gain> = first
        .into_iter()
        .enumerate()
        .map(|(at, gain)| Gain { gain, at, round: 0 })
        .collect();
    let mut chosen = Vec::new();
    while let Some(top) = heap.pop().filter(|_| chosen.len() < rows) {
        if top.round < chosen.len() {
            heap.push(Gain {
                gain: gain(top.at, &covered),
                round: chosen.len(),
                ..top
            });
            continue;
        }
        for (covered, &other) in covered.iter_mut().zip(pool) {
            *covered = covered.max(cosine(&candidates[pool[top.at]], &candidates[other]));
        }
        chosen.push(pool[top.at]);
    }
    let mut is_chosen = vec![false; candidates.len()];
    chosen.iter().for_each(|&row| is_chosen[row] = true);
    let passed = (0..candidates.len()).filter(|&row| !is_chosen[row]);
    let passed = passed.map(|row| match nearest(candidates, row, &chosen) {
        Some((other, cosine)) => (row, Passed::Like(other, cosine)),
        None => (row, Passed::NoRoom),
    });
    Selection {
        passed: passed.collect(),
        chosen,
    }
}

fn nearest(candidates: &[Candidate], row: usize, chosen: &[usize]) -> Option<(usize, f64)> {
    let alike = chosen
        .iter()
        .map(|&other| (other, cosine(&candidates[row], &candidates[other])));
    alike.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
}

/// How much more a set covers with one more row; the first of equals wins.
#[derive(PartialEq)]
struct Gain {
    gain: f64,
    at: usize,
    round: usize,
}

impl Eq for Gain {}

impl Ord for Gain {
    fn cmp(&self, other: &Self) -> Ordering {
        self.gain
            .total_cmp(&other.gain)
            .then(other.at.cmp(&self.at))
    }
}

impl PartialOrd for Gain {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn cosine(a: &Candidate, b: &Candidate) -> f64 {
    let dot: f32 = a.features.iter().zip(&b.features).map(|(x, y)| x * y).sum();
    f64::from(dot)
}

/// Width of [`features`].
const WIDTH: usize = 256;

/// Words and pairs of neighbouring words of a text, hashed with signs into a vector of length 1.
pub fn features(text: &str) -> Vec<f32> {
    let mut sums = vec![0.0f32; WIDTH];
    let mut before = 0u64;
    for word in text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        let hash = hash(&word.to_lowercase());
        for feature in [hash, before.rotate_left(17) ^ hash] {
            let sign = if feature >> 63 == 0 { 1.0 } else { -1.0 };
            sums[feature as usize % WIDTH] += sign;
        }
        before = hash;
    }
    // Dampened, or else the few words that every text has would be all there is.
    sums.iter_mut()
        .for_each(|sum| *sum = sum.signum() * sum.abs().sqrt());
    let length = sums.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        sums.iter_mut().for_each(|sum| *sum /= length);
    }
    sums
}

/// FNV-1a, mixed once more because its high bits are poor.
fn hash(word: &str) -> u64 {
    let fnv = word.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (fnv ^ (fnv >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(rows: &[(&str, f64)]) -> Vec<Candidate> {
        let candidate = |&(text, quality): &(&str, f64)| Candidate {
            id: ContentId::of(text.as_bytes()),
            quality,
            features: features(text),
        };
        rows.iter().map(candidate).collect()
    }

    const ROWS: [(&str, f64); 5] = [
        ("how do I borrow a value twice in rust", 0.5),
        ("how do I borrow a value twice in rust please", 0.9),
        ("write a poem about the sea at night", 0.7),
        ("write a poem about the sea at night", 0.7),
        ("seventeen plus four is what number", 0.1),
    ];

    #[test]
    fn the_best_is_chosen_first_and_nothing_like_it_after() {
        let selection = select(&candidates(&ROWS), 3, SelectBy::QualityThenDiversity, 0.8);
        assert_eq!(selection.chosen, [1, 2, 4]);
        let [(0, Passed::Like(1, near)), (3, Passed::Like(2, same))] = selection.passed[..] else {
            panic!("{:?}", selection.passed)
        };
        assert!(near > 0.8 && near < 1.0 && (same - 1.0).abs() < 1e-6);
        let two = select(&candidates(&ROWS), 2, SelectBy::QualityThenDiversity, 0.8);
        assert_eq!(two.passed.last(), Some(&(4, Passed::NoRoom)));
    }

    #[test]
    fn the_lazy_greedy_set_is_the_greedy_set() {
        let rows: Vec<(String, f64)> = (0..60)
            .map(|i| {
                (
                    format!("w{} w{} w{} w{}", i % 7, i % 5, i % 3, i),
                    f64::from(i % 4),
                )
            })
            .collect();
        let rows: Vec<(&str, f64)> = rows
            .iter()
            .map(|(text, quality)| (text.as_str(), *quality))
            .collect();
        let all = candidates(&rows);
        let lazy = select(&all, 8, SelectBy::FacilityLocation, 1.0).chosen;
        assert_eq!(lazy, greedy(&all, 8));
    }

    /// Every gain from scratch in every round.
    fn greedy(all: &[Candidate], rows: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by(|&a, &b| better_first(&all[a], &all[b]));
        let mut covered = vec![0.0f64; all.len()];
        let mut chosen = Vec::new();
        for _ in 0..rows {
            let gain = |&row: &usize| -> f64 {
                order
                    .iter()
                    .zip(&covered)
                    .map(|(&other, before)| (cosine(&all[row], &all[other]) - before).max(0.0))
                    .sum()
            };
            let best = order
                .iter()
                .filter(|row| !chosen.contains(*row))
                .copied()
                .reduce(
                    |best, row| {
                        if gain(&row) > gain(&best) { row } else { best }
                    },
                );
            let best = best.unwrap();
            for (before, &other) in covered.iter_mut().zip(&order) {
                *before = before.max(cosine(&all[best], &all[other]));
            }
            chosen.push(best);
        }
        chosen
    }

    #[test]
    fn the_order_of_rows_changes_no_choice() {
        let all = candidates(&ROWS);
        let reversed: Vec<Candidate> = all.iter().rev().cloned().collect();
        for by in [SelectBy::QualityThenDiversity, SelectBy::FacilityLocation] {
            let ids = |all: &[Candidate]| {
                select(all, 3, by, 0.8)
                    .chosen
                    .iter()
                    .map(|&row| all[row].id)
                    .collect::<Vec<_>>()
            };
            assert_eq!(ids(&all), ids(&reversed), "{by:?}");
        }
    }
}
