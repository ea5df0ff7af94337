//! Loops over rows: norm, rotary embedding, gated activation, loss. Forward and backward side by side.

use rayon::prelude::*;

use super::simd::{dot, exp, tanh, vectorised};
use crate::ops::DropoutMask;

/// Elements that a task should have at least, so that starting it costs less than doing it.
pub const TASK: usize = 16_384;

/// Runs `work(first_row, rows of out)` over tasks of whole rows.
pub fn by_rows(out: &mut [f32], cols: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = rows_per_task(cols);
    out.par_chunks_mut(rows * cols)
        .enumerate()
        .for_each(|(task, out)| work(task * rows, out));
}

fn rows_per_task(cols: usize) -> usize {
    (TASK / cols.max(1)).max(1)
}

vectorised! {
    fn sum_of_squares(x: &[f32]) -> f32 {
        let mut sums = [0.0f32; 8];
        let (chunks, rest) = x.as_chunks::<8>();
        for chunk in chunks {
            for i in 0..8 {
                sums[i] += chunk[i] * chunk[i];
            }
        }
        sums.iter().sum::<f32>() + rest.iter().map(|x| x * x).sum::<f32>()
    }
}

vectorised! {
    fn normalise(x: &[f32], weight: &[f32], inverse: f32, out: &mut [f32]) {
        for i in 0..out.len().min(x.len()).min(weight.len()) {
            out[i] = x[i] * inverse * weight[i];
        }
    }
}

/// `out = x / rms(x) · weight`.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let cols = weight.len();
    by_rows(out, cols, |first, out| {
        for (row, out) in out.chunks_exact_mut(cols).enumerate() {
            let x = &x[(first + row) * cols..][..cols];
            normalise(x, weight, inverse_rms(x, eps), out);
        }
    });
}

fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    (sum_of_squares(x) / x.len() as f32 + eps).sqrt().recip()
}

vectorised! {
    fn weighted_dot(dy: &[f32], weight: &[f32], x: &[f32]) -> f32 {
        let mut sums = [0.0f32; 8];
        let ((dy, dy_rest), (weight, weight_rest), (x, x_rest)) =
            (dy.as_chunks::<8>(), weight.as_chunks::<8>(), x.as_chunks::<8>());
        for ((dy, weight), x) in dy.iter().zip(weight).zip(x) {
            for i in 0..8 {
                sums[i] += dy[i] * weight[i] * x[i];
            }
        }
        let mut total = 0.0;
        for ((dy, weight), x) in dy_rest.iter().zip(weight_rest).zip(x_rest) {
            total += dy * weight * x;
        }
        total + sums.iter().sum::<f32>()
    }
}

vectorised! {
    fn norm_grad(dy: &[f32], weight: &[f32], x: &[f32], inverse: f32, mean: f32, dx: &mut [f32], accumulate: bool) {
        let cols = dx.len();
        let (dy, weight, x) = (&dy[..cols], &weight[..cols], &x[..cols]);
        if accumulate {
            for i in 0..cols {
                dx[i] += inverse * (dy[i] * weight[i] - x[i] * mean);
            }
        } else {
            for i in 0..cols {
                dx[i] = inverse * (dy[i] * weight[i] - x[i] * mean);
            }
        }
    }
}

/// With `n = x / rms`: `dx = (dy·w - n · mean(dy·w·n)) / rms`.
pub fn rms_norm_backward(
    dy: &[f32],
    x: &[f32],
    weight: &[f32],
    eps: f32,
    dx: &mut [f32],
    accumulate: bool,
) {
    let cols = weight.len();
    by_rows(dx, cols, |first, dx| {
        for (row, dx) in dx.chunks_exact_mut(cols).enumerate() {
            let at = (first + row) * cols;
            let (x, dy) = (&x[at..][..cols], &dy[at..][..cols]);
            let inverse = inverse_rms(x, eps);
            let mean = weighted_dot(dy, weight, x) * inverse * inverse / cols as f32;
            norm_grad(dy, weight, x, inverse, mean, dx, accumulate);
        }
    });
}

