//! Supervised fine-tuning: raise the likelihood of the tokens that the model should have said.
//!
//! A target counts by its weight: gradients and losses are sums of `weight · nats`, and the mean divides by the sum of
//! the weights. Where every weight is 1, that is the mean over tokens.

use hone_data::Batch;
use hone_model::{Model, Packed, StepOptions};
use hone_tensor::{Tensor, TensorError};

/// What batches lost, as sums: they add over micro-batches and are divided once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WeightedLoss {
    /// `Σ weight · nats` over the targets.
    pub nats: f64,
    /// `Σ weight`.
    pub weight: f64,
    /// Supervised tokens, whatever their weight.
    pub tokens: u64,
}

impl WeightedLoss {
    /// Nats per unit of weight; `None` where nothing counts.
    pub fn mean(self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.nats / self.weight)
    }

    /// Of the targets of a batch, whose losses are `nats`, in their order.
    pub fn of(batch: &Batch, nats: &[f64]) -> Self {
        let mut loss = Self::default();
        for (target, nats) in batch.targets.iter().zip(nats) {
            let weight = f64::from(target.weight);
            loss.nats += weight * nats;
            loss.weight += weight;
            loss.tokens += 1;
        }
        loss
    }
}

impl std::ops::AddAssign for WeightedLoss {
    fn add_assign(&mut self, other: Self) {
        self.nats += other.nats;
        self.weight += other.weight;
        self.tokens += other.tokens;
    }
}

/// Loss of one micro-batch; adds the gradient of `Σ weight · nats` to `grads`, flat `[1, n]` as the adapter's parameters.
/// `entry` is what enters the lowest adapted layer, where it is known.
///
/// # Errors
/// The device failed, or was asked to stop.
pub fn loss_and_grads(
    model: &Model,
    batch: &Batch,
    options: StepOptions,
    entry: Option<&Tensor>,
    grads: &mut Tensor,
) -> Result<WeightedLoss, TensorError> {
    let nats = nll_and_grads(model, batch, options, entry, grads)?;
    Ok(WeightedLoss::of(batch, &nats))
}

/// The same, with the loss of each target in place of their sum: nats, in the order of the targets and without weights.
///
/// # Errors
/// The device failed, or was asked to stop.
pub fn nll_and_grads(
    model: &Model,
    batch: &Batch,
    options: StepOptions,
    entry: Option<&Tensor>,
    grads: &mut Tensor,
) -> Result<Vec<f64>, TensorError> {
    with_packed(batch, |packed| match entry {
        None => model.loss_and_grads(packed, options, grads),
        Some(entry) => model.loss_and_grads_above(entry, packed, options, grads),
    })
}

/// Hands a batch to the engine, which wants rows, targets and weights apart.
pub fn with_packed<R>(batch: &Batch, work: impl FnOnce(Packed) -> R) -> R {
    let (rows, targets): (Vec<usize>, Vec<u32>) =
        batch.targets.iter().map(|t| (t.row, t.token)).unzip();
    let is_weighted = batch.targets.iter().any(|target| target.weight != 1.0);
    let weights: Vec<f32> = match is_weighted {
        true => batch.targets.iter().map(|target| target.weight).collect(),
        false => vec![],
    };
    work(Packed {
        ids: &batch.ids,
        boundaries: &batch.boundaries,
        rows: &rows,
        targets: &targets,
        weights: is_weighted.then_some(&weights),
    })
}
