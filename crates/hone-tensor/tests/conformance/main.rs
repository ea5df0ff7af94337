//! What every device must do: each op against a slow f64 loop, each gradient against finite
//! differences of that loop. A new back-end adds a line to `devices` and passes or does not.

mod families;
mod routing;

use hone_tensor::{
    AdamWStep, AttentionGrads, AttentionSaved, Device, Heads, Span, StoredMatrix, Tensor,
};

fn devices() -> Vec<Device> {
    vec![Device::cpu(1).unwrap(), Device::cpu(3).unwrap()]
}

/// Numbers in [-1, 1] that look random and never change.
fn noise(len: usize, salt: u64) -> Vec<f32> {
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

fn assert_close(name: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{name}: length");
    let scale = want.iter().fold(1e-3f64, |m, x| m.max(x.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            (f64::from(*g) - w).abs() <= tolerance * scale,
            "{name}[{i}]: got {g}, want {w}"
        );
    }
}

/// Gradient of `sum(f(x) · dy)` by central differences in f64.
fn numeric_gradient(x: &[f32], dy: &[f32], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let x = wide(x);
    let loss = |x: &[f64]| -> f64 { f(x).iter().zip(dy).map(|(y, d)| y * f64::from(*d)).sum() };
    let h = 1e-5;
    (0..x.len())
        .map(|i| {
            let (mut up, mut down) = (x.clone(), x.clone());
            up[i] += h;
            down[i] -= h;
            (loss(&up) - loss(&down)) / (2.0 * h)
        })
        .collect()
}

fn matmul(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for l in 0..k {
            for j in 0..n {
                c[i * n + j] += a[i * k + l] * b[l * n + j];
            }
        }
    }
    c
}

fn transpose(a: &[f64], rows: usize, cols: usize) -> Vec<f64> {
    let mut t = vec![0.0; a.len()];
    for i in 0..rows {
        for j in 0..cols {
            t[j * rows + i] = a[i * cols + j];
        }
    }
    t
}

#[test]
fn linear_and_its_transpose_agree_with_a_loop_at_awkward_shapes() {
    for device in devices() {
        for (t, width, out) in [
            (1, 32, 7),
            (4, 64, 65),
            (5, 96, 33),
            (97, 576, 192),
            (300, 700, 1100),
            (6, 1, 1),
        ] {
            let (x, w, dy) = (
                noise(t * width, 1),
                noise(out * width, 2),
                noise(t * out, 3),
            );
            let weight = device.weight(StoredMatrix::from_f32(&w, out, width).unwrap());
            let mut y = device.empty(t, out);
            let input = device.tensor(t, width, &x);
            device.linear(input.view(), &weight, &mut y, false);
            let want = matmul(&wide(&x), &transpose(&wide(&w), out, width), t, width, out);
            assert_close("linear", &y.to_vec().unwrap(), &want, 1e-5);
            device.linear(input.view(), &weight, &mut y, true);
            assert_close(
                "linear twice",
                &y.to_vec().unwrap(),
                &want.iter().map(|y| 2.0 * y).collect::<Vec<_>>(),
                1e-5,
            );

            let mut dx = device.empty(t, width);
            device.linear_backward(device.tensor(t, out, &dy).view(), &weight, &mut dx, false);
            assert_close(
                "linear_backward",
                &dx.to_vec().unwrap(),
                &matmul(&wide(&dy), &wide(&w), t, out, width),
                1e-5,
            );
        }
    }
}

#[test]
fn matmul_agrees_with_a_loop_in_all_orientations() {
    for device in devices() {
        for (m, k, n) in [
            (7, 33, 5),
            (16, 300, 576),
            (576, 301, 16),
            (130, 16, 130),
            (1, 1, 1),
            (48, 64, 700),
        ] {
            let (a, b) = (noise(m * k, 4), noise(k * n, 5));
            let want: Vec<f64> = matmul(&wide(&a), &wide(&b), m, k, n)
                .iter()
                .map(|x| 0.5 * x)
                .collect();
            let (plain_a, plain_b) = (device.tensor(m, k, &a), device.tensor(k, n, &b));
            let flip = |x: &[f32], r, c| {
                transpose(&wide(x), r, c)
                    .iter()
                    .map(|&x| x as f32)
                    .collect::<Vec<_>>()
            };
            let (flipped_a, flipped_b) = (
                device.tensor(k, m, &flip(&a, m, k)),
                device.tensor(n, k, &flip(&b, k, n)),
            );
            for left in [plain_a.view(), flipped_a.view().t()] {
                for right in [plain_b.view(), flipped_b.view().t()] {
                    let mut out = device.empty(m, n);
                    device.matmul(left, right, 0.5, out.view_mut(), false);
                    assert_close("matmul", &out.to_vec().unwrap(), &want, 1e-5);
                }
            }
        }
    }
}

