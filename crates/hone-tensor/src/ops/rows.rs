//! Rows and columns: by index, by a factor each, side by side.

use super::{StorageOps, assert_same_shape, host, host_window, put, put_window};
use crate::index::Indices;
use crate::tensor::{MatMut, MatRef, Tensor, Weight};

/// Some columns of a wider matrix: `count` stretches of `width` columns, each `period` after the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// First column of the first stretch.
    pub first: usize,
    /// Columns of a stretch.
    pub width: usize,
    /// Distance between the starts of two stretches.
    pub period: usize,
    /// How many stretches.
    pub count: usize,
}

impl Columns {
    /// How many columns they are together.
    pub fn total(&self) -> usize {
        self.width * self.count
    }

    /// Columns that a matrix must have for these to be inside.
    pub fn end(&self) -> usize {
        self.first + self.period * (self.count - 1) + self.width
    }

    /// Each column's place in the wider matrix, in order.
    fn places(self) -> impl Iterator<Item = usize> {
        let stretch = move |i: usize| self.first + i * self.period..;
        (0..self.count).flat_map(move |i| stretch(i).take(self.width))
    }
}

/// Rows and columns moved, scaled and summed.
pub trait RowOps: StorageOps {
    /// Sets every element to `value`.
    fn fill(&self, out: &mut Tensor, value: f32) {
        put(self, out, &vec![value; out.len()]);
    }
    /// Copies `src` rows `[from, from + count)` to `out` rows `[to, to + count)`.
    fn copy_rows(&self, src: &Tensor, from: usize, count: usize, out: &mut Tensor, to: usize) {
        let cols = src.cols();
        assert_eq!(cols, out.cols(), "rows of one width");
        let (Some(src), Some(mut y)) = (host(self, src), host(self, out)) else {
            return;
        };
        y[to * cols..][..count * cols].copy_from_slice(&src[from * cols..][..count * cols]);
        put(self, out, &y);
    }
    /// Rows of the embedding matrix for `ids`.
    fn embed(&self, ids: Indices, weight: &Weight, out: &mut Tensor) {
        let cols = weight.cols();
        check_embed(ids, weight, out);
        let mut y = vec![0.0; ids.len() * cols];
        for (row, &id) in y.chunks_exact_mut(cols).zip(ids.on_host()) {
            self.read_row(weight, id as usize, row);
        }
        put(self, out, &y);
    }
    /// `out[i] = x[rows[i]]`.
    fn gather_rows(&self, x: &Tensor, rows: Indices, out: &mut Tensor) {
        self.gather_window(x.view(), rows, out);
    }
    /// The same from a window into a tensor: rows of one matrix of a flat buffer.
    fn gather_window(&self, x: MatRef, rows: Indices, out: &mut Tensor) {
        check_gather(x, rows, out);
        let cols = x.cols;
        let Some(x) = host_window(self, x) else {
            return;
        };
        let rows = rows.on_host().iter().map(|row| *row as usize);
        let picked = rows.flat_map(|row| &x[row * cols..][..cols]);
        put(self, out, &picked.copied().collect::<Vec<_>>());
    }
    /// `out[rows[i]] += x[i]`, in the order of `i`; rows may repeat.
    fn scatter_add_rows(&self, x: &Tensor, rows: Indices, out: &mut Tensor) {
        self.scatter_add_window(x, rows, out.view_mut());
    }
    /// The same into a window.
    fn scatter_add_window(&self, x: &Tensor, rows: Indices, out: MatMut) {
        check_scatter(x, rows, &out);
        let cols = out.cols;
        let (Some(x), Some(mut y)) = (host(self, x), host_window(self, out.view())) else {
            return;
        };
        for (x, row) in x.chunks_exact(cols).zip(rows.on_host()) {
            let y = &mut y[*row as usize * cols..][..cols];
            y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
        }
        put_window(self, out, &y);
    }
    /// Multiplies column `j` with element `j` of `factors [1, cols]`.
    fn scale_cols(&self, x: &mut Tensor, factors: MatRef) {
        check_column_factors(x, factors);
        let (Some(mut y), Some(factors)) = (host(self, x), host_window(self, factors)) else {
            return;
        };
        for row in y.chunks_exact_mut(factors.len()) {
            row.iter_mut()
                .zip(&factors)
                .for_each(|(y, factor)| *y *= factor);
        }
        put(self, x, &y);
    }
    /// `out[j] (+)= alpha · Σᵢ a[i, j] · b[i, j]`, with `out [1, cols]`; summed in f64.
    fn dot_cols(&self, a: MatRef, b: MatRef, alpha: f32, out: MatMut, accumulate: bool) {
        let (rows, cols) = a.shape();
        check_dot_cols(a, b, &out);
        let (Some(a), Some(b)) = (host_window(self, a), host_window(self, b)) else {
            return;
        };
        let Some(mut y) = host_window(self, out.view()) else {
            return;
        };
        for (col, y) in y.iter_mut().enumerate() {
            let product =
                |row: usize| f64::from(a[row * cols + col]) * f64::from(b[row * cols + col]);
            let sum = (f64::from(alpha) * (0..rows).map(product).sum::<f64>()) as f32;
            *y = if accumulate { *y + sum } else { sum };
        }
        put_window(self, out, &y);
    }
    /// `out[j] (+)= x[j] / √squares[j]`, all `[1, cols]`; nothing where the square is zero.
    fn divide_by_root(&self, x: MatRef, squares: &Tensor, out: MatMut, accumulate: bool) {
        check_divide(x, squares, &out);
        let (Some(x), Some(squares)) = (host_window(self, x), host(self, squares)) else {
            return;
        };
        let Some(mut y) = host_window(self, out.view()) else {
            return;
        };
        for ((y, x), square) in y.iter_mut().zip(&x).zip(&squares) {
            let quotient = if *square > 0.0 {
                x / square.sqrt()
            } else {
                0.0
            };
            *y = if accumulate { *y + quotient } else { quotient };
        }
        put_window(self, out, &y);
    }
    /// Multiplies row `i` with element `i` of `factors [rows, 1]`.
    fn scale_rows(&self, x: &mut Tensor, factors: MatRef) {
        check_row_factors(x, factors);
        let (Some(mut y), Some(factors)) = (host(self, x), host_window(self, factors)) else {
            return;
        };
        for (row, factor) in y.chunks_exact_mut(x.cols()).zip(&factors) {
            row.iter_mut().for_each(|y| *y *= factor);
        }
        put(self, x, &y);
    }
    /// `out[i] = Σⱼ a[i, j] · b[i, j]`, with `out [rows, 1]`; summed in f64.
    fn dot_rows(&self, a: &Tensor, b: &Tensor, out: MatMut) {
        check_dot_rows(a, b, &out);
        let cols = a.cols();
        let (Some(a), Some(b)) = (host(self, a), host(self, b)) else {
            return;
        };
        let sum = |(a, b): (&[f32], &[f32])| {
            let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
            products.sum::<f64>() as f32
        };
        let sums = a.chunks_exact(cols).zip(b.chunks_exact(cols)).map(sum);
        put_window(self, out, &sums.collect::<Vec<_>>());
    }
    /// Copies some columns of `x` side by side into `out`.
    fn split_columns(&self, x: &Tensor, columns: Columns, out: &mut Tensor) {
        check_columns(columns, out, x);
        let cols = x.cols();
        let Some(x) = host(self, x) else {
            return;
        };
        let picked = x
            .chunks_exact(cols)
            .flat_map(|row| columns.places().map(|col| row[col]));
        put(self, out, &picked.collect::<Vec<_>>());
    }
    /// The reverse: writes `x` to some columns of `out` and leaves its others.
    fn merge_columns(&self, x: &Tensor, columns: Columns, out: &mut Tensor) {
        check_columns(columns, x, out);
        let cols = out.cols();
        let (Some(x), Some(mut y)) = (host(self, x), host(self, out)) else {
            return;
        };
        for (x, row) in x
            .chunks_exact(columns.total())
            .zip(y.chunks_exact_mut(cols))
        {
            columns.places().zip(x).for_each(|(col, x)| row[col] = *x);
        }
        put(self, out, &y);
    }
}

