//! GGUF's blocks of 32 with one f16 scale, and in the `_1` formats one f16 minimum.
//!
//! Nibble `i` of the low halves is value `i`, of the high halves value `16 + i`; a fifth bit comes from a
//! 32-bit word with one bit for each value.

use super::half_to_f32;

/// `scale`, 16 bytes of nibbles: `scale · (q − 8)`.
#[inline(always)]
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let scale = half(block, 0);
    nibbles(block, 2, out, |_, q| scale * (q as i32 - 8) as f32);
}

/// `scale`, `min`, 16 bytes of nibbles: `scale · q + min`.
#[inline(always)]
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (scale, min) = (half(block, 0), half(block, 2));
    nibbles(block, 4, out, |_, q| scale * q as f32 + min);
}

/// `scale`, 32 fifth bits, 16 bytes of nibbles: `scale · (q − 16)`.
#[inline(always)]
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let (scale, fifth) = (half(block, 0), word(block, 2));
    nibbles(block, 6, out, |i, q| {
        scale * ((q | fifth_bit(fifth, i)) as i32 - 16) as f32
    });
}

/// `scale`, `min`, 32 fifth bits, 16 bytes of nibbles: `scale · q + min`.
#[inline(always)]
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (scale, min, fifth) = (half(block, 0), half(block, 2), word(block, 4));
    nibbles(block, 8, out, |i, q| {
        scale * (q | fifth_bit(fifth, i)) as f32 + min
    });
}

/// `scale`, 32 signed bytes: `scale · q`.
#[inline(always)]
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let scale = half(block, 0);
    for i in 0..32 {
        out[i] = scale * f32::from(block[2 + i] as i8);
    }
}

/// The levels of IQ4_NL: closer to each other around zero, where most weights are.
pub(super) const IQ4_NL_LEVELS: [f32; 16] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0,
    89.0, 113.0,
];

/// `scale`, 16 bytes of nibbles: `scale · level[q]`.
#[inline(always)]
pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    let scale = half(block, 0);
    nibbles(block, 2, out, |_, q| scale * IQ4_NL_LEVELS[q as usize]);
}

#[inline(always)]
fn nibbles<const BYTES: usize>(
    block: &[u8; BYTES],
    first: usize,
    out: &mut [f32; 32],
    value: impl Fn(u32, u32) -> f32,
) {
    for i in 0..16 {
        out[i] = value(i as u32, u32::from(block[first + i] & 15));
    }
    for i in 0..16 {
        out[16 + i] = value(16 + i as u32, u32::from(block[first + i] >> 4));
    }
}

#[inline(always)]
fn fifth_bit(bits: u32, index: u32) -> u32 {
    ((bits >> index) & 1) << 4
}

#[inline(always)]
fn half<const BYTES: usize>(block: &[u8; BYTES], at: usize) -> f32 {
    half_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

#[inline(always)]
fn word<const BYTES: usize>(block: &[u8; BYTES], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}
