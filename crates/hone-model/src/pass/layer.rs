//! One block of the decoder, there and back: its branches, and how they are added to the stream.

use hone_tensor::Tensor;

use super::Pass;
use super::projection::Back;
use super::shares::Grads;
use crate::decoder::Norm;
use crate::generate::CacheLayer;
use crate::keep::Kept;
use crate::layout::{LastRows, Rows};

impl<'a> Pass<'a> {
    /// One layer forward. With a cache, keys and values go there and attention reads from there.
    pub fn layer(
        &self,
        index: usize,
        input: &Tensor,
        rows: &Rows,
        cache: Option<&mut CacheLayer>,
        keep: bool,
    ) -> (Tensor, Option<Kept>) {
        let device = self.device();
        let (mut attended, attention) = self.attention(index, input, rows, cache, keep);
        let picked = self
            .last_rows(index, rows)
            .map(|last| self.gather(input, &last.rows));
        let residual = picked.as_ref().unwrap_or(input);
        let is_parallel = self.decoder.config.block.is_parallel();
        let (output, middle, mlp) = if is_parallel {
            let (mut output, mlp) = self.mlp(index, residual, rows, keep);
            device.add(&mut output, &attended);
            device.add(&mut output, residual);
            (output, None, mlp)
        } else {
            device.add(&mut attended, residual);
            let middle = attended;
            let (mut output, mlp) = self.mlp(index, &middle, rows, keep);
            device.add(&mut output, &middle);
            (output, Some(middle), mlp)
        };
        let kept = attention.zip(mlp).map(|(attention, mlp)| Kept {
            attention,
            middle,
            mlp,
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
            attention,
            middle,
            mlp,
        } = kept;
        let last = self.last_rows(index, rows);
        let mut back = Back {
            pass: self,
            index,
            grads,
        };
        // In a parallel block the MLP reads what the layer reads, and attention's gradient is the output's.
        let beside = match &middle {
            Some(middle) => {
                self.mlp_backward(&mut back, (middle, rows), mlp, dhidden, Into::Stream);
                None
            }
            None => {
                let picked = last.map(|last| self.gather(input, &last.rows));
                let residual = picked.as_ref().unwrap_or(input);
                let into = match needs_input {
                    true => Into::Aside,
                    false => Into::Nowhere,
                };
                self.mlp_backward(&mut back, (residual, rows), mlp, dhidden, into)
            }
        };
        drop(middle);
        let dattended = self.attention_out_backward(&mut back, &attention, dhidden, rows);
        if let Some(beside) = beside {
            self.device().add(dhidden, &beside);
        }
        if let Some(last) = last {
            *dhidden = self.scatter(dhidden, &last.rows, input.rows());
        }
        let dqkv = self.attention_backward(index, attention.parts(), &dattended, rows);
        drop(dattended);
        let dnormed =
            self.attention_in_backward(&mut back, input, &attention, dqkv, rows, needs_input);
        if let Some(dnormed) = dnormed {
            let norm = self.decoder.layers[index].attention_norm.as_deref();
            self.through_norm(dnormed, input, norm, dhidden);
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

/// Where the gradient of a branch's input goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    /// Onto the gradient of the stream.
    Stream,
    /// Into a tensor of its own.
    Aside,
    /// Nobody asks for it.
    Nowhere,
}
