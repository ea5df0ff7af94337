//! What is done to each number by itself.

use super::{StorageOps, assert_same_shape, host, put};
use crate::tensor::Tensor;

/// The two forms of the Gaussian error linear unit (Hendrycks & Gimpel 2016).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// `x · Φ(x)`.
    Erf,
    /// `x · (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2`.
    Tanh,
}

/// Activations, caps and dropout.
pub trait ActivationOps: StorageOps {
    /// `x = cap · tanh(x / cap)`.
    fn soft_cap(&self, x: &mut Tensor, cap: f32) {
        let Some(mut y) = host(self, x) else {
            return;
        };
        y.iter_mut().for_each(|y| *y = cap * (*y / cap).tanh());
        put(self, x, &y);
    }
    /// `dx *= 1 - (y / cap)²`, with `y` what [`ActivationOps::soft_cap`] gave.
    fn soft_cap_backward(&self, y: &Tensor, cap: f32, dx: &mut Tensor) {
        assert_same_shape(y, dx);
        let (Some(y), Some(mut slopes)) = (host(self, y), host(self, dx)) else {
            return;
        };
        slopes
            .iter_mut()
            .zip(&y)
            .for_each(|(dx, y)| *dx *= 1.0 - (y / cap) * (y / cap));
        put(self, dx, &slopes);
    }
    /// `out = silu(gate) · up`.
    fn gated_silu(&self, gate: &Tensor, up: &Tensor, out: &mut Tensor) {
        gated(self, gate, up, out, silu);
    }
    /// Gradients of [`ActivationOps::gated_silu`].
    fn gated_silu_backward(
        &self,
        dout: &Tensor,
        gate: &Tensor,
        up: &Tensor,
        dgate: &mut Tensor,
        dup: &mut Tensor,
    ) {
        gated_backward(self, dout, gate, up, (dgate, dup), silu);
    }
    /// `out = gelu(x)`.
    fn gelu(&self, kind: Gelu, x: &Tensor, out: &mut Tensor) {
        assert_same_shape(x, out);
        let Some(x) = host(self, x) else {
            return;
        };
        put(
            self,
            out,
            &x.iter()
                .map(|x| gelu(kind, f64::from(*x)).0 as f32)
                .collect::<Vec<_>>(),
        );
    }
    /// `dx = dout · gelu'(x)`.
    fn gelu_backward(&self, kind: Gelu, dout: &Tensor, x: &Tensor, dx: &mut Tensor) {
        assert_same_shape(dout, x);
        assert_same_shape(x, dx);
        let (Some(dout), Some(x)) = (host(self, dout), host(self, x)) else {
            return;
        };
        let slopes = x
            .iter()
            .zip(&dout)
            .map(|(x, d)| (f64::from(*d) * gelu(kind, f64::from(*x)).1) as f32);
        put(self, dx, &slopes.collect::<Vec<_>>());
    }
    /// `out = gelu(gate) · up`.
    fn gated_gelu(&self, kind: Gelu, gate: &Tensor, up: &Tensor, out: &mut Tensor) {
        gated(self, gate, up, out, |x| gelu(kind, x));
    }
    /// Gradients of [`ActivationOps::gated_gelu`].
    fn gated_gelu_backward(
        &self,
        kind: Gelu,
        dout: &Tensor,
        gate: &Tensor,
        up: &Tensor,
        dgate: &mut Tensor,
        dup: &mut Tensor,
    ) {
        gated_backward(self, dout, gate, up, (dgate, dup), |x| gelu(kind, x));
    }
    /// Inverted dropout: keeps an element with probability `1 - p`, decided by `(seed, index)` alone.
    /// With `accumulate`, adds, which makes it its own backward pass.
    fn dropout(&self, x: &Tensor, p: f32, seed: u64, out: &mut Tensor, accumulate: bool) {
        assert_same_shape(x, out);
        assert!((0.0..1.0).contains(&p), "a probability below one");
        let (Some(x), Some(mut y)) = (host(self, x), host(self, out)) else {
            return;
        };
        let (mask, scale) = (DropoutMask::new(p, seed), 1.0 / (1.0 - p));
        for (index, (y, x)) in y.iter_mut().zip(&x).enumerate() {
            let kept = if mask.keeps(index) { x * scale } else { 0.0 };
            *y = if accumulate { *y + kept } else { kept };
        }
        put(self, out, &y);
    }
}

