//! Several adapters made into one, the ways that PEFT's `add_weighted_adapter` knows.
//!
//! The result has alpha = rank, so a scale of 1: weights and scales of the parts are in its numbers. `cat` and `svd` are
//! exact (up to the rank asked for); the others work on `A` and `B` apart, as PEFT does, and are approximations.

use std::collections::BTreeSet;
use std::str::FromStr;

use hone_ledger::Seed;

use crate::adapter::{AdapterWeights, LoraPair};
use crate::narrow::narrow_svd;

/// How adapters become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CombineKind {
    /// Weighted sums of the `A` and of the `B`, each with the root of its weight.
    Linear,
    /// The best approximation of the weighted sum of the products.
    Svd,
    /// The exact weighted sum, its rank the sum of the ranks.
    Cat,
    /// Trim, elect signs, merge (Yadav et al. 2023).
    Ties,
    /// Drop at random and rescale, then add (Yu et al. 2023).
    DareLinear,
    /// Drop at random and rescale, then elect signs.
    DareTies,
    /// Keep the largest numbers, then add.
    MagnitudePrune,
}

impl CombineKind {
    const NAMES: [(Self, &str); 7] = [
        (Self::Linear, "linear"),
        (Self::Svd, "svd"),
        (Self::Cat, "cat"),
        (Self::Ties, "ties"),
        (Self::DareLinear, "dare-linear"),
        (Self::DareTies, "dare-ties"),
        (Self::MagnitudePrune, "magnitude-prune"),
    ];

    /// As a person writes it.
    pub fn name(self) -> &'static str {
        let row = Self::NAMES.iter().find(|row| row.0 == self);
        row.expect("each kind has a name").1
    }

    /// Whether a share of the numbers is kept, so that a density must be given.
    pub fn takes_density(self) -> bool {
        !matches!(self, Self::Linear | Self::Svd | Self::Cat)
    }

    fn elects_signs(self) -> bool {
        matches!(self, Self::Ties | Self::DareTies)
    }

    fn drops_at_random(self) -> bool {
        matches!(self, Self::DareLinear | Self::DareTies)
    }
}

impl FromStr for CombineKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::NAMES.iter().find(|row| row.1 == text);
        found.map(|row| row.0).ok_or_else(|| {
            let names: Vec<&str> = Self::NAMES.iter().map(|row| row.1).collect();
            format!("`{text}` is none of {}", names.join(", "))
        })
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Combination {
    /// How.
    pub kind: CombineKind,
    /// One number for each adapter; negative ones subtract.
    pub weights: Vec<f32>,
    /// The share of numbers that is kept, where some are dropped.
    pub density: Option<f32>,
    /// Rank of the result of `svd`; the greatest of the parts if not said.
    pub rank: Option<usize>,
    /// Where DARE's dice come from.
    pub seed: Seed,
}

/// Why adapters cannot be made into one.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum CombineError {
    /// Nothing to combine.
    #[error("there is no adapter to combine")]
    Nothing,
    /// One weight for each adapter.
    #[error("{adapters} adapters and {weights} weights")]
    Weights {
        /// How many adapters.
        adapters: usize,
        /// How many weights.
        weights: usize,
    },
    /// A weight that is no number.
    #[error("a weight is {0}")]
    NotFinite(f32),
    /// A density that is missing, out of range, or of no use.
    #[error("{0}")]
    Density(String),
    /// A rank for a kind that does not choose one.
    #[error("the rank of `{kind}` follows from its parts; only `svd` takes one")]
    Rank {
        /// The kind.
        kind: &'static str,
    },
    /// `A` and `B` can only be added where they are of one size.
    #[error("`{module}` has the ranks {ranks:?}, and `{kind}` adds adapters of one rank")]
    Ranks {
        /// The module.
        module: String,
        /// Its ranks.
        ranks: Vec<usize>,
        /// The kind.
        kind: &'static str,
    },
    /// The adapters are for different bases.
    #[error(
        "the adapters were trained on different bases: `{module}` is {first} in one and {second} in another"
    )]
    Shapes {
        /// The module.
        module: String,
        /// Its size in one.
        first: String,
        /// Its size in another.
        second: String,
    },
    /// The adapters say that they are for different bases.
    #[error("the adapters were trained on different bases: fingerprints {first} and {second}")]
    Bases {
        /// One fingerprint.
        first: String,
        /// Another.
        second: String,
    },
    /// A part that is more than a pair of matrices.
    #[error("an adapter has {part}, which cannot be combined")]
    Part {
        /// What it has.
        part: String,
    },
}

