//! Grouped-query causal attention over packed sequences, forward and backward, block by block.
//!
//! Scores live in one small square at a time (Dao 2023), so memory grows with the tokens and never
//! with their square, and a block-diagonal mask costs nothing: other sequences are not visited.
//! A task is one key head of one sequence; the query heads that share it are done in turn, so that
//! each gradient has one writer and one order of summation.

use std::sync::Arc;

use rayon::prelude::*;

use super::pool::{Buffer, Pool};
use super::simd::{self, Left, Out, Shared, TILE_COLS, TILE_ROWS};
use crate::device::{Heads, Span};

/// Query rows of a square: a multiple of the register tile's height.
const QUERIES: usize = 48;
/// Key rows of a square: a multiple of the register tile's width.
const KEYS: usize = 64;
/// With no more queries than this, as in generation, plain dot products are quicker than packing.
const FEW_QUERIES: usize = 4;

/// One matrix of heads side by side, `[tokens, heads · head_dim]`.
#[derive(Clone, Copy)]
pub struct Sided<'a> {
    /// The numbers.
    pub data: &'a [f32],
    /// Heads side by side.
    pub num_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
}

impl<'a> Sided<'a> {
    fn row(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// From one head of one token to the end.
    fn from(&self, token: usize, head: usize) -> &'a [f32] {
        &self.data[token * self.row() + head * self.head_dim..]
    }

    /// One head of one token.
    fn at(&self, token: usize, head: usize) -> &'a [f32] {
        &self.from(token, head)[..self.head_dim]
    }

    /// The same head of this token and those after it, as a left operand.
    fn left(&self, token: usize, head: usize) -> Left {
        Left {
            start: self.from(token, head).as_ptr(),
            row: self.row(),
            step: 1,
        }
    }
}

/// What the forward pass writes.
pub struct Written<'a> {
    /// `[tokens, num_heads · head_dim]`.
    pub out: &'a mut [f32],
    /// `[tokens, num_heads]`, if the backward pass will want it.
    pub lse: Option<&'a mut [f32]>,
}

/// `softmax(q·kᵀ · scale) · v`, causal within each span.
pub fn forward(
    pool: &Arc<Pool>,
    q: Sided,
    k: Sided,
    v: Sided,
    spans: &[Span],
    heads: Heads,
    written: Written,
) {
    let out = Shared(written.out.as_mut_ptr());
    let lse = written.lse.map(|lse| Shared(lse.as_mut_ptr()));
    tasks(spans, heads)
        .into_par_iter()
        .for_each(|(span, kv_head)| {
            let mut square = Forward {
                head: HeadView {
                    q,
                    k,
                    v,
                    heads,
                    span,
                    kv_head,
                },
                out,
                lse,
            };
            if span.query_len <= FEW_QUERIES {
                square.few_queries(pool);
            } else {
                square.run(pool);
            }
        });
}

/// Longest sequences first, so that the threads finish together.
fn tasks(spans: &[Span], heads: Heads) -> Vec<(Span, usize)> {
    let mut tasks: Vec<_> = spans
        .iter()
        .flat_map(|&span| (0..heads.num_kv_heads).map(move |head| (span, head)))
        .collect();
    tasks.sort_by_key(|(span, _)| std::cmp::Reverse(span.query_len * span.key_len));
    tasks
}

#[derive(Clone, Copy)]
struct HeadView<'a> {
    q: Sided<'a>,
    k: Sided<'a>,
    v: Sided<'a>,
    heads: Heads,
    span: Span,
    kv_head: usize,
}

impl<'a> HeadView<'a> {
    fn query_heads(&self) -> std::ops::Range<usize> {
        let group = self.heads.num_heads / self.heads.num_kv_heads;
        self.kv_head * group..(self.kv_head + 1) * group
    }

