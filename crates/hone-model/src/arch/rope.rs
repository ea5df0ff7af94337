//! Rotary positions: how fast each pair of a head's values turns.
//!
//! The published ways of stretching a context differ only in these speeds, and in a factor on what has turned, so
//! the decoder asks for the numbers and knows none of the ways.

use serde::Serialize;

/// Base and stretching of a model's rotary positions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rope {
    /// The slowest pair turns by about `1 / theta` in a token.
    pub theta: f32,
    /// How the speeds are changed for longer contexts.
    pub scaling: RopeScaling,
}

/// How a model was stretched to a longer context.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RopeScaling {
    /// As trained.
    None,
    /// Every pair turns slower by the same factor.
    Linear {
        /// How much slower.
        factor: f32,
    },
    /// Slow pairs turn slower by `factor`, fast ones as before, and those between by a mixture.
    Llama3 {
        /// How much slower the slow ones turn.
        factor: f32,
        /// Pairs that turn fewer times than this within the original context are slow.
        low_freq_factor: f32,
        /// Pairs that turn more often than this are fast.
        high_freq_factor: f32,
        /// Context length before stretching.
        original_context: usize,
    },
    /// YaRN (Peng et al. 2023): as Llama 3's, with a mixture that is linear in the number of the pair.
    Yarn {
        /// How much slower the slow ones turn.
        factor: f32,
        /// Pairs that turn more often than this within the original context are fast.
        beta_fast: f32,
        /// Pairs that turn fewer times than this are slow.
        beta_slow: f32,
        /// Whether the mixture begins and ends at whole pairs.
        truncate: bool,
        /// Context length before stretching.
        original_context: usize,
        /// What queries and keys are multiplied with.
        attention_factor: f32,
    },
    /// Pair by pair, as GGUF files store Llama 3's.
    Factors {
        /// How much slower each pair turns.
        factors: Vec<f32>,
    },
    /// LongRoPE (Ding et al. 2024): pair by pair, by one of two lists.
    Long {
        /// How much slower each pair turns within the original context.
        short: Vec<f32>,
        /// The same beyond it.
        long: Vec<f32>,
        /// Context length before stretching.
        original_context: usize,
        /// What queries and keys are multiplied with.
        attention_factor: f32,
    },
}

impl RopeScaling {
    /// What queries and keys are multiplied with beside being turned.
    pub fn attention_factor(&self) -> f32 {
        match self {
            Self::Yarn {
                attention_factor, ..
            }
            | Self::Long {
                attention_factor, ..
            } => *attention_factor,
            _ => 1.0,
        }
    }

    /// How many factors it lists, if not as many as there are pairs.
    pub(crate) fn wrong_count(&self, pairs: usize) -> Option<usize> {
        let lists: [&[f32]; 2] = match self {
            Self::Factors { factors } => [factors, factors],
            Self::Long { short, long, .. } => [short, long],
            _ => return None,
        };
        lists
            .into_iter()
            .map(<[f32]>::len)
            .find(|count| *count != pairs)
    }
}

impl Rope {
    /// Radians per token for each of the `rotary_dim / 2` pairs, in a context as long as the model was trained with.
    pub fn inverse_frequencies(&self, rotary_dim: usize) -> Vec<f32> {
        self.speeds(rotary_dim, 0)
    }

    /// The same where the longest sequence has `positions` tokens: LongRoPE then takes its other list for all of them,
    /// as llama.cpp and vLLM do.
    pub fn speeds(&self, rotary_dim: usize, positions: usize) -> Vec<f32> {
        let width = rotary_dim as f64;
        let plain = |pair: usize| f64::from(self.theta).powf(-2.0 * pair as f64 / width);
        (0..rotary_dim / 2)
            .map(|pair| self.stretch(pair, plain(pair), rotary_dim, positions) as f32)
            .collect()
    }

