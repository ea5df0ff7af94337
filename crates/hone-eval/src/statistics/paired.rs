//! Two models on the same rows: how much they differ, and how often chance alone would make them differ so much.
//!
//! Rows are hard or easy for both models alike, so the difference is taken row by row. The interval resamples rows
//! (Koehn 2004); the test lets each row's two scores change places at random, as they could if the models were equally
//! good (Fisher 1935; "approximate randomization" in Riezler and Maxwell 2005). Several tests at once are corrected by
//! [`holm`](super::holm::holm).

use hone_ledger::{Seed, Stream};
use rayon::prelude::*;
use serde::Serialize;

use super::{Interval, LEVEL, RESAMPLES, bootstrap, estimate};

/// Tuned minus base.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PairedDifference {
    /// How many rows both were scored on.
    pub rows: usize,
    /// Tuned minus base.
    pub value: f64,
    /// The range of 95 %, from resampled rows; `None` for a single row.
    pub interval: Option<Interval>,
    /// How often equally good models differ at least so much, by exchanging scores; two-sided.
    pub p: f64,
}

/// One list of scores is longer than the other.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{base} rows of one model cannot be paired with {tuned} of the other")]
pub struct Unequal {
    /// How many the base has.
    pub base: usize,
    /// How many the tuned model has.
    pub tuned: usize,
}

impl PairedDifference {
    /// The difference of two means, score by score; `None` without rows.
    pub fn of_means(base: &[f64], tuned: &[f64], seed: Seed) -> Result<Option<Self>, Unequal> {
        let differences = differences(base, tuned)?;
        let Some(value) = estimate::mean(&differences) else {
            return Ok(None);
        };
        let draws = seed.child("bootstrap");
        Ok(Some(Self {
            rows: differences.len(),
            value,
            interval: bootstrap::interval_of_mean(&differences, LEVEL, RESAMPLES, draws),
            p: permutation_p(&differences, PERMUTATIONS, seed.child("permutation")),
        }))
    }

    /// The difference of two scores that are no means of rows, such as BLEU; `None` without rows. `score` is given, for
    /// each row, its number and whether the tuned model's answer is meant.
    pub fn by(
        rows: usize,
        seed: Seed,
        score: impl Fn(&[(usize, bool)]) -> f64 + Sync + Send,
    ) -> Option<Self> {
        if rows == 0 {
            return None;
        }
        let of = |drawn: &[usize], is_tuned: &dyn Fn(usize) -> bool| {
            let side = |tuned| -> Vec<(usize, bool)> {
                let answer = |(at, row): (usize, &usize)| (*row, is_tuned(at) == tuned);
                drawn.iter().enumerate().map(answer).collect()
            };
            score(&side(true)) - score(&side(false))
        };
        let all: Vec<usize> = (0..rows).collect();
        let value = of(&all, &|_| true);
        let draws = seed.child("bootstrap");
        let resampled = |drawn: &[usize]| of(drawn, &|_| true);
        let exchanged = |mut stream: Stream| {
            let exchange: Vec<bool> = (0..rows).map(|_| stream.next_u64() >> 63 == 1).collect();
            of(&all, &|at| exchange[at])
        };
        Some(Self {
            rows,
            value,
            interval: bootstrap::interval_by(rows, LEVEL, RESAMPLES, draws, resampled),
            p: share_as_far(value, RESAMPLES, seed.child("permutation"), exchanged),
        })
    }

    /// Whether chance alone is an unlikely explanation, at 5 %, for this comparison taken by itself.
    pub fn is_clear(&self) -> bool {
        self.p < 1.0 - LEVEL
    }
}

/// Enough for a p-value of 5 % to be right within half a per cent.
const PERMUTATIONS: usize = 10_000;

/// Up to so many rows that differ every exchange is tried.
const EXACT_ROWS: usize = 12;

