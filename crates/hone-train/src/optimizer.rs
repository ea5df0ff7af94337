//! AdamW over the flat buffer of an adapter, and clipping by the global norm.

use hone_tensor::{AdamWStep, Device, Tensor, TensorError};
use serde::{Deserialize, Serialize};

/// AdamW (Loshchilov & Hutter 2019) with the semantics of `torch.optim.AdamW`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Greatest global norm of a gradient; 0 does not clip.
    pub clip: f32,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            clip: 1.0,
        }
    }
}

/// The two moments of every trainable number.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    first: Tensor,
    second: Tensor,
    steps: u64,
}

impl AdamW {
    /// Moments of zero for `len` numbers.
    pub fn new(config: AdamWConfig, len: usize, device: &Device) -> Self {
        Self {
            config,
            first: device.zeros(1, len),
            second: device.zeros(1, len),
            steps: 0,
        }
    }

    /// As it was after `steps` steps.
    pub fn restore(
        config: AdamWConfig,
        first: &[f32],
        second: &[f32],
        steps: u64,
        device: &Device,
    ) -> Self {
        let tensor = |x: &[f32]| device.tensor(1, x.len(), x);
        Self {
            config,
            first: tensor(first),
            second: tensor(second),
            steps,
        }
    }

    /// First and second moments.
    pub fn moments(&self) -> Result<(Vec<f32>, Vec<f32>), TensorError> {
        Ok((self.first.to_vec()?, self.second.to_vec()?))
    }

    /// One step along the mean gradient `sums / tokens`; returns that gradient's norm before clipping. A
    /// norm that is not finite is returned without a step.
    pub fn step(
        &mut self,
        parameters: &mut Tensor,
        sums: &Tensor,
        tokens: u64,
        lr: f32,
    ) -> Result<f64, TensorError> {
        let device = sums.device().clone();
        let norm = device.sum_squares(sums)?.sqrt() / tokens as f64;
        if !norm.is_finite() {
            return Ok(norm);
        }
        self.steps += 1;
        let AdamWConfig {
            beta1,
            beta2,
            eps,
            weight_decay,
            clip,
        } = self.config;
        // torch.nn.utils.clip_grad_norm_ adds 1e-6 to the norm.
        let clipping = if clip > 0.0 {
            (f64::from(clip) / (norm + 1e-6)).min(1.0)
        } else {
            1.0
        };
        let gradient_scale = (clipping / tokens as f64) as f32;
        let step = AdamWStep {
            lr,
            beta1,
            beta2,
            eps,
            weight_decay,
            step: self.steps,
            gradient_scale,
        };
        device.adamw(parameters, sums, &mut self.first, &mut self.second, step);
        Ok(norm)
    }
}
