//! An adapter as GGUF, for llama.cpp and Ollama.
//!
//! llama.cpp multiplies with `alpha / rank`, one alpha for the whole file and the rank of each tensor. Its own converter
//! copies `lora_alpha` and so gets rsLoRA and per-module alphas wrong; here what a module's scale differs from that is
//! put into its `B`.

use std::collections::BTreeMap;
use std::path::Path;

use hone_tensor::Format;

use super::ExportError;
use super::gguf_names::gguf_order;
use crate::adapter::{LoraPair, LoraParts};
use crate::weights::{DecoderConfig, Gguf, GgufTensor, GgufWriter, Typed};

const FORMAT: &str = "a GGUF adapter";

/// Writes a LoRA adapter for the base of this shape. Numbers are f32.
pub fn write_gguf_adapter(
    parts: &LoraParts,
    base: &DecoderConfig,
    name: &str,
    path: &Path,
) -> Result<(), ExportError> {
    if let Some(part) = parts.beyond_pairs() {
        return Err(ExportError::Unplaced {
            format: FORMAT,
            part,
        });
    }
    let alpha = alpha_of(parts);
    let architecture = base
        .gguf_architecture()
        .ok_or_else(|| ExportError::Unsupported {
            format: FORMAT,
            what: format!("{} models", base.model_type),
        })?;
    let text = |text: &str| Typed::Text(text.to_owned());
    let metadata = [
        ("general.type", text("adapter")),
        ("general.architecture", text(architecture)),
        ("general.name", text(name)),
        ("adapter.type", text("lora")),
        ("adapter.lora.alpha", Typed::F32(alpha)),
    ];
    let metadata: Vec<(String, Typed)> =
        metadata.map(|(key, value)| (key.to_owned(), value)).into();
    let (mut tensors, mut numbers) = (Vec::new(), Vec::new());
    for (module, pair) in &parts.pairs {
        let tensor = gguf_tensor(base, module)?;
        let mut push = |half: &str, rows: usize, cols: usize, values: Vec<f32>| {
            tensors.push(GgufTensor {
                name: format!("{tensor}.lora_{half}"),
                dims: vec![cols, rows],
                format: Format::F32,
            });
            numbers.push(values);
        };
        push("a", pair.rank, pair.width, pair.a.clone());
        push("b", pair.out, pair.rank, b_of(base, module, pair, alpha));
    }
    let mut writer = GgufWriter::create(path, &metadata, &tensors)?;
    for (tensor, values) in tensors.iter().zip(numbers) {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        writer.append(&tensor.name, &bytes)?;
    }
    Ok(writer.finish()?)
}

/// The alpha that most modules have, so that most keep their numbers to the last bit.
fn alpha_of(parts: &LoraParts) -> f32 {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for pair in parts.pairs.values() {
        *counts
            .entry((pair.scale * pair.rank as f32).to_bits())
            .or_default() += 1;
    }
    let commonest = counts.into_iter().max_by_key(|(_, count)| *count);
    commonest.map_or(1.0, |(bits, _)| f32::from_bits(bits))
}

/// `B` in the order of GGUF's rows, with what its scale differs from `alpha / rank`.
fn b_of(base: &DecoderConfig, module: &str, pair: &LoraPair, alpha: f32) -> Vec<f32> {
    let factor = pair.scale * pair.rank as f32 / alpha;
    let order = gguf_order(base, &format!("{module}.weight"), pair.out);
    let row = |row: usize| {
        let source = order.as_ref().map_or(row, |order| order(row));
        pair.b[source * pair.rank..][..pair.rank]
            .iter()
            .map(move |x| x * factor)
    };
    (0..pair.out).flat_map(row).collect()
}

fn gguf_tensor(base: &DecoderConfig, module: &str) -> Result<String, ExportError> {
    let tensor = base.gguf_name(&format!("{module}.weight"));
    tensor.ok_or_else(|| ExportError::Unplaced {
        format: FORMAT,
        part: format!("`{module}`"),
    })
}

/// Reads a GGUF adapter back, for the base of this shape: what llama.cpp would apply.
pub fn read_gguf_adapter(path: &Path, base: &DecoderConfig) -> Result<LoraParts, ExportError> {
    let gguf = Gguf::open(path)?;
    let malformed = ExportError::malformed(path);
    let unreadable = |reason: String| ExportError::Unreadable {
        path: path.to_path_buf(),
        reason,
    };
    for (key, expected) in [("general.type", "adapter"), ("adapter.type", "lora")] {
        let found = gguf.str(key).map_err(&malformed)?;
        if found != Some(expected) {
            return Err(unreadable(format!("`{key}` is {found:?}, not {expected}")));
        }
    }
    let alpha = gguf
        .f32("adapter.lora.alpha")
        .map_err(&malformed)?
        .unwrap_or(0.0);
    let mut parts = LoraParts::default();
    let mut left: Vec<&str> = gguf.tensors().map(|(name, _)| name).collect();
    for site in base.sites() {
        let module = site.path();
        let Some(tensor) = base.gguf_name(&format!("{module}.weight")) else {
            continue;
        };
        let half = |half: &str| {
            let name = format!("{tensor}.lora_{half}");
            gguf.matrix(&name).transpose().map_err(&malformed)
        };
        let (Some(a), Some(b)) = (half("a")?, half("b")?) else {
            continue;
        };
        left.retain(|name| !name.starts_with(&format!("{tensor}.")));
        let rank = b.cols();
        let (stored, mut rows) = (b.to_f32(), vec![0.0; b.rows() * rank]);
        let order = gguf_order(base, &format!("{module}.weight"), b.rows());
        for (row, values) in stored.chunks_exact(rank).enumerate() {
            let source = order.as_ref().map_or(row, |order| order(row));
            rows[source * rank..][..rank].copy_from_slice(values);
        }
        let pair = LoraPair {
            rank,
            width: a.cols(),
            out: b.rows(),
            // A missing alpha reads as 0, and then nothing is divided.
            scale: if alpha == 0.0 {
                1.0
            } else {
                alpha / rank as f32
            },
            a: a.to_f32(),
            b: rows,
            magnitude: None,
            bias: None,
        };
        parts.pairs.insert(module, pair);
    }
    match left.first() {
        Some(name) => Err(unreadable(format!("`{name}` has no place in the model"))),
        None => Ok(parts),
    }
}
