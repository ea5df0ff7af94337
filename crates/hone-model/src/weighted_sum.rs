//! A combined adapter beside the weighted sum of those it was made of, module by module.
//!
//! Combining works on `A` and `B`; what is compared here is the product that a model adds to its weights. No product is
//! formed: the length of a sum of pairs follows from the products of its narrow matrices with themselves.

use crate::adapter::{AdapterWeights, LoraPair};
use crate::combine::CombineKind;
use std::collections::BTreeSet;

/// A module of a combined adapter beside the weighted sum of the adapters' changes of it. Lengths are Frobenius norms.
#[derive(Clone, Debug, PartialEq)]
pub struct BesideSum {
    /// The module.
    pub module: String,
    /// Length of the weighted sum.
    pub sum: f64,
    /// Length of what was combined.
    pub combined: f64,
    /// Length of the difference of both.
    pub apart: f64,
}

/// How far, as a share of the weighted sum, numbers of f32 may be from what is exact: a few roundings of each.
pub const ROUNDING: f64 = 1e-5;

impl BesideSum {
    /// The difference as a share of the weighted sum.
    pub fn share(&self) -> f64 {
        match (self.apart, self.sum) {
            (0.0, _) => 0.0,
            (apart, sum) => apart / sum,
        }
    }

    /// Whether it is what `kind` has to make of it; `None` where the kind is another sum, of which nothing can be said here.
    /// `cat` is the weighted sum itself. Of `svd`, the nearest of its rank, what was left out stands at a right angle to what
    /// is there, so that the squares of their lengths add up to that of the whole.
    pub fn is_right(&self, kind: CombineKind) -> Option<bool> {
        match kind {
            CombineKind::Cat => Some(self.share() <= ROUNDING),
            CombineKind::Svd => {
                let squares = self.combined.powi(2) + self.apart.powi(2);
                let whole = self.sum.powi(2);
                Some((squares - whole).abs() <= ROUNDING * whole)
            }
            _ => None,
        }
    }
}

/// Each module of `combined` beside the sum of `parts`, each times its weight.
pub fn beside_weighted_sum(
    parts: &[AdapterWeights],
    weights: &[f32],
    combined: &AdapterWeights,
) -> Vec<BesideSum> {
    let of_parts = parts.iter().flat_map(|parts| parts.pairs.keys());
    let modules: BTreeSet<&String> = of_parts.chain(combined.pairs.keys()).collect();
    let beside = |module: &String| {
        let summands = parts.iter().zip(weights);
        let summands = summands.filter_map(|(parts, weight)| {
            let pair = parts.pairs.get(module)?;
            Some((pair, f64::from(*weight) * f64::from(pair.scale)))
        });
        let sum: Vec<Summand> = summands.collect();
        let combined = combined.pairs.get(module);
        let combined: Vec<Summand> = combined
            .map(|pair| (pair, f64::from(pair.scale)))
            .into_iter()
            .collect();
        let minus = sum.iter().map(|(pair, times)| (*pair, -times));
        let difference: Vec<Summand> = combined.iter().copied().chain(minus).collect();
        BesideSum {
            module: module.clone(),
            sum: length(&sum),
            combined: length(&combined),
            apart: length(&difference),
        }
    };
    modules.into_iter().map(beside).collect()
}

/// A pair and what its product is multiplied with.
type Summand<'a> = (&'a LoraPair, f64);

/// The Frobenius norm of `Σ times · B A`: `tr(BᵢᵀBⱼ · AⱼAᵢᵀ)` over all pairs of summands is its square.
fn length(summands: &[Summand]) -> f64 {
    let mut square = 0.0;
    for (one, by_one) in summands {
        for (other, by_other) in summands {
            let alike = one.width == other.width && one.out == other.out;
            if !alike {
                // Of another shape: as far apart as can be.
                return f64::INFINITY;
            }
            let (columns, rows) = (column_products(one, other), row_products(one, other));
            let product: f64 = columns.iter().zip(&rows).map(|(b, a)| b * a).sum();
            square += by_one * by_other * product;
        }
    }
    // Below zero by rounding only; what is no number stays none.
    if square < 0.0 { 0.0 } else { square.sqrt() }
}

