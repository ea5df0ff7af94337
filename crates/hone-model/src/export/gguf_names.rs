//! In which order llama.cpp keeps the rows of a family's tensors.

use crate::arch::DecoderConfig;

/// Which row of the network is row `n` of the file.
pub(super) type RowOrder = Box<dyn Fn(usize) -> usize>;

/// The reader's table of rows, the other way round: `rows` of them, or as many numbers as a bias has.
pub(super) fn gguf_order(config: &DecoderConfig, name: &str, rows: usize) -> Option<RowOrder> {
    let place = config.gguf_rows(name)?;
    let mut source = vec![0; rows];
    (0..rows).for_each(|row| source[place(row)] = row);
    Some(Box::new(move |row| source[row]))
}
