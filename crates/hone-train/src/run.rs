//! The loop of a run: the order of the data, steps, accumulation, validations, checkpoints and events.
//!
//! What a loss is made of is the objective's; see `objective/`.

use std::time::Instant;

use hone_data::{Batch, Example, Sampler, micro_batches, within_budget};
use hone_ledger::Seed;
use hone_model::{LossSum, Model, StepOptions, StopSignal};
use hone_tensor::{Tensor, TensorError};

use crate::activation_cache::ActivationCache;
use crate::begin::begin;
use crate::checkpoint::{Checkpoint, Due, Note};
use crate::data::Data;
use crate::error::TrainError;
use crate::event::{Event, Sink, Stepped, StoppedEarly, TaskLoss, Validated};
use crate::objective::supervised::{WeightedLoss, nll_and_grads, with_packed};
use crate::optimizer::{AdamW, OptimizerError};
use crate::parameters::{exchange_parameters, parameters, save_adapter};
use crate::plan::TrainingPlan;
use crate::row_losses::{RowLoss, RowLossFile, row_means};
use crate::run_dir::RunDir;
use crate::totals::Totals;
use crate::validation::Validation;

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All steps were taken.
    Finished(Finished),
    /// It was asked to stop; a checkpoint is on disk.
    Interrupted {
        /// Steps taken.
        step: usize,
    },
}

/// A finished run's figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Sums.
    pub totals: Totals,
    /// Steps taken.
    pub steps: usize,
    /// Greatest memory for activations and adapter.
    pub peak_bytes: usize,
    /// Checkpoints that were damaged and passed over when resuming.
    pub damaged: usize,
}

/// Trains the model's adapter by the plan. With `resume`, goes on from the newest intact checkpoint, and
/// ends with the same bytes as a run that was never interrupted.
///
/// `stop` is asked between layers, also of a validation: whatever was being computed is dropped, and what was there before it
/// is saved.
pub fn train(
    model: &mut Model,
    data: Data,
    plan: &TrainingPlan,
    dir: &RunDir,
    resume: bool,
    sink: &mut dyn Sink,
    stop: &StopSignal,
) -> Result<Outcome, TrainError> {
    model.stop_at(stop.clone());
    let outcome = go(model, data, plan, dir, resume, sink, stop);
    model.stop_at(StopSignal::never());
    outcome
}

/// A run between two steps.
struct Run<'a> {
    model: &'a mut Model,
    data: Data<'a>,
    plan: &'a TrainingPlan,
    dir: &'a RunDir,
    sink: &'a mut dyn Sink,
    sampler: Sampler,
    cache: Option<ActivationCache>,
    rows: RowLossFile,
    validation: Validation,
    optimizer: AdamW,
    /// Steps taken.
    step: usize,
    totals: Totals,
    /// Validations that the last step still owes.
    due: Vec<Due>,
    /// The adapter before the first step, where it is still to be judged.
    unchanged: Option<Vec<f32>>,
    /// The adapter of the lowest validation loss so far.
    best: Option<Vec<f32>>,
}

fn go(
    model: &mut Model,
    data: Data,
    plan: &TrainingPlan,
    dir: &RunDir,
    resume: bool,
    sink: &mut dyn Sink,
    stop: &StopSignal,
) -> Result<Outcome, TrainError> {
    plan.check()?;
    check(model, data)?;
    let sampler = plan.sampler(data.train.len())?;
    let start = begin(model, data, plan, dir, resume)?;
    let seen = start.totals.examples as usize;
    let rows = RowLossFile::open(&dir.path, data.train, &sampler, seen)?;
    let cache = activation_cache(model, data, plan, &sampler, dir)?;
    model.device().reset_peak();
    let mut run = Run {
        model,
        data,
        plan,
        dir,
        sink,
        sampler,
        cache,
        rows,
        validation: Validation::new(data, plan),
        optimizer: start.optimizer,
        step: start.first_step,
        totals: start.totals,
        due: start.due,
        unchanged: start.unchanged,
        best: start.best,
    };
    let mut is_saved = run.due.is_empty();
    loop {
        // What the held-out rows say of the unchanged adapter is asked after the first step: that a run works, and how
        // long it takes, should not wait for them.
        while let Some(&next) = run.due.first() {
            let judged = run.evaluate(next);
            if unless_stopped(judged)?.is_none() {
                return run.interrupted();
            }
            run.due.remove(0);
        }
        let last = run.step == plan.steps || run.is_out_of_patience();
        if !is_saved && (run.step.is_multiple_of(plan.save_every) || last) {
            if run.step < plan.steps && last {
                run.tell_of_early_stop()?;
            }
            run.save()?;
        }
        if last {
            break;
        }
        if stop.is_raised() {
            return run.interrupted();
        }
        if unless_stopped(run.take_step())?.is_none() {
            return run.interrupted();
        }
        is_saved = false;
        run.due = due_after(run.step, data, plan);
    }

    save_adapter(run.model, &dir.last(), dir)?;
    if data.valid.is_empty() {
        save_adapter(run.model, &dir.adapter(), dir)?;
    }
    let peak_bytes = run.model.device().memory().peak_bytes;
    Ok(Outcome::Finished(Finished {
        totals: run.totals,
        steps: run.step,
        peak_bytes,
        damaged: start.damaged,
    }))
}

