//! The ways weights are stored, and how each becomes f32.
//!
//! A family of formats is a file. A format's `decode` turns one block, a fixed-size array, into a fixed-size
//! array of numbers, so that the compiler sees every bound and vectorises the loop; the results equal those of
//! the `gguf` Python package and of bitsandbytes bit for bit.

mod blocks;
mod dense;
pub(crate) mod dynamic;
pub(crate) mod encode;
mod encode_super;
pub(crate) mod fp8;
pub mod int4;
pub mod nf4;
mod superblocks;

use std::ops::Range;

pub use fp8::ScaleGrid;
pub use int4::Int4Groups;
pub use nf4::Nf4Scales;

/// How numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// 4 bits around zero, one scale for 32.
    Q4_0,
    /// 4 bits above a minimum, scale and minimum for 32.
    Q4_1,
    /// 5 bits around zero, one scale for 32.
    Q5_0,
    /// 5 bits above a minimum, scale and minimum for 32.
    Q5_1,
    /// 8 bits around zero, one scale for 32.
    Q8_0,
    /// 16 uneven levels, one scale for 32.
    Iq4Nl,
    /// 2 bits above a minimum, in superblocks of 256 with 4-bit scales and minima for 16.
    Q2K,
    /// 3 bits around zero, in superblocks of 256 with 6-bit scales for 16.
    Q3K,
    /// 4 bits above a minimum, in superblocks of 256 with 6-bit scales and minima for 32.
    Q4K,
    /// 5 bits above a minimum, in superblocks of 256 with 6-bit scales and minima for 32.
    Q5K,
    /// 6 bits around zero, in superblocks of 256 with 8-bit scales for 16.
    Q6K,
    /// 8 bits around zero, one f32 scale for 256.
    Q8K,
    /// 16 levels of a normal distribution, one scale for 64, as bitsandbytes stores them.
    Nf4,
    /// 16 floats of four bits, one scale for 64, as bitsandbytes stores them.
    Fp4,
    /// Floats of eight bits with four of exponent; scales for the matrix, its rows or its blocks.
    F8E4M3,
    /// 4 bits around a zero, scale and zero for a group of columns, as GPTQ and AWQ choose them.
    Int4,
}

impl Format {
    /// Every format there is.
    pub const ALL: [Self; 19] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Iq4Nl,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Q8K,
        Self::Nf4,
        Self::Fp4,
        Self::F8E4M3,
        Self::Int4,
    ];

    /// Whether the scales lie beside the blocks, so that the bytes alone are not a matrix.
    pub fn has_scales_aside(self) -> bool {
        matches!(self, Self::Nf4 | Self::Fp4 | Self::F8E4M3 | Self::Int4)
    }

    /// The name people know it by.
    pub fn name(self) -> &'static str {
        self.facts().0
    }

    /// Values in a block: the smallest stretch that stands on its own.
    pub fn block_len(self) -> usize {
        self.facts().1
    }

    /// Bytes of a block; of formats that keep their scales elsewhere, its codes alone.
    pub fn block_bytes(self) -> usize {
        self.facts().2
    }

    /// Bytes of a row of `cols` values, a multiple of the block (NF4 and FP4 blocks run over rows: rounded up there).
    pub fn row_bytes(self, cols: usize) -> usize {
        cols.div_ceil(self.block_len()) * self.block_bytes()
    }

    const fn facts(self) -> (&'static str, usize, usize) {
        match self {
            Self::F32 => ("F32", 1, 4),
            Self::F16 => ("F16", 1, 2),
            Self::Bf16 => ("BF16", 1, 2),
            Self::Q4_0 => ("Q4_0", 32, 18),
            Self::Q4_1 => ("Q4_1", 32, 20),
            Self::Q5_0 => ("Q5_0", 32, 22),
            Self::Q5_1 => ("Q5_1", 32, 24),
            Self::Q8_0 => ("Q8_0", 32, 34),
            Self::Iq4Nl => ("IQ4_NL", 32, 18),
            Self::Q2K => ("Q2_K", 256, 84),
            Self::Q3K => ("Q3_K", 256, 110),
            Self::Q4K => ("Q4_K", 256, 144),
            Self::Q5K => ("Q5_K", 256, 176),
            Self::Q6K => ("Q6_K", 256, 210),
            Self::Q8K => ("Q8_K", 256, 292),
            Self::Nf4 => ("NF4", 64, 32),
            Self::Fp4 => ("FP4", 64, 32),
            Self::F8E4M3 => ("F8_E4M3", 1, 1),
            Self::Int4 => ("INT4", 32, 16),
        }
    }
}

