//! Attention of packed sequences, with windows, caps and longer keys.

use hone_tensor::{
    AttentionGrads, AttentionSaved, Device, Heads, Index, PAGE, Span, Spans, Tensor,
};

use crate::{assert_close, noise, numeric_gradient, wide};

fn attention(q: &[f64], k: &[f64], v: &[f64], spans: &[Span], heads: Heads) -> Vec<f64> {
    let (dim, q_cols, kv_cols) = (
        heads.head_dim,
        heads.num_heads * heads.head_dim,
        heads.num_kv_heads * heads.head_dim,
    );
    let mut out = vec![0.0; q.len()];
    for span in spans {
        for head in 0..heads.num_heads {
            let kv = head / (heads.num_heads / heads.num_kv_heads) * dim;
            for i in 0..span.query_len {
                let visible = span.key_len - span.query_len + i + 1;
                let at = (span.query_start + i) * q_cols + head * dim;
                let score = |j: usize| -> f64 {
                    let key = (span.key_start + j) * kv_cols + kv;
                    (0..dim).map(|c| q[at + c] * k[key + c]).sum::<f64>() * f64::from(heads.scale)
                };
                let scores: Vec<f64> = (0..visible).map(score).collect();
                let max = scores.iter().cloned().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for (j, weight) in weights.iter().enumerate() {
                    for c in 0..dim {
                        out[at + c] += weight / sum * v[(span.key_start + j) * kv_cols + kv + c];
                    }
                }
            }
        }
    }
    out
}

/// Sequences of these lengths, one after the other.
pub fn packed(lengths: &[usize]) -> Spans {
    let mut start = 0;
    let span = |&len: &usize| {
        start += len;
        Span {
            query_start: start - len,
            query_len: len,
            key_start: start - len,
            key_len: len,
        }
    };
    lengths.iter().map(span).collect()
}

pub fn attention_agrees_with_a_loop_whatever_the_lengths(device: &Device) {
    for (lengths, num_heads, num_kv_heads, head_dim) in [
        (&[5, 1, 17][..], 4, 2, 8),
        (&[130, 70], 3, 1, 16),
        (&[49, 64, 65, 3], 2, 2, 24),
        (&[257, 530, 20], 2, 1, 16),
    ] {
        let heads = Heads {
            num_heads,
            num_kv_heads,
            head_dim,
            scale: (head_dim as f32).sqrt().recip(),
            window: None,
            cap: None,
        };
        let tokens: usize = lengths.iter().sum();
        let spans = packed(lengths);
        let scaled = |len, salt| noise(len, salt).iter().map(|x| 3.0 * x).collect::<Vec<_>>();
        let (q, k) = (
            scaled(tokens * num_heads * head_dim, 11),
            scaled(tokens * num_kv_heads * head_dim, 12),
        );
        let v = noise(tokens * num_kv_heads * head_dim, 13);
        let side = |data: &[f32], heads| device.tensor(tokens, heads * head_dim, data);
        let (tq, tk, tv) = (
            side(&q, num_heads),
            side(&k, num_kv_heads),
            side(&v, num_kv_heads),
        );
        let mut out = device.empty(tokens, num_heads * head_dim);
        device.attention(&tq, &tk, &tv, &spans, heads, &mut out, None);
        assert_close(
            "attention",
            &out.to_vec().unwrap(),
            &attention(&wide(&q), &wide(&k), &wide(&v), &spans, heads),
            2e-6,
        );
    }
}

pub fn queries_at_the_end_of_longer_keys_see_all_before_them(device: &Device) {
    let heads = Heads {
        num_heads: 2,
        num_kv_heads: 1,
        head_dim: 16,
        scale: 0.25,
        window: None,
        cap: None,
    };
    for query_len in [1, 3, 60] {
        let spans = Spans::from(vec![
            Span {
                query_start: 0,
                query_len,
                key_start: 10,
                key_len: 90,
            },
            Span {
                query_start: query_len,
                query_len: 1,
                key_start: 0,
                key_len: 7,
            },
        ]);
        let (q, k, v) = (
            noise((query_len + 1) * 32, 14),
            noise(100 * 16, 15),
            noise(100 * 16, 16),
        );
        let mut out = device.empty(query_len + 1, 32);
        let (tk, tv) = (device.tensor(100, 16, &k), device.tensor(100, 16, &v));
        device.attention(
            &device.tensor(query_len + 1, 32, &q),
            &tk,
            &tv,
            &spans,
            heads,
            &mut out,
            None,
        );
        let want = attention(&wide(&q), &wide(&k), &wide(&v), &spans, heads);
        assert_close("cached attention", &out.to_vec().unwrap(), &want, 2e-6);
    }
}

