//! The leading part of a matrix: singular vectors, exactly or by a randomised search, and the beginning of a QR.
//!
//! All in f64 on one thread, so that the same base and seed give the same start whatever the machine. Singular vectors
//! come from the Gram matrix of the shorter side, which is exact enough for leading ones: an error of 1e-16 in `σ²`
//! relative to the largest is far below what f32 can tell.

use hone_ledger::Seed;

/// `B [out, rank]` and `A [rank, in]`.
pub(crate) struct Pair {
    pub b: Vec<f64>,
    pub a: Vec<f64>,
}

impl Pair {
    /// The pair of a product `scale` times smaller, shared evenly.
    pub fn over(mut self, scale: f64) -> Self {
        let factor = scale.recip().sqrt();
        for x in self.a.iter_mut().chain(&mut self.b) {
            *x *= factor;
        }
        self
    }
}

/// `U·√Σ` and `√Σ·Vᵀ` of the `rank` greatest singular values.
pub(crate) fn leading_singular(w: &[f32], (out, width): (usize, usize), rank: usize) -> Pair {
    let is_tall = out >= width;
    let short = if is_tall { width } else { out };
    let gram = match is_tall {
        true => gram(short, rows(w, width)),
        false => gram(short, columns(w, out, width).iter().map(Vec::as_slice)),
    };
    let (values, vectors) = eigen(gram, short, rank);
    assemble(w, (out, width), is_tall, &values, &vectors, rank)
}

/// The same by subspace iteration from random vectors (Halko, Martinsson & Tropp 2011), a few more than are asked for.
pub(crate) fn leading_singular_by_search(
    w: &[f32],
    (out, width): (usize, usize),
    rank: usize,
    rounds: usize,
) -> Pair {
    const SPARE: usize = 8;
    let count = (rank + SPARE).min(out).min(width);
    let mut stream = Seed::new(0).child("subspace").stream();
    let random = |_| {
        (0..width)
            .map(|_| f64::from(stream.unit_f32()) - 0.5)
            .collect()
    };
    let mut right: Vec<Vec<f64>> = (0..count).map(random).collect();
    let mut left = through(w, width, &right);
    orthonormalise(&mut left);
    for _ in 0..rounds {
        right = back_through(w, width, &left);
        orthonormalise(&mut right);
        left = through(w, width, &right);
        orthonormalise(&mut left);
    }
    // What the matrix does to the subspace is small, and decomposed exactly.
    let small = back_through(w, width, &left);
    let columns = (0..width).map(|col| small.iter().map(|row| row[col]).collect::<Vec<f64>>());
    let columns: Vec<Vec<f64>> = columns.collect();
    let gram = gram(count, columns.iter().map(Vec::as_slice));
    let (values, inner) = eigen(gram, count, rank.min(count));
    let vectors: Vec<Vec<f64>> = inner
        .iter()
        .map(|weights| combine(weights, &left, out))
        .collect();
    assemble(w, (out, width), false, &values, &vectors, rank)
}

/// The first `rank` columns of `Q` and rows of `R`, `W = Q·R`.
pub(crate) fn leading_orthogonal(w: &[f32], (out, width): (usize, usize), rank: usize) -> Pair {
    let column = |col| {
        (0..out)
            .map(move |row| f64::from(w[row * width + col]))
            .collect()
    };
    let mut q: Vec<Vec<f64>> = (0..rank.min(width)).map(column).collect();
    orthonormalise(&mut q);
    let r = back_through(w, width, &q);
    pair(&q, &r, (out, width), rank)
}

/// From singular vectors of one side and squared values to both sides.
fn assemble(
    w: &[f32],
    (out, width): (usize, usize),
    are_right: bool,
    squares: &[f64],
    vectors: &[Vec<f64>],
    rank: usize,
) -> Pair {
    let others = match are_right {
        true => through(w, width, vectors),
        false => back_through(w, width, vectors),
    };
    // `others` is as long as the singular value; both sides are to be as long as its root.
    let scaled = |vectors: &[Vec<f64>], power: f64| -> Vec<Vec<f64>> {
        let scale = |(vector, square): (&Vec<f64>, &f64)| {
            let factor = if *square > 0.0 {
                square.powf(power)
            } else {
                0.0
            };
            vector.iter().map(|x| x * factor).collect()
        };
        vectors.iter().zip(squares).map(scale).collect()
    };
    let (own, others) = (scaled(vectors, 0.25), scaled(&others, -0.25));
    match are_right {
        true => pair(&others, &own, (out, width), rank),
        false => pair(&own, &others, (out, width), rank),
    }
}

