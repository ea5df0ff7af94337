//! Grouped-query causal attention over packed sequences, forward and backward, block by block.
//!
//! Scores live in one small square at a time (Dao 2023), so memory grows with the tokens and never
//! with their square, and a block-diagonal mask costs nothing: other sequences are not visited.
//! A task is one key head of one sequence; the query heads that share it are done in turn, so that
//! each gradient has one writer and one order of summation. In a long sequence each query head is a
//! task, or a few key heads would leave threads idle; its share of the gradients is added up afterwards.

use std::sync::Arc;

use rayon::prelude::*;

use super::pool::{Buffer, Pool};
use super::simd::{self, Left, Out, Panels, Shared, TILE_COLS, TILE_ROWS};
use crate::index::Span;
use crate::ops::{FEW_QUERIES, Heads, PAGE};

/// Query rows of a square: a multiple of the register tile's height.
const QUERIES: usize = 48;
/// Rows of a square that are summed up over the keys together: the tallest register tile.
const ROW_GROUP: usize = 2 * TILE_ROWS;
/// Key columns of a square: a panel of so many values stays in the first-level cache, a square in the second.
const KEYS: usize = 256;
/// Distance between rows of a square: an odd number of cache lines, so that a column is spread over the sets.
const STRIDE: usize = KEYS + TILE_COLS;
/// With more queries than this, the query heads of one key head are tasks of their own. The number of
/// threads must not decide it: sums would round differently.
const LONG: usize = 1024;

/// One matrix of heads side by side, `[tokens, heads · head_dim]`.
#[derive(Clone, Copy)]
pub struct Sided<'a> {
    /// The numbers.
    pub data: &'a [f32],
    /// Heads side by side.
    pub num_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Where tokens lie in pages: the page of each [`PAGE`] tokens. Otherwise a token is a row.
    pub pages: Option<&'a [u32]>,
}

impl<'a> Sided<'a> {
    fn row(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// From one head of one token to the end; the tokens of its page follow.
    fn from(&self, token: usize, head: usize) -> &'a [f32] {
        let row = match self.pages {
            None => token,
            Some(pages) => pages[token / PAGE] as usize * PAGE + token % PAGE,
        };
        &self.data[row * self.row() + head * self.head_dim..]
    }

    /// One head of the tokens that lie side by side from this one on, of so many, and how many these are.
    fn run(&self, token: usize, head: usize, len: usize) -> (&'a [f32], usize) {
        let len = match self.pages {
            None => len,
            Some(_) => len.min(PAGE - token % PAGE),
        };
        (self.from(token, head), len)
    }

    /// One head of one token.
    fn at(&self, token: usize, head: usize) -> &'a [f32] {
        &self.from(token, head)[..self.head_dim]
    }

    /// The same head of this token and those after it, as a left operand; tokens that lie in pages have none.
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

/// `softmax(q·kᵀ · scale) · v`, causal within each span; scores capped and keys far back unseen as `heads` says.
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
    tasks(spans, heads, FEW_QUERIES)
        .into_par_iter()
        .for_each(|task| {
            let head = HeadView {
                q,
                k,
                v,
                heads,
                task,
            };
            let mut square = Forward { head, out, lse };
            if task.span.query_len <= FEW_QUERIES {
                // Plain dot products are quicker than packing.
                square.few_queries(pool);
            } else {
                square.run(pool);
            }
        });
}

/// Query heads of one sequence that share a key head, all of them or one.
#[derive(Clone, Copy)]
struct Task {
    span: Span,
    kv_head: usize,
    first_head: usize,
    num_heads: usize,
}

impl Task {
    fn is_part(&self) -> bool {
        self.span.query_len > LONG
    }
}

