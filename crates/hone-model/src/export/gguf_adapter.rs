//! An adapter as GGUF, for llama.cpp and Ollama.
//!
//! llama.cpp multiplies with `alpha / rank`, one alpha for the whole file and the rank of each tensor. Its own converter
//! copies `lora_alpha` and so gets rsLoRA and per-module alphas wrong; here what a module's scale differs from that is
//! put into its `B`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use hone_tensor::Format;

use super::ExportError;
use super::gguf_names::gguf_order;
use crate::adapter::{AdapterWeights, LoraPair, expert_of};
use crate::arch::{DecoderConfig, Site};
use crate::weights::{Gguf, GgufTensor, GgufWriter, Malformed, Typed};

const FORMAT: &str = "a GGUF adapter";

/// Writes a LoRA adapter for the base of this shape. Numbers are f32.
pub fn write_gguf_adapter(
    parts: &AdapterWeights,
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
    for stack in stacks(parts, base)? {
        for (half, dims, values) in [
            ("a", stack.a_dims(), stack.a()),
            ("b", stack.b_dims(), stack.b(alpha)),
        ] {
            tensors.push(GgufTensor {
                name: format!("{}.lora_{half}", stack.tensor),
                dims,
                format: Format::F32,
            });
            numbers.push(values);
        }
    }
    for (module, pair) in &parts.pairs {
        if expert_of(module).is_some() {
            continue;
        }
        let module = &stored_path(base, module);
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

/// The pairs of all experts at one tensor of GGUF, which has gates and ups apart.
struct Stack<'a> {
    tensor: String,
    pairs: Vec<&'a LoraPair>,
    /// The rows of each pair's outputs that are this tensor's.
    rows: Range<usize>,
}

impl Stack<'_> {
    fn a_dims(&self) -> Vec<usize> {
        vec![self.pairs[0].width, self.pairs[0].rank, self.pairs.len()]
    }

    fn a(&self) -> Vec<f32> {
        self.pairs
            .iter()
            .flat_map(|pair| &pair.a)
            .copied()
            .collect()
    }

    fn b_dims(&self) -> Vec<usize> {
        vec![self.pairs[0].rank, self.rows.len(), self.pairs.len()]
    }

    fn b(&self, alpha: f32) -> Vec<f32> {
        let of = |pair: &&LoraPair| {
            let factor = pair.scale * pair.rank as f32 / alpha;
            let own = &pair.b[self.rows.start * pair.rank..self.rows.end * pair.rank];
            own.iter().map(|x| x * factor).collect::<Vec<f32>>()
        };
        self.pairs.iter().flat_map(of).collect()
    }
}

/// What an adapter has on experts, tensor by tensor.
fn stacks<'a>(
    parts: &'a AdapterWeights,
    base: &DecoderConfig,
) -> Result<Vec<Stack<'a>>, ExportError> {
    let mut by_parameter: BTreeMap<&str, BTreeMap<usize, &LoraPair>> = BTreeMap::new();
    for (path, pair) in &parts.pairs {
        if let Some((parameter, expert)) = expert_of(path) {
            by_parameter
                .entry(parameter)
                .or_default()
                .insert(expert, pair);
        }
    }
    let mut stacks = Vec::new();
    for (parameter, pairs) in by_parameter {
        let mut sites = base.sites().into_iter();
        let site = sites.find(|site| site.path() == parameter);
        let pairs: Vec<&LoraPair> = pairs.into_values().collect();
        let is_even = pairs.iter().all(|pair| pair.rank == pairs[0].rank);
        let placed = site.filter(|site| pairs.len() == base.copies(*site) && is_even);
        let Some(site) = placed else {
            return Err(ExportError::Unplaced {
                format: FORMAT,
                part: format!("`{parameter}` on some experts only, or of several ranks"),
            });
        };
        let mut first = 0;
        for (tensor, out) in base.gguf_experts(site) {
            let (pairs, rows) = (pairs.clone(), first..first + out);
            first = rows.end;
            stacks.push(Stack {
                tensor,
                pairs,
                rows,
            });
        }
    }
    Ok(stacks)
}

/// A pair for each expert, and the tensors that they were read from.
type OfExperts = (Vec<LoraPair>, Vec<String>);

