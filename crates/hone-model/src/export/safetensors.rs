//! A merged model as safetensors, in shards with an index, as transformers saves one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hone_tensor::Format;

use super::{ExportError, encode};
use crate::arch::Slot;
use crate::merge::{MergeError, Merged};
use crate::weights::{BaseWeights, Dtype, ShardsWriter, TensorSpec};

/// The type of a merged model's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MergeDtype {
    /// As the base stores each tensor; block formats, which safetensors does not have, become f16.
    #[default]
    Keep,
    /// Single precision.
    F32,
    /// The range of single precision, three digits.
    Bf16,
    /// Half precision.
    F16,
}

impl FromStr for MergeDtype {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "keep" => Ok(Self::Keep),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            _ => Err(format!("`{text}` is none of keep, f32, bf16, f16")),
        }
    }
}

impl MergeDtype {
    /// What a tensor stored in `format` is written as.
    pub fn format_of(self, format: Format) -> Format {
        match (self, format) {
            (Self::F32, _) | (Self::Keep, Format::F32) => Format::F32,
            (Self::Bf16, _) | (Self::Keep, Format::Bf16) => Format::Bf16,
            (Self::F16 | Self::Keep, _) => Format::F16,
        }
    }
}

impl MergeDtype {
    /// What transformers calls the type of most weights of this base, once they are written so.
    pub fn word_of(self, base: &BaseWeights) -> &'static str {
        match base.formats().first().map(|row| self.format_of(row.0)) {
            Some(Format::Bf16) => "bfloat16",
            Some(Format::F16) => "float16",
            _ => "float32",
        }
    }
}

impl Merged<'_> {
    /// The merged base, in memory: tensors that are changed are made now, as [`write_safetensors`] writes them; the others
    /// stay those of the files.
    ///
    /// # Errors
    /// A tensor that cannot be read, a number that its type cannot hold.
    pub fn to_weights(&self, dtype: MergeDtype) -> Result<BaseWeights, ExportError> {
        let mut made = BTreeMap::new();
        for slot in self.slots() {
            let (name, cols) = (&slot.name, slot.cols);
            let stored = self.stored_format(name)?;
            let format = dtype.format_of(stored);
            let is_own = self.base().names().any(|own| own == name);
            if is_own && !self.is_changed(name) && format == stored {
                continue;
            }
            let mut values = Vec::with_capacity(slot.rows * cols);
            self.panels::<ExportError>(name, None, |_, panel| {
                values.extend_from_slice(panel);
                Ok(())
            })?;
            made.insert(
                name.clone(),
                encode(self, format, &values, cols, (name, name))?,
            );
        }
        Ok(self.base().with_merged(self.config().clone(), made))
    }
}

/// Writes `model.safetensors`, or shards of at most `max_shard_bytes` and their index, into `dir`. A tensor that keeps its
/// type and that no adapter touches keeps its bytes. Returns the files, which are whole and need not have reached the
/// disk: `dir` takes its own name after they have.
pub fn write_safetensors(
    merged: &Merged,
    dir: &Path,
    dtype: MergeDtype,
    max_shard_bytes: u64,
) -> Result<Vec<PathBuf>, ExportError> {
    let slots: BTreeMap<String, Slot> = merged
        .slots()
        .into_iter()
        .map(|slot| (slot.name.clone(), slot))
        .collect();
    let specs = merged.slots().into_iter().map(|slot| {
        Ok(TensorSpec {
            dtype: dtype_of(dtype.format_of(merged.stored_format(&slot.name)?)),
            shape: match (slot.rows, merged.config().is_stored_transposed(&slot.name)) {
                (1, _) => vec![slot.cols],
                (rows, false) => vec![rows, slot.cols],
                (rows, true) => vec![slot.cols, rows],
            },
            name: slot.name,
        })
    });
    let specs = specs.collect::<Result<Vec<_>, MergeError>>()?;
    let writer = ShardsWriter::create(dir, specs, max_shard_bytes, &BTreeMap::new())?;
    let mut writer = writer.unsynced();
    let names: Vec<String> = writer
        .tensors()
        .iter()
        .map(|spec| spec.name.clone())
        .collect();
    for name in names {
        let slot = &slots[&name];
        let stored = merged.stored_format(&name)?;
        let format = dtype.format_of(stored);
        if merged.config().is_stored_transposed(&name) {
            write_transposed(merged, slot, format, &mut writer)?;
            continue;
        }
        if format == stored && !merged.is_changed(&name) {
            let mut outcome = Ok(());
            merged.stored_rows(&name, None, |row| {
                if outcome.is_ok() {
                    outcome = writer.append(&name, row);
                }
            })?;
            outcome?;
            continue;
        }
        merged.panels::<ExportError>(&name, None, |_, panel| {
            let encoded = encode(merged, format, panel, slot.cols, (&name, &name))?;
            Ok(writer.append(&name, encoded.bytes())?)
        })?;
    }
    Ok(writer.finish()?)
}

/// A matrix whose rows are columns in the file: every row of the file needs all of the matrix, so it is in memory whole.
fn write_transposed(
    merged: &Merged,
    slot: &Slot,
    format: Format,
    writer: &mut ShardsWriter,
) -> Result<(), ExportError> {
    let mut exchanged = vec![0.0; slot.rows * slot.cols];
    merged.panels::<ExportError>(&slot.name, None, |first, panel| {
        for (row, numbers) in panel.chunks_exact(slot.cols).enumerate() {
            for (col, x) in numbers.iter().enumerate() {
                exchanged[col * slot.rows + first + row] = *x;
            }
        }
        Ok(())
    })?;
    let encoded = encode(
        merged,
        format,
        &exchanged,
        slot.rows,
        (&slot.name, &slot.name),
    )?;
    Ok(writer.append(&slot.name, encoded.bytes())?)
}

fn dtype_of(format: Format) -> Dtype {
    match format {
        Format::F16 => Dtype::F16,
        Format::Bf16 => Dtype::BF16,
        _ => Dtype::F32,
    }
}
