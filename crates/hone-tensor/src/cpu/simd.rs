//! The one place with vector instructions: the register tile of the matrix product, and the switch
//! that compiles a plain loop for AVX-512, for AVX2 and for whatever the target has.
//!
//! Plain loops here use `a * b + c` and never a fused multiply-add, so every build of a loop
//! gives the same bits as the portable one. Only the matrix tile fuses.

/// Rows of the register tile.
pub const TILE_ROWS: usize = 6;
/// Columns of the register tile: two AVX2 registers, one AVX-512 register.
pub const TILE_COLS: usize = 16;

/// Compiles the body for AVX-512 and AVX2 as well as for the base target and picks at run time.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn plain($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn widest($($arg: $ty),*) $(-> $ret)? { plain($($arg),*) }
                #[target_feature(enable = "avx2")]
                fn wide($($arg: $ty),*) $(-> $ret)? { plain($($arg),*) }
                match $crate::cpu::simd::Simd::best() {
                    // SAFETY: the processor has what the function was compiled for, just checked.
                    $crate::cpu::simd::Simd::Avx512 => return unsafe { widest($($arg),*) },
                    // SAFETY: as above.
                    $crate::cpu::simd::Simd::Avx2 => return unsafe { wide($($arg),*) },
                    $crate::cpu::simd::Simd::Portable => {}
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

/// Whether this processor has the parts of AVX-512 that every server core since Skylake-X and Zen 4 has.
#[cfg(target_arch = "x86_64")]
#[inline]
fn has_avx512() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512dq")
        && std::arch::is_x86_feature_detected!("avx512vl")
}

/// Where the left operand is: row `i`, step `k` is at `start + i * row + k * step`.
#[derive(Clone, Copy)]
pub struct Left {
    /// First element.
    pub start: *const f32,
    /// Distance between rows.
    pub row: usize,
    /// Distance between steps.
    pub step: usize,
}

impl Left {
    /// From a later row on.
    ///
    /// # Safety
    /// The row must be inside what this points to.
    pub unsafe fn at(self, row: usize) -> Self {
        // SAFETY: the caller's promise.
        let start = unsafe { self.start.add(row * self.row) };
        Self { start, ..self }
    }
}

/// Where the right operand is: panels of sixteen columns, `[depth, 16]` each.
#[derive(Clone, Copy)]
pub struct Panels {
    /// First element of the first panel.
    pub start: *const f32,
    /// Distance between panels: sixteen times the depth that was packed.
    pub next: usize,
}

/// Where a product is written: element `(i, j)` is at `start + i * row + j * col`.
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

impl Out {
    /// # Safety
    /// The element must be inside what this points to.
    pub unsafe fn at(self, i: usize, j: usize) -> Self {
        // SAFETY: the caller's promise.
        let start = unsafe { self.start.add(i * self.row + j * self.col) };
        Self { start, ..self }
    }
}

/// An instruction set for the matrix product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simd {
    /// Whatever the target has.
    Portable,
    /// Eight lanes, x86-64.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Sixteen lanes, x86-64.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// Four lanes, AArch64.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Simd {
    /// The widest that this processor has.
    #[inline]
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if has_avx2() {
            return if has_avx512() {
                Self::Avx512
            } else {
                Self::Avx2
            };
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return Self::Neon;
        }
        Self::Portable
    }

    /// As shown to people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "AVX-512",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "NEON",
        }
    }

    fn kernel(self) -> Kernel {
        match self {
            Self::Portable => portable::multiply,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::multiply,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => avx512::multiply,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => neon::multiply,
        }
    }
}

type Kernel = unsafe fn(usize, Left, Panels, usize, usize, Out);

/// `out (+)= alpha · left · right`, `[rows, depth] × [depth, cols]`, the right operand in panels.
///
/// Each element is one sum in order of `k`, whatever its position and the instruction set, so a product's
/// bits depend on neither the split over threads nor the rows around it.
///
/// # Safety
/// `left` must be readable for `rows` rows and `depth` steps, `panels` for `depth * 16` elements for each 16
/// columns begun, `out` writable for `rows × cols` elements, and no other thread may touch those.
#[inline]
pub unsafe fn multiply(
    depth: usize,
    left: Left,
    panels: Panels,
    rows: usize,
    cols: usize,
    out: Out,
) {
    // SAFETY: the processor has what `best` found; the caller's promises are passed on.
    unsafe { Simd::best().kernel()(depth, left, panels, rows, cols, out) };
}

