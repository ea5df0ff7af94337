//! A merged model as GGUF: metadata, vocabulary and tensors in one file.
//!
//! Names and the order of rows are the reader's own tables, used the other way round, so that what is written is what is
//! read. A base that is a GGUF file itself hands its metadata over as it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use hone_tensor::Format;

use super::gguf_names::gguf_order;
use super::{ExportError, encode};
use crate::arch::{DecoderConfig, Slot};
use crate::merge::Merged;
use crate::weights::mixture::{self, MixtureFacts};
use crate::weights::{Gguf, GgufTensor, GgufWriter, Typed};

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

    /// How many numbers of a row are stored together. A matrix whose rows do not divide into them is stored in another type.
    pub fn block_len(self) -> usize {
        match self {
            Self::Plain(format) => format.block_len(),
            Self::Q4KM => Format::Q4K.block_len(),
        }
    }

    fn file_type(self) -> u32 {
        KINDS
            .iter()
            .find(|row| row.1 == self)
            .map_or(0, |row| row.2)
    }

    /// The format of a tensor: matrices in this kind, or the nearest that their rows divide into.
    fn format_of(self, tensor: &str, dims: &[usize], config: &DecoderConfig) -> Format {
        if !mixture::is_quantised(tensor, dims) {
            return Format::F32;
        }
        let is_head =
            tensor == "output.weight" || config.tied_head && tensor == "token_embd.weight";
        let wanted = match self {
            // The head decides about every token, and the embedding may be the head: eight bits cost little there.
            Self::Plain(Format::Q4_0 | Format::Q4_1 | Format::Q5_0 | Format::Q5_1) if is_head => {
                Format::Q8_0
            }
            Self::Plain(format) => format,
            Self::Q4KM => {
                let facts = MixtureFacts {
                    architecture: config.gguf_architecture().unwrap_or_default(),
                    num_layers: config.num_layers,
                    num_heads: config.num_heads,
                    num_kv_heads: config.num_kv_heads,
                    num_experts: config.experts.map_or(0, |experts| experts.count),
                    is_tied: config.tied_head,
                };
                mixture::q4_k_m(tensor, dims[0], &facts)
            }
        };
        match dims[0].is_multiple_of(wanted.block_len()) {
            true => wanted,
            false => Format::F16,
        }
    }
}

/// What a model's file says besides its tensors.
#[derive(Clone, Debug, Default)]
pub struct GgufMetadata {
    /// `general.name`, where the base has none.
    pub name: String,
    /// `tokenizer.…`; of a base that is a GGUF file only what replaces its own.
    pub tokenizer: Vec<(String, Typed)>,
    /// Keys of a base that is a GGUF file which are not written.
    pub outdated: Vec<String>,
}

/// Writes the merged model. What GGUF cannot say of it is refused before anything is written.
pub fn write_gguf(
    merged: &Merged,
    path: &Path,
    kind: GgufKind,
    extra: GgufMetadata,
) -> Result<(), ExportError> {
    let config = merged.config();
    if let Some(why) = config.not_in_llama_cpp() {
        let what = format!("this {} model: {why}", config.model_type);
        return Err(ExportError::Unsaid { what });
    }
    let metadata = metadata(merged, kind, extra)?;
    let mut tensors: Vec<(Vec<Slot>, GgufTensor)> = Vec::new();
    for slot in merged.slots() {
        let unnamed = || ExportError::Unsupported {
            format: "GGUF",
            what: format!("`{}`", slot.name),
        };
        let name = config.gguf_name(&slot.name).ok_or_else(unnamed)?;
        // The matrices of all experts are one tensor, in the order of the experts.
        let same = |(_, tensor): &&mut (Vec<Slot>, GgufTensor)| tensor.name == name;
        if let Some((slots, _)) = tensors.iter_mut().rev().take(3).find(same) {
            slots.push(slot);
            continue;
        }
        let dims = match (slot.rows, slot.expert, config.experts) {
            (rows, Some(_), Some(experts)) => vec![slot.cols, rows, experts.count],
            (1, _, _) => vec![slot.cols],
            (rows, _, _) => vec![slot.cols, rows],
        };
        let format = kind.format_of(&name, &dims, config);
        tensors.push((vec![slot], GgufTensor { name, dims, format }));
    }
    let mut headers: Vec<GgufTensor> = tensors.iter().map(|(_, tensor)| tensor.clone()).collect();
    let factors = config.gguf_rope_factors();
    headers.extend(factors.iter().map(|(name, factors)| GgufTensor {
        name: (*name).to_owned(),
        dims: vec![factors.len()],
        format: Format::F32,
    }));
    if merged.base().gguf().is_none() {
        refuse_unsayable(config, path, &metadata, &headers)?;
    }
    let mut writer = GgufWriter::create(path, &metadata, &headers)?;
    for (slots, tensor) in &tensors {
        for slot in slots {
            write_tensor(merged, slot, tensor, &mut writer)?;
        }
    }
    for (name, factors) in factors {
        writer.append(name, &to_bytes(&factors))?;
    }
    Ok(writer.finish()?)
}

