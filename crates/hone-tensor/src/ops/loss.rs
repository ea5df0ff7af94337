//! Losses and sums that are read back.

use super::{StorageOps, TensorError, assert_same_shape, put};
use crate::index::Indices;
use crate::tensor::Tensor;

/// Numbers that leave the device.
pub trait LossOps: StorageOps {
    /// Sum of `-ln softmax(logits)[target]` over rows, in nats; `logits` become its gradient if `backward`.
    fn cross_entropy(
        &self,
        logits: &mut Tensor,
        targets: Indices,
        backward: bool,
    ) -> Result<Vec<f64>, TensorError> {
        let cols = logits.cols();
        assert_eq!(logits.rows(), targets.len(), "a target for each row");
        let mut all = self.download(logits)?;
        let rows = all.chunks_exact_mut(cols).zip(targets.on_host());
        let nats = rows
            .map(|(row, target)| row_nats(row, *target as usize))
            .collect();
        if backward {
            put(self, logits, &all);
        }
        Ok(nats)
    }
    /// `Σ p ln(p / q)` of each row, in nats, where `p` is the softmax of `logits` and `q` that of `others`; both are lost. A row
    /// with a logit that is not finite gives NaN.
    fn divergence(
        &self,
        logits: &mut Tensor,
        others: &mut Tensor,
    ) -> Result<Vec<f64>, TensorError> {
        assert_same_shape(logits, others);
        let cols = logits.cols();
        let (p, q) = (self.download(logits)?, self.download(others)?);
        let rows = p.chunks_exact(cols).zip(q.chunks_exact(cols));
        Ok(rows.map(|(p, q)| row_divergence(p, q)).collect())
    }
    /// Sum of squares of all elements.
    fn sum_squares(&self, x: &Tensor) -> Result<f64, TensorError> {
        let squares = |x: &f32| f64::from(*x) * f64::from(*x);
        Ok(self.download(x)?.iter().map(squares).sum())
    }
}

fn row_divergence(logits: &[f32], others: &[f32]) -> f64 {
    let all = || logits.iter().chain(others);
    if !all().all(|logit| logit.is_finite()) {
        return f64::NAN;
    }
    let log_sum = |row: &[f32]| {
        let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|x| f64::from(x - greatest).exp()).sum();
        f64::from(greatest) + sum.ln()
    };
    let (of_p, of_q) = (log_sum(logits), log_sum(others));
    let terms = logits.iter().zip(others).map(|(p, q)| {
        let (p, q) = (f64::from(*p) - of_p, f64::from(*q) - of_q);
        p.exp() * (p - q)
    });
    terms.sum()
}

/// `-ln softmax(row)[target]`; the row becomes its gradient. One with a logit that is not finite becomes NaN and gives
/// NaN, so that whoever sums the loss will notice.
fn row_nats(row: &mut [f32], target: usize) -> f64 {
    if row.iter().any(|logit| !logit.is_finite()) {
        row.fill(f32::NAN);
        return f64::NAN;
    }
    let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (wanted, power) = (row[target], |logit: f32| f64::from(logit - greatest).exp());
    let sum: f64 = row.iter().map(|logit| power(*logit)).sum();
    row.iter_mut()
        .for_each(|logit| *logit = (power(*logit) / sum) as f32);
    row[target] -= 1.0;
    f64::from(greatest) + sum.ln() - f64::from(wanted)
}