/// Longest sequences first, so that the threads finish together. Query heads of up to so many queries are `apart`: they have
/// nothing in common.
fn tasks(spans: &[Span], heads: Heads, apart: usize) -> Vec<Task> {
    let group = heads.num_heads / heads.num_kv_heads;
    let mut tasks = Vec::new();
    for &span in spans {
        let is_apart = span.query_len > LONG || span.query_len <= apart;
        let num_heads = if is_apart { 1 } else { group };
        tasks.extend((0..heads.num_heads).step_by(num_heads).map(|head| Task {
            span,
            kv_head: head / group,
            first_head: head,
            num_heads,
        }));
    }
    tasks.sort_by_key(|task| std::cmp::Reverse(task.span.query_len * task.span.key_len));
    tasks
}

#[derive(Clone, Copy)]
struct HeadView<'a> {
    q: Sided<'a>,
    k: Sided<'a>,
    v: Sided<'a>,
    heads: Heads,
    task: Task,
}

impl<'a> HeadView<'a> {
    fn query_heads(&self) -> std::ops::Range<usize> {
        self.task.first_head..self.task.first_head + self.task.num_heads
    }

    fn query(&self, query: usize, head: usize) -> &'a [f32] {
        self.q.at(self.task.span.query_start + query, head)
    }

    /// The squares of one block of queries that hold anything visible, in the order of their keys.
    fn squares(&self, query: usize) -> impl Iterator<Item = Square> + use<> {
        let Span {
            query_len, key_len, ..
        } = self.task.span;
        let rows = QUERIES.min(query_len - query);
        let seen = key_len - query_len + query;
        let window = self.heads.window.unwrap_or(usize::MAX);
        let start = (seen + 1).saturating_sub(window) / KEYS * KEYS;
        (start..seen + rows).step_by(KEYS).map(move |key| Square {
            rows,
            key,
            is_first: key == start,
            cols: KEYS.min(seen + rows - key),
            seen: (seen + 1) as isize - key as isize,
            window: window.min(isize::MAX as usize) as isize,
        })
    }

    fn query_blocks(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.task.span.query_len).step_by(QUERIES)
    }

    /// The transpose of the keys (or values) as panels of sixteen keys, `[head_dim, 16]` each. A page holds whole panels.
    fn pack_transposed(&self, pool: &Arc<Pool>, side: Sided<'a>) -> Buffer {
        let (width, len) = (self.heads.head_dim, self.task.span.key_len);
        let mut panels = pool.take(len.next_multiple_of(TILE_COLS) * width);
        for (i, panel) in panels
            .as_mut_slice()
            .chunks_exact_mut(TILE_COLS * width)
            .enumerate()
        {
            let first = i * TILE_COLS;
            let rows = side.from(self.task.span.key_start + first, self.task.kv_head);
            if first + TILE_COLS <= len {
                simd::transpose_panel(rows, side.row(), panel);
                continue;
            }
            panel.fill(0.0);
            for key in 0..len - first {
                for (k, &x) in rows[key * side.row()..][..width].iter().enumerate() {
                    panel[k * TILE_COLS + key] = x;
                }
            }
        }
        panels
    }

    /// The keys (or values) as panels of sixteen columns, `[key_len, 16]` each.
    fn pack(&self, pool: &Arc<Pool>, side: Sided<'a>) -> Buffer {
        let len = self.task.span.key_len;
        let mut panels = pool.take(len * self.heads.head_dim.next_multiple_of(TILE_COLS));
        pack_rows(
            len,
            |i| side.at(self.task.span.key_start + i, self.task.kv_head),
            panels.as_mut_slice(),
        );
        panels
    }
}

/// A block of queries against a block of keys. Past the diagonal, nothing is computed but the rest of a
/// register tile, and nothing is read but zeros up to the next tile.
#[derive(Clone, Copy)]
struct Square {
    /// Query rows.
    rows: usize,
    /// First key.
    key: usize,
    /// Whether no square before it holds anything visible.
    is_first: bool,
    /// Keys up to the last that the last row sees.
    cols: usize,
    /// Keys that the first row sees, counted from the first of this square: more than `cols` left of the
    /// diagonal, and less than one where later rows only see any.
    seen: isize,
    /// Keys that a row sees at most, the nearest.
    window: isize,
}

