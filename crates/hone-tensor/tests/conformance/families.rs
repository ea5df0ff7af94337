//! Ops that some families of networks ask for: layer norm, GELU, windows and caps of attention, partial and
//! interleaved rotation, fused columns.

use hone_tensor::{Columns, Gelu, LayerNorm};

use super::*;

/// Stretches of `width`; weight and bias are as long as a row or as a stretch.
fn layer_norm(x: &[f64], w: &[f64], b: &[f64], cols: usize, width: usize, eps: f64) -> Vec<f64> {
    let mut out = vec![0.0; x.len()];
    for (stretch, (x, out)) in x.chunks(width).zip(out.chunks_mut(width)).enumerate() {
        let mean = x.iter().sum::<f64>() / width as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        for i in 0..width {
            let at = (stretch * width % cols + i) % w.len();
            out[i] = (x[i] - mean) / (variance + eps).sqrt() * w[at] + b[at];
        }
    }
    out
}

#[test]
fn layer_norm_and_its_gradient_over_rows_and_over_stretches() {
    for device in devices() {
        for (cols, width, weights) in [(37, 37, 37), (40, 8, 8), (40, 8, 40), (33, 11, 33)] {
            let (rows, eps) = (5, 1e-5f32);
            let x: Vec<f32> = noise(rows * cols, 6)
                .iter()
                .map(|x| 3.0 * x + 1.0)
                .collect();
            let (w, b, dy) = (noise(weights, 7), noise(weights, 8), noise(rows * cols, 9));
            let (tx, tw, tb) = (
                device.tensor(rows, cols, &x),
                device.tensor(1, weights, &w),
                device.tensor(1, weights, &b),
            );
            let norm = LayerNorm {
                weight: &tw,
                bias: Some(&tb),
                width,
                eps,
            };
            let reference =
                |x: &[f64], b: &[f64]| layer_norm(x, &wide(&w), b, cols, width, f64::from(eps));
            let mut y = device.empty(rows, cols);
            device.layer_norm(&tx, norm, &mut y);
            let want = reference(&wide(&x), &wide(&b));
            assert_close("layer_norm", &y.to_vec().unwrap(), &want, 1e-6);
            let plain = LayerNorm { bias: None, ..norm };
            device.layer_norm(&tx, plain, &mut y);
            let want = reference(&wide(&x), &vec![0.0; weights]);
            assert_close("without bias", &y.to_vec().unwrap(), &want, 1e-6);

            let tdy = device.tensor(rows, cols, &dy);
            let mut dx = device.empty(rows, cols);
            device.layer_norm_backward(&tdy, &tx, norm, &mut dx, false);
            let want = numeric_gradient(&x, &dy, |x| reference(x, &wide(&b)));
            assert_close("layer_norm_backward", &dx.to_vec().unwrap(), &want, 1e-5);
            device.layer_norm_backward(&tdy, &tx, norm, &mut dx, true);
            let twice: Vec<f64> = want.iter().map(|x| 2.0 * x).collect();
            assert_close("accumulated", &dx.to_vec().unwrap(), &twice, 1e-5);
        }
    }
}

#[test]
fn a_short_weight_makes_rms_norm_go_head_by_head() {
    for device in devices() {
        let (rows, cols, width, eps) = (4, 24, 8, 1e-6f32);
        let (x, w, dy) = (
            noise(rows * cols, 6),
            noise(width, 7),
            noise(rows * cols, 8),
        );
        let (tx, tw) = (device.tensor(rows, cols, &x), device.tensor(1, width, &w));
        let mut y = device.empty(rows, cols);
        device.rms_norm(&tx, &tw, eps, &mut y);
        let reference = |x: &[f64]| rms_norm(x, &wide(&w), f64::from(eps));
        assert_close("heads", &y.to_vec().unwrap(), &reference(&wide(&x)), 1e-6);
        let mut dx = device.empty(rows, cols);
        let tdy = device.tensor(rows, cols, &dy);
        device.rms_norm_backward(&tdy, &tx, &tw, eps, &mut dx, false);
        let want = numeric_gradient(&x, &dy, reference);
        assert_close("heads backward", &dx.to_vec().unwrap(), &want, 1e-5);
    }
}

/// `x · Φ(x)` with Φ by Simpson's rule, and the tanh form as it is written in the paper.
fn gelu(kind: Gelu, x: f64) -> f64 {
    match kind {
        Gelu::Tanh => {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + u.tanh())
        }
        Gelu::Erf => {
            let density = |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt();
            let (steps, h) = (2000, x / 2000.0);
            let inner = |i: usize| {
                let weight = if i.is_multiple_of(2) { 2.0 } else { 4.0 };
                weight * density(i as f64 * h)
            };
            let area = density(0.0) + density(x) + (1..steps).map(inner).sum::<f64>();
            x * (0.5 + area * h / 3.0)
        }
    }
}

