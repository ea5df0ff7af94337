//! What a run will take, by running its steps on a device that only counts.
//!
//! The steps are the run's own, over its own rows, so whatever the engine leaves out or computes twice is
//! counted as it will be done. A rehearsed step takes milliseconds.

use hone_data::{Example, Sampler};
use hone_model::weights::BaseWeights;
use hone_model::{Adapter, AttachError, BaseFormat, LoadError, LoraConfig, Model};
use hone_tensor::{Cost, Rehearsal, TensorError};
use hone_train::{Data, TrainError, TrainingPlan, Validation, measure_step};

/// Why a run cannot be rehearsed.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// The adapter does not fit the base.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The base cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its steps cannot be taken.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The device failed.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// A run's model where nothing is computed, and the order of its examples.
#[derive(Debug)]
pub struct Rehearsed<'a> {
    rehearsal: Rehearsal,
    model: Model,
    data: Data<'a>,
    sampler: Sampler,
    /// What finding the adapter's start takes, before there is a step.
    init_bytes: usize,
}

/// What a plan costs in floating-point operations.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Work {
    /// The first step.
    pub first_step: f64,
    /// An average step.
    pub mean_step: f64,
    /// A validation of all rows.
    pub look: f64,
    /// What comes once beside them: the base reads the same rows.
    pub base_look: f64,
}

/// What validations take.
struct Looks {
    /// The base's reading, once.
    base: Cost,
    /// Each of them.
    look: Cost,
    /// What is kept of the base's reading, from the first validation on.
    kept_bytes: usize,
}

/// Steps that stand for a long epoch: its order is shuffled anew for each one asked for.
const SAMPLED_STEPS: usize = 64;

/// Of these, the ones with most tokens are rehearsed to learn how much memory they take.
const LARGEST_STEPS: usize = 3;

impl<'a> Rehearsed<'a> {
    /// The base with an adapter of this kind on it.
    ///
    /// # Errors
    /// An adapter that does not fit the base.
    pub fn new(
        base: &BaseWeights,
        lora: &LoraConfig,
        data: Data<'a>,
        sampler: Sampler,
    ) -> Result<Self, RehearsalError> {
        let rehearsal = Rehearsal::new();
        let device = rehearsal.device();
        let longest = longest(data.train.iter().chain(data.valid));
        let mut model = Model::load(base, &device, BaseFormat::Stored, longest)?;
        let adapter = Adapter::unfilled(lora.clone(), model.config(), &device)?;
        model.attach(adapter);
        let init_bytes = Adapter::init_bytes(lora, model.config())?;
        Ok(Self {
            init_bytes,
            rehearsal,
            model,
            data,
            sampler,
        })
    }

    /// Layers of the base.
    pub fn num_layers(&self) -> usize {
        self.model.config().num_layers
    }

    /// What a step of no tokens takes: the adapter and its gradient.
    pub fn standing_bytes(&self) -> usize {
        let parameters = self.model.adapter().map_or(0, Adapter::num_parameters);
        2 * 4 * parameters
    }

    /// Tokens of the longest row.
    pub fn longest(&self) -> usize {
        longest(self.data.train.iter().chain(self.data.valid))
    }

    /// Tokens of the largest batch.
    pub fn largest_batch(&self, plan: &TrainingPlan) -> usize {
        let steps = self.sampled(plan).into_iter();
        steps.map(|(_, tokens)| tokens).max().unwrap_or(0)
    }

    /// The most memory that tensors take at once, in the largest steps and in a look.
    pub fn peak_bytes(&self, plan: &TrainingPlan) -> Result<usize, RehearsalError> {
        let mut steps = self.sampled(plan);
        steps.sort_by_key(|&(_, tokens)| std::cmp::Reverse(tokens));
        let Looks {
            base,
            look,
            kept_bytes,
        } = self.looks(plan)?;
        let mut peak_bytes = base.memory.peak_bytes.max(look.memory.peak_bytes);
        peak_bytes = peak_bytes.max(self.standing_bytes() + self.init_bytes);
        for &(step, _) in steps.iter().take(LARGEST_STEPS) {
            let step_bytes = self.step(plan, step)?.memory.peak_bytes;
            peak_bytes = peak_bytes.max(step_bytes + kept_bytes);
        }
        Ok(peak_bytes)
    }

    /// How much there is to compute.
    pub fn work(&self, plan: &TrainingPlan) -> Result<Work, RehearsalError> {
        let steps = self.sampled(plan);
        let mut sum = 0.0;
        for &(step, _) in &steps {
            sum += self.step(plan, step)?.flops;
        }
        let all = TrainingPlan {
            eval_rows: None,
            ..plan.clone()
        };
        let Looks { base, look, .. } = self.looks(&all)?;
        Ok(Work {
            first_step: self.step(plan, 0)?.flops,
            mean_step: sum / steps.len() as f64,
            look: look.flops,
            base_look: base.flops,
        })
    }

    fn step(&self, plan: &TrainingPlan, step: usize) -> Result<Cost, RehearsalError> {
        let rehearse = || measure_step(&self.model, self.data, plan, step);
        let (result, cost) = self.rehearsal.of(rehearse);
        result?;
        Ok(cost)
    }

    fn looks(&self, plan: &TrainingPlan) -> Result<Looks, RehearsalError> {
        let mut validation = Validation::new(self.data, plan);
        let mut told = |_, _| {};
        let read = || validation.read_base(&self.model, &mut told);
        let (result, base) = self.rehearsal.of(read);
        result?;
        let rehearse = || validation.look(&self.model, &mut |_, _| {});
        let (result, look) = self.rehearsal.of(rehearse);
        result?;
        Ok(Looks {
            base,
            look,
            kept_bytes: 4 * self.model.config().d_model * validation.num_watched(),
        })
    }

    /// Steps evenly spread over the first epoch, with their tokens.
    fn sampled(&self, plan: &TrainingPlan) -> Vec<(usize, usize)> {
        let steps = self.sampler.steps_per_epoch().min(plan.steps);
        let tokens = |&row: &usize| self.data.train[row].ids.len();
        let sample = (0..steps).step_by(steps.div_ceil(SAMPLED_STEPS));
        let with_tokens = |step| (step, self.sampler.batch(step).iter().map(tokens).sum());
        sample.map(with_tokens).collect()
    }
}

fn longest<'a>(examples: impl Iterator<Item = &'a Example>) -> usize {
    let lengths = examples.map(|example| example.ids.len());
    lengths.max().unwrap_or(1)
}
