//! Supervised fine-tuning: raise the likelihood of the tokens that the model should have said.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use hone_data::{Batch, Example, Sampler, micro_batches, within_budget};
use hone_ledger::{DirError, Seed};
use hone_model::{
    LossSum, Model, Packed, Param, PeftError, Provenance, Role, SaveDtype, StepOptions, StopSignal,
    write_beside,
};
use hone_tensor::{Tensor, TensorError};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, CheckpointError, Due, Note};
use crate::entries::Entries;
use crate::event::{Event, Sink, Stepped, TaskLoss, Validated};
use crate::optimizer::{AdamW, OptimizerKind};
use crate::plan::TrainingPlan;

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

/// Where a run leaves things.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Plan, data and base in one hash: a checkpoint of another run is refused.
    pub identity: String,
    /// Goes into the adapter's files.
    pub provenance: Provenance,
    /// How the adapter's numbers are written.
    pub save_dtype: SaveDtype,
    /// Files that every adapter is written with, by name: a tokenizer that has grown.
    pub beside: Vec<(String, Vec<u8>)>,
    /// What the run says of itself; kept in every checkpoint.
    pub record: Option<Vec<u8>>,
}

impl RunDir {
    /// The directory of a run, whose adapter is written in f32.
    pub fn new(path: &Path, identity: String, provenance: Provenance) -> Self {
        Self {
            path: path.to_path_buf(),
            identity,
            provenance,
            save_dtype: SaveDtype::F32,
            beside: vec![],
            record: None,
        }
    }

    /// The adapter with the lowest held-out loss, or the last where nothing is held out.
    pub fn adapter(&self) -> PathBuf {
        self.path.join("adapter")
    }

    /// The adapter after the last step.
    pub fn last(&self) -> PathBuf {
        self.path.join("last")
    }

    /// States to continue from.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }
}

/// Sums over the steps so far; they survive an interruption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Examples seen.
    pub examples: u64,
    /// Tokens seen.
    pub tokens: u64,
    /// Supervised tokens seen.
    pub supervised_tokens: u64,
    /// Their loss.
    pub nats: f64,
    /// Time spent in steps.
    pub seconds: f64,
    /// Time spent in validations, which the steps' does not count.
    #[serde(default)]
    pub validation_seconds: f64,
    /// Held-out loss before the first step.
    pub valid_loss_first: Option<f64>,
    /// Lowest held-out loss.
    pub valid_loss_best: Option<f64>,
    /// Steps taken when it was lowest.
    pub best_step: usize,
}

impl Totals {
    /// Mean training loss so far, in nats per supervised token.
    pub fn train_loss(&self) -> Option<f64> {
        LossSum {
            nats: self.nats,
            tokens: self.supervised_tokens,
        }
        .mean()
    }

    fn add(&mut self, stepped: &Stepped) {
        self.examples += stepped.examples as u64;
        self.tokens += stepped.tokens as u64;
        self.supervised_tokens += stepped.supervised_tokens;
        self.nats += stepped.loss * stepped.supervised_tokens as f64;
        self.seconds += stepped.seconds;
    }