#[test]
fn gelu_and_its_gradients_alone_and_as_a_gate() {
    for device in devices() {
        for kind in [Gelu::Erf, Gelu::Tanh] {
            let (rows, cols) = (3, 41);
            let spread = |salt| -> Vec<f32> {
                let x = noise(rows * cols, salt);
                x.iter().map(|x| 6.0 * x).collect()
            };
            let (gate, up, dout) = (spread(21), spread(22), noise(rows * cols, 23));
            let alone = |x: &[f64]| -> Vec<f64> { x.iter().map(|x| gelu(kind, *x)).collect() };
            let gated = |gate: &[f64], up: &[f64]| -> Vec<f64> {
                let pairs = gate.iter().zip(up);
                pairs.map(|(g, u)| gelu(kind, *g) * u).collect()
            };
            let tensor = |x: &[f32]| device.tensor(rows, cols, x);
            let (tg, tu, td) = (tensor(&gate), tensor(&up), tensor(&dout));
            let empty = || device.empty(rows, cols);
            let check = |name: &str, got: &Tensor, want: &[f64], tolerance: f64| {
                let name = format!("{kind:?} {name}");
                assert_close(&name, &got.to_vec().unwrap(), want, tolerance);
            };

            let (mut out, mut dx) = (empty(), empty());
            device.gelu(kind, &tg, &mut out);
            check("alone", &out, &alone(&wide(&gate)), 1e-6);
            device.gelu_backward(kind, &td, &tg, &mut dx);
            check("dx", &dx, &numeric_gradient(&gate, &dout, alone), 1e-5);

            let (mut dgate, mut dup) = (empty(), empty());
            device.gated_gelu(kind, &tg, &tu, &mut out);
            check("gated", &out, &gated(&wide(&gate), &wide(&up)), 1e-6);
            device.gated_gelu_backward(kind, &td, &tg, &tu, &mut dgate, &mut dup);
            let by_gate = numeric_gradient(&gate, &dout, |g| gated(g, &wide(&up)));
            check("dgate", &dgate, &by_gate, 1e-5);
            let by_up = numeric_gradient(&up, &dout, |u| gated(&wide(&gate), u));
            check("dup", &dup, &by_up, 1e-5);
        }
    }
}

#[test]
fn far_out_gelu_is_its_input_or_nothing() {
    let device = Device::cpu(1).unwrap();
    let x = device.tensor(1, 6, &[-1e4, -30.0, -12.0, 12.0, 30.0, 1e4]);
    for kind in [Gelu::Erf, Gelu::Tanh] {
        let mut out = device.empty(1, 6);
        device.gelu(kind, &x, &mut out);
        let out = out.to_vec().unwrap();
        assert!(
            out[..3].iter().all(|y| y.abs() < 1e-20),
            "{kind:?}: {out:?}"
        );
        assert_eq!(out[3..], [12.0, 30.0, 1e4]);
        let (ones, mut dx) = (device.tensor(1, 6, &[1.0; 6]), device.empty(1, 6));
        device.gelu_backward(kind, &ones, &x, &mut dx);
        let dx = dx.to_vec().unwrap();
        assert!(dx[..3].iter().all(|y| y.abs() < 1e-20), "{kind:?}: {dx:?}");
        assert!(
            dx[3..].iter().all(|y| (y - 1.0).abs() < 1e-6),
            "{kind:?}: {dx:?}"
        );
    }
}

#[test]
fn scaling_and_soft_caps_and_their_gradient() {
    for device in devices() {
        let x: Vec<f32> = noise(3 * 50, 40).iter().map(|x| 90.0 * x).collect();
        let dy = noise(3 * 50, 41);
        let cap = |x: &[f64]| -> Vec<f64> { x.iter().map(|x| 30.0 * (x / 30.0).tanh()).collect() };
        let mut y = device.tensor(3, 50, &x);
        device.soft_cap(&mut y, 30.0);
        assert_close("cap", &y.to_vec().unwrap(), &cap(&wide(&x)), 1e-6);
        let mut dx = device.tensor(3, 50, &dy);
        device.soft_cap_backward(&y, 30.0, &mut dx);
        let want = numeric_gradient(&x, &dy, cap);
        assert_close("cap backward", &dx.to_vec().unwrap(), &want, 1e-5);
        let mut scaled = device.tensor(3, 50, &x);
        device.scale(&mut scaled, -0.5);
        let want: Vec<f32> = x.iter().map(|x| -0.5 * x).collect();
        assert_eq!(scaled.to_vec().unwrap(), want);
    }
}

