//! Numbers stored one by one: f32, f16, bf16. Nothing is scaled; the width changes.

use half::{bf16, f16};

#[inline(always)]
pub(super) fn f32(bytes: &[u8], out: &mut [f32]) {
    for (value, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
        *value = f32::from_le_bytes(*bytes);
    }
}

#[inline(always)]
pub(super) fn f16(bytes: &[u8], out: &mut [f32]) {
    for (value, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
        *value = super::half_to_f32(u16::from_le_bytes(*bytes));
    }
}

#[inline(always)]
pub(super) fn bf16(bytes: &[u8], out: &mut [f32]) {
    for (value, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
        *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
    }
}

/// An f16's bytes; `None` beyond its range.
pub(super) fn half_bytes(value: f32) -> Option<[u8; 2]> {
    let half = f16::from_f32(value);
    half.is_finite().then(|| half.to_le_bytes())
}

/// The same of a bf16.
pub(super) fn brain_bytes(value: f32) -> Option<[u8; 2]> {
    let half = bf16::from_f32(value);
    half.is_finite().then(|| half.to_le_bytes())
}