/// The kernel of one instruction set, for a module that names its `Vector` and the operations on it. `N`
/// vectors side by side and `R` rows are summed in registers at a time.
macro_rules! kernel {
    ($features:literal, lanes: $lanes:literal, tall: $tall:literal, wide: $wide:literal, rest: [$($few:literal),*]) => {
        /// # Safety
        /// As for [`super::multiply`], on a processor with these features.
        #[target_feature(enable = $features)]
        pub unsafe fn multiply(
            depth: usize,
            left: Left,
            panels: Panels,
            rows: usize,
            cols: usize,
            out: Out,
        ) {
            let mut col = 0;
            while col < cols {
                let width = (cols - col).min($wide * $lanes);
                // SAFETY: the tiles lie inside the matrices that the caller promised.
                unsafe {
                    let panel = Panels { start: panels.start.add(col / TILE_COLS * panels.next), ..panels };
                    if width > $wide * $lanes / 2 {
                        columns::<$wide>(depth, left, panel, rows, width, out.at(0, col));
                    } else {
                        columns::<{ $wide / 2 }>(depth, left, panel, rows, width, out.at(0, col));
                    }
                }
                col += width;
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn columns<const N: usize>(
            depth: usize,
            left: Left,
            panels: Panels,
            rows: usize,
            cols: usize,
            out: Out,
        ) {
            let mut row = 0;
            while row < rows {
                let height = if rows - row >= $tall { $tall } else { (rows - row).min(TILE_ROWS) };
                // SAFETY: as above.
                unsafe {
                    let (left, out) = (left.at(row), out.at(row, 0));
                    match height {
                        $($few => tile::<$few, N>(depth, left, panels, cols, out),)*
                        _ => tile::<$tall, N>(depth, left, panels, cols, out),
                    }
                }
                row += height;
            }
        }

        #[target_feature(enable = $features)]
        unsafe fn tile<const R: usize, const N: usize>(
            depth: usize,
            left: Left,
            panels: Panels,
            cols: usize,
            out: Out,
        ) {
            // SAFETY: the caller's promises; rows and columns past the matrices are not touched.
            unsafe {
                let mut a = [left.start; R];
                for i in 0..R {
                    a[i] = left.start.add(i * left.row);
                }
                for i in 0..R {
                    prefetch(out.start.wrapping_add(i * out.row));
                }
                let mut sum = [[splat(0.0); N]; R];
                let mut at = 0;
                let mut b_at = panels.start;
                for _ in 0..depth {
                    let mut b = [splat(0.0); N];
                    for j in 0..N {
                        let (panel_of, lane) = (j * $lanes / TILE_COLS, j * $lanes % TILE_COLS);
                        b[j] = load(b_at.add(panel_of * panels.next + lane));
                    }
                    for i in 0..R {
                        let x = splat(*a[i].add(at));
                        for j in 0..N {
                            sum[i][j] = fma(x, b[j], sum[i][j]);
                        }
                    }
                    at += left.step;
                    b_at = b_at.add(TILE_COLS);
                }
                if cols == N * $lanes && out.col == 1 {
                    let alpha = splat(out.alpha);
                    for i in 0..R {
                        for j in 0..N {
                            let at = out.start.add(i * out.row + j * $lanes);
                            let scaled = if out.accumulate {
                                fma(alpha, sum[i][j], load(at))
                            } else {
                                mul(alpha, sum[i][j])
                            };
                            store(at, scaled);
                        }
                    }
                    return;
                }
                let mut row = [0.0f32; 2 * TILE_COLS];
                for i in 0..R {
                    for j in 0..N {
                        store(row.as_mut_ptr().add(j * $lanes), sum[i][j]);
                    }
                    for (j, &value) in row.iter().enumerate().take(cols) {
                        let at = out.start.add(i * out.row + j * out.col);
                        // The edge must round as the middle does: fused as well.
                        *at = if out.accumulate { value.mul_add(out.alpha, *at) } else { out.alpha * value };
                    }
                }
            }
        }
    };
}

/// Twelve sums of eight: with two vectors of the right operand and one of the left, fifteen of sixteen registers.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        _mm256_fmadd_ps as fma, _mm256_loadu_ps as load, _mm256_mul_ps as mul,
        _mm256_set1_ps as splat, _mm256_storeu_ps as store,
    };

    use super::{Left, Out, Panels, TILE_COLS, TILE_ROWS, prefetch};

    kernel!("avx2,fma", lanes: 8, tall: 6, wide: 2, rest: [1, 2, 3, 4, 5]);
}

/// Twenty-four sums of sixteen, from two panels at a time: 26 of 32 registers, the left operand is broadcast
/// from memory.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        _mm512_fmadd_ps as fma, _mm512_loadu_ps as load, _mm512_mul_ps as mul,
        _mm512_set1_ps as splat, _mm512_storeu_ps as store,
    };

    use super::{Left, Out, Panels, TILE_COLS, TILE_ROWS, prefetch};

    kernel!("avx512f", lanes: 16, tall: 12, wide: 2, rest: [1, 2, 3, 4, 5, 6]);
}

