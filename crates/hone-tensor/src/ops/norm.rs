//! Norms of a row, or of each stretch of it.

use super::{StorageOps, assert_same_shape, host, put};
use crate::tensor::Tensor;

/// The weights of a layer norm, and over what it goes.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// `[1, cols]`, or `[1, width]` and the same for each stretch.
    pub weight: &'a Tensor,
    /// Like the weight.
    pub bias: Option<&'a Tensor>,
    /// Columns that are normed together; divides the columns of a row.
    pub width: usize,
    /// Added to the variance.
    pub eps: f32,
}

/// Norms, forward and backward.
pub trait NormOps: StorageOps {
    /// RMS norm (Zhang & Sennrich 2019): `out = x / rms(x) · weight`. A weight shorter than a row norms each
    /// stretch of its length by itself, head by head for example.
    fn rms_norm(&self, x: &Tensor, weight: &Tensor, eps: f32, out: &mut Tensor) {
        assert_same_shape(x, out);
        check_rms(x, weight);
        let (Some(x), Some(weight)) = (host(self, x), host(self, weight)) else {
            return;
        };
        let width = weight.len();
        let normed = x.chunks_exact(width).flat_map(|x| {
            let inverse = inverse_rms(x, eps);
            let pairs = x.iter().zip(&weight);
            pairs.map(move |(x, w)| (f64::from(*x) * inverse * f64::from(*w)) as f32)
        });
        put(self, out, &normed.collect::<Vec<_>>());
    }
    /// `dx (+)= ∂rms_norm/∂x · dy`; recomputes the root mean square from `x`.
    fn rms_norm_backward(
        &self,
        dy: &Tensor,
        x: &Tensor,
        weight: &Tensor,
        eps: f32,
        dx: &mut Tensor,
        accumulate: bool,
    ) {
        assert_same_shape(dy, x);
        assert_same_shape(x, dx);
        check_rms(x, weight);
        let (Some(dy), Some(x), Some(weight)) = (host(self, dy), host(self, x), host(self, weight))
        else {
            return;
        };
        let Some(mut sums) = host(self, dx) else {
            return;
        };
        let width = weight.len();
        for ((dy, x), dx) in dy
            .chunks_exact(width)
            .zip(x.chunks_exact(width))
            .zip(sums.chunks_exact_mut(width))
        {
            let inverse = inverse_rms(x, eps);
            let along = (0..width)
                .map(|i| wide(dy[i]) * wide(weight[i]) * wide(x[i]))
                .sum::<f64>();
            let along = along * inverse * inverse * inverse / width as f64;
            for i in 0..width {
                let slope = (wide(dy[i]) * wide(weight[i]) * inverse - wide(x[i]) * along) as f32;
                dx[i] = if accumulate { dx[i] + slope } else { slope };
            }
        }
        put(self, dx, &sums);
    }
    /// Layer norm (Ba et al. 2016): `out = (x - mean) / √(variance + eps) · weight + bias`.
    fn layer_norm(&self, x: &Tensor, norm: LayerNorm, out: &mut Tensor) {
        assert_same_shape(x, out);
        check_layer_norm(x, norm);
        let Some((rows, weight, bias)) = read(self, x, norm) else {
            return;
        };
        let cols = x.cols();
        let mut y = Vec::with_capacity(rows.len());
        for (stretch, x) in rows.chunks_exact(norm.width).enumerate() {
            let (mean, inverse) = mean_and_inverse(x, norm.eps);
            let first = stretch * norm.width % cols;
            for (i, x) in x.iter().enumerate() {
                let normed = (wide(*x) - mean) * inverse;
                let at = first + i;
                let bias = bias
                    .as_ref()
                    .map_or(0.0, |bias| wide(bias[at % bias.len()]));
                y.push((normed * wide(weight[at % weight.len()]) + bias) as f32);
            }
        }
        put(self, out, &y);
    }
    /// `dx (+)= ∂layer_norm/∂x · dy`; recomputes mean and variance from `x`.
    fn layer_norm_backward(
        &self,
        dy: &Tensor,
        x: &Tensor,
        norm: LayerNorm,
        dx: &mut Tensor,
        accumulate: bool,
    ) {
        assert_same_shape(dy, x);
        assert_same_shape(x, dx);
        check_layer_norm(x, norm);
        let (Some((rows, weight, _)), Some(dy), Some(mut sums)) =
            (read(self, x, norm), host(self, dy), host(self, dx))
        else {
            return;
        };
        let (cols, width) = (x.cols(), norm.width);
        for (stretch, x) in rows.chunks_exact(width).enumerate() {
            let (mean, inverse) = mean_and_inverse(x, norm.eps);
            let (first, at) = (stretch * width % cols, stretch * width);
            let normed = |i: usize| (wide(x[i]) - mean) * inverse;
            let given = |i: usize| wide(dy[at + i]) * wide(weight[(first + i) % weight.len()]);
            let flat = (0..width).map(given).sum::<f64>() / width as f64;
            let along = (0..width).map(|i| given(i) * normed(i)).sum::<f64>() / width as f64;
            for i in 0..width {
                let slope = (inverse * (given(i) - flat - normed(i) * along)) as f32;
                let dx = &mut sums[at + i];
                *dx = if accumulate { *dx + slope } else { slope };
            }
        }
        put(self, dx, &sums);
    }
}

fn wide(x: f32) -> f64 {
    f64::from(x)
}

fn inverse_rms(x: &[f32], eps: f32) -> f64 {
    let squares = x.iter().map(|x| wide(*x) * wide(*x)).sum::<f64>();
    (squares / x.len() as f64 + wide(eps)).sqrt().recip()
}

fn mean_and_inverse(x: &[f32], eps: f32) -> (f64, f64) {
    let mean = x.iter().map(|x| wide(*x)).sum::<f64>() / x.len() as f64;
    let variance = x.iter().map(|x| (wide(*x) - mean).powi(2)).sum::<f64>() / x.len() as f64;
    (mean, (variance + wide(eps)).sqrt().recip())
}

/// The rows, the weight and the bias of a layer norm.
type Read = (Vec<f32>, Vec<f32>, Option<Vec<f32>>);

fn read<D: StorageOps + ?Sized>(device: &D, x: &Tensor, norm: LayerNorm) -> Option<Read> {
    let bias = match norm.bias {
        Some(bias) => Some(host(device, bias)?),
        None => None,
    };
    Some((host(device, x)?, host(device, norm.weight)?, bias))
}

/// The promise of [`NormOps::rms_norm`].
pub(crate) fn check_rms(x: &Tensor, weight: &Tensor) {
    assert!(
        x.cols().is_multiple_of(weight.len()),
        "a weight for each column, or for each of a stretch"
    );
}

/// The promise of [`NormOps::layer_norm`].
pub(crate) fn check_layer_norm(x: &Tensor, norm: LayerNorm) {
    let cols = x.cols();
    let fits = |x: &Tensor| x.len() == cols || x.len() == norm.width;
    assert!(
        cols.is_multiple_of(norm.width) && fits(norm.weight) && norm.bias.is_none_or(fits),
        "a weight for each column, or for each of a stretch"
    );
}
