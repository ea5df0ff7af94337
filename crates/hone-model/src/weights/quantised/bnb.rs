//! bitsandbytes' four bits: codes in the file, scales beside them, and a note in JSON that says how they go together.

use hone_tensor::{Format, StoredMatrix, nf4};
use nf4::Nf4Scales;
use safetensors::tensor::Dtype;
use serde::Deserialize;

use super::QuantisedError;
use super::{Layer, Tensors};

/// What `X.weight.quant_state.bitsandbytes__TYPE` says. Fields that say nothing of the numbers are not named.
#[derive(Deserialize)]
struct State {
    quant_type: String,
    blocksize: usize,
    shape: Vec<usize>,
    nested_blocksize: Option<usize>,
    /// An f32 as JSON writes it.
    nested_offset: Option<f64>,
}

/// The tensors beside a weight.
pub(super) fn parts(name: &str, tensors: &Tensors) -> Vec<String> {
    let prefix = format!("{name}.");
    let beside = tensors.range(prefix.clone()..);
    beside
        .map(|(part, _)| part.clone())
        .take_while(|part| part.starts_with(&prefix))
        .collect()
}

pub(super) fn matrix(layer: &Layer) -> Result<StoredMatrix, QuantisedError> {
    let codes = layer.need(layer.name)?;
    let wrong = |problem: String| codes.wrong(layer.name, problem);
    let state = read_state(layer)?;
    let (format, levels) = match state.quant_type.as_str() {
        "nf4" => (Format::Nf4, &nf4::LEVELS),
        "fp4" => (Format::Fp4, &nf4::FP4_LEVELS),
        other => {
            return Err(wrong(format!(
                "is quantised as `{other}`; Hone reads nf4 and fp4"
            )));
        }
    };
    let map = format!("{}.quant_map", layer.name);
    if layer.numbers(&map)? != levels {
        let problem = format!("holds other levels than those of {}", state.quant_type);
        return Err(layer.need(&map)?.wrong(&map, problem));
    }
    let (rows, cols) = match state.shape[..] {
        [cols] => (1, cols),
        [rows, cols] => (rows, cols),
        _ => {
            let shape = &state.shape;
            return Err(wrong(format!(
                "has shape {shape:?}; a weight has one or two axes"
            )));
        }
    };
    let scales = scales(layer, &state)?;
    let bytes = codes.bytes.clone();
    StoredMatrix::four_bit(format, rows, cols, bytes, state.blocksize, scales).map_err(|source| {
        QuantisedError::Matrix {
            path: codes.path.clone(),
            tensor: layer.name.to_owned(),
            source,
        }
    })
}

fn read_state(layer: &Layer) -> Result<State, QuantisedError> {
    let prefix = format!("{}.quant_state.", layer.name);
    let notes: Vec<String> = parts(layer.name, layer.tensors)
        .into_iter()
        .filter(|part| part.starts_with(&prefix))
        .collect();
    let [note] = &notes[..] else {
        let located = layer.need(layer.name)?;
        let problem = match notes.len() {
            0 => format!("holds bytes, but no `{prefix}bitsandbytes__nf4` says what they are"),
            count => format!("has {count} quantisation states, and must have one"),
        };
        return Err(located.wrong(layer.name, problem));
    };
    let located = layer.need(note)?;
    if located.info.dtype != Dtype::U8 {
        let problem = format!("is {:?}, and must be text in bytes", located.info.dtype);
        return Err(located.wrong(note, problem));
    }
    serde_json::from_slice(located.bytes.as_slice())
        .map_err(|error| located.wrong(note, format!("is not a quantisation state: {error}")))
}

fn scales(layer: &Layer, state: &State) -> Result<Nf4Scales, QuantisedError> {
    let name = format!("{}.absmax", layer.name);
    let absmax = layer.need(&name)?;
    if absmax.info.dtype != Dtype::U8 {
        return layer.numbers(&name).map(Nf4Scales::Plain);
    }
    let nested_map = format!("{}.nested_quant_map", layer.name);
    if layer.numbers(&nested_map)? != nf4::dynamic_map() {
        let problem = "holds another code than bitsandbytes' dynamic one";
        return Err(layer.need(&nested_map)?.wrong(&nested_map, problem));
    }
    let (Some(nf4::NESTED_BLOCK), Some(offset)) = (state.nested_blocksize, state.nested_offset)
    else {
        let problem = format!(
            "has nested scales in blocks of {:?} with offset {:?}; blocks are of {}",
            state.nested_blocksize,
            state.nested_offset,
            nf4::NESTED_BLOCK
        );
        return Err(absmax.wrong(layer.name, problem));
    };
    Ok(Nf4Scales::Double {
        codes: absmax.bytes.as_slice().to_vec(),
        nested: layer.numbers(&format!("{}.nested_absmax", layer.name))?,
        offset: offset as f32,
    })
}