    fn key(&self, key: usize) -> &'a [f32] {
        self.k.at(self.span.key_start + key, self.kv_head)
    }

    fn value(&self, key: usize) -> &'a [f32] {
        self.v.at(self.span.key_start + key, self.kv_head)
    }

    fn query(&self, query: usize, head: usize) -> &'a [f32] {
        self.q.at(self.span.query_start + query, head)
    }

    /// How many keys a query sees.
    fn visible(&self, query: usize) -> usize {
        self.span.key_len - self.span.query_len + query + 1
    }

    fn key_blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let len = self.span.key_len;
        (0..len)
            .step_by(KEYS)
            .map(move |first| (first, KEYS.min(len - first)))
    }

    fn query_blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let len = self.span.query_len;
        (0..len)
            .step_by(QUERIES)
            .map(move |first| (first, QUERIES.min(len - first)))
    }

    /// The transposes of all key blocks (or value blocks) as panels, one after the other.
    fn pack_transposed(&self, pool: &Arc<Pool>, row: impl Fn(usize) -> &'a [f32]) -> Buffer {
        let width = self.heads.head_dim;
        let mut panels = pool.take(self.span.key_len.next_multiple_of(TILE_COLS) * width);
        let packed = panels.as_mut_slice();
        packed.fill(0.0);
        for key in 0..self.span.key_len {
            let panel = &mut packed[(key / TILE_COLS) * TILE_COLS * width..];
            for (i, &x) in row(key).iter().enumerate() {
                panel[i * TILE_COLS + key % TILE_COLS] = x;
            }
        }
        panels
    }

    /// Where the panels of the block that starts at `key` begin.
    fn panel_offset(&self, key: usize) -> usize {
        key * self.heads.head_dim
    }

    /// `scores[i, j] = scale · q_i · k_j`, minus infinity where the query must not look.
    fn scores(
        &self,
        head: usize,
        queries: (usize, usize),
        keys: (usize, usize),
        key_panels: &[f32],
        scores: &mut [f32],
    ) {
        let left = self.q.left(self.span.query_start + queries.0, head);
        let panels = &key_panels[self.panel_offset(keys.0)..];
        let out = Out {
            start: scores.as_mut_ptr(),
            row: KEYS,
            col: 1,
            alpha: self.heads.scale,
            accumulate: false,
        };
        // SAFETY: queries and keys are rows of this span; `scores` is `QUERIES × KEYS`.
        unsafe { multiply(queries.1, self.heads.head_dim, keys.1, left, panels, out) };
        for i in 0..queries.1 {
            let visible = self
                .visible(queries.0 + i)
                .saturating_sub(keys.0)
                .min(keys.1);
            scores[i * KEYS + visible..(i + 1) * KEYS].fill(f32::NEG_INFINITY);
        }
    }
}

struct Forward<'a> {
    head: HeadView<'a>,
    out: Shared,
    lse: Option<Shared>,
}

