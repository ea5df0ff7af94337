//! AdamW over the flat buffer of an adapter, and clipping by the global norm.
//!
//! The optimisers differ in how they keep their moments, in f32 or in 8 bits, and where, in memory or in pages of a
//! file that may leave it. Where makes no difference to a number.

use std::fmt;
use std::path::Path;

use hone_model::{RateGroup, Role};
use hone_tensor::{AdamWStep, Device, Moment8, Tensor, TensorError};
use serde::{Deserialize, Serialize};

/// Which optimiser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OptimizerKind {
    /// Moments in f32, as in `torch.optim.AdamW`.
    #[default]
    #[serde(rename = "adamw")]
    AdamW,
    /// Moments in 8 bits, as in bitsandbytes' `AdamW8bit`.
    #[serde(rename = "adamw8bit")]
    AdamW8bit,
    /// Moments in f32, in pages of a file.
    #[serde(rename = "paged-adamw")]
    PagedAdamW,
    /// Moments in 8 bits, in pages of a file.
    #[serde(rename = "paged-adamw8bit")]
    PagedAdamW8bit,
}

impl OptimizerKind {
    /// Bytes of both moments, for parameter tensors of these lengths.
    pub fn state_bytes(self, lengths: &[usize]) -> usize {
        2 * 4 * self.num_words(lengths)
    }

    /// Those that have to stay in memory.
    pub fn resident_bytes(self, lengths: &[usize]) -> usize {
        if self.is_paged() {
            return 0;
        }
        self.state_bytes(lengths)
    }

    /// Whether both keep the same state, so that one can go on where the other stopped.
    pub fn has_state_of(self, other: Self) -> bool {
        self.is_8bit() == other.is_8bit()
    }

    /// Words of 4 bytes that one moment takes.
    pub(crate) fn num_words(self, lengths: &[usize]) -> usize {
        if self.is_8bit() {
            Moment8::num_words(lengths)
        } else {
            lengths.iter().sum()
        }
    }

    /// Whether moments are kept in 8 bits.
    pub fn is_8bit(self) -> bool {
        matches!(self, Self::AdamW8bit | Self::PagedAdamW8bit)
    }

    fn is_paged(self) -> bool {
        matches!(self, Self::PagedAdamW | Self::PagedAdamW8bit)
    }
}

impl fmt::Display for OptimizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AdamW => "adamw",
            Self::AdamW8bit => "adamw8bit",
            Self::PagedAdamW => "paged-adamw",
            Self::PagedAdamW8bit => "paged-adamw8bit",
        })
    }
}

/// AdamW (Loshchilov & Hutter 2019) with the semantics of `torch.optim.AdamW`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// How and where moments are kept.
    #[serde(default)]
    pub kind: OptimizerKind,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Greatest global norm of a gradient; 0 does not clip.
    pub clip: f32,
    /// How many times as fast `B` learns as `A` (LoRA+, Hayou et al. 2024); `None` for alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faster: Option<f64>,
    /// What the rate of fully trained modules is multiplied with; `None` for alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<f64>,
}

impl AdamWConfig {
    /// What the rate of a tensor of this role is multiplied with.
    fn factor(&self, role: Role) -> f64 {
        let of_role = match role.rate_group() {
            RateGroup::General => None,
            RateGroup::LoraPlus => self.faster,
            RateGroup::Module => self.whole,
        };
        of_role.unwrap_or(1.0)
    }
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::AdamW,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            clip: 1.0,
            faster: None,
            whole: None,
        }
    }
}

/// The two moments of every trainable number.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    moments: Moments,
    steps: u64,
    /// Runs of consecutive numbers of one rate, and what that rate is multiplied with.
    runs: Vec<(usize, f64)>,
}

#[derive(Debug)]
enum Moments {
    F32 { first: Tensor, second: Tensor },
    In8Bits { first: Moment8, second: Moment8 },
}

impl AdamW {
    /// Moments of zero for parameter tensors, each of so many numbers and with its role, which lie one after the other
    /// in the flat buffer; paged moments are kept in a file under `dir`.
    pub fn new(
        config: AdamWConfig,
        tensors: &[(usize, Role)],
        device: &Device,
        dir: &Path,
    ) -> Result<Self, TensorError> {
        let lengths: Vec<usize> = tensors.iter().map(|(len, _)| *len).collect();
        let lengths = &lengths[..];
        let paged = config.kind.is_paged().then_some(dir);
        let moments = if config.kind.is_8bit() {
            let zeros = || Moment8::zeros(device, lengths, paged);
            let (first, second) = (zeros()?, zeros()?);
            Moments::In8Bits { first, second }
        } else {
            let zeros = || device.zeros_in(1, lengths.iter().sum(), paged);
            let (first, second) = (zeros()?, zeros()?);
            Moments::F32 { first, second }
        };
        Ok(Self {
            config,
            moments,
            steps: 0,
            runs: runs(config, tensors),
        })
    }

