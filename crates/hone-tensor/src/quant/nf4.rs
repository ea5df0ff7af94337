//! NF4: sixteen levels of a normal distribution, as QLoRA uses and bitsandbytes stores them.
//!
//! Blocks of 64 run over the flattened matrix, so they may straddle rows. A block keeps its largest magnitude,
//! either as f32 or, double-quantised, as an 8-bit code whose own scales cover 256 blocks. Codes, scales and
//! offset equal those of bitsandbytes on a CPU bit for bit, which fixes even the order of its summation.

use super::dynamic::{self, largest};
use crate::stored::{StoredError, StoredMatrix};

/// Values that share a scale.
pub const BLOCK: usize = 64;

/// Scales that share a nested scale.
pub const NESTED_BLOCK: usize = 256;

/// The sixteen levels.
pub const LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The sixteen values of FP4, in the order of their codes: a sign, two bits of exponent, one of mantissa.
pub const FP4_LEVELS: [f32; 16] = [
    0.0,
    0.005_208_333_4,
    0.666_666_7,
    1.0,
    0.333_333_34,
    0.5,
    0.166_666_67,
    0.25,
    0.0,
    -0.005_208_333_4,
    -0.666_666_7,
    -1.0,
    -0.333_333_34,
    -0.5,
    -0.166_666_67,
    -0.25,
];

/// The scales of an NF4 or FP4 matrix, one for every 64 values (or as many as a block of it has).
#[derive(Clone, Debug, PartialEq)]
pub enum Nf4Scales {
    /// Largest magnitudes.
    Plain(Vec<f32>),
    /// Largest magnitudes in eight bits: `dynamic_map()[code] · nested[i / 256] + offset`.
    Double {
        /// One code for each block.
        codes: Vec<u8>,
        /// One scale for each 256 codes.
        nested: Vec<f32>,
        /// The mean that was taken off before.
        offset: f32,
    },
}

impl Nf4Scales {
    /// The scale of one block.
    #[inline]
    pub fn get(&self, block: usize) -> f32 {
        match self {
            Self::Plain(scales) => scales[block],
            Self::Double {
                codes,
                nested,
                offset,
            } => dynamic_map()[usize::from(codes[block])] * nested[block / NESTED_BLOCK] + offset,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Plain(scales) => scales.len(),
            Self::Double { codes, .. } => codes.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether every code has its nested scale.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Double { codes, nested, .. } => {
                nested.len() == codes.len().div_ceil(NESTED_BLOCK)
            }
        }
    }

    /// Memory they take.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Plain(scales) => scales.len() * 4,
            Self::Double { codes, nested, .. } => codes.len() + nested.len() * 4 + 4,
        }
    }
}

/// Quantises a row-major matrix; `double` also quantises the scales.
pub fn quantize(
    values: &[f32],
    rows: usize,
    cols: usize,
    double: bool,
) -> Result<StoredMatrix, StoredError> {
    check(values, rows, cols)?;
    let scales: Vec<f32> = values.chunks(BLOCK).map(scale_of).collect();
    let mut codes = vec![0; values.len().div_ceil(2)];
    for ((block, scale), packed) in values
        .chunks(BLOCK)
        .zip(&scales)
        .zip(codes.chunks_mut(BLOCK / 2))
    {
        pack(block, *scale, packed);
    }
    let scales = if double {
        quantize_scales(&scales)
    } else {
        Nf4Scales::Plain(scales)
    };
    Ok(StoredMatrix::nf4(rows, cols, codes, scales))
}

/// The 256 values of the 8-bit code for scales, rising.
pub fn dynamic_map() -> &'static [f32; 256] {
    dynamic::signed().values()
}

/// Expands values of the flattened matrix from `start` on.
pub(crate) fn decode(codes: &[u8], scales: &Nf4Scales, start: usize, out: &mut [f32]) {
    let mut at = start;
    let mut rest = out;
    while !rest.is_empty() {
        let here = rest.len().min(BLOCK - at % BLOCK);
        let (stretch, later) = rest.split_at_mut(here);
        decode_stretch(codes, scales.get(at / BLOCK), at, stretch);
        (at, rest) = (at + here, later);
    }
}