impl Square {
    /// The end of the columns that a row sees.
    fn visible(&self, row: usize) -> usize {
        (self.seen + row as isize).clamp(0, self.cols as isize) as usize
    }

    /// The start of the columns that a row sees: none, if its window begins further right.
    fn hidden(&self, row: usize) -> usize {
        let start = (self.seen + row as isize).saturating_sub(self.window);
        start.clamp(0, self.visible(row) as isize) as usize
    }

    /// Whole panels that every row sees.
    fn common(&self) -> usize {
        self.visible(0) / TILE_COLS * TILE_COLS
    }

    /// Groups of rows: first row, rows, and the columns that the last of them sees.
    fn row_groups(self, height: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..self.rows).step_by(height).map(move |row| {
            let rows = height.min(self.rows - row);
            (row, rows, self.visible(row + rows - 1))
        })
    }

    /// Those that see more than the common columns.
    fn ragged_rows(self) -> impl Iterator<Item = (usize, usize, usize)> {
        let common = self.common();
        self.row_groups(TILE_ROWS)
            .filter(move |&(.., end)| end > common)
    }

    /// Groups of columns past the common ones: first column, columns, and the first row that sees any.
    fn ragged_cols(self) -> impl Iterator<Item = (usize, usize, usize)> {
        (self.common()..self.cols)
            .step_by(TILE_ROWS)
            .map(move |col| {
                let first = (col as isize + 1 - self.seen).max(0) as usize;
                (col, TILE_ROWS.min(self.cols - col), first)
            })
    }

    /// `to = alpha · left · keysᵀ`, `[rows, width] × [width, cols]`, from panels of all the keys.
    ///
    /// # Safety
    /// `left` must be readable for `rows` rows of `width` elements.
    unsafe fn by_keys(&self, width: usize, left: Left, panels: &[f32], alpha: f32, to: &mut [f32]) {
        let mut run = |row: usize, rows: usize, col: usize, end: usize| {
            let panels = Panels {
                start: panels[(self.key + col) * width..].as_ptr(),
                next: width * TILE_COLS,
            };
            let out = Out {
                start: to[row * STRIDE + col..].as_mut_ptr(),
                row: STRIDE,
                col: 1,
                alpha,
                accumulate: false,
            };
            // SAFETY: the caller's promise; a square has `QUERIES × STRIDE` elements.
            unsafe {
                simd::multiply(width, left.at(row), panels, rows, end - col, out);
            }
        };
        let common = self.common();
        run(0, self.rows, 0, common);
        for (row, rows, end) in self.ragged_rows() {
            run(row, rows, common, end);
        }
    }

    /// `out (+)= square · rows of keys`, `[rows, cols] × [cols, width]`, from panels of all `key_len` keys.
    ///
    /// # Safety
    /// `out` must be writable for `rows` rows of `width` elements, by this thread alone.
    unsafe fn over_keys(
        &self,
        square: &[f32],
        panels: &[f32],
        key_len: usize,
        width: usize,
        out: Out,
    ) {
        for (row, rows, end) in self.row_groups(ROW_GROUP) {
            let left = Left {
                start: square[row * STRIDE..].as_ptr(),
                row: STRIDE,
                step: 1,
            };
            let panels = Panels {
                start: panels[self.key * TILE_COLS..].as_ptr(),
                next: key_len * TILE_COLS,
            };
            // One sum from the first key to the last: where it were cut would depend on the rows around, and so would its
            // rounding, and tokens read in parts would not give what they give when read at once.
            // SAFETY: the caller's promise; a square has `QUERIES × STRIDE` elements.
            unsafe { simd::multiply(end, left, panels, rows, width, out.at(row, 0)) };
        }
    }

    /// `out += squareᵀ · rows of queries`, `[cols, rows] × [rows, width]`, from panels of this block's rows.
    ///
    /// # Safety
    /// `out` must be writable for `cols` rows of `width` elements, by this thread alone.
    unsafe fn over_queries(&self, square: &[f32], panels: &[f32], width: usize, out: Out) {
        let run = |col: usize, cols: usize, first: usize| {
            let left = Left {
                start: square[first * STRIDE + col..].as_ptr(),
                row: 1,
                step: STRIDE,
            };
            let panels = Panels {
                start: panels[first * TILE_COLS..].as_ptr(),
                next: self.rows * TILE_COLS,
            };
            // SAFETY: the caller's promise; a square has `QUERIES × STRIDE` elements.
            unsafe { simd::multiply(self.rows - first, left, panels, cols, width, out.at(col, 0)) };
        };
        run(0, self.common(), 0);
        for (col, cols, first) in self.ragged_cols() {
            run(col, cols, first);
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
        let key_panels = head.pack_transposed(pool, head.k);
        let value_panels = head.pack(pool, head.v);
        let (mut scores, mut sums) = (pool.take(QUERIES * STRIDE), pool.take(QUERIES * width));
        let (scores, sums) = (scores.as_mut_slice(), sums.as_mut_slice());
        for query_head in head.query_heads() {
            for query in head.query_blocks() {
                let left = head.q.left(head.task.span.query_start + query, query_head);
                let mut running = [Running::default(); QUERIES];
                for square in head.squares(query) {
                    let out = Out {
                        start: sums.as_mut_ptr(),
                        row: width,
                        col: 1,
                        alpha: 1.0,
                        accumulate: !square.is_first,
                    };
                    // SAFETY: the queries are rows of this span; `sums` holds a row for each.
                    unsafe {
                        let scale = head.heads.scale;
                        square.by_keys(width, left, key_panels.as_slice(), scale, scores);
                        soften(scores, square, head.heads.cap, &mut running, sums, width);
                        let values = value_panels.as_slice();
                        square.over_keys(scores, values, head.task.span.key_len, width, out);
                    }
                }
                for (i, sums) in sums.chunks_exact(width).enumerate() {
                    if query + i < head.task.span.query_len {
                        self.write_row(query_head, query + i, sums, running[i]);
                    }
                }
            }
        }
    }

    fn write_row(&self, head: usize, query: usize, sums: &[f32], running: Running) {
        let Heads {
            num_heads,
            head_dim,
            ..
        } = self.head.heads;
        let token = self.head.task.span.query_start + query;
        let scale = running.sum.recip();
        // SAFETY: this task is the only one that writes this head of this token.
        unsafe {
            let out = self.out.get().add((token * num_heads + head) * head_dim);
            for (i, x) in sums.iter().enumerate() {
                *out.add(i) = x * scale;
            }
            if let Some(lse) = self.lse {
                *lse.get().add(token * num_heads + head) = running.max + running.sum.ln();
            }
        }
    }

    fn few_queries(&mut self, pool: &Arc<Pool>) {
        let head = self.head;
        let width = head.heads.head_dim;
        let mut scores = pool.take(head.task.span.key_len);
        let mut sums = pool.take(width);
        for query_head in head.query_heads() {
            for query in 0..head.task.span.query_len {
                let visible = head.task.span.key_len - head.task.span.query_len + query + 1;
                let hidden = visible.saturating_sub(head.heads.window.unwrap_or(usize::MAX));
                let scores = &mut scores.as_mut_slice()[..visible - hidden];
                let q = head.query(query, query_head);
                let (first, row) = (head.task.span.key_start + hidden, head.k.row());
                let mut key = 0;
                while key < scores.len() {
                    let left = scores.len() - key;
                    let (keys, count) = head.k.run(first + key, head.task.kv_head, left);
                    let scores = &mut scores[key..][..count];
                    simd::dots(keys, row, q, head.heads.scale, scores);
                    key += count;
                }
                if let Some(cap) = head.heads.cap {
                    cap_scores(scores, cap);
                }
                let mut running = Running::default();
                running.soften(scores);
                let sums = sums.as_mut_slice();
                sums.fill(0.0);
                let mut key = 0;
                while key < scores.len() {
                    let left = scores.len() - key;
                    let (values, count) = head.v.run(first + key, head.task.kv_head, left);
                    simd::add_weighted(values, row, &scores[key..][..count], sums);
                    key += count;
                }
                self.write_row(query_head, query, sums, running);
            }
        }
    }
}