/// What a matrix keeps beside its codes.
#[derive(Clone, Debug)]
pub(crate) enum Aside {
    /// NF4 and FP4: scales of `block` values of the flattened matrix.
    FourBit {
        /// Values that share a scale.
        block: usize,
        /// The scales.
        scales: Nf4Scales,
    },
    /// E4M3.
    Grid(ScaleGrid),
    /// INT4.
    Groups(Int4Groups),
}

impl Aside {
    /// Memory it takes.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::FourBit { scales, .. } => scales.size_bytes(),
            Self::Grid(grid) => grid.scales.len() * 4,
            Self::Groups(groups) => {
                let listed = match &groups.columns {
                    int4::Columns::Listed(groups) => groups.len() * 4,
                    int4::Columns::Neighbours(_) => 0,
                };
                groups.scales.len() * 4 + groups.zeros.len() + listed
            }
        }
    }

    /// Its numbers as bytes, in a fixed order, for a hash over the matrix.
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = |numbers: &[f32]| numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        match self {
            Self::FourBit { block, scales } => {
                let mut bytes = (*block as u64).to_le_bytes().to_vec();
                match scales {
                    Nf4Scales::Plain(scales) => bytes.extend::<Vec<u8>>(numbers(scales)),
                    Nf4Scales::Double {
                        codes,
                        nested,
                        offset,
                    } => {
                        bytes.extend(codes);
                        bytes.extend::<Vec<u8>>(numbers(nested));
                        bytes.extend(offset.to_le_bytes());
                    }
                }
                bytes
            }
            Self::Grid(grid) => numbers(&grid.scales),
            Self::Groups(groups) => {
                let mut bytes: Vec<u8> = numbers(&groups.scales);
                bytes.extend(&groups.zeros);
                if let int4::Columns::Listed(listed) = &groups.columns {
                    bytes.extend(listed.iter().flat_map(|group| group.to_le_bytes()));
                }
                bytes
            }
        }
    }
}

/// Expands the columns `cols` of one stored row; the contract of `StoredMatrix::decode_row` holds.
#[inline]
pub(crate) fn decode(format: Format, row: &[u8], cols: Range<usize>, out: &mut [f32]) {
    let (_, block, block_bytes) = format.facts();
    // Blocks are powers of two, and a division costs as much as a block.
    let (shift, within) = (block.trailing_zeros(), block - 1);
    if (cols.start | cols.end) & within == 0 {
        let (first, last) = (cols.start >> shift, cols.end >> shift);
        decode_blocks(format, &row[first * block_bytes..last * block_bytes], out);
    } else {
        decode_parts(format, row, cols, out);
    }
}

/// A range that cuts through superblocks: each touched one is expanded aside and its part copied.
#[cold]
fn decode_parts(format: Format, row: &[u8], cols: Range<usize>, out: &mut [f32]) {
    let block = format.block_len();
    assert!(
        cols.start.is_multiple_of(32) && cols.end.is_multiple_of(32),
        "columns {cols:?} cut through {} blocks",
        format.name()
    );
    let mut whole = [0.0; 256];
    for index in cols.start / block..cols.end.div_ceil(block) {
        let bytes = &row[index * format.block_bytes()..][..format.block_bytes()];
        decode_blocks(format, bytes, &mut whole[..block]);
        let part = cols.start.max(index * block)..cols.end.min((index + 1) * block);
        out[part.start - cols.start..part.end - cols.start]
            .copy_from_slice(&whole[part.start - index * block..part.end - index * block]);
    }
}

/// Calls a block's `decode` for each block.
///
/// A macro, because a function that took `decode` as an argument is not compiled for AVX2 together with its caller.
/// The compiler would also like to treat eight blocks at once, value by value, which takes twice as long as eight
/// values of a block at once: not knowing where a block came from keeps it from trying.
macro_rules! each_block {
    ($decode:path, $bytes:expr, $out:expr) => {{
        let (blocks, _) = $bytes.as_chunks();
        let (places, _) = $out.as_chunks_mut();
        for (block, place) in blocks.iter().zip(places) {
            $decode(std::hint::black_box(block), place);
        }
    }};
}