impl Forward<'_> {
    fn run(&mut self, pool: &Arc<Pool>) {
        let head = self.head;
        let width = head.heads.head_dim;
        let padded = width.next_multiple_of(TILE_COLS);
        let key_panels = head.pack_transposed(pool, |key| head.key(key));
        let mut value_panels = pool.take(head.span.key_len * padded);
        for (first, len) in head.key_blocks() {
            pack_rows(
                len,
                |i| head.value(first + i),
                &mut value_panels.as_mut_slice()[first * padded..],
            );
        }
        let mut scores = pool.take(QUERIES * KEYS);
        let mut sums = pool.take(QUERIES * width);
        for query_head in head.query_heads() {
            for queries in head.query_blocks() {
                let mut running = [(f32::NEG_INFINITY, 0.0f32); QUERIES];
                for keys in head.key_blocks() {
                    if keys.0 >= head.visible(queries.0 + queries.1 - 1) {
                        break;
                    }
                    let (scores, sums) = (scores.as_mut_slice(), sums.as_mut_slice());
                    head.scores(query_head, queries, keys, key_panels.as_slice(), scores);
                    for i in 0..queries.1 {
                        let row = &mut scores[i * KEYS..(i + 1) * KEYS];
                        let rescale = soften(row, &mut running[i]);
                        if keys.0 > 0 && rescale != 1.0 {
                            sums[i * width..(i + 1) * width]
                                .iter_mut()
                                .for_each(|x| *x *= rescale);
                        }
                    }
                    let left = Left {
                        start: scores.as_ptr(),
                        row: KEYS,
                        step: 1,
                    };
                    let out = Out {
                        start: sums.as_mut_ptr(),
                        row: width,
                        col: 1,
                        alpha: 1.0,
                        accumulate: keys.0 > 0,
                    };
                    // SAFETY: `scores` and `sums` hold a whole block of queries.
                    unsafe {
                        multiply(
                            queries.1,
                            keys.1,
                            width,
                            left,
                            &value_panels.as_slice()[keys.0 * padded..],
                            out,
                        )
                    };
                }
                self.write(query_head, queries, sums.as_slice(), &running);
            }
        }
    }

    fn write(
        &self,
        head: usize,
        queries: (usize, usize),
        sums: &[f32],
        running: &[(f32, f32); QUERIES],
    ) {
        let width = self.head.heads.head_dim;
        for i in 0..queries.1 {
            let (max, sum) = running[i];
            self.write_row(
                head,
                queries.0 + i,
                &sums[i * width..(i + 1) * width],
                max,
                sum,
            );
        }
    }

    fn write_row(&self, head: usize, query: usize, sums: &[f32], max: f32, sum: f32) {
        let Heads {
            num_heads,
            head_dim,
            ..
        } = self.head.heads;
        let token = self.head.span.query_start + query;
        let scale = sum.recip();
        // SAFETY: this task is the only one that writes this head of this token.
        unsafe {
            let out = self.out.get().add((token * num_heads + head) * head_dim);
            for (i, x) in sums.iter().enumerate() {
                *out.add(i) = x * scale;
            }
            if let Some(lse) = self.lse {
                *lse.get().add(token * num_heads + head) = max + sum.ln();
            }
        }
    }

    fn few_queries(&mut self, pool: &Arc<Pool>) {
        let head = self.head;
        let width = head.heads.head_dim;
        let mut scores = pool.take(head.span.key_len);
        let mut sums = pool.take(width);
        for query_head in head.query_heads() {
            for query in 0..head.span.query_len {
                let scores = &mut scores.as_mut_slice()[..head.visible(query)];
                let q = head.query(query, query_head);
                for (key, score) in scores.iter_mut().enumerate() {
                    *score = head.heads.scale * simd::dot(q, head.key(key));
                }
                let mut running = (f32::NEG_INFINITY, 0.0);
                soften(scores, &mut running);
                let sums = sums.as_mut_slice();
                sums.fill(0.0);
                for (key, &weight) in scores.iter().enumerate() {
                    simd::axpy(weight, head.value(key), sums);
                }
                self.write_row(query_head, query, sums, running.0, running.1);
            }
        }
    }
}

/// Scores to unnormalised weights under a running maximum; returns what earlier sums are multiplied with.
fn soften(row: &mut [f32], running: &mut (f32, f32)) -> f32 {
    let max = simd::max_of(row).max(running.0);
    if max == f32::NEG_INFINITY {
        row.fill(0.0);
        return 1.0;
    }
    let rescale = if running.0 == f32::NEG_INFINITY {
        0.0
    } else {
        simd::exp(running.0 - max)
    };
    running.1 = running.1 * rescale + exp_minus(row, max);
    running.0 = max;
    rescale
}

simd::vectorised! {
    /// Replaces each element by `e^(element - max)`, zero for minus infinity, and returns the sum.
    fn exp_minus(row: &mut [f32], max: f32) -> f32 {
        let mut sums = [0.0f32; 8];
        let (chunks, rest) = row.as_chunks_mut::<8>();
        for chunk in chunks {
            for i in 0..8 {
                let x = chunk[i] - max;
                let e = simd::exp(x);
                chunk[i] = if x < -87.0 { 0.0 } else { e };
                sums[i] += chunk[i];
            }
        }
        let mut total = 0.0;
        for x in rest {
            let d = *x - max;
            *x = if d < -87.0 { 0.0 } else { simd::exp(d) };
            total += *x;
        }
        total + sums.iter().sum::<f32>()
    }
}

/// What the backward pass reads.
#[derive(Clone, Copy)]
pub struct Saved<'a> {
    /// Queries, rotated.
    pub q: Sided<'a>,
    /// Keys, rotated.
    pub k: Sided<'a>,
    /// Values.
    pub v: Sided<'a>,
    /// The output.
    pub out: Sided<'a>,
    /// Its gradient.
    pub dout: Sided<'a>,
    /// `[tokens, num_heads]`.
    pub lse: &'a [f32],
}

/// Gradients, written whole.
pub struct Grads<'a> {
    /// Like the queries.
    pub dq: &'a mut [f32],
    /// Like the keys.
    pub dk: &'a mut [f32],
    /// Like the values.
    pub dv: &'a mut [f32],
}

