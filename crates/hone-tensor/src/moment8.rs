//! A moment of an optimiser in 8 bits: blocks of 256 codes with a scale each, beginning anew at every parameter tensor.
//!
//! Its room is an ordinary tensor whose words hold a scale or four codes, so it is allocated, paged and copied like any
//! other. Tensors too small to gain keep f32. Blocks and limit are those of bitsandbytes.

use std::path::Path;

use crate::device::{Device, TensorError};
use crate::tensor::Tensor;

/// Numbers that share a scale.
pub(crate) const BLOCK: usize = 256;

/// Words of a whole block: its scale, and four codes each.
pub(crate) const BLOCK_WORDS: usize = 1 + BLOCK / 4;

/// Tensors of fewer numbers stay in f32.
const SMALLEST: usize = 4096;

/// One moment of every trainable number.
#[derive(Debug)]
pub struct Moment8 {
    /// Numbers of each parameter tensor, in the order of the flat buffer.
    lengths: Vec<usize>,
    words: Tensor,
}

impl Moment8 {
    /// Zeros for parameter tensors of these lengths; in pages of a file under `paged`, if one is given.
    pub fn zeros(
        device: &Device,
        lengths: &[usize],
        paged: Option<&Path>,
    ) -> Result<Self, TensorError> {
        Ok(Self {
            lengths: lengths.to_vec(),
            words: device.zeros_in(1, Self::num_words(lengths), paged)?,
        })
    }

    /// Words of 4 bytes that it takes for parameter tensors of these lengths.
    pub fn num_words(lengths: &[usize]) -> usize {
        lengths.iter().map(|&len| words_of(len)).sum()
    }

    /// Its words, for a checkpoint; those that hold codes are no numbers.
    pub fn to_words(&self) -> Result<Vec<u32>, TensorError> {
        let words = self.words.to_vec()?;
        Ok(words.into_iter().map(f32::to_bits).collect())
    }

    /// Takes the words of a checkpoint, as many as [`Self::num_words`].
    pub fn write(&mut self, words: &[u32]) {
        let device = self.words.device().clone();
        device.write(bytemuck::cast_slice(words), &mut self.words);
    }

    pub(crate) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    pub(crate) fn words_mut(&mut self) -> &mut Tensor {
        &mut self.words
    }
}

/// Whether a parameter tensor of `len` numbers has its moments in 8 bits.
pub(crate) fn is_coded(len: usize) -> bool {
    len >= SMALLEST
}

/// Words that a moment of a parameter tensor of `len` numbers takes.
pub(crate) fn words_of(len: usize) -> usize {
    if is_coded(len) {
        len.div_ceil(BLOCK) + len.div_ceil(4)
    } else {
        len
    }
}
