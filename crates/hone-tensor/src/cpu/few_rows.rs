//! `x · Wᵀ` for a few rows of `x`, as when one sequence is generated: every weight is read for a handful of products, so
//! what counts is how fast it becomes f32.
//!
//! Sixteen rows of the weight stand side by side in the lanes of a register, column after column, so that each sum runs
//! in the order of the columns, which is the order of [`super::product`]; and of a block of codes a register takes one
//! code of each of the sixteen rows, so that nothing is expanded to memory.
//!
//! ```text
//! rows of a weight   blocks, 32 codes each            codes, column by column         sums
//!   r0  [s m c0 c1 …] [s m c0 c1 …]        c0 of r0 … r15 → (· s + m) · x[0] + sum   r0 … r15
//!   …                                ─────▶ c1 of r0 … r15 → (· s + m) · x[1] + sum
//!   r15 [s m c0 c1 …] [s m c0 c1 …]        …
//! ```
//!
//! For AVX-512 and the commonest formats; [`super::product`] does the rest.

use std::arch::x86_64::{
    __m128i, __m512, __m512i, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm_setr_epi32,
    _mm512_add_ps, _mm512_and_si512, _mm512_castsi128_si512, _mm512_cvtepi8_epi32,
    _mm512_cvtepi32_epi16, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtph_ps,
    _mm512_fmadd_ps, _mm512_inserti32x4, _mm512_loadu_ps, _mm512_mul_ps, _mm512_permutexvar_epi32,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setr_epi32, _mm512_setzero_ps, _mm512_shuffle_epi8,
    _mm512_shuffle_i32x4, _mm512_srli_epi32, _mm512_storeu_ps, _mm512_storeu_si512,
    _mm512_sub_epi32,
};
use std::ops::Range;

use super::operands::{Dense, Target};
use super::simd::{Shared, Simd};
use crate::quant::Format;
use crate::stored::StoredMatrix;

use rayon::prelude::*;

/// Most rows of `x` for which this is the faster way.
const MOST: usize = 16;
/// Rows of the weight side by side.
const LANES: usize = 16;
/// Groups of [`LANES`] rows that are summed in turns, because a sum waits for the one before it: more where there are few.
const GROUPS: usize = 2;
/// Rows of the weight that a task takes.
const TASK_ROWS: usize = 3 * GROUPS * LANES;

/// Is this the way for so many rows of `x` and this weight?
pub fn suits(height: usize, weight: &StoredMatrix) -> bool {
    let is_known = matches!(weight.format(), Format::Q4_0 | Format::Q4_1 | Format::Q8_0);
    height <= MOST && is_known && Simd::best() == Simd::Avx512
}

/// `target (+)= alpha · left · weightᵀ`, summed `step` columns of the weight at a time; see [`suits`]. The bounds of both
/// operands and of the target have been checked.
pub fn product(
    height: usize,
    left: Dense,
    weight: &StoredMatrix,
    step: usize,
    target: &mut Target,
) {
    let kernel = match weight.format() {
        Format::Q4_0 => kernel_of::<Q4_0>(height),
        Format::Q4_1 => kernel_of::<Q4_1>(height),
        _ => kernel_of::<Q8_0>(height),
    };
    // What is multiplied with a column of the weight lies side by side. A kernel of more rows than there are sums zeros.
    let (depth, rows) = (weight.cols(), kernel_rows(height));
    let mut x = vec![0.0; depth * rows];
    for (k, x) in x.chunks_exact_mut(rows).enumerate() {
        for (i, x) in x[..height].iter_mut().enumerate() {
            *x = left.data[i * left.row + k * left.col];
        }
    }
    let out = Shared(target.data.as_mut_ptr());
    let (row, col, alpha, accumulate) = (target.row, target.col, target.alpha, target.accumulate);
    let write = |rows: Range<usize>, totals: &mut Sums, is_read: bool| {
        for (lane, r) in rows.enumerate() {
            for i in 0..height {
                let total = &mut totals[lane / LANES][i][lane % LANES];
                // SAFETY: tasks have disjoint columns of the target, inside its bounds.
                let place = unsafe { &mut *out.get().add(i * row + r * col) };
                match is_read {
                    true => *total = *place,
                    false => *place = *total,
                }
            }
        }
    };
    (0..weight.rows().div_ceil(TASK_ROWS))
        .into_par_iter()
        .for_each(|task| {
            let all = task * TASK_ROWS..weight.rows().min((task + 1) * TASK_ROWS);
            let (mut sums, mut totals) = ([[[0.0; LANES]; MOST]; GROUPS], Sums::default());
            for first in all.clone().step_by(GROUPS * LANES) {
                let rows = first..all.end.min(first + GROUPS * LANES);
                let starts = starts(weight, rows.clone());
                if accumulate {
                    write(rows.clone(), &mut totals, true);
                }
                for first_step in (0..depth).step_by(step) {
                    let steps = first_step..depth.min(first_step + step);
                    let adds = accumulate || first_step > 0;
                    // SAFETY: the processor has AVX-512, as `suits` has found; each row has `depth` columns in whole
                    // blocks, which `step` does not cut, as `x` has.
                    unsafe {
                        kernel(&starts, &x, depth, steps, &mut sums);
                        add(&sums, alpha, adds, kernel_rows(height), &mut totals);
                    }
                }
                write(rows, &mut totals, false);
            }
        });
}

