//! Causal attention over the sequences of a packed batch.

use super::{StorageOps, assert_same_shape, host, put};
use crate::index::{Indices, Span, Spans};
use crate::tensor::Tensor;

/// Tokens of a page: keys and values of sequences that grow are taken so many at a time.
pub const PAGE: usize = 16;

/// A span of no more queries than this, as in generation, may be rounded otherwise than one of more. Beyond that, each query
/// gives the same bits whatever queries stand beside it.
pub const FEW_QUERIES: usize = 4;

/// The shape of grouped-query attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heads {
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; divides `num_heads`.
    pub num_kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// What scores are multiplied with, `1/√head_dim` as a rule.
    pub scale: f32,
    /// How many keys a query sees at most, itself among them: the nearest. All before it, if not said.
    pub window: Option<usize>,
    /// Scores become `cap · tanh(score / cap)`, if said (Bello et al. 2016; Gemma 2).
    pub cap: Option<f32>,
}

/// What attention's forward pass leaves for its backward pass.
#[derive(Clone, Copy, Debug)]
pub struct AttentionSaved<'a> {
    /// Queries `[t, num_heads · head_dim]`, rotated.
    pub q: &'a Tensor,
    /// Keys `[t, num_kv_heads · head_dim]`, rotated.
    pub k: &'a Tensor,
    /// Values `[t, num_kv_heads · head_dim]`.
    pub v: &'a Tensor,
    /// The output.
    pub out: &'a Tensor,
    /// Log-sum-exp of each row and head `[t, num_heads]`.
    pub lse: &'a Tensor,
}

/// Where attention's backward pass writes.
#[derive(Debug)]
pub struct AttentionGrads<'a> {
    /// Like the queries.
    pub dq: &'a mut Tensor,
    /// Like the keys.
    pub dk: &'a mut Tensor,
    /// Like the values.
    pub dv: &'a mut Tensor,
}

/// Attention, forward and backward.
pub trait AttentionOps: StorageOps {
    /// Block-diagonal causal attention; `lse [rows, num_heads]` keeps the log-sum-exp of each row for backward.
    fn attention(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        spans: &Spans,
        heads: Heads,
        out: &mut Tensor,
        lse: Option<&mut Tensor>,
    ) {
        check_spans(spans, q.rows(), k.rows());
        assert_same_shape(q, out);
        assert_same_shape(k, v);
        on_host(self, q, (k, v, None), spans, heads, out, lse);
    }

    /// [`AttentionOps::attention`] without a backward pass, where keys and values lie in pages of [`PAGE`] tokens: a key of
    /// `spans` is a place in `pages` counted in tokens, and each entry of `pages` is the number of a page. The keys of a span
    /// begin at the beginning of a page. Gives the bits that the same keys give side by side.
    fn attention_paged(
        &self,
        q: &Tensor,
        (k, v): (&Tensor, &Tensor),
        pages: Indices,
        spans: &Spans,
        heads: Heads,
        out: &mut Tensor,
    ) {
        check_paged(spans, q, (k, v), pages);
        assert_same_shape(q, out);
        let pages = Some(pages.on_host());
        on_host(self, q, (k, v, pages), spans, heads, out, None);
    }

    /// Gradients of [`AttentionOps::attention`]; scores are recomputed block by block from `lse`.
    fn attention_backward(
        &self,
        saved: AttentionSaved,
        dout: &Tensor,
        spans: &Spans,
        heads: Heads,
        grads: AttentionGrads,
    ) {
        check_spans(spans, saved.q.rows(), saved.k.rows());
        let AttentionGrads { dq, dk, dv } = grads;
        assert_same_shape(saved.q, dq);
        assert_same_shape(saved.k, dk);
        assert_same_shape(saved.v, dv);
        assert_same_shape(saved.q, dout);
        let (Some(q), Some(k), Some(v)) = (
            host(self, saved.q),
            host(self, saved.k),
            host(self, saved.v),
        ) else {
            return;
        };
        let Some(dout) = host(self, dout) else {
            return;
        };
        let (mut sums_q, mut sums_k, mut sums_v) = (
            vec![0.0f64; q.len()],
            vec![0.0f64; k.len()],
            vec![0.0f64; v.len()],
        );
        let (sides, width) = (
            Sides {
                q: &q,
                k: &k,
                heads,
                pages: None,
            },
            heads.head_dim,
        );
        for (row, head, first, scores) in sides.rows(spans) {
            let at = sides.query(row, head);
            let (shares, _) = softmax(&scores);
            let dshare = |key: usize| -> f64 {
                let place = sides.key(first + key, head);
                (0..width)
                    .map(|i| f64::from(dout[at + i]) * f64::from(v[place + i]))
                    .sum()
            };
            let dshares: Vec<f64> = (0..shares.len()).map(dshare).collect();
            let along: f64 = shares
                .iter()
                .zip(&dshares)
                .map(|(share, dshare)| share * dshare)
                .sum();
            for (key, share) in shares.iter().enumerate() {
                let place = sides.key(first + key, head);
                let slope = heads
                    .cap
                    .map_or(1.0, |cap| 1.0 - (scores[key] / f64::from(cap)).powi(2));
                let dscore = share * (dshares[key] - along) * slope * f64::from(heads.scale);
                for i in 0..width {
                    sums_v[place + i] += share * f64::from(dout[at + i]);
                    sums_q[at + i] += dscore * f64::from(k[place + i]);
                    sums_k[place + i] += dscore * f64::from(q[at + i]);
                }
            }
        }
        for (grad, sums) in [(dq, sums_q), (dk, sums_k), (dv, sums_v)] {
            put(
                self,
                grad,
                &sums.iter().map(|sum| *sum as f32).collect::<Vec<_>>(),
            );
        }
    }
}