vectorised! {
    fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
        let half = cos.len();
        let (low, high) = head.split_at_mut(half);
        let (high, sin) = (&mut high[..half], &sin[..half]);
        for i in 0..half {
            let (a, b, s) = (low[i], high[i], sign * sin[i]);
            low[i] = a * cos[i] - b * s;
            high[i] = b * cos[i] + a * s;
        }
    }
}

/// Rotates pairs `(i, i + rotary_dim/2)` of each head by its token's angles; what is past `rotary_dim` stays.
pub fn rope(
    x: &mut [f32],
    cols: usize,
    head_dim: usize,
    positions: &[u32],
    table: &[f32],
    rotary_dim: usize,
    inverse: bool,
) {
    let half = rotary_dim / 2;
    let sign = if inverse { -1.0 } else { 1.0 };
    by_rows(x, cols, |first, x| {
        for (row, x) in x.chunks_exact_mut(cols).enumerate() {
            let angles = &table[positions[first + row] as usize * rotary_dim..][..rotary_dim];
            let (cos, sin) = angles.split_at(half);
            x.chunks_exact_mut(head_dim)
                .for_each(|head| rotate(head, cos, sin, sign));
        }
    });
}

vectorised! {
    fn rotate_neighbours(head: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
        let (pairs, _) = head.as_chunks_mut::<2>();
        for ((pair, cos), sin) in pairs.iter_mut().zip(cos).zip(sin) {
            let ([a, b], s) = (*pair, sign * sin);
            *pair = [a * cos - b * s, b * cos + a * s];
        }
    }
}

/// Rotates pairs `(2i, 2i + 1)` of each head by its token's angles.
pub fn rope_interleaved(
    x: &mut [f32],
    cols: usize,
    head_dim: usize,
    positions: &[u32],
    table: &[f32],
    rotary_dim: usize,
    inverse: bool,
) {
    let sign = if inverse { -1.0 } else { 1.0 };
    by_rows(x, cols, |first, x| {
        for (row, x) in x.chunks_exact_mut(cols).enumerate() {
            let angles = &table[positions[first + row] as usize * rotary_dim..][..rotary_dim];
            let (cos, sin) = angles.split_at(rotary_dim / 2);
            x.chunks_exact_mut(head_dim)
                .for_each(|head| rotate_neighbours(&mut head[..rotary_dim], cos, sin, sign));
        }
    });
}

vectorised! {
    fn gated(gate: &[f32], up: &[f32], out: &mut [f32]) {
        let (gate, up) = (&gate[..out.len()], &up[..out.len()]);
        for i in 0..out.len() {
            out[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];
        }
    }
}

/// `silu(gate) · up`.
pub fn gated_silu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    by_rows(out, 1, |first, out| {
        gated(&gate[first..], &up[first..], out)
    });
}

vectorised! {
    fn gated_grad(dout: &[f32], gate: &[f32], up: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
        let len = dgate.len();
        let (dout, gate, up, dup) = (&dout[..len], &gate[..len], &up[..len], &mut dup[..len]);
        for i in 0..len {
            let sigmoid = 1.0 / (1.0 + exp(-gate[i]));
            let silu = gate[i] * sigmoid;
            dup[i] = dout[i] * silu;
            dgate[i] = dout[i] * up[i] * (sigmoid + silu * (1.0 - sigmoid));
        }
    }
}

/// `d silu(g) = σ(g) (1 + g (1 - σ(g)))`.
pub fn gated_silu_backward(
    dout: &[f32],
    gate: &[f32],
    up: &[f32],
    dgate: &mut [f32],
    dup: &mut [f32],
) {
    dgate
        .par_chunks_mut(TASK)
        .zip(dup.par_chunks_mut(TASK))
        .enumerate()
        .for_each(|(task, (dgate, dup))| {
            let at = task * TASK;
            gated_grad(&dout[at..], &gate[at..], &up[at..], dgate, dup);
        });
}

vectorised! {
    /// Sum of `e^(x - max)` in f64 over blocks summed in f32; the terms replace the row if they are kept.
    fn sum_exp(row: &mut [f32], max: f32, keep: bool) -> f64 {
        let mut total = 0.0f64;
        for block in row.chunks_mut(1024) {
            let mut sums = [0.0f32; 8];
            let (chunks, rest) = block.as_chunks_mut::<8>();
            for chunk in chunks {
                for i in 0..8 {
                    let e = exp(chunk[i] - max);
                    chunk[i] = if keep { e } else { chunk[i] };
                    sums[i] += e;
                }
            }
            let mut rest_sum = 0.0;
            for x in rest {
                let e = exp(*x - max);
                *x = if keep { e } else { *x };
                rest_sum += e;
            }
            total += f64::from(sums.iter().sum::<f32>() + rest_sum);
        }
        total
    }
}

