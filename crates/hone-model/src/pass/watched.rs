//! Rows whose whole distribution is looked at: how far the adapter has moved it from that of its base.

use std::ops::Range;

use hone_tensor::{Index, Tensor, TensorError};

use super::{Pass, head_chunk_rows};
use crate::layout::Layout;

impl Pass<'_> {
    /// Loss of each supervised target, and what leaves the last layer in the head rows `watched`, which follow the supervised
    /// ones.
    pub fn nats_and_hidden(
        &self,
        layout: &Layout,
        watched: Range<usize>,
    ) -> Result<(Vec<f64>, Tensor), TensorError> {
        let (nats, picked) = self.nats_and_picked(layout)?;
        Ok((nats, self.gather(&picked, &watched.collect())))
    }

    /// What leaves the last layer in those of the head rows that follow the supervised ones.
    pub fn hidden(&self, layout: &Layout, watched: Range<usize>) -> Result<Tensor, TensorError> {
        let hidden = self.below(self.decoder.layers.len(), layout)?;
        let picked = self.gather(&hidden, &layout.head_rows);
        Ok(self.gather(&picked, &watched.collect()))
    }

    /// `Σ p ln(p / q)` of each row, `p` by this pass and `q` by another one, of what leaves the last layer of each.
    pub fn divergence(
        &self,
        hidden: &Tensor,
        other: (&Self, &Tensor),
    ) -> Result<Vec<f64>, TensorError> {
        let (pass, others) = other;
        // Logits of both are alive at a time.
        let chunk = (head_chunk_rows(self.decoder.config.vocab_size) / 2).max(1);
        let mut nats = Vec::with_capacity(hidden.rows());
        for first in (0..hidden.rows()).step_by(chunk) {
            self.stop.check()?;
            let rows: Index = (first..hidden.rows().min(first + chunk)).collect();
            let (mut p, mut q) = (
                self.logits(hidden, &rows, &[]),
                pass.logits(others, &rows, &[]),
            );
            nats.extend(self.device().divergence(&mut p, &mut q)?);
        }
        Ok(nats)
    }

    /// The token with the greatest logit in each row, of equals the first.
    pub fn most_likely(&self, hidden: &Tensor) -> Result<Vec<u32>, TensorError> {
        let chunk = head_chunk_rows(self.decoder.config.vocab_size);
        let mut tokens = Vec::with_capacity(hidden.rows());
        for first in (0..hidden.rows()).step_by(chunk) {
            self.stop.check()?;
            let rows: Index = (first..hidden.rows().min(first + chunk)).collect();
            let logits = self.logits(hidden, &rows, &[]);
            let all = logits.to_vec()?;
            tokens.extend(all.chunks_exact(logits.cols()).map(greatest));
        }
        Ok(tokens)
    }
}

fn greatest(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, logit) in logits.iter().copied().enumerate() {
        if logit > best.1 {
            best = (token as u32, logit);
        }
    }
    best.0
}
