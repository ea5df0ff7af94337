//! Floats of eight bits with a scale for the tensor, for each row, or for blocks.

use hone_tensor::{ScaleGrid, StoredMatrix};
use safetensors::tensor::Dtype;

use super::Layer;
use super::QuantisedError;
use crate::weights::located::Located;

/// DeepSeek's name for the scale that codes are multiplied by, and everybody else's.
const SCALES: [&str; 2] = ["_scale_inv", "_scale"];

/// The tensors beside a weight. Scales of activations belong to kernels that round those too.
pub(super) fn parts(name: &str, located: &Located) -> Vec<String> {
    let Some(layer) = name.strip_suffix(".weight") else {
        return Vec::new();
    };
    if located.info.dtype != Dtype::F8_E4M3 {
        return Vec::new();
    }
    let scales = SCALES.map(|end| format!("{name}{end}"));
    let activations = ["input_scale", "activation_scale"].map(|end| format!("{layer}.{end}"));
    scales.into_iter().chain(activations).collect()
}

pub(super) fn matrix(
    layer: &Layer,
    block: Option<(usize, usize)>,
) -> Result<StoredMatrix, QuantisedError> {
    let codes = layer.need(layer.name)?;
    let [rows, cols] = codes.info.shape[..] else {
        let shape = &codes.info.shape;
        let problem = format!("has shape {shape:?}; a weight has one or two axes");
        return Err(codes.wrong(layer.name, problem));
    };
    let [inverse, plain] = SCALES.map(|end| format!("{}{end}", layer.name));
    let name = match (layer.get(&inverse), layer.get(&plain)) {
        (Some(both), Some(_)) => {
            return Err(both.wrong(layer.name, "has two scales, and must have one"));
        }
        (Some(_), None) => inverse,
        _ => plain,
    };
    let located = layer.need(&name)?;
    let shape = &located.info.shape;
    let (block_rows, block_cols) = match (&shape[..], block) {
        ([] | [1] | [1, 1], _) => (rows, cols),
        ([count] | [count, 1], None) if *count == rows => (1, cols),
        ([down, across], Some((block_rows, block_cols)))
            if *down == rows.div_ceil(block_rows) && *across == cols.div_ceil(block_cols) =>
        {
            (block_rows, block_cols)
        }
        _ => {
            let blocks = match block {
                Some((rows, cols)) => format!("blocks of {rows} × {cols}"),
                None => "no blocks".into(),
            };
            let problem = format!(
                "has shape {shape:?}, which scales no {rows} × {cols} matrix; the configuration names {blocks}"
            );
            return Err(located.wrong(&name, problem));
        }
    };
    let grid = ScaleGrid {
        block_rows,
        block_cols,
        scales: layer.numbers(&name)?,
    };
    StoredMatrix::fp8(rows, cols, codes.bytes.clone(), grid).map_err(|source| {
        QuantisedError::Matrix {
            path: codes.path.clone(),
            tensor: layer.name.to_owned(),
            source,
        }
    })
}