/// Validations that come after so many steps.
fn due_after(steps: usize, data: Data, plan: &TrainingPlan) -> Vec<Due> {
    if data.valid.is_empty() {
        return vec![];
    }
    let first = (steps == 1).then_some(Due::Unchanged);
    let regular = steps.is_multiple_of(plan.eval_every) || steps == plan.steps;
    first
        .into_iter()
        .chain(regular.then_some(Due::Changed))
        .collect()
}

/// What was worked out, or `None` where it was given up on request.
fn unless_stopped<T>(result: Result<T, TrainError>) -> Result<Option<T>, TrainError> {
    match result {
        Err(TrainError::Tensor(TensorError::Stopped)) => Ok(None),
        result => result.map(Some),
    }
}

impl Run<'_> {
    /// Saves what there is, and what is still owed.
    fn interrupted(&mut self) -> Result<Outcome, TrainError> {
        self.save()?;
        Ok(Outcome::Interrupted { step: self.step })
    }

    /// Whether enough validations were no better.
    fn is_out_of_patience(&self) -> bool {
        let waited = self.totals.waited;
        self.plan
            .patience
            .is_some_and(|patience| waited >= patience)
    }

    fn tell_of_early_stop(&mut self) -> Result<(), TrainError> {
        let Totals {
            waited,
            best_step,
            valid_loss_best,
            to_beat,
            ..
        } = self.totals;
        self.emit(Event::StoppedEarly(StoppedEarly {
            step: self.step,
            waited,
            min_improvement: self.plan.min_improvement,
            to_beat: to_beat.unwrap_or(f64::NAN),
            best_step,
            best_loss: valid_loss_best.unwrap_or(f64::NAN),
        }))
    }

    fn emit(&mut self, event: Event) -> Result<(), TrainError> {
        self.sink.emit(&event).map_err(TrainError::Sink)
    }

    /// Takes the next optimiser step.
    fn take_step(&mut self) -> Result<(), TrainError> {
        let started = Instant::now();
        let (data, step) = (self.data, self.step);
        let batch = self.sampler.batch(step);
        let accumulated = accumulate(self.model, data, self.plan, &batch, &mut self.cache, step)?;
        let Accumulated { loss, grads, rows } = accumulated;
        let examples: Vec<&Example> = batch.iter().map(|&i| &data.train[i]).collect();
        let lr = self.plan.learning_rate.at(step);
        let parameters = self
            .model
            .adapter_mut()
            .ok_or(TrainError::NoAdapter)?
            .parameters_mut();
        let grad_norm = match self.optimizer.step(parameters, &grads, loss.weight, lr) {
            Err(OptimizerError::NonFiniteGradient) => Err(TrainError::NonFiniteGradient {
                step: step + 1,
                rows: examples.iter().map(|e| e.row).collect(),
            }),
            Err(OptimizerError::NonFiniteParameters { lr }) => {
                Err(TrainError::NonFiniteParameters { step: step + 1, lr })
            }
            stepped => Ok(stepped?),
        }?;
        let stepped = Stepped {
            step: step + 1,
            epoch: step / self.sampler.steps_per_epoch(),
            loss: loss
                .mean()
                .expect("encoding keeps only examples with a supervised token"),
            lr,
            grad_norm,
            examples: examples.len(),
            tokens: examples.iter().map(|e| e.ids.len()).sum(),
            supervised_tokens: loss.tokens,
            seconds: started.elapsed().as_secs_f64(),
            peak_bytes: self.model.device().memory().peak_bytes,
        };
        let seen = batch.iter().zip(rows);
        let rows: Vec<RowLoss> = seen.map(|(&row, loss)| RowLoss { row, loss }).collect();
        self.rows.append(&rows)?;
        self.totals.add(&stepped);
        self.emit(Event::Stepped(stepped))?;
        self.step += 1;
        Ok(())
    }

    /// Does a validation that is due.
    fn evaluate(&mut self, due: Due) -> Result<(), TrainError> {
        match due {
            Due::Changed => self.evaluate_at(self.step),
            Due::Unchanged => {
                let before = self.unchanged.take().expect("kept until it is judged");
                let changed = exchange_parameters(self.model, &before)?;
                let judged = self.evaluate_at(0);
                exchange_parameters(self.model, &changed)?;
                judged
            }
        }
    }

    /// Evaluates the validation set and keeps the adapter if it is the best so far.
    fn evaluate_at(&mut self, step: usize) -> Result<(), TrainError> {
        let started = Instant::now();
        let (validation, sink) = (&mut self.validation, &mut *self.sink);
        let mut told = |done, total| sink.validating(step, done, total);
        validation.read_base(self.model, &mut told)?;
        let look = validation.look(self.model, &mut told)?;
        let sum = look.loss();
        let loss = sum
            .mean()
            .expect("held-out examples have supervised tokens");
        let is_best = self.totals.judge(step, loss);
        if is_best {
            save_adapter(self.model, &self.dir.adapter(), self.dir)?;
            self.best = Some(parameters(self.model)?);
        }
        let task = |(task, sum): (&String, LossSum)| {
            Some(TaskLoss {
                task: task.clone(),
                loss: sum.mean()?,
                tokens: sum.tokens,
            })
        };
        let tasks = self.data.tasks.iter().zip(look.tasks);
        let tasks = tasks.filter_map(task).collect();
        let seconds = started.elapsed().as_secs_f64();
        self.totals.validation_seconds += seconds;
        self.totals.count_divergence(look.divergence);
        self.totals.wait(loss, self.plan.min_improvement);
        self.emit(Event::Validated(Validated {
            step,
            loss,
            tokens: sum.tokens,
            tasks,
            rows: self.validation.num_rows(),
            divergence: look.divergence,
            best: is_best,
            seconds,
        }))
    }

    fn save(&mut self) -> Result<(), TrainError> {
        self.rows.sync()?;
        // What is written is copied first; the room of activations is free between two steps.
        self.model.device().trim();
        let parameters = parameters(self.model)?;
        let (first, second) = self.optimizer.moments()?;
        let note = Note {
            step: self.step,
            identity: self.dir.identity.clone(),
            optimizer: self.optimizer.kind(),
            totals: self.totals,
            due: self.due.clone(),
        };
        let checkpoint = Checkpoint {
            note,
            parameters,
            first,
            second,
            // Lent, so that it is not in memory twice.
            best: self.best.take(),
            record: self.dir.record.clone(),
        };
        let saved = checkpoint.save(&self.dir.checkpoints());
        self.best = checkpoint.best;
        saved?;
        self.emit(Event::Saved { step: self.step })
    }
}