impl CombineError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Ranks { .. } => vec!["`cat` and `svd` take adapters of any ranks".into()],
            Self::Weights { .. } => {
                vec!["give --weights one number for each adapter, separated by commas".into()]
            }
            Self::Part { .. } => {
                vec!["`hone merge` takes several adapters one after another".into()]
            }
            Self::Nothing => vec!["name the directories of two adapters or more".into()],
            Self::NotFinite(_) => vec!["weights are numbers such as 0.5,-1".into()],
            Self::Rank { .. } => vec!["leave out --rank, or combine by svd".into()],
            Self::Shapes { .. } | Self::Bases { .. } => vec![
                "only adapters of one base can be combined; `hone adapter check` says which base each is of".into(),
            ],
            Self::Density(_) => vec![],
        }
    }
}

/// Makes one adapter of several.
pub fn combine(
    parts: &[AdapterWeights],
    how: &Combination,
) -> Result<AdapterWeights, CombineError> {
    check(parts, how)?;
    let paths: BTreeSet<&String> = parts.iter().flat_map(|parts| parts.pairs.keys()).collect();
    let mut combined = AdapterWeights {
        provenance: parts[0].provenance.clone(),
        parameters: parts
            .iter()
            .flat_map(|parts| &parts.parameters)
            .cloned()
            .collect(),
        ..AdapterWeights::default()
    };
    // What it was made by is a run no more.
    combined.provenance.run = None;
    for path in paths {
        let held: Vec<(usize, &LoraPair, f32)> = parts
            .iter()
            .zip(&how.weights)
            .enumerate()
            .filter_map(|(at, (parts, weight))| Some((at, parts.pairs.get(path)?, *weight)))
            .collect();
        let pair = combine_module(path, &held, how)?;
        combined.pairs.insert(path.clone(), pair);
    }
    let width = |pair: &LoraPair| pair.rank;
    if how.kind == CombineKind::Cat {
        // Modules that not every adapter has are narrower; PEFT fills them up with zeros, and so do we.
        let rank = combined.pairs.values().map(width).max().unwrap_or(1);
        combined
            .pairs
            .values_mut()
            .for_each(|pair| *pair = pair.widened(rank));
    }
    Ok(combined)
}

fn check(parts: &[AdapterWeights], how: &Combination) -> Result<(), CombineError> {
    if parts.is_empty() {
        return Err(CombineError::Nothing);
    }
    if parts.len() != how.weights.len() {
        return Err(CombineError::Weights {
            adapters: parts.len(),
            weights: how.weights.len(),
        });
    }
    if let Some(weight) = how.weights.iter().find(|weight| !weight.is_finite()) {
        return Err(CombineError::NotFinite(*weight));
    }
    let kind = how.kind.name();
    let density = |what: String| Err(CombineError::Density(what));
    match (how.kind.takes_density(), how.density) {
        (true, None) => {
            return density(format!(
                "`{kind}` needs --density, the share of numbers that is kept"
            ));
        }
        (false, Some(_)) => {
            return density(format!("`{kind}` keeps every number and takes no density"));
        }
        (true, Some(share)) if !(share > 0.0 && share <= 1.0) => {
            return density(format!(
                "the density is {share}, and must be above 0 and at most 1"
            ));
        }
        _ => {}
    }
    if how.rank.is_some() && how.kind != CombineKind::Svd {
        return Err(CombineError::Rank { kind });
    }
    if let Some(part) = parts.iter().find_map(AdapterWeights::beyond_pairs) {
        return Err(CombineError::Part { part });
    }
    let mut bases = parts
        .iter()
        .filter_map(|parts| parts.provenance.base_fingerprint.as_ref());
    if let Some(first) = bases.next()
        && let Some(second) = bases.find(|other| *other != first)
    {
        let short = |hash: &str| hash.chars().take(12).collect();
        return Err(CombineError::Bases {
            first: short(first),
            second: short(second),
        });
    }
    Ok(())
}

