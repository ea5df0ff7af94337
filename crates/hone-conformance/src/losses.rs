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
