//! Steps of AdamW.

use hone_tensor::{AdamWStep, Device, Moment8};

use crate::{assert_close, noise, wide};

pub fn adamw_follows_the_formula(device: &Device) {
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

pub fn runs_of_a_flat_buffer_are_stepped_as_tensors_of_their_own(device: &Device) {
    // The second is large enough for 8 bits.
    let (lengths, rates) = ([100, 5000, 7], [1e-2, 1e-2, 0.16]);
    let runs = [(5100, step(1e-2)), (7, step(0.16))];
    let len: usize = lengths.iter().sum();
    let (p, g) = (noise(len, 7), noise(len, 8));
    let gradients = device.tensor(1, len, &g);
    let (mut whole, mut whole8) = (device.tensor(1, len, &p), device.tensor(1, len, &p));
    let (mut m, mut v) = (device.zeros(1, len), device.zeros(1, len));
    device.adamw_by_runs(&mut whole, &gradients, &mut m, &mut v, &runs);
    let zeros = |lengths: &[usize]| Moment8::zeros(device, lengths, None).unwrap();
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
