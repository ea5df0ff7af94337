//! The attention of a block, forward and backward.

use hone_tensor::{AttentionGrads, AttentionSaved, Tensor};

use super::projection::{Back, Projections};
use super::{ASKED, Pass, take};
use crate::arch::{Attention, Group, RopeLayout};
use crate::decoder::AttentionWeights;
use crate::keep::{KeptAttention, Lows};
use crate::layout::Rows;
use crate::state::KeyValues;

/// What the softmax's backward pass reads.
pub(super) struct Parts<'k> {
    q: &'k Tensor,
    k: &'k Tensor,
    v: &'k Tensor,
    attended: &'k Tensor,
    lse: &'k Tensor,
}

impl KeptAttention {
    pub(super) fn parts(&self) -> Parts<'_> {
        Parts {
            q: &self.q,
            k: &self.k,
            v: &self.v,
            attended: &self.attended,
            lse: &self.lse,
        }
    }
}

/// Query, key and value, and query and key before their norms.
type Projected = ([Tensor; 3], Option<[Tensor; 2]>, Lows);

impl<'a> Pass<'a> {
    /// What attention gives, before its norm.
    pub(super) fn attention(
        &self,
        (index, weights): (usize, &AttentionWeights),
        input: &Tensor,
        rows: &Rows,
        cache: Option<&mut KeyValues>,
        keep: bool,
    ) -> (Tensor, Option<KeptAttention>) {
        let (device, heads) = (self.device(), self.decoder.config.heads(weights.spec));
        let ([mut q, mut k, v], raw, low_in) = self.attention_in((index, weights), input, rows);
        for x in [&mut q, &mut k] {
            self.rope(weights.spec, x, rows, false);
        }
        let last = self.last_rows(index, rows);
        let spans = last.map_or(&rows.spans, |last| &last.spans);
        if let Some(last) = last {
            q = self.gather(&q, &last.rows);
        }
        let mut attended = device.empty(q.rows(), q.cols());
        let mut lse = keep.then(|| device.empty(q.rows(), heads.num_heads));
        match cache {
            None => {
                let copies = self.copies(&k, &v, rows);
                let (k, v) = copies.as_ref().map_or((&k, &v), |(k, v)| (k, v));
                device.attention(&q, k, v, spans, heads, &mut attended, lse.as_mut());
            }
            Some(cache) => {
                cache.append(&k, &v, &rows.spans, &rows.pages);
                let (sides, pages) = ((&cache.keys, &cache.values), rows.pages.all());
                device.attention_paged(&q, sides, pages, spans, heads, &mut attended);
            }
        }
        let at = Projections {
            index,
            group: Group::AttentionOut,
            all: &weights.out,
        };
        let (out, low_out) = self.project(at, &attended, self.division(index, rows));
        let [out] = take(out);
        let kept = lse.map(|lse| KeptAttention {
            raw,
            q,
            k,
            v,
            attended,
            lse,
            lows: [low_in, low_out],
        });
        (out, kept)
    }

    fn rope(&self, attention: Attention, x: &mut Tensor, rows: &Rows, inverse: bool) {
        let Some(table) = self.decoder.rope_table(attention) else {
            return;
        };
        let config = &self.decoder.config;
        let (device, width) = (self.device(), config.head_dim);
        let positions = rows.positions.all();
        match config.rope_pairs {
            RopeLayout::HalfSplit => device.rope(x, width, positions, table, inverse),
            RopeLayout::Interleaved => device.rope_interleaved(x, width, positions, table, inverse),
        }
    }

    /// Query, key and value of every row, before rotation. The first layer projects each distinct token
    /// once.
    fn attention_in(
        &self,
        (index, weights): (usize, &AttentionWeights),
        input: &Tensor,
        rows: &Rows,
    ) -> Projected {
        let first = rows.first.as_ref().filter(|_| index == 0);
        let distinct = first.map(|first| self.gather(input, &first.representatives));
        let input = distinct.as_ref().unwrap_or(input);
        let norm = self.decoder.layers[index].mixer_norm.as_ref();
        let normed = norm.map(|norm| self.norm(input, norm));
        let read = normed.as_ref().unwrap_or(input);
        let at = Projections {
            index,
            group: Group::AttentionIn,
            all: &weights.into,
        };
        let division = first.map_or(&rows.division, |first| &first.division);
        let (outs, low) = self.project(at, read, division);
        let [mut q, mut k, v] = take(self.split(index, Group::AttentionIn, outs));
        let raw = weights.query_key_norms.as_ref().map(|[query, key]| {
            let normed = [self.norm(&q, query), self.norm(&k, key)];
            let [q_normed, k_normed] = normed;
            [
                std::mem::replace(&mut q, q_normed),
                std::mem::replace(&mut k, k_normed),
            ]
        });
        let parts = match first {
            None => [q, k, v],
            Some(first) => [q, k, v].map(|y| self.gather(&y, &first.of_row)),
        };
        (parts, raw, low)
    }