    /// Goes on from what [`Self::moments`] gave after `steps` steps.
    pub fn restore(&mut self, first: &[u32], second: &[u32], steps: u64) {
        self.steps = steps;
        match &mut self.moments {
            Moments::F32 {
                first: m,
                second: v,
            } => {
                for (words, moment) in [(first, m), (second, v)] {
                    let numbers: Vec<f32> = words.iter().map(|&w| f32::from_bits(w)).collect();
                    moment.device().clone().write(&numbers, moment);
                }
            }
            Moments::In8Bits {
                first: m,
                second: v,
            } => {
                m.write(first);
                v.write(second);
            }
        }
    }

    /// Which optimiser it is.
    pub fn kind(&self) -> OptimizerKind {
        self.config.kind
    }

    /// First and second moments, in words of 32 bits.
    pub fn moments(&self) -> Result<(Vec<u32>, Vec<u32>), TensorError> {
        let bits = |moment: &Tensor| -> Result<Vec<u32>, TensorError> {
            Ok(moment.to_vec()?.into_iter().map(f32::to_bits).collect())
        };
        match &self.moments {
            Moments::F32 { first, second } => Ok((bits(first)?, bits(second)?)),
            Moments::In8Bits { first, second } => Ok((first.to_words()?, second.to_words()?)),
        }
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
        let step = self.numbers(norm, tokens, lr);
        let of_run = |&(len, factor): &(usize, f64)| {
            let lr = step.lr * factor;
            (len, AdamWStep { lr, ..step })
        };
        let steps: Vec<(usize, AdamWStep)> = self.runs.iter().map(of_run).collect();
        match &mut self.moments {
            Moments::F32 { first, second } => {
                device.adamw_by_runs(parameters, sums, first, second, &steps);
            }
            Moments::In8Bits { first, second } => {
                device.adamw8bit_by_runs(parameters, sums, first, second, &steps);
            }
        }
        Ok(norm)
    }

    fn numbers(&self, norm: f64, tokens: u64, lr: f32) -> AdamWStep {
        let AdamWConfig {
            beta1,
            beta2,
            eps,
            weight_decay,
            clip,
            ..
        } = self.config;
        // torch.nn.utils.clip_grad_norm_ adds 1e-6 to the norm.
        let clipping = if clip > 0.0 {
            (f64::from(clip) / (norm + 1e-6)).min(1.0)
        } else {
            1.0
        };
        AdamWStep {
            lr: f64::from(lr),
            beta1,
            beta2,
            eps,
            weight_decay,
            step: self.steps,
            gradient_scale: (clipping / tokens as f64) as f32,
        }
    }
}

/// Parameter tensors of one rate that lie side by side, as one.
fn runs(config: AdamWConfig, tensors: &[(usize, Role)]) -> Vec<(usize, f64)> {
    let mut runs: Vec<(usize, f64)> = Vec::new();
    for &(len, role) in tensors {
        let factor = config.factor(role);
        match runs.last_mut() {
            Some((run, of_run)) if *of_run == factor => *run += len,
            _ => runs.push((len, factor)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bits_take_about_a_quarter_and_pages_none() {
        let lengths = [16 * 576, 192 * 16];
        let bytes = |kind: OptimizerKind| kind.resident_bytes(&lengths);
        assert_eq!(bytes(OptimizerKind::AdamW), 8 * (9216 + 3072));
        // 36 blocks of 260 bytes; the other tensor is too small to gain.
        assert_eq!(bytes(OptimizerKind::AdamW8bit), 2 * 36 * 260 + 8 * 3072);
        assert_eq!(bytes(OptimizerKind::PagedAdamW), 0);
        assert_eq!(bytes(OptimizerKind::PagedAdamW8bit), 0);
    }

    #[test]
    fn tensors_of_one_rate_are_stepped_as_one() {
        use Role::{A, B, Bias, Whole};
        let tensors = [(3, A), (4, A), (5, B), (6, Bias), (7, A), (8, Whole)];
        let config = AdamWConfig::default();
        assert_eq!(runs(config, &tensors), [(33, 1.0)]);
        let faster = Some(16.0);
        let config = AdamWConfig { faster, ..config };
        assert_eq!(runs(config, &tensors), [(7, 1.0), (11, 16.0), (15, 1.0)]);
        let whole = Some(0.1);
        let config = AdamWConfig { whole, ..config };
        assert_eq!(
            runs(config, &tensors),
            [(7, 1.0), (11, 16.0), (7, 1.0), (8, 0.1)]
        );
    }

    #[test]
    fn a_plan_from_before_there_was_a_choice_means_adamw() {
        let plan = r#"{"beta1":0.9,"beta2":0.999,"eps":1e-8,"weight_decay":0.0,"clip":1.0}"#;
        let config: AdamWConfig = serde_json::from_str(plan).unwrap();
        assert_eq!(config, AdamWConfig::default());
    }
}