/// The p-value of the mean difference being so far from zero, two-sided, by changing signs: exact for at most twelve rows
/// that differ, else by random exchanges, of which the one at hand counts as one.
pub fn permutation_p(differences: &[f64], permutations: usize, seed: Seed) -> f64 {
    // What does not differ is exchanged without effect.
    let differing: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    let observed: f64 = differing.iter().sum();
    let exchanged = |bits: &mut dyn FnMut() -> u64| -> f64 {
        let of = |chunk: &[f64]| {
            let bits = bits();
            // A set bit at the top of a number is its sign.
            let sign =
                |(at, d): (usize, &f64)| f64::from_bits(d.to_bits() ^ (bits >> at & 1) << 63);
            chunk.iter().enumerate().map(sign).sum::<f64>()
        };
        differing.chunks(64).map(of).sum()
    };
    if differing.len() <= EXACT_ROWS {
        let all = 1_u64 << differing.len();
        let far = (0..all).filter(|bits| is_as_far(exchanged(&mut || *bits), observed));
        return far.count() as f64 / all as f64;
    }
    share_as_far(observed, permutations, seed, |mut stream| {
        exchanged(&mut || stream.next_u64())
    })
}

/// The paired bootstrap's p-value, as sacreBLEU has it: how often the difference of resampled rows is as far from the mean
/// of all of them as the difference at hand is from zero. [`permutation_p`] is the better test; this is for comparing with
/// numbers of others.
pub fn bootstrap_p(differences: &[f64], resamples: usize, seed: Seed) -> f64 {
    let (rows, observed) = (
        differences.len(),
        estimate::mean(differences).unwrap_or(0.0),
    );
    if rows == 0 {
        return 1.0;
    }
    let mean = |drawn: &[usize]| drawn.iter().map(|at| differences[*at]).sum::<f64>() / rows as f64;
    let resampled = bootstrap::resampled_by(rows, resamples, seed, mean);
    let centre = estimate::mean(&resampled).unwrap_or(observed);
    let far = resampled
        .iter()
        .filter(|value| is_as_far(**value - centre, observed));
    (far.count() + 1) as f64 / (resamples + 1) as f64
}

fn differences(base: &[f64], tuned: &[f64]) -> Result<Vec<f64>, Unequal> {
    if base.len() != tuned.len() {
        return Err(Unequal {
            base: base.len(),
            tuned: tuned.len(),
        });
    }
    Ok(base
        .iter()
        .zip(tuned)
        .map(|(base, tuned)| tuned - base)
        .collect())
}

fn share_as_far(
    observed: f64,
    permutations: usize,
    seed: Seed,
    exchanged: impl Fn(Stream) -> f64 + Sync + Send,
) -> f64 {
    let is_far = |index: &u64| is_as_far(exchanged(seed.index(*index).stream()), observed);
    let far = (0..permutations as u64).into_par_iter().filter(is_far);
    (far.count() + 1) as f64 / (permutations + 1) as f64
}

