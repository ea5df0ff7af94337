//! Which families are written as GGUF, and in which order llama.cpp keeps the rows of their tensors.

use super::ExportError;
use crate::weights::DecoderConfig;

/// Which row of the network is row `n` of the file.
pub(super) type RowOrder = Box<dyn Fn(usize) -> usize>;

impl DecoderConfig {
    /// `general.architecture`, for the families whose files are written here.
    pub(super) fn gguf_architecture(&self) -> Result<&'static str, ExportError> {
        match self.model_type.as_str() {
            "llama" => Ok("llama"),
            other => Err(ExportError::Unsupported {
                format: "GGUF",
                what: format!("{other} models"),
            }),
        }
    }
}

/// The reader's table of rows, the other way round: `rows` of them, or as many numbers as a bias has.
pub(super) fn gguf_order(config: &DecoderConfig, name: &str, rows: usize) -> Option<RowOrder> {
    let place = config.gguf_rows(name)?;
    let mut source = vec![0; rows];
    (0..rows).for_each(|row| source[place(row)] = row);
    Some(Box::new(move |row| source[row]))
}
