//! Layer norm over rows or over stretches of them, forward and backward.

use super::rows::by_rows;
use super::simd::vectorised;

/// What is normed how.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// As long as a row, or as a stretch.
    pub weight: &'a [f32],
    /// Like the weight.
    pub bias: Option<&'a [f32]>,
    /// Columns of a row.
    pub cols: usize,
    /// Columns that are normed together.
    pub width: usize,
    /// Added to the variance.
    pub eps: f32,
}

impl<'a> Settings<'a> {
    /// The part of `of` that belongs to the stretch that begins at column `col`.
    fn part(&self, of: &'a [f32], col: usize) -> &'a [f32] {
        let at = if of.len() == self.cols { col } else { 0 };
        &of[at..][..self.width]
    }
}

/// Eight running sums, so that the order is the same with vectors and without.
#[inline(always)]
fn sum_of(len: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0.0f32; 8];
    let whole = len / 8 * 8;
    let mut at = 0;
    while at < whole {
        for i in 0..8 {
            sums[i] += term(at + i);
        }
        at += 8;
    }
    let rest: f32 = (whole..len).map(&term).sum();
    sums.iter().sum::<f32>() + rest
}

vectorised! {
    /// Mean and `1 / √(variance + eps)`.
    fn moments(x: &[f32], eps: f32) -> (f32, f32) {
        let len = x.len() as f32;
        let mean = sum_of(x.len(), |i| x[i]) / len;
        let variance = sum_of(x.len(), |i| (x[i] - mean) * (x[i] - mean)) / len;
        (mean, (variance + eps).sqrt().recip())
    }
}

vectorised! {
    fn normalise(x: &[f32], weight: &[f32], moments: (f32, f32), out: &mut [f32]) {
        let (mean, inverse) = moments;
        let (x, weight) = (&x[..out.len()], &weight[..out.len()]);
        for i in 0..out.len() {
            out[i] = (x[i] - mean) * inverse * weight[i];
        }
    }
}

/// `out = (x - mean) / √(variance + eps) · weight + bias`, stretch by stretch.
pub fn layer_norm(x: &[f32], settings: Settings, out: &mut [f32]) {
    let Settings { cols, width, .. } = settings;
    by_rows(out, cols, |first, out| {
        for (stretch, out) in out.chunks_exact_mut(width).enumerate() {
            let (at, col) = (first * cols + stretch * width, stretch * width % cols);
            let x = &x[at..][..width];
            normalise(
                x,
                settings.part(settings.weight, col),
                moments(x, settings.eps),
                out,
            );
            if let Some(bias) = settings.bias {
                let bias = settings.part(bias, col);
                out.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        }
    });
}

vectorised! {
    fn gradient(dy: &[f32], x: &[f32], weight: &[f32], moments: (f32, f32), dx: &mut [f32], accumulate: bool) {
        let (mean, inverse) = moments;
        let len = dx.len();
        let (dy, x, weight) = (&dy[..len], &x[..len], &weight[..len]);
        let even = sum_of(len, |i| dy[i] * weight[i]) / len as f32;
        let along = sum_of(len, |i| dy[i] * weight[i] * (x[i] - mean)) * inverse * inverse / len as f32;
        for i in 0..len {
            let d = inverse * (dy[i] * weight[i] - even - (x[i] - mean) * along);
            dx[i] = if accumulate { dx[i] + d } else { d };
        }
    }
}

/// With `n = (x - mean) / σ` and `g = dy · weight`: `dx = (g - mean(g) - n · mean(g · n)) / σ`.
pub fn layer_norm_backward(
    dy: &[f32],
    x: &[f32],
    settings: Settings,
    dx: &mut [f32],
    accumulate: bool,
) {
    let Settings { cols, width, .. } = settings;
    by_rows(dx, cols, |first, dx| {
        for (stretch, dx) in dx.chunks_exact_mut(width).enumerate() {
            let (at, col) = (first * cols + stretch * width, stretch * width % cols);
            let (x, dy) = (&x[at..][..width], &dy[at..][..width]);
            let weight = settings.part(settings.weight, col);
            gradient(dy, x, weight, moments(x, settings.eps), dx, accumulate);
        }
    });
}
