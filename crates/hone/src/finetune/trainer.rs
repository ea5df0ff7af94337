//! The loop of `hone train`, with its settings and without its screens.

use super::{FineTuneError, PeftModel};
use crate::run::RUN_LOCK;
use hone_data::{Encoding, Sampler};
use hone_ledger::{ContentId, Lock, Seed, WriteError};
use hone_model::{Activations, SaveDtype, Shortcuts, StopSignal};
use hone_train::{
    AdamWConfig, Data, Event, LearningRate, Outcome, RunDir, Schedule, TrainError, TrainingPlan,
    WHOLE_SHARE, WidthRate, train,
};
use serde_json::json;
use std::path::{Path, PathBuf};

/// How to train; the defaults are those of `hone train`.
#[derive(Clone, Debug)]
pub struct TrainerConfig {
    /// Passes over the examples.
    pub epochs: f64,
    /// Examples per optimiser step.
    pub batch_size: usize,
    /// Parts a batch is computed in; the result does not depend on it.
    pub gradient_accumulation_steps: usize,
    /// Peak learning rate, of every trained number. Where it is not said, the rate that suits the base's width
    /// ([`hone_train::WidthRate`]), and a tenth of it for fully trained modules.
    pub lr: Option<f32>,
    /// How it falls.
    pub schedule: Schedule,
    /// Share of the steps over which it rises.
    pub warmup_ratio: f64,
    /// Optimiser, weight decay, clipping.
    pub optimizer: AdamWConfig,
    /// Layers, counted from the top, that keep their activations; the others compute them again. All if not said.
    pub kept_layers: Option<usize>,
    /// Steps between looks at the held-out examples; ten a run if not said.
    pub eval_steps: Option<usize>,
    /// Steps between checkpoints; as the looks if not said.
    pub save_steps: Option<usize>,
    /// Root of shuffling and dropout.
    pub seed: u64,
    /// How the adapter's numbers are written.
    pub save_dtype: SaveDtype,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            epochs: 1.0,
            batch_size: 8,
            gradient_accumulation_steps: 1,
            lr: None,
            schedule: Schedule::Cosine,
            warmup_ratio: 0.05,
            optimizer: AdamWConfig::default(),
            kept_layers: None,
            eval_steps: None,
            save_steps: None,
            seed: 0,
            save_dtype: SaveDtype::F32,
        }
    }
}

/// A training run: what is asked, and where it leaves things.
///
/// Under its directory: `adapter/` (best held-out loss, or the last step where nothing is held out), `last/`, and
/// `checkpoints/`.
#[derive(Clone, Debug)]
pub struct Trainer {
    config: TrainerConfig,
    out: PathBuf,
    resume: bool,
}

/// What a finished run says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trained {
    /// Optimiser steps.
    pub steps: usize,
    /// Mean training loss over the run, in nats per supervised token.
    pub train_loss: Option<f64>,
    /// Lowest held-out loss, in nats per supervised token.
    pub valid_loss: Option<f64>,
    /// Steps taken when it was lowest.
    pub best_step: usize,
    /// Supervised tokens seen.
    pub supervised_tokens: u64,
    /// Time spent in steps.
    pub seconds: f64,
}

impl Trainer {
    /// A run that leaves its adapter and its checkpoints under `out`.
    pub fn new(config: TrainerConfig, out: impl AsRef<Path>) -> Self {
        Self {
            config,
            out: out.as_ref().to_path_buf(),
            resume: false,
        }
    }

    /// Goes on from the newest intact checkpoint under the same directory; the end is that of a run never interrupted.
    pub fn resume(self) -> Self {
        Self {
            resume: true,
            ..self
        }
    }

