//! Cross entropy.

use hone_tensor::{Device, Index};

use crate::{assert_close, noise, numeric_gradient, wide};

pub fn cross_entropy_and_its_gradient(device: &Device) {
    let (rows, vocab) = (3, 77);
    let logits: Vec<f32> = noise(rows * vocab, 24).iter().map(|x| 10.0 * x).collect();
    let targets = Index::from(vec![0, 76, 13]);
    let nats = |logits: &[f64]| -> Vec<f64> {
        logits
            .chunks(vocab)
            .zip(targets.rows())
            .map(|(row, t)| row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[t])
            .collect()
    };
    let mut tensor = device.tensor(rows, vocab, &logits);
    let got = device
        .cross_entropy(&mut tensor, targets.all(), true)
        .unwrap();
    for (got, want) in got.iter().zip(nats(&wide(&logits))) {
        assert!(
            (got - want).abs() < 1e-6 * want.max(1.0),
            "{got} and {want}"
        );
    }
    let want = numeric_gradient(&logits, &[1.0; 3], nats);
    assert_close("dlogits", &tensor.to_vec().unwrap(), &want, 1e-5);
}

pub fn a_logit_that_is_not_finite_makes_the_loss_not_finite(device: &Device) {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [1, 31, 32, 69] {
            let mut row = [0.5; 70];
            row[at] = bad;
            let mut logits = device.tensor(1, 70, &row);
            let nats = device
                .cross_entropy(&mut logits, Index::from(vec![0]).all(), false)
                .unwrap();
            assert!(!nats[0].is_finite(), "{bad} at {at}");
        }
    }
}

pub fn divergence_is_that_of_a_loop_and_nothing_between_equals(device: &Device) {
    let (rows, vocab) = (3, 1061);
    let p: Vec<f32> = noise(rows * vocab, 25).iter().map(|x| 10.0 * x).collect();
    let moved = noise(rows * vocab, 26);
    let q: Vec<f32> = p.iter().zip(&moved).map(|(p, x)| p + 3.0 * x).collect();
    let nats = |p: &[f32], q: &[f32]| {
        let (mut p, mut q) = (device.tensor(rows, vocab, p), device.tensor(rows, vocab, q));
        device.divergence(&mut p, &mut q).unwrap()
    };
    let shares = |row: &[f64]| -> Vec<f64> {
        let sum: f64 = row.iter().map(|x| x.exp()).sum();
        row.iter().map(|x| x.exp() / sum).collect()
    };
    let (wide_p, wide_q) = (wide(&p), wide(&q));
    let by_loop = wide_p.chunks(vocab).zip(wide_q.chunks(vocab));
    let by_loop = by_loop.map(|(p, q)| {
        let pairs = shares(p).into_iter().zip(shares(q));
        pairs.map(|(p, q)| p * (p / q).ln()).sum::<f64>()
    });
    for (got, want) in nats(&p, &q).iter().zip(by_loop) {
        assert!((got - want).abs() < 1e-5 * want, "{got} and {want}");
    }
    assert_eq!(nats(&p, &p), [0.0; 3]);
    let mut bad = q;
    bad[vocab + 7] = f32::NAN;
    assert!(nats(&p, &bad)[1].is_nan() && nats(&bad, &p)[1].is_nan());
}
