//! A pass through the decoder, there and back, with the derivatives written by hand.
//!
//! The base is frozen, so the backward pass forms gradients for the adapter's matrices and for
//! activations, and for nothing else. Each layer either keeps what its backward pass will read or
//! keeps only its input and runs forward again; the numbers are the same either way.

use hone_tensor::{AttentionGrads, AttentionSaved, Device, Tensor, TensorError};

use crate::adapter::{AdaptedGroup, Adapter, LowRank};
use crate::decoder::{Decoder, Group, Projection};
use crate::generate::CacheLayer;
use crate::keep::{Activations, Held, Kept};
use crate::layout::{LastRows, Layout, Rows};

/// Logits of this many bytes are alive at a time, and not of the whole batch.
pub(crate) const LOGITS_BYTES: usize = 64 << 20;

/// One network, possibly with an adapter, possibly training.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub decoder: &'a Decoder,
    pub adapter: Option<&'a Adapter>,
    /// Probability and seed, while training.
    pub dropout: Option<(f32, u64)>,
}

/// A layer on the way back: its input, and the rest if there was room.
struct Trace {
    input: Held,
    kept: Option<Kept<Held>>,
}

/// How much of the way is kept and gone back.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    /// Layers, counted from the top, that keep their activations.
    pub kept_layers: usize,
    /// In which form.
    pub activations: Activations,
    /// The way back ends here; nothing below has an adapter.
    pub lowest: usize,
}

impl<'a> Pass<'a> {
    /// Loss of each target, in nats.
    pub fn nats(&self, layout: &Layout) -> Result<Vec<f64>, TensorError> {
        let hidden = self.below(self.decoder.layers.len(), layout);
        let picked = self.gather(&hidden, &layout.head_rows);
        drop(hidden);
        Ok(self.head_loss(&picked, layout, None)?.0)
    }

    /// What enters layer `end`.
    pub fn below(&self, end: usize, layout: &Layout) -> Tensor {
        let step = |hidden, layer| self.layer(layer, &hidden, &layout.rows, None, false).0;
        (0..end).fold(self.embed(&layout.ids), step)
    }

    /// Loss of each target, in nats, from what enters layer `start`; adds the gradients of their sum to
    /// `grads`, which is laid out like the adapter's parameters.
    pub fn nats_and_grads(
        &self,
        layout: &Layout,
        (start, entry): (usize, Tensor),
        way: Way,
        grads: &mut Tensor,
    ) -> Result<Vec<f64>, TensorError> {
        let (num_layers, rows, device) = (self.decoder.layers.len(), &layout.rows, self.device());
        let mut traces = Vec::with_capacity(num_layers);
        let mut hidden = entry;
        for layer in start..num_layers {
            // Below the lowest adapter nothing is read on the way back.
            let on_the_way = layer >= way.lowest;
            let keep = on_the_way && layer >= num_layers.saturating_sub(way.kept_layers);
            let (output, kept) = self.layer(layer, &hidden, rows, None, keep);
            let input = std::mem::replace(&mut hidden, output);
            traces.push(on_the_way.then(|| Trace {
                input: Held::new(input, way.activations),
                kept: kept.map(|kept| kept.hold(way.activations)),
            }));
        }
        let picked = self.gather(&hidden, &layout.head_rows);
        let out_rows = hidden.rows();
        drop(hidden);
        let (nats, dpicked) = self.head_loss(&picked, layout, Some(grads))?;
        if way.lowest >= num_layers {
            return Ok(nats);
        }
        let mut dhidden = device.zeros(out_rows, self.decoder.config.d_model);
        let dpicked = dpicked.expect("gradients were asked for");
        device.scatter_add_rows(&dpicked, &layout.head_rows, &mut dhidden);
        for layer in (way.lowest..num_layers).rev() {
            let Trace { input, kept } = traces
                .pop()
                .flatten()
                .expect("each adapted layer left a trace");
            let input = input.release();
            let kept = kept.map(Kept::release).unwrap_or_else(|| {
                self.layer(layer, &input, rows, None, true)
                    .1
                    .expect("the layer was told to keep")
            });
            let needs_input = layer > way.lowest;
            self.layer_backward(layer, &input, kept, rows, &mut dhidden, needs_input, grads);
        }
        Ok(nats)
    }

    /// Logits of the chosen rows of a hidden state that has passed all layers.
    pub fn logits(&self, hidden: &Tensor, rows: &[usize]) -> Tensor {
        let normed = self.norm(&self.gather(hidden, rows), &self.decoder.final_norm);
        let (outs, _) = self.project(
            self.decoder.layers.len(),
            Group::Head,
            &self.decoder.head,
            &normed,
        );
        let [logits] = take(outs);
        logits
    }

    pub fn embed(&self, ids: &[u32]) -> Tensor {
        let mut hidden = self.device().empty(ids.len(), self.decoder.config.d_model);
        self.device()
            .embed(ids, &self.decoder.embedding, &mut hidden);
        hidden
    }