/// Which elements dropout keeps: each one's own hash says so, so the mask needs no memory and no order. Every back-end
/// uses this one, and so drops the same elements.
#[derive(Clone, Copy, Debug)]
pub struct DropoutMask {
    threshold: u64,
    seed: u64,
}

impl DropoutMask {
    /// Keeps an element with probability `1 - p`.
    pub fn new(p: f32, seed: u64) -> Self {
        let threshold = (f64::from(p) * 4_294_967_296.0) as u64;
        Self { threshold, seed }
    }

    /// Whether this one stays.
    #[inline(always)]
    pub fn keeps(self, index: usize) -> bool {
        let mut hash = self
            .seed
            .wrapping_add((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (hash >> 32) >= self.threshold
    }
}

/// `x · σ(x)` and its slope.
fn silu(x: f64) -> (f64, f64) {
    let share = 1.0 / (1.0 + (-x).exp());
    (x * share, share * (1.0 + x * (1.0 - share)))
}

/// The unit and its slope.
fn gelu(kind: Gelu, x: f64) -> (f64, f64) {
    match kind {
        Gelu::Erf => {
            let below = normal(x);
            (
                x * below,
                below + x * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt(),
            )
        }
        Gelu::Tanh => {
            let (root, cubic) = (std::f64::consts::FRAC_2_PI.sqrt(), 0.044715);
            let tanh = (root * (x + cubic * x * x * x)).tanh();
            let inner = root * (1.0 + 3.0 * cubic * x * x);
            (
                (1.0 + tanh) * x / 2.0,
                (1.0 + tanh) / 2.0 + x * (1.0 - tanh * tanh) * inner / 2.0,
            )
        }
    }
}

/// The share of the normal distribution below `x`: its series near the middle, its continued fraction further out.
fn normal(x: f64) -> f64 {
    let density = (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
    if x.abs() < 3.0 {
        // Φ(x) = 1/2 + φ(x) · (x + x³/3 + x⁵/15 + …), Marsaglia 2004.
        let (mut term, mut sum, mut odd) = (x, x, 1.0);
        while term.abs() > 1e-17 * sum.abs() {
            odd += 2.0;
            term *= x * x / odd;
            sum += term;
        }
        return 0.5 + density * sum;
    }
    let tail = density
        / (1..60)
            .rev()
            .fold(x.abs(), |rest, n| x.abs() + f64::from(n) / rest);
    if x < 0.0 { tail } else { 1.0 - tail }
}

fn gated<D: StorageOps + ?Sized>(
    device: &D,
    gate: &Tensor,
    up: &Tensor,
    out: &mut Tensor,
    unit: impl Fn(f64) -> (f64, f64),
) {
    assert_same_shape(gate, up);
    assert_same_shape(gate, out);
    let (Some(gate), Some(up)) = (host(device, gate), host(device, up)) else {
        return;
    };
    let pairs = gate.iter().zip(&up);
    let gated = pairs.map(|(gate, up)| (unit(f64::from(*gate)).0 * f64::from(*up)) as f32);
    put(device, out, &gated.collect::<Vec<_>>());
}

fn gated_backward<D: StorageOps + ?Sized>(
    device: &D,
    dout: &Tensor,
    gate: &Tensor,
    up: &Tensor,
    (dgate, dup): (&mut Tensor, &mut Tensor),
    unit: impl Fn(f64) -> (f64, f64),
) {
    assert_same_shape(dout, gate);
    assert_same_shape(gate, up);
    assert_same_shape(dgate, dup);
    let (Some(dout), Some(gate), Some(up)) =
        (host(device, dout), host(device, gate), host(device, up))
    else {
        return;
    };
    let each = dout.iter().zip(&gate).zip(&up).map(|((dout, gate), up)| {
        let ((value, slope), dout) = (unit(f64::from(*gate)), f64::from(*dout));
        (
            (dout * f64::from(*up) * slope) as f32,
            (dout * value) as f32,
        )
    });
    let (of_gate, of_up): (Vec<f32>, Vec<f32>) = each.unzip();
    put(device, dgate, &of_gate);
    put(device, dup, &of_up);
}
