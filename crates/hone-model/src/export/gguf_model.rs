//! A merged model as GGUF: metadata, vocabulary and tensors in one file.
//!
//! Names and the order of rows are the reader's own tables, used the other way round, so that what is written is what is
//! read. A base that is a GGUF file itself hands its metadata over as it is.

use std::path::Path;
use std::str::FromStr;

use hone_tensor::Format;

use super::gguf_names::gguf_order;
use super::{ExportError, encode};
use crate::merge::Merged;
use crate::weights::{DecoderConfig, GgufTensor, GgufWriter, Rope, RopeScaling, Slot, Typed};

/// How the matrices of a GGUF file are stored. Vectors are f32 in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgufKind {
    /// All in one format.
    Plain(Format),
    /// Q4_K, with Q6_K where it hurts most, as llama.cpp chooses.
    Q4KM,
}

/// Kinds by name, with llama.cpp's number for `general.file_type`.
const KINDS: [(&str, GgufKind, u32); 9] = [
    ("f32", GgufKind::Plain(Format::F32), 0),
    ("f16", GgufKind::Plain(Format::F16), 1),
    ("bf16", GgufKind::Plain(Format::Bf16), 32),
    ("q8_0", GgufKind::Plain(Format::Q8_0), 7),
    ("q4_0", GgufKind::Plain(Format::Q4_0), 2),
    ("q4_1", GgufKind::Plain(Format::Q4_1), 3),
    ("q5_0", GgufKind::Plain(Format::Q5_0), 8),
    ("q5_1", GgufKind::Plain(Format::Q5_1), 9),
    ("q4_k_m", GgufKind::Q4KM, 15),
];

impl FromStr for GgufKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = KINDS.iter().find(|row| row.0.eq_ignore_ascii_case(text));
        found.map(|row| row.1).ok_or_else(|| {
            let names: Vec<&str> = KINDS.iter().map(|row| row.0).collect();
            format!("`{text}` is none of {}", names.join(", "))
        })
    }
}

impl GgufKind {
    /// As a person writes it.
    pub fn name(self) -> &'static str {
        KINDS
            .iter()
            .find(|row| row.1 == self)
            .map_or("gguf", |row| row.0)
    }

    fn file_type(self) -> u32 {
        KINDS
            .iter()
            .find(|row| row.1 == self)
            .map_or(0, |row| row.2)
    }

    /// The format of a matrix; the nearest that its rows divide into.
    fn format_of(self, slot: &Slot, name: &str, config: &DecoderConfig) -> Format {
        if slot.rows == 1 {
            return Format::F32;
        }
        let wanted = match self {
            // The head decides about every token, and the embedding may be the head: eight bits cost little there.
            Self::Plain(Format::Q4_0 | Format::Q4_1 | Format::Q5_0 | Format::Q5_1)
                if is_head(name, config) =>
            {
                Format::Q8_0
            }
            Self::Plain(format) => format,
            Self::Q4KM if is_head(name, config) || gets_more_bits(name, config.num_layers) => {
                Format::Q6K
            }
            Self::Q4KM => Format::Q4K,
        };
        let fits = |format: Format| slot.cols.is_multiple_of(format.block_len());
        let nearest = match wanted {
            Format::Q4K => [Format::Q4K, Format::Q5_0, Format::F16],
            Format::Q6K => [Format::Q6K, Format::Q8_0, Format::F16],
            other => [other, Format::F16, Format::F16],
        };
        nearest
            .into_iter()
            .find(|format| fits(*format))
            .unwrap_or(Format::F16)
    }
}

fn is_head(name: &str, config: &DecoderConfig) -> bool {
    name == "output.weight" || config.tied_head && name == "token_embd.weight"
}

/// llama.cpp's choice for `_M`: values and down projections of the first and last eighth of the layers, and of every
/// third between.
fn gets_more_bits(name: &str, num_layers: usize) -> bool {
    let is_sensitive = name.ends_with("attn_v.weight") || name.ends_with("ffn_down.weight");
    let layer = name
        .split('.')
        .nth(1)
        .and_then(|part| part.parse::<usize>().ok());
    let Some(layer) = layer.filter(|_| is_sensitive) else {
        return false;
    };
    let eighth = num_layers / 8;
    layer < eighth || layer >= 7 * num_layers / 8 || (layer - eighth) % 3 == 2
}

/// What a model's file says besides its tensors.
#[derive(Clone, Debug, Default)]
pub struct GgufMetadata {
    /// `general.name`, where the base has none.
    pub name: String,
    /// `tokenizer.…`, where the base is no GGUF file.
    pub tokenizer: Vec<(String, Typed)>,
}

/// Writes the merged model.
pub fn write_gguf(
    merged: &Merged,
    path: &Path,
    kind: GgufKind,
    extra: GgufMetadata,
) -> Result<(), ExportError> {
    let config = merged.config();
    config.gguf_architecture()?;
    let mut tensors = Vec::new();
    for slot in merged.slots() {
        let unnamed = || ExportError::Unsupported {
            format: "GGUF",
            what: format!("`{}`", slot.name),
        };
        let name = config.gguf_name(&slot.name).ok_or_else(unnamed)?;
        let format = kind.format_of(&slot, &name, config);
        let dims = match slot.rows {
            1 => vec![slot.cols],
            rows => vec![slot.cols, rows],
        };
        tensors.push((slot, GgufTensor { name, dims, format }));
    }
    let factors = rope_factors(config);
    let mut headers: Vec<GgufTensor> = tensors.iter().map(|(_, tensor)| tensor.clone()).collect();
    headers.extend(factors.as_ref().map(|factors| GgufTensor {
        name: "rope_freqs.weight".into(),
        dims: vec![factors.len()],
        format: Format::F32,
    }));
    let mut writer = GgufWriter::create(path, &metadata(merged, kind, extra)?, &headers)?;
    for (slot, tensor) in &tensors {
        write_tensor(merged, slot, tensor, &mut writer)?;
    }
    if let Some(factors) = factors {
        let bytes: Vec<u8> = factors.iter().flat_map(|x| x.to_le_bytes()).collect();
        writer.append("rope_freqs.weight", &bytes)?;
    }
    Ok(writer.finish()?)
}