/// Columns of `B` and rows of `A` as matrices; a rank beyond the matrix's own is zeros.
fn pair(left: &[Vec<f64>], right: &[Vec<f64>], (out, width): (usize, usize), rank: usize) -> Pair {
    let (mut b, mut a) = (vec![0.0; out * rank], vec![0.0; rank * width]);
    for (i, (left, right)) in left.iter().zip(right).enumerate() {
        for (row, x) in left.iter().enumerate() {
            b[row * rank + i] = *x;
        }
        a[i * width..][..width].copy_from_slice(right);
    }
    Pair { b, a }
}

fn rows(w: &[f32], width: usize) -> impl Iterator<Item = Vec<f64>> {
    w.chunks_exact(width)
        .map(|row| row.iter().map(|&x| f64::from(x)).collect())
}

fn columns(w: &[f32], out: usize, width: usize) -> Vec<Vec<f64>> {
    let column = |col| {
        (0..out)
            .map(|row| f64::from(w[row * width + col]))
            .collect()
    };
    (0..width).map(column).collect()
}

/// `Σ x·xᵀ` over vectors of one length.
fn gram<X: AsRef<[f64]>>(len: usize, vectors: impl Iterator<Item = X>) -> Vec<f64> {
    let mut gram = vec![0.0; len * len];
    for x in vectors {
        let x = x.as_ref();
        for (row, &factor) in x.iter().enumerate() {
            add_scaled(&mut gram[row * len..][..=row], &x[..=row], factor);
        }
    }
    for row in 0..len {
        for col in 0..row {
            gram[col * len + row] = gram[row * len + col];
        }
    }
    gram
}

/// `W·v` for each vector.
fn through(w: &[f32], width: usize, vectors: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let of_row =
        |row: &[f32], v: &[f64]| -> f64 { row.iter().zip(v).map(|(x, v)| f64::from(*x) * v).sum() };
    let along = |v: &Vec<f64>| w.chunks_exact(width).map(|row| of_row(row, v)).collect();
    vectors.iter().map(along).collect()
}

/// `Wᵀ·u` for each vector.
fn back_through(w: &[f32], width: usize, vectors: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let back = |u: &Vec<f64>| {
        let mut sum = vec![0.0; width];
        for (row, factor) in w.chunks_exact(width).zip(u) {
            for (sum, x) in sum.iter_mut().zip(row) {
                *sum += factor * f64::from(*x);
            }
        }
        sum
    };
    vectors.iter().map(back).collect()
}

fn combine(weights: &[f64], vectors: &[Vec<f64>], len: usize) -> Vec<f64> {
    let mut sum = vec![0.0; len];
    for (weight, vector) in weights.iter().zip(vectors) {
        add_scaled(&mut sum, vector, *weight);
    }
    sum
}

fn add_scaled(y: &mut [f64], x: &[f64], factor: f64) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<4>(), y.as_chunks::<4>());
    for (x, y) in x.iter().zip(y) {
        for i in 0..4 {
            sums[i] += x[i] * y[i];
        }
    }
    let rest: f64 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f64>() + rest
}

/// Gram-Schmidt, twice, which is enough (Giraud et al. 2005); what depends on the vectors before becomes zero.
fn orthonormalise(vectors: &mut [Vec<f64>]) {
    for i in 0..vectors.len() {
        let (before, rest) = vectors.split_at_mut(i);
        let vector = &mut rest[0];
        let length = dot(vector, vector).sqrt();
        for _ in 0..2 {
            for other in before.iter() {
                let shared = dot(vector, other);
                add_scaled(vector, other, -shared);
            }
        }
        let left = dot(vector, vector).sqrt();
        let factor = if left > 1e-12 * length {
            left.recip()
        } else {
            0.0
        };
        vector.iter_mut().for_each(|x| *x *= factor);
    }
}