/// Gradients of [`forward`] for sequences whose keys are their queries' rows.
pub fn backward(pool: &Arc<Pool>, saved: Saved, spans: &[Span], heads: Heads, grads: Grads) {
    let (dq, dk, dv) = (
        Shared(grads.dq.as_mut_ptr()),
        Shared(grads.dk.as_mut_ptr()),
        Shared(grads.dv.as_mut_ptr()),
    );
    tasks(spans, heads)
        .into_par_iter()
        .for_each(|(span, kv_head)| {
            let head = HeadView {
                q: saved.q,
                k: saved.k,
                v: saved.v,
                heads,
                span,
                kv_head,
            };
            Backward {
                head,
                saved,
                dq,
                dk,
                dv,
            }
            .run(pool);
        });
}

struct Backward<'a> {
    head: HeadView<'a>,
    saved: Saved<'a>,
    dq: Shared,
    dk: Shared,
    dv: Shared,
}

impl Backward<'_> {
    /// Per square: `P = exp(S - lse)`, `dV += Pᵀ·dO`, `dP = dO·Vᵀ`, `dS = scale · P ∘ (dP - rowsum(dO ∘ O))`,
    /// `dQ += dS·K`, `dK += dSᵀ·Q`.
    fn run(&self, pool: &Arc<Pool>) {
        let head = self.head;
        let width = head.heads.head_dim;
        let padded = width.next_multiple_of(TILE_COLS);
        let key_panels = head.pack_transposed(pool, |key| head.key(key));
        let value_panels = head.pack_transposed(pool, |key| head.value(key));
        let mut key_rows = pool.take(head.span.key_len * padded);
        for (first, len) in head.key_blocks() {
            pack_rows(
                len,
                |i| head.key(first + i),
                &mut key_rows.as_mut_slice()[first * padded..],
            );
        }
        let mut squares = (pool.take(QUERIES * KEYS), pool.take(QUERIES * KEYS));
        let mut query_rows = pool.take(QUERIES * padded);
        let mut dout_rows = pool.take(QUERIES * padded);
        self.clear_key_grads();
        for query_head in head.query_heads() {
            for queries in head.query_blocks() {
                let deltas = self.deltas(query_head, queries);
                pack_rows(
                    queries.1,
                    |i| head.query(queries.0 + i, query_head),
                    query_rows.as_mut_slice(),
                );
                pack_rows(
                    queries.1,
                    |i| self.dout(queries.0 + i, query_head),
                    dout_rows.as_mut_slice(),
                );
                for keys in head.key_blocks() {
                    if keys.0 >= head.visible(queries.0 + queries.1 - 1) {
                        break;
                    }
                    let (p, ds) = (squares.0.as_mut_slice(), squares.1.as_mut_slice());
                    head.scores(query_head, queries, keys, key_panels.as_slice(), p);
                    let left = self
                        .saved
                        .dout
                        .left(head.span.query_start + queries.0, query_head);
                    let panels = &value_panels.as_slice()[head.panel_offset(keys.0)..];
                    let out = Out {
                        start: ds.as_mut_ptr(),
                        row: KEYS,
                        col: 1,
                        alpha: 1.0,
                        accumulate: false,
                    };
                    // SAFETY: all operands are rows of this span; `ds` is `QUERIES × KEYS`.
                    unsafe { multiply(queries.1, width, keys.1, left, panels, out) };
                    self.score_grads(query_head, queries, keys.1, &deltas, p, ds);
                    // SAFETY: this task owns these heads of this span; squares are `QUERIES × KEYS`.
                    unsafe {
                        let transposed = |square: &[f32]| Left {
                            start: square.as_ptr(),
                            row: 1,
                            step: KEYS,
                        };
                        multiply(
                            keys.1,
                            queries.1,
                            width,
                            transposed(p),
                            dout_rows.as_slice(),
                            self.key_out(self.dv, keys.0),
                        );
                        multiply(
                            keys.1,
                            queries.1,
                            width,
                            transposed(ds),
                            query_rows.as_slice(),
                            self.key_out(self.dk, keys.0),
                        );
                        let left = Left {
                            start: ds.as_ptr(),
                            row: KEYS,
                            step: 1,
                        };
                        let out = self.query_out(queries.0, query_head, keys.0 > 0);
                        multiply(
                            queries.1,
                            keys.1,
                            width,
                            left,
                            &key_rows.as_slice()[keys.0 * padded..],
                            out,
                        );
                    }
                }
            }
        }
    }

    /// `rowsum(dO ∘ O)` of each query of the block.
    fn deltas(&self, head: usize, queries: (usize, usize)) -> [f32; QUERIES] {
        let mut deltas = [0.0; QUERIES];
        for (i, delta) in deltas.iter_mut().enumerate().take(queries.1) {
            let token = self.head.span.query_start + queries.0 + i;
            *delta = simd::dot(
                self.saved.out.at(token, head),
                self.saved.dout.at(token, head),
            );
        }
        deltas
    }

    /// Scores become weights, and `ds`, holding `dP`, becomes the gradient of the scores.
    fn score_grads(
        &self,
        head: usize,
        queries: (usize, usize),
        keys: usize,
        deltas: &[f32; QUERIES],
        p: &mut [f32],
        ds: &mut [f32],
    ) {
        for i in 0..queries.1 {
            let token = self.head.span.query_start + queries.0 + i;
            let lse = self.saved.lse[token * self.head.heads.num_heads + head];
            let p = &mut p[i * KEYS..][..keys];
            exp_minus(p, lse);
            weight_grads(
                p,
                &mut ds[i * KEYS..][..keys],
                deltas[i],
                self.head.heads.scale,
            );
        }
    }

    fn dout(&self, query: usize, head: usize) -> &[f32] {
        self.saved.dout.at(self.head.span.query_start + query, head)
    }

    fn key_out(&self, grad: Shared, key: usize) -> Out {
        let Heads {
            num_kv_heads,
            head_dim,
            ..
        } = self.head.heads;
        let row = num_kv_heads * head_dim;
        let at = (self.head.span.key_start + key) * row + self.head.kv_head * head_dim;
        // SAFETY: inside the gradient, which has a row for each key.
        Out {
            start: unsafe { grad.get().add(at) },
            row,
            col: 1,
            alpha: 1.0,
            accumulate: true,
        }
    }

    fn query_out(&self, query: usize, head: usize, accumulate: bool) -> Out {
        let Heads {
            num_heads,
            head_dim,
            ..
        } = self.head.heads;
        let row = num_heads * head_dim;
        let at = (self.head.span.query_start + query) * row + head * head_dim;
        // SAFETY: inside the gradient, which has a row for each query.
        Out {
            start: unsafe { self.dq.get().add(at) },
            row,
            col: 1,
            alpha: 1.0,
            accumulate,
        }
    }

    fn clear_key_grads(&self) {
        for key in 0..self.head.span.key_len {
            for grad in [self.dk, self.dv] {
                let row = self.key_out(grad, key).start;
                // SAFETY: this task owns this head of this row.
                unsafe { std::slice::from_raw_parts_mut(row, self.head.heads.head_dim) }.fill(0.0);
            }
        }
    }
}