/// Expands values of the flattened matrix from `start` on, for blocks of any even length and either table of levels.
pub(crate) fn decode_any(
    format: super::Format,
    codes: &[u8],
    scales: &Nf4Scales,
    block: usize,
    start: usize,
    out: &mut [f32],
) {
    let pairs = match format {
        super::Format::Nf4 if block == BLOCK => return decode(codes, scales, start, out),
        super::Format::Nf4 => &PAIRS,
        _ => &FP4_PAIRS,
    };
    let (mut at, mut rest) = (start, out);
    while !rest.is_empty() {
        let here = rest.len().min(block - at % block);
        let (stretch, later) = rest.split_at_mut(here);
        decode_pairs(pairs, codes, scales.get(at / block), at, stretch);
        (at, rest) = (at + here, later);
    }
}

/// Expands values that share a scale: a first one that is the second of its byte, whole bytes, and the first half of a
/// last one.
fn decode_pairs(pairs: &[[f32; 2]; 256], codes: &[u8], scale: f32, start: usize, out: &mut [f32]) {
    let (odd, out) = out.split_at_mut((start % 2).min(out.len()));
    if let [value] = odd {
        *value = pairs[usize::from(codes[start / 2])][1] * scale;
    }
    let codes = &codes[start.div_ceil(2)..];
    let (whole, last) = out.as_chunks_mut::<2>();
    for (pair, byte) in whole.iter_mut().zip(codes) {
        *pair = pairs[usize::from(*byte)];
    }
    if let [value] = last {
        *value = pairs[usize::from(codes[whole.len()])][0];
    }
    out.iter_mut().for_each(|value| *value *= scale);
}

/// Expands values that share a scale.
#[inline]
fn decode_stretch(codes: &[u8], scale: f32, start: usize, out: &mut [f32]) {
    if let (Ok(block), true) = (
        <&mut [f32; BLOCK]>::try_from(&mut *out),
        start.is_multiple_of(2),
    ) {
        let codes = codes[start / 2..]
            .first_chunk()
            .expect("32 bytes hold 64 codes");
        return decode_block(codes, scale, block);
    }
    for (at, value) in (start..).zip(out) {
        *value = PAIRS[usize::from(codes[at / 2])][at % 2] * scale;
    }
}

/// Expands a whole block: levels first, two at a time from a table of all 256 bytes, then the scale in wide steps.
#[inline]
fn decode_block(codes: &[u8; BLOCK / 2], scale: f32, out: &mut [f32; BLOCK]) {
    for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(codes) {
        *pair = PAIRS[usize::from(*byte)];
    }
    for value in out {
        *value *= scale;
    }
}

/// Both levels of a byte, the high nibble's first.
static PAIRS: [[f32; 2]; 256] = pairs(&LEVELS);

static FP4_PAIRS: [[f32; 2]; 256] = pairs(&FP4_LEVELS);