    fn device(&self) -> &'a Device {
        &self.decoder.device
    }

    fn eps(&self) -> f32 {
        self.decoder.config.norm_eps
    }

    pub fn gather(&self, x: &Tensor, rows: &[usize]) -> Tensor {
        let mut picked = self.device().empty(rows.len(), x.cols());
        self.device().gather_rows(x, rows, &mut picked);
        picked
    }

    /// `rows` rows of zeros with `x` added at their places.
    fn scatter(&self, x: &Tensor, places: &[usize], rows: usize) -> Tensor {
        let mut out = self.device().zeros(rows, x.cols());
        self.device().scatter_add_rows(x, places, &mut out);
        out
    }

    fn norm(&self, x: &Tensor, weight: &Tensor) -> Tensor {
        let mut out = self.device().empty(x.rows(), x.cols());
        self.device().rms_norm(x, weight, self.eps(), &mut out);
        out
    }

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
    fn layer_backward(
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

    fn norm_backward(&self, dnormed: &Tensor, x: &Tensor, weight: &Tensor, dx: &mut Tensor) {
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

    fn adapted(&self, index: usize, group: Group) -> Option<(&'a Adapter, &'a AdaptedGroup)> {
        let adapter = self.adapter?;
        adapter
            .group(index, group)
            .map(|adapted| (adapter, adapted))
    }

    /// `y = x·Wᵀ + bias + scale · (x·Aᵀ)·Bᵀ` for each projection of a group. The small product comes
    /// first, so the dense `B·A` is never formed; it is returned for the backward pass.
    fn project(
        &self,
        index: usize,
        group: Group,
        projections: &[Projection],
        x: &Tensor,
    ) -> (Vec<Tensor>, Option<Tensor>) {
        let device = self.device();
        let plain = |projection: &Projection| {
            let mut y = device.empty(x.rows(), projection.weight.rows());
            device.linear(x.view(), &projection.weight, &mut y, false);
            if let Some(bias) = &projection.bias {
                device.add_bias(&mut y, bias);
            }
            y
        };
        let mut outs: Vec<Tensor> = projections.iter().map(plain).collect();
        let low = self.adapted(index, group).map(|(adapter, adapted)| {
            let low = self.narrow(adapter, adapted, x);
            for member in &adapted.members {
                add_low_rank(adapter, member, &low, &mut outs[member.site.slot()]);
            }
            low
        });
        (outs, low)
    }

    /// `x·Aᵀ` for all members of a group at once, `[rows, total_rank]`.
    fn narrow(&self, adapter: &Adapter, adapted: &AdaptedGroup, x: &Tensor) -> Tensor {
        let mut low = self.device().empty(x.rows(), adapted.total_rank);
        let a = adapter
            .parameters()
            .window(adapted.a_offset, adapted.total_rank, adapted.width);
        let dropped = self.dropped(adapted, x);
        let x = dropped.as_ref().unwrap_or(x);
        self.device()
            .matmul(x.view(), a.t(), 1.0, low.view_mut(), false);
        low
    }

    /// The adapter's input with some elements zeroed, if it trains with dropout. The projections of a
    /// group share one mask.
    fn dropped(&self, adapted: &AdaptedGroup, x: &Tensor) -> Option<Tensor> {
        let (p, seed) = self.dropout_of(adapted)?;
        let mut dropped = self.device().empty(x.rows(), x.cols());
        self.device().dropout(x, p, seed, &mut dropped, false);
        Some(dropped)
    }

    fn dropout_of(&self, adapted: &AdaptedGroup) -> Option<(f32, u64)> {
        let (p, seed) = self.dropout.filter(|(p, _)| *p > 0.0)?;
        let place = (adapted.layer as u64) << 8 | adapted.group as u64;
        Some((p, hone_ledger::Seed::new(seed).index(place).value()))
    }

    /// Head and loss in chunks of rows, so that `[rows, vocabulary]` is never whole. With `grads`, also
    /// the gradient of `picked`.
    fn head_loss(
        &self,
        picked: &Tensor,
        layout: &Layout,
        mut grads: Option<&mut Tensor>,
    ) -> Result<(Vec<f64>, Option<Tensor>), TensorError> {
        let (device, decoder) = (self.device(), self.decoder);
        let (head_index, width) = (decoder.layers.len(), picked.cols());
        let (targets, supervised) = (&layout.targets, layout.supervised);
        let chunk = head_chunk_rows(decoder.config.vocab_size);
        let mut nats = Vec::with_capacity(targets.len());
        let mut dpicked = grads.is_some().then(|| device.empty(picked.rows(), width));
        for first in (0..targets.len()).step_by(chunk) {
            let count = chunk.min(targets.len() - first);
            let mut rows = device.empty(count, width);
            device.copy_rows(picked, first, count, &mut rows, 0);
            let normed = self.norm(&rows, &decoder.final_norm);
            let (outs, low) = self.project(head_index, Group::Head, &decoder.head, &normed);
            let [mut logits] = take(outs);
            nats.extend(device.cross_entropy(
                &mut logits,
                &targets[first..first + count],
                grads.is_some(),
            )?);
            let ignored = first.max(supervised)..first + count;
            if grads.is_some() && !ignored.is_empty() {
                let zeros = device.zeros(ignored.len(), logits.cols());
                device.copy_rows(&zeros, 0, ignored.len(), &mut logits, ignored.start - first);
            }
            if let (Some(grads), Some(dpicked)) = (grads.as_deref_mut(), dpicked.as_mut()) {
                let mut back = Back {
                    pass: self,
                    index: head_index,
                    grads,
                };
                let dnormed = back
                    .project(Group::Head, &decoder.head, &normed, &low, &[&logits], true)
                    .expect(ASKED);
                let mut drows = device.zeros(count, width);
                self.norm_backward(&dnormed, &rows, &decoder.final_norm, &mut drows);
                device.copy_rows(&drows, 0, count, dpicked, first);
            }
        }
        nats.truncate(supervised);
        Ok((nats, dpicked))
    }
}

/// The way back through one layer's projections.
struct Back<'a, 'b> {
    pass: &'b Pass<'a>,
    index: usize,
    grads: &'b mut Tensor,
}

impl Back<'_, '_> {
    /// Adds the gradients of a group's adapters; returns the gradient of the group's input if needed.
    fn project(
        &mut self,
        group: Group,
        projections: &[Projection],
        x: &Tensor,
        low: &Option<Tensor>,
        dys: &[&Tensor],
        needs_input: bool,
    ) -> Option<Tensor> {
        let device = self.pass.device();
        let mut dx = needs_input.then(|| {
            let mut dx = device.empty(x.rows(), x.cols());
            for (i, (projection, dy)) in projections.iter().zip(dys).enumerate() {
                device.linear_backward(dy.view(), &projection.weight, &mut dx, i > 0);
            }
            dx
        });
        if let (Some((adapter, adapted)), Some(low)) = (self.pass.adapted(self.index, group), low) {
            self.low_rank(adapter, adapted, x, low, dys, dx.as_mut());
        }
        dx
    }

    /// With `y = s · (x·Aᵀ)·Bᵀ`: `dB += s · dyᵀ·(x·Aᵀ)`, `dA += (s · dy·B)ᵀ·x`, `dx += (s · dy·B)·A`.
    fn low_rank(
        &mut self,
        adapter: &Adapter,
        adapted: &AdaptedGroup,
        x: &Tensor,
        low: &Tensor,
        dys: &[&Tensor],
        dx: Option<&mut Tensor>,
    ) {
        let device = self.pass.device();
        let mut dlow = device.empty(x.rows(), adapted.total_rank);
        for member in &adapted.members {
            let (dy, ranks) = (dys[member.site.slot()].view(), member.ranks());
            let b = adapter
                .parameters()
                .window(member.b_offset, member.out, member.rank);
            device.matmul(
                dy,
                b,
                member.scale,
                dlow.view_cols_mut(ranks.clone()),
                false,
            );
            let db = self
                .grads
                .window_mut(member.b_offset, member.out, member.rank);
            device.matmul(dy.t(), low.view_cols(ranks), member.scale, db, true);
        }
        let (offset, rank, width) = (adapted.a_offset, adapted.total_rank, adapted.width);
        let dropped = self.pass.dropped(adapted, x);
        let input = dropped.as_ref().unwrap_or(x);
        device.matmul(
            dlow.view().t(),
            input.view(),
            1.0,
            self.grads.window_mut(offset, rank, width),
            true,
        );

        let Some(dx) = dx else { return };
        let a = adapter.parameters().window(offset, rank, width);
        match self.pass.dropout_of(adapted) {
            None => device.matmul(dlow.view(), a, 1.0, dx.view_mut(), true),
            Some((p, seed)) => {
                let mut ddropped = device.empty(x.rows(), width);
                device.matmul(dlow.view(), a, 1.0, ddropped.view_mut(), false);
                device.dropout(&ddropped, p, seed, dx, true);
            }
        }
    }
}

/// `y += scale · low·Bᵀ`.
fn add_low_rank(adapter: &Adapter, member: &LowRank, low: &Tensor, y: &mut Tensor) {
    let b = adapter
        .parameters()
        .window(member.b_offset, member.out, member.rank);
    let low = low.view_cols(member.ranks());
    adapter
        .parameters()
        .device()
        .matmul(low, b.t(), member.scale, y.view_mut(), true);
}

fn take<const N: usize>(outs: Vec<Tensor>) -> [Tensor; N] {
    outs.try_into()
        .expect("as many outputs as projections in the group")
}

const ASKED: &str = "the gradient of the input was asked for";

/// How many rows of logits are alive at a time.
pub(crate) fn head_chunk_rows(vocab_size: usize) -> usize {
    (LOGITS_BYTES / (4 * vocab_size)).max(1)
}
