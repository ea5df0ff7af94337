//! The one place with vector instructions: the register tile of the matrix product, and the switch
//! that compiles a plain loop twice, once for AVX2 and once for whatever the target has.
//!
//! Plain loops here use `a * b + c` and never a fused multiply-add, so the AVX2 build of a loop
//! gives the same bits as the portable one. Only the matrix tile fuses.

/// Rows of the register tile.
pub const TILE_ROWS: usize = 6;
/// Columns of the register tile: two AVX2 registers, one AVX-512 register.
pub const TILE_COLS: usize = 16;

/// Compiles the body for AVX2 as well as for the base target and picks at run time.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn plain($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn wide($($arg: $ty),*) $(-> $ret)? { plain($($arg),*) }
                if $crate::cpu::simd::has_avx2() {
                    // SAFETY: the processor has AVX2, just checked.
                    return unsafe { wide($($arg),*) };
                }
            }
            plain($($arg),*)
        }
    };
}
pub(crate) use vectorised;

/// Whether this processor has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[inline]
pub fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
}

/// Whether this processor has AVX2 and FMA.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub fn has_avx2() -> bool {
    false
}

/// Where the left operand of a tile is: row `i`, step `k` is at `start + i * row + k * step`.
#[derive(Clone, Copy)]
pub struct Left {
    /// First element.
    pub start: *const f32,
    /// Distance between rows.
    pub row: usize,
    /// Distance between steps.
    pub step: usize,
}

/// Where a tile is written: element `(i, j)` is at `start + i * row + j * col`.
#[derive(Clone, Copy)]
pub struct Out {
    /// First element.
    pub start: *mut f32,
    /// Distance between rows.
    pub row: usize,
    /// Distance between columns.
    pub col: usize,
    /// Multiplies the product.
    pub alpha: f32,
    /// Whether to add to what is there.
    pub accumulate: bool,
}

/// `out (+)= alpha · left · panel` for one tile of `rows × cols` elements, at most 6 × 16.
///
/// Each element is one sum in order of `k`, whatever the tile's position, so a product's bits depend
/// on neither the split over threads nor the rows around it.
///
/// # Safety
/// `left` must be readable for `rows` rows and `depth` steps, `panel` for `depth * 16` elements, `out`
/// writable for `rows × cols` elements, and no other thread may touch those.
#[inline]
pub unsafe fn tile(
    depth: usize,
    left: Left,
    panel: *const f32,
    rows: usize,
    cols: usize,
    out: Out,
) {
    debug_assert!((1..=TILE_ROWS).contains(&rows) && (1..=TILE_COLS).contains(&cols));
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: AVX2 and FMA are there; the caller's promises are passed on.
        unsafe {
            if cols <= TILE_COLS / 2 {
                tile_avx2::<1>(depth, left, panel, rows, cols, out);
            } else {
                tile_avx2::<2>(depth, left, panel, rows, cols, out);
            }
        }
        return;
    }
    // SAFETY: the caller's promises are passed on.
    unsafe { tile_portable(depth, left, panel, rows, cols, out) };
}

/// `N` registers of eight columns: a tile of at most eight columns leaves out the second.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn tile_avx2<const N: usize>(
    depth: usize,
    left: Left,
    panel: *const f32,
    rows: usize,
    cols: usize,
    out: Out,
) {
    use std::arch::x86_64::*;
    // SAFETY: rows past the last one repeat it, so every read is inside what the caller promised.
    unsafe {
        let a: [*const f32; TILE_ROWS] =
            std::array::from_fn(|i| left.start.add(i.min(rows - 1) * left.row));
        let mut sum = [[_mm256_setzero_ps(); N]; TILE_ROWS];
        let mut b = panel;
        let mut at = 0;
        for _ in 0..depth {
            let mut columns = [_mm256_setzero_ps(); N];
            for half in 0..N {
                columns[half] = _mm256_loadu_ps(b.add(half * 8));
            }
            for i in 0..TILE_ROWS {
                let x = _mm256_broadcast_ss(&*a[i].add(at));
                for half in 0..N {
                    sum[i][half] = _mm256_fmadd_ps(x, columns[half], sum[i][half]);
                }
            }
            b = b.add(TILE_COLS);
            at += left.step;
        }
        if cols == 8 * N && out.col == 1 {
            let alpha = _mm256_set1_ps(out.alpha);
            for i in 0..rows {
                let to = out.start.add(i * out.row);
                for half in 0..N {
                    let at = to.add(half * 8);
                    let scaled = if out.accumulate {
                        _mm256_fmadd_ps(alpha, sum[i][half], _mm256_loadu_ps(at))
                    } else {
                        _mm256_mul_ps(alpha, sum[i][half])
                    };
                    _mm256_storeu_ps(at, scaled);
                }
            }
            return;
        }
        let mut flat = [[0.0f32; TILE_COLS]; TILE_ROWS];
        for i in 0..TILE_ROWS {
            for half in 0..N {
                _mm256_storeu_ps(flat[i].as_mut_ptr().add(half * 8), sum[i][half]);
            }
        }
        // The edge must round as the middle does: fused as well.
        store(&flat, rows, cols, out, |alpha, x, y| {
            _mm_cvtss_f32(_mm_fmadd_ss(
                _mm_set_ss(alpha),
                _mm_set_ss(x),
                _mm_set_ss(y),
            ))
        });
    }
}