simd::vectorised! {
    fn weight_grads(p: &[f32], dp: &mut [f32], delta: f32, scale: f32) {
        for (dp, p) in dp.iter_mut().zip(p) {
            *dp = scale * (p * (*dp - delta));
        }
    }
}

/// Rows `[rows, width]` as panels of 16 columns, zeros past the last column.
fn pack_rows<'a>(rows: usize, row: impl Fn(usize) -> &'a [f32], panels: &mut [f32]) {
    for i in 0..rows {
        for (panel, part) in row(i).chunks(TILE_COLS).enumerate() {
            let to = &mut panels[(panel * rows + i) * TILE_COLS..][..TILE_COLS];
            to[..part.len()].copy_from_slice(part);
            to[part.len()..].fill(0.0);
        }
    }
}

/// `[height, depth] × panels [depth, width]`, tile by tile.
///
/// # Safety
/// As for [`simd::tile`], for each tile.
unsafe fn multiply(
    height: usize,
    depth: usize,
    width: usize,
    left: Left,
    panels: &[f32],
    out: Out,
) {
    for col in (0..width).step_by(TILE_COLS) {
        let panel = &panels[col * depth..][..depth * TILE_COLS];
        for row in (0..height).step_by(TILE_ROWS) {
            // SAFETY: the tile lies inside the matrices that the caller promised.
            unsafe {
                let left = Left {
                    start: left.start.add(row * left.row),
                    ..left
                };
                let out = Out {
                    start: out.start.add(row * out.row + col * out.col),
                    ..out
                };
                simd::tile(
                    depth,
                    left,
                    panel.as_ptr(),
                    TILE_ROWS.min(height - row),
                    TILE_COLS.min(width - col),
                    out,
                );
            }
        }
    }
}
