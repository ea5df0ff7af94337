//! AdamW for one number, and what a step of it is told.

/// One AdamW step's numbers (Loshchilov & Hutter 2019, as in `torch.optim.AdamW`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// 1 for the first step.
    pub step: u64,
    /// What gradients are multiplied with first: `1/tokens`, times the clipping factor.
    pub gradient_scale: f32,
}

/// Numbers that runs are of.
pub(crate) fn run_length(runs: &[(usize, AdamWStep)]) -> usize {
    runs.iter().map(|(len, _)| len).sum()
}

/// One number's step, decay before the update as in `torch.optim.AdamW`.
pub(super) fn adamw(p: &mut f32, g: f32, m: &mut f32, v: &mut f32, step: AdamWStep) {
    let (lr, beta1, beta2) = (step.lr as f32, step.beta1 as f32, step.beta2 as f32);
    let bias = |beta: f32| 1.0 - f64::from(beta).powi(step.step as i32);
    let gradient = g * step.gradient_scale;
    *m = beta1 * *m + (1.0 - beta1) * gradient;
    *v = beta2 * *v + (1.0 - beta2) * gradient * gradient;
    let denominator = v.sqrt() / bias(beta2).sqrt() as f32 + step.eps as f32;
    *p = *p * (1.0 - lr * step.weight_decay as f32)
        - (f64::from(lr) / bias(beta1)) as f32 * (*m / denominator);
}
