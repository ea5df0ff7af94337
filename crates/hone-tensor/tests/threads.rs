//! Any number of threads gives the same bits.

use hone_conformance::{by_row, noise, packed};
use hone_tensor::{AttentionGrads, AttentionSaved, Device, Heads, StoredMatrix, Tensor, TopK};

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let run = |threads| {
        let device = Device::cpu(threads).unwrap();
        let (t, d, out) = (211, 320, 450);
        let weight = device.weight(StoredMatrix::from_f32(&noise(out * d, 31), out, d).unwrap());
        let x = device.tensor(t, d, &noise(t * d, 30));
        let mut y = device.empty(t, out);
        device.linear(x.view(), &weight, &mut y, false);
        let mut dx = device.empty(t, d);
        device.linear_backward(y.view(), &weight, &mut dx, false);
        let mut gradient = device.empty(16, d);
        let low = device.tensor(t, 16, &noise(t * 16, 32));
        device.matmul(low.view().t(), dx.view(), 1.0, gradient.view_mut(), false);
        let norm = device.sum_squares(&gradient).unwrap().to_bits();
        let bits = |t: &Tensor| {
            t.to_vec()
                .unwrap()
                .iter()
                .map(|x| x.to_bits())
                .collect::<Vec<_>>()
        };
        (bits(&y), bits(&dx), bits(&gradient), norm)
    };
    let one = run(1);
    assert!(one == run(2) && one == run(5));
}

#[test]
fn a_row_goes_where_it_goes_alone_and_on_any_number_of_threads() {
    let (rows, experts) = (3000, 16);
    let logits = noise(rows * experts, 43);
    let top = TopK {
        count: 4,
        is_normalised: true,
    };
    let all = |device: &Device| {
        let routing = device.route(&device.tensor(rows, experts, &logits), top);
        by_row(&routing, rows, experts)
    };
    let [one, three] = [1, 3].map(|threads| all(&Device::cpu(threads).unwrap()));
    assert_eq!(one, three);
    let device = Device::cpu(1).unwrap();
    for row in [0, 1777, rows - 1] {
        let alone = device.tensor(1, experts, &logits[row * experts..][..experts]);
        assert_eq!(by_row(&device.route(&alone, top), 1, experts)[0], one[row]);
    }
}

#[test]
fn attention_gradients_of_long_sequences_do_not_depend_on_the_threads() {
    let heads = Heads {
        num_heads: 6,
        num_kv_heads: 2,
        head_dim: 20,
        scale: 0.3,
        window: None,
        cap: None,
    };
    let lengths = [1100, 530, 49];
    let tokens: usize = lengths.iter().sum();
    let (q_cols, kv_cols) = (6 * 20, 2 * 20);
    let (q, dout) = (noise(tokens * q_cols, 31), noise(tokens * q_cols, 32));
    let (k, v) = (noise(tokens * kv_cols, 33), noise(tokens * kv_cols, 34));
    let run = |device: &Device| {
        let side = |data: &[f32], cols| device.tensor(tokens, cols, data);
        let (tq, tk, tv) = (side(&q, q_cols), side(&k, kv_cols), side(&v, kv_cols));
        let (mut out, mut lse) = (device.empty(tokens, q_cols), device.empty(tokens, 6));
        let spans = packed(&lengths);
        device.attention(&tq, &tk, &tv, &spans, heads, &mut out, Some(&mut lse));
        let mut grads = [q_cols, kv_cols, kv_cols].map(|cols| device.empty(tokens, cols));
        let saved = AttentionSaved {
            q: &tq,
            k: &tk,
            v: &tv,
            out: &out,
            lse: &lse,
        };
        let [dq, dk, dv] = &mut grads;
        let grads_of = AttentionGrads { dq, dk, dv };
        device.attention_backward(saved, &side(&dout, q_cols), &spans, heads, grads_of);
        grads.map(|grad| grad.to_vec().unwrap())
    };
    assert!(run(&Device::cpu(1).unwrap()) == run(&Device::cpu(3).unwrap()));
}