/// Twenty-four sums of four: with four vectors of the right operand and one of the left, 29 of 32 registers.
#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::{
        float32x4_t, vdupq_n_f32 as splat, vfmaq_f32, vld1q_f32 as load, vmulq_f32 as mul,
        vst1q_f32 as store,
    };

    use super::{Left, Out, Panels, TILE_COLS, TILE_ROWS, prefetch};

    #[inline]
    #[target_feature(enable = "neon")]
    fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        vfmaq_f32(c, a, b)
    }

    kernel!("neon", lanes: 4, tall: 6, wide: 4, rest: [1, 2, 3, 4, 5]);
}

/// Asks for the cache line of an element that is soon written.
#[inline(always)]
fn prefetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// The plain loop that the others are checked against.
mod portable {
    use super::{Left, Out, Panels, TILE_COLS};

    /// # Safety
    /// As for [`super::multiply`].
    pub unsafe fn multiply(
        depth: usize,
        left: Left,
        panels: Panels,
        rows: usize,
        cols: usize,
        out: Out,
    ) {
        for col in (0..cols).step_by(TILE_COLS) {
            for row in 0..rows {
                // SAFETY: inside the matrices that the caller promised.
                unsafe {
                    let panel = panels.start.add(col / TILE_COLS * panels.next);
                    let sums = row_sums(depth, left.at(row), panel);
                    for (j, sum) in sums.iter().enumerate().take(cols - col) {
                        let at = out.at(row, col + j).start;
                        *at = if out.accumulate {
                            out.alpha * sum + *at
                        } else {
                            out.alpha * sum
                        };
                    }
                }
            }
        }
    }

    unsafe fn row_sums(depth: usize, left: Left, panel: *const f32) -> [f32; TILE_COLS] {
        let mut sums = [0.0f32; TILE_COLS];
        for k in 0..depth {
            // SAFETY: the panel has `depth` rows of 16, the row of the left operand `depth` steps.
            unsafe {
                let (x, b) = (
                    *left.start.add(k * left.step),
                    &*panel.add(k * TILE_COLS).cast::<[f32; TILE_COLS]>(),
                );
                for j in 0..TILE_COLS {
                    sums[j] += x * b[j];
                }
            }
        }
        sums
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

/// `tanh x` to a few units in the last place: Lambert's continued fraction, cut after the seventh term, near zero
/// where exponentials would cancel, and exponentials elsewhere.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let y = x * x;
    let near = x * (135_135.0 + y * (17_325.0 + y * (378.0 + y)))
        / (135_135.0 + y * (62_370.0 + y * (3150.0 + y * 28.0)));
    let far = 1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0);
    if x.abs() < 1.0 { near } else { far.copysign(x) }
}

vectorised! {
    /// Dot product in 32 interleaved partial sums, so that its order is the same on every target.
    pub fn dot(a: &[f32], b: &[f32]) -> f32 {
        dot_of(a, b)
    }
}

vectorised! {
    /// `out = alpha · rows · x`, each as [`dot`] gives it; the rows begin `stride` apart.
    pub fn dots(rows: &[f32], stride: usize, x: &[f32], alpha: f32, out: &mut [f32]) {
        for (row, out) in out.iter_mut().enumerate() {
            *out = alpha * dot_of(x, &rows[row * stride..][..x.len()]);
        }
    }
}

vectorised! {
    /// `sums += weights · rows`, row after row; the rows begin `stride` apart.
    pub fn add_weighted(rows: &[f32], stride: usize, weights: &[f32], sums: &mut [f32]) {
        let (blocks, rest) = sums.as_chunks_mut::<64>();
        let done = blocks.len() * 64;
        for (block, out) in blocks.iter_mut().enumerate() {
            // Held in registers over all rows.
            let mut sums = *out;
            for (row, weight) in weights.iter().enumerate() {
                let row: &[f32; 64] = rows[row * stride + block * 64..].first_chunk().expect("as wide as the sums");
                for i in 0..64 {
                    sums[i] += weight * row[i];
                }
            }
            *out = sums;
        }
        for (row, weight) in weights.iter().enumerate() {
            for (sum, x) in rest.iter_mut().zip(&rows[row * stride + done..]) {
                *sum += weight * x;
            }
        }
    }
}