/// The greatest score of a row so far, and the sum of the weights under it.
#[derive(Clone, Copy)]
struct Running {
    max: f32,
    sum: f32,
}

impl Default for Running {
    fn default() -> Self {
        Self {
            max: f32::NEG_INFINITY,
            sum: 0.0,
        }
    }
}

impl Running {
    /// Scores to unnormalised weights; returns what earlier sums are multiplied with.
    #[inline]
    fn soften(&mut self, row: &mut [f32]) -> f32 {
        let max = simd::max_of(row).max(self.max);
        if max == f32::NEG_INFINITY {
            row.fill(0.0);
            return 1.0;
        }
        let rescale = if self.max == f32::NEG_INFINITY {
            0.0
        } else {
            simd::exp(self.max - max)
        };
        self.sum = self.sum * rescale + exp_minus(row, max);
        self.max = max;
        rescale
    }
}

simd::vectorised! {
    /// Softens each row of a square, and rescales the sums of earlier squares.
    fn soften(scores: &mut [f32], square: Square, cap: Option<f32>, running: &mut [Running; QUERIES], sums: &mut [f32], width: usize) {
        for row in 0..square.rows {
            let (hidden, visible) = (square.hidden(row), square.visible(row));
            let scores = &mut scores[row * STRIDE..][..STRIDE];
            if let Some(cap) = cap {
                cap_scores(&mut scores[hidden..visible], cap);
            }
            let rescale = running[row].soften(&mut scores[hidden..visible]);
            scores[..hidden].fill(0.0);
            hide(scores, visible);
            if !square.is_first && rescale != 1.0 {
                for x in &mut sums[row * width..][..width] {
                    *x *= rescale;
                }
            }
        }
    }
}