/// The `count` greatest eigenvalues of a symmetric matrix, falling, and their vectors: Householder's reduction to three
/// diagonals, then implicit QL steps (Golub & Van Loan 2013, 8.3).
fn eigen(matrix: Vec<f64>, n: usize, count: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    let reduced = Tridiagonal::of(matrix, n);
    let (mut diagonal, mut beside) = (reduced.diagonal.clone(), reduced.beside.clone());
    // Row i becomes the i-th vector.
    let mut vectors = vec![0.0; n * n];
    (0..n).for_each(|i| vectors[i * n + i] = 1.0);
    for first in 0..n {
        // Three steps a value are usual; the bound only keeps numbers that are not finite from going on for ever.
        for _ in 0..64 {
            let is_small = |i: &usize| {
                let around = diagonal[*i].abs() + diagonal[i + 1].abs();
                beside[*i].abs() <= f64::EPSILON * around
            };
            let last = (first..n - 1).find(is_small).unwrap_or(n - 1);
            if last == first {
                break;
            }
            ql_step(first, last, &mut diagonal, &mut beside, &mut vectors, n);
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| diagonal[j].total_cmp(&diagonal[i]));
    order.truncate(count);
    let vector = |&i: &usize| reduced.back(vectors[i * n..][..n].to_vec());
    (
        order.iter().map(|&i| diagonal[i].max(0.0)).collect(),
        order.iter().map(vector).collect(),
    )
}

/// One implicit QL step with Wilkinson's shift over the unreduced block `first..=last`.
fn ql_step(
    first: usize,
    last: usize,
    diagonal: &mut [f64],
    beside: &mut [f64],
    vectors: &mut [f64],
    n: usize,
) {
    let half = (diagonal[first + 1] - diagonal[first]) / (2.0 * beside[first]);
    let root = half.hypot(1.0).copysign(half);
    let mut bulge = diagonal[last] - diagonal[first] + beside[first] / (half + root);
    let (mut sine, mut cosine, mut shift) = (1.0, 1.0, 0.0);
    for i in (first..last).rev() {
        let (outer, inner) = (sine * beside[i], cosine * beside[i]);
        let length = outer.hypot(bulge);
        beside[i + 1] = length;
        if length == 0.0 {
            // The block has come apart by itself.
            diagonal[i + 1] -= shift;
            beside[last] = 0.0;
            return;
        }
        (sine, cosine) = (outer / length, bulge / length);
        let moved = diagonal[i + 1] - shift;
        let turned = (diagonal[i] - moved) * sine + 2.0 * cosine * inner;
        shift = sine * turned;
        diagonal[i + 1] = moved + shift;
        bulge = cosine * turned - inner;
        let (low, high) = vectors.split_at_mut((i + 1) * n);
        rotate(&mut low[i * n..], &mut high[..n], sine, cosine);
    }
    diagonal[first] -= shift;
    beside[first] = bulge;
    beside[last] = 0.0;
}

fn rotate(low: &mut [f64], high: &mut [f64], sine: f64, cosine: f64) {
    for (low, high) in low.iter_mut().zip(high) {
        (*low, *high) = (cosine * *low - sine * *high, sine * *low + cosine * *high);
    }
}

/// A symmetric matrix brought to three diagonals by reflections.
struct Tridiagonal {
    diagonal: Vec<f64>,
    /// Beside the diagonal; the last is zero.
    beside: Vec<f64>,
    /// Reflection `k` acts on the elements from `k + 1` on; a factor and a vector.
    reflections: Vec<(f64, Vec<f64>)>,
}

impl Tridiagonal {
    fn of(mut matrix: Vec<f64>, n: usize) -> Self {
        let (mut diagonal, mut beside) = (vec![0.0; n], vec![0.0; n]);
        let mut reflections = Vec::new();
        for k in 0..n {
            diagonal[k] = matrix[k * n + k];
            let below = n - k - 1;
            if below == 0 {
                break;
            }
            // By symmetry the column below the diagonal is the row beside it.
            let mut vector = matrix[k * n + k + 1..][..below].to_vec();
            let length = dot(&vector, &vector).sqrt();
            if below == 1 || length == 0.0 {
                beside[k] = vector[0];
                reflections.push((0.0, vector));
                continue;
            }
            beside[k] = -length.copysign(vector[0]);
            vector[0] -= beside[k];
            let factor = 2.0 / dot(&vector, &vector);
            let row = |i: usize| (k + 1 + i) * n + k + 1;
            let mut moved: Vec<f64> = (0..below)
                .map(|i| factor * dot(&matrix[row(i)..][..below], &vector))
                .collect();
            let shared = 0.5 * factor * dot(&vector, &moved);
            add_scaled(&mut moved, &vector, -shared);
            for i in 0..below {
                let place = &mut matrix[row(i)..][..below];
                add_scaled(place, &moved, -vector[i]);
                add_scaled(place, &vector, -moved[i]);
            }
            reflections.push((factor, vector));
        }
        Self {
            diagonal,
            beside,
            reflections,
        }
    }

    /// From a vector of the reduced matrix to one of the matrix.
    fn back(&self, mut vector: Vec<f64>) -> Vec<f64> {
        for (k, (factor, reflection)) in self.reflections.iter().enumerate().rev() {
            let part = &mut vector[k + 1..];
            let shared = factor * dot(part, reflection);
            add_scaled(part, reflection, -shared);
        }
        vector
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize, salt: u64) -> Vec<f32> {
        let mut stream = Seed::new(salt).stream();
        (0..len).map(|_| 2.0 * stream.unit_f32() - 1.0).collect()
    }

    fn product(pair: &Pair, (out, width): (usize, usize), rank: usize) -> Vec<f64> {
        let element = |i: usize| {
            let (row, col) = (i / width, i % width);
            let term = |r| pair.b[row * rank + r] * pair.a[r * width + col];
            (0..rank).map(term).sum()
        };
        (0..out * width).map(element).collect()
    }

    fn distance(w: &[f32], product: &[f64]) -> f64 {
        let square = |(w, p): (&f32, &f64)| (f64::from(*w) - p).powi(2);
        w.iter().zip(product).map(square).sum::<f64>().sqrt()
    }

    #[test]
    fn all_singular_vectors_give_the_matrix_back() {
        for shape in [(5, 5), (7, 3), (3, 7), (1, 4), (4, 1), (40, 33)] {
            let (w, rank) = (noise(shape.0 * shape.1, 3), shape.0.min(shape.1));
            let left = distance(
                &w,
                &product(&leading_singular(&w, shape, rank), shape, rank),
            );
            assert!(left < 1e-7, "{shape:?}: {left} is left");
        }
    }

    #[test]
    fn leading_vectors_leave_no_more_than_any_others() {
        // Eckart and Young: what is left has the remaining singular values, so adding ranks one by one takes away
        // falling amounts, and the search finds as much as the exact way.
        let (shape, w) = ((30, 20), noise(600, 8));
        let left = |rank| {
            distance(
                &w,
                &product(&leading_singular(&w, shape, rank), shape, rank),
            )
        };
        let lefts: Vec<f64> = (1..=6).map(left).collect();
        let squares: Vec<f64> = lefts
            .windows(2)
            .map(|w| w[0].powi(2) - w[1].powi(2))
            .collect();
        assert!(squares.windows(2).all(|w| w[0] >= w[1]), "{squares:?}");
        let found = leading_singular_by_search(&w, shape, 4, 40);
        let found = distance(&w, &product(&found, shape, 4));
        assert!((found - lefts[3]).abs() < 1e-6, "{found}, {}", lefts[3]);
    }

    #[test]
    fn zeros_repeated_values_and_lost_ranks_are_no_trouble() {
        let zero = leading_singular(&[0.0; 12], (3, 4), 2);
        assert!(zero.a.iter().chain(&zero.b).all(|x| *x == 0.0));
        let mut unit = vec![0.0f32; 36];
        (0..6).for_each(|i| unit[i * 7] = 2.0);
        let left = distance(
            &unit,
            &product(&leading_singular(&unit, (6, 6), 6), (6, 6), 6),
        );
        assert!(left < 1e-12, "{left}");
        // More rank than the matrix has.
        let w = noise(6, 2);
        let left = distance(&w, &product(&leading_singular(&w, (2, 3), 4), (2, 3), 4));
        assert!(left < 1e-7, "{left}");
        let twice = [1.0, 1.0, 2.0, 2.0, 3.0, 3.0];
        let left = distance(
            &twice,
            &product(&leading_orthogonal(&twice, (3, 2), 2), (3, 2), 2),
        );
        assert!(left < 1e-7, "{left}");
    }

    #[test]
    fn an_orthogonal_start_is_the_beginning_of_a_qr() {
        let (shape, w) = ((9, 5), noise(45, 5));
        let pair = leading_orthogonal(&w, shape, 5);
        assert!(distance(&w, &product(&pair, shape, 5)) < 1e-7);
        for i in 0..5 {
            for j in 0..5 {
                let shared: f64 = (0..9)
                    .map(|row| pair.b[row * 5 + i] * pair.b[row * 5 + j])
                    .sum();
                assert!((shared - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
            assert!(
                (0..i).all(|col| pair.a[i * 5 + col].abs() < 1e-7),
                "R is triangular"
            );
        }
    }
}