unsafe fn tile_portable(
    depth: usize,
    left: Left,
    panel: *const f32,
    rows: usize,
    cols: usize,
    out: Out,
) {
    let mut sum = [[0.0f32; TILE_COLS]; TILE_ROWS];
    for k in 0..depth {
        // SAFETY: the panel has `depth` rows of 16, the left operand `rows` rows of `depth` steps.
        unsafe {
            let b = &*panel.add(k * TILE_COLS).cast::<[f32; TILE_COLS]>();
            for (i, row) in sum.iter_mut().enumerate().take(rows) {
                let x = *left.start.add(i * left.row + k * left.step);
                for j in 0..TILE_COLS {
                    row[j] += x * b[j];
                }
            }
        }
    }
    // SAFETY: the caller's promise about `out`.
    unsafe { store(&sum, rows, cols, out, |alpha, x, y| alpha * x + y) };
}

#[inline(always)]
unsafe fn store(
    sum: &[[f32; TILE_COLS]; TILE_ROWS],
    rows: usize,
    cols: usize,
    out: Out,
    multiply_add: impl Fn(f32, f32, f32) -> f32,
) {
    for (i, row) in sum.iter().enumerate().take(rows) {
        for (j, &value) in row.iter().enumerate().take(cols) {
            // SAFETY: inside `rows × cols`.
            unsafe {
                let at = out.start.add(i * out.row + j * out.col);
                *at = if out.accumulate {
                    multiply_add(out.alpha, value, *at)
                } else {
                    out.alpha * value
                };
            }
        }
    }
}

/// `eˣ` to about two units in the last place, without branches so that loops over it vectorise
/// (Cephes' polynomial; inputs are clamped to the range of finite, normal results).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: adding it leaves the nearest integer in the low bits.
    let x = x.clamp(-87.3, 88.3);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4 * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * (r * r) + r + 1.0;
    let power = f32::from_bits(
        (shifted
            .to_bits()
            .wrapping_sub(ROUND.to_bits())
            .wrapping_add(127))
            << 23,
    );
    p * power
}

vectorised! {
    /// Dot product in eight interleaved partial sums, so that its order is the same on every target.
    pub fn dot(a: &[f32], b: &[f32]) -> f32 {
        let mut sums = [0.0f32; 32];
        let (a32, a_rest) = a.as_chunks::<32>();
        let (b32, b_rest) = b.as_chunks::<32>();
        for (x, y) in a32.iter().zip(b32) {
            for i in 0..32 {
                sums[i] += x[i] * y[i];
            }
        }
        let mut total = 0.0;
        for (x, y) in a_rest.iter().zip(b_rest) {
            total += x * y;
        }
        let mut width = 16;
        while width > 0 {
            for i in 0..width {
                sums[i] += sums[i + width];
            }
            width /= 2;
        }
        total + sums[0]
    }
}

vectorised! {
    /// `y += a · x`.
    pub fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += a * x;
        }
    }
}

vectorised! {
    /// The greatest element; minus infinity for none, and NaN is passed over.
    pub fn max_of(row: &[f32]) -> f32 {
        let (chunks, rest) = row.as_chunks::<8>();
        let mut max = [f32::NEG_INFINITY; 8];
        for chunk in chunks {
            for i in 0..8 {
                max[i] = if chunk[i] > max[i] { chunk[i] } else { max[i] };
            }
        }
        max.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
    }
}

/// A pointer that parallel tasks share because each writes elements of its own.
#[derive(Clone, Copy)]
pub struct Shared(pub *mut f32);

// SAFETY: only a pointer; whoever dereferences it promises disjoint elements.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The pointer itself. A method, so that closures capture the whole wrapper.
    #[inline]
    pub fn get(self) -> *mut f32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for i in -8700..8800 {
            let x = i as f32 * 0.01;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.5e-7, "exp({x}): relative error {error:e}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e30) < 1.3e-38);
    }

    #[test]
    fn the_avx2_tile_agrees_with_the_portable_one_at_every_size() {
        let depth = 37;
        let a: Vec<f32> = (0..TILE_ROWS * depth)
            .map(|i| ((i * 7919) % 101) as f32 / 50.0 - 1.0)
            .collect();
        let panel: Vec<f32> = (0..TILE_COLS * depth)
            .map(|i| ((i * 104_729) % 97) as f32 / 48.0 - 1.0)
            .collect();
        for rows in 1..=TILE_ROWS {
            for cols in [1, 7, 8, 15, 16] {
                for accumulate in [false, true] {
                    let run = |kernel: unsafe fn(usize, Left, *const f32, usize, usize, Out)| {
                        let mut c = vec![0.5f32; TILE_ROWS * TILE_COLS];
                        let left = Left {
                            start: a.as_ptr(),
                            row: depth,
                            step: 1,
                        };
                        let out = Out {
                            start: c.as_mut_ptr(),
                            row: TILE_COLS,
                            col: 1,
                            alpha: 2.0,
                            accumulate,
                        };
                        // SAFETY: all buffers have the full tile's size.
                        unsafe { kernel(depth, left, panel.as_ptr(), rows, cols, out) };
                        c
                    };
                    let (fast, slow) = (run(tile), run(tile_portable));
                    for (i, (x, y)) in fast.iter().zip(&slow).enumerate() {
                        assert!((x - y).abs() < 1e-5, "{rows}×{cols} at {i}: {x} and {y}");
                    }
                }
            }
        }
    }
}
