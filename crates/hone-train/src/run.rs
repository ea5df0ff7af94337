//! The loop of a run: the order of the data, steps, accumulation, validations, checkpoints and events.
//!
//! What a loss is made of is the objective's; see `objective/`.

use std::path::Path;
use std::time::Instant;

use hone_data::{Batch, Example, Sampler, micro_batches, within_budget};
use hone_ledger::{DirError, Seed};
use hone_model::{LossSum, Model, Param, Role, StepOptions, StopSignal, write_beside};
use hone_tensor::{Tensor, TensorError};

use crate::activation_cache::ActivationCache;
use crate::checkpoint::{Checkpoint, Due, Note};
use crate::error::TrainError;
use crate::event::{Event, Sink, Stepped, TaskLoss, Validated};
use crate::objective::supervised::{WeightedLoss, loss_and_grads, validate, with_packed};
use crate::optimizer::{AdamW, OptimizerError};
use crate::plan::TrainingPlan;
use crate::run_dir::RunDir;
use crate::totals::Totals;

/// What a run learns from and is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// Examples to learn from.
    pub train: &'a [Example],
    /// Held-out examples; may be none.
    pub valid: &'a [Example],
    /// Names of the tasks that examples refer to.
    pub tasks: &'a [String],
}

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
    let Start {
        mut optimizer,
        first_step,
        mut totals,
        mut due,
        mut unchanged,
        mut best,
        damaged,
    } = begin(model, data, plan, dir, resume)?;
    let mut cache = activation_cache(model, data, plan, &sampler, dir)?;
    model.device().reset_peak();

    let mut step = first_step;
    let mut is_saved = due.is_empty();
    loop {
        // What the held-out rows say of the unchanged adapter is asked after the first step: that a run works, and how
        // long it takes, should not wait for them.
        while let Some(&next) = due.first() {
            let judged = match next {
                Due::Changed => {
                    evaluate(model, data, plan, dir, step, &mut totals, &mut best, sink)
                }
                Due::Unchanged => {
                    let before = unchanged.take().expect("kept until it is judged");
                    let changed = exchange_parameters(model, &before)?;
                    let judged = evaluate(model, data, plan, dir, 0, &mut totals, &mut best, sink);
                    exchange_parameters(model, &changed)?;
                    judged
                }
            };
            if unless_stopped(judged)?.is_none() {
                return interrupted(model, &optimizer, dir, step, totals, due, &mut best, sink);
            }
            due.remove(0);
        }
        let last = step == plan.steps;
        if !is_saved && (step % plan.save_every == 0 || last) {
            save(model, &optimizer, dir, step, totals, vec![], &mut best)?;
            emit(sink, Event::Saved { step })?;
        }
        if last {
            break;
        }
        if stop.is_raised() {
            return interrupted(model, &optimizer, dir, step, totals, due, &mut best, sink);
        }
        let taken = take_step(
            model,
            data,
            plan,
            &sampler,
            &mut cache,
            &mut optimizer,
            step,
        );
        let Some(stepped) = unless_stopped(taken)? else {
            return interrupted(model, &optimizer, dir, step, totals, due, &mut best, sink);
        };
        totals.add(&stepped);
        emit(sink, Event::Stepped(stepped))?;
        step += 1;
        is_saved = false;
        due = due_after(step, data, plan);
    }

    save_adapter(model, &dir.last(), dir)?;
    if data.valid.is_empty() {
        save_adapter(model, &dir.adapter(), dir)?;
    }
    let peak_bytes = model.device().memory().peak_bytes;
    Ok(Outcome::Finished(Finished {
        totals,
        steps: plan.steps,
        peak_bytes,
        damaged,
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

/// Saves what there is after so many steps, and what they still owe.
fn interrupted(
    model: &Model,
    optimizer: &AdamW,
    dir: &RunDir,
    step: usize,
    totals: Totals,
    due: Vec<Due>,
    best: &mut Option<Vec<f32>>,
    sink: &mut dyn Sink,
) -> Result<Outcome, TrainError> {
    save(model, optimizer, dir, step, totals, due, best)?;
    emit(sink, Event::Saved { step })?;
    Ok(Outcome::Interrupted { step })
}

struct Start {
    optimizer: AdamW,
    first_step: usize,
    totals: Totals,
    /// Validations that the checkpoint still owes.
    due: Vec<Due>,
    /// The adapter before the first step, where it is still to be judged.
    unchanged: Option<Vec<f32>>,
    /// The adapter of the lowest validation loss so far.
    best: Option<Vec<f32>>,
    damaged: usize,
}

impl Note {
    /// Refuses to go on from the checkpoint of another run, or with an optimiser that cannot use its moments.
    pub fn refuse_other(&self, dir: &RunDir, plan: &TrainingPlan) -> Result<(), TrainError> {
        let path = dir.checkpoints();
        let (made_with, asked) = (self.optimizer, plan.optimizer.kind);
        if !asked.has_state_of(made_with) {
            return Err(TrainError::OtherOptimizer {
                path,
                made_with,
                asked,
            });
        }
        match self.identity == dir.identity {
            true => Ok(()),
            false => Err(TrainError::OtherRun { path }),
        }
    }
}

/// From nothing, or from the newest intact checkpoint.
fn begin(
    model: &mut Model,
    data: Data,
    plan: &TrainingPlan,
    dir: &RunDir,
    resume: bool,
) -> Result<Start, TrainError> {
    let device = model.device().clone();
    // A fresh adapter is the same each time, so what was judged or not before a stop can be judged after it.
    let unchanged = parameters(model)?;
    let adapter = model.adapter_mut().ok_or(TrainError::NoAdapter)?;
    if !adapter.is_initialized() {
        return Err(TrainError::NotInitialized);
    }
    let matrices = adapter.matrices();
    let lengths: Vec<usize> = matrices.iter().map(Param::size).collect();
    let of_matrix = |matrix: &Param| (matrix.size(), matrix.role());
    let tensors: Vec<(usize, Role)> = matrices.iter().map(of_matrix).collect();
    let (found, damaged) = if resume {
        Checkpoint::newest(&dir.checkpoints())?
    } else {
        (None, vec![])
    };
    let Some(checkpoint) = found else {
        let path = dir.checkpoints();
        let reason = |error: &DirError| TrainError::NoIntactCheckpoint {
            path,
            reason: error.to_string(),
        };
        if let Some(error) = damaged.first() {
            return Err(reason(error));
        }
        let optimizer = AdamW::new(plan.optimizer, &tensors, &device, &dir.path)?;
        return Ok(Start {
            optimizer,
            first_step: 0,
            totals: Totals::default(),
            due: vec![],
            unchanged: (!data.valid.is_empty()).then_some(unchanged),
            best: None,
            damaged: 0,
        });
    };
    checkpoint.note.refuse_other(dir, plan)?;
    let made_with = checkpoint.note.optimizer;
    let numbers = adapter.num_parameters();
    if checkpoint.parameters.len() != numbers
        || checkpoint
            .best
            .as_ref()
            .is_some_and(|best| best.len() != numbers)
        || checkpoint.first.len() != made_with.num_words(&lengths)
    {
        return Err(TrainError::OtherRun {
            path: dir.checkpoints(),
        });
    }
    Checkpoint::tidy(&dir.checkpoints(), checkpoint.note.step)?;
    device.write(&checkpoint.parameters, adapter.parameters_mut());
    let Note {
        step, totals, due, ..
    } = checkpoint.note;
    let mut optimizer = AdamW::new(plan.optimizer, &tensors, &device, &dir.path)?;
    optimizer.restore(&checkpoint.first, &checkpoint.second, step as u64);
    if let Some(best) = &checkpoint.best {
        // What lies there may be damaged, gone, or of a step that was lost.
        let current = exchange_parameters(model, best)?;
        save_adapter(model, &dir.adapter(), dir)?;
        exchange_parameters(model, &current)?;
    }
    let is_unjudged = step == 0 || due.contains(&Due::Unchanged);
    Ok(Start {
        optimizer,
        first_step: step,
        totals,
        due,
        unchanged: (is_unjudged && !data.valid.is_empty()).then_some(unchanged),
        best: checkpoint.best,
        damaged: damaged.len(),
    })
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

/// One optimiser step, counted from 0.
fn take_step(
    model: &mut Model,
    data: Data,
    plan: &TrainingPlan,
    sampler: &Sampler,
    cache: &mut Option<ActivationCache>,
    optimizer: &mut AdamW,
    step: usize,
) -> Result<Stepped, TrainError> {
    let started = Instant::now();
    let batch = sampler.batch(step);
    let (loss, grads) = accumulate(model, data, plan, &batch, cache, step)?;
    let examples: Vec<&Example> = batch.iter().map(|&i| &data.train[i]).collect();
    let lr = plan.learning_rate.at(step);
    let parameters = model
        .adapter_mut()
        .ok_or(TrainError::NoAdapter)?
        .parameters_mut();
    let grad_norm = match optimizer.step(parameters, &grads, loss.weight, lr) {
        Err(OptimizerError::NonFiniteGradient) => Err(TrainError::NonFiniteGradient {
            step: step + 1,
            rows: examples.iter().map(|e| e.row).collect(),
        }),
        Err(OptimizerError::NonFiniteParameters { lr }) => {
            Err(TrainError::NonFiniteParameters { step: step + 1, lr })
        }
        stepped => Ok(stepped?),
    }?;
    Ok(Stepped {
        step: step + 1,
        epoch: step / sampler.steps_per_epoch(),
        loss: loss
            .mean()
            .expect("encoding keeps only examples with a supervised token"),
        lr,
        grad_norm,
        examples: examples.len(),
        tokens: examples.iter().map(|e| e.ids.len()).sum(),
        supervised_tokens: loss.tokens,
        seconds: started.elapsed().as_secs_f64(),
        peak_bytes: model.device().memory().peak_bytes,
    })
}

/// Loss and gradient sums over a step's micro-batches.
fn accumulate(
    model: &Model,
    data: Data,
    plan: &TrainingPlan,
    batch: &[usize],
    cache: &mut Option<ActivationCache>,
    step: usize,
) -> Result<(WeightedLoss, Tensor), TrainError> {
    let adapter = model.adapter().ok_or(TrainError::NoAdapter)?;
    let examples: Vec<&Example> = batch.iter().map(|&i| &data.train[i]).collect();
    let mut grads = model.device().zeros(1, adapter.num_parameters());
    let mut loss = WeightedLoss::default();
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
        let part = loss_and_grads(model, batch, options, entry.as_ref(), &mut grads)?;
        if !part.nats.is_finite() {
            return Err(TrainError::NonFiniteLoss {
                step: step + 1,
                rows: examples.iter().map(|e| e.row).collect(),
            });
        }
        loss += part;
    }
    Ok((loss, grads))
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

/// Evaluates the validation set and keeps the adapter if it is the best so far.
fn evaluate(
    model: &Model,
    data: Data,
    plan: &TrainingPlan,
    dir: &RunDir,
    step: usize,
    totals: &mut Totals,
    best: &mut Option<Vec<f32>>,
    sink: &mut dyn Sink,
) -> Result<(), TrainError> {
    if data.valid.is_empty() {
        return Ok(());
    }
    let started = Instant::now();
    let tasks = validate(model, data.valid, data.tasks, plan.max_tokens)?;
    let mut sum = LossSum::default();
    for (_, part) in &tasks {
        sum += *part;
    }
    let loss = sum
        .mean()
        .expect("held-out examples have supervised tokens");
    let is_best = totals.judge(step, loss);
    if is_best {
        save_adapter(model, &dir.adapter(), dir)?;
        *best = Some(parameters(model)?);
    }
    let task = |(task, sum): (String, LossSum)| {
        Some(TaskLoss {
            task,
            loss: sum.mean()?,
            tokens: sum.tokens,
        })
    };
    let tasks = tasks.into_iter().filter_map(task).collect();
    let seconds = started.elapsed().as_secs_f64();
    totals.validation_seconds += seconds;
    emit(
        sink,
        Event::Validated(Validated {
            step,
            loss,
            tokens: sum.tokens,
            tasks,
            best: is_best,
            seconds,
        }),
    )
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

/// The adapter's numbers.
fn parameters(model: &Model) -> Result<Vec<f32>, TrainError> {
    let adapter = model.adapter().ok_or(TrainError::NoAdapter)?;
    Ok(adapter.parameters().to_vec()?)
}

/// Gives the adapter other numbers, and returns those it had.
fn exchange_parameters(model: &mut Model, others: &[f32]) -> Result<Vec<f32>, TrainError> {
    let had = parameters(model)?;
    let device = model.device().clone();
    let adapter = model.adapter_mut().ok_or(TrainError::NoAdapter)?;
    device.write(others, adapter.parameters_mut());
    Ok(had)
}

fn save(
    model: &Model,
    optimizer: &AdamW,
    dir: &RunDir,
    step: usize,
    totals: Totals,
    due: Vec<Due>,
    best: &mut Option<Vec<f32>>,
) -> Result<(), TrainError> {
    // What is written is copied first; the room of activations is free between two steps.
    model.device().trim();
    let parameters = parameters(model)?;
    let (first, second) = optimizer.moments()?;
    let note = Note {
        step,
        identity: dir.identity.clone(),
        optimizer: optimizer.kind(),
        totals,
        due,
    };
    let checkpoint = Checkpoint {
        note,
        parameters,
        first,
        second,
        // Lent, so that it is not in memory twice.
        best: best.take(),
        record: dir.record.clone(),
    };
    let saved = checkpoint.save(&dir.checkpoints());
    *best = checkpoint.best;
    Ok(saved?)
}

fn save_adapter(model: &Model, path: &Path, dir: &RunDir) -> Result<(), TrainError> {
    model.device().trim();
    let adapter = model.adapter().ok_or(TrainError::NoAdapter)?;
    write_beside(path, &dir.beside)?;
    Ok(adapter.save(path, model.config(), &dir.provenance, dir.save_dtype)?)
}

fn emit(sink: &mut dyn Sink, event: Event) -> Result<(), TrainError> {
    sink.emit(&event).map_err(TrainError::Sink)
}