#[test]
fn a_window_reads_and_writes_its_part_only() {
    let device = Device::cpu(1).unwrap();
    let mut flat = device.tensor(1, 12, &[1.0; 12]);
    let a = device.tensor(2, 2, &[1.0, 2.0, 3.0, 4.0]);
    device.matmul(a.view(), a.view(), 1.0, flat.window_mut(4, 2, 2), false);
    assert_eq!(
        flat.to_vec().unwrap(),
        [
            1.0, 1.0, 1.0, 1.0, 7.0, 10.0, 15.0, 22.0, 1.0, 1.0, 1.0, 1.0
        ]
    );
}

fn rms_norm(x: &[f64], w: &[f64], eps: f64) -> Vec<f64> {
    x.chunks(w.len())
        .flat_map(|row| {
            let rms = (row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64 + eps).sqrt();
            row.iter()
                .zip(w)
                .map(move |(x, w)| x / rms * w)
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn rms_norm_and_its_gradient() {
    for device in devices() {
        let (rows, cols, eps) = (5, 37, 1e-5f32);
        let (x, w, dy) = (noise(rows * cols, 6), noise(cols, 7), noise(rows * cols, 8));
        let (tx, tw) = (device.tensor(rows, cols, &x), device.tensor(1, cols, &w));
        let mut y = device.empty(rows, cols);
        device.rms_norm(&tx, &tw, eps, &mut y);
        let reference = |x: &[f64]| rms_norm(x, &wide(&w), f64::from(eps));
        assert_close(
            "rms_norm",
            &y.to_vec().unwrap(),
            &reference(&wide(&x)),
            1e-6,
        );

        let mut dx = device.empty(rows, cols);
        device.rms_norm_backward(
            &device.tensor(rows, cols, &dy),
            &tx,
            &tw,
            eps,
            &mut dx,
            false,
        );
        let want = numeric_gradient(&x, &dy, reference);
        assert_close("rms_norm_backward", &dx.to_vec().unwrap(), &want, 1e-5);
        device.rms_norm_backward(
            &device.tensor(rows, cols, &dy),
            &tx,
            &tw,
            eps,
            &mut dx,
            true,
        );
        assert_close(
            "accumulated",
            &dx.to_vec().unwrap(),
            &want.iter().map(|x| 2.0 * x).collect::<Vec<_>>(),
            1e-5,
        );
    }
}

#[test]
fn rope_turns_pairs_and_its_inverse_is_its_gradient() {
    for device in devices() {
        let (rows, heads, dim) = (4, 3, 8);
        let table: Vec<f32> = (0..16 * dim)
            .map(|i| {
                let (position, j) = (i / dim, i % dim);
                let angle = position as f32 * 0.7f32.powi((j % (dim / 2)) as i32);
                if j < dim / 2 {
                    angle.cos()
                } else {
                    angle.sin()
                }
            })
            .collect();
        let positions = [0u32, 1, 2, 15];
        let x = noise(rows * heads * dim, 9);
        let reference = |x: &[f64]| {
            let mut y = x.to_vec();
            for (row, &position) in positions.iter().enumerate() {
                for head in 0..heads {
                    for i in 0..dim / 2 {
                        let at = (row * heads + head) * dim + i;
                        let angles = &table[position as usize * dim..];
                        let (c, s) = (f64::from(angles[i]), f64::from(angles[dim / 2 + i]));
                        (y[at], y[at + dim / 2]) = (
                            x[at] * c - x[at + dim / 2] * s,
                            x[at + dim / 2] * c + x[at] * s,
                        );
                    }
                }
            }
            y
        };
        let device_table = device.tensor(16, dim, &table);
        let mut y = device.tensor(rows, heads * dim, &x);
        device.rope(&mut y, dim, &positions, &device_table, false);
        assert_close("rope", &y.to_vec().unwrap(), &reference(&wide(&x)), 1e-6);

        let dy = noise(rows * heads * dim, 10);
        let mut dx = device.tensor(rows, heads * dim, &dy);
        device.rope(&mut dx, dim, &positions, &device_table, true);
        assert_close(
            "rope backward",
            &dx.to_vec().unwrap(),
            &numeric_gradient(&x, &dy, reference),
            1e-5,
        );
    }
}

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

fn packed(lengths: &[usize]) -> Vec<Span> {
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

#[test]
fn attention_agrees_with_a_loop_whatever_the_lengths() {
    for device in devices() {
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
}

#[test]
fn queries_at_the_end_of_longer_keys_see_all_before_them() {
    let device = Device::cpu(2).unwrap();
    let heads = Heads {
        num_heads: 2,
        num_kv_heads: 1,
        head_dim: 16,
        scale: 0.25,
        window: None,
        cap: None,
    };
    for query_len in [1, 3, 60] {
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

#[test]
fn attention_gradients_by_finite_differences() {
    for device in devices() {
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
            let (mut dq, mut dk, mut dv) =
                (empty(num_heads), empty(num_kv_heads), empty(num_kv_heads));
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
    for span in packed(lengths) {
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

#[test]
fn attention_gradients_of_long_sequences_agree_with_a_loop_and_not_with_the_threads() {
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
    let one = run(&Device::cpu(1).unwrap());
    for ((name, got), want) in ["dq", "dk", "dv"].into_iter().zip(&one).zip(&want) {
        assert_close(name, got, want, 1e-5);
    }
    assert!(one == run(&Device::cpu(3).unwrap()));
}

#[test]
fn gated_silu_and_its_gradients() {
    for device in devices() {
        let (rows, cols) = (3, 41);
        let spread = |salt| {
            noise(rows * cols, salt)
                .iter()
                .map(|x| 6.0 * x)
                .collect::<Vec<f32>>()
        };
        let (gate, up, dout) = (spread(21), spread(22), noise(rows * cols, 23));
        let f = |gate: &[f64], up: &[f64]| {
            gate.iter()
                .zip(up)
                .map(|(g, u)| g / (1.0 + (-g).exp()) * u)
                .collect::<Vec<_>>()
        };
        let (tg, tu) = (
            device.tensor(rows, cols, &gate),
            device.tensor(rows, cols, &up),
        );
        let mut out = device.empty(rows, cols);
        device.gated_silu(&tg, &tu, &mut out);
        assert_close(
            "gated_silu",
            &out.to_vec().unwrap(),
            &f(&wide(&gate), &wide(&up)),
            1e-6,
        );
        let (mut dgate, mut dup) = (device.empty(rows, cols), device.empty(rows, cols));
        device.gated_silu_backward(
            &device.tensor(rows, cols, &dout),
            &tg,
            &tu,
            &mut dgate,
            &mut dup,
        );
        assert_close(
            "dgate",
            &dgate.to_vec().unwrap(),
            &numeric_gradient(&gate, &dout, |g| f(g, &wide(&up))),
            1e-5,
        );
        assert_close(
            "dup",
            &dup.to_vec().unwrap(),
            &numeric_gradient(&up, &dout, |u| f(&wide(&gate), u)),
            1e-5,
        );
    }
}

#[test]
fn cross_entropy_and_its_gradient() {
    for device in devices() {
        let (rows, vocab) = (3, 77);
        let logits: Vec<f32> = noise(rows * vocab, 24).iter().map(|x| 10.0 * x).collect();
        let targets = [0u32, 76, 13];
        let nats = |logits: &[f64]| -> Vec<f64> {
            logits
                .chunks(vocab)
                .zip(targets)
                .map(|(row, t)| row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[t as usize])
                .collect()
        };
        let mut tensor = device.tensor(rows, vocab, &logits);
        let got = device.cross_entropy(&mut tensor, &targets, true).unwrap();
        for (got, want) in got.iter().zip(nats(&wide(&logits))) {
            assert!(
                (got - want).abs() < 1e-6 * want.max(1.0),
                "{got} and {want}"
            );
        }
        let want = numeric_gradient(&logits, &[1.0; 3], nats);
        assert_close("dlogits", &tensor.to_vec().unwrap(), &want, 1e-5);
    }
}

#[test]
fn a_logit_that_is_not_finite_makes_the_loss_not_finite() {
    let device = Device::cpu(1).unwrap();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [1, 31, 32, 69] {
            let mut row = [0.5; 70];
            row[at] = bad;
            let mut logits = device.tensor(1, 70, &row);
            let nats = device.cross_entropy(&mut logits, &[0], false).unwrap();
            assert!(!nats[0].is_finite(), "{bad} at {at}");
        }
    }
}

#[test]
fn dropout_keeps_its_share_scales_it_and_repeats() {
    for device in devices() {
        let ones = device.tensor(100, 100, &[1.0; 10_000]);
        let run = |seed| {
            let mut out = device.empty(100, 100);
            device.dropout(&ones, 0.25, seed, &mut out, false);
            out.to_vec().unwrap()
        };
        let mask = run(7);
        let kept = mask.iter().filter(|&&x| x != 0.0).count();
        assert!(
            (7200..7800).contains(&kept),
            "{kept} of 10000 kept at p = 0.25"
        );
        assert!(
            mask.iter()
                .all(|&x| x == 0.0 || (x - 4.0 / 3.0).abs() < 1e-6)
        );
        assert_eq!(mask, run(7));
        assert_ne!(mask, run(8));
    }
}

#[test]
fn rows_are_gathered_added_back_and_biased() {
    let device = Device::cpu(2).unwrap();
    let x = device.tensor(3, 2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let mut picked = device.empty(2, 2);
    device.gather_rows(&x, &[2, 0], &mut picked);
    assert_eq!(picked.to_vec().unwrap(), [5.0, 6.0, 1.0, 2.0]);
    let mut out = device.zeros(3, 2);
    device.scatter_add_rows(&picked, &[2, 0], &mut out);
    device.add(&mut out, &x);
    device.add_bias(&mut out, &device.tensor(1, 2, &[10.0, 20.0]));
    assert_eq!(out.to_vec().unwrap(), [12.0, 24.0, 13.0, 24.0, 20.0, 32.0]);
}

#[test]
fn adamw_follows_the_formula() {
    for device in devices() {
        let len = 1000;
        let (p, g) = (noise(len, 25), noise(len, 26));
        let mut parameters = device.tensor(1, len, &p);
        let gradients = device.tensor(1, len, &g);
        let (mut first, mut second) = (device.zeros(1, len), device.zeros(1, len));
        let (mut want, mut m, mut v) = (wide(&p), vec![0.0; len], vec![0.0; len]);
        for step in 1..=3u64 {
            let numbers = AdamWStep {
                lr: 1e-2,
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                weight_decay: 0.1,
                step,
                gradient_scale: 0.5,
            };
            device.adamw(
                &mut parameters,
                &gradients,
                &mut first,
                &mut second,
                numbers,
            );
            for i in 0..len {
                let g = f64::from(g[i]) * 0.5;
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (mh, vh) = (
                    m[i] / (1.0 - 0.9f64.powi(step as i32)),
                    v[i] / (1.0 - 0.999f64.powi(step as i32)),
                );
                want[i] = want[i] * (1.0 - 1e-2 * 0.1) - 1e-2 * mh / (vh.sqrt() + 1e-8);
            }
        }
        assert_close("adamw", &parameters.to_vec().unwrap(), &want, 1e-5);
        let sum: f64 = g.iter().map(|&g| f64::from(g).powi(2)).sum();
        assert!((device.sum_squares(&gradients).unwrap() - sum).abs() < 1e-9 * sum);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let run = |threads| {
        let device = Device::cpu(threads).unwrap();
        let (t, d, out) = (211, 320, 450);
        let weight = device.weight(StoredMatrix::from_f32(&noise(out * d, 31), out, d).unwrap());
        let x = device.tensor(t, d, &noise(t * d, 30));
        let mut y = device.empty(t, out);
        device.linear(x.view(), &weight, &mut y, false);
        let mut dx = device.empty(t, d);
        device.linear_backward(y.view(), &weight, &mut dx, false);
        let mut gradient = device.empty(16, d);
        let low = device.tensor(t, 16, &noise(t * 16, 32));
        device.matmul(low.view().t(), dx.view(), 1.0, gradient.view_mut(), false);
        let norm = device.sum_squares(&gradient).unwrap().to_bits();
        let bits = |t: &Tensor| {
            t.to_vec()
                .unwrap()
                .iter()
                .map(|x| x.to_bits())
                .collect::<Vec<_>>()
        };
        (bits(&y), bits(&dx), bits(&gradient), norm)
    };
    let one = run(1);
    assert!(one == run(2) && one == run(5));
}

#[test]
fn columns_of_a_tensor_are_operands_too() {
    let device = Device::cpu(1).unwrap();
    let a = device.tensor(2, 3, &[9.0, 1.0, 2.0, 9.0, 3.0, 4.0]);
    let mut out = device.tensor(2, 4, &[5.0; 8]);
    let right = a.view_cols(1..3);
    device.matmul(right, right, 1.0, out.view_cols_mut(1..3), false);
    assert_eq!(
        out.to_vec().unwrap(),
        [5.0, 7.0, 10.0, 5.0, 5.0, 15.0, 22.0, 5.0]
    );
}