/// See [`dot`].
#[inline(always)]
fn dot_of(a: &[f32], b: &[f32]) -> f32 {
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

vectorised! {
    /// A panel of the transpose: sixteen rows, `stride` apart, to `[steps, 16]`.
    pub fn transpose_panel(rows: &[f32], stride: usize, panel: &mut [f32]) {
        let steps = panel.len() / TILE_COLS;
        let columns: [&[f32]; TILE_COLS] = std::array::from_fn(|j| &rows[j * stride..][..steps]);
        let (blocks, rest) = panel.as_chunks_mut::<{ 8 * TILE_COLS }>();
        for (block, out) in blocks.iter_mut().enumerate() {
            let columns: [&[f32; 8]; TILE_COLS] =
                std::array::from_fn(|j| columns[j][block * 8..].first_chunk().expect("eight steps a block"));
            for k in 0..8 {
                for j in 0..TILE_COLS {
                    out[k * TILE_COLS + j] = columns[j][k];
                }
            }
        }
        let done = blocks.len() * 8;
        for (k, out) in rest.chunks_exact_mut(TILE_COLS).enumerate() {
            for j in 0..TILE_COLS {
                out[j] = columns[j][done + k];
            }
        }
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
    fn tanh_is_within_a_few_units_in_the_last_place() {
        for i in -4000..=4000 {
            let x = i as f32 * 0.005;
            let exact = f64::from(x).tanh();
            let error = (f64::from(tanh(x)) - exact).abs();
            assert!(error <= 2.5e-7 * exact.abs(), "tanh({x}): {error:e}");
        }
        assert_eq!((tanh(1e30), tanh(-1e30)), (1.0, -1.0));
        assert!(tanh(f32::NAN).is_nan());
    }

    fn numbers(len: usize, step: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * step) % 101) as f32 / 50.0 - 1.0)
            .collect()
    }

    /// A product by one instruction set, with the left operand in rows or in columns.
    fn product(
        simd: Simd,
        rows: usize,
        cols: usize,
        transposed: bool,
        accumulate: bool,
    ) -> Vec<f32> {
        const DEPTH: usize = 37;
        let a = numbers(24 * DEPTH, 7919);
        let b = numbers(48 * DEPTH, 104_729);
        let panels = Panels {
            start: b.as_ptr(),
            next: TILE_COLS * DEPTH,
        };
        let mut c = vec![0.5f32; 24 * 50];
        let (row, step) = if transposed { (1, 24) } else { (DEPTH, 1) };
        let left = Left {
            start: a.as_ptr(),
            row,
            step,
        };
        let out = Out {
            start: c.as_mut_ptr(),
            row: 50,
            col: 1,
            alpha: 2.0,
            accumulate,
        };
        // SAFETY: all buffers have the size of the largest product.
        unsafe { simd.kernel()(DEPTH, left, panels, rows, cols, out) };
        c
    }

    fn agrees_with_the_portable_loop(simd: Simd) {
        for rows in 1..=24 {
            for cols in [1, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48] {
                for (transposed, accumulate) in [(false, false), (false, true), (true, false)] {
                    let fast = product(simd, rows, cols, transposed, accumulate);
                    let slow = product(Simd::Portable, rows, cols, transposed, accumulate);
                    for (i, (x, y)) in fast.iter().zip(&slow).enumerate() {
                        assert!(
                            (x - y).abs() < 1e-4,
                            "{simd:?} {rows}×{cols} at {i}: {x} and {y}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_portable_product_is_the_sum_over_the_depth() {
        let (a, panels) = (numbers(24 * 37, 7919), numbers(48 * 37, 104_729));
        let c = product(Simd::Portable, 8, 20, false, true);
        for (row, col) in [(0, 0), (7, 19), (3, 16)] {
            let b = |k| panels[((col / 16) * 37 + k) * 16 + col % 16];
            let sum: f32 = (0..37).map(|k| a[row * 37 + k] * b(k)).sum();
            assert!((c[row * 50 + col] - (2.0 * sum + 0.5)).abs() < 1e-4);
        }
        assert_eq!(c[20], 0.5, "past the last column");
        assert_eq!(c[8 * 50], 0.5, "past the last row");
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_avx2_product_agrees_with_the_portable_loop_at_every_size() {
        if has_avx2() {
            agrees_with_the_portable_loop(Simd::Avx2);
        } else {
            eprintln!("skipped: this processor has no AVX2");
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_avx512_product_agrees_with_the_portable_loop_at_every_size() {
        if std::arch::is_x86_feature_detected!("avx512f") {
            agrees_with_the_portable_loop(Simd::Avx512);
        } else {
            eprintln!("skipped: this processor has no AVX-512");
        }
    }

    #[test]
    #[cfg(target_arch = "aarch64")]
    fn the_neon_product_agrees_with_the_portable_loop_at_every_size() {
        agrees_with_the_portable_loop(Simd::Neon);
    }
}
