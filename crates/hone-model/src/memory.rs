//! How much memory a step will take, from shapes alone, so that a plan can be refused before it starts.
//!
//! The formula follows `pass.rs` line by line: what a layer keeps, what the way back has alive at once,
//! and the chunk of logits. Sizes are f32 unless said otherwise.

use crate::adapter::AdapterSize;
use crate::pass::head_chunk_rows;
use crate::weights::DecoderConfig;

/// The shapes that memory depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryModel {
    d_model: usize,
    queries: usize,
    keys: usize,
    d_ff: usize,
    num_heads: usize,
    num_layers: usize,
    vocab_size: usize,
    adapter: AdapterSize,
    moment_bytes: usize,
}

/// Bytes of one training step beyond the frozen base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepMemory {
    /// Adapter, its gradient and what the optimiser keeps in memory.
    pub adapter_bytes: usize,
    /// What layers keep for the way back.
    pub kept_bytes: usize,
    /// What is alive for a moment only.
    pub working_bytes: usize,
}

impl StepMemory {
    /// All of it.
    pub fn total(&self) -> usize {
        self.adapter_bytes + self.kept_bytes + self.working_bytes
    }
}

impl MemoryModel {
    /// For a base and an adapter on it.
    pub fn new(config: &DecoderConfig, adapter: AdapterSize) -> Self {
        Self {
            d_model: config.d_model,
            queries: config.num_heads * config.head_dim,
            keys: config.num_kv_heads * config.head_dim,
            d_ff: config.d_ff,
            num_heads: config.num_heads,
            num_layers: config.num_layers,
            vocab_size: config.vocab_size,
            moment_bytes: 2 * 4 * adapter.parameters,
            adapter,
        }
    }

    /// With an optimiser whose moments take so much of memory, instead of two in f32.
    pub fn with_moment_bytes(self, moment_bytes: usize) -> Self {
        Self {
            moment_bytes,
            ..self
        }
    }

    /// Layers that could keep their activations: those from the lowest adapter up.
    pub fn layers_on_the_way_back(&self) -> usize {
        self.num_layers.saturating_sub(self.adapter.lowest_layer)
    }

    /// A step over micro-batches of at most `tokens` tokens, `targets` of them supervised, with
    /// `kept_layers` layers keeping their activations.
    pub fn step(&self, tokens: usize, targets: usize, kept_layers: usize) -> StepMemory {
        let back = self.layers_on_the_way_back();
        let kept_layers = kept_layers.min(back);
        let extra = if kept_layers < back {
            self.kept_per_token()
        } else {
            0
        };
        let chunk = targets.min(head_chunk_rows(self.vocab_size));
        let head = chunk * (self.vocab_size + 4 * self.d_model) + 2 * targets * self.d_model;
        StepMemory {
            adapter_bytes: 2 * 4 * self.adapter.parameters + self.moment_bytes,
            kept_bytes: 4 * tokens * (back * self.d_model + kept_layers * self.kept_per_token()),
            working_bytes: 4 * head.max(tokens * (extra + self.working_per_token())),
        }
    }

    /// As many layers as fit into `budget_bytes`, or `None` if not even none does.
    pub fn layers_within(
        &self,
        tokens: usize,
        targets: usize,
        budget_bytes: usize,
    ) -> Option<usize> {
        (0..=self.layers_on_the_way_back())
            .rev()
            .find(|&kept| self.step(tokens, targets, kept).total() <= budget_bytes)
    }

    /// The longest micro-batch that fits with every layer computed again.
    pub fn tokens_within(&self, budget_bytes: usize) -> usize {
        let fixed = self.step(0, 0, 0).total();
        let per_token = self.step(4096, 0, 0).total().saturating_sub(fixed) / 4096;
        budget_bytes.saturating_sub(fixed) / per_token.max(1)
    }

    /// Queries, keys, values, attention's output and log-sum-exp, the middle, gate and up; and the narrow
    /// activations.
    fn kept_per_token(&self) -> usize {
        let narrow = self.adapter.rank_sum / self.layers_on_the_way_back().max(1);
        2 * self.queries + 2 * self.keys + self.num_heads + self.d_model + 2 * self.d_ff + narrow
    }

    /// The way back through the MLP: the gradient of the hidden state, of what was active, of gate and up.
    fn working_per_token(&self) -> usize {
        let mlp = self.d_model + 3 * self.d_ff;
        let attention = 2 * self.d_model + 2 * self.queries + 2 * self.keys;
        mlp.max(attention) + self.d_model
    }
}