/// `cap · tanh(score / cap)`.
#[inline(always)]
fn cap_scores(scores: &mut [f32], cap: f32) {
    let inverse = cap.recip();
    for score in scores {
        *score = cap * simd::tanh(*score * inverse);
    }
}

/// Zeros where the other rows and columns of a group reach past the diagonal.
#[inline(always)]
fn hide(row: &mut [f32], visible: usize) {
    let end = (visible + ROW_GROUP).min(row.len());
    row[visible..end].fill(0.0);
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
    let dq = Shared(grads.dq.as_mut_ptr());
    let (dk, dv) = (Shared(grads.dk.as_mut_ptr()), Shared(grads.dv.as_mut_ptr()));
    let parts: Vec<Option<Part>> = tasks(spans, heads, 0)
        .into_par_iter()
        .map(|task| {
            let head = HeadView {
                q: saved.q,
                k: saved.k,
                v: saved.v,
                heads,
                task,
            };
            let len = task.span.key_len * heads.head_dim;
            let mut part = task.is_part().then(|| Part {
                task,
                dk: pool.take(len),
                dv: pool.take(len),
            });
            let (dk, dv) = match &mut part {
                Some(part) => (
                    KeyRows::apart(&mut part.dk, heads),
                    KeyRows::apart(&mut part.dv, heads),
                ),
                None => (KeyRows::of(dk, task, heads), KeyRows::of(dv, task, heads)),
            };
            Backward {
                head,
                saved,
                dq,
                dk,
                dv,
            }
            .run(pool);
            part
        })
        .collect();
    for part in parts.iter().flatten() {
        KeyRows::of(dk, part.task, heads).gather(part.dk.as_slice(), part.task, heads);
        KeyRows::of(dv, part.task, heads).gather(part.dv.as_slice(), part.task, heads);
    }
}

