//! Units, gates, caps and dropout.

use hone_tensor::{Device, Gelu, Tensor};

use crate::{assert_close, noise, numeric_gradient, wide};

pub fn gated_silu_and_its_gradients(device: &Device) {
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

pub fn gelu_and_its_gradients_alone_and_as_a_gate(device: &Device) {
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

pub fn far_out_gelu_is_its_input_or_nothing(device: &Device) {
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

pub fn scaling_and_soft_caps_and_their_gradient(device: &Device) {
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

pub fn dropout_keeps_its_share_scales_it_and_repeats(device: &Device) {
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