fn combine_module(
    path: &str,
    held: &[(usize, &LoraPair, f32)],
    how: &Combination,
) -> Result<LoraPair, CombineError> {
    let (_, first, _) = held[0];
    let size = |pair: &LoraPair| format!("{} × {}", pair.out, pair.width);
    if let Some((_, other, _)) = held.iter().find(|(_, pair, _)| size(pair) != size(first)) {
        return Err(CombineError::Shapes {
            module: path.to_owned(),
            first: size(first),
            second: size(other),
        });
    }
    Ok(match how.kind {
        CombineKind::Cat => concatenate(held),
        CombineKind::Svd => {
            let most = held.iter().map(|(_, pair, _)| pair.rank).max().unwrap_or(1);
            approximate(&concatenate(held), how.rank.unwrap_or(most))
        }
        _ => {
            if held.iter().any(|(_, pair, _)| pair.rank != first.rank) {
                return Err(CombineError::Ranks {
                    module: path.to_owned(),
                    ranks: held.iter().map(|(_, pair, _)| pair.rank).collect(),
                    kind: how.kind.name(),
                });
            }
            add_halves(path, held, how)
        }
    })
}

/// Bottlenecks side by side; `A` takes weight and scale.
fn concatenate(held: &[(usize, &LoraPair, f32)]) -> LoraPair {
    let (_, first, _) = held[0];
    let rank = held.iter().map(|(_, pair, _)| pair.rank).sum();
    let a = held
        .iter()
        .flat_map(|(_, pair, weight)| pair.a.iter().map(move |x| x * (weight * pair.scale)));
    let b = (0..first.out).flat_map(|row| {
        held.iter()
            .flat_map(move |(_, pair, _)| &pair.b[row * pair.rank..][..pair.rank])
    });
    LoraPair {
        rank,
        scale: 1.0,
        a: a.collect(),
        b: b.copied().collect(),
        ..first.clone()
    }
}

/// The best approximation of a pair's product by one of another rank (Eckart, Young).
fn approximate(pair: &LoraPair, rank: usize) -> LoraPair {
    let (b, a) = narrow_svd(&pair.b, &pair.a, pair.rank, rank);
    LoraPair {
        rank,
        a,
        b,
        scale: 1.0,
        ..pair.clone()
    }
}

fn add_halves(path: &str, held: &[(usize, &LoraPair, f32)], how: &Combination) -> LoraPair {
    let (_, first, _) = held[0];
    // The root on each half, so that the product carries the weight; its sign on one of them only.
    let root = |pair: &LoraPair, weight: f32| (weight * pair.scale).abs().sqrt();
    let sign = |pair: &LoraPair, weight: f32| if weight * pair.scale < 0.0 { -1.0 } else { 1.0 };
    let a: Vec<Half> = held
        .iter()
        .map(|(at, pair, weight)| {
            Half::new(*at, &pair.a, root(pair, *weight) * sign(pair, *weight))
        })
        .collect();
    let b: Vec<Half> = held
        .iter()
        .map(|(at, pair, weight)| Half::new(*at, &pair.b, root(pair, *weight)))
        .collect();
    let seed = how.seed.child(path);
    LoraPair {
        a: merge_halves(a, how, &seed.child("A")),
        b: merge_halves(b, how, &seed.child("B")),
        scale: 1.0,
        ..first.clone()
    }
}