/// `BᵢᵀBⱼ`, `[rank, other rank]`.
fn column_products(one: &LoraPair, other: &LoraPair) -> Vec<f64> {
    let mut products = vec![0.0; one.rank * other.rank];
    for row in 0..one.out {
        let (ours, theirs) = (
            &one.b[row * one.rank..][..one.rank],
            &other.b[row * other.rank..][..other.rank],
        );
        for (at, x) in ours.iter().enumerate() {
            for (to, y) in products[at * other.rank..].iter_mut().zip(theirs) {
                *to += f64::from(*x) * f64::from(*y);
            }
        }
    }
    products
}

/// `AᵢAⱼᵀ`, `[rank, other rank]`.
fn row_products(one: &LoraPair, other: &LoraPair) -> Vec<f64> {
    let rows = one.a.chunks_exact(one.width.max(1));
    rows.flat_map(|ours| {
        let theirs = other.a.chunks_exact(other.width.max(1));
        theirs.map(|theirs| {
            let products = ours.iter().zip(theirs);
            products.map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Combination, combine};
    use hone_ledger::Seed;

    fn pair(rank: usize, seed: u64) -> LoraPair {
        let (width, out) = (7, 5);
        let mut dice = Seed::new(seed).stream();
        let mut numbers = |count: usize| (0..count).map(|_| dice.unit_f32() - 0.5).collect();
        LoraPair {
            rank,
            width,
            out,
            scale: 2.0,
            a: numbers(rank * width),
            b: numbers(out * rank),
            magnitude: None,
            bias: None,
        }
    }

    fn adapter(rank: usize, seed: u64) -> AdapterWeights {
        let mut parts = AdapterWeights::default();
        for (at, module) in ["q", "k"].into_iter().enumerate() {
            let pair = pair(rank, seed + at as u64);
            parts.pairs.insert(module.to_owned(), pair);
        }
        parts
    }

    #[test]
    fn cat_and_svd_are_the_weighted_sum_as_far_as_their_rank_goes_and_a_wrong_number_shows() {
        let parts = [adapter(2, 1), adapter(2, 20)];
        let weights = [0.7, -0.4];
        for (kind, rank) in [
            (CombineKind::Cat, None),
            (CombineKind::Svd, Some(4)),
            (CombineKind::Svd, Some(2)),
        ] {
            let how = Combination {
                kind,
                weights: weights.to_vec(),
                density: None,
                rank,
                seed: Seed::new(0),
            };
            let mut combined = combine(&parts, &how).unwrap();
            let beside = beside_weighted_sum(&parts, &weights, &combined);
            assert_eq!(beside.len(), 2);
            for module in &beside {
                assert_eq!(module.is_right(kind), Some(true), "{module:?}");
                assert_eq!(module.share() < ROUNDING, rank != Some(2), "{module:?}");
            }
            combined.pairs.get_mut("q").unwrap().b[3] += 0.01;
            let beside = beside_weighted_sum(&parts, &weights, &combined);
            let wrong: Vec<&str> = beside
                .iter()
                .filter(|module| module.is_right(kind) == Some(false))
                .map(|module| module.module.as_str())
                .collect();
            assert_eq!(wrong, ["q"], "{rank:?}");
        }
    }

    #[test]
    fn a_module_that_is_missing_is_as_far_away_as_it_is_long() {
        let parts = [adapter(2, 1)];
        let mut less = adapter(2, 1);
        less.pairs.remove("k");
        let beside = beside_weighted_sum(&parts, &[1.0], &less);
        let missing = &beside[0];
        assert_eq!((missing.module.as_str(), missing.share()), ("k", 1.0));
        assert_eq!(missing.is_right(CombineKind::Cat), Some(false));
    }
}