/// Attention in plain loops.
fn on_host<D: StorageOps + ?Sized>(
    device: &D,
    q: &Tensor,
    (k, v, pages): (&Tensor, &Tensor, Option<&[u32]>),
    spans: &[Span],
    heads: Heads,
    out: &mut Tensor,
    lse: Option<&mut Tensor>,
) {
    let (Some(q), Some(k), Some(v)) = (host(device, q), host(device, k), host(device, v)) else {
        return;
    };
    let Some(mut y) = host(device, out) else {
        return;
    };
    let mut sums = lse.as_ref().and_then(|lse| host(device, lse));
    let sides = Sides {
        q: &q,
        k: &k,
        heads,
        pages,
    };
    for (row, head, first, scores) in sides.rows(spans) {
        let (shares, sum) = softmax(&scores);
        let width = heads.head_dim;
        for i in 0..width {
            let value = |key: usize| f64::from(v[sides.key(first + key, head) + i]);
            let mean = shares
                .iter()
                .enumerate()
                .map(|(key, share)| share * value(key));
            y[sides.query(row, head) + i] = mean.sum::<f64>() as f32;
        }
        if let Some(sums) = &mut sums {
            sums[row * heads.num_heads + head] = sum as f32;
        }
    }
    put(device, out, &y);
    if let (Some(lse), Some(sums)) = (lse, sums) {
        put(device, lse, &sums);
    }
}

/// The promise of all: so many query rows and keys are there.
pub(crate) fn check_spans(spans: &[Span], queries: usize, keys: usize) {
    for span in spans {
        assert!(
            span.query_len >= 1 && span.query_len <= span.key_len,
            "a query sees itself"
        );
        assert!(
            span.query_start + span.query_len <= queries && span.key_start + span.key_len <= keys,
            "spans inside the batch"
        );
    }
}

/// The promise where keys lie in pages.
pub(crate) fn check_paged(spans: &[Span], q: &Tensor, (k, v): (&Tensor, &Tensor), pages: Indices) {
    assert_same_shape(k, v);
    check_spans(spans, q.rows(), pages.len() * PAGE);
    let has_page = |page: &u32| (*page as usize + 1) * PAGE <= k.rows();
    assert!(
        pages.on_host().iter().all(has_page),
        "pages inside the cache"
    );
    let is_first = |span: &Span| span.key_start.is_multiple_of(PAGE);
    assert!(spans.iter().all(is_first), "keys begin with a page");
}

/// Queries and keys of all heads, on the host.
struct Sides<'a> {
    q: &'a [f32],
    k: &'a [f32],
    heads: Heads,
    /// The page of each [`PAGE`] keys, where they lie in pages.
    pages: Option<&'a [u32]>,
}

impl Sides<'_> {
    /// Where the query of a row begins.
    fn query(&self, row: usize, head: usize) -> usize {
        (row * self.heads.num_heads + head) * self.heads.head_dim
    }

    /// Where the key that a query head reads begins in its row.
    fn key(&self, row: usize, head: usize) -> usize {
        let group = self.heads.num_heads / self.heads.num_kv_heads;
        let row = match self.pages {
            None => row,
            Some(pages) => pages[row / PAGE] as usize * PAGE + row % PAGE,
        };
        (row * self.heads.num_kv_heads + head / group) * self.heads.head_dim
    }

    /// Each query row and head, the first key row that it sees, and its scores from there on.
    fn rows(&self, spans: &[Span]) -> impl Iterator<Item = (usize, usize, usize, Vec<f64>)> {
        let each = spans
            .iter()
            .flat_map(|span| (0..span.query_len).map(move |i| (span, i)));
        let each = each.flat_map(|at| (0..self.heads.num_heads).map(move |head| (at, head)));
        each.map(|((span, i), head)| {
            let seen = span.key_len - span.query_len + i + 1;
            let hidden = self
                .heads
                .window
                .map_or(0, |window| seen.saturating_sub(window));
            let (row, first) = (span.query_start + i, span.key_start + hidden);
            let scores = (hidden..seen).map(|key| self.score(row, span.key_start + key, head));
            (row, head, first, scores.collect())
        })
    }

    fn score(&self, row: usize, key: usize, head: usize) -> f64 {
        let width = self.heads.head_dim;
        let (q, k) = (
            &self.q[self.query(row, head)..],
            &self.k[self.key(key, head)..],
        );
        let products = q[..width]
            .iter()
            .zip(k)
            .map(|(q, k)| f64::from(*q) * f64::from(*k));
        let score = products.sum::<f64>() * f64::from(self.heads.scale);
        self.heads.cap.map_or(score, |cap| {
            f64::from(cap) * (score / f64::from(cap)).tanh()
        })
    }
}

/// Shares, and the logarithm of the sum of exponentials.
fn softmax(scores: &[f64]) -> (Vec<f64>, f64) {
    let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores
        .iter()
        .map(|score| (score - greatest).exp())
        .collect();
    let sum: f64 = powers.iter().sum();
    (
        powers.iter().map(|power| power / sum).collect(),
        greatest + sum.ln(),
    )
}