/// One adapter's `A` or `B` on the way into a sum.
struct Half {
    /// Which adapter.
    at: usize,
    numbers: Vec<f32>,
    weight: f32,
}

impl Half {
    fn new(at: usize, numbers: &[f32], weight: f32) -> Self {
        Self {
            at,
            numbers: numbers.to_vec(),
            weight,
        }
    }
}

fn merge_halves(mut halves: Vec<Half>, how: &Combination, seed: &Seed) -> Vec<f32> {
    if let Some(density) = how.density.filter(|density| *density < 1.0) {
        for half in &mut halves {
            match how.kind.drops_at_random() {
                true => drop_at_random(
                    &mut half.numbers,
                    density,
                    &seed.child(&half.at.to_string()),
                ),
                false => keep_largest(&mut half.numbers, density),
            }
        }
    }
    let len = halves[0].numbers.len();
    (0..len)
        .map(|i| merge_numbers(&halves, i, how.kind.elects_signs()))
        .collect()
}

fn merge_numbers(halves: &[Half], i: usize, elects_signs: bool) -> f32 {
    let weighted = |half: &Half| half.numbers[i] * half.weight;
    if !elects_signs {
        return halves.iter().map(weighted).sum();
    }
    // The sign with more weight behind it wins, before the adapters' own weights; those that agree are averaged.
    let total: f32 = halves.iter().map(|half| half.numbers[i]).sum();
    let majority = if total >= 0.0 { 1.0 } else { -1.0 };
    let agrees = |half: &&Half| half.numbers[i] * majority > 0.0;
    let agreeing = halves.iter().filter(agrees).count();
    halves.iter().filter(agrees).map(weighted).sum::<f32>() / agreeing.max(1) as f32
}

/// Zeroes all but a share of the numbers, those of greatest magnitude; of equals, the first stay.
fn keep_largest(numbers: &mut [f32], density: f32) {
    let keep = (f64::from(density) * numbers.len() as f64) as usize;
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|i, j| {
        numbers[*j]
            .abs()
            .total_cmp(&numbers[*i].abs())
            .then(i.cmp(j))
    });
    order[keep..].iter().for_each(|i| numbers[*i] = 0.0);
}

/// Zeroes each number with probability `1 - density` and divides the others by it, so that what is expected stays.
fn drop_at_random(numbers: &mut [f32], density: f32, seed: &Seed) {
    let mut dice = seed.stream();
    for x in numbers {
        *x = match dice.unit_f32() < density {
            true => *x / density,
            false => 0.0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dare_keeps_its_share_and_what_is_expected() {
        let density = 0.3;
        let (mut kept, mut sum, draws) = (0usize, 0.0f64, 200);
        let numbers: Vec<f32> = (0..1000).map(|i| (i % 7) as f32 - 2.0).collect();
        let whole: f64 = numbers.iter().map(|x| f64::from(*x)).sum();
        for draw in 0..draws {
            let mut some = numbers.clone();
            drop_at_random(&mut some, density, &Seed::new(draw));
            for (x, was) in some.iter().zip(&numbers) {
                assert!(*x == 0.0 || *x == was / density, "{x} was {was}");
            }
            kept += some.iter().filter(|x| **x != 0.0).count();
            sum += some.iter().map(|x| f64::from(*x)).sum::<f64>();
        }
        let nonzero = numbers.iter().filter(|x| **x != 0.0).count();
        let share = kept as f64 / (draws as usize * nonzero) as f64;
        assert!((share - 0.3).abs() < 0.005, "{share}");
        assert!(
            (sum / draws as f64 / whole - 1.0).abs() < 0.05,
            "{} of {whole}",
            sum / draws as f64
        );
    }

    #[test]
    fn the_same_seed_drops_the_same_numbers() {
        let draw = |seed: u64| {
            let mut numbers = vec![1.0; 64];
            drop_at_random(&mut numbers, 0.5, &Seed::new(seed));
            numbers
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }
}