/// Where the rows begin that stand side by side; past the last of them it stands again, and what it gives is not used.
fn starts(weight: &StoredMatrix, rows: Range<usize>) -> [[*const u8; LANES]; GROUPS] {
    let last = rows.len() - 1;
    let lane = |group: usize, lane: usize| (group * LANES + lane).min(last);
    let each = |start: &dyn Fn(usize) -> *const u8| {
        std::array::from_fn(|group| std::array::from_fn(|at| start(lane(group, at))))
    };
    match weight.run_of_rows(rows.clone()) {
        Some(run) => {
            let length = run.len() / rows.len();
            each(&|row| run[row * length..].as_ptr())
        }
        None => each(&|row| weight.row_bytes(rows.start + row).as_ptr()),
    }
}

/// Adds sums to totals, or begins these, as `simd::multiply` rounds.
///
/// # Safety
/// The processor has AVX-512 F.
#[target_feature(enable = "avx512f")]
unsafe fn add(sums: &Sums, alpha: f32, adds: bool, height: usize, totals: &mut Sums) {
    let alpha = _mm512_set1_ps(alpha);
    for (sums, totals) in sums.iter().zip(totals) {
        for (sums, totals) in sums.iter().zip(totals).take(height) {
            // SAFETY: sixteen numbers each.
            unsafe {
                let sum = _mm512_loadu_ps(sums.as_ptr());
                let total = match adds {
                    true => _mm512_fmadd_ps(alpha, sum, _mm512_loadu_ps(totals.as_ptr())),
                    false => _mm512_mul_ps(alpha, sum),
                };
                _mm512_storeu_ps(totals.as_mut_ptr(), total);
            }
        }
    }
}

type Sums = [[[f32; LANES]; MOST]; GROUPS];
type Kernel = unsafe fn(&[[*const u8; LANES]; GROUPS], &[f32], usize, Range<usize>, &mut Sums);

/// Rows that the kernel for so many rows sums.
fn kernel_rows(height: usize) -> usize {
    match height {
        ..=8 => height,
        9..=12 => 12,
        _ => MOST,
    }
}

fn kernel_of<B: Block>(height: usize) -> Kernel {
    match height {
        1 => sum::<B, 1, 2>,
        2 => sum::<B, 2, 2>,
        3 => sum::<B, 3, 2>,
        4 => sum::<B, 4, 2>,
        5 => sum::<B, 5, 2>,
        6 => sum::<B, 6, 2>,
        7 => sum::<B, 7, 2>,
        8 => sum::<B, 8, 2>,
        9..=12 => sum::<B, 12, 1>,
        _ => sum::<B, MOST, 1>,
    }
}

/// Codes of a block in each of sixteen rows, column by column: the sixteen codes of column `k` from byte `16 · k` on.
#[repr(align(64))]
struct Codes([u8; VALUES * LANES]);

/// Values of a block.
const VALUES: usize = 32;

/// A format of blocks of 32 values.
trait Block {
    /// Bytes of a block.
    const BYTES: usize;
    /// What a block has beside its codes, for sixteen rows.
    type Scales: Copy;

    /// Takes a block of each of sixteen rows apart.
    ///
    /// # Safety
    /// Each pointer is the beginning of a block; the processor has AVX-512 F, BW, DQ and VL.
    unsafe fn read(rows: &[*const u8; LANES], codes: &mut Codes) -> Self::Scales;

    /// A column of one half of the block in sixteen rows, with the bits that [`StoredMatrix::decode_row`] gives.
    ///
    /// # Safety
    /// `column` is less than 16; the processor has AVX-512 F, BW, DQ and VL.
    unsafe fn column<const HALF: usize>(
        codes: &Codes,
        scales: Self::Scales,
        column: usize,
    ) -> __m512;
}