    fn stretch(&self, pair: usize, speed: f64, rotary_dim: usize, positions: usize) -> f64 {
        match &self.scaling {
            RopeScaling::None => speed,
            RopeScaling::Linear { factor } => speed / f64::from(*factor),
            RopeScaling::Factors { factors } => speed / f64::from(factors[pair]),
            RopeScaling::Long {
                short,
                long,
                original_context,
                ..
            } => {
                let factors = match positions > *original_context {
                    true => long,
                    false => short,
                };
                speed / f64::from(factors[pair])
            }
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => {
                let turns = *original_context as f64 * speed / std::f64::consts::TAU;
                let (low, high) = (f64::from(*low_freq_factor), f64::from(*high_freq_factor));
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                speed * (kept + (1.0 - kept) / f64::from(*factor))
            }
            RopeScaling::Yarn {
                factor,
                beta_fast,
                beta_slow,
                truncate,
                original_context,
                ..
            } => {
                let width = rotary_dim as f64;
                // The pair, as a real number, that turns so often within the original context.
                let pair_of = |turns: f32| {
                    let slowness =
                        *original_context as f64 / (f64::from(turns) * std::f64::consts::TAU);
                    width * slowness.ln() / (2.0 * f64::from(self.theta).ln())
                };
                let (low, high) = (pair_of(*beta_fast), pair_of(*beta_slow));
                let (low, high) = match truncate {
                    true => (low.floor(), high.ceil()),
                    false => (low, high),
                };
                let (low, high) = (low.max(0.0), high.min(width - 1.0));
                // As transformers keeps the two apart.
                let high = if low == high { high + 0.001 } else { high };
                let slow = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
                speed * (1.0 - slow) + speed / f64::from(*factor) * slow
            }
        }
    }
}

/// YaRN's factor on queries and keys for a context so many times longer: `0.1 · m · ln(factor) + 1`.
pub(crate) fn yarn_magnitude(factor: f32, m: f32) -> f32 {
    match factor > 1.0 {
        true => (0.1 * f64::from(m) * f64::from(factor).ln() + 1.0) as f32,
        false => 1.0,
    }
}

/// LongRoPE's: `√(1 + ln(factor) / ln(original context))`.
pub(crate) fn long_magnitude(factor: f32, original_context: usize) -> f32 {
    match factor > 1.0 {
        true => (1.0 + f64::from(factor).ln() / (original_context as f64).ln()).sqrt() as f32,
        false => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(ours: &[f32], theirs: &[f32]) {
        assert_eq!(ours.len(), theirs.len());
        for (a, b) in ours.iter().zip(theirs) {
            assert!((a - b).abs() <= 2e-7 * b.abs(), "{a} is not {b}");
        }
    }

    #[test]
    fn speeds_fall_from_one_by_powers_of_theta() {
        let rope = Rope {
            theta: 10_000.0,
            scaling: RopeScaling::None,
        };
        close(&rope.inverse_frequencies(8), &[1.0, 0.1, 0.01, 0.001]);
        let rope = Rope {
            scaling: RopeScaling::Linear { factor: 4.0 },
            ..rope
        };
        close(
            &rope.inverse_frequencies(8),
            &[0.25, 0.025, 0.0025, 0.00025],
        );
    }

    #[test]
    fn llama3_stretches_slow_pairs_only() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 1024,
        };
        let rope = Rope {
            theta: 10_000.0,
            scaling,
        };
        // Turns within 1024 tokens: 163, 16.3, 1.63, 0.163. The third is 0.21 of the way from 1 to 4.
        let kept = (1024.0 * 0.01 / std::f32::consts::TAU - 1.0) / 3.0;
        close(
            &rope.inverse_frequencies(8),
            &[1.0, 0.1, 0.01 * (kept + (1.0 - kept) / 8.0), 0.001 / 8.0],
        );
    }

    #[test]
    fn stored_factors_divide_pair_by_pair() {
        let rope = Rope {
            theta: 10_000.0,
            scaling: RopeScaling::Factors {
                factors: vec![1.0, 2.0],
            },
        };
        close(&rope.inverse_frequencies(4), &[1.0, 0.005]);
    }
}