const fn pairs(levels: &[f32; 16]) -> [[f32; 2]; 256] {
    let mut pairs = [[0.0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [levels[byte >> 4], levels[byte & 15]];
        byte += 1;
    }
    pairs
}

/// Finite numbers, as many as the shape takes.
pub(super) fn check(values: &[f32], rows: usize, cols: usize) -> Result<(), StoredError> {
    let count = rows
        .checked_mul(cols)
        .ok_or(StoredError::TooLarge { rows, cols })?;
    if values.len() != count {
        let (expected, found) = (count.saturating_mul(4), values.len() * 4);
        return Err(StoredError::WrongLength {
            format: super::Format::F32,
            rows,
            cols,
            expected,
            found,
        });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(StoredError::NotFinite {
            row: at / cols,
            col: at % cols,
            value: values[at],
        }),
        None => Ok(()),
    }
}

/// The largest magnitude. Only a last, shorter block is kept away from zero, as in bitsandbytes.
fn scale_of(block: &[f32]) -> f32 {
    let largest = largest(block);
    if block.len() == BLOCK {
        largest
    } else {
        largest.max(SMALLEST_SCALE)
    }
}

/// What a scale is raised to before dividing by it.
const SMALLEST_SCALE: f32 = 1e-38;

fn pack(block: &[f32], scale: f32, packed: &mut [u8]) {
    // Zeros beyond a last, shorter block: a nibble too many holds the code of zero.
    let mut normal = [0.0; BLOCK];
    let inverse = 1.0 / scale.max(SMALLEST_SCALE);
    for (normal, value) in normal.iter_mut().zip(block) {
        // Whole blocks multiply by the inverse, a last shorter one divides: both are what bitsandbytes does.
        *normal = if block.len() == BLOCK {
            value * inverse
        } else {
            value / scale
        };
    }
    let codes = codes(&normal);
    for (byte, pair) in packed.iter_mut().zip(codes.as_chunks::<2>().0) {
        *byte = pair[0] << 4 | pair[1];
    }
}

/// The nearest levels, ties to the lower one: as many as there are middles below each value.
fn codes(values: &[f32; BLOCK]) -> [u8; BLOCK] {
    let mut below = [0_u32; BLOCK];
    for pair in LEVELS.windows(2) {
        let middle = (pair[0] + pair[1]) / 2.0;
        for (below, value) in below.iter_mut().zip(values) {
            *below += u32::from(*value > middle);
        }
    }
    below.map(|count| count as u8)
}

fn quantize_scales(scales: &[f32]) -> Nf4Scales {
    let offset = sum(scales) / scales.len().max(1) as f32;
    let centred: Vec<f32> = scales.iter().map(|scale| scale - offset).collect();
    let mut codes = vec![0; centred.len()];
    let nested = centred
        .chunks(NESTED_BLOCK)
        .zip(codes.chunks_mut(NESTED_BLOCK))
        .map(|(block, codes)| dynamic::signed().encode(block, codes))
        .collect();
    Nf4Scales::Double {
        codes,
        nested,
        offset,
    }
}

/// The sum of PyTorch on one AVX2 thread, in its order: eight lanes, four rows of them side by side, and partial
/// sums carried upwards so that long sums lose little.
fn sum(values: &[f32]) -> f32 {
    const LANES: usize = 8;
    if values.len() < LANES {
        return row_sum(values.as_chunks::<1>().0)[0];
    }
    let (vectors, rest) = values.as_chunks::<LANES>();
    rest.iter()
        .chain(&row_sum(vectors))
        .fold(0.0, |sum, value| sum + value)
}

fn row_sum<const LANES: usize>(vectors: &[[f32; LANES]]) -> [f32; LANES] {
    let (rows, rest) = vectors.as_chunks::<4>();
    let [mut total, others @ ..] = cascade(rows);
    for vector in rest.iter().chain(&others) {
        add(&mut total, vector);
    }
    total
}

/// Four columns summed at once; after every `step` rows the sums move up a level, as digits carry.
fn cascade<const LANES: usize>(rows: &[[[f32; LANES]; 4]]) -> [[f32; LANES]; 4] {
    let power = 4.max(rows.len().max(1).next_power_of_two().ilog2() / 4);
    let mut levels = [[[0.0; LANES]; 4]; 4];
    for (chunk, rows) in rows.chunks(1 << power).enumerate() {
        rows.iter().for_each(|row| add_rows(&mut levels[0], row));
        if rows.len() == 1 << power {
            carry(&mut levels, (chunk + 1) << power, power);
        }
    }
    let [mut total, upper @ ..] = levels;
    upper.iter().for_each(|level| add_rows(&mut total, level));
    total
}

fn carry<const LANES: usize>(levels: &mut [[[f32; LANES]; 4]; 4], done: usize, power: u32) {
    for level in 1..4 {
        let lower = std::mem::replace(&mut levels[level - 1], [[0.0; LANES]; 4]);
        add_rows(&mut levels[level], &lower);
        if done & (((1 << power) - 1) << (level as u32 * power)) != 0 {
            break;
        }
    }
}

fn add_rows<const LANES: usize>(total: &mut [[f32; LANES]; 4], row: &[[f32; LANES]; 4]) {
    total
        .iter_mut()
        .zip(row)
        .for_each(|(total, row)| add(total, row));
}

fn add<const LANES: usize>(total: &mut [f32; LANES], values: &[f32; LANES]) {
    total
        .iter_mut()
        .zip(values)
        .for_each(|(total, value)| *total += value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(count: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 7919) % 1009) as f32 / 500.0 - 1.0)
            .collect()
    }

    #[test]
    fn the_even_value_is_in_the_high_nibble() {
        let mut values = vec![0.0; 64];
        (values[0], values[1]) = (2.0, -2.0);
        let matrix = quantize(&values, 1, 64, false).unwrap();
        assert_eq!(matrix.bytes()[..2], [0xf0, 0x77]);
        assert_eq!(matrix.nf4_scales(), Some(&Nf4Scales::Plain(vec![2.0])));
        assert_eq!(matrix.to_f32(), values);
    }

    #[test]
    fn a_tie_takes_the_lower_level() {
        for pair in LEVELS.windows(2) {
            let middle = (pair[0] + pair[1]) / 2.0;
            let nearest = |value: f32| LEVELS[usize::from(codes(&[value; BLOCK])[0])];
            assert_eq!(
                (nearest(middle), nearest(middle.next_up())),
                (pair[0], pair[1])
            );
        }
    }

    #[test]
    fn a_block_of_zeros_stays_zero() {
        for double in [false, true] {
            let matrix = quantize(&[0.0; 100], 1, 100, double).unwrap();
            assert_eq!(matrix.bytes()[0], 0x77);
            assert!(matrix.to_f32()[..64].iter().all(|value| *value == 0.0));
        }
    }

    #[test]
    fn any_range_of_straddling_rows_decodes_like_the_whole() {
        // Rows of 37 start mid-block and mid-byte.
        let matrix = quantize(&ramp(5 * 37), 5, 37, true).unwrap();
        let scales = matrix.nf4_scales().unwrap();
        for (row, expected) in matrix.to_f32().chunks(37).enumerate() {
            for start in 0..37 {
                for end in start..=37 {
                    let mut out = vec![0.0; end - start];
                    matrix.decode_row(row, start..end, &mut out);
                    assert_eq!(out, expected[start..end]);
                }
            }
            let at = row * 37 + 36;
            let nibble = matrix.bytes()[at / 2] >> (4 * (1 - at % 2)) & 15;
            assert_eq!(
                expected[36],
                LEVELS[usize::from(nibble)] * scales.get(at / 64)
            );
        }
    }

    #[test]
    fn double_quantised_scales_cost_a_quarter_and_stay_close() {
        let values = ramp(64 * 1024);
        let plain = quantize(&values, 64, 1024, false).unwrap();
        let double = quantize(&values, 64, 1024, true).unwrap();
        assert_eq!(plain.size_bytes(), 32 * 1024 + 4 * 1024);
        assert_eq!(double.size_bytes(), 32 * 1024 + 1024 + 4 * 4 + 4);
        for block in 0..1024 {
            let (exact, close) = (
                plain.nf4_scales().unwrap().get(block),
                double.nf4_scales().unwrap().get(block),
            );
            assert!(
                (exact - close).abs() < 0.02,
                "block {block}: {exact} became {close}"
            );
        }
    }

    #[test]
    fn values_that_are_not_numbers_are_refused_by_place() {
        let mut values = vec![0.5; 6];
        values[4] = f32::NAN;
        assert!(matches!(
            quantize(&values, 2, 3, true),
            Err(StoredError::NotFinite { row: 1, col: 1, .. })
        ));
        assert!(matches!(
            quantize(&values, 2, 4, true),
            Err(StoredError::WrongLength { .. })
        ));
    }

    #[test]
    fn the_sum_is_that_of_pytorch_to_the_last_bit() {
        // torch 2.15.0, AVX2, one thread; the lengths leave lanes, rows and carried levels over.
        let theirs = [
            (5, 0x401e_f413),
            (300, 0x4316_2857),
            (5_000, 0x451c_20eb),
            (70_000, 0x4708_9637),
        ];
        for (count, bits) in theirs {
            let values: Vec<f32> = (0..count)
                .map(|i| ((i * 7919) % 1009) as f32 / 1009.0)
                .collect();
            assert_eq!(sum(&values), f32::from_bits(bits), "{count} values");
        }
    }

    #[test]
    fn a_last_short_block_divides_where_whole_ones_multiply() {
        // bitsandbytes 0.50.2; a middle between levels times the scale, where both ways round apart.
        let theirs = [
            (1.859_062_4, 0.542_871_83, 0xfa, 0xfb),
            (2.324_138_6, -1.971_093_5, 0xf0, 0xf1),
            (2.952_088_4, -0.407_127_62, 0xf5, 0xf6),
        ];
        for (scale, value, short, whole) in theirs {
            let packed = |len: usize| {
                let mut values = vec![0.0; len];
                (values[0], values[1]) = (scale, value);
                quantize(&values, 1, len, false).unwrap().bytes()[0]
            };
            assert_eq!(
                (packed(2), packed(64)),
                (short, whole),
                "{value} at scale {scale}"
            );
        }
    }

    #[test]
    fn the_sum_counts_every_value_once() {
        for count in [1, 3, 7, 8, 31, 32, 33, 511, 512, 5000, 70_000] {
            let values: Vec<f32> = (0..count).map(|i| (i % 3) as f32).collect();
            assert_eq!(sum(&values), values.iter().sum::<f32>(), "{count} values");
        }
    }
}