    /// Keys and values laid out path by path, where sequences share their beginnings.
    fn copies(&self, k: &Tensor, v: &Tensor, rows: &Rows) -> Option<(Tensor, Tensor)> {
        let keys = rows.keys.as_ref()?;
        Some((self.gather(k, keys), self.gather(v, keys)))
    }

    /// The gradient of what was attended to, from that of what attention gave.
    pub(super) fn attention_out_backward(
        &self,
        back: &mut Back,
        weights: &AttentionWeights,
        kept: &KeptAttention,
        dout: &Tensor,
        rows: &Rows,
    ) -> Tensor {
        let dattended = back.project(
            (Group::AttentionOut, &weights.out),
            (&kept.attended, self.division(back.index, rows)),
            &kept.lows[1],
            &[dout],
            true,
        );
        dattended.expect(ASKED)
    }

    /// The gradient of the normed input, if it is needed, from those of queries, keys and values.
    pub(super) fn attention_in_backward(
        &self,
        (back, weights): (&mut Back, &AttentionWeights),
        input: &Tensor,
        kept: &KeptAttention,
        mut dqkv: [Tensor; 3],
        rows: &Rows,
        needs_input: bool,
    ) -> Option<Tensor> {
        let [dq, dk, _] = &mut dqkv;
        for dx in [dq, dk] {
            self.rope(weights.spec, dx, rows, true);
        }
        let first = rows.first.as_ref().filter(|_| back.index == 0);
        let distinct = first.map(|first| self.gather(input, &first.representatives));
        let input = distinct.as_ref().unwrap_or(input);
        let [mut dq, mut dk, dv] = match first {
            None => dqkv,
            Some(first) => dqkv.map(|dy| self.scatter(&dy, &first.of_row, input.rows())),
        };
        if let Some(([query, key], [q, k])) =
            weights.query_key_norms.as_ref().zip(kept.raw.as_ref())
        {
            for (dx, raw, norm) in [(&mut dq, q, query), (&mut dk, k, key)] {
                let mut draw = self.device().empty(raw.rows(), raw.cols());
                self.norm_backward(dx, raw, norm, &mut draw, false);
                *dx = draw;
            }
        }
        let division = first.map_or(&rows.division, |first| &first.division);
        let dys = self.merge(back.index, Group::AttentionIn, vec![dq, dk, dv]);
        let norm = self.decoder.layers[back.index].mixer_norm.as_ref();
        let normed = norm.map(|norm| self.norm(input, norm));
        back.project(
            (Group::AttentionIn, &weights.into),
            (normed.as_ref().unwrap_or(input), division),
            &kept.lows[0],
            &dys.iter().collect::<Vec<_>>(),
            needs_input,
        )
    }

    /// Gradients of queries, keys and values of every row, as they were after rotation.
    pub(super) fn attention_backward(
        &self,
        (index, weights): (usize, &AttentionWeights),
        kept: Parts,
        dattended: &Tensor,
        rows: &Rows,
    ) -> [Tensor; 3] {
        let (device, heads) = (self.device(), self.decoder.config.heads(weights.spec));
        let last = self.last_rows(index, rows);
        let copies = self.copies(kept.k, kept.v, rows);
        let (k, v) = copies.as_ref().map_or((kept.k, kept.v), |(k, v)| (k, v));
        // In the last layer, keys that no needed row sees are not written.
        let like = |x: &Tensor| match last {
            None => device.empty(x.rows(), x.cols()),
            Some(_) => device.zeros(x.rows(), x.cols()),
        };
        let spans = last.map_or(&rows.spans, |last| &last.spans);
        let (mut dq, mut dk, mut dv) = (like(kept.q), like(k), like(v));
        let saved = AttentionSaved {
            q: kept.q,
            k,
            v,
            out: kept.attended,
            lse: kept.lse,
        };
        let grads = AttentionGrads {
            dq: &mut dq,
            dk: &mut dk,
            dv: &mut dv,
        };
        device.attention_backward(saved, dattended, spans, heads, grads);
        if let Some(last) = last {
            dq = self.scatter(&dq, &last.rows, kept.k.rows());
        }
        match &rows.keys {
            None => [dq, dk, dv],
            Some(keys) => {
                let merge = |dx: &Tensor| self.scatter(dx, keys, kept.k.rows());
                [dq, merge(&dk), merge(&dv)]
            }
        }
    }
}
