//! Integers of four bits with a scale and a zero for each group of columns: what GPTQ and AWQ checkpoints hold.
//!
//! `value = scale · (code − zero)`. Checkpoints pack eight codes of eight rows into a word, column by column; here a row's
//! codes lie together, in blocks of 32 like GGUF's: value `i` in the low half of byte `i`, value `16 + i` in its high
//! half. Nothing is rounded on the way, codes, scales and zeros are the checkpoint's own.

use std::ops::Range;

use crate::stored::StoredError;

/// Values in a block of codes.
pub const BLOCK: usize = 32;

/// Scales and zeros of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Int4Groups {
    /// Groups in a row.
    pub num_groups: usize,
    /// One for each group of each row, row by row.
    pub scales: Vec<f32>,
    /// Likewise; up to 16.
    pub zeros: Vec<u8>,
    /// The group of each column.
    pub columns: Columns,
}

/// Which columns form a group.
#[derive(Clone, Debug, PartialEq)]
pub enum Columns {
    /// As many neighbours, a multiple of 32.
    Neighbours(usize),
    /// Any columns, as GPTQ's `desc_act` chooses them: a group for each column.
    Listed(Vec<u32>),
}

impl Int4Groups {
    /// Whether every column has a group, and every group of every row a scale and a zero.
    pub(crate) fn check(&self, rows: usize, cols: usize) -> Result<(), StoredError> {
        let wrong = |problem: String| Err(StoredError::Groups { problem });
        let expected = rows.saturating_mul(self.num_groups);
        if self.scales.len() != expected || self.zeros.len() != expected {
            return wrong(format!(
                "{} scales and {} zeros for {} groups in each of {rows} rows",
                self.scales.len(),
                self.zeros.len(),
                self.num_groups
            ));
        }
        match &self.columns {
            Columns::Neighbours(len) if *len == 0 || !len.is_multiple_of(BLOCK) => wrong(format!(
                "groups of {len} columns, not a multiple of {BLOCK}"
            )),
            Columns::Neighbours(len) if cols.div_ceil(*len) != self.num_groups => wrong(format!(
                "{} groups of {len} columns for {cols} columns",
                self.num_groups
            )),
            Columns::Neighbours(_) => Ok(()),
            Columns::Listed(groups) if groups.len() != cols => wrong(format!(
                "groups of {} columns, there are {cols}",
                groups.len()
            )),
            Columns::Listed(groups) => {
                match groups
                    .iter()
                    .find(|group| **group as usize >= self.num_groups)
                {
                    Some(group) => wrong(format!("group {group} of {}", self.num_groups)),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Lays codes, row by row and one in a byte, into blocks.
pub fn pack(codes: &[u8]) -> Vec<u8> {
    let blocks = codes.as_chunks::<BLOCK>().0.iter();
    blocks
        .flat_map(|block| (0..16).map(|i| block[i] & 15 | block[16 + i] << 4))
        .collect()
}

/// Expands the columns `cols` of row `row`, whose codes are given; the range is whole blocks.
pub(crate) fn decode(
    codes: &[u8],
    groups: &Int4Groups,
    row: usize,
    cols: Range<usize>,
    out: &mut [f32],
) {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as just detected.
        return unsafe { decode_avx2(codes, groups, row, cols, out) };
    }
    decode_anywhere(codes, groups, row, cols, out);
}

/// The same loops compiled for eight lanes; without fused multiply-add, so the results are the same too.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn decode_avx2(codes: &[u8], groups: &Int4Groups, row: usize, cols: Range<usize>, out: &mut [f32]) {
    decode_anywhere(codes, groups, row, cols, out);
}

#[inline(always)]
fn decode_anywhere(
    codes: &[u8],
    groups: &Int4Groups,
    row: usize,
    cols: Range<usize>,
    out: &mut [f32],
) {
    let scales = &groups.scales[row * groups.num_groups..][..groups.num_groups];
    let zeros = &groups.zeros[row * groups.num_groups..][..groups.num_groups];
    let blocks = codes[cols.start / 2..cols.end / 2].as_chunks::<16>().0;
    let places = out.as_chunks_mut::<BLOCK>().0.iter_mut();
    for ((block, place), at) in blocks.iter().zip(places).zip(cols.step_by(BLOCK)) {
        match &groups.columns {
            Columns::Neighbours(len) => {
                let group = at / len;
                let (scale, zero) = (scales[group], i32::from(zeros[group]));
                differences(block, place, |_| zero);
                place.iter_mut().for_each(|value| *value *= scale);
            }
            Columns::Listed(listed) => {
                let listed = &listed[at..at + BLOCK];
                decode_listed(block, place, listed, scales, zeros);
            }
        }
    }
}

/// Value by value, each looked up in its own group: 0.3 G values a second on one thread where neighbours come at 8, which a
/// packed batch of a thousand tokens does not notice.
fn decode_listed(
    block: &[u8; 16],
    out: &mut [f32; BLOCK],
    listed: &[u32],
    scales: &[f32],
    zeros: &[u8],
) {
    let value = |code: u8, group: u32| {
        let group = group as usize;
        (i32::from(code) - i32::from(zeros[group])) as f32 * scales[group]
    };
    let (low, high) = out.split_at_mut(16);
    for ((place, byte), group) in low.iter_mut().zip(block).zip(listed) {
        *place = value(byte & 15, *group);
    }
    for ((place, byte), group) in high.iter_mut().zip(block).zip(&listed[16..]) {
        *place = value(byte >> 4, *group);
    }
}

#[inline(always)]
fn differences(block: &[u8; 16], out: &mut [f32; BLOCK], zero: impl Fn(usize) -> i32) {
    for i in 0..16 {
        out[i] = (i32::from(block[i] & 15) - zero(i)) as f32;
    }
    for i in 0..16 {
        out[16 + i] = (i32::from(block[i] >> 4) - zero(16 + i)) as f32;
    }
}
