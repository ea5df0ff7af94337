//! One step of an optimiser over flat buffers.

use super::adamw::{AdamWStep, adamw, run_length};
use super::{StorageOps, adam8bit, assert_same_shape, host, put};
use crate::tensor::Tensor;

/// Steps of optimisers.
pub trait OptimizerOps: StorageOps {
    /// One AdamW pass over flat buffers.
    fn adamw(
        &self,
        parameters: &mut Tensor,
        gradients: &Tensor,
        first: &mut Tensor,
        second: &mut Tensor,
        step: AdamWStep,
    ) {
        let runs = [(parameters.len(), step)];
        self.adamw_by_runs(parameters, gradients, first, second, &runs);
    }
    /// The same with a step of its own for each run of consecutive numbers, all of them together the whole buffer.
    fn adamw_by_runs(
        &self,
        parameters: &mut Tensor,
        gradients: &Tensor,
        first: &mut Tensor,
        second: &mut Tensor,
        runs: &[(usize, AdamWStep)],
    ) {
        assert_same_shape(parameters, gradients);
        assert_eq!(run_length(runs), parameters.len(), "runs are the buffer");
        let (Some(mut p), Some(g)) = (host(self, parameters), host(self, gradients)) else {
            return;
        };
        let (Some(mut m), Some(mut v)) = (host(self, first), host(self, second)) else {
            return;
        };
        let mut at = 0;
        for &(len, step) in runs {
            for i in at..at + len {
                adamw(&mut p[i], g[i], &mut m[i], &mut v[i], step);
            }
            at += len;
        }
        for (tensor, numbers) in [(parameters, p), (first, m), (second, v)] {
            put(self, tensor, &numbers);
        }
    }
    /// AdamW with moments in 8 bits, bit for bit as bitsandbytes' `AdamW8bit` on a CPU, by runs of whole parameter
    /// tensors of these `lengths`. The moments are [`crate::Moment8`]'s words.
    fn adamw8bit_words(
        &self,
        lengths: &[usize],
        parameters: &mut Tensor,
        gradients: &Tensor,
        moments: [&mut Tensor; 2],
        runs: &[(usize, AdamWStep)],
    ) {
        assert_same_shape(parameters, gradients);
        assert_eq!(run_length(runs), parameters.len(), "runs are the buffer");
        let [first, second] = moments;
        let (Some(mut p), Some(g)) = (host(self, parameters), host(self, gradients)) else {
            return;
        };
        let (Ok(mut m), Ok(mut v)) = (self.download_words(first), self.download_words(second))
        else {
            return;
        };
        adam8bit::adamw8bit(
            lengths,
            &mut p,
            &g,
            words_mut(&mut m),
            words_mut(&mut v),
            runs,
        );
        put(self, parameters, &p);
        self.write_words(&m, first);
        self.write_words(&v, second);
    }
}

/// Words as the numbers that some of them are.
fn words_mut(words: &mut [u32]) -> &mut [f32] {
    bytemuck::cast_slice_mut(words)
}
