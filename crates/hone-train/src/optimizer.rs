//! AdamW over the flat buffer of an adapter, and clipping by the global norm.
//!
//! The optimisers differ in how they keep their moments, in f32 or in 8 bits, and where, in memory or in pages of a
//! file that may leave it. Where makes no difference to a number.

use std::fmt;
use std::path::Path;

use hone_model::{RateGroup, Role};
use hone_tensor::{AdamWStep, Device, Moment8, Tensor, TensorError};
use serde::{Deserialize, Serialize};

use crate::setting::SettingError;

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
    // `faster` is what the identities of runs say.
    #[serde(
        rename = "faster",
        alias = "lora_plus_ratio",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub lora_plus_ratio: Option<f64>,
    /// What the rate of fully trained modules is multiplied with; `None` for alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<f64>,
}

impl AdamWConfig {
    /// Refuses settings that no step can be taken with.
    ///
    /// # Errors
    /// The first setting that is out of its range, by its name.
    pub fn check(&self) -> Result<(), SettingError> {
        let share = |x: f64| (0.0..1.0).contains(&x);
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let not_negative = |x: f64| x.is_finite() && x >= 0.0;
        let clip = f64::from(self.clip);
        for (name, value, is_right, must) in [
            (
                "beta1",
                self.beta1,
                share as fn(f64) -> bool,
                "at least 0 and below 1",
            ),
            ("beta2", self.beta2, share, "at least 0 and below 1"),
            // A smaller one is zero in f32, and a parameter without a gradient would become 0 / 0.
            (
                "eps",
                self.eps,
                |x| x.is_finite() && x >= LEAST_EPS,
                "at least 1e-30",
            ),
            (
                "weight_decay",
                self.weight_decay,
                not_negative,
                "a number of at least 0",
            ),
            ("clip", clip, not_negative, "a number of at least 0"),
            (
                "lora_plus_ratio",
                self.lora_plus_ratio.unwrap_or(1.0),
                positive,
                "a positive number",
            ),
            (
                "the rate of fully trained modules",
                self.whole.unwrap_or(1.0),
                positive,
                "a positive factor",
            ),
        ] {
            SettingError::unless(is_right(value), name, value, must)?;
        }
        Ok(())
    }

    /// What the rate of a tensor of this role is multiplied with.
    fn factor(&self, role: Role) -> f64 {
        let of_role = match role.rate_group() {
            RateGroup::General => None,
            RateGroup::LoraPlus => self.lora_plus_ratio,
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
            lora_plus_ratio: None,
            whole: None,
        }
    }
}

/// The least that is added to the root of the second moment.
const LEAST_EPS: f64 = 1e-30;

