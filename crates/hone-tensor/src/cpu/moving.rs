//! Moving numbers without computing with them: rows by index, gathered and scattered, and bf16 for safekeeping.

use half::bf16;
use rayon::prelude::*;

use super::rows::by_rows;
use super::simd::{self, Shared, vectorised};
use crate::ops::Columns;

/// Columns that one scattering task owns.
const COLUMNS: usize = 64;

/// `out[i] = x[rows[i]]`; rows of `x` begin `stride` numbers apart.
pub fn gather_rows(x: &[f32], stride: usize, rows: &[u32], cols: usize, out: &mut [f32]) {
    by_rows(out, cols, |first, out| {
        for (out, &row) in out.chunks_exact_mut(cols).zip(&rows[first..]) {
            out.copy_from_slice(&x[row as usize * stride..][..cols]);
        }
    });
}

/// `out[rows[i]] += x[i]`, in the order of `i`; rows of `out` begin `stride` numbers apart. A task owns columns, so
/// rows may repeat.
pub fn scatter_add_rows(x: &[f32], rows: &[u32], cols: usize, stride: usize, out: &mut [f32]) {
    let end = rows.iter().max();
    let end = end.map_or(0, |&row| row as usize * stride + cols);
    assert!(
        end <= out.len() && rows.len() * cols <= x.len(),
        "rows lie inside"
    );
    let out = Shared(out.as_mut_ptr());
    (0..cols.div_ceil(COLUMNS))
        .into_par_iter()
        .for_each(|task| {
            let (first, width) = (task * COLUMNS, COLUMNS.min(cols - task * COLUMNS));
            for (i, &row) in rows.iter().enumerate() {
                // SAFETY: inside `out`, checked above; these columns are this task's alone.
                let to = unsafe {
                    std::slice::from_raw_parts_mut(
                        out.get().add(row as usize * stride + first),
                        width,
                    )
                };
                simd::axpy(1.0, &x[i * cols + first..][..width], to);
            }
        });
}

/// Copies `columns` of `x`, `[rows, x_cols]`, side by side into `out`.
pub fn split_columns(x: &[f32], x_cols: usize, columns: Columns, out: &mut [f32]) {
    let cols = columns.total();
    by_rows(out, cols, |first, out| {
        for (row, out) in out.chunks_exact_mut(cols).enumerate() {
            let x = &x[(first + row) * x_cols..][..x_cols];
            for (i, out) in out.chunks_exact_mut(columns.width).enumerate() {
                out.copy_from_slice(&x[columns.first + i * columns.period..][..columns.width]);
            }
        }
    });
}

/// The reverse of [`split_columns`]: writes `columns` of `out` and leaves its others.
pub fn merge_columns(x: &[f32], columns: Columns, out_cols: usize, out: &mut [f32]) {
    let cols = columns.total();
    by_rows(out, out_cols, |first, out| {
        for (row, out) in out.chunks_exact_mut(out_cols).enumerate() {
            let x = &x[(first + row) * cols..][..cols];
            for (i, x) in x.chunks_exact(columns.width).enumerate() {
                out[columns.first + i * columns.period..][..columns.width].copy_from_slice(x);
            }
        }
    });
}

/// Rounds to bf16 (nearest, ties to even).
pub fn round_to_bf16(x: &[f32], out: &mut [bf16]) {
    const PIECE: usize = 1 << 14;
    let pieces = out.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE));
    pieces.for_each(|(out, x)| round(x, out));
}

/// Undoes [`round_to_bf16`], but for the rounding.
pub fn widen_bf16(x: &[bf16], out: &mut [f32]) {
    by_rows(out, 1, |first, out| widen(&x[first..], out));
}

vectorised! {
    fn round(x: &[f32], out: &mut [bf16]) {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = bf16::from_f32(x);
        }
    }
}

vectorised! {
    fn widen(x: &[bf16], out: &mut [f32]) {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = x.to_f32();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scattering_adds_rows_that_repeat_and_undoes_no_gather() {
        let cols = COLUMNS + 3;
        let x: Vec<f32> = (0..3 * cols).map(|i| i as f32).collect();
        let mut out = vec![1.0; 2 * cols];
        scatter_add_rows(&x, &[1, 0, 1], cols, cols, &mut out);
        for col in 0..cols {
            assert_eq!(out[col], 1.0 + x[cols + col]);
            assert_eq!(out[cols + col], 1.0 + x[col] + x[2 * cols + col]);
        }
        let mut picked = vec![0.0; 3 * cols];
        gather_rows(&out, cols, &[1, 1, 0], cols, &mut picked);
        assert_eq!(picked[..cols], out[cols..]);
        assert_eq!(picked[2 * cols..], out[..cols]);
    }

    #[test]
    fn bf16_rounds_to_nearest_even_at_odd_lengths_too() {
        let x = [1.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, -2.5, f32::MAX];
        let (mut halves, mut back) = ([bf16::ZERO; 5], [0.0; 5]);
        round_to_bf16(&x, &mut halves);
        widen_bf16(&halves, &mut back);
        assert_eq!(back, [1.0, 1.0, 1.0 + 4.0 / 256.0, -2.5, f32::INFINITY]);
    }
}
