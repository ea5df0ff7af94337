//! What will happen, with nothing optional left.

use hone_model::{Activations, Shortcuts};
use serde::{Deserialize, Serialize};

use crate::optimizer::AdamWConfig;
use crate::schedule::LearningRate;
use crate::setting::SettingError;

/// A run's resolved numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingPlan {
    /// Optimiser steps.
    pub steps: usize,
    /// Examples per optimiser step.
    pub batch_size: usize,
    /// Micro-batches that a step's examples are dealt into.
    pub accumulate: usize,
    /// A micro-batch of more tokens is split further, so that it fits into memory.
    pub max_tokens: usize,
    /// Layers, counted from the top, that keep their activations.
    pub kept_layers: usize,
    /// In which form they are kept.
    #[serde(default)]
    pub activations: Activations,
    /// Work that is left out because it would change nothing.
    #[serde(default)]
    pub shortcuts: Shortcuts,
    /// Whether what enters the lowest adapted layer is kept from epoch to epoch.
    #[serde(default)]
    pub activation_cache: bool,
    /// Learning rate of every step.
    pub learning_rate: LearningRate,
    /// Optimiser.
    pub optimizer: AdamWConfig,
    /// Root of shuffling and dropout.
    pub seed: u64,
    /// Steps between looks at the held-out examples.
    pub eval_every: usize,
    /// Rows of the validation set that are evaluated, a sample of each task; all where nothing is said.
    #[serde(default)]
    pub eval_rows: Option<usize>,
    /// The run ends after so many validations in a row that were not better by more than `min_improvement`.
    #[serde(default)]
    pub patience: Option<usize>,
    /// In nats per supervised token.
    #[serde(default)]
    pub min_improvement: f64,
    /// Steps between checkpoints.
    pub save_every: usize,
}

/// More steps than a run of years would take: what asks for more is a slip.
const MOST_STEPS: usize = u32::MAX as usize;

impl TrainingPlan {
    /// Refuses numbers that no run can have.
    ///
    /// # Errors
    /// The first setting that is out of its range, by its name.
    pub fn check(&self) -> Result<(), SettingError> {
        for (name, value) in [
            ("batch_size", self.batch_size),
            ("gradient_accumulation_steps", self.accumulate),
            ("max_tokens", self.max_tokens),
            ("eval_steps", self.eval_every),
            ("eval_rows", self.eval_rows.unwrap_or(1)),
            ("patience", self.patience.unwrap_or(1)),
            ("save_steps", self.save_every),
        ] {
            SettingError::unless(value > 0, name, value, "at least 1")?;
        }
        let least = self.min_improvement;
        let is_least = least.is_finite() && least >= 0.0;
        SettingError::unless(is_least, "min_improvement", least, "0 or more")?;
        let is_sane = (1..=MOST_STEPS).contains(&self.steps);
        SettingError::unless(
            is_sane,
            "steps",
            self.steps,
            "at least 1 and at most 4294967295",
        )?;
        let peak = self.learning_rate.peak;
        let is_rate = peak.is_finite() && peak > 0.0;
        SettingError::unless(is_rate, "lr", peak, "a positive number")?;
        self.optimizer.check()
    }
}
