//! Rows and columns by index, by factors, side by side.

use hone_tensor::{Columns, Device, Index, Tensor};

use crate::{assert_close, noise, wide};

pub fn rows_are_gathered_added_back_and_biased(device: &Device) {
    let x = device.tensor(3, 2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let mut picked = device.empty(2, 2);
    let rows = Index::from(vec![2, 0]);
    device.gather_rows(&x, rows.all(), &mut picked);
    assert_eq!(picked.to_vec().unwrap(), [5.0, 6.0, 1.0, 2.0]);
    let mut out = device.zeros(3, 2);
    device.scatter_add_rows(&picked, rows.all(), &mut out);
    device.add(&mut out, &x);
    device.add_bias(&mut out, &device.tensor(1, 2, &[10.0, 20.0]));
    assert_eq!(out.to_vec().unwrap(), [12.0, 24.0, 13.0, 24.0, 20.0, 32.0]);
}

pub fn fused_columns_come_apart_and_together_again(device: &Device) {
    // Three key heads with two queries each, all two wide: q q k v, q q k v, q q k v.
    let (rows, cols) = (700, 24);
    let x = noise(rows * cols, 3);
    let wide_tensor = device.tensor(rows, cols, &x);
    let part = |first, width| Columns {
        first,
        width,
        period: 8,
        count: 3,
    };
    let mut again = device.zeros(rows, cols);
    for (columns, head_cols) in [(part(0, 4), 4), (part(4, 2), 2), (part(6, 2), 2)] {
        let mut narrow = device.empty(rows, columns.total());
        device.split_columns(&wide_tensor, columns, &mut narrow);
        for (at, got) in narrow.to_vec().unwrap().into_iter().enumerate() {
            let (row, col) = (at / columns.total(), at % columns.total());
            let from = columns.first + col / head_cols * 8 + col % head_cols;
            assert_eq!(got, x[row * cols + from]);
        }
        device.merge_columns(&narrow, columns, &mut again);
    }
    assert_eq!(again.to_vec().unwrap(), x);
}

/// A tensor with three numbers before a matrix, for windows.
fn flat(device: &Device, matrix: &[f32]) -> Tensor {
    let numbers = [&[9.0; 3], matrix].concat();
    device.tensor(1, numbers.len(), &numbers)
}

const SHAPES: [(usize, usize); 5] = [(1, 1), (7, 65), (300, 64), (33, 200), (0, 5)];

pub fn dots_of_columns_agree_with_a_loop_whichever_way_they_lie(device: &Device) {
    for (rows, cols) in SHAPES {
        let (a, b) = (noise(rows * cols, 1), noise(rows * cols, 2));
        let start = noise(cols, 3);
        let want: Vec<f64> = (0..cols)
            .map(|col| {
                let product = |row| f64::from(a[row * cols + col]) * f64::from(b[row * cols + col]);
                f64::from(start[col]) - 2.0 * (0..rows).map(product).sum::<f64>()
            })
            .collect();
        let turned: Vec<f32> = (0..rows * cols)
            .map(|i| b[i % rows * cols + i / rows])
            .collect();
        let (a, b) = (device.tensor(rows, cols, &a), device.tensor(rows, cols, &b));
        let turned = device.tensor(cols, rows, &turned);
        for b in [b.view(), turned.view().t()] {
            let mut out = flat(device, &start);
            device.dot_cols(a.view(), b, -2.0, out.window_mut(3, 1, cols), true);
            let got = out.to_vec().unwrap();
            assert_eq!(got[..3], [9.0; 3]);
            for (got, want) in got[3..].iter().zip(&want) {
                assert!((f64::from(*got) - want).abs() < 1e-5 * want.abs().max(1.0));
            }
        }
    }
}

pub fn columns_are_scaled_and_the_dot_is_the_gradient_of_the_factors(device: &Device) {
    for (rows, cols) in SHAPES {
        let (x, factors, dy) = (noise(rows * cols, 4), noise(cols, 5), noise(rows * cols, 6));
        let loss = |factors: &[f64]| -> f64 {
            let term = |i: usize| f64::from(x[i]) * factors[i % cols] * f64::from(dy[i]);
            (0..rows * cols).map(term).sum()
        };
        let wide: Vec<f64> = factors.iter().map(|&f| f64::from(f)).collect();
        let mut y = device.tensor(rows, cols, &x);
        device.scale_cols(&mut y, flat(device, &factors).window(3, 1, cols));
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

pub fn numbers_are_divided_by_roots_and_nothing_by_zero(device: &Device) {
    let (x, squares) = (
        device.tensor(1, 3, &[3.0, -4.0, 5.0]),
        device.tensor(1, 3, &[4.0, 16.0, 0.0]),
    );
    let mut out = flat(device, &[1.0, 1.0, 1.0]);
    device.divide_by_root(x.view(), &squares, out.window_mut(3, 1, 3), true);
    assert_eq!(out.to_vec().unwrap()[3..], [2.5, 0.0, 1.0]);
    device.divide_by_root(x.view(), &squares, out.window_mut(3, 1, 3), false);
    assert_eq!(out.to_vec().unwrap()[3..], [1.5, -1.0, 0.0]);
}

pub fn rows_of_a_window_are_gathered_and_added_back(device: &Device) {
    let numbers: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let mut out = device.empty(3, 3);
    let picked = Index::from(vec![3, 0, 3]);
    device.gather_window(
        flat(device, &numbers).window(3, 4, 3),
        picked.all(),
        &mut out,
    );
    assert_eq!(
        out.to_vec().unwrap(),
        [9.0, 10.0, 11.0, 0.0, 1.0, 2.0, 9.0, 10.0, 11.0]
    );
    let mut place = flat(device, &numbers);
    // A part of a longer list, as a chunk of a batch is.
    let rows = Index::from(vec![9, 1, 2, 1]);
    device.scatter_add_window(&out, rows.part(1..4), place.window_mut(3, 4, 3));
    let got = place.to_vec().unwrap();
    assert_eq!(got[..6], [9.0, 9.0, 9.0, 0.0, 1.0, 2.0]);
    assert_eq!(
        got[6..],
        [21.0, 24.0, 27.0, 6.0, 8.0, 10.0, 9.0, 10.0, 11.0]
    );
}

pub fn rows_are_scaled_and_multiplied_with_each_other(device: &Device) {
    for (rows, cols) in [(1, 1), (5, 33), (700, 65)] {
        let (a, b, factors) = (
            noise(rows * cols, 44),
            noise(rows * cols, 45),
            noise(rows, 46),
        );
        let mut x = device.tensor(rows, cols, &a);
        let held = device.tensor(rows, 1, &factors);
        device.scale_rows(&mut x, held.view());
        let want: Vec<f64> = (0..rows * cols)
            .map(|at| f64::from(a[at]) * f64::from(factors[at / cols]))
            .collect();
        assert_close("scale_rows", &x.to_vec().unwrap(), &want, 1e-6);
        let (ta, tb) = (device.tensor(rows, cols, &a), device.tensor(rows, cols, &b));
        let mut dots = device.empty(rows, 1);
        device.dot_rows(&ta, &tb, dots.view_mut());
        let pairs = a.chunks(cols).zip(b.chunks(cols));
        let dot = |(a, b): (&[f32], &[f32])| wide(a).iter().zip(wide(b)).map(|(a, b)| a * b).sum();
        let want: Vec<f64> = pairs.map(dot).collect();
        assert_close("dot_rows", &dots.to_vec().unwrap(), &want, 1e-6);
    }
}