/// Sums `M` rows of `x` for both groups at once, `G` of them in registers.
///
/// # Safety
/// Each of `rows` has whole blocks up to `steps.end`, `x` has `M` numbers for each of `depth` columns, and the processor has these features.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn sum<B: Block, const M: usize, const G: usize>(
    rows: &[[*const u8; LANES]; GROUPS],
    x: &[f32],
    depth: usize,
    steps: Range<usize>,
    sums: &mut Sums,
) {
    let (rows, _) = rows.as_chunks::<G>();
    let (sums, _) = sums.as_chunks_mut::<G>();
    for (rows, sums) in rows.iter().zip(sums) {
        // SAFETY: the caller's promises.
        unsafe { sum_groups::<B, M, G>(rows, x, depth, steps.clone(), sums) };
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn sum_groups<B: Block, const M: usize, const G: usize>(
    rows: &[[*const u8; LANES]; G],
    x: &[f32],
    depth: usize,
    steps: Range<usize>,
    sums: &mut [[[f32; LANES]; MOST]; G],
) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut sum = [[_mm512_setzero_ps(); M]; G];
        let mut codes = [const { Codes([0; VALUES * LANES]) }; G];
        let ahead = G * LANES * (depth / VALUES * B::BYTES);
        for block in steps.start / VALUES..steps.end / VALUES {
            let scales: [B::Scales; G] = std::array::from_fn(|group| {
                let rows = rows[group].map(|row| row.add(block * B::BYTES));
                for row in rows {
                    // What the rows after these have here. They need not be there: it is a hint.
                    _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(ahead).cast());
                }
                B::read(&rows, &mut codes[group])
            });
            let x = x.as_ptr().add(block * VALUES * M);
            let (first, second) = (x, x.add(VALUES / 2 * M));
            half::<B, M, G, 0>(&codes, scales, first, &mut sum);
            half::<B, M, G, 1>(&codes, scales, second, &mut sum);
        }
        for group in 0..G {
            for i in 0..M {
                _mm512_storeu_ps(sums[group][i].as_mut_ptr(), sum[group][i]);
            }
        }
    }
}

/// Adds the products of one half of a block's columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn half<B: Block, const M: usize, const G: usize, const HALF: usize>(
    codes: &[Codes; G],
    scales: [B::Scales; G],
    x: *const f32,
    sum: &mut [[__m512; M]; G],
) {
    /// Columns of one turn of the loop, which is as long as its body is worth.
    const TURN: usize = 4;
    for first in (0..VALUES / 2).step_by(TURN) {
        for column in first..first + TURN {
            // SAFETY: the caller's promises.
            unsafe {
                let w: [__m512; G] = std::array::from_fn(|group| {
                    B::column::<HALF>(&codes[group], scales[group], column)
                });
                for i in 0..M {
                    let x = _mm512_set1_ps(*x.add(column * M + i));
                    for group in 0..G {
                        sum[group][i] = _mm512_fmadd_ps(w[group], x, sum[group][i]);
                    }
                }
            }
        }
    }
}

/// The `i`-th of the registers of sixteen rows of sixteen bytes, four rows each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn four_rows(rows: &[*const u8; LANES], i: usize, offset: usize) -> __m512i {
    // SAFETY: the caller's promise: sixteen bytes from `offset` on are a part of each row's block.
    unsafe {
        let row = |j: usize| _mm_loadu_si128(rows[4 * i + j].add(offset).cast::<__m128i>());
        let all = _mm512_castsi128_si512(row(0));
        let all = _mm512_inserti32x4::<1>(all, row(1));
        let all = _mm512_inserti32x4::<2>(all, row(2));
        _mm512_inserti32x4::<3>(all, row(3))
    }
}

/// Sixteen bytes of sixteen rows to sixteen rows of each of the sixteen bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn transpose(rows: &[*const u8; LANES], offset: usize, out: *mut u8) {
    // SAFETY: the caller's promises; 256 bytes of `out` are written.
    unsafe {
        // Within a register: words of four bytes, row by row, to word by word.
        let words = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        let z: [__m512i; 4] =
            std::array::from_fn(|i| _mm512_permutexvar_epi32(words, four_rows(rows, i, offset)));
        // Across them: quarter `q` of all four.
        let (a, b) = (
            _mm512_shuffle_i32x4::<0x44>(z[0], z[1]),
            _mm512_shuffle_i32x4::<0xee>(z[0], z[1]),
        );
        let (c, d) = (
            _mm512_shuffle_i32x4::<0x44>(z[2], z[3]),
            _mm512_shuffle_i32x4::<0xee>(z[2], z[3]),
        );
        let quarters = [
            _mm512_shuffle_i32x4::<0x88>(a, c),
            _mm512_shuffle_i32x4::<0xdd>(a, c),
            _mm512_shuffle_i32x4::<0x88>(b, d),
            _mm512_shuffle_i32x4::<0xdd>(b, d),
        ];
        // Within a quarter: four bytes of four rows, four times, to sixteen rows of four bytes.
        let bytes = _mm512_setr_epi32(
            0x0c08_0400,
            0x0d09_0501,
            0x0e0a_0602,
            0x0f0b_0703,
            0x0c08_0400,
            0x0d09_0501,
            0x0e0a_0602,
            0x0f0b_0703,
            0x0c08_0400,
            0x0d09_0501,
            0x0e0a_0602,
            0x0f0b_0703,
            0x0c08_0400,
            0x0d09_0501,
            0x0e0a_0602,
            0x0f0b_0703,
        );
        for (q, quarter) in quarters.into_iter().enumerate() {
            let column = _mm512_permutexvar_epi32(words, _mm512_shuffle_epi8(quarter, bytes));
            _mm512_storeu_si512(out.add(64 * q).cast(), column);
        }
    }
}