/// The same keys in pages that lie in another order give what they give side by side.
pub fn keys_in_pages_are_found(device: &Device) {
    const WIDTH: usize = 8;
    for window in [None, Some(20)] {
        let heads = Heads {
            num_heads: 4,
            num_kv_heads: 2,
            head_dim: WIDTH,
            scale: 0.3,
            window,
            cap: None,
        };
        // One token of 37, a part of 70, and all of 7: three pages, five and one.
        let (queries, keys) = ([1, 40, 7], [37, 70, 7]);
        let table: Vec<u32> = vec![8, 2, 5, 0, 7, 3, 9, 1, 4];
        let (mut spans, mut side_by_side) = (Vec::new(), Vec::new());
        let (mut query_start, mut page) = (0, 0);
        for (query_len, key_len) in queries.into_iter().zip(keys) {
            let span = Span {
                query_start,
                query_len,
                key_start: page * PAGE,
                key_len,
            };
            spans.push(span);
            query_start += query_len;
            page += key_len.div_ceil(PAGE);
        }
        for page in &table {
            side_by_side.extend((0..PAGE).map(|at| *page as usize * PAGE + at));
        }
        let cols = heads.num_kv_heads * WIDTH;
        let (q, k, v) = (
            noise(query_start * 4 * WIDTH, 21),
            noise(10 * PAGE * cols, 22),
            noise(10 * PAGE * cols, 23),
        );
        let spans = Spans::from(spans);
        let side = |data: &[f32]| device.tensor(10 * PAGE, cols, data);
        let (q, k, v) = (
            device.tensor(query_start, 4 * WIDTH, &q),
            side(&k),
            side(&v),
        );
        let out = || device.empty(query_start, 4 * WIDTH);
        let (mut paged, mut plain) = (out(), out());
        let table = Index::from(table);
        device.attention_paged(&q, (&k, &v), table.all(), &spans, heads, &mut paged);
        let rows: Index = side_by_side.into_iter().collect();
        let gathered = |x: &Tensor| {
            let mut beside = device.empty(rows.len(), cols);
            device.gather_rows(x, rows.all(), &mut beside);
            beside
        };
        let (k, v) = (gathered(&k), gathered(&v));
        device.attention(&q, &k, &v, &spans, heads, &mut plain, None);
        assert_eq!(
            paged.to_vec().unwrap(),
            plain.to_vec().unwrap(),
            "window {window:?}"
        );
    }
}

pub fn attention_gradients_by_finite_differences(device: &Device) {
    for (lengths, num_heads, num_kv_heads, head_dim) in
        [(&[5, 1, 9][..], 4, 2, 8), (&[70], 1, 1, 4)]
    {
        let heads = Heads {
            num_heads,
            num_kv_heads,
            head_dim,
            scale: 0.4,
            window: None,
            cap: None,
        };
        let tokens: usize = lengths.iter().sum();
        let spans = packed(lengths);
        let (q_len, kv_len) = (
            tokens * num_heads * head_dim,
            tokens * num_kv_heads * head_dim,
        );
        let (q, k, v, dout) = (
            noise(q_len, 17),
            noise(kv_len, 18),
            noise(kv_len, 19),
            noise(q_len, 20),
        );
        let side = |data: &[f32], heads| device.tensor(tokens, heads * head_dim, data);
        let (tq, tk, tv) = (
            side(&q, num_heads),
            side(&k, num_kv_heads),
            side(&v, num_kv_heads),
        );
        let mut out = device.empty(tokens, num_heads * head_dim);
        let mut lse = device.empty(tokens, num_heads);
        device.attention(&tq, &tk, &tv, &spans, heads, &mut out, Some(&mut lse));
        let empty = |heads: usize| device.empty(tokens, heads * head_dim);
        let (mut dq, mut dk, mut dv) = (empty(num_heads), empty(num_kv_heads), empty(num_kv_heads));
        let saved = AttentionSaved {
            q: &tq,
            k: &tk,
            v: &tv,
            out: &out,
            lse: &lse,
        };
        let grads = AttentionGrads {
            dq: &mut dq,
            dk: &mut dk,
            dv: &mut dv,
        };
        device.attention_backward(saved, &side(&dout, num_heads), &spans, heads, grads);
        let (q, k, v) = (&q, &k, &v);
        let check = |name: &str, got: &Tensor, x: &[f32], f: &dyn Fn(&[f64]) -> Vec<f64>| {
            assert_close(
                name,
                &got.to_vec().unwrap(),
                &numeric_gradient(x, &dout, f),
                1e-5,
            );
        };
        check("dq", &dq, q, &|q| {
            attention(q, &wide(k), &wide(v), &spans, heads)
        });
        check("dk", &dk, k, &|k| {
            attention(&wide(q), k, &wide(v), &spans, heads)
        });
        check("dv", &dv, v, &|v| {
            attention(&wide(q), &wide(k), v, &spans, heads)
        });
    }
}