fn write_tensor(
    merged: &Merged,
    slot: &Slot,
    tensor: &GgufTensor,
    writer: &mut GgufWriter,
) -> Result<(), ExportError> {
    let order = gguf_order(
        merged.config(),
        &slot.name,
        slot.rows.max(if slot.rows == 1 { slot.cols } else { 0 }),
    );
    let is_vector = slot.rows == 1;
    // A bias is one row of as many numbers as its matrix has rows: they are put in order one by one.
    let rows = order
        .as_deref()
        .filter(|_| !is_vector)
        .map(|order| order as &dyn Fn(usize) -> usize);
    if tensor.format == merged.stored_format(&slot.name)?
        && !merged.is_changed(&slot.name)
        && !(is_vector && order.is_some())
    {
        let mut outcome = Ok(());
        merged.stored_rows(&slot.name, rows, |row| {
            if outcome.is_ok() {
                outcome = writer.append(&tensor.name, row);
            }
        })?;
        return Ok(outcome?);
    }
    merged.panels::<ExportError>(&slot.name, rows, |_, panel| {
        let ordered: Vec<f32>;
        let numbers = match order.as_ref().filter(|_| is_vector) {
            Some(order) => {
                ordered = (0..panel.len()).map(|at| panel[order(at)]).collect();
                &ordered
            }
            None => panel,
        };
        let encoded = encode(merged, tensor.format, numbers, slot.cols, &tensor.name)?;
        Ok(writer.append(&tensor.name, encoded.bytes())?)
    })
}

/// By how much llama 3's scaling slows each pair down, for the tensor that llama.cpp reads.
fn rope_factors(config: &DecoderConfig) -> Option<Vec<f32>> {
    match &config.rope.scaling {
        RopeScaling::Factors { factors } => Some(factors.clone()),
        RopeScaling::Llama3 { .. } => {
            let plain = Rope {
                scaling: RopeScaling::None,
                ..config.rope.clone()
            };
            let plain = plain.inverse_frequencies(config.head_dim);
            let slowed = config.rope.inverse_frequencies(config.head_dim);
            Some(
                plain
                    .iter()
                    .zip(&slowed)
                    .map(|(plain, slowed)| plain / slowed)
                    .collect(),
            )
        }
        _ => None,
    }
}

fn metadata(
    merged: &Merged,
    kind: GgufKind,
    extra: GgufMetadata,
) -> Result<Vec<(String, Typed)>, ExportError> {
    let mut rows: Vec<(String, Typed)> = match merged.base().gguf() {
        // Types of tensors have changed; everything else is as true as it was.
        Some(gguf) => {
            let stays = |key: &&str| {
                ![
                    "general.file_type",
                    "general.quantization_version",
                    "general.alignment",
                ]
                .contains(key)
            };
            let keys = gguf.keys().filter(stays);
            keys.map(|key| (key.to_owned(), gguf.typed(key).expect("the key is there")))
                .collect()
        }
        None => described(merged.config(), extra)?,
    };
    rows.push(("general.file_type".into(), Typed::U32(kind.file_type())));
    rows.push(("general.quantization_version".into(), Typed::U32(2)));
    Ok(rows)
}

fn described(
    config: &DecoderConfig,
    extra: GgufMetadata,
) -> Result<Vec<(String, Typed)>, ExportError> {
    let architecture = config.gguf_architecture()?;
    let count = |number: usize| Typed::U32(number as u32);
    let mut rows = vec![
        (
            "general.architecture".to_owned(),
            Typed::Text(architecture.into()),
        ),
        ("general.type".to_owned(), Typed::Text("model".into())),
        ("general.name".to_owned(), Typed::Text(extra.name)),
    ];
    let mut own = |key: &str, value: Typed| rows.push((format!("{architecture}.{key}"), value));
    own("vocab_size", count(config.vocab_size));
    own("context_length", count(config.context_len));
    own("embedding_length", count(config.d_model));
    own("block_count", count(config.num_layers));
    own("feed_forward_length", count(config.d_ff));
    own("attention.head_count", count(config.num_heads));
    own("attention.head_count_kv", count(config.num_kv_heads));
    own("attention.key_length", count(config.head_dim));
    own("attention.value_length", count(config.head_dim));
    own(
        "attention.layer_norm_rms_epsilon",
        Typed::F32(config.norm_eps),
    );
    own("rope.dimension_count", count(config.head_dim));
    own("rope.freq_base", Typed::F32(config.rope.theta));
    if matches!(
        config.rope.scaling,
        RopeScaling::Yarn { .. } | RopeScaling::Long { .. }
    ) {
        return Err(ExportError::Unsupported {
            format: "GGUF",
            what: "models with YaRN or LongRoPE".into(),
        });
    }
    if let RopeScaling::Linear { factor } = config.rope.scaling {
        own("rope.scaling.type", Typed::Text("linear".into()));
        own("rope.scaling.factor", Typed::F32(factor));
    }
    rows.extend(extra.tokenizer);
    Ok(rows)
}
