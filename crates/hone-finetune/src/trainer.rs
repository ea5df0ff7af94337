//! A run from the first step to the last: the loop of `hone train`, with its settings and without its screens.

use std::path::{Path, PathBuf};

use hone_data::{Encoding, Sampler};
use hone_ledger::{Lock, Seed, WriteError};
use hone_model::arch::DecoderConfig;
use hone_model::{Activations, SaveDtype, Shortcuts};
use hone_train::{
    AdamWConfig, Checkpoint, Data, Event, LearningRate, Outcome, RunDir, RunIdentity, Schedule,
    SettingError, TrainError, TrainingPlan, WHOLE_SHARE, WidthRate, train,
};
use serde_json::{Map, Value, json};

use crate::control::{Control, StopHandle};
use crate::error::FineTuneError;
use crate::model::PeftModel;

/// How to train; the defaults are those of `hone train`. It is to be written with `..TrainerConfig::default()`, so that more
/// settings can come.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerConfig {
    /// Passes over the examples; above 0.
    pub epochs: f64,
    /// Examples per optimizer step; at least 1.
    pub batch_size: usize,
    /// Parts a batch is computed in, at least 1; the result does not depend on it, dropout aside.
    pub gradient_accumulation_steps: usize,
    /// Peak learning rate, of every trained parameter. Where it is not said, the rate that suits the base's width
    /// ([`hone_train::WidthRate`]), and a tenth of it for fully trained modules.
    pub lr: Option<f32>,
    /// How it falls.
    pub schedule: Schedule,
    /// Share of the steps over which it rises, from 0 to 1.
    pub warmup_ratio: f64,
    /// Optimizer, weight decay, clipping.
    pub optimizer: AdamWConfig,
    /// Layers, counted from the top, that keep their activations; the others compute them again. All if not said.
    pub kept_layers: Option<usize>,
    /// Steps between evaluations of the validation set; ten a run if not said.
    pub eval_steps: Option<usize>,
    /// Rows of the validation set that are evaluated, a sample of each task; all if not said.
    pub eval_rows: Option<usize>,
    /// The run ends after so many evaluations in a row that were not better; it takes all steps if not said.
    pub patience: Option<usize>,
    /// By more than this, in nats per supervised token, a validation loss has to be lower to be better for `patience`.
    pub min_improvement: f64,
    /// Steps between checkpoints; as the evaluations if not said.
    pub save_steps: Option<usize>,
    /// Root of shuffling and dropout.
    pub seed: u64,
    /// How the adapter's parameters are written.
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
            eval_rows: None,
            patience: None,
            min_improvement: 0.0,
            save_steps: None,
            seed: 0,
            save_dtype: SaveDtype::F32,
        }
    }
}

/// Validation examples are evaluated in packs of this many tokens; losses do not depend on it.
const EVALUATED_TOKENS: usize = 8192;

impl TrainerConfig {
    /// Refuses settings that no run can have, whatever the model and the rows.
    ///
    /// # Errors
    /// The first setting that is out of its range, by its name.
    pub fn check(&self) -> Result<(), SettingError> {
        let (epochs, warmup) = (self.epochs, self.warmup_ratio);
        let is_right = epochs.is_finite() && epochs > 0.0;
        SettingError::unless(is_right, "epochs", epochs, "a positive number")?;
        let is_right = (0.0..=1.0).contains(&warmup);
        SettingError::unless(is_right, "warmup_ratio", warmup, "at least 0 and at most 1")?;
        for (name, value) in [
            ("batch_size", self.batch_size),
            (
                "gradient_accumulation_steps",
                self.gradient_accumulation_steps,
            ),
            ("eval_steps", self.eval_steps.unwrap_or(1)),
            ("save_steps", self.save_steps.unwrap_or(1)),
            ("eval_rows", self.eval_rows.unwrap_or(1)),
            ("patience", self.patience.unwrap_or(1)),
        ] {
            SettingError::unless(value > 0, name, value, "at least 1")?;
        }
        let lr = self.lr.unwrap_or(1.0);
        SettingError::unless(lr.is_finite() && lr > 0.0, "lr", lr, "a positive number")?;
        self.optimizer.check()
    }

