//! Products, and sums of matrices of one shape.

use super::{StorageOps, assert_same_shape, host, host_window, put, put_window};
use crate::tensor::{MatMut, MatRef, Tensor, Weight};

/// Products with frozen and with trained matrices.
pub trait LinearOps: StorageOps {
    /// `out (+)= x · Wᵀ`: `[t, in] × [out, in] → [t, out]`.
    fn linear(&self, x: MatRef, weight: &Weight, out: &mut Tensor, accumulate: bool) {
        check_linear(x, weight, out);
        let (height, depth, width) = (x.shape().0, weight.cols(), weight.rows());
        let (Some(x), Some(before)) = (host_window(self, x), host(self, out)) else {
            return;
        };
        let (mut y, mut w) = (before, vec![0.0; depth]);
        for col in 0..width {
            self.read_row(weight, col, &mut w);
            for row in 0..height {
                let product = dot(&x[row * depth..][..depth], &w) as f32;
                let y = &mut y[row * width + col];
                *y = if accumulate { *y + product } else { product };
            }
        }
        put(self, out, &y);
    }
    /// `outs[i] = x · Wᵢᵀ` for weights that read one input: each as [`LinearOps::linear`], or all at once where starting
    /// costs as much as the product.
    fn linears(&self, x: MatRef, weights: &[&Weight], outs: &mut [Tensor]) {
        assert_eq!(weights.len(), outs.len(), "an output for each weight");
        for (weight, out) in weights.iter().zip(outs) {
            self.linear(x, weight, out, false);
        }
    }
    /// `dx (+)= dy · W`: `[t, out] × [out, in] → [t, in]`.
    fn linear_backward(&self, dy: MatRef, weight: &Weight, dx: &mut Tensor, accumulate: bool) {
        check_linear_backward(dy, weight, dx);
        let (height, depth, width) = (dy.shape().0, weight.rows(), weight.cols());
        let (Some(dy), Some(before)) = (host_window(self, dy), host(self, dx)) else {
            return;
        };
        let (mut sums, mut w) = (vec![0.0f64; height * width], vec![0.0; width]);
        for deep in 0..depth {
            self.read_row(weight, deep, &mut w);
            for row in 0..height {
                let factor = f64::from(dy[row * depth + deep]);
                for (sum, w) in sums[row * width..][..width].iter_mut().zip(&w) {
                    *sum += factor * f64::from(*w);
                }
            }
        }
        put(self, dx, &added(&before, &sums, accumulate));
    }
    /// `out (+)= alpha · a · b`, all f32.
    fn matmul(&self, a: MatRef, b: MatRef, alpha: f32, out: MatMut, accumulate: bool) {
        let ((height, depth), (b_depth, width)) = (a.shape(), b.shape());
        assert_eq!(
            (depth, height, width),
            (b_depth, out.rows, out.cols),
            "a · b"
        );
        let (Some(a), Some(b)) = (host_window(self, a), host_window(self, b)) else {
            return;
        };
        let Some(before) = host_window(self, out.view()) else {
            return;
        };
        let mut sums = vec![0.0f64; height * width];
        for row in 0..height {
            for (deep, a) in a[row * depth..][..depth].iter().enumerate() {
                let factor = f64::from(alpha) * f64::from(*a);
                for (sum, b) in sums[row * width..][..width]
                    .iter_mut()
                    .zip(&b[deep * width..])
                {
                    *sum += factor * f64::from(*b);
                }
            }
        }
        put_window(self, out, &added(&before, &sums, accumulate));
    }
    /// Adds `bias [1, cols]` to every row.
    fn add_bias(&self, x: &mut Tensor, bias: &Tensor) {
        check_bias(x, bias);
        let (Some(mut y), Some(bias)) = (host(self, x), host(self, bias)) else {
            return;
        };
        for row in y.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(&bias).for_each(|(y, b)| *y += b);
        }
        put(self, x, &y);
    }
    /// `y += x`.
    fn add(&self, y: &mut Tensor, x: &Tensor) {
        assert_same_shape(y, x);
        let (Some(mut sum), Some(x)) = (host(self, y), host(self, x)) else {
            return;
        };
        sum.iter_mut().zip(&x).for_each(|(y, x)| *y += x);
        put(self, y, &sum);
    }
    /// `x *= factor`.
    fn scale(&self, x: &mut Tensor, factor: f32) {
        let Some(mut y) = host(self, x) else {
            return;
        };
        y.iter_mut().for_each(|y| *y *= factor);
        put(self, x, &y);
    }
}

/// In f64, in order.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum()
}

/// What was there, if it counts, and sums.
fn added(before: &[f32], sums: &[f64], accumulate: bool) -> Vec<f32> {
    let pairs = before.iter().zip(sums);
    pairs
        .map(|(before, sum)| {
            if accumulate {
                before + *sum as f32
            } else {
                *sum as f32
            }
        })
        .collect()
}

/// The promise of [`LinearOps::linear`].
pub(crate) fn check_linear(x: MatRef, weight: &Weight, out: &Tensor) {
    assert_eq!(
        (x.shape().0, x.shape().1, weight.rows()),
        (out.rows(), weight.cols(), out.cols()),
        "x · Wᵀ"
    );
}

/// The promise of [`LinearOps::linear_backward`].
pub(crate) fn check_linear_backward(dy: MatRef, weight: &Weight, dx: &Tensor) {
    assert_eq!(
        (dy.shape().0, dy.shape().1, weight.cols()),
        (dx.rows(), weight.rows(), dx.cols()),
        "dy · W"
    );
}

/// The promise of [`LinearOps::add_bias`].
pub(crate) fn check_bias(x: &Tensor, bias: &Tensor) {
    assert_eq!(
        (bias.rows(), bias.cols()),
        (1, x.cols()),
        "one bias for each column"
    );
}
