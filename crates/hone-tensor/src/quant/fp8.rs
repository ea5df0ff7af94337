//! Eight-bit floats with four bits of exponent (E4M3, "fn": no infinities), scaled by tensor, by row or by block.
//!
//! Checkpoints keep the scales in a tensor of their own; a number is its float times the scale of its block. DeepSeek
//! calls the scale `weight_scale_inv` and multiplies all the same.

use std::ops::Range;

/// One scale for each block of rows and columns; blocks at the end may be smaller.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleGrid {
    /// Rows that share a scale.
    pub block_rows: usize,
    /// Columns that share a scale.
    pub block_cols: usize,
    /// The scales, block row by block row.
    pub scales: Vec<f32>,
}

impl ScaleGrid {
    /// Scales that a matrix of this shape has.
    pub fn expected(&self, rows: usize, cols: usize) -> usize {
        match (self.block_rows, self.block_cols) {
            (0, _) | (_, 0) => 0,
            (block_rows, block_cols) => rows.div_ceil(block_rows) * cols.div_ceil(block_cols),
        }
    }
}

/// Expands the columns `cols` of one row of a matrix `width` wide.
pub(crate) fn decode(
    codes: &[u8],
    grid: &ScaleGrid,
    row: usize,
    width: usize,
    cols: Range<usize>,
    out: &mut [f32],
) {
    let first = row / grid.block_rows * width.div_ceil(grid.block_cols);
    let (mut at, mut rest) = (cols.start, out);
    while at < cols.end {
        let block = at / grid.block_cols;
        let here = cols.end.min((block + 1) * grid.block_cols) - at;
        let (stretch, later) = rest.split_at_mut(here);
        decode_stretch(&codes[at..at + here], grid.scales[first + block], stretch);
        (at, rest) = (at + here, later);
    }
}

fn decode_stretch(codes: &[u8], scale: f32, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as just detected.
        return unsafe { decode_stretch_avx2(codes, scale, out) };
    }
    decode_stretch_anywhere(codes, scale, out);
}

/// The same loop compiled for eight lanes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn decode_stretch_avx2(codes: &[u8], scale: f32, out: &mut [f32]) {
    decode_stretch_anywhere(codes, scale, out);
}

#[inline(always)]
fn decode_stretch_anywhere(codes: &[u8], scale: f32, out: &mut [f32]) {
    for (value, code) in out.iter_mut().zip(codes) {
        *value = to_f32(*code) * scale;
    }
}

/// In plain arithmetic, so that it vectorises. Subnormal floats get a leading one which the subtraction takes away.
#[inline(always)]
pub(crate) fn to_f32(code: u8) -> f32 {
    let sign = u32::from(code & 0x80) << 24;
    let rest = u32::from(code & 0x7f) << 20;
    let value = match rest {
        0..0x0080_0000 => {
            (f32::from_bits(rest + 0x3c80_0000) - f32::from_bits(0x3c80_0000)).to_bits()
        }
        0x07f0_0000 => 0x7fc0_0000,
        _ => rest + 0x3c00_0000,
    };
    f32::from_bits(sign | value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_its_number() {
        for code in 0..=u8::MAX {
            let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
            let expected = match (exponent, code & 7) {
                (15, 7) => f32::NAN,
                (0, _) => mantissa * 2.0_f32.powi(-9),
                _ => (8.0 + mantissa) * 2.0_f32.powi(exponent - 10),
            };
            let expected = if code & 0x80 == 0 {
                expected
            } else {
                -expected
            };
            let ours = to_f32(code);
            assert!(
                ours.to_bits() == expected.to_bits() || ours.is_nan() && expected.is_nan(),
                "{code:#04x}: {ours} is not {expected}"
            );
        }
        assert_eq!(to_f32(0x7e), 448.0);
    }
}