    /// What it comes to for so many examples on this base; `is_whole` where modules are trained fully.
    pub(crate) fn plan(
        &self,
        base: &DecoderConfig,
        max_positions: usize,
        is_whole: bool,
        num_examples: usize,
    ) -> Result<TrainingPlan, FineTuneError> {
        self.check()?;
        let layers = base.num_layers;
        let kept_layers = self.kept_layers.unwrap_or(layers);
        let must = "at most the number of layers";
        SettingError::unless(kept_layers <= layers, "kept_layers", kept_layers, must)?;
        let sampler = Sampler::new(num_examples, self.batch_size, Seed::new(self.seed));
        let steps = sampler.ok_or(TrainError::NoExamples)?.steps(self.epochs);
        let whole_share = (is_whole && self.lr.is_none()).then_some(WHOLE_SHARE);
        let eval_every = self.eval_steps.unwrap_or(steps.div_ceil(10)).max(1);
        let plan = TrainingPlan {
            steps,
            batch_size: self.batch_size,
            accumulate: self.gradient_accumulation_steps,
            max_tokens: max_positions.max(EVALUATED_TOKENS),
            kept_layers,
            activations: Activations::F32,
            shortcuts: Shortcuts::ALL,
            activation_cache: true,
            learning_rate: LearningRate::new(
                self.lr.unwrap_or(WidthRate::of(base).peak() as f32),
                self.schedule,
                self.warmup_ratio,
                steps,
            ),
            optimizer: AdamWConfig {
                whole: self.optimizer.whole.or(whole_share),
                ..self.optimizer
            },
            seed: self.seed,
            eval_every,
            eval_rows: self.eval_rows,
            patience: self.patience,
            min_improvement: self.min_improvement,
            save_every: self.save_steps.unwrap_or(eval_every).max(1),
        };
        plan.check()?;
        Ok(plan)
    }
}

/// A training run: what is asked, and where it leaves things.
///
/// Under its directory: `adapter/` (lowest validation loss, or the last step where nothing is evaluated), `last/`, and
/// `checkpoints/`.
#[derive(Clone, Debug)]
pub struct Trainer {
    config: TrainerConfig,
    out: PathBuf,
    resume: bool,
    stop: StopHandle,
}

/// What a run says of itself when it ends.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Trained {
    /// Whether all steps were taken, or it was asked to stop.
    pub end: TrainEnd,
    /// Optimizer steps taken.
    pub steps: usize,
    /// Mean training loss over the run, in nats per supervised token.
    pub train_loss: Option<f64>,
    /// Lowest validation loss, in nats per supervised token.
    pub valid_loss: Option<f64>,
    /// Steps taken when it was lowest.
    pub best_step: usize,
    /// Supervised tokens seen.
    pub supervised_tokens: u64,
    /// Time spent in steps.
    pub seconds: f64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrainEnd {
    /// All steps were taken.
    Finished,
    /// It was asked to stop; a checkpoint is on disk to resume from.
    Stopped,
}

/// The lock of a run's directory, which `hone train` takes too.
const RUN_LOCK: &str = "run.lock";

impl Trainer {
    /// A run that leaves its adapter and its checkpoints under `out`.
    pub fn new(config: TrainerConfig, out: impl AsRef<Path>) -> Self {
        Self {
            config,
            out: out.as_ref().to_path_buf(),
            resume: false,
            stop: StopHandle::default(),
        }
    }

    /// Goes on from the newest intact checkpoint under the same directory; the end is that of a run never interrupted.
    /// Settings have to be those that the run began with, but for `save_steps`, `save_dtype`, `kept_layers` and where
    /// moments are kept.
    #[must_use]
    pub fn resume(self) -> Self {
        Self {
            resume: true,
            ..self
        }
    }

    /// Stops the run from another thread; it can be resumed from where it was.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// What the settings come to for these examples: steps, the rate of each, the batches of each. A loop of one's own that
    /// follows it gives the same parameters as [`Self::train`], to the bit.
    ///
    /// # Errors
    /// Settings out of range, no examples.
    pub fn training_plan(
        &self,
        model: &PeftModel,
        examples: &Encoding,
    ) -> Result<TrainingPlan, FineTuneError> {
        let adapter = model.adapter()?;
        let is_whole = !adapter.config().whole.is_empty();
        let (model, num_examples) = (model.model(), examples.examples.len());
        let positions = model.max_positions();
        self.config
            .plan(model.config(), positions, is_whole, num_examples)
    }

