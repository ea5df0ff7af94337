//! A pass through the decoder, there and back, with the derivatives written by hand.
//!
//! The base is frozen, so the backward pass forms gradients for the adapter's matrices and for
//! activations, and for nothing else. Each layer either keeps what its backward pass will read or
//! keeps only its input and runs forward again; the numbers are the same either way.

use hone_tensor::{AttentionGrads, AttentionSaved, Span, Tensor, TensorError};

use crate::adapter::{AdaptedGroup, Adapter, LowRank};
use crate::batch::Packed;
use crate::decoder::{Decoder, Group, Projection};
use crate::generate::CacheLayer;

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

/// Where the rows of a batch stand.
pub(crate) struct Rows {
    pub positions: Vec<u32>,
    pub spans: Vec<Span>,
}

/// What a layer's backward pass reads.
pub(crate) struct Kept {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attended: Tensor,
    lse: Tensor,
    middle: Tensor,
    gate: Tensor,
    up: Tensor,
    lows: [Option<Tensor>; 4],
}

/// A layer on the way back: its input, and the rest if there was room.
struct Trace {
    input: Tensor,
    kept: Option<Kept>,
}

impl<'a> Pass<'a> {
    /// Loss of each target, in nats.
    pub fn nats(&self, batch: Packed) -> Result<Vec<f64>, TensorError> {
        let rows = Rows {
            positions: batch.positions(),
            spans: batch.spans(),
        };
        let mut hidden = self.embed(batch.ids);
        for layer in 0..self.decoder.layers.len() {
            hidden = self.layer(layer, &hidden, &rows, None, false).0;
        }
        let picked = self.gather(&hidden, batch.rows);
        drop(hidden);
        Ok(self.head_loss(&picked, batch.targets, None)?.0)
    }

    /// Loss of each target, in nats; adds the gradients of their sum to `grads`, which is laid out like
    /// the adapter's parameters. The last `kept_layers` layers keep their activations.
    pub fn nats_and_grads(
        &self,
        batch: Packed,
        kept_layers: usize,
        grads: &mut Tensor,
    ) -> Result<Vec<f64>, TensorError> {
        let num_layers = self.decoder.layers.len();
        let lowest = self.adapter.map_or(usize::MAX, Adapter::lowest_layer);
        let rows = Rows {
            positions: batch.positions(),
            spans: batch.spans(),
        };
        let mut traces = Vec::with_capacity(num_layers);
        let mut hidden = self.embed(batch.ids);
        for layer in 0..num_layers {
            // Below the lowest adapter nothing is read on the way back.
            let keep = layer >= lowest && layer >= num_layers - kept_layers.min(num_layers);
            let (output, kept) = self.layer(layer, &hidden, &rows, None, keep);
            let input = std::mem::replace(&mut hidden, output);
            traces.push((layer >= lowest).then_some(Trace { input, kept }));
        }
        let picked = self.gather(&hidden, batch.rows);
        drop(hidden);
        let (nats, dpicked) = self.head_loss(&picked, batch.targets, Some(grads))?;
        let mut dhidden = self
            .device()
            .zeros(batch.ids.len(), self.decoder.config.d_model);
        if lowest >= num_layers {
            return Ok(nats);
        }
        let dpicked = dpicked.expect("gradients were asked for");
        self.device()
            .scatter_add_rows(&dpicked, batch.rows, &mut dhidden);
        for layer in (lowest..num_layers).rev() {
            let Trace { input, kept } = traces
                .pop()
                .flatten()
                .expect("each adapted layer left a trace");
            let kept = kept.unwrap_or_else(|| {
                self.layer(layer, &input, &rows, None, true)
                    .1
                    .expect("the layer was told to keep")
            });
            self.layer_backward(
                layer,
                &input,
                kept,
                &rows,
                &mut dhidden,
                layer > lowest,
                grads,
            );
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

    fn device(&self) -> &'a hone_tensor::Device {
        &self.decoder.device
    }

    fn eps(&self) -> f32 {
        self.decoder.config.norm_eps
    }

    fn gather(&self, x: &Tensor, rows: &[usize]) -> Tensor {
        let mut picked = self.device().empty(rows.len(), x.cols());
        self.device().gather_rows(x, rows, &mut picked);
        picked
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
        let normed = self.norm(input, &layer.attention_norm);
        let (qkv, low_in) = self.project(index, Group::AttentionIn, &layer.attention_in, &normed);
        drop(normed);
        let [mut q, mut k, v] = take(qkv);
        for x in [&mut q, &mut k] {
            device.rope(
                x,
                heads.head_dim,
                &rows.positions,
                &self.decoder.rope_table,
                false,
            );
        }
        let mut attended = device.empty(input.rows(), q.cols());
        let mut lse = keep.then(|| device.empty(input.rows(), heads.num_heads));
        match cache {
            None => device.attention(&q, &k, &v, &rows.spans, heads, &mut attended, lse.as_mut()),
            Some(cache) => {
                cache.append(&k, &v, &rows.spans);
                device.attention(
                    &q,
                    &cache.keys,
                    &cache.values,
                    &rows.spans,
                    heads,
                    &mut attended,
                    None,
                );
            }
        }
        let (out, low_out) =
            self.project(index, Group::AttentionOut, &layer.attention_out, &attended);
        let [mut middle] = take(out);
        device.add(&mut middle, input);

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
        let [dq, dk, dv] = self.attention_backward(&kept, &dattended.expect(ASKED), rows);
        let dnormed = {
            let normed = self.norm(input, &layer.attention_norm);
            back.project(
                Group::AttentionIn,
                &layer.attention_in,
                &normed,
                low_in,
                &[&dq, &dk, &dv],
                needs_input,
            )
        };
        if let Some(dnormed) = dnormed {
            self.norm_backward(&dnormed, input, &layer.attention_norm, dhidden);
        }
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

    fn attention_backward(&self, kept: &Kept, dattended: &Tensor, rows: &Rows) -> [Tensor; 3] {
        let (device, heads) = (self.device(), self.decoder.config.heads());
        let like = |x: &Tensor| device.empty(x.rows(), x.cols());
        let (mut dq, mut dk, mut dv) = (like(&kept.q), like(&kept.k), like(&kept.v));
        let saved = AttentionSaved {
            q: &kept.q,
            k: &kept.k,
            v: &kept.v,
            out: &kept.attended,
            lse: &kept.lse,
        };
        let grads = AttentionGrads {
            dq: &mut dq,
            dk: &mut dk,
            dv: &mut dv,
        };
        device.attention_backward(saved, dattended, &rows.spans, heads, grads);
        for dx in [&mut dq, &mut dk] {
            device.rope(
                dx,
                heads.head_dim,
                &rows.positions,
                &self.decoder.rope_table,
                true,
            );
        }
        [dq, dk, dv]
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
        targets: &[u32],
        mut grads: Option<&mut Tensor>,
    ) -> Result<(Vec<f64>, Option<Tensor>), TensorError> {
        let (device, decoder) = (self.device(), self.decoder);
        let (head_index, width) = (decoder.layers.len(), picked.cols());
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
