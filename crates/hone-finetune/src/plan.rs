//! What a run will take, before a weight is in memory: its own steps, rehearsed on a device that only counts.

use hone_data::{Example, Sampler};
use hone_ledger::Seed;
use hone_model::{Adapter, BatchError, LoraConfig};
use hone_train::{Data, SettingError, TrainError, TrainingPlan};

use crate::error::FineTuneError;
use crate::load::BaseFiles;
use crate::rehearsed::Rehearsed;
use crate::trainer::TrainerConfig;

/// What a run will do and take. Memory and work are an upper bound: as if every token were supervised and no two rows began
/// alike.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RunPlan {
    /// What the loop does: steps, rates, batches.
    pub training: TrainingPlan,
    /// Steps in one pass over the examples.
    pub steps_per_epoch: usize,
    /// Parameters that are trained.
    pub trainable_parameters: usize,
    /// The base in memory, in bytes.
    pub base_bytes: usize,
    /// The optimizer's state that has to stay in memory, in bytes.
    pub optimizer_bytes: usize,
    /// Adapter, gradients and activations of the largest step, in bytes.
    pub step_bytes: usize,
    /// Floating-point operations of an average step.
    pub flops_per_step: f64,
}

impl RunPlan {
    /// The most memory that the run's tensors take at once, in bytes.
    pub fn peak_bytes(&self) -> usize {
        self.base_bytes + self.optimizer_bytes + self.step_bytes
    }

    /// What somebody may not expect of it, in sentences.
    pub fn remarks(&self) -> Vec<String> {
        let (steps, epoch) = (self.training.steps, self.steps_per_epoch);
        let few = (steps < FEW_STEPS).then(|| {
            format!(
                "{steps} optimizer steps ({epoch} an epoch) teach little: more `epochs`, or a smaller `batch_size`, take more"
            )
        });
        few.into_iter().collect()
    }
}

/// Below this a learning rate that suits a run of ordinary length moves an adapter little.
const FEW_STEPS: usize = 10;

/// What a run of these settings would do and take, for rows of these lengths in tokens.
///
/// ```
/// use hone_finetune::{LoadOptions, LoraConfig, TrainerConfig, open_base, plan};
///
/// # fn main() -> Result<(), hone_finetune::FineTuneError> {
/// # let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/models/tiny-llama-tied");
/// let base = open_base(dir, LoadOptions::default())?;
/// let plan = plan(&base, &LoraConfig::default(), &TrainerConfig::default(), &[120, 80, 64])?;
/// assert_eq!(plan.training.steps, 1);
/// println!("{} MB; {}", plan.peak_bytes() / 1_000_000, plan.remarks().join("; "));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Settings out of range or that do not fit the base, no rows, rows of fewer than two tokens or longer than the base was
/// opened for.
pub fn plan(
    base: &BaseFiles,
    lora: &LoraConfig,
    trainer: &TrainerConfig,
    lengths: &[usize],
) -> Result<RunPlan, FineTuneError> {
    let (open, limit) = (&base.open, base.max_positions);
    let config = open.weights.config();
    let lora = lora.clone().with_new_tokens(&open.new_ids(), config)?;
    let training = trainer.plan(config, limit, !lora.whole.is_empty(), lengths.len())?;
    let shortest = lengths.iter().copied().min().unwrap_or(0);
    SettingError::unless(shortest >= 2, "a length", shortest, "at least 2")?;
    if let Some(&tokens) = lengths.iter().find(|tokens| **tokens > limit) {
        return Err(BatchError::TooLong { tokens, limit }.into());
    }
    let rows = stand_ins(lengths, config.vocab_size);
    let data = Data {
        train: &rows,
        valid: &[],
        tasks: &[],
    };
    let seed = Seed::new(training.seed).child("shuffle");
    let sampler = Sampler::new(rows.len(), training.batch_size, seed);
    let sampler = sampler.ok_or(TrainError::NoExamples)?;
    let rehearsed = Rehearsed::new(&open.weights, &lora, data, sampler)?;
    let work = rehearsed.work(&training)?;
    let sizes = Adapter::lengths(&lora, config)?;
    Ok(RunPlan {
        steps_per_epoch: sampler.steps_per_epoch(),
        trainable_parameters: sizes.iter().sum(),
        base_bytes: open.loaded_bytes(base.format()),
        optimizer_bytes: training.optimizer.kind.resident_bytes(&sizes),
        step_bytes: rehearsed.peak_bytes(&training)?,
        flops_per_step: work.mean_step,
        training,
    })
}

/// Rows of these lengths that share no beginning.
fn stand_ins(lengths: &[usize], vocab_size: usize) -> Vec<Example> {
    let row = |(row, len): (usize, &usize)| Example {
        ids: (row..row + len)
            .map(|id| (id % vocab_size) as u32)
            .collect(),
        supervised: vec![true; *len],
        task: 0,
        row,
    };
    lengths.iter().enumerate().map(row).collect()
}
