//! GGUF's "K" superblocks of 256: f16 scales for the whole, small integer scales for parts of it.

use super::half_to_f32;

/// `scale`, `min_scale`, 12 bytes of 6-bit scales and minima, 128 bytes of nibbles.
#[inline(always)]
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (scale, min_scale) = (half(block[0], block[1]), half(block[2], block[3]));
    for part in 0..8 {
        let (scale, min) = scaled(block, part, scale, min_scale);
        let (quads, shift) = (16 + part / 2 * 32, part % 2 * 4);
        for i in 0..32 {
            out[part * 32 + i] = scale * f32::from((block[quads + i] >> shift) & 15) - min;
        }
    }
}

/// As Q4_K, with 32 bytes of fifth bits before the nibbles: bit `p` of byte `i` belongs to value `i` of part `p`.
#[inline(always)]
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (scale, min_scale) = (half(block[0], block[1]), half(block[2], block[3]));
    for part in 0..8 {
        let (scale, min) = scaled(block, part, scale, min_scale);
        let (quads, shift) = (48 + part / 2 * 32, part % 2 * 4);
        for i in 0..32 {
            let fifth = ((block[16 + i] >> part) & 1) << 4;
            out[part * 32 + i] = scale * f32::from((block[quads + i] >> shift) & 15 | fifth) - min;
        }
    }
}

/// 128 bytes of nibbles, 64 of upper bit pairs, 16 signed scales, `scale`: `scale · s · (q − 32)`.
#[inline(always)]
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let scale = half(block[208], block[209]);
    for part in 0..16 {
        let scale = scale * f32::from(block[192 + part] as i8);
        // Each half of the superblock: 64 low nibbles, then the 64 high ones; pairs in four layers of 32.
        let (side, within) = (part / 8, part % 8 * 16);
        let (low, low_shift) = (side * 64 + within % 64, within / 64 * 4);
        let (high, high_shift) = (128 + side * 32 + within % 32, within / 32 * 2);
        for i in 0..16 {
            let q = (block[low + i] >> low_shift) & 15 | ((block[high + i] >> high_shift) & 3) << 4;
            out[part * 16 + i] = scale * f32::from(q as i8 - 32);
        }
    }
}

/// Scale and minimum of one of eight parts. The first four have 6 bits in a byte each; the others have their low
/// four in bytes 8..12 and the upper two on top of the bytes of the first four.
#[inline(always)]
fn scaled<const BYTES: usize>(
    block: &[u8; BYTES],
    part: usize,
    scale: f32,
    min_scale: f32,
) -> (f32, f32) {
    let at = |i: usize| block[4 + i];
    let (s, m) = if part < 4 {
        (at(part) & 63, at(part + 4) & 63)
    } else {
        (
            at(part + 4) & 15 | at(part - 4) >> 6 << 4,
            at(part + 4) >> 4 | at(part) >> 6 << 4,
        )
    };
    (scale * f32::from(s), min_scale * f32::from(m))
}

#[inline(always)]
fn half(low: u8, high: u8) -> f32 {
    half_to_f32(u16::from_le_bytes([low, high]))
}