/// `dv = Pᵀ·dO`, `dS = P ∘ (dO·Vᵀ - rowsum(dO ∘ O))`, `dq = scale · dS·K`, `dk = scale · dSᵀ·Q`, for one
/// sequence after the other.
fn attention_gradients(
    q: &[f64],
    k: &[f64],
    v: &[f64],
    dout: &[f64],
    lengths: &[usize],
    heads: Heads,
) -> [Vec<f64>; 3] {
    let (dim, scale) = (heads.head_dim, f64::from(heads.scale));
    let (q_cols, kv_cols) = (heads.num_heads * dim, heads.num_kv_heads * dim);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let [mut dq, mut dk, mut dv] = [q, k, v].map(|x| vec![0.0; x.len()]);
    for span in packed(lengths).iter() {
        for head in 0..heads.num_heads {
            let kv = head / (heads.num_heads / heads.num_kv_heads) * dim;
            let row = |i: usize| (span.query_start + i) * q_cols + head * dim;
            let key = |j: usize| (span.key_start + j) * kv_cols + kv;
            for i in 0..span.query_len {
                let (q, dout) = (&q[row(i)..][..dim], &dout[row(i)..][..dim]);
                let weights: Vec<f64> = (0..=i)
                    .map(|j| (scale * dot(q, &k[key(j)..][..dim])).exp())
                    .collect();
                let sum: f64 = weights.iter().sum();
                let dp: Vec<f64> = (0..=i).map(|j| dot(dout, &v[key(j)..][..dim])).collect();
                let mean = dot(&weights, &dp) / sum;
                for j in 0..=i {
                    let p = weights[j] / sum;
                    let ds = scale * p * (dp[j] - mean);
                    for c in 0..dim {
                        dv[key(j) + c] += p * dout[c];
                        dq[row(i) + c] += ds * k[key(j) + c];
                        dk[key(j) + c] += ds * q[c];
                    }
                }
            }
        }
    }
    [dq, dk, dv]
}

pub fn attention_gradients_of_long_sequences_agree_with_a_loop(device: &Device) {
    let heads = Heads {
        num_heads: 6,
        num_kv_heads: 2,
        head_dim: 20,
        scale: 0.3,
        window: None,
        cap: None,
    };
    let lengths = [1100, 530, 49];
    let tokens: usize = lengths.iter().sum();
    let (q_cols, kv_cols) = (6 * 20, 2 * 20);
    let (q, dout) = (noise(tokens * q_cols, 31), noise(tokens * q_cols, 32));
    let (k, v) = (noise(tokens * kv_cols, 33), noise(tokens * kv_cols, 34));
    let run = |device: &Device| {
        let side = |data: &[f32], cols| device.tensor(tokens, cols, data);
        let (tq, tk, tv) = (side(&q, q_cols), side(&k, kv_cols), side(&v, kv_cols));
        let (mut out, mut lse) = (device.empty(tokens, q_cols), device.empty(tokens, 6));
        let spans = packed(&lengths);
        device.attention(&tq, &tk, &tv, &spans, heads, &mut out, Some(&mut lse));
        let mut grads = [q_cols, kv_cols, kv_cols].map(|cols| device.empty(tokens, cols));
        let saved = AttentionSaved {
            q: &tq,
            k: &tk,
            v: &tv,
            out: &out,
            lse: &lse,
        };
        let [dq, dk, dv] = &mut grads;
        let grads_of = AttentionGrads { dq, dk, dv };
        device.attention_backward(saved, &side(&dout, q_cols), &spans, heads, grads_of);
        grads.map(|grad| grad.to_vec().unwrap())
    };
    let want = attention_gradients(
        &wide(&q),
        &wide(&k),
        &wide(&v),
        &wide(&dout),
        &lengths,
        heads,
    );
    let one = run(device);
    for ((name, got), want) in ["dq", "dk", "dv"].into_iter().zip(&one).zip(&want) {
        assert_close(name, got, want, 1e-5);
    }
}

