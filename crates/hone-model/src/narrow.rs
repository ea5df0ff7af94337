//! Singular values of a product of two narrow matrices, without forming the wide one.
//!
//! `B A` is `[out, in]` but has at most `rank` singular values: with `B = Q₁ R₁` and `Aᵀ = Q₂ R₂` they are those of the small
//! `R₁ R₂ᵀ`. That one is turned until its columns are at right angles (one-sided Jacobi), in f64, where it is exact to
//! the last digits of f32 and costs microseconds.

/// The best approximation of `B A` (`b` is `[out, inner]`, `a` `[inner, in]`) by one of the given rank: `(B', A')`, with
/// orthonormal rows in `A'` as PEFT leaves them. Beyond the product's own rank both are zero.
pub(crate) fn narrow_svd(b: &[f32], a: &[f32], inner: usize, rank: usize) -> (Vec<f32>, Vec<f32>) {
    let (out, width) = (b.len() / inner, a.len() / inner);
    let columns_of_b = (0..inner).map(|c| (0..out).map(|r| f64::from(b[r * inner + c])).collect());
    let rows_of_a = (0..inner).map(|r| {
        a[r * width..][..width]
            .iter()
            .map(|x| f64::from(*x))
            .collect()
    });
    let (q1, r1) = orthonormalise(columns_of_b.collect());
    let (q2, r2) = orthonormalise(rows_of_a.collect());
    // core = R₁ R₂ᵀ, by columns: column j holds ⟨row i of R₁, row j of R₂⟩.
    let column = |j: usize| (0..q1.len()).map(|i| dot(&r1[i], &r2[j])).collect();
    let core: Vec<Vec<f64>> = (0..q2.len()).map(column).collect();
    let (scaled, turn) = turn_apart(core);
    let mut order: Vec<usize> = (0..scaled.len()).collect();
    order.sort_by(|i, j| dot(&scaled[*j], &scaled[*j]).total_cmp(&dot(&scaled[*i], &scaled[*i])));

    let (mut wide_b, mut wide_a) = (vec![0.0; out * rank], vec![0.0; rank * width]);
    for (place, k) in order.into_iter().take(rank).enumerate() {
        let left = mix(&q1, &scaled[k], out);
        let right = mix(&q2, &turn[k], width);
        left.iter()
            .enumerate()
            .for_each(|(row, x)| wide_b[row * rank + place] = *x as f32);
        right
            .iter()
            .enumerate()
            .for_each(|(col, x)| wide_a[place * width + col] = *x as f32);
    }
    (wide_b, wide_a)
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// `Σ weight · vector`.
fn mix(vectors: &[Vec<f64>], weights: &[f64], len: usize) -> Vec<f64> {
    let mut sum = vec![0.0; len];
    for (vector, weight) in vectors.iter().zip(weights) {
        sum.iter_mut()
            .zip(vector)
            .for_each(|(s, x)| *s += weight * x);
    }
    sum
}

/// Gram and Schmidt, twice for each vector because once loses digits; vectors that add nothing are left out. Returns the
/// orthonormal vectors and, for each of them, its coefficient in every vector given.
fn orthonormalise(vectors: Vec<Vec<f64>>) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let count = vectors.len();
    let (mut basis, mut coefficients): (Vec<Vec<f64>>, Vec<Vec<f64>>) = (vec![], vec![]);
    for (at, mut vector) in vectors.into_iter().enumerate() {
        let before = dot(&vector, &vector).sqrt();
        for _ in 0..2 {
            for (unit, row) in basis.iter().zip(&mut coefficients) {
                let along = dot(unit, &vector);
                row[at] += along;
                vector
                    .iter_mut()
                    .zip(unit)
                    .for_each(|(x, u)| *x -= along * u);
            }
        }
        let left = dot(&vector, &vector).sqrt();
        if left > before * 1e-13 {
            vector.iter_mut().for_each(|x| *x /= left);
            let mut row = vec![0.0; count];
            row[at] = left;
            basis.push(vector);
            coefficients.push(row);
        }
    }
    (basis, coefficients)
}

