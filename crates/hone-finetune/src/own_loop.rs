//! The parts of a loop of one's own: gradients that are accumulated, and an optimizer that steps along them.
//!
//! They are the parts of [`crate::Trainer`]'s loop, so that the same batches, rates and seed give the same parameters to the
//! bit. A step has a number: with it comes its dropout mask, and gradients of another step are forgotten.

use hone_data::Batch;
use hone_model::{Param, Role, StepOptions};
use hone_tensor::Tensor;
use hone_train::{AdamW, AdamWConfig, WeightedLoss, dropout_seed, loss_and_grads};

use crate::error::FineTuneError;
use crate::load::check_batch;
use crate::model::{AdapterTag, PeftModel};

/// Gradients of one step so far, of one adapter.
#[derive(Debug)]
pub struct Gradients {
    /// `[1, n]`, laid out like the parameters.
    sums: Tensor,
    loss: WeightedLoss,
    seed: u64,
    step: Option<usize>,
    /// Batches of the step so far.
    batches: usize,
    of: AdapterTag,
}

impl Gradients {
    /// Losses of the step so far, as sums.
    pub fn loss(&self) -> WeightedLoss {
        self.loss
    }

    /// Sums over the step so far, `[1, n]` laid out like the parameters: nats per parameter, not yet divided.
    pub fn sums(&self) -> &Tensor {
        &self.sums
    }

    fn begin(&mut self, step: usize) {
        let device = self.sums.device().clone();
        device.fill(&mut self.sums, 0.0);
        (self.loss, self.step, self.batches) = (WeightedLoss::default(), Some(step), 0);
    }
}

/// AdamW for one adapter, with the semantics of `torch.optim.AdamW`.
#[derive(Debug)]
pub struct Optimizer {
    adamw: AdamW,
    of: AdapterTag,
    last: Option<usize>,
}

impl PeftModel {
    /// Room for the gradients of the active adapter; `seed` is the root of dropout, as [`crate::TrainerConfig::seed`].
    ///
    /// # Errors
    /// Several adapters are active, or none.
    pub fn gradients(&self, seed: u64) -> Result<Gradients, FineTuneError> {
        let numbers = self.adapter()?.num_parameters();
        Ok(Gradients {
            sums: self.model.device().zeros(1, numbers),
            loss: WeightedLoss::default(),
            seed,
            step: None,
            batches: 0,
            of: self.tag()?,
        })
    }

    /// An optimizer for the active adapter, its moments zero.
    ///
    /// # Errors
    /// Several adapters are active, or none; settings out of range; no room for paged moments in the directory for temporary
    /// files.
    pub fn optimizer(&self, config: AdamWConfig) -> Result<Optimizer, FineTuneError> {
        let of_matrix = |matrix: &Param| (matrix.size(), matrix.role());
        let matrices = self.adapter()?.matrices();
        let tensors: Vec<(usize, Role)> = matrices.iter().map(of_matrix).collect();
        let device = self.model.device();
        Ok(Optimizer {
            adamw: AdamW::new(config, &tensors, device, &std::env::temp_dir())?,
            of: self.tag()?,
            last: None,
        })
    }

    /// Adds loss and gradients of one packed batch to those of step `step`, and returns the batch's loss. The first batch of
    /// another step than before begins with zeros. Each batch of each step has a dropout mask of its own.
    ///
    /// # Errors
    /// A batch that the model cannot be given, gradients of another adapter, a loss that is not finite: then the step has to
    /// begin again.
    pub fn accumulate(
        &self,
        batch: &Batch,
        step: usize,
        grads: &mut Gradients,
    ) -> Result<WeightedLoss, FineTuneError> {
        grads.of.check(self, "the gradients")?;
        check_batch(&self.model, batch)?;
        if grads.step != Some(step) {
            grads.begin(step);
        }
        let options = StepOptions {
            kept_layers: self.model.config().num_layers,
            dropout_seed: dropout_seed(grads.seed, step, grads.batches),
            ..StepOptions::default()
        };
        grads.batches += 1;
        let loss = loss_and_grads(&self.model, batch, options, None, &mut grads.sums);
        match loss {
            Ok(loss) if loss.nats.is_finite() => {
                grads.loss += loss;
                Ok(loss)
            }
            failed => {
                grads.step = None;
                failed?;
                Err(FineTuneError::NonFiniteLoss { step })
            }
        }
    }
}

impl Optimizer {
    /// Takes the step that `grads` are of, along their mean, and returns the norm of that mean before clipping.
    ///
    /// # Errors
    /// Gradients or an active adapter other than this optimizer's, a step that was taken already, no supervised token, a
    /// gradient that is not finite, a rate that is negative or no number: then nothing has changed. Parameters that are not
    /// finite after the step: then they are lost.
    pub fn step(
        &mut self,
        model: &mut PeftModel,
        grads: &Gradients,
        lr: f32,
    ) -> Result<f64, FineTuneError> {
        self.of.check(model, "the moments of the optimizer")?;
        grads.of.check(model, "the gradients")?;
        let Some(step) = grads.step else {
            return Err(hone_train::OptimizerError::NoTokens.into());
        };
        if self.last.is_some_and(|last| step <= last) {
            return Err(FineTuneError::StepTaken { step });
        }
        let weight = grads.loss.weight;
        let norm = self
            .adamw
            .step(model.parameters_mut()?, &grads.sums, weight, lr)?;
        self.last = Some(step);
        Ok(norm)
    }
}
