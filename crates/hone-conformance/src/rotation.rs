//! Rotary positions.

use hone_tensor::{Device, Index};

use crate::{assert_close, noise, numeric_gradient, wide};

pub fn rope_turns_pairs_and_its_inverse_is_its_gradient(device: &Device) {
    let (rows, heads, dim) = (4, 3, 8);
    let table: Vec<f32> = (0..16 * dim)
        .map(|i| {
            let (position, j) = (i / dim, i % dim);
            let angle = position as f32 * 0.7f32.powi((j % (dim / 2)) as i32);
            if j < dim / 2 {
                angle.cos()
            } else {
                angle.sin()
            }
        })
        .collect();
    let positions = Index::from(vec![0, 1, 2, 15]);
    let x = noise(rows * heads * dim, 9);
    let reference = |x: &[f64]| {
        let mut y = x.to_vec();
        for (row, &position) in positions.iter().enumerate() {
            for head in 0..heads {
                for i in 0..dim / 2 {
                    let at = (row * heads + head) * dim + i;
                    let angles = &table[position as usize * dim..];
                    let (c, s) = (f64::from(angles[i]), f64::from(angles[dim / 2 + i]));
                    (y[at], y[at + dim / 2]) = (
                        x[at] * c - x[at + dim / 2] * s,
                        x[at + dim / 2] * c + x[at] * s,
                    );
                }
            }
        }
        y
    };
    let device_table = device.tensor(16, dim, &table);
    let mut y = device.tensor(rows, heads * dim, &x);
    device.rope(&mut y, dim, positions.all(), &device_table, false);
    assert_close("rope", &y.to_vec().unwrap(), &reference(&wide(&x)), 1e-6);

    let dy = noise(rows * heads * dim, 10);
    let mut dx = device.tensor(rows, heads * dim, &dy);
    device.rope(&mut dx, dim, positions.all(), &device_table, true);
    assert_close(
        "rope backward",
        &dx.to_vec().unwrap(),
        &numeric_gradient(&x, &dy, reference),
        1e-5,
    );
}

pub fn a_narrow_table_turns_the_beginning_of_a_head_and_neighbours_turn_together(device: &Device) {
    let (rows, heads, width, turning) = (4, 3, 10, 6);
    let angle = |position: usize, pair: usize| position as f32 * 0.7f32.powi(pair as i32);
    let table: Vec<f32> = (0..16 * turning)
        .map(|i| {
            let (position, j) = (i / turning, i % turning);
            let angle = angle(position, j % (turning / 2));
            if j < turning / 2 {
                angle.cos()
            } else {
                angle.sin()
            }
        })
        .collect();
    let positions = Index::from(vec![0, 1, 2, 15]);
    let (x, dy) = (
        noise(rows * heads * width, 9),
        noise(rows * heads * width, 10),
    );
    let device_table = device.tensor(16, turning, &table);
    for interleaved in [false, true] {
        let reference = |x: &[f64]| {
            let mut y = x.to_vec();
            for (row, &position) in positions.iter().enumerate() {
                for (head, pair) in (0..heads).flat_map(|h| (0..turning / 2).map(move |p| (h, p))) {
                    let start = (row * heads + head) * width;
                    let (i, j) = match interleaved {
                        true => (start + 2 * pair, start + 2 * pair + 1),
                        false => (start + pair, start + pair + turning / 2),
                    };
                    let (s, c) = f64::from(angle(position as usize, pair)).sin_cos();
                    (y[i], y[j]) = (x[i] * c - x[j] * s, x[j] * c + x[i] * s);
                }
            }
            y
        };
        let turn = |data: &[f32], inverse| {
            let mut y = device.tensor(rows, heads * width, data);
            match interleaved {
                true => {
                    device.rope_interleaved(&mut y, width, positions.all(), &device_table, inverse)
                }
                false => device.rope(&mut y, width, positions.all(), &device_table, inverse),
            }
            y.to_vec().unwrap()
        };
        assert_close("rope", &turn(&x, false), &reference(&wide(&x)), 1e-6);
        let want = numeric_gradient(&x, &dy, reference);
        assert_close("rope backward", &turn(&dy, true), &want, 1e-5);
    }
}