/// The promise of [`RowOps::split_columns`] and [`RowOps::merge_columns`].
pub(crate) fn check_columns(columns: Columns, narrow: &Tensor, wide: &Tensor) {
    assert_eq!(
        (narrow.rows(), narrow.cols()),
        (wide.rows(), columns.total()),
        "as many columns as are picked"
    );
    assert!(
        columns.end() <= wide.cols() && columns.width <= columns.period,
        "columns inside the wider matrix"
    );
}

/// The promise of [`RowOps::embed`].
pub(crate) fn check_embed(ids: Indices, weight: &Weight, out: &Tensor) {
    let cols = weight.cols();
    assert_eq!(
        (ids.len(), cols),
        (out.rows(), out.cols()),
        "a row for each id"
    );
}

/// The promise of [`RowOps::gather_window`].
pub(crate) fn check_gather(x: MatRef, rows: Indices, out: &Tensor) {
    assert_eq!(
        (rows.len(), x.cols, false),
        (out.rows(), out.cols(), x.transposed),
        "a row for each index"
    );
}

/// The promise of [`RowOps::scatter_add_window`].
pub(crate) fn check_scatter(x: &Tensor, rows: Indices, out: &MatMut) {
    assert_eq!(
        (rows.len(), out.cols),
        (x.rows(), x.cols()),
        "a row for each index"
    );
    assert!(
        rows.on_host().iter().all(|&row| (row as usize) < out.rows),
        "rows lie inside the window"
    );
}

/// The promise of [`RowOps::scale_cols`].
pub(crate) fn check_column_factors(x: &Tensor, factors: MatRef) {
    assert_eq!(
        (1, x.cols(), false),
        (factors.rows, factors.cols, factors.transposed),
        "one factor for each column"
    );
}

/// The promise of [`RowOps::dot_cols`].
pub(crate) fn check_dot_cols(a: MatRef, b: MatRef, out: &MatMut) {
    let (rows, cols) = a.shape();
    assert_eq!(
        ((rows, cols), (1, cols)),
        (b.shape(), (out.rows, out.cols)),
        "columns of two matrices of one shape"
    );
}

/// The promise of [`RowOps::divide_by_root`].
pub(crate) fn check_divide(x: MatRef, squares: &Tensor, out: &MatMut) {
    assert_eq!(
        (x.shape(), (1, x.cols)),
        ((squares.rows(), squares.cols()), (out.rows, out.cols)),
        "three rows of one length"
    );
}

/// The promise of [`RowOps::scale_rows`].
pub(crate) fn check_row_factors(x: &Tensor, factors: MatRef) {
    assert_eq!(
        (x.rows(), 1, false),
        (factors.rows, factors.cols, factors.transposed),
        "one factor for each row"
    );
}

/// The promise of [`RowOps::dot_rows`].
pub(crate) fn check_dot_rows(a: &Tensor, b: &Tensor, out: &MatMut) {
    assert_same_shape(a, b);
    assert_eq!(
        (a.rows(), 1, 1),
        (out.rows, out.cols, out.stride),
        "one sum for each row"
    );
}