    /// Takes note of a held-out loss; says whether it is the best.
    fn judge(&mut self, step: usize, loss: f64) -> bool {
        self.valid_loss_first.get_or_insert(loss);
        let best = self.valid_loss_best.is_none_or(|lowest| loss < lowest);
        if best {
            (self.valid_loss_best, self.best_step) = (Some(loss), step);
        }
        best
    }
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

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// No adapter on the model.
    #[error("the model has no adapter to train")]
    NoAdapter,
    /// Nothing to learn from.
    #[error("there are no examples to train on")]
    NoExamples,
    /// A token that the model does not know.
    #[error(
        "row {row} has token {id}, and the model knows {vocab_size}; tokenizer and weights do not belong together"
    )]
    UnknownToken {
        /// Row of the data.
        row: usize,
        /// The token.
        id: u32,
        /// How many the model knows.
        vocab_size: usize,
    },
    /// A sequence longer than the model was loaded for.
    #[error("row {row} has {tokens} tokens, and the model was loaded for {limit}")]
    TooLong {
        /// Row of the data.
        row: usize,
        /// Its tokens.
        tokens: usize,
        /// What the model takes.
        limit: usize,
    },
    /// The loss became infinite or not a number.
    #[error(
        "the loss of step {step} is not finite; its examples are rows {}",
        list(rows)
    )]
    NonFiniteLoss {
        /// Counted from 1.
        step: usize,
        /// Rows of the data in the micro-batch at fault.
        rows: Vec<usize>,
    },
    /// The gradient became infinite or not a number.
    #[error(
        "the gradient of step {step} is not finite; its examples are rows {}",
        list(rows)
    )]
    NonFiniteGradient {
        /// Counted from 1.
        step: usize,
        /// Rows of the data in the step.
        rows: Vec<usize>,
    },
    /// The adapter was put on without what it starts from.
    #[error("the adapter is to start from vectors of its base, and was put on without them")]
    NotBegun,
    /// The checkpoint belongs to another run.
    #[error("the checkpoint in `{}` was made with other data, another base or another plan", path.display())]
    OtherRun {
        /// Where.
        path: PathBuf,
    },
    /// The checkpoint's moments are of another kind.
    #[error("the checkpoint in `{}` was made with {made_with}, whose state {asked} cannot use", path.display())]
    OtherOptimizer {
        /// Where.
        path: PathBuf,
        /// What made it.
        made_with: OptimizerKind,
        /// What was to go on from it.
        asked: OptimizerKind,
    },
    /// Every checkpoint is damaged.
    #[error("no checkpoint in `{}` is intact: {reason}", path.display())]
    NoIntactCheckpoint {
        /// Where.
        path: PathBuf,
        /// What is wrong with the newest.
        reason: String,
    },
    /// Checkpoints cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The adapter cannot be written.
    #[error(transparent)]
    Adapter(#[from] PeftError),
    /// Whoever takes note cannot, or finds that the run is not worth going on with.
    #[error("{0}")]
    Sink(#[source] Box<dyn Error + Send + Sync>),
    /// The device failed.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl TrainError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            // The first step is computed with the adapter as it began, which changes nothing.
            Self::NonFiniteLoss { step: 1, .. } => vec![
                "nothing was trained before it, so the base itself gives no finite number for these rows: look at them, and fetch the base again if `hone generate` fails too".into(),
            ],
            Self::NonFiniteLoss { .. } | Self::NonFiniteGradient { .. } => vec![
                "begin again with a lower --lr, a longer --warmup-ratio or --clip 0.3, and a new --out; look at the rows too".into(),
                "--resume keeps the options, so it would end here again".into(),
            ],
            Self::OtherRun { .. } => vec![
                "put data, base and checkpoints back as they were when the run began, or begin another one with a new --out".into(),
            ],
            Self::UnknownToken { .. } => {
                vec!["fetch tokenizer and weights again, both from one place".into()]
            }
            Self::OtherOptimizer { made_with, .. } => vec![format!(
                "--optimizer {made_with} continues it; a new --out starts again"
            )],
            Self::NotBegun => vec!["put it on with `Model::begin`".into()],
            Self::NoIntactCheckpoint { .. } => vec!["start again with a new --out".into()],
            Self::Adapter(error) => error.hints(),
            _ => vec![],
        }
    }
}

