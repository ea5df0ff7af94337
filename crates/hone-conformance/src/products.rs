//! Products, and matrices as windows into tensors.

use hone_tensor::{Device, StoredMatrix};

use crate::{assert_close, matmul, noise, transpose, wide};

pub fn linear_and_its_transpose_agree_with_a_loop_at_awkward_shapes(device: &Device) {
    for (t, width, out) in [
        (1, 32, 7),
        (4, 64, 65),
        (5, 96, 33),
        (97, 576, 192),
        (300, 700, 1100),
        (6, 1, 1),
    ] {
        let (x, w, dy) = (
            noise(t * width, 1),
            noise(out * width, 2),
            noise(t * out, 3),
        );
        let weight = device.weight(StoredMatrix::from_f32(&w, out, width).unwrap());
        let mut y = device.empty(t, out);
        let input = device.tensor(t, width, &x);
        device.linear(input.view(), &weight, &mut y, false);
        let want = matmul(&wide(&x), &transpose(&wide(&w), out, width), t, width, out);
        assert_close("linear", &y.to_vec().unwrap(), &want, 1e-5);
        device.linear(input.view(), &weight, &mut y, true);
        assert_close(
            "linear twice",
            &y.to_vec().unwrap(),
            &want.iter().map(|y| 2.0 * y).collect::<Vec<_>>(),
            1e-5,
        );

        let mut dx = device.empty(t, width);
        device.linear_backward(device.tensor(t, out, &dy).view(), &weight, &mut dx, false);
        assert_close(
            "linear_backward",
            &dx.to_vec().unwrap(),
            &matmul(&wide(&dy), &wide(&w), t, out, width),
            1e-5,
        );
    }
}

pub fn matmul_agrees_with_a_loop_in_all_orientations(device: &Device) {
    for (m, k, n) in [
        (7, 33, 5),
        (16, 300, 576),
        (576, 301, 16),
        (130, 16, 130),
        (1, 1, 1),
        (48, 64, 700),
    ] {
        let (a, b) = (noise(m * k, 4), noise(k * n, 5));
        let want: Vec<f64> = matmul(&wide(&a), &wide(&b), m, k, n)
            .iter()
            .map(|x| 0.5 * x)
            .collect();
        let (plain_a, plain_b) = (device.tensor(m, k, &a), device.tensor(k, n, &b));
        let flip = |x: &[f32], r, c| {
            transpose(&wide(x), r, c)
                .iter()
                .map(|&x| x as f32)
                .collect::<Vec<_>>()
        };
        let (flipped_a, flipped_b) = (
            device.tensor(k, m, &flip(&a, m, k)),
            device.tensor(n, k, &flip(&b, k, n)),
        );
        for left in [plain_a.view(), flipped_a.view().t()] {
            for right in [plain_b.view(), flipped_b.view().t()] {
                let mut out = device.empty(m, n);
                device.matmul(left, right, 0.5, out.view_mut(), false);
                assert_close("matmul", &out.to_vec().unwrap(), &want, 1e-5);
            }
        }
    }
}

pub fn a_window_reads_and_writes_its_part_only(device: &Device) {
    let mut flat = device.tensor(1, 12, &[1.0; 12]);
    let a = device.tensor(2, 2, &[1.0, 2.0, 3.0, 4.0]);
    device.matmul(a.view(), a.view(), 1.0, flat.window_mut(4, 2, 2), false);
    assert_eq!(
        flat.to_vec().unwrap(),
        [
            1.0, 1.0, 1.0, 1.0, 7.0, 10.0, 15.0, 22.0, 1.0, 1.0, 1.0, 1.0
        ]
    );
}

pub fn columns_of_a_tensor_are_operands_too(device: &Device) {
    let a = device.tensor(2, 3, &[9.0, 1.0, 2.0, 9.0, 3.0, 4.0]);
    let mut out = device.tensor(2, 4, &[5.0; 8]);
    let right = a.view_cols(1..3);
    device.matmul(right, right, 1.0, out.view_cols_mut(1..3), false);
    assert_eq!(
        out.to_vec().unwrap(),
        [5.0, 7.0, 10.0, 5.0, 5.0, 15.0, 22.0, 5.0]
    );
}