#[test]
fn a_narrow_table_turns_the_beginning_of_a_head_and_neighbours_turn_together() {
    for device in devices() {
        let (rows, heads, width, turning) = (4, 3, 10, 6);
        let angle = |position: usize, pair: usize| position as f32 * 0.7f32.powi(pair as i32);
        let table: Vec<f32> = (0..16 * turning)
            .map(|i| {
                let (position, j) = (i / turning, i % turning);
                let angle = angle(position, j % (turning / 2));
                if j < turning / 2 {
                    angle.cos()
                } else {
                    angle.sin()
                }
            })
            .collect();
        let positions = [0u32, 1, 2, 15];
        let (x, dy) = (
            noise(rows * heads * width, 9),
            noise(rows * heads * width, 10),
        );
        let device_table = device.tensor(16, turning, &table);
        for interleaved in [false, true] {
            let reference = |x: &[f64]| {
                let mut y = x.to_vec();
                for (row, &position) in positions.iter().enumerate() {
                    for (head, pair) in
                        (0..heads).flat_map(|h| (0..turning / 2).map(move |p| (h, p)))
                    {
                        let start = (row * heads + head) * width;
                        let (i, j) = match interleaved {
                            true => (start + 2 * pair, start + 2 * pair + 1),
                            false => (start + pair, start + pair + turning / 2),
                        };
                        let (s, c) = f64::from(angle(position as usize, pair)).sin_cos();
                        (y[i], y[j]) = (x[i] * c - x[j] * s, x[j] * c + x[i] * s);
                    }
                }
                y
            };
            let turn = |data: &[f32], inverse| {
                let mut y = device.tensor(rows, heads * width, data);
                match interleaved {
                    true => {
                        device.rope_interleaved(&mut y, width, &positions, &device_table, inverse)
                    }
                    false => device.rope(&mut y, width, &positions, &device_table, inverse),
                }
                y.to_vec().unwrap()
            };
            assert_close("rope", &turn(&x, false), &reference(&wide(&x)), 1e-6);
            let want = numeric_gradient(&x, &dy, reference);
            assert_close("rope backward", &turn(&dy, true), &want, 1e-5);
        }
    }
}

#[test]
fn fused_columns_come_apart_and_together_again() {
    for device in devices() {
        // Three key heads with two queries each, all two wide: q q k v, q q k v, q q k v.
        let (rows, cols) = (700, 24);
        let x = noise(rows * cols, 3);
        let wide_tensor = device.tensor(rows, cols, &x);
        let part = |first, width| Columns {
            first,
            width,
            period: 8,
            count: 3,
        };
        let mut again = device.zeros(rows, cols);
        for (columns, head_cols) in [(part(0, 4), 4), (part(4, 2), 2), (part(6, 2), 2)] {
            let mut narrow = device.empty(rows, columns.total());
            device.split_columns(&wide_tensor, columns, &mut narrow);
            for (at, got) in narrow.to_vec().unwrap().into_iter().enumerate() {
                let (row, col) = (at / columns.total(), at % columns.total());
                let from = columns.first + col / head_cols * 8 + col % head_cols;
                assert_eq!(got, x[row * cols + from]);
            }
            device.merge_columns(&narrow, columns, &mut again);
        }
        assert_eq!(again.to_vec().unwrap(), x);
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

#[test]
fn windows_and_caps_of_attention_forward_and_back_whatever_the_lengths() {
    for device in devices() {
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
            let loud =
                |len, salt| -> Vec<f32> { noise(len, salt).iter().map(|x| 2.0 * x).collect() };
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
            let name =
                |what: &str| format!("{what} of {lengths:?}, window {window:?}, cap {cap:?}");
            assert_close(&name("out"), &out.to_vec().unwrap(), &want, 3e-6);
            for ((what, got), want) in ["dq", "dk", "dv"].iter().zip(&grads).zip(&want_grads) {
                assert_close(&name(what), &got.to_vec().unwrap(), want, 2e-5);
            }
        }
    }
}

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

#[test]
fn with_a_cache_the_last_queries_see_their_window_only() {
    let device = Device::cpu(2).unwrap();
    for query_len in [1, 3, 60] {
        let heads = Heads {
            num_heads: 2,
            num_kv_heads: 1,
            head_dim: 16,
            scale: 0.25,
            window: Some(9),
            cap: Some(1.0),
        };
        let spans = [
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
        ];
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