/// The pairs of the experts at a site, if the file has them; the tensors that were read. A gate and an up of one `A` are one
/// pair again, others one whose bottleneck is both of theirs.
fn read_experts(
    gguf: &Gguf,
    base: &DecoderConfig,
    site: Site,
    alpha: f32,
) -> Result<Option<OfExperts>, Malformed> {
    let (mut halves, mut read) = (Vec::new(), Vec::new());
    for (tensor, out) in base.gguf_experts(site) {
        let half = |half: &str| gguf.matrix(&format!("{tensor}.lora_{half}")).transpose();
        let (Some(a), Some(b)) = (half("a")?, half("b")?) else {
            return Ok(None);
        };
        halves.push((a.to_f32(), b.to_f32(), b.cols(), out));
        read.push(tensor);
    }
    let (experts, width) = (base.copies(site), base.projection(site).1);
    let fits = |(a, b, rank, out): &(Vec<f32>, Vec<f32>, usize, usize)| {
        a.len() == experts * rank * width && b.len() == experts * rank * out
    };
    if !halves.iter().all(fits) {
        return Ok(None);
    }
    let is_shared = halves.iter().all(|half| half.0 == halves[0].0);
    let rank = match is_shared {
        true => halves[0].2,
        false => halves.iter().map(|half| half.2).sum(),
    };
    let pair = |expert: usize| {
        let (mut a, mut b, mut first) = (Vec::new(), Vec::new(), 0);
        for (at, (all_a, all_b, own, out)) in halves.iter().enumerate() {
            if at == 0 || !is_shared {
                a.extend_from_slice(&all_a[expert * own * width..][..own * width]);
            }
            for row in all_b[expert * out * own..][..out * own].chunks_exact(*own) {
                let mut wide = vec![0.0; rank];
                wide[first..first + own].copy_from_slice(row);
                b.extend(wide);
            }
            first += if is_shared { 0 } else { *own };
        }
        let own = halves[0].2;
        LoraPair {
            rank,
            width,
            out: base.projection(site).0,
            scale: if alpha == 0.0 {
                1.0
            } else {
                alpha / own as f32
            },
            a,
            b,
            magnitude: None,
            bias: None,
        }
    };
    Ok(Some(((0..experts).map(pair).collect(), read)))
}

/// The alpha that most modules have, so that most keep their numbers to the last bit.
fn alpha_of(parts: &AdapterWeights) -> f32 {
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

/// What files call a module.
fn stored_path(base: &DecoderConfig, module: &str) -> String {
    let mut sites = base.sites().into_iter();
    let site = sites.find(|site| site.path() == module);
    site.map_or_else(|| module.to_owned(), |site| site.stored_path())
}

fn gguf_tensor(base: &DecoderConfig, module: &str) -> Result<String, ExportError> {
    let tensor = base.gguf_name(&format!("{module}.weight"));
    tensor.ok_or_else(|| ExportError::Unplaced {
        format: FORMAT,
        part: format!("`{module}`"),
    })
}

/// Reads a GGUF adapter back, for the base of this shape: what llama.cpp would apply.
pub fn read_gguf_adapter(path: &Path, base: &DecoderConfig) -> Result<AdapterWeights, ExportError> {
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
    let mut parts = AdapterWeights::default();
    let mut left: Vec<&str> = gguf.tensors().map(|(name, _)| name).collect();
    for site in base.sites() {
        let module = site.path();
        if site.group().is_of_experts() {
            let found = read_experts(&gguf, base, site, alpha).map_err(&malformed)?;
            if let Some((pairs, read)) = found {
                left.retain(|name| {
                    !read
                        .iter()
                        .any(|tensor| name.starts_with(&format!("{tensor}.")))
                });
                let pairs = pairs.into_iter().enumerate();
                let named = pairs.map(|(expert, pair)| (format!("{module}[{expert}]"), pair));
                parts.pairs.extend(named);
            }
            continue;
        }
        let stored = site.stored_path();
        let Some(tensor) = base.gguf_name(&format!("{stored}.weight")) else {
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
        if site.parameter().is_some() {
            parts.parameters.insert(module.clone());
        }
        parts.pairs.insert(module, pair);
    }
    match left.first() {
        Some(name) => Err(unreadable(format!("`{name}` has no place in the model"))),
        None => Ok(parts),
    }
}
