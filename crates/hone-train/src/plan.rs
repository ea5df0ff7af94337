//! What will happen, with nothing optional left.

use hone_model::{Activations, Shortcuts};
use serde::{Deserialize, Serialize};

use crate::optimizer::AdamWConfig;
use crate::schedule::LearningRate;

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
    /// Steps between checkpoints.
    pub save_every: usize,
}