/// Writes a file of the same metadata whose tensors hold one number each, and looks whether it is read as this model.
fn refuse_unsayable(
    config: &DecoderConfig,
    path: &Path,
    metadata: &[(String, Typed)],
    headers: &[GgufTensor],
) -> Result<(), ExportError> {
    let path = path.with_extension("described");
    let factors: BTreeMap<&str, Vec<f32>> = config.gguf_rope_factors().into_iter().collect();
    let numbers = |name: &str| factors.get(name).cloned().unwrap_or_else(|| vec![0.0]);
    let small = headers.iter().map(|tensor| GgufTensor {
        name: tensor.name.clone(),
        dims: vec![numbers(&tensor.name).len()],
        format: Format::F32,
    });
    let small: Vec<GgufTensor> = small.collect();
    let mut writer = GgufWriter::create(&path, metadata, &small)?;
    for tensor in &small {
        writer.append(&tensor.name, &to_bytes(&numbers(&tensor.name)))?;
    }
    writer.finish()?;
    let read = Gguf::open(&path).map(|gguf| DecoderConfig::from_gguf(&gguf, &path));
    // The answer is in memory; what cannot be removed is overwritten by the next export.
    let _ = std::fs::remove_file(&path);
    let unsaid = |what: String| ExportError::Unsaid { what };
    let read =
        read?.map_err(|error| unsaid(format!("this {} model: {error}", config.model_type)))?;
    match config.in_gguf().difference(&read) {
        None => Ok(()),
        Some((setting, ours, theirs)) => Err(unsaid(format!(
            "this {} model: its `{setting}` is {ours}, and a reader of the file would take {theirs}",
            config.model_type
        ))),
    }
}

fn to_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn write_tensor(
    merged: &Merged,
    slot: &Slot,
    tensor: &GgufTensor,
    writer: &mut GgufWriter,
) -> Result<(), ExportError> {
    let is_vector = slot.rows == 1 && slot.expert.is_none();
    // A bias is one row of as many numbers as its matrix has rows: they are put in order one by one.
    let count = if is_vector { slot.cols } else { slot.rows };
    let order = gguf_order(merged.config(), &slot.name, count);
    let offset = merged.config().gguf_offset(&slot.name);
    let rows = order
        .as_deref()
        .filter(|_| !is_vector)
        .map(|order| order as &dyn Fn(usize) -> usize);
    let is_as_stored = tensor.format == merged.stored_format(&slot.name)?
        && !merged.is_changed(&slot.name)
        && !(is_vector && order.is_some())
        && offset == 0.0;
    if is_as_stored {
        let mut outcome = Ok(());
        merged.stored_rows(&slot.name, rows, |row| {
            if outcome.is_ok() {
                outcome = writer.append(&tensor.name, row);
            }
        })?;
        return Ok(outcome?);
    }
    merged.panels::<ExportError>(&slot.name, rows, |_, panel| {
        let source = |at: usize| match order.as_ref().filter(|_| is_vector) {
            Some(order) => order(at),
            None => at,
        };
        let converted: Vec<f32>;
        let numbers = match is_vector || offset != 0.0 {
            true => {
                let places = 0..panel.len();
                converted = places.map(|at| panel[source(at)] + offset).collect();
                &converted
            }
            false => panel,
        };
        let encoded = encode(
            merged,
            tensor.format,
            numbers,
            slot.cols,
            (&slot.name, &tensor.name),
        )?;
        Ok(writer.append(&tensor.name, encoded.bytes())?)
    })
}

fn metadata(
    merged: &Merged,
    kind: GgufKind,
    extra: GgufMetadata,
) -> Result<Vec<(String, Typed)>, ExportError> {
    let mut rows: Vec<(String, Typed)> = match merged.base().gguf() {
        // Types of tensors have changed; everything else is as true as it was.
        Some(gguf) => {
            let vocab_size = format!(
                "{}.vocab_size",
                gguf.str("general.architecture")
                    .ok()
                    .flatten()
                    .unwrap_or_default()
            );
            let mut replaced: BTreeMap<String, Typed> = extra.tokenizer.into_iter().collect();
            let size = Typed::U32(merged.config().vocab_size as u32);
            replaced.insert(vocab_size, size);
            let stays = |key: &&str| {
                !extra.outdated.iter().any(|outdated| outdated == key)
                    && ![
                        "general.file_type",
                        "general.quantization_version",
                        "general.alignment",
                    ]
                    .contains(key)
            };
            let keys = gguf.keys().filter(stays);
            let mut rows: Vec<(String, Typed)> = keys
                .map(|key| {
                    let value = replaced.remove(key);
                    let value = value.unwrap_or_else(|| gguf.typed(key).expect("the key is there"));
                    (key.to_owned(), value)
                })
                .collect();
            rows.extend(replaced);
            rows
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
    let unknown = || ExportError::Unsupported {
        format: "GGUF",
        what: format!("{} models", config.model_type),
    };
    let architecture = config.gguf_architecture().ok_or_else(unknown)?;
    let text = |text: &str| Typed::Text(text.to_owned());
    let mut rows = vec![
        ("general.architecture".to_owned(), text(architecture)),
        ("general.type".to_owned(), text("model")),
        ("general.name".to_owned(), Typed::Text(extra.name)),
    ];
    rows.extend(config.gguf_metadata().ok_or_else(unknown)?);
    rows.extend(extra.tokenizer);
    Ok(rows)
}
