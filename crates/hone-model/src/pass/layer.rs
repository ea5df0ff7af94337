//! One block of the decoder, there and back.

use hone_tensor::{AttentionGrads, AttentionSaved, Tensor};

use super::projection::Back;
use super::{ASKED, Pass, take};
use crate::decoder::Group;
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
        let layer = &self.decoder.layers[index];
        let device = self.device();
        let heads = self.decoder.config.heads();
        let ([mut q, mut k, v], low_in) = self.attention_in(index, input, rows);
        for x in [&mut q, &mut k] {
            self.rope(x, rows, false);
        }
        let last = rows.last.as_ref().filter(|_| self.is_last(index));
        let (spans, residual) = match last {
            None => (&rows.spans, None),
            Some(last) => {
                q = self.gather(&q, &last.rows);
                (&last.spans, Some(self.gather(input, &last.rows)))
            }
        };
        let residual = residual.as_ref().unwrap_or(input);
        let mut attended = device.empty(q.rows(), q.cols());
        let mut lse = keep.then(|| device.empty(q.rows(), heads.num_heads));
        match cache {
            None => {
                let copies = self.copies(&k, &v, rows);
                let (k, v) = copies.as_ref().map_or((&k, &v), |(k, v)| (k, v));
                device.attention(&q, k, v, spans, heads, &mut attended, lse.as_mut());
            }
            Some(cache) => {
                cache.append(&k, &v, &rows.spans);
                let (k, v) = (&cache.keys, &cache.values);
                device.attention(&q, k, v, spans, heads, &mut attended, None);
            }
        }
        let (out, low_out) =
            self.project(index, Group::AttentionOut, &layer.attention_out, &attended);
        let [mut middle] = take(out);
        device.add(&mut middle, residual);

        let normed = self.norm(&middle, &layer.mlp_norm);
        let (gate_up, low_mlp) = self.project(index, Group::MlpIn, &layer.mlp_in, &normed);
        drop(normed);
        let [gate, up] = take(gate_up);
        let active = self.activate(&gate, &up);
        let (out, low_down) = self.project(index, Group::MlpOut, &layer.mlp_out, &active);
        drop(active);
        let [mut output] = take(out);
        device.add(&mut output, &middle);
        let kept = lse.map(|lse| Kept {
            q,
            k,
            v,
            attended,
            lse,
            middle,
            gate,
            up,
            lows: [low_in, low_out, low_mlp, low_down],
        });
        (output, kept)
    }

    fn is_last(&self, index: usize) -> bool {
        index + 1 == self.decoder.layers.len()
    }

    fn rope(&self, x: &mut Tensor, rows: &Rows, inverse: bool) {
        let head_dim = self.decoder.config.head_dim;
        let table = &self.decoder.rope_table;
        self.device()
            .rope(x, head_dim, &rows.positions, table, inverse);
    }

    /// Query, key and value of every row, before rotation. The first layer projects each distinct token
    /// once.
    fn attention_in(
        &self,
        index: usize,
        input: &Tensor,
        rows: &Rows,
    ) -> ([Tensor; 3], Option<Tensor>) {
        let layer = &self.decoder.layers[index];
        let first = rows.first.as_ref().filter(|_| index == 0);
        let distinct = first.map(|first| self.gather(input, &first.representatives));
        let normed = self.norm(distinct.as_ref().unwrap_or(input), &layer.attention_norm);
        let (outs, low) = self.project(index, Group::AttentionIn, &layer.attention_in, &normed);
        let outs: [Tensor; 3] = take(outs);
        match first {
            None => (outs, low),
            Some(first) => (outs.map(|y| self.gather(&y, &first.of_row)), low),
        }
    }

    /// Keys and values laid out path by path, where sequences share their beginnings.
    fn copies(&self, k: &Tensor, v: &Tensor, rows: &Rows) -> Option<(Tensor, Tensor)> {
        let keys = rows.keys.as_ref()?;
        Some((self.gather(k, keys), self.gather(v, keys)))
    }

    fn activate(&self, gate: &Tensor, up: &Tensor) -> Tensor {
        let mut active = self.device().empty(gate.rows(), gate.cols());
        self.device().gated_silu(gate, up, &mut active);
        active
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
        grads: &mut Tensor,
    ) {
        let layer = &self.decoder.layers[index];
        let [low_in, low_out, low_mlp, low_down] = &kept.lows;
        let mut back = Back {
            pass: self,
            index,
            grads,
        };
        let dactive = {
            let active = self.activate(&kept.gate, &kept.up);
            back.project(
                Group::MlpOut,
                &layer.mlp_out,
                &active,
                low_down,
                &[dhidden],
                true,
            )
        };
        let (dgate, dup) = self.activate_backward(&dactive.expect(ASKED), &kept.gate, &kept.up);
        let dnormed = {
            let normed = self.norm(&kept.middle, &layer.mlp_norm);
            back.project(
                Group::MlpIn,
                &layer.mlp_in,
                &normed,
                low_mlp,
                &[&dgate, &dup],
                true,
            )
        };
        drop((dgate, dup));
        self.norm_backward(
            &dnormed.expect(ASKED),
            &kept.middle,
            &layer.mlp_norm,
            dhidden,
        );

        let dattended = back.project(
            Group::AttentionOut,
            &layer.attention_out,
            &kept.attended,
            low_out,
            &[dhidden],
            true,
        );
        let last = rows.last.as_ref().filter(|_| self.is_last(index));
        let [mut dq, mut dk, dv] =
            self.attention_backward(&kept, &dattended.expect(ASKED), rows, last);
        if let Some(last) = last {
            dq = self.scatter(&dq, &last.rows, input.rows());
            *dhidden = self.scatter(dhidden, &last.rows, input.rows());
        }
        for dx in [&mut dq, &mut dk] {
            self.rope(dx, rows, true);
        }
        let dqkv = [dq, dk, dv];
        let dnormed = self.attention_in_backward(&mut back, input, low_in, dqkv, rows, needs_input);
        if let Some(dnormed) = dnormed {
            self.norm_backward(&dnormed, input, &layer.attention_norm, dhidden);
        }
    }

    fn attention_in_backward(
        &self,
        back: &mut Back,
        input: &Tensor,
        low: &Option<Tensor>,
        dqkv: [Tensor; 3],
        rows: &Rows,
        needs_input: bool,
    ) -> Option<Tensor> {
        let layer = &self.decoder.layers[back.index];
        let first = rows.first.as_ref().filter(|_| back.index == 0);
        let distinct = first.map(|first| self.gather(input, &first.representatives));
        let input = distinct.as_ref().unwrap_or(input);
        let [dq, dk, dv] = match first {
            None => dqkv,
            Some(first) => dqkv.map(|dy| self.scatter(&dy, &first.of_row, input.rows())),
        };
        let normed = self.norm(input, &layer.attention_norm);
        back.project(
            Group::AttentionIn,
            &layer.attention_in,
            &normed,
            low,
            &[&dq, &dk, &dv],
            needs_input,
        )
    }

    fn activate_backward(&self, dactive: &Tensor, gate: &Tensor, up: &Tensor) -> (Tensor, Tensor) {
        let (rows, cols) = (gate.rows(), gate.cols());
        let (mut dgate, mut dup) = (
            self.device().empty(rows, cols),
            self.device().empty(rows, cols),
        );
        self.device()
            .gated_silu_backward(dactive, gate, up, &mut dgate, &mut dup);
        (dgate, dup)
    }

    pub(super) fn norm_backward(
        &self,
        dnormed: &Tensor,
        x: &Tensor,
        weight: &Tensor,
        dx: &mut Tensor,
    ) {
        self.device()
            .rms_norm_backward(dnormed, x, weight, self.eps(), dx, true);
    }

    /// Gradients of queries, keys and values as they were after rotation.
    fn attention_backward(
        &self,
        kept: &Kept,
        dattended: &Tensor,
        rows: &Rows,
        last: Option<&LastRows>,
    ) -> [Tensor; 3] {
        let (device, heads) = (self.device(), self.decoder.config.heads());
        let copies = self.copies(&kept.k, &kept.v, rows);
        let (k, v) = copies.as_ref().map_or((&kept.k, &kept.v), |(k, v)| (k, v));
        // In the last layer, keys that no needed row sees are not written.
        let like = |x: &Tensor| match last {
            None => device.empty(x.rows(), x.cols()),
            Some(_) => device.zeros(x.rows(), x.cols()),
        };
        let spans = last.map_or(&rows.spans, |last| &last.spans);
        let (mut dq, mut dk, mut dv) = (like(&kept.q), like(k), like(v));
        let saved = AttentionSaved {
            q: &kept.q,
            k,
            v,
            out: &kept.attended,
            lse: &kept.lse,
        };
        let grads = AttentionGrads {
            dq: &mut dq,
            dk: &mut dk,
            dv: &mut dv,
        };
        device.attention_backward(saved, dattended, spans, heads, grads);
        match &rows.keys {
            None => [dq, dk, dv],
            Some(keys) => {
                let merge = |dx: &Tensor| self.scatter(dx, keys, kept.k.rows());
                [dq, merge(&dk), merge(&dv)]
            }
        }
    }
}