fn list(rows: &[usize]) -> String {
    rows.iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join(", ")
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
    check(model, data)?;
    let sampler = sampler(data, plan)?;
    let Start {
        mut optimizer,
        first_step,
        mut totals,
        mut due,
        mut unchanged,
        mut best,
        damaged,
    } = begin(model, data, plan, dir, resume)?;
    let mut entries = entries(model, data, plan, &sampler, dir)?;
    model.device().reset_peak();

    let mut step = first_step;
    let mut is_saved = due.is_empty();
    loop {
        // What the held-out rows say of the unchanged adapter is asked after the first step: that a run works, and how
        // long it takes, should not wait for them.
        while let Some(&next) = due.first() {
            let judged = match next {
                Due::Changed => look(model, data, plan, dir, step, &mut totals, &mut best, sink),
                Due::Unchanged => {
                    let before = unchanged.take().expect("kept until it is judged");
                    let changed = exchange_parameters(model, &before)?;
                    let judged = look(model, data, plan, dir, 0, &mut totals, &mut best, sink);
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
            &mut entries,
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
    if !adapter.has_begun() {
        return Err(TrainError::NotBegun);
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
fn entries(
    model: &Model,
    data: Data,
    plan: &TrainingPlan,
    sampler: &Sampler,
    dir: &RunDir,
) -> Result<Option<Entries>, TrainError> {
    if !plan.activation_cache || plan.steps <= sampler.steps_per_epoch() {
        return Ok(None);
    }
    Ok(Entries::new(model, data.train, &dir.path)?)
}

/// One optimiser step, counted from 0.
fn take_step(
    model: &mut Model,
    data: Data,
    plan: &TrainingPlan,
    sampler: &Sampler,
    entries: &mut Option<Entries>,
    optimizer: &mut AdamW,
    step: usize,
) -> Result<Stepped, TrainError> {
    let started = Instant::now();
    let batch = sampler.batch(step);
    let (loss, grads) = accumulate(model, data, plan, &batch, entries, step)?;
    let examples: Vec<&Example> = batch.iter().map(|&i| &data.train[i]).collect();
    let lr = plan.learning_rate.at(step);
    let parameters = model
        .adapter_mut()
        .ok_or(TrainError::NoAdapter)?
        .parameters_mut();
    let grad_norm = optimizer.step(parameters, &grads, loss.tokens, lr)?;
    if !grad_norm.is_finite() {
        return Err(TrainError::NonFiniteGradient {
            step: step + 1,
            rows: examples.iter().map(|e| e.row).collect(),
        });
    }
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
    entries: &mut Option<Entries>,
    step: usize,
) -> Result<(LossSum, Tensor), TrainError> {
    let adapter = model.adapter().ok_or(TrainError::NoAdapter)?;
    let examples: Vec<&Example> = batch.iter().map(|&i| &data.train[i]).collect();
    let mut grads = model.device().zeros(1, adapter.num_parameters());
    let mut loss = LossSum::default();
    let mut rest = batch;
    let dropout = Seed::new(plan.seed).child("dropout").index(step as u64);
    for (micro, batch) in deal(&examples, plan).iter().enumerate() {
        let options = StepOptions {
            kept_layers: plan.kept_layers,
            activations: plan.activations,
            shortcuts: plan.shortcuts,
            dropout_seed: dropout.index(micro as u64).value(),
        };
        let (part, after) = rest.split_at(batch.num_examples());
        rest = after;
        let nats = with_packed(batch, |packed| match entries {
            None => model.loss_and_grads(packed, options, &mut grads),
            Some(entries) => {
                let entry = entries.of(model, part, packed)?;
                model.loss_and_grads_above(&entry, packed, options, &mut grads)
            }
        })?;
        let part: LossSum = nats.into_iter().collect();
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

/// A step's examples as micro-batches: as many as the plan accumulates, more where memory asks for it.
fn deal(examples: &[&Example], plan: &TrainingPlan) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut rest = examples;
    for batch in micro_batches(examples, plan.accumulate) {
        let (part, after) = rest.split_at(batch.num_examples());
        rest = after;
        if batch.ids.len() <= plan.max_tokens {
            batches.push(batch);
        } else {
            batches.extend(within_budget(part, plan.max_tokens));
        }
    }
    batches
}

/// Hands a batch to the engine, which wants rows and targets apart.
pub fn with_packed<R>(batch: &Batch, work: impl FnOnce(Packed) -> R) -> R {
    let (rows, targets): (Vec<usize>, Vec<u32>) =
        batch.targets.iter().map(|t| (t.row, t.token)).unzip();
    work(Packed {
        ids: &batch.ids,
        boundaries: &batch.boundaries,
        rows: &rows,
        targets: &targets,
    })
}

/// Judges the held-out examples and keeps the adapter if it is the best so far.
fn look(
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

/// Loss of each task over some examples, in micro-batches of at most `max_tokens`.
pub fn validate(
    model: &Model,
    examples: &[Example],
    tasks: &[String],
    max_tokens: usize,
) -> Result<Vec<(String, LossSum)>, TensorError> {
    let mut sums = vec![LossSum::default(); tasks.len()];
    for (task, sum) in sums.iter_mut().enumerate() {
        let of_task: Vec<&Example> = examples.iter().filter(|e| e.task == task).collect();
        for batch in within_budget(&of_task, max_tokens) {
            *sum += with_packed(&batch, |packed| model.nats(packed))?
                .into_iter()
                .collect();
        }
    }
    Ok(tasks.iter().cloned().zip(sums).collect())
}

/// Seconds that loss and gradients of a step take, counted from 0; nothing is changed.
pub fn measure_step(
    model: &Model,
    data: Data,
    plan: &TrainingPlan,
    step: usize,
) -> Result<f64, TrainError> {
    check(model, data)?;
    let batch = sampler(data, plan)?.batch(step);
    let started = Instant::now();
    accumulate(model, data, plan, &batch, &mut None, step)?;
    Ok(started.elapsed().as_secs_f64())
}

/// Deals the examples in the order that the plan's seed gives.
fn sampler(data: Data, plan: &TrainingPlan) -> Result<Sampler, TrainError> {
    let seed = Seed::new(plan.seed).child("shuffle");
    Sampler::new(data.train.len(), plan.batch_size, seed).ok_or(TrainError::NoExamples)
}

/// Refuses examples that the model cannot take, before an hour is spent.
fn check(model: &Model, data: Data) -> Result<(), TrainError> {
    let (vocab_size, limit) = (model.config().vocab_size, model.max_positions());
    for example in data.train.iter().chain(data.valid) {
        let row = example.row;
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
    Ok(())
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