/// A place for what enters the lowest adapted layer, if some example is seen twice and there is use for it.
fn activation_cache(
    model: &Model,
    data: Data,
    plan: &TrainingPlan,
    sampler: &Sampler,
    dir: &RunDir,
) -> Result<Option<ActivationCache>, TrainError> {
    if !plan.activation_cache || plan.steps <= sampler.steps_per_epoch() {
        return Ok(None);
    }
    Ok(ActivationCache::new(model, data.train, &dir.path)?)
}

/// What a step's micro-batches came to.
struct Accumulated {
    loss: WeightedLoss,
    grads: Tensor,
    /// The mean loss of each row, in the order of the batch.
    rows: Vec<f32>,
}

/// Loss and gradient sums over a step's micro-batches.
fn accumulate(
    model: &Model,
    data: Data,
    plan: &TrainingPlan,
    batch: &[usize],
    cache: &mut Option<ActivationCache>,
    step: usize,
) -> Result<Accumulated, TrainError> {
    let adapter = model.adapter().ok_or(TrainError::NoAdapter)?;
    let examples: Vec<&Example> = batch.iter().map(|&i| &data.train[i]).collect();
    let mut grads = model.device().zeros(1, adapter.num_parameters());
    let (mut loss, mut rows) = (WeightedLoss::default(), Vec::with_capacity(batch.len()));
    let mut rest = batch;
    for (micro, batch) in plan.deal(&examples).iter().enumerate() {
        let options = StepOptions {
            kept_layers: plan.kept_layers,
            activations: plan.activations,
            shortcuts: plan.shortcuts,
            dropout_seed: dropout_seed(plan.seed, step, micro),
        };
        let (part, after) = rest.split_at(batch.num_examples());
        rest = after;
        let entry = match cache {
            None => None,
            Some(cache) => Some(with_packed(batch, |packed| cache.of(model, part, packed))?),
        };
        let nats = nll_and_grads(model, batch, options, entry.as_ref(), &mut grads)?;
        let part = WeightedLoss::of(batch, &nats);
        if !part.nats.is_finite() {
            return Err(TrainError::NonFiniteLoss {
                step: step + 1,
                rows: examples.iter().map(|e| e.row).collect(),
            });
        }
        loss += part;
        rows.extend(row_means(batch, &nats));
    }
    Ok(Accumulated { loss, grads, rows })
}