    /// Trains the model's active adapter. `on_event` hears of every step, evaluation and checkpoint and may stop the run: it
    /// returns [`Control`], or nothing at all. On return the model has the parameters of the last step that was taken; the
    /// best ones are in `adapter/`.
    ///
    /// # Errors
    /// Settings out of range; no examples, ids that the model does not know; a loss that is not finite (with the rows at
    /// fault); a directory that cannot be written, that another process is writing, or that has another run's checkpoints;
    /// with [`Self::resume`] none, or those of a run with other settings, rows or base.
    pub fn train<C: Into<Control>>(
        &self,
        model: &mut PeftModel,
        examples: &Encoding,
        valid: Option<&Encoding>,
        mut on_event: impl FnMut(&Event) -> C,
    ) -> Result<Trained, FineTuneError> {
        let plan = self.training_plan(model, examples)?;
        let identity = identity(model, examples, valid, &plan)?;
        std::fs::create_dir_all(&self.out)
            .map_err(|source| WriteError::new(&self.out, 0, source))?;
        let _lock = Lock::take(&self.out.join(RUN_LOCK), &self.out, "hone's library")?;
        let mut dir = RunDir::new(&self.out, identity.id(), model.provenance()?);
        dir.save_dtype = self.config.save_dtype;
        dir.beside = model.open.files_beside_an_adapter()?;
        dir.record = Some(identity.parts().to_string().into_bytes());
        self.check_checkpoints(&dir)?;
        let data = Data {
            train: &examples.examples,
            valid: valid.map_or(&[], |valid| &valid.examples),
            tasks: valid.map_or(&examples.tasks, |valid| &valid.tasks),
        };
        let mut sink = |event: &Event| {
            let control: Control = on_event(event).into();
            if control == Control::Stop {
                self.stop.stop();
            }
        };
        let signal = self.stop.signal();
        let outcome = train(
            &mut model.model,
            data,
            &plan,
            &dir,
            self.resume,
            &mut sink,
            &signal,
        );
        self.stop.reset();
        let (end, steps, totals) = match outcome {
            Ok(Outcome::Finished(finished)) => {
                (TrainEnd::Finished, finished.steps, finished.totals)
            }
            Ok(Outcome::Interrupted { step }) => {
                let (saved, _) =
                    Checkpoint::newest(&dir.checkpoints()).map_err(TrainError::from)?;
                let totals = saved.map(|saved| saved.note.totals).unwrap_or_default();
                (TrainEnd::Stopped, step, totals)
            }
            Err(TrainError::OtherRun { path }) => return Err(other_run(path, identity.parts())),
            Err(error) => return Err(error.into()),
        };
        Ok(Trained {
            end,
            steps,
            train_loss: totals.train_loss(),
            valid_loss: totals.valid_loss_best,
            best_step: totals.best_step,
            supervised_tokens: totals.supervised_tokens,
            seconds: totals.seconds,
        })
    }

    /// A run begins where there are no checkpoints, and is resumed where there are some.
    fn check_checkpoints(&self, dir: &RunDir) -> Result<(), FineTuneError> {
        let path = dir.checkpoints();
        let exists = Checkpoint::exists(&path).map_err(TrainError::from)?;
        match (self.resume, exists) {
            (true, false) => Err(FineTuneError::NothingToResume { path }),
            (false, true) => Err(FineTuneError::RunExists {
                path: self.out.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// What a checkpoint must agree with to be continued: base, adapter, plan and every id of the examples.
fn identity(
    model: &PeftModel,
    examples: &Encoding,
    valid: Option<&Encoding>,
    plan: &TrainingPlan,
) -> Result<RunIdentity, FineTuneError> {
    let base = model.open.weights.fingerprint()?;
    let count = |encoding: &Encoding| encoding.examples.len();
    let data = json!({ "train": count(examples), "valid": valid.map(count) });
    let rows = [Some(examples), valid].into_iter().flatten();
    let rows = rows.flat_map(|encoding| &encoding.examples);
    let rows = rows.map(|example| &example.ids);
    let content = model.open.content(base, data, rows);
    let lora = model.adapter()?.config();
    Ok(RunIdentity::new(content, lora, Map::new(), plan))
}

/// What the run of a checkpoint began with otherwise, by the names of its settings.
fn other_run(path: PathBuf, parts: &Value) -> FineTuneError {
    let other = || TrainError::OtherRun { path: path.clone() }.into();
    let newest = Checkpoint::newest(&path)
        .ok()
        .and_then(|(newest, _)| newest);
    let record = newest.and_then(|checkpoint| checkpoint.record);
    let Some(Ok(began)) = record.map(|record| serde_json::from_slice::<Value>(&record)) else {
        return other();
    };
    let mut changed: Vec<String> = ["training", "lora"]
        .iter()
        .flat_map(|part| RunIdentity::differences(&began[part], &parts[part]))
        .collect();
    if began["content"] != parts["content"] {
        changed.push("the rows or the base".into());
    }
    match changed.is_empty() {
        true => other(),
        false => FineTuneError::ChangedOnResume { changed },
    }
}
