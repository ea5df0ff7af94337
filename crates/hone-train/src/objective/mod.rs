//! What a run minimises: from a batch to losses, weights and gradients.
//!
//! The loop in `run.rs` knows steps, checkpoints and events, and nothing of what makes a loss; an objective knows batches and
//! nothing of steps. A second objective is another file here.

pub mod supervised;