/// One query sees the nearest `window` keys, and scores are capped, in two slow loops: the output, and the gradients
/// of queries, keys and values for `dout`.
fn attention_of(
    [q, k, v, dout]: [&[f64]; 4],
    spans: &[Span],
    heads: Heads,
) -> (Vec<f64>, [Vec<f64>; 3]) {
    let dim = heads.head_dim;
    let (q_cols, kv_cols) = (heads.num_heads * dim, heads.num_kv_heads * dim);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut out = vec![0.0; q.len()];
    let [mut dq, mut dk, mut dv] = [q, k, v].map(|x| vec![0.0; x.len()]);
    for span in spans {
        for head in 0..heads.num_heads {
            let kv = head / (heads.num_heads / heads.num_kv_heads) * dim;
            for i in 0..span.query_len {
                let row = (span.query_start + i) * q_cols + head * dim;
                let end = span.key_len - span.query_len + i + 1;
                let start = end.saturating_sub(heads.window.unwrap_or(end));
                let keys: Vec<usize> = (start..end)
                    .map(|j| (span.key_start + j) * kv_cols + kv)
                    .collect();
                let (query, dout) = (&q[row..][..dim], &dout[row..][..dim]);
                // The capped score, and its derivative by the plain one.
                let score = |key: &usize| {
                    let plain = dot(query, &k[*key..][..dim]) * f64::from(heads.scale);
                    match heads.cap.map(f64::from) {
                        None => (plain, 1.0),
                        Some(cap) => (
                            cap * (plain / cap).tanh(),
                            1.0 - (plain / cap).tanh().powi(2),
                        ),
                    }
                };
                let scores: Vec<(f64, f64)> = keys.iter().map(score).collect();
                let max = scores.iter().fold(f64::MIN, |max, s| max.max(s.0));
                let sum: f64 = scores.iter().map(|s| (s.0 - max).exp()).sum();
                let weights: Vec<f64> = scores.iter().map(|s| (s.0 - max).exp() / sum).collect();
                let dp: Vec<f64> = keys
                    .iter()
                    .map(|key| dot(dout, &v[*key..][..dim]))
                    .collect();
                let mean = dot(&weights, &dp);
                for (at, key) in keys.iter().enumerate() {
                    let ds = f64::from(heads.scale) * weights[at] * (dp[at] - mean) * scores[at].1;
                    for c in 0..dim {
                        out[row + c] += weights[at] * v[key + c];
                        dv[key + c] += weights[at] * dout[c];
                        dq[row + c] += ds * k[key + c];
                        dk[key + c] += ds * query[c];
                    }
                }
            }
        }
    }
    (out, [dq, dk, dv])
}