/// Two numbers of sixteen bits at the beginning of a block of each row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn scales(rows: &[*const u8; LANES]) -> (__m512, __m512) {
    // SAFETY: the caller's promise: four bytes of each row can be read.
    let both = unsafe {
        let at = |row: usize| rows[row].cast::<i32>().read_unaligned();
        let four = |row: usize| _mm_setr_epi32(at(row), at(row + 1), at(row + 2), at(row + 3));
        let all = _mm512_castsi128_si512(four(0));
        let all = _mm512_inserti32x4::<1>(all, four(4));
        let all = _mm512_inserti32x4::<2>(all, four(8));
        _mm512_inserti32x4::<3>(all, four(12))
    };
    let wide = |both: __m512i| _mm512_cvtph_ps(_mm512_cvtepi32_epi16(both));
    (wide(both), wide(_mm512_srli_epi32::<16>(both)))
}

/// Nibbles of a column of sixteen rows, from the low halves or the high ones.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn nibbles<const HALF: usize>(codes: &Codes, column: usize) -> __m512i {
    // SAFETY: sixteen bytes for each of sixteen columns.
    let bytes = unsafe { _mm_loadu_si128(codes.0.as_ptr().add(column * LANES).cast()) };
    let both = _mm512_cvtepu8_epi32(bytes);
    match HALF {
        0 => _mm512_and_si512(both, _mm512_set1_epi32(15)),
        _ => _mm512_srli_epi32::<4>(both),
    }
}

struct Q4_0;

impl Block for Q4_0 {
    const BYTES: usize = 18;
    type Scales = __m512;

    #[inline(always)]
    unsafe fn read(rows: &[*const u8; LANES], codes: &mut Codes) -> __m512 {
        // SAFETY: the caller's promises.
        unsafe {
            transpose(rows, 2, codes.0.as_mut_ptr());
            scales(rows).0
        }
    }

    #[inline(always)]
    unsafe fn column<const HALF: usize>(codes: &Codes, scale: __m512, column: usize) -> __m512 {
        // SAFETY: the caller's promises.
        unsafe {
            let q = _mm512_sub_epi32(nibbles::<HALF>(codes, column), _mm512_set1_epi32(8));
            _mm512_mul_ps(scale, _mm512_cvtepi32_ps(q))
        }
    }
}

struct Q4_1;

impl Block for Q4_1 {
    const BYTES: usize = 20;
    type Scales = (__m512, __m512);

    #[inline(always)]
    unsafe fn read(rows: &[*const u8; LANES], codes: &mut Codes) -> Self::Scales {
        // SAFETY: the caller's promises.
        unsafe {
            transpose(rows, 4, codes.0.as_mut_ptr());
            scales(rows)
        }
    }

    #[inline(always)]
    unsafe fn column<const HALF: usize>(
        codes: &Codes,
        (scale, min): Self::Scales,
        column: usize,
    ) -> __m512 {
        // SAFETY: the caller's promises.
        unsafe {
            let q = _mm512_cvtepi32_ps(nibbles::<HALF>(codes, column));
            _mm512_add_ps(_mm512_mul_ps(scale, q), min)
        }
    }
}

struct Q8_0;

impl Block for Q8_0 {
    const BYTES: usize = 34;
    type Scales = __m512;

    #[inline(always)]
    unsafe fn read(rows: &[*const u8; LANES], codes: &mut Codes) -> __m512 {
        // SAFETY: the caller's promises.
        unsafe {
            transpose(rows, 2, codes.0.as_mut_ptr());
            transpose(rows, 18, codes.0.as_mut_ptr().add(256));
            scales(rows).0
        }
    }

    #[inline(always)]
    unsafe fn column<const HALF: usize>(codes: &Codes, scale: __m512, column: usize) -> __m512 {
        // SAFETY: the caller's promises.
        unsafe {
            let at = codes.0.as_ptr().add((HALF * VALUES / 2 + column) * LANES);
            let q = _mm512_cvtepi8_epi32(_mm_loadu_si128(at.cast()));
            _mm512_mul_ps(scale, _mm512_cvtepi32_ps(q))
        }
    }
}