vectorised! {
    fn scale_by(row: &mut [f32], factor: f32) {
        for x in row {
            *x *= factor;
        }
    }
}

vectorised! {
    /// The greatest element, if all are finite.
    fn finite_max(row: &[f32]) -> Option<f32> {
        let (chunks, rest) = row.as_chunks::<32>();
        let mut max = [f32::NEG_INFINITY; 32];
        // Zero for a finite number, NaN for any other.
        let mut health = [0.0f32; 32];
        for chunk in chunks {
            for i in 0..32 {
                max[i] = if chunk[i] > max[i] { chunk[i] } else { max[i] };
                health[i] += chunk[i] * 0.0;
            }
        }
        let finite = health.iter().chain(rest).all(|x| x.is_finite());
        finite.then(|| max.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| a.max(b)))
    }
}

/// Nats of each row; the logits become `softmax - one_hot` if `backward`. A row with a logit that is
/// not finite becomes NaN and gives NaN, so that whoever sums the loss will notice.
pub fn cross_entropy(logits: &mut [f32], cols: usize, targets: &[u32], backward: bool) -> Vec<f64> {
    let mut nats = vec![0.0; targets.len()];
    logits
        .par_chunks_exact_mut(cols)
        .zip(&mut nats)
        .zip(targets)
        .for_each(|((row, nats), &target)| *nats = row_nats(row, target as usize, backward));
    nats
}

fn row_nats(row: &mut [f32], target: usize, backward: bool) -> f64 {
    let Some(max) = finite_max(row) else {
        row.fill(f32::NAN);
        return f64::NAN;
    };
    let wanted = row[target];
    let sum = sum_exp(row, max, backward);
    if backward {
        scale_by(row, sum.recip() as f32);
        row[target] -= 1.0;
    }
    f64::from(max) + sum.ln() - f64::from(wanted)
}

/// `Σ p ln(p / q)` of each row, in nats; both logits are overwritten.
pub fn divergence(logits: &mut [f32], others: &mut [f32], cols: usize) -> Vec<f64> {
    let mut nats = vec![0.0; logits.len() / cols.max(1)];
    logits
        .par_chunks_exact_mut(cols)
        .zip(others.par_chunks_exact_mut(cols))
        .zip(&mut nats)
        .for_each(|((p, q), nats)| *nats = row_divergence(p, q));
    nats
}

/// With `d` the difference of the logits, the sum is the mean of `d` under `p` less the difference of the log-sums: equal
/// logits give an exact zero.
fn row_divergence(p: &mut [f32], q: &mut [f32]) -> f64 {
    let (Some(max_p), Some(max_q)) = (finite_max(p), finite_max(q)) else {
        return f64::NAN;
    };
    let sum_q = sum_exp(q, max_q, false);
    difference(p, q);
    let sum_p = sum_exp(p, max_p, true);
    let blocks = p.chunks(1024).zip(q.chunks(1024));
    let mean: f64 = blocks.map(|(p, d)| f64::from(dot(p, d))).sum::<f64>() / sum_p;
    let log_sums = (f64::from(max_p) + sum_p.ln()) - (f64::from(max_q) + sum_q.ln());
    // Where hardly anything differs, rounding may leave less than nothing.
    (mean - log_sums).max(0.0)
}

vectorised! {
    /// `other = row - other`.
    fn difference(row: &[f32], other: &mut [f32]) {
        for (other, x) in other.iter_mut().zip(row) {
            *other = x - *other;
        }
    }
}

/// Keeps an element when its own hash says so: the mask needs no memory and no order.
pub fn dropout(x: &[f32], p: f32, seed: u64, out: &mut [f32], accumulate: bool) {
    let (mask, scale) = (DropoutMask::new(p, seed), 1.0 / (1.0 - p));
    by_rows(out, 1, |first, out| {
        for (i, out) in out.iter_mut().enumerate() {
            let index = first + i;
            let kept = if mask.keeps(index) {
                x[index] * scale
            } else {
                0.0
            };
            *out = if accumulate { *out + kept } else { kept };
        }
    });
}

