//! GGUF's "K" superblocks of 256: f16 scales for the whole, small integer scales for parts of it.

use super::half_to_f32;

/// 16 bytes of 4-bit scales below 4-bit minima, 64 of bit pairs, `scale`, `min_scale`.
///
/// Each half of the superblock has four layers of 32 values one above the other in the same 32 bytes.
#[inline(always)]
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (scale, min_scale) = (half(block[80], block[81]), half(block[82], block[83]));
    for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let pairs: &[u8; 32] = part_of(block, 16 + part / 4 * 32);
        let shift = part % 4 * 2;
        for i in 0..32 {
            out[i] = f32::from((pairs[i] >> shift) & 3);
        }
        for (at, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let both = block[part * 2 + at];
            let (scale, min) = (
                scale * f32::from(both & 15),
                min_scale * f32::from(both >> 4),
            );
            out.iter_mut()
                .for_each(|value| *value = scale * *value - min);
        }
    }
}

/// 32 bytes of third bits, 64 of bit pairs, 12 of 6-bit scales, `scale`: `scale · (s − 32) · (q − 4)`.
///
/// Bit `p` of byte `i` of the third bits belongs to value `i` of part `p`. Scales: low four bits of the first eight
/// in low halves of eight bytes, of the others in the high halves; the upper two of four scales in each of four more.
#[inline(always)]
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let scale = half(block[108], block[109]);
    let thirds: &[u8; 32] = part_of(block, 0);
    for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let pairs: &[u8; 32] = part_of(block, 32 + part / 4 * 32);
        let shift = part % 4 * 2;
        for i in 0..32 {
            let q = (pairs[i] >> shift) & 3 | ((thirds[i] >> part) & 1) << 2;
            out[i] = (i32::from(q) - 4) as f32;
        }
        for (at, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let index = part * 2 + at;
            let low = (block[96 + index % 8] >> (index / 8 * 4)) & 15;
            let high = (block[104 + index % 4] >> (index / 4 * 2)) & 3;
            let scale = scale * (i32::from(low | high << 4) - 32) as f32;
            out.iter_mut().for_each(|value| *value *= scale);
        }
    }
}

/// `scale`, `min_scale`, 12 bytes of 6-bit scales and minima, 128 bytes of nibbles.
#[inline(always)]
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (scale, min_scale) = (half(block[0], block[1]), half(block[2], block[3]));
    for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scaled(block, part, scale, min_scale);
        let quads: &[u8; 32] = part_of(block, 16 + part / 2 * 32);
        let shift = part % 2 * 4;
        for i in 0..32 {
            out[i] = scale * f32::from((quads[i] >> shift) & 15) - min;
        }
    }
}

/// As Q4_K, with 32 bytes of fifth bits before the nibbles: bit `p` of byte `i` belongs to value `i` of part `p`.
#[inline(always)]
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (scale, min_scale) = (half(block[0], block[1]), half(block[2], block[3]));
    let fifths: &[u8; 32] = part_of(block, 16);
    for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scaled(block, part, scale, min_scale);
        let quads: &[u8; 32] = part_of(block, 48 + part / 2 * 32);
        let shift = part % 2 * 4;
        for i in 0..32 {
            let fifth = ((fifths[i] >> part) & 1) << 4;
            out[i] = scale * f32::from((quads[i] >> shift) & 15 | fifth) - min;
        }
    }
}

/// 128 bytes of nibbles, 64 of upper bit pairs, 16 signed scales, `scale`: `scale · s · (q − 32)`.
///
/// Each half of the superblock has four layers of 32 values: two of low nibbles, two of the high ones above them,
/// and their upper pairs one above the other in the same 32 bytes.
#[inline(always)]
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let scale = half(block[208], block[209]);
    for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (side, layer) = (part / 4, part % 4);
        let quads: &[u8; 32] = part_of(block, side * 64 + layer % 2 * 32);
        let pairs: &[u8; 32] = part_of(block, 128 + side * 32);
        let (quad_shift, pair_shift) = (layer / 2 * 4, layer * 2);
        for i in 0..32 {
            let q = (quads[i] >> quad_shift) & 15 | ((pairs[i] >> pair_shift) & 3) << 4;
            out[i] = (i32::from(q) - 32) as f32;
        }
        for (at, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = scale * f32::from(block[192 + part * 2 + at] as i8);
            out.iter_mut().for_each(|value| *value *= scale);
        }
    }
}

/// `scale` in f32, 256 signed bytes, and the sums of each 16, which only products of two such blocks need.
#[inline(always)]
pub(super) fn q8_k(block: &[u8; 292], out: &mut [f32; 256]) {
    let scale = f32::from_le_bytes(*part_of(block, 0));
    let codes: &[u8; 256] = part_of(block, 4);
    for i in 0..256 {
        out[i] = scale * f32::from(codes[i] as i8);
    }
}

/// A fixed-size stretch of a block: one comparison here instead of one at each value.
#[inline(always)]
fn part_of<const LEN: usize>(block: &[u8], at: usize) -> &[u8; LEN] {
    block[at..].first_chunk().expect("inside the block")
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