/// Sums of the same numbers in another order differ in their last digits, and are the same.
fn is_as_far(value: f64, observed: f64) -> bool {
    value.abs() >= observed.abs() * (1.0 - 1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_are_counted_out() {
        let p = |differences: &[f64]| permutation_p(differences, 100, Seed::new(0));
        // All the same way: this exchange and its mirror image, of 2^5.
        assert_eq!(p(&[1.0, 2.0, 1.0, 1.0, 0.5]), 2.0 / 32.0);
        assert_eq!(p(&[1.0, 0.0, 0.0]), 1.0);
        assert_eq!(p(&[]), 1.0);
        // Of 1 + 2 - 4 = -1: ±1 twice each, and everything further out.
        assert_eq!(p(&[1.0, 2.0, -4.0]), 1.0);
    }

    #[test]
    fn models_that_answer_alike_do_not_differ() {
        let scores = [0.2, 0.4, 1.0];
        let same = PairedDifference::of_means(&scores, &scores, Seed::new(0));
        let same = same.unwrap().unwrap();
        assert_eq!((same.value, same.p), (0.0, 1.0));
        assert_eq!(same.interval, Some((0.0, 0.0)));
        assert!(!same.is_clear());
    }

    #[test]
    fn lists_of_different_lengths_are_no_pairs() {
        let error = PairedDifference::of_means(&[0.0], &[], Seed::new(0)).unwrap_err();
        assert_eq!(error, Unequal { base: 1, tuned: 0 });
        assert_eq!(PairedDifference::of_means(&[], &[], Seed::new(0)), Ok(None));
    }

    #[test]
    fn a_clear_gain_is_clear_for_means_and_for_other_scores() {
        let mut stream = Seed::new(5).stream();
        let base: Vec<f64> = (0..80).map(|_| f64::from(stream.unit_f32())).collect();
        let tuned: Vec<f64> = base
            .iter()
            .map(|score| score + 0.3 * f64::from(stream.unit_f32()) - 0.05)
            .collect();
        let by_means = PairedDifference::of_means(&base, &tuned, Seed::new(1)).unwrap();
        let mean = |rows: &[(usize, bool)]| {
            let score =
                |(row, is_tuned): &(usize, bool)| if *is_tuned { tuned[*row] } else { base[*row] };
            rows.iter().map(score).sum::<f64>() / rows.len() as f64
        };
        let by_score = PairedDifference::by(80, Seed::new(1), mean).unwrap();
        let by_means = by_means.unwrap();
        assert!(by_means.is_clear() && by_score.is_clear());
        assert!((by_means.value - by_score.value).abs() < 1e-12);
        let ends = |one: PairedDifference| one.interval.unwrap();
        assert!((ends(by_means).0 - ends(by_score).0).abs() < 1e-12);
        assert!(bootstrap_p(&[0.1; 20], 500, Seed::new(1)) < 0.01);
    }

    /// Differences of two models that are equally good on rows that are hard or easy for both.
    fn equal_models(rows: usize, stream: &mut Stream, score: fn(f32, f32) -> f64) -> Vec<f64> {
        let row = |_| {
            let ease = stream.unit_f32();
            score(ease, stream.unit_f32()) - score(ease, stream.unit_f32())
        };
        (0..rows).map(row).collect()
    }

    /// The share of pairs of equally good models that a test at 5 % tells apart.
    fn false_positives(
        score: fn(f32, f32) -> f64,
        is_positive: impl Fn(&[f64], Seed) -> bool + Sync,
    ) -> f64 {
        const PAIRS: u64 = 3000;
        let positives = (0..PAIRS).into_par_iter().filter(|pair| {
            let seed = Seed::new(20).index(*pair);
            let differences = equal_models(60, &mut seed.child("models").stream(), score);
            is_positive(&differences, seed)
        });
        positives.count() as f64 / PAIRS as f64
    }

    #[test]
    fn equally_good_models_differ_at_5_per_cent_in_4_to_6_of_100_cases() {
        let continuous = |ease: f32, luck: f32| f64::from(ease * 0.6 + luck * luck * 0.4);
        let permuted = |differences: &[f64], seed| permutation_p(differences, 400, seed) < 0.05;
        let share = false_positives(continuous, permuted);
        assert!((0.04..=0.06).contains(&share), "permutation: {share}");
        let resampled = |differences: &[f64], seed| {
            let (low, high) = bootstrap::interval_of_mean(differences, LEVEL, 400, seed).unwrap();
            low > 0.0 || high < 0.0
        };
        let share = false_positives(continuous, resampled);
        assert!((0.04..=0.06).contains(&share), "interval: {share}");
        // Right or wrong: few values, so many differences are as far as the one at hand, and the test is cautious.
        let exact = |ease: f32, luck: f32| f64::from(luck < ease);
        let share = false_positives(exact, permuted);
        assert!((0.02..=0.06).contains(&share), "exact match: {share}");
    }
}