/// What one query head of a long sequence adds to the gradients of its key head.
struct Part {
    task: Task,
    dk: Buffer,
    dv: Buffer,
}

/// The rows of one key head's gradient: first element, and the distance between keys.
#[derive(Clone, Copy)]
struct KeyRows {
    start: Shared,
    row: usize,
}

impl KeyRows {
    /// Among the other heads and sequences.
    fn of(grad: Shared, task: Task, heads: Heads) -> Self {
        let row = heads.num_kv_heads * heads.head_dim;
        let at = task.span.key_start * row + task.kv_head * heads.head_dim;
        // SAFETY: inside the gradient, which has a row for each key.
        let start = Shared(unsafe { grad.get().add(at) });
        Self { start, row }
    }

    /// By themselves.
    fn apart(part: &mut Buffer, heads: Heads) -> Self {
        Self {
            start: Shared(part.as_mut_slice().as_mut_ptr()),
            row: heads.head_dim,
        }
    }

    /// From a key on, to be added to.
    ///
    /// # Safety
    /// The key must be one of the sequence's.
    unsafe fn out(self, key: usize) -> Out {
        Out {
            // SAFETY: the caller's promise.
            start: unsafe { self.start.get().add(key * self.row) },
            row: self.row,
            col: 1,
            alpha: 1.0,
            accumulate: true,
        }
    }

    /// Takes in what one query head adds; the first writes.
    fn gather(self, part: &[f32], task: Task, heads: Heads) {
        let group = heads.num_heads / heads.num_kv_heads;
        for (key, part) in part.chunks_exact(heads.head_dim).enumerate() {
            // SAFETY: a key of the sequence, whose tasks are done.
            let row =
                unsafe { std::slice::from_raw_parts_mut(self.out(key).start, heads.head_dim) };
            if task.first_head.is_multiple_of(group) {
                row.copy_from_slice(part);
            } else {
                simd::axpy(1.0, part, row);
            }
        }
    }
}

struct Backward<'a> {
    head: HeadView<'a>,
    saved: Saved<'a>,
    dq: Shared,
    dk: KeyRows,
    dv: KeyRows,
}

