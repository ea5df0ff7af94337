//! What a run adds up over its steps; it survives an interruption in every checkpoint.

use hone_model::LossSum;
use serde::{Deserialize, Serialize};

use crate::event::Stepped;

/// Sums over the steps so far; they survive an interruption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Examples seen.
    pub examples: u64,
    /// Tokens seen.
    pub tokens: u64,
    /// Supervised tokens seen.
    pub supervised_tokens: u64,
    /// Their loss.
    pub nats: f64,
    /// Time spent in steps.
    pub seconds: f64,
    /// Time spent in validations, which the steps' does not count.
    #[serde(default)]
    pub validation_seconds: f64,
    /// Held-out loss before the first step.
    pub valid_loss_first: Option<f64>,
    /// Lowest held-out loss.
    pub valid_loss_best: Option<f64>,
    /// Steps taken when it was lowest.
    pub best_step: usize,
    /// Divergence from the base when it was last measured, in nats a prompt token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence: Option<f64>,
    /// Validations since one that was better by enough.
    #[serde(default)]
    pub waited: usize,
    /// The loss of that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_beat: Option<f64>,
}

impl Totals {
    /// Mean training loss so far, in nats per supervised token.
    pub fn train_loss(&self) -> Option<f64> {
        LossSum {
            nats: self.nats,
            tokens: self.supervised_tokens,
        }
        .mean()
    }

    pub(crate) fn add(&mut self, stepped: &Stepped) {
        self.examples += stepped.examples as u64;
        self.tokens += stepped.tokens as u64;
        self.supervised_tokens += stepped.supervised_tokens;
        self.nats += stepped.loss * stepped.supervised_tokens as f64;
        self.seconds += stepped.seconds;
    }

    /// Takes note of how far the base was moved.
    pub(crate) fn count_divergence(&mut self, divergence: Option<f64>) {
        self.divergence = divergence.or(self.divergence);
    }

    /// Counts a validation for patience: one whose loss is lower by more than `least` than that of the last one that was
    /// begins the count anew.
    pub(crate) fn wait(&mut self, loss: f64, least: f64) {
        match self.to_beat {
            Some(to_beat) if loss >= to_beat - least => self.waited += 1,
            _ => (self.waited, self.to_beat) = (0, Some(loss)),
        }
    }

    /// Takes note of a held-out loss; says whether it is the best.
    pub(crate) fn judge(&mut self, step: usize, loss: f64) -> bool {
        self.valid_loss_first.get_or_insert(loss);
        let best = self.valid_loss_best.is_none_or(|lowest| loss < lowest);
        if best {
            (self.valid_loss_best, self.best_step) = (Some(loss), step);
        }
        best
    }
}