/// Turns pairs of columns until all are at right angles: `(columns, V)` with `columns = core · V`.
fn turn_apart(mut columns: Vec<Vec<f64>>) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let count = columns.len();
    let unit = |k: usize| (0..count).map(|i| f64::from(u8::from(i == k))).collect();
    let mut turn: Vec<Vec<f64>> = (0..count).map(unit).collect();
    // Convergence is quadratic; well-behaved matrices take six to ten rounds.
    for _ in 0..60 {
        let mut moved = false;
        for i in 0..count {
            for j in i + 1..count {
                let (p, q) = (dot(&columns[i], &columns[i]), dot(&columns[j], &columns[j]));
                let along = dot(&columns[i], &columns[j]);
                if along.abs() <= 1e-15 * (p * q).sqrt() {
                    continue;
                }
                moved = true;
                let zeta = (q - p) / (2.0 * along);
                let tangent = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let cosine = (1.0 + tangent * tangent).sqrt().recip();
                rotate(&mut columns, i, j, cosine, cosine * tangent);
                rotate(&mut turn, i, j, cosine, cosine * tangent);
            }
        }
        if !moved {
            break;
        }
    }
    (columns, turn)
}

fn rotate(columns: &mut [Vec<f64>], i: usize, j: usize, cosine: f64, sine: f64) {
    let (before, after) = columns.split_at_mut(j);
    for (x, y) in before[i].iter_mut().zip(&mut after[0]) {
        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(b: &[f32], a: &[f32], inner: usize) -> Vec<f64> {
        let (out, width) = (b.len() / inner, a.len() / inner);
        let cell = |o: usize, i: usize| {
            (0..inner)
                .map(|k| f64::from(b[o * inner + k]) * f64::from(a[k * width + i]))
                .sum()
        };
        (0..out * width)
            .map(|at| cell(at / width, at % width))
            .collect()
    }

    fn numbers(count: usize, step: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * step + 3) % 17) as f32 / 7.0 - 1.1)
            .collect()
    }

    #[test]
    fn the_whole_rank_gives_the_whole_product() {
        // Also where the bottleneck is wider than the matrix itself.
        for (out, width, inner) in [(9, 7, 3), (4, 5, 8), (6, 6, 6)] {
            let (b, a) = (numbers(out * inner, 5), numbers(inner * width, 11));
            let (b2, a2) = narrow_svd(&b, &a, inner, inner);
            for (x, y) in product(&b2, &a2, inner).iter().zip(product(&b, &a, inner)) {
                assert!((x - y).abs() < 1e-5, "{out}×{width}, {inner}: {x} {y}");
            }
        }
    }

    #[test]
    fn rows_of_the_result_are_orthonormal_and_the_columns_at_right_angles() {
        let (out, width, inner) = (9, 7, 4);
        let (b, a) = narrow_svd(
            &numbers(out * inner, 5),
            &numbers(inner * width, 11),
            inner,
            3,
        );
        for i in 0..3 {
            for j in 0..3 {
                let rows: f32 = (0..width)
                    .map(|c| a[i * width + c] * a[j * width + c])
                    .sum();
                assert!(
                    (rows - f32::from(u8::from(i == j))).abs() < 1e-5,
                    "{i} {j} {rows}"
                );
                let columns: f32 = (0..out).map(|r| b[r * 3 + i] * b[r * 3 + j]).sum();
                assert!(i == j || columns.abs() < 1e-4, "{i} {j} {columns}");
            }
        }
    }

    #[test]
    fn a_product_of_zero_gives_zero() {
        let (b, a) = narrow_svd(&[0.0; 6], &[1.0; 8], 2, 2);
        assert!(b.iter().all(|x| *x == 0.0) && a.iter().all(|x| x.is_finite()));
    }
}