fn decode_blocks(format: Format, bytes: &[u8], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as just detected.
        return unsafe { decode_blocks_avx2(format, bytes, out) };
    }
    decode_blocks_anywhere(format, bytes, out);
}

/// The same loops compiled for eight lanes; without fused multiply-add, so the results are the same too.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn decode_blocks_avx2(format: Format, bytes: &[u8], out: &mut [f32]) {
    decode_blocks_anywhere(format, bytes, out);
}

#[inline(always)]
fn decode_blocks_anywhere(format: Format, bytes: &[u8], out: &mut [f32]) {
    match format {
        Format::F32 => dense::f32(bytes, out),
        Format::F16 => dense::f16(bytes, out),
        Format::Bf16 => dense::bf16(bytes, out),
        Format::Q4_0 => each_block!(blocks::q4_0, bytes, out),
        Format::Q4_1 => each_block!(blocks::q4_1, bytes, out),
        Format::Q5_0 => each_block!(blocks::q5_0, bytes, out),
        Format::Q5_1 => each_block!(blocks::q5_1, bytes, out),
        Format::Q8_0 => each_block!(blocks::q8_0, bytes, out),
        Format::Iq4Nl => each_block!(blocks::iq4_nl, bytes, out),
        Format::Q2K => each_block!(superblocks::q2_k, bytes, out),
        Format::Q3K => each_block!(superblocks::q3_k, bytes, out),
        Format::Q4K => each_block!(superblocks::q4_k, bytes, out),
        Format::Q5K => each_block!(superblocks::q5_k, bytes, out),
        Format::Q6K => each_block!(superblocks::q6_k, bytes, out),
        Format::Q8K => each_block!(superblocks::q8_k, bytes, out),
        Format::Nf4 | Format::Fp4 | Format::F8E4M3 | Format::Int4 => {
            unreachable!("decoded with the scales beside it")
        }
    }
}

