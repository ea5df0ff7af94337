//! What works on each token of a block by itself, forward and backward: one MLP in [`mlp`](super::mlp), experts in
//! [`experts`](super::experts), chosen here.

use hone_tensor::Tensor;

use super::Pass;
use super::projection::Back;
use crate::decoder::FeedForwardWeights;
use crate::keep::KeptFeedForward;
use crate::layout::Rows;

impl Pass<'_> {
    /// What the feed-forward gives, before its norm.
    pub(super) fn feed_forward(
        &self,
        index: usize,
        x: &Tensor,
        rows: &Rows,
        keep: bool,
    ) -> (Tensor, Option<KeptFeedForward>) {
        let layer = &self.decoder.layers[index];
        let norm = layer.feed_forward_norm.as_ref();
        let normed = norm.map(|norm| self.norm(x, norm));
        let division = self.division(index, rows);
        match &layer.feed_forward {
            FeedForwardWeights::Dense { into, out } => {
                let (out, kept) = self.dense(index, (into, out), (x, normed), division, keep);
                (out, kept.map(KeptFeedForward::Dense))
            }
            FeedForwardWeights::Experts { router, experts } => {
                let read = normed.as_ref().unwrap_or(x);
                let (out, kept) = self.experts(index, (router, experts), (read, division), keep);
                (out, kept.map(KeptFeedForward::Experts))
            }
        }
    }

    /// Back to the gradient of the normed input, if it is needed. The gradient of what the feed-forward gave is `dout`, or
    /// that of the stream.
    pub(super) fn feed_forward_backward(
        &self,
        back: &mut Back,
        (x, rows): (&Tensor, &Rows),
        kept: KeptFeedForward,
        (dout, dhidden): (Option<Tensor>, &Tensor),
        needs_input: bool,
    ) -> Option<Tensor> {
        let layer = &self.decoder.layers[back.index];
        let norm = layer.feed_forward_norm.as_deref();
        let division = self.division(back.index, rows);
        match (&layer.feed_forward, kept) {
            (FeedForwardWeights::Dense { into, out }, KeptFeedForward::Dense(kept)) => {
                let x = (x, norm, division);
                self.dense_backward(back, (into, out), x, kept, (dout, dhidden), needs_input)
            }
            (FeedForwardWeights::Experts { router, experts }, KeptFeedForward::Experts(kept)) => {
                let normed = norm.map(|norm| self.norm(x, norm));
                let read = (normed.as_ref().unwrap_or(x), division);
                let dout = dout.as_ref().unwrap_or(dhidden);
                self.experts_backward(back, (router, experts), read, &kept, dout, needs_input)
            }
            (FeedForwardWeights::Dense { .. }, KeptFeedForward::Experts(_))
            | (FeedForwardWeights::Experts { .. }, KeptFeedForward::Dense(_)) => {
                unreachable!("a layer keeps what its own backward pass reads")
            }
        }
    }
}
