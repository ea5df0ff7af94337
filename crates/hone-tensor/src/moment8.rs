//! A moment of an optimiser in 8 bits: blocks of 256 codes with a scale each, beginning anew at every parameter tensor.
//!
//! Its room is a tensor of words, each a scale or four codes, allocated, paged and copied like any other. Tensors too small to gain keep f32. Blocks and limit are those of bitsandbytes.

use std::path::Path;

use crate::device::Device;
use crate::ops::adam8bit::words_of;
use crate::ops::{AdamWStep, TensorError};
use crate::tensor::Tensor;

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
            words: device.zero_words(Self::num_words(lengths), paged)?,
        })
    }

    /// Words of 4 bytes that it takes for parameter tensors of these lengths.
    pub fn num_words(lengths: &[usize]) -> usize {
        lengths.iter().map(|&len| words_of(len)).sum()
    }

    /// Its words, for a checkpoint; those that hold codes are no numbers.
    pub fn to_words(&self) -> Result<Vec<u32>, TensorError> {
        self.words.device().download_words(&self.words)
    }

    /// Takes the words of a checkpoint, as many as [`Self::num_words`].
    pub fn write(&mut self, words: &[u32]) {
        let device = self.words.device().clone();
        device.write_words(words, &mut self.words);
    }
}

impl Device {
    /// AdamW with moments in 8 bits, bit for bit as bitsandbytes' `AdamW8bit` on a CPU, by runs of consecutive numbers, each
    /// of whole parameter tensors, all of them together the whole buffer.
    pub fn adamw8bit_by_runs(
        &self,
        parameters: &mut Tensor,
        gradients: &Tensor,
        first: &mut Moment8,
        second: &mut Moment8,
        runs: &[(usize, AdamWStep)],
    ) {
        assert_eq!(first.lengths, second.lengths, "moments of one adapter");
        let moments = [&mut first.words, &mut second.words];
        self.adamw8bit_words(&first.lengths, parameters, gradients, moments, runs);
    }

    /// The same with one step for all.
    pub fn adamw8bit(
        &self,
        parameters: &mut Tensor,
        gradients: &Tensor,
        first: &mut Moment8,
        second: &mut Moment8,
        step: AdamWStep,
    ) {
        let runs = [(parameters.len(), step)];
        self.adamw8bit_by_runs(parameters, gradients, first, second, &runs);
    }
}
