//! Loops over columns: one factor, one sum or one quotient for each.

use rayon::prelude::*;

use super::operands::Dense;
use super::rows::by_rows;
use super::simd::vectorised;

/// Columns that one summing task owns.
const COLUMNS: usize = 64;

vectorised! {
    fn multiply(x: &mut [f32], factors: &[f32]) {
        for (x, factor) in x.iter_mut().zip(factors) {
            *x *= factor;
        }
    }
}

/// Multiplies every row with `factors`, element by element.
pub fn scale(x: &mut [f32], factors: &[f32]) {
    by_rows(x, factors.len(), |_, x| {
        x.chunks_exact_mut(factors.len())
            .for_each(|row| multiply(row, factors));
    });
}

vectorised! {
    fn add_products(a: &[f32], b: &[f32], sums: &mut [f64]) {
        for ((a, b), sum) in a.iter().zip(b).zip(sums) {
            *sum += f64::from(*a) * f64::from(*b);
        }
    }
}

/// `out[j] (+)= alpha · Σᵢ a[i, j] · b[i, j]`. A task owns columns and goes down all rows, so the order of a sum does
/// not depend on the number of threads.
pub fn dot(a: Dense, b: Dense, rows: usize, alpha: f32, out: &mut [f32], accumulate: bool) {
    out.par_chunks_mut(COLUMNS)
        .enumerate()
        .for_each(|(task, out)| {
            let first = task * COLUMNS;
            let mut sums = [0.0f64; COLUMNS];
            let sums = &mut sums[..out.len()];
            for row in 0..rows {
                match (a.col, b.col) {
                    (1, 1) => {
                        let part = |x: &Dense| row * x.row + first;
                        let (a, b) = (&a.data[part(&a)..], &b.data[part(&b)..]);
                        add_products(&a[..sums.len()], &b[..sums.len()], sums);
                    }
                    _ => {
                        for (col, sum) in sums.iter_mut().enumerate() {
                            let at = |x: &Dense| x.data[row * x.row + (first + col) * x.col];
                            *sum += f64::from(at(&a)) * f64::from(at(&b));
                        }
                    }
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                let value = (f64::from(alpha) * *sum) as f32;
                *out = if accumulate { *out + value } else { value };
            }
        });
}

/// `out[j] (+)= x[j] / √squares[j]`, nothing where the square is zero.
pub fn divide_by_root(x: &[f32], squares: &[f32], out: &mut [f32], accumulate: bool) {
    for ((out, x), square) in out.iter_mut().zip(x).zip(squares) {
        let quotient = if *square > 0.0 {
            x / square.sqrt()
        } else {
            0.0
        };
        *out = if accumulate {
            *out + quotient
        } else {
            quotient
        };
    }
}
