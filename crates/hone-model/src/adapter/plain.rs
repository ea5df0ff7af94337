//! Methods that few programs know, as plain LoRA on the untouched base.
//!
//! PiSSA and OLoRA that were saved as they were trained mean another base: the start that was taken out of it is found
//! again and subtracted, exactly. DoRA changes a matrix by more than any narrow product, so the nearest of a given rank
//! stands for it, and how much of the change that leaves out is told.

use super::init::{first_pair, numbers_of};
use super::table::less;
use super::{AdapterWeights, Initial, LoraPair};
use crate::decompose::{Pair, leading_singular_by_search};
use crate::weights::{BaseWeights, WeightsError};

/// Rounds of the search for the nearest product; more change the last digits.
const ROUNDS: usize = 3;

/// An initialisation whose start follows from the base alone, by PEFT's name.
pub(super) fn repeatable(method: &str) -> Option<Initial> {
    let is_exact = |initial: &Initial| matches!(initial, Initial::Pissa | Initial::Olora);
    method.parse().ok().filter(is_exact)
}

impl AdapterWeights {
    /// `s·(BA − B₀A₀)` in place of `s·BA`, of twice the rank, where `B₀A₀` is what `method` took out of the base.
    pub(super) fn less_its_start(
        &self,
        base: &BaseWeights,
        method: Initial,
    ) -> Result<Self, WeightsError> {
        let mut plain = self.clone();
        for (path, pair) in &mut plain.pairs {
            let w = numbers_of(base, path)?;
            let shape = (pair.out, pair.width);
            let start = first_pair(method, &w, shape, pair.rank, f64::from(pair.scale));
            *pair = beside(pair, &start);
        }
        Ok(plain)
    }

    /// DoRA as the nearest plain LoRA of this rank on `base`, with scales of 1, and how long what is left out is, as a share
    /// of all that DoRA adds (Frobenius norms over all modules). Modules without magnitudes stay as they are.
    ///
    /// # Errors
    /// A module that the base does not have.
    pub fn without_magnitudes(
        &self,
        base: &BaseWeights,
        rank: usize,
    ) -> Result<(Self, f64), WeightsError> {
        let (mut plain, mut left, mut all) = (self.clone(), 0.0, 0.0);
        for (path, pair) in &mut plain.pairs {
            let Some(magnitude) = &pair.magnitude else {
                continue;
            };
            let change = change_of(&numbers_of(base, path)?, pair, magnitude);
            let near = leading_singular_by_search(&change, (pair.out, pair.width), rank, ROUNDS);
            *pair = LoraPair {
                rank,
                scale: 1.0,
                a: rounded(&near.a),
                b: rounded(&near.b),
                bias: pair.baked().bias,
                magnitude: None,
                ..*pair
            };
            let squares =
                |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>();
            let product = product(pair);
            let pairs = change.iter().zip(&product);
            left += squares(&mut pairs.map(|(x, y)| f64::from(*x) - y));
            all += squares(&mut change.iter().map(|x| f64::from(*x)));
        }
        let share = if all > 0.0 { (left / all).sqrt() } else { 0.0 };
        Ok((plain, share))
    }
}

/// What DoRA adds to the matrix `w`: `m · (w + s·BA) / ‖w + s·BA‖ − w`, row by row.
fn change_of(w: &[f32], pair: &LoraPair, magnitude: &[f32]) -> Vec<f32> {
    let mut sums = product(pair);
    let rows = sums.chunks_exact_mut(pair.width);
    for ((sum, w), magnitude) in rows.zip(w.chunks_exact(pair.width)).zip(magnitude) {
        sum.iter_mut().zip(w).for_each(|(x, w)| *x += f64::from(*w));
        let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        let factor = match length > 0.0 {
            true => f64::from(*magnitude) / length,
            false => 0.0,
        };
        let places = sum.iter_mut().zip(w);
        places.for_each(|(x, w)| *x = *x * factor - f64::from(*w));
    }
    sums.into_iter().map(|x| x as f32).collect()
}

/// `scale · B A`, `[out, width]`.
fn product(pair: &LoraPair) -> Vec<f64> {
    let mut sums = vec![0.0; pair.out * pair.width];
    let rows = sums.chunks_exact_mut(pair.width);
    for (row, b) in rows.zip(pair.b.chunks_exact(pair.rank)) {
        for (b, a) in b.iter().zip(pair.a.chunks_exact(pair.width)) {
            let factor = f64::from(pair.scale) * f64::from(*b);
            let places = row.iter_mut().zip(a);
            places.for_each(|(x, a)| *x += factor * f64::from(*a));
        }
    }
    sums
}

/// `[B −B₀]` and `[A; A₀]`.
fn beside(pair: &LoraPair, start: &Pair) -> LoraPair {
    LoraPair {
        rank: 2 * pair.rank,
        a: [pair.a.clone(), rounded(&start.a)].concat(),
        b: less(&pair.b, &rounded(&start.b), pair.rank),
        ..pair.clone()
    }
}

fn rounded(numbers: &[f64]) -> Vec<f32> {
    numbers.iter().map(|x| *x as f32).collect()
}
