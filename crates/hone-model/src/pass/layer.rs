//! One block of the decoder, forward and backward: a mixer and a feed-forward, and how they are added to the stream.

use hone_tensor::Tensor;

use super::projection::Back;
use super::shares::Grads;
use super::{ASKED, Pass};
use crate::decoder::Norm;
use crate::keep::Kept;
use crate::layout::{LastRows, Rows};
use crate::state::LayerState;

impl<'a> Pass<'a> {
    /// One layer forward. With a state, the mixer reads there what came before, and leaves what comes after.
    pub fn layer(
        &self,
        index: usize,
        input: &Tensor,
        rows: &Rows,
        state: Option<&mut LayerState>,
        keep: bool,
    ) -> (Tensor, Option<Kept>) {
        let (device, layer) = (self.device(), &self.decoder.layers[index]);
        let (out, mixer) = self.mixer(index, input, rows, state, keep);
        let (mut mixed, mixer_out) = self.branch(out, layer.mixer_out_norm.as_ref());
        let picked = self
            .last_rows(index, rows)
            .map(|last| self.gather(input, &last.rows));
        let residual = picked.as_ref().unwrap_or(input);
        let is_parallel = self.decoder.config.block.is_parallel();
        let middle = match is_parallel {
            true => None,
            false => {
                device.add(&mut mixed, residual);
                Some(&mixed)
            }
        };
        let read = middle.unwrap_or(residual);
        let (out, feed_forward) = self.feed_forward(index, read, rows, keep);
        let norm = layer.feed_forward_out_norm.as_ref();
        let (mut output, feed_forward_out) = self.branch(out, norm);
        device.add(&mut output, &mixed);
        if is_parallel {
            device.add(&mut output, residual);
        }
        let kept = mixer.zip(feed_forward);
        let kept = kept.map(|(mixer, feed_forward)| Kept {
            mixer,
            mixer_out,
            middle: (!is_parallel).then_some(mixed),
            feed_forward,
            feed_forward_out,
        });
        (output, kept)
    }

    /// The only rows that matter after this layer's keys and values, if not all do.
    pub(super) fn last_rows<'r>(&self, index: usize, rows: &'r Rows) -> Option<&'r LastRows> {
        let is_last = index + 1 == self.decoder.layers.len();
        rows.last.as_ref().filter(|_| is_last)
    }

    /// How rows divide among the shares of a batch, after this layer's keys and values.
    pub(super) fn division<'r>(&self, index: usize, rows: &'r Rows) -> &'r [usize] {
        let last = self.last_rows(index, rows);
        last.map_or(&rows.division, |last| &last.division)
    }

    /// One layer back: `dhidden` is the gradient of the output on entry and of the input on return.
    pub(super) fn layer_backward(
        &self,
        index: usize,
        input: &Tensor,
        kept: Kept,
        rows: &Rows,
        dhidden: &mut Tensor,
        needs_input: bool,
        grads: &mut Grads,
    ) {
        let Kept {
            mixer,
            mixer_out,
            middle,
            feed_forward,
            feed_forward_out,
        } = kept;
        let layer = &self.decoder.layers[index];
        let last = self.last_rows(index, rows);
        let mut back = Back {
            pass: self,
            index,
            grads,
        };
        // In a parallel block the feed-forward reads what the layer reads, and the mixer's gradient is the output's.
        let picked = match &middle {
            Some(_) => None,
            None => last.map(|last| self.gather(input, &last.rows)),
        };
        let read = middle.as_ref().or(picked.as_ref()).unwrap_or(input);
        let norm = layer.feed_forward_out_norm.as_ref();
        let dout = self.branch_backward(dhidden, norm, feed_forward_out.as_ref());
        drop(feed_forward_out);
        let is_needed = middle.is_some() || needs_input;
        let dnormed = self.feed_forward_backward(
            &mut back,
            (read, rows),
            feed_forward,
            (dout, dhidden),
            is_needed,
        );
        let norm = layer.feed_forward_norm.as_deref();
        let beside = match (&middle, dnormed) {
            (Some(middle), dnormed) => {
                self.through_norm(dnormed.expect(ASKED), middle, norm, dhidden);
                None
            }
            (None, None) => None,
            (None, Some(dnormed)) => {
                let mut dx = self.device().zeros(read.rows(), read.cols());
                self.through_norm(dnormed, read, norm, &mut dx);
                Some(dx)
            }
        };
        drop((middle, picked));
        let dmixed = {
            let dout =
                self.branch_backward(dhidden, layer.mixer_out_norm.as_ref(), mixer_out.as_ref());
            let dout = dout.as_ref().unwrap_or(dhidden);
            self.mixer_out_backward(&mut back, &mixer, dout, rows)
        };
        drop(mixer_out);
        if let Some(beside) = beside {
            self.device().add(dhidden, &beside);
        }
        if let Some(last) = last {
            *dhidden = self.scatter(dhidden, &last.rows, input.rows());
        }
        let dnormed = self.mixer_in_backward(&mut back, input, mixer, dmixed, rows, needs_input);
        if let Some(dnormed) = dnormed {
            self.through_norm(dnormed, input, layer.mixer_norm.as_deref(), dhidden);
        }
    }

    /// Adds to `dx` the gradient of a branch's input, given that of its normed input.
    pub(super) fn through_norm(
        &self,
        dnormed: Tensor,
        x: &Tensor,
        norm: Option<&Norm>,
        dx: &mut Tensor,
    ) {
        match norm {
            Some(norm) => self.norm_backward(&dnormed, x, norm, dx, true),
            None => self.device().add(dx, &dnormed),
        }
    }

    /// What a branch adds to the stream: normed and scaled, as the family does. Also what it was before its norm.
    pub(super) fn branch(&self, out: Tensor, norm: Option<&Norm>) -> (Tensor, Option<Tensor>) {
        let (mut added, raw) = match norm {
            Some(norm) => (self.norm(&out, norm), Some(out)),
            None => (out, None),
        };
        let scale = self.decoder.config.residual_scale;
        if scale != 1.0 {
            self.device().scale(&mut added, scale);
        }
        (added, raw)
    }

    /// The gradient of what a branch gives back, if it is not that of the stream.
    pub(super) fn branch_backward(
        &self,
        dhidden: &Tensor,
        norm: Option<&Norm>,
        raw: Option<&Tensor>,
    ) -> Option<Tensor> {
        let (device, scale) = (self.device(), self.decoder.config.residual_scale);
        let (rows, cols) = (dhidden.rows(), dhidden.cols());
        let scaled = (scale != 1.0).then(|| {
            let mut scaled = device.empty(rows, cols);
            device.copy_rows(dhidden, 0, rows, &mut scaled, 0);
            device.scale(&mut scaled, scale);
            scaled
        });
        let Some((norm, raw)) = norm.zip(raw) else {
            return scaled;
        };
        let mut dout = device.empty(rows, cols);
        let dadded = scaled.as_ref().unwrap_or(dhidden);
        self.norm_backward(dadded, raw, norm, &mut dout, false);
        Some(dout)
    }
}