    /// Trains the model's adapter; `listen` hears every step and every look at the held-out examples. On return the
    /// model has the numbers of the last step; the best ones are in `adapter/`.
    ///
    /// # Errors
    /// No examples, ids that the model does not know, a loss that is not finite (with the rows at fault), a directory
    /// that cannot be written or that another process is writing, a checkpoint of another run.
    pub fn train(
        &self,
        model: &mut PeftModel,
        examples: &Encoding,
        held_out: Option<&Encoding>,
        mut listen: impl FnMut(&Event),
    ) -> Result<Trained, FineTuneError> {
        std::fs::create_dir_all(&self.out)
            .map_err(|source| WriteError::new(&self.out, 0, source))?;
        let _lock = Lock::take(&self.out.join(RUN_LOCK), &self.out, "hone's library")?;
        let plan = self.plan(model, examples)?;
        let mut dir = RunDir::new(
            &self.out,
            identity(model, examples, held_out, &plan)?,
            model.provenance()?,
        );
        dir.save_dtype = self.config.save_dtype;
        dir.beside = model.base().files_beside_an_adapter()?;
        let data = Data {
            train: &examples.examples,
            valid: held_out.map_or(&[], |held_out| &held_out.examples),
            tasks: held_out.map_or(&examples.tasks, |held_out| &held_out.tasks),
        };
        let outcome = train(
            model.model_mut(),
            data,
            &plan,
            &dir,
            self.resume,
            &mut listen,
            &StopSignal::never(),
        )?;
        let Outcome::Finished(finished) = outcome else {
            unreachable!("nobody asked the run to stop");
        };
        let totals = finished.totals;
        Ok(Trained {
            steps: finished.steps,
            train_loss: totals.train_loss(),
            valid_loss: totals.valid_loss_best,
            best_step: totals.best_step,
            supervised_tokens: totals.supervised_tokens,
            seconds: totals.seconds,
        })
    }

    fn plan(&self, model: &PeftModel, examples: &Encoding) -> Result<TrainingPlan, FineTuneError> {
        let config = &self.config;
        let sampler = Sampler::new(
            examples.examples.len(),
            config.batch_size,
            Seed::new(config.seed),
        );
        let steps = sampler.ok_or(TrainError::NoExamples)?.steps(config.epochs);
        let by_width = WidthRate::of(model.model().config()).peak();
        let adapter = model.model().adapter();
        let is_whole = adapter.is_some_and(|adapter| !adapter.config().whole.is_empty());
        let whole_share = (is_whole && config.lr.is_none()).then_some(WHOLE_SHARE);
        let eval_every = config.eval_steps.unwrap_or(steps.div_ceil(10)).max(1);
        Ok(TrainingPlan {
            steps,
            batch_size: config.batch_size,
            accumulate: config.gradient_accumulation_steps.max(1),
            // Held-out examples are judged in packs of this many tokens; losses do not depend on it.
            max_tokens: model.model().max_positions().max(8192),
            kept_layers: config
                .kept_layers
                .unwrap_or(model.model().config().num_layers),
            activations: Activations::F32,
            shortcuts: Shortcuts::ALL,
            activation_cache: true,
            learning_rate: LearningRate::new(
                config.lr.unwrap_or(by_width as f32),
                config.schedule,
                config.warmup_ratio,
                steps,
            ),
            optimizer: AdamWConfig {
                whole: config.optimizer.whole.or(whole_share),
                ..config.optimizer
            },
            seed: config.seed,
            eval_every,
            save_every: config.save_steps.unwrap_or(eval_every).max(1),
        })
    }
}

/// What a checkpoint must agree with to be continued: base, adapter, plan and every id of the examples.
fn identity(
    model: &PeftModel,
    examples: &Encoding,
    held_out: Option<&Encoding>,
    plan: &TrainingPlan,
) -> Result<String, FineTuneError> {
    let ids = |encoding: &Encoding| -> Vec<Vec<u32>> {
        encoding.examples.iter().map(|e| e.ids.clone()).collect()
    };
    let whole = json!({
        "base": model.base().weights.fingerprint()?,
        "lora": model.model().adapter().map(|adapter| adapter.config()),
        "template": model.base().renderer.template_hash(),
        "plan": plan,
        "train": ids(examples),
        "valid": held_out.map(ids),
    });
    Ok(ContentId::of(whole.to_string().as_bytes()).to_string())
}
