//! Where a run begins: with a fresh adapter, or with what the newest intact checkpoint holds.

use hone_ledger::DirError;
use hone_model::{Model, Param, Role};

use crate::checkpoint::{Checkpoint, Due, Note};
use crate::data::Data;
use crate::error::TrainError;
use crate::optimizer::AdamW;
use crate::parameters::{exchange_parameters, parameters, save_adapter};
use crate::plan::TrainingPlan;
use crate::run_dir::RunDir;
use crate::totals::Totals;

pub(crate) struct Start {
    pub optimizer: AdamW,
    pub first_step: usize,
    pub totals: Totals,
    /// Validations that the checkpoint still owes.
    pub due: Vec<Due>,
    /// The adapter before the first step, where it is still to be judged.
    pub unchanged: Option<Vec<f32>>,
    /// The adapter of the lowest validation loss so far.
    pub best: Option<Vec<f32>>,
    pub damaged: usize,
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
pub(crate) fn begin(
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