/// Where the dropout masks of a micro-batch come from: each step, and each part of it, has its own.
pub fn dropout_seed(seed: u64, step: usize, micro: usize) -> u64 {
    let of_step = Seed::new(seed).child("dropout").index(step as u64);
    of_step.index(micro as u64).value()
}

impl TrainingPlan {
    /// The micro-batches of a step, counted from 0, of these training examples.
    ///
    /// # Errors
    /// No examples, or a batch of none.
    pub fn batches(&self, examples: &[Example], step: usize) -> Result<Vec<Batch>, TrainError> {
        let rows = self.sampler(examples.len())?.batch(step);
        let examples: Vec<&Example> = rows.into_iter().map(|row| &examples[row]).collect();
        Ok(self.deal(&examples))
    }

    /// Deals so many examples in the order that the seed gives.
    fn sampler(&self, num_examples: usize) -> Result<Sampler, TrainError> {
        let seed = Seed::new(self.seed).child("shuffle");
        Sampler::new(num_examples, self.batch_size, seed).ok_or(TrainError::NoExamples)
    }

    /// A step's examples as micro-batches: as many as the plan accumulates, more where memory asks for it.
    fn deal(&self, examples: &[&Example]) -> Vec<Batch> {
        let mut batches = Vec::new();
        let mut rest = examples;
        for batch in micro_batches(examples, self.accumulate) {
            let (part, after) = rest.split_at(batch.num_examples());
            rest = after;
            if batch.ids.len() <= self.max_tokens {
                batches.push(batch);
            } else {
                batches.extend(within_budget(part, self.max_tokens));
            }
        }
        batches
    }
}

/// Seconds that loss and gradients of a step take, counted from 0; nothing is changed.
pub fn measure_step(
    model: &Model,
    data: Data,
    plan: &TrainingPlan,
    step: usize,
) -> Result<f64, TrainError> {
    check(model, data)?;
    let batch = plan.sampler(data.train.len())?.batch(step);
    let started = Instant::now();
    accumulate(model, data, plan, &batch, &mut None, step)?;
    Ok(started.elapsed().as_secs_f64())
}

/// Refuses examples that the model cannot take, before an hour is spent.
fn check(model: &Model, data: Data) -> Result<(), TrainError> {
    let (vocab_size, limit) = (model.config().vocab_size, model.max_positions());
    for example in data.train.iter().chain(data.valid) {
        let row = example.row;
        let malformed = |what| Err(TrainError::Malformed { row, what });
        if example.supervised.len() != example.ids.len() {
            return malformed("a mark for each of its tokens");
        }
        if example.num_supervised() == 0 {
            return malformed("a supervised token after its first");
        }
        if let Some(&id) = example.ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(TrainError::UnknownToken {
                row,
                id,
                vocab_size,
            });
        }
        if example.ids.len() > limit {
            return Err(TrainError::TooLong {
                row,
                tokens: example.ids.len(),
                limit,
            });
        }
    }
    // The losses of a validation set are by task, so one without would be left out.
    match data
        .valid
        .iter()
        .find(|example| example.task >= data.tasks.len())
    {
        Some(&Example { row, .. }) => {
            let what = "a task that has a name";
            Err(TrainError::Malformed { row, what })
        }
        None => Ok(()),
    }
}