/// Why a step cannot be taken, or has led nowhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptimizerError {
    /// A setting that no step can be taken with.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Nothing to divide the sums by.
    #[error("the gradients are a sum over no supervised token, so there is no mean to follow")]
    NoTokens,
    /// A buffer of another adapter.
    #[error("the optimizer is for {expected} parameters, and the {what} has {found}")]
    OtherLength {
        /// Which buffer.
        what: &'static str,
        /// Numbers that the moments are of.
        expected: usize,
        /// Numbers that it has.
        found: usize,
    },
    /// The gradient is infinite or not a number; no step was taken.
    #[error("the gradient is not finite, so no step was taken")]
    NonFiniteGradient,
    /// The step made parameters infinite or not a number.
    #[error("the step made parameters that are not finite: the learning rate {lr} is too high")]
    NonFiniteParameters {
        /// The rate of the step.
        lr: f32,
    },
    /// The device failed.
    #[error(transparent)]
    Tensor(#[from] TensorError),
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
    ///
    /// # Errors
    /// A setting out of its range, no room for paged moments.
    pub fn new(
        config: AdamWConfig,
        tensors: &[(usize, Role)],
        device: &Device,
        dir: &Path,
    ) -> Result<Self, OptimizerError> {
        config.check()?;
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

    /// How many numbers it steps.
    pub fn num_parameters(&self) -> usize {
        self.runs.iter().map(|(len, _)| len).sum()
    }

    /// One step along the mean gradient `sums / weight`; returns that gradient's norm before clipping. `parameters` and
    /// `sums` are `[1, n]`, in the order of the tensors that the moments were made for; `weight` is the number of tokens, where
    /// each counts alike.
    ///
    /// # Errors
    /// Buffers of another length, no weight to divide by, a rate that is negative or no number, a gradient that is not finite: then nothing
    /// has changed. Parameters that are not finite after the step: then they are lost.
    pub fn step(
        &mut self,
        parameters: &mut Tensor,
        sums: &Tensor,
        weight: f64,
        lr: f32,
    ) -> Result<f64, OptimizerError> {
        let expected = self.num_parameters();
        for (what, found) in [("adapter", parameters.len()), ("gradient", sums.len())] {
            if found != expected {
                return Err(OptimizerError::OtherLength {
                    what,
                    expected,
                    found,
                });
            }
        }
        if !(weight.is_finite() && weight > 0.0) {
            return Err(OptimizerError::NoTokens);
        }
        let is_rate = lr.is_finite() && lr >= 0.0;
        SettingError::unless(is_rate, "lr", lr, "a number of at least 0")?;
        let device = sums.device().clone();
        let norm = device.sum_squares(sums)?.sqrt() / weight;
        if !norm.is_finite() {
            return Err(OptimizerError::NonFiniteGradient);
        }
        self.steps += 1;
        let step = self.numbers(norm, weight, lr);
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
        match device.sum_squares(parameters)?.is_finite() {
            true => Ok(norm),
            false => Err(OptimizerError::NonFiniteParameters { lr }),
        }
    }

    fn numbers(&self, norm: f64, weight: f64, lr: f32) -> AdamWStep {
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
            gradient_scale: (clipping / weight) as f32,
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
        let lora_plus_ratio = Some(16.0);
        let config = AdamWConfig {
            lora_plus_ratio,
            ..config
        };
        assert_eq!(runs(config, &tensors), [(7, 1.0), (11, 16.0), (15, 1.0)]);
        let whole = Some(0.1);
        let config = AdamWConfig { whole, ..config };
        assert_eq!(
            runs(config, &tensors),
            [(7, 1.0), (11, 16.0), (7, 1.0), (8, 0.1)]
        );
    }

    #[test]
    fn settings_that_no_step_can_be_taken_with_are_named() {
        let fine = AdamWConfig::default();
        fine.check().unwrap();
        for (config, name) in [
            (AdamWConfig { beta1: 2.0, ..fine }, "beta1"),
            (
                AdamWConfig {
                    beta1: f64::NAN,
                    ..fine
                },
                "beta1",
            ),
            (AdamWConfig { beta2: 1.0, ..fine }, "beta2"),
            (AdamWConfig { eps: 0.0, ..fine }, "eps"),
            (AdamWConfig { eps: -1.0, ..fine }, "eps"),
            (
                AdamWConfig {
                    weight_decay: -0.1,
                    ..fine
                },
                "weight_decay",
            ),
            (
                AdamWConfig {
                    clip: f32::NAN,
                    ..fine
                },
                "clip",
            ),
            (
                AdamWConfig {
                    lora_plus_ratio: Some(0.0),
                    ..fine
                },
                "lora_plus_ratio",
            ),
        ] {
            assert_eq!(config.check().unwrap_err().name, name);
        }
    }

    #[test]
    fn a_step_that_would_end_in_no_number_is_an_error_and_never_ok() {
        let device = Device::cpu(1).unwrap();
        let dir = Path::new("unused");
        let config = AdamWConfig::default();
        let mut optimizer = AdamW::new(config, &[(4, Role::A)], &device, dir).unwrap();
        let start = [1.0, 2.0, 3.0, 4.0];
        let mut parameters = device.tensor(1, 4, &start);
        let sums = device.tensor(1, 4, &[0.5; 4]);
        let nan = device.tensor(1, 4, &[f32::NAN, 0.0, 0.0, 0.0]);
        let short = device.tensor(1, 3, &[0.5; 3]);
        let mut step = |sums: &Tensor, weight, lr| {
            optimizer
                .step(&mut parameters, sums, weight, lr)
                .unwrap_err()
        };
        assert!(matches!(step(&sums, 0.0, 0.1), OptimizerError::NoTokens));
        assert!(matches!(step(&sums, 1.0, -1.0), OptimizerError::Setting(_)));
        assert!(matches!(
            step(&sums, 1.0, f32::NAN),
            OptimizerError::Setting(_)
        ));
        assert!(matches!(
            step(&nan, 1.0, 0.1),
            OptimizerError::NonFiniteGradient
        ));
        assert!(matches!(
            step(&short, 1.0, 0.1),
            OptimizerError::OtherLength { found: 3, .. }
        ));
        // Nothing has changed by any of them.
        assert_eq!(parameters.to_vec().unwrap(), start);
        let error = optimizer.step(&mut parameters, &sums, 1.0, f32::MAX);
        let error = error.and_then(|_| optimizer.step(&mut parameters, &sums, 1.0, f32::MAX));
        assert!(matches!(
            error,
            Err(OptimizerError::NonFiniteParameters { .. })
        ));
    }

    #[test]
    fn a_plan_from_before_there_was_a_choice_means_adamw() {
        let plan = r#"{"beta1":0.9,"beta2":0.999,"eps":1e-8,"weight_decay":0.0,"clip":1.0}"#;
        let config: AdamWConfig = serde_json::from_str(plan).unwrap();
        assert_eq!(config, AdamWConfig::default());
    }
}