/// f16 to f32 in plain arithmetic, so that it vectorises with the loop around it.
#[inline(always)]
fn half_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let rest = u32::from(bits & 0x7fff) << 13;
    // Normal numbers move to f32's exponent. Subnormal ones get a leading one which the subtraction takes away,
    // so no f32 subnormal, slow on many processors, ever appears. Infinity and NaN keep their mantissa.
    let value = match rest {
        0..0x0080_0000 => {
            (f32::from_bits(rest + 0x3880_0000) - f32::from_bits(0x3880_0000)).to_bits()
        }
        0x0f80_0000.. => rest | 0x7f80_0000,
        _ => rest + 0x3800_0000,
    };
    f32::from_bits(sign | value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::{Bytes, StoredMatrix};
    use half::{bf16, f16};

    /// Reference: value `i` of a block by the format's definition, bit by bit.
    fn value(format: Format, b: &[u8], i: usize) -> f32 {
        let half = |at: usize| f16::from_le_bytes([b[at], b[at + 1]]).to_f32();
        let bits = |from: usize, count: usize| -> i32 {
            (0..count)
                .map(|k| i32::from(b[(from + k) / 8] >> ((from + k) % 8) & 1) << k)
                .sum()
        };
        let nibble = |at: usize| bits((at + i % 16) * 8 + i / 16 * 4, 4);
        let six = |j: usize, at: usize| match j {
            0..4 => bits((4 + at + j) * 8, 6),
            _ => bits((8 + 4 + j - 4) * 8 + at, 4) | bits((4 + at + j - 4) * 8 + 6, 2) << 4,
        };
        let k_nibble = |at: usize| bits((at + i / 64 * 32 + i % 32) * 8 + i / 32 % 2 * 4, 4);
        let k =
            |q: i32| half(0) * six(i / 32, 0) as f32 * q as f32 - half(2) * six(i / 32, 4) as f32;
        match format {
            Format::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            Format::F16 => half(0),
            Format::Bf16 => bf16::from_le_bytes([b[0], b[1]]).to_f32(),
            Format::Q4_0 => half(0) * (nibble(2) - 8) as f32,
            Format::Q4_1 => half(0) * nibble(4) as f32 + half(2),
            Format::Q5_0 => half(0) * ((nibble(6) | bits(16 + i, 1) << 4) - 16) as f32,
            Format::Q5_1 => half(0) * (nibble(8) | bits(32 + i, 1) << 4) as f32 + half(2),
            Format::Q8_0 => half(0) * f32::from(b[2 + i] as i8),
            Format::Iq4Nl => half(0) * blocks::IQ4_NL_LEVELS[nibble(2) as usize],
            Format::Q2K => {
                let q = bits((16 + i / 128 * 32 + i % 32) * 8 + i / 32 % 4 * 2, 2);
                let (s, m) = (bits(i / 16 * 8, 4), bits(i / 16 * 8 + 4, 4));
                half(80) * s as f32 * q as f32 - half(82) * m as f32
            }
            Format::Q3K => {
                let j = i / 16;
                let q = bits((32 + i / 128 * 32 + i % 32) * 8 + i / 32 % 4 * 2, 2);
                let third = bits((i % 32) * 8 + i / 32, 1);
                let low = bits((96 + j % 8) * 8 + j / 8 * 4, 4);
                let scale = (low | bits((104 + j % 4) * 8 + j / 4 * 2, 2) << 4) - 32;
                half(108) * scale as f32 * (q - 4 * (1 - third)) as f32
            }
            Format::Q4K => k(k_nibble(16)),
            Format::Q5K => k(k_nibble(48) | bits((16 + i % 32) * 8 + i / 32, 1) << 4),
            Format::Q6K => {
                let low = bits((i / 128 * 64 + i % 64) * 8 + i / 64 % 2 * 4, 4);
                let high = bits((128 + i / 128 * 32 + i % 32) * 8 + i / 32 % 4 * 2, 2);
                half(208) * f32::from(b[192 + i / 16] as i8) * ((low | high << 4) - 32) as f32
            }
            Format::Q8K => f32::from_le_bytes([b[0], b[1], b[2], b[3]]) * f32::from(b[4 + i] as i8),
            Format::Nf4 | Format::Fp4 | Format::F8E4M3 | Format::Int4 => unreachable!(),
        }
    }

    fn block_formats() -> impl Iterator<Item = Format> {
        Format::ALL
            .into_iter()
            .filter(|format| !format.has_scales_aside())
    }

    fn noise(format: Format, blocks: usize) -> Vec<u8> {
        let mut state = 1_u32;
        (0..blocks * format.block_bytes())
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect()
    }

    fn same(a: f32, b: f32) -> bool {
        a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
    }

    #[test]
    fn every_format_decodes_as_defined_bit_by_bit() {
        for format in block_formats() {
            let (len, bytes) = (format.block_len(), noise(format, 300));
            let mut out = vec![0.0; 300 * len];
            decode_blocks(format, &bytes, &mut out);
            let mut portable = out.clone();
            decode_blocks_anywhere(format, &bytes, &mut portable);
            for (at, (&fast, &portable)) in out.iter().zip(&portable).enumerate() {
                let expected = value(format, &bytes[at / len * format.block_bytes()..], at % len);
                assert!(
                    same(fast, expected),
                    "{} value {at}: {fast} is not {expected}",
                    format.name()
                );
                assert!(
                    same(portable, expected),
                    "{} value {at} without AVX2",
                    format.name()
                );
            }
        }
    }

    #[test]
    fn any_range_in_units_of_32_decodes_like_the_whole_row() {
        for format in block_formats() {
            let cols = 512;
            let bytes = noise(format, 2 * cols / format.block_len());
            let matrix = StoredMatrix::new(2, cols, format, Bytes::from_vec(bytes)).unwrap();
            let whole = matrix.to_f32();
            for start in (0..cols).step_by(32) {
                for end in (start..=cols).step_by(32) {
                    let mut out = vec![0.0; end - start];
                    matrix.decode_row(1, start..end, &mut out);
                    let expected = &whole[cols + start..cols + end];
                    assert!(
                        out.iter().zip(expected).all(|(a, b)| same(*a, *b)),
                        "{} {start}..{end}",
                        format.name()
                    );
                }
            }
        }
    }

    #[test]
    fn every_half_precision_number_converts_exactly() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (half_to_f32(bits), f16::from_bits(bits).to_f32());
            assert!(same(ours, theirs), "{bits:#06x}: {ours} is not {theirs}");
        }
    }
}