vectorised! {
    fn add_to(y: &mut [f32], x: &[f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

/// `y += x`.
pub fn add(y: &mut [f32], x: &[f32]) {
    by_rows(y, 1, |first, y| add_to(y, &x[first..]));
}

/// `x *= factor`.
pub fn scale(x: &mut [f32], factor: f32) {
    by_rows(x, 1, |_, x| scale_by(x, factor));
}

vectorised! {
    fn cap_all(x: &mut [f32], cap: f32) {
        let inverse = cap.recip();
        for x in x {
            *x = cap * tanh(*x * inverse);
        }
    }
}

/// `x = cap · tanh(x / cap)`.
pub fn soft_cap(x: &mut [f32], cap: f32) {
    by_rows(x, 1, |_, x| cap_all(x, cap));
}

vectorised! {
    fn cap_grad(y: &[f32], cap: f32, dx: &mut [f32]) {
        let inverse = cap.recip();
        for (dx, y) in dx.iter_mut().zip(y) {
            let share = y * inverse;
            *dx *= 1.0 - share * share;
        }
    }
}

/// `dx *= 1 - (y / cap)²`, from the capped values.
pub fn soft_cap_backward(y: &[f32], cap: f32, dx: &mut [f32]) {
    by_rows(dx, 1, |first, dx| cap_grad(&y[first..], cap, dx));
}

/// Adds `bias` to every row.
pub fn add_bias(y: &mut [f32], bias: &[f32]) {
    by_rows(y, bias.len(), |_, y| {
        y.chunks_exact_mut(bias.len())
            .for_each(|row| add_to(row, bias))
    });
}

/// In f64, over fixed pieces in order.
pub fn sum_squares(x: &[f32]) -> f64 {
    let pieces: Vec<f64> = x
        .par_chunks(TASK)
        .map(|piece| piece.iter().map(|&x| f64::from(x) * f64::from(x)).sum())
        .collect();
    pieces.iter().sum()
}

/// One fused pass of AdamW, decay before the update as in `torch.optim.AdamW`.
pub fn adamw(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], step: crate::ops::AdamWStep) {
    let (lr, beta1, beta2) = (step.lr as f32, step.beta1 as f32, step.beta2 as f32);
    let bias1 = 1.0 - f64::from(beta1).powi(step.step as i32);
    let bias2 = 1.0 - f64::from(beta2).powi(step.step as i32);
    let numbers = AdamWNumbers {
        beta1,
        beta2,
        eps: step.eps as f32,
        decay: 1.0 - lr * step.weight_decay as f32,
        step_size: (f64::from(lr) / bias1) as f32,
        root_bias2: bias2.sqrt() as f32,
        gradient_scale: step.gradient_scale,
    };
    let tasks = p
        .par_chunks_mut(TASK)
        .zip(m.par_chunks_mut(TASK))
        .zip(v.par_chunks_mut(TASK))
        .zip(g.par_chunks(TASK));
    tasks.for_each(|(((p, m), v), g)| adamw_piece(p, g, m, v, numbers));
}

#[derive(Clone, Copy)]
struct AdamWNumbers {
    beta1: f32,
    beta2: f32,
    eps: f32,
    decay: f32,
    step_size: f32,
    root_bias2: f32,
    gradient_scale: f32,
}

vectorised! {
    fn adamw_piece(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], n: AdamWNumbers) {
        let len = p.len();
        let (g, m, v) = (&g[..len], &mut m[..len], &mut v[..len]);
        let (beta1, beta2) = (n.beta1, n.beta2);
        for i in 0..len {
            let gradient = g[i] * n.gradient_scale;
            m[i] = beta1 * m[i] + (1.0 - beta1) * gradient;
            v[i] = beta2 * v[i] + (1.0 - beta2) * gradient * gradient;
            let denominator = v[i].sqrt() / n.root_bias2 + n.eps;
            p[i] = p[i] * n.decay - n.step_size * (m[i] / denominator);
        }
    }
}
