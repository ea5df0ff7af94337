//! Norms of rows and of stretches.

use hone_tensor::{Device, LayerNorm};

use crate::{assert_close, noise, numeric_gradient, wide};

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

pub fn rms_norm_and_its_gradient(device: &Device) {
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

pub fn layer_norm_and_its_gradient_over_rows_and_over_stretches(device: &Device) {
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

pub fn a_short_weight_makes_rms_norm_go_head_by_head(device: &Device) {
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
