//! Rotary positions: how fast each pair of a head's values turns.
//!
//! The published ways of stretching a context differ only in these speeds, so the decoder asks for the numbers
//! and knows none of the ways.

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
    /// Pair by pair, as GGUF files store Llama 3's.
    Factors {
        /// How much slower each pair turns.
        factors: Vec<f32>,
    },
}

impl Rope {
    /// Radians per token for each of the `head_dim / 2` pairs.
    pub fn inverse_frequencies(&self, head_dim: usize) -> Vec<f32> {
        let plain = |pair: usize| f64::from(self.theta).powf(-2.0 * pair as f64 / head_dim as f64);
        (0..head_dim / 2)
            .map(|pair| self.stretch(pair, plain(pair)) as f32)
            .collect()
    }

    fn stretch(&self, pair: usize, speed: f64) -> f64 {
        match &self.scaling {
            RopeScaling::None => speed,
            RopeScaling::Linear { factor } => speed / f64::from(*factor),
            RopeScaling::Factors { factors } => speed / f64::from(factors[pair]),
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
        }
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
