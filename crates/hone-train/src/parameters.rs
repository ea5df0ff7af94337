//! The parameters of the adapter that is trained: read, exchanged, written.

use std::path::Path;

use hone_model::{Model, write_beside};

use crate::error::TrainError;
use crate::run_dir::RunDir;

/// The adapter's numbers.
pub fn parameters(model: &Model) -> Result<Vec<f32>, TrainError> {
    let adapter = model.adapter().ok_or(TrainError::NoAdapter)?;
    Ok(adapter.parameters().to_vec()?)
}

/// Gives the adapter other numbers, and returns those it had.
pub fn exchange_parameters(model: &mut Model, others: &[f32]) -> Result<Vec<f32>, TrainError> {
    let had = parameters(model)?;
    let device = model.device().clone();
    let adapter = model.adapter_mut().ok_or(TrainError::NoAdapter)?;
    device.write(others, adapter.parameters_mut());
    Ok(had)
}

/// Writes it, with the files that belong beside it.
pub fn save_adapter(model: &Model, path: &Path, dir: &RunDir) -> Result<(), TrainError> {
    model.device().trim();
    let adapter = model.adapter().ok_or(TrainError::NoAdapter)?;
    write_beside(path, &dir.beside)?;
    Ok(adapter.save(path, model.config(), &dir.provenance, dir.save_dtype)?)
}
