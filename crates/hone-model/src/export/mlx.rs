//! An adapter as mlx-lm keeps it: `adapters.safetensors` with transposed halves, and a configuration of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use hone_ledger::write_whole;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use super::ExportError;
use crate::adapter::{AdapterWeights, LoraPair, PeftError, expert_of};
use crate::arch::DecoderConfig;
use crate::weights::WriterError;

const FORMAT: &str = "an MLX adapter";
const WEIGHTS: &str = "adapters.safetensors";
const CONFIG: &str = "adapter_config.json";

/// Writes `adapters.safetensors` and `adapter_config.json` into `dir`, which exists. mlx-lm has one rank and one scale
/// for all modules; where they differ they go into the numbers.
pub fn write_mlx_adapter(
    parts: &AdapterWeights,
    base: &DecoderConfig,
    dir: &Path,
) -> Result<(), ExportError> {
    let unplaced = |part: String| ExportError::Unplaced {
        format: FORMAT,
        part,
    };
    let pairs = AdapterWeights {
        pairs: BTreeMap::new(),
        ..parts.clone()
    };
    if let Some(part) = pairs.beyond_pairs() {
        return Err(unplaced(part));
    }
    let with =
        |has: &dyn Fn(&LoraPair) -> bool| parts.pairs.values().filter(|pair| has(pair)).count();
    if with(&|pair| pair.bias.is_some()) > 0 {
        return Err(unplaced("biases".into()));
    }
    if let Some(path) = parts.pairs.keys().find(|path| expert_of(path).is_some()) {
        return Err(unplaced(format!(
            "an adapter on experts one by one, as `{path}`"
        )));
    }
    if let Some(path) = parts.parameters.first() {
        return Err(unplaced(format!("a router, as `{path}`")));
    }
    let dora = with(&|pair| pair.magnitude.is_some());
    if dora > 0 && dora < parts.pairs.len() {
        return Err(unplaced("DoRA's magnitudes on some modules only".into()));
    }
    let first = parts
        .pairs
        .values()
        .next()
        .ok_or_else(|| unplaced("no module".into()))?;
    let is_even = |pair: &LoraPair| pair.rank == first.rank && pair.scale == first.scale;
    let even = match parts.pairs.values().all(is_even) {
        true => parts.clone(),
        false => parts.uniform(),
    };
    let (rank, scale) = even
        .pairs
        .values()
        .next()
        .map_or((0, 1.0), |pair| (pair.rank, pair.scale));
    let mut keys = BTreeSet::new();
    let mut lowest = base.num_layers;
    for module in even.pairs.keys() {
        let inside = module
            .strip_prefix("model.layers.")
            .and_then(|rest| rest.split_once('.'));
        let (layer, key) =
            inside.ok_or_else(|| unplaced(format!("`{module}`, which is in no layer")))?;
        lowest = lowest.min(layer.parse().unwrap_or(lowest));
        keys.insert(key.to_owned());
    }
    let config = json!({
        "fine_tune_type": if dora > 0 { "dora" } else { "lora" },
        "num_layers": base.num_layers - lowest,
        "lora_parameters": {
            "rank": rank,
            "scale": shortest(scale),
            "dropout": shortest(even.dropout),
            "keys": keys,
        },
        "model": even.provenance.base_name,
    });
    let config = serde_json::to_string_pretty(&config).expect("plain values are JSON");
    let write =
        |name: &str, bytes: &[u8]| write_whole(&dir.join(name), bytes).map_err(WriterError::from);
    write(WEIGHTS, &to_bytes(&even))?;
    Ok(write(CONFIG, config.as_bytes())?)
}

/// Through the shortest decimal form, so that 0.1 does not become 0.10000000149.
fn shortest(x: f32) -> Value {
    x.to_string()
        .parse::<f64>()
        .map_or(Value::Null, |x| json!(x))
}

fn to_bytes(parts: &AdapterWeights) -> Vec<u8> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let bytes = |values: &[f32]| {
        values
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    for (module, pair) in &parts.pairs {
        let (a, b) = (
            transposed(&pair.a, pair.rank),
            transposed(&pair.b, pair.out),
        );
        tensors.push((
            format!("{module}.lora_a"),
            vec![pair.width, pair.rank],
            bytes(&a),
        ));
        tensors.push((
            format!("{module}.lora_b"),
            vec![pair.rank, pair.out],
            bytes(&b),
        ));
        if let Some(magnitude) = &pair.magnitude {
            tensors.push((format!("{module}.m"), vec![pair.out], bytes(magnitude)));
        }
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view =
            TensorView::new(Dtype::F32, shape.clone(), bytes).expect("the shape takes these bytes");
        (name.as_str(), view)
    });
    let metadata = HashMap::from([("format".to_owned(), "mlx".to_owned())]);
    safetensors::serialize(views, Some(metadata)).expect("names and shapes are in order")
}

/// A row-major matrix of so many rows, its axes swapped.
fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
    let cols = values.len() / rows.max(1);
    (0..cols)
        .flat_map(|col| (0..rows).map(move |row| values[row * cols + col]))
        .collect()
}

/// Reads an MLX adapter back: what mlx-lm would apply.
pub fn read_mlx_adapter(dir: &Path) -> Result<AdapterWeights, ExportError> {
    let path = dir.join(WEIGHTS);
    let unreadable = |reason: String| ExportError::Unreadable {
        path: path.clone(),
        reason,
    };
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read(&path).map_err(|source| ExportError::Peft(PeftError::Read { path, source }))
    };
    let config: Value =
        serde_json::from_slice(&read(CONFIG)?).map_err(|error| unreadable(error.to_string()))?;
    let scale = config["lora_parameters"]["scale"].as_f64();
    let scale = scale.ok_or_else(|| unreadable("the configuration has no scale".into()))? as f32;
    let file = read(WEIGHTS)?;
    let tensors = SafeTensors::deserialize(&file).map_err(|error| unreadable(error.to_string()))?;
    let matrix = |name: &str| -> Result<(Vec<usize>, Vec<f32>), ExportError> {
        let view = tensors
            .tensor(name)
            .map_err(|error| unreadable(error.to_string()))?;
        let chunks = view.data().as_chunks::<4>().0.iter();
        Ok((
            view.shape().to_vec(),
            chunks.map(|b| f32::from_le_bytes(*b)).collect(),
        ))
    };
    let mut parts = AdapterWeights::default();
    for name in tensors.names() {
        let Some(module) = name.strip_suffix(".lora_a") else {
            continue;
        };
        let ((a_shape, a), (b_shape, b)) = (matrix(name)?, matrix(&format!("{module}.lora_b"))?);
        let ([width, rank], [_, out]) = (&a_shape[..], &b_shape[..]) else {
            return Err(unreadable(format!("`{name}` is no matrix")));
        };
        let pair = LoraPair {
            rank: *rank,
            width: *width,
            out: *out,
            scale,
            a: transposed(&a, *width),
            b: transposed(&b, *rank),
            magnitude: matrix(&format!("{module}.m"))
                .ok()
                .map(|(_, magnitude)| magnitude),
            bias: None,
        };
        parts.pairs.insert(module.to_owned(), pair);
    }
    Ok(parts)
}
