//! A router's choice of experts for each row, forward and backward, and the loops over rows that go with it.
//!
//! Every row is worked on by itself and in one order, so where it goes depends neither on its company nor on the
//! number of threads.

use rayon::prelude::*;

use super::rows::{TASK, by_rows};
use super::simd::exp;
use crate::ops::TopK;

/// Multiplies each row of `cols` numbers with its factor.
pub fn scale_rows(x: &mut [f32], cols: usize, factors: &[f32]) {
    by_rows(x, cols, |first, x| {
        for (row, factor) in x.chunks_exact_mut(cols).zip(&factors[first..]) {
            row.iter_mut().for_each(|x| *x *= factor);
        }
    });
}

/// `out[i] = Σⱼ a[i, j] · b[i, j]`.
pub fn dot_rows(a: &[f32], b: &[f32], cols: usize, out: &mut [f32]) {
    let product = |(a, b): (&f32, &f32)| f64::from(*a) * f64::from(*b);
    let rows = (TASK / cols.max(1)).max(1);
    out.par_chunks_mut(rows)
        .enumerate()
        .for_each(|(task, out)| {
            for (row, out) in out.iter_mut().enumerate() {
                let at = (task * rows + row) * cols;
                let pairs = a[at..][..cols].iter().zip(&b[at..][..cols]);
                *out = pairs.map(product).sum::<f64>() as f32;
            }
        });
}

/// Shares of all experts in a row, in f32 as transformers computes them.
fn softmax(logits: &[f32], shares: &mut [f32]) {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for (share, logit) in shares.iter_mut().zip(logits) {
        *share = exp(logit - greatest);
    }
    let sum: f32 = shares.iter().sum();
    shares.iter_mut().for_each(|share| *share /= sum);
}

/// The `chosen.len()` greatest shares, greatest first; of equal ones the lower expert's. What is no number counts as the
/// greatest, so that it comes out at the end.
fn greatest(shares: &[f32], chosen: &mut [u32]) {
    for place in 0..chosen.len() {
        let (taken, rest) = chosen.split_at_mut(place);
        let free = (0..shares.len()).filter(|expert| !taken.contains(&(*expert as u32)));
        let best = free.reduce(|best, expert| {
            match shares[expert] > shares[best] || shares[expert].is_nan() && !shares[best].is_nan()
            {
                true => expert,
                false => best,
            }
        });
        rest[0] = best.expect("as many experts as are chosen") as u32;
    }
}

/// An expert of a row and what its result is multiplied with.
pub type Choice = (u32, f32);

/// The experts of each row, `top.count` for each, greatest share first.
pub fn choose(logits: &[f32], experts: usize, top: TopK) -> Vec<Choice> {
    let mut all = vec![(0, 0.0); logits.len() / experts * top.count];
    let rows = (TASK / experts).max(1);
    all.par_chunks_mut(rows * top.count)
        .zip(logits.par_chunks(rows * experts))
        .for_each(|(all, logits)| {
            let (mut shares, mut chosen) = (vec![0.0; experts], vec![0; top.count]);
            for (row, logits) in all
                .chunks_exact_mut(top.count)
                .zip(logits.chunks_exact(experts))
            {
                softmax(logits, &mut shares);
                greatest(&shares, &mut chosen);
                let sum = divisor(&shares, &chosen, top);
                for (choice, expert) in row.iter_mut().zip(&chosen) {
                    *choice = (*expert, shares[*expert as usize] / sum);
                }
            }
        });
    all
}

/// What the chosen shares are divided by.
fn divisor(shares: &[f32], chosen: &[u32], top: TopK) -> f32 {
    match top.is_normalised {
        true => chosen.iter().map(|expert| shares[*expert as usize]).sum(),
        false => 1.0,
    }
}

/// Places expert by expert: their rows, where each expert's begin, and their factors.
pub fn by_expert(
    choices: &[Choice],
    experts: usize,
    count: usize,
) -> (Vec<u32>, Vec<usize>, Vec<f32>) {
    let mut starts = vec![0; experts + 1];
    for (expert, _) in choices {
        starts[*expert as usize + 1] += 1;
    }
    for expert in 0..experts {
        starts[expert + 1] += starts[expert];
    }
    let mut next = starts.clone();
    let (mut rows, mut weights) = (vec![0; choices.len()], vec![0.0; choices.len()]);
    for (at, (expert, weight)) in choices.iter().enumerate() {
        let place = &mut next[*expert as usize];
        (rows[*place], weights[*place]) = ((at / count) as u32, *weight);
        *place += 1;
    }
    (rows, starts, weights)
}

/// The reverse: the numbers of places as choices of rows, experts rising.
pub fn by_row(rows: &[u32], starts: &[usize], numbers: &[f32], count: usize) -> Vec<Choice> {
    let mut choices = vec![(0, 0.0); rows.len()];
    let mut filled = vec![0; rows.len() / count.max(1)];
    for expert in 0..starts.len() - 1 {
        for place in starts[expert]..starts[expert + 1] {
            let row = rows[place] as usize;
            choices[row * count + filled[row]] = (expert as u32, numbers[place]);
            filled[row] += 1;
        }
    }
    choices
}

/// With shares `p` and factors `w = p` or `w = p / Σp` over the chosen: `dp = dw`, or `(dw - Σ dw·w) / Σp`, and
/// `dlogits = p · (dp - Σ p·dp)`.
pub fn backward(logits: &[f32], experts: usize, top: TopK, given: &[Choice], dlogits: &mut [f32]) {
    by_rows(dlogits, experts, |first, dlogits| {
        let (mut shares, mut chosen) = (vec![0.0; experts], vec![0; top.count]);
        for (row, dlogits) in dlogits.chunks_exact_mut(experts).enumerate() {
            let row = first + row;
            softmax(&logits[row * experts..][..experts], &mut shares);
            let given = &given[row * top.count..][..top.count];
            for (chosen, (expert, _)) in chosen.iter_mut().zip(given) {
                *chosen = *expert;
            }
            let sum = divisor(&shares, &chosen, top);
            let share = |expert: u32| f64::from(shares[expert as usize]);
            let weighted: f64 = given.iter().map(|(e, dw)| share(*e) * f64::from(*dw)).sum();
            let mean = match top.is_normalised {
                true => weighted / f64::from(sum),
                false => 0.0,
            };
            let dshare = |dw: f32| (f64::from(dw) - mean) / f64::from(sum);
            let along: f64 = given.iter().map(|(e, dw)| share(*e) * dshare(*dw)).sum();
            for (dlogit, share) in dlogits.iter_mut().zip(&shares) {
                *dlogit = (-f64::from(*share) * along) as f32;
            }
            for (expert, dw) in given {
                dlogits[*expert as usize] = (share(*expert) * (dshare(*dw) - along)) as f32;
            }
        }
    });
}