impl Backward<'_> {
    /// Per square: `P = exp(S - lse)`, `dV += Pᵀ·dO`, `dP = dO·Vᵀ`, `dS = scale · P ∘ (dP - rowsum(dO ∘ O))`,
    /// `dQ += dS·K`, `dK += dSᵀ·Q`.
    fn run(&self, pool: &Arc<Pool>) {
        let head = self.head;
        let width = head.heads.head_dim;
        let padded = width.next_multiple_of(TILE_COLS);
        let key_panels = head.pack_transposed(pool, head.k);
        let value_panels = head.pack_transposed(pool, head.v);
        let key_rows = head.pack(pool, head.k);
        let (mut p, mut ds) = (pool.take(QUERIES * STRIDE), pool.take(QUERIES * STRIDE));
        let (p, ds) = (p.as_mut_slice(), ds.as_mut_slice());
        let mut query_rows = pool.take(QUERIES * padded);
        let mut dout_rows = pool.take(QUERIES * padded);
        let (query_rows, dout_rows) = (query_rows.as_mut_slice(), dout_rows.as_mut_slice());
        self.clear_key_grads();
        for query_head in head.query_heads() {
            for query in head.query_blocks() {
                let rows = QUERIES.min(head.task.span.query_len - query);
                let softmax = self.softmax_rows(query_head, query, rows);
                pack_rows(rows, |i| head.query(query + i, query_head), query_rows);
                pack_rows(rows, |i| self.dout(query + i, query_head), dout_rows);
                let token = head.task.span.query_start + query;
                let (q, dout) = (
                    head.q.left(token, query_head),
                    self.saved.dout.left(token, query_head),
                );
                for square in head.squares(query) {
                    let dq = self.query_out(query, query_head, !square.is_first);
                    // SAFETY: all operands are rows of this span, and this task alone writes these heads.
                    unsafe {
                        square.by_keys(width, q, key_panels.as_slice(), head.heads.scale, p);
                        square.by_keys(width, dout, value_panels.as_slice(), 1.0, ds);
                        score_grads(p, ds, square, &softmax, head.heads);
                        square.over_queries(p, dout_rows, width, self.dv.out(square.key));
                        square.over_queries(ds, query_rows, width, self.dk.out(square.key));
                        square.over_keys(
                            ds,
                            key_rows.as_slice(),
                            head.task.span.key_len,
                            width,
                            dq,
                        );
                    }
                }
            }
        }
    }

    /// `lse` and `rowsum(dO ∘ O)` of each query of the block.
    fn softmax_rows(&self, head: usize, query: usize, rows: usize) -> [SoftmaxRow; QUERIES] {
        let mut softmax = [SoftmaxRow::default(); QUERIES];
        for (i, row) in softmax.iter_mut().enumerate().take(rows) {
            let token = self.head.task.span.query_start + query + i;
            let (out, dout) = (
                self.saved.out.at(token, head),
                self.saved.dout.at(token, head),
            );
            row.lse = self.saved.lse[token * self.head.heads.num_heads + head];
            row.delta = simd::dot(out, dout);
        }
        softmax
    }

    fn dout(&self, query: usize, head: usize) -> &[f32] {
        self.saved
            .dout
            .at(self.head.task.span.query_start + query, head)
    }

    fn query_out(&self, query: usize, head: usize, accumulate: bool) -> Out {
        let Heads {
            num_heads,
            head_dim,
            ..
        } = self.head.heads;
        let row = num_heads * head_dim;
        let at = (self.head.task.span.query_start + query) * row + head * head_dim;
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
        for key in 0..self.head.task.span.key_len {
            for grad in [self.dk, self.dv] {
                // SAFETY: a key of the sequence; this task owns its rows.
                unsafe {
                    let row = grad.out(key).start;
                    std::slice::from_raw_parts_mut(row, self.head.heads.head_dim).fill(0.0);
                }
            }
        }
    }
}

/// What the backward pass needs to know of a row of the softmax.
#[derive(Clone, Copy, Default)]
struct SoftmaxRow {
    lse: f32,
    delta: f32,
}

simd::vectorised! {
    /// Scores become weights, and `ds`, holding `dP`, becomes the gradient of the scores.
    fn score_grads(p: &mut [f32], ds: &mut [f32], square: Square, softmax: &[SoftmaxRow; QUERIES], heads: Heads) {
        let scale = heads.scale;
        for row in 0..square.rows {
            let (hidden, visible, SoftmaxRow { lse, delta }) = (square.hidden(row), square.visible(row), softmax[row]);
            let (p, ds) = (&mut p[row * STRIDE..][..STRIDE], &mut ds[row * STRIDE..][..STRIDE]);
            let seen = p[hidden..visible].iter_mut().zip(&mut ds[hidden..visible]);
            match heads.cap {
                None => for (p, dp) in seen {
                    let x = *p - lse;
                    *p = if x < -87.0 { 0.0 } else { simd::exp(x) };
                    *dp = scale * (*p * (*dp - delta));
                },
                // d cap·tanh(s / cap) / ds = 1 - tanh²
                Some(cap) => for (p, dp) in seen {
                    let share = simd::tanh(*p * cap.recip());
                    let x = cap * share - lse;
                    *p = if x < -87.0 { 0.0 } else { simd::exp(x) };
                    *dp = scale * (*p * (*dp - delta)) * (1.0 - share * share);
                },
            }
            for side in [p, ds] {
                side[..hidden].fill(0.0);
                hide(side, visible);
            }
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
