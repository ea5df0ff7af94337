//! Ops on columns and on windows into a flat buffer, each against a slow f64 loop.

use hone_tensor::{AdamWStep, Device, Moment8, Tensor};

fn devices() -> Vec<Device> {
    vec![Device::cpu(1).unwrap(), Device::cpu(3).unwrap()]
}

/// Numbers in [-1, 1] that look random and never change.
fn noise(len: usize, salt: u64) -> Vec<f32> {
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// A tensor with three numbers before a matrix, for windows.
fn flat(device: &Device, matrix: &[f32]) -> Tensor {
    let numbers = [&[9.0; 3], matrix].concat();
    device.tensor(1, numbers.len(), &numbers)
}

const SHAPES: [(usize, usize); 5] = [(1, 1), (7, 65), (300, 64), (33, 200), (0, 5)];

#[test]
fn dots_of_columns_agree_with_a_loop_whichever_way_they_lie() {
    for device in devices() {
        for (rows, cols) in SHAPES {
            let (a, b) = (noise(rows * cols, 1), noise(rows * cols, 2));
            let start = noise(cols, 3);
            let want: Vec<f64> = (0..cols)
                .map(|col| {
                    let product =
                        |row| f64::from(a[row * cols + col]) * f64::from(b[row * cols + col]);
                    f64::from(start[col]) - 2.0 * (0..rows).map(product).sum::<f64>()
                })
                .collect();
            let turned: Vec<f32> = (0..rows * cols)
                .map(|i| b[i % rows * cols + i / rows])
                .collect();
            let (a, b) = (device.tensor(rows, cols, &a), device.tensor(rows, cols, &b));
            let turned = device.tensor(cols, rows, &turned);
            for b in [b.view(), turned.view().t()] {
                let mut out = flat(&device, &start);
                device.dot_cols(a.view(), b, -2.0, out.window_mut(3, 1, cols), true);
                let got = out.to_vec().unwrap();
                assert_eq!(got[..3], [9.0; 3]);
                for (got, want) in got[3..].iter().zip(&want) {
                    assert!((f64::from(*got) - want).abs() < 1e-5 * want.abs().max(1.0));
                }
            }
        }
    }
}

#[test]
fn columns_are_scaled_and_the_dot_is_the_gradient_of_the_factors() {
    for device in devices() {
        for (rows, cols) in SHAPES {
            let (x, factors, dy) = (noise(rows * cols, 4), noise(cols, 5), noise(rows * cols, 6));
            let loss = |factors: &[f64]| -> f64 {
                let term = |i: usize| f64::from(x[i]) * factors[i % cols] * f64::from(dy[i]);
                (0..rows * cols).map(term).sum()
            };
            let wide: Vec<f64> = factors.iter().map(|&f| f64::from(f)).collect();
            let mut y = device.tensor(rows, cols, &x);
            device.scale_cols(&mut y, flat(&device, &factors).window(3, 1, cols));
            for (i, y) in y.to_vec().unwrap().iter().enumerate() {
                assert_eq!(*y, x[i] * factors[i % cols]);
            }
            let (x_tensor, dy) = (
                device.tensor(rows, cols, &x),
                device.tensor(rows, cols, &dy),
            );
            let mut gradient = device.empty(1, cols);
            device.dot_cols(dy.view(), x_tensor.view(), 1.0, gradient.view_mut(), false);
            for (col, gradient) in gradient.to_vec().unwrap().iter().enumerate() {
                let moved = |by: f64| {
                    let mut moved = wide.clone();
                    moved[col] += by;
                    loss(&moved)
                };
                let slope = (moved(1e-3) - moved(-1e-3)) / 2e-3;
                assert!((f64::from(*gradient) - slope).abs() < 1e-5 * slope.abs().max(1.0));
            }
        }
    }
}

#[test]
fn numbers_are_divided_by_roots_and_nothing_by_zero() {
    for device in devices() {
        let (x, squares) = (
            device.tensor(1, 3, &[3.0, -4.0, 5.0]),
            device.tensor(1, 3, &[4.0, 16.0, 0.0]),
        );
        let mut out = flat(&device, &[1.0, 1.0, 1.0]);
        device.divide_by_root(x.view(), &squares, out.window_mut(3, 1, 3), true);
        assert_eq!(out.to_vec().unwrap()[3..], [2.5, 0.0, 1.0]);
        device.divide_by_root(x.view(), &squares, out.window_mut(3, 1, 3), false);
        assert_eq!(out.to_vec().unwrap()[3..], [1.5, -1.0, 0.0]);
    }
}

#[test]
fn rows_of_a_window_are_gathered_and_added_back() {
    for device in devices() {
        let numbers: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let mut out = device.empty(3, 3);
        device.gather_window(
            flat(&device, &numbers).window(3, 4, 3),
            &[3, 0, 3],
            &mut out,
        );
        assert_eq!(
            out.to_vec().unwrap(),
            [9.0, 10.0, 11.0, 0.0, 1.0, 2.0, 9.0, 10.0, 11.0]
        );
        let mut place = flat(&device, &numbers);
        device.scatter_add_window(&out, &[1, 2, 1], place.window_mut(3, 4, 3));
        let got = place.to_vec().unwrap();
        assert_eq!(got[..6], [9.0, 9.0, 9.0, 0.0, 1.0, 2.0]);
        assert_eq!(
            got[6..],
            [21.0, 24.0, 27.0, 6.0, 8.0, 10.0, 9.0, 10.0, 11.0]
        );
    }
}

fn step(lr: f64) -> AdamWStep {
    AdamWStep {
        lr,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.1,
        step: 1,
        gradient_scale: 0.5,
    }
}

#[test]
fn runs_of_a_flat_buffer_are_stepped_as_tensors_of_their_own() {
    // The second is large enough for 8 bits.
    let (lengths, rates) = ([100, 5000, 7], [1e-2, 1e-2, 0.16]);
    let runs = [(5100, step(1e-2)), (7, step(0.16))];
    for device in devices() {
        let len: usize = lengths.iter().sum();
        let (p, g) = (noise(len, 7), noise(len, 8));
        let gradients = device.tensor(1, len, &g);
        let (mut whole, mut whole8) = (device.tensor(1, len, &p), device.tensor(1, len, &p));
        let (mut m, mut v) = (device.zeros(1, len), device.zeros(1, len));
        device.adamw_by_runs(&mut whole, &gradients, &mut m, &mut v, &runs);
        let zeros = |lengths: &[usize]| Moment8::zeros(&device, lengths, None).unwrap();
        let (mut m, mut v) = (zeros(&lengths), zeros(&lengths));
        device.adamw8bit_by_runs(&mut whole8, &gradients, &mut m, &mut v, &runs);
        let (whole, whole8) = (whole.to_vec().unwrap(), whole8.to_vec().unwrap());
        let mut at = 0;
        for (len, lr) in lengths.into_iter().zip(rates) {
            let part = |x: &[f32]| device.tensor(1, len, &x[at..][..len]);
            let (gradients, mut alone, mut alone8) = (part(&g), part(&p), part(&p));
            let (mut m, mut v) = (device.zeros(1, len), device.zeros(1, len));
            device.adamw(&mut alone, &gradients, &mut m, &mut v, step(lr));
            assert_eq!(alone.to_vec().unwrap(), whole[at..][..len]);
            let (mut m, mut v) = (zeros(&[len]), zeros(&[len]));
            device.adamw8bit(&mut alone8, &gradients, &mut m, &mut v, step(lr));
            assert_eq!(alone8.to_vec().unwrap(), whole8[at..][..len]);
            at += len;
        }
    }
}