pub fn windows_and_caps_of_attention_forward_and_back_whatever_the_lengths(device: &Device) {
    for (lengths, window, cap) in [
        (&[5, 1, 17][..], Some(3), None),
        (&[130, 70], Some(50), Some(2.0)),
        (&[257, 530, 20], Some(256), None),
        (&[257, 530, 20], Some(300), Some(1.5)),
        (&[700], Some(2), None),
        (&[60, 3], None, Some(0.7)),
        (&[60, 3], Some(1000), None),
        (&[1100], Some(200), Some(3.0)),
    ] {
        let heads = Heads {
            num_heads: 4,
            num_kv_heads: 2,
            head_dim: 12,
            scale: 0.5,
            window,
            cap,
        };
        let tokens: usize = lengths.iter().sum();
        let spans = packed(lengths);
        let (q_cols, kv_cols) = (4 * 12, 2 * 12);
        let loud = |len, salt| -> Vec<f32> { noise(len, salt).iter().map(|x| 2.0 * x).collect() };
        let (q, k) = (loud(tokens * q_cols, 11), loud(tokens * kv_cols, 12));
        let (v, dout) = (noise(tokens * kv_cols, 13), noise(tokens * q_cols, 14));
        let side = |data: &[f32], cols| device.tensor(tokens, cols, data);
        let (tq, tk, tv) = (side(&q, q_cols), side(&k, kv_cols), side(&v, kv_cols));
        let (mut out, mut lse) = (device.empty(tokens, q_cols), device.empty(tokens, 4));
        device.attention(&tq, &tk, &tv, &spans, heads, &mut out, Some(&mut lse));
        let mut grads = [q_cols, kv_cols, kv_cols].map(|cols| device.empty(tokens, cols));
        let saved = AttentionSaved {
            q: &tq,
            k: &tk,
            v: &tv,
            out: &out,
            lse: &lse,
        };
        let [dq, dk, dv] = &mut grads;
        let written = AttentionGrads { dq, dk, dv };
        device.attention_backward(saved, &side(&dout, q_cols), &spans, heads, written);

        let wides = [&q, &k, &v, &dout].map(|x| wide(x));
        let [q, k, v, dout] = &wides;
        let (want, want_grads) = attention_of([q, k, v, dout], &spans, heads);
        let name = |what: &str| format!("{what} of {lengths:?}, window {window:?}, cap {cap:?}");
        assert_close(&name("out"), &out.to_vec().unwrap(), &want, 3e-6);
        for ((what, got), want) in ["dq", "dk", "dv"].iter().zip(&grads).zip(&want_grads) {
            assert_close(&name(what), &got.to_vec().unwrap(), want, 2e-5);
        }
    }
}

pub fn with_a_cache_the_last_queries_see_their_window_only(device: &Device) {
    for query_len in [1, 3, 60] {
        let heads = Heads {
            num_heads: 2,
            num_kv_heads: 1,
            head_dim: 16,
            scale: 0.25,
            window: Some(9),
            cap: Some(1.0),
        };
        let spans = Spans::from(vec![
            Span {
                query_start: 0,
                query_len,
                key_start: 10,
                key_len: 90,
            },
            Span {
                query_start: query_len,
                query_len: 1,
                key_start: 0,
                key_len: 7,
            },
        ]);
        let (q, k, v) = (
            noise((query_len + 1) * 32, 14),
            noise(100 * 16, 15),
            noise(100 * 16, 16),
        );
        let mut out = device.empty(query_len + 1, 32);
        let (tk, tv) = (device.tensor(100, 16, &k), device.tensor(100, 16, &v));
        let tq = device.tensor(query_len + 1, 32, &q);
        device.attention(&tq, &tk, &tv, &spans, heads, &mut out, None);
        let [q, k, v] = [&q, &k, &v].map(|x| wide(x));
        let (want, _) = attention_of([&q, &k, &v, &q], &spans, heads);
        assert_close("cached", &out.to_vec().unwrap(), &want, 2e-6);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slow loop's own gradients, by finite differences of its output.
    #[test]
    fn the_loop_that_windows_and_caps_are_compared_with_is_right() {
        let heads = Heads {
            num_heads: 2,
            num_kv_heads: 1,
            head_dim: 3,
            scale: 0.9,
            window: Some(4),
            cap: Some(0.8),
        };
        let spans = packed(&[7, 2]);
        let (q, k, v, dout) = (noise(54, 1), noise(27, 2), noise(27, 3), noise(54, 4));
        let [wq, wk, wv, wd] = [&q, &k, &v, &dout].map(|x| wide(x));
        let (_, [dq, dk, dv]) = attention_of([&wq, &wk, &wv, &wd], &spans, heads);
        let by = |x: &[f32], f: &dyn Fn(&[f64]) -> Vec<f64>| -> Vec<f32> {
            numeric_gradient(x, &dout, f)
                .iter()
                .map(|x| *x as f32)
                .collect()
        };
        let run = |q: &[f64], k: &[f64], v: &[f64]| attention_of([q, k, v, &wd], &spans, heads).0;
        assert_close("dq", &by(&q, &|q| run(q, &wk, &wv)), &dq, 1e-6);
        assert_close("dk", &by(&k, &|k| run(&wq, k, &wv)), &dk, 1e-6);
        assert_close("dv", &by(&v, &|v| run(&wq, &wk, v)), &dv, 1e-6);
    }
}
