//! A weight matrix in the form it has on disk, and the one way to read numbers out of it.
//!
//! A frozen base is never expanded as a whole: the matrix product asks for a stretch of a row at a time and
//! gets f32. Everything that could be wrong with the bytes is checked once, when the matrix is made, so that
//! reading has no error to return.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::quant::{self, Format, Nf4Scales};

/// A stretch of read-only bytes, owned or memory-mapped; clones share the same memory.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Bytes {
    /// All the bytes of `owner`, which may be a memory map.
    pub fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let len = owner.as_ref().len();
        Self {
            owner: Arc::new(owner),
            range: 0..len,
        }
    }

    /// Bytes held in memory.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }

    /// A part of these bytes, sharing their memory; `None` when the range is not inside.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        let len = self.len();
        (range.start <= range.end && range.end <= len).then(|| Self {
            owner: self.owner.clone(),
            range: self.range.start + range.start..self.range.start + range.end,
        })
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The bytes themselves.
    pub fn as_slice(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len())
    }
}

/// Why bytes cannot be a matrix of the shape and format they are said to have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StoredError {
    /// A row would end inside a block.
    #[error("rows of {cols} values do not divide into {format} blocks of {block}", format = format.name(), block = format.block_len())]
    RaggedRow {
        /// What the bytes are said to hold.
        format: Format,
        /// Values in a row.
        cols: usize,
    },
    /// Too few or too many bytes.
    #[error("a {rows} × {cols} matrix of {format} takes {expected} bytes, found {found}", format = format.name())]
    WrongLength {
        /// What the bytes are said to hold.
        format: Format,
        /// Rows of the matrix.
        rows: usize,
        /// Values in a row.
        cols: usize,
        /// Bytes that shape takes.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// The shape is beyond what this machine can address.
    #[error("a {rows} × {cols} matrix is larger than the address space")]
    TooLarge {
        /// Rows of the matrix.
        rows: usize,
        /// Values in a row.
        cols: usize,
    },
    /// NF4 keeps its scales outside the blocks, so its bytes alone are not a matrix.
    #[error("NF4 codes without their scales: make them with nf4::quantize")]
    ScalesMissing,
    /// Quantising needs numbers.
    #[error("the value at row {row}, column {col} is {value}, which cannot be quantised")]
    NotFinite {
        /// Row of the first such value.
        row: usize,
        /// Its column.
        col: usize,
        /// The value itself.
        value: f32,
    },
}

/// A frozen `[rows, cols]` weight (`[out, in]` of a linear layer), row-major, in its stored form.
///
/// A vector is a matrix of one row. Clones share the bytes.
#[derive(Clone, Debug)]
pub struct StoredMatrix {
    rows: usize,
    cols: usize,
    row_bytes: usize,
    format: Format,
    bytes: Bytes,
    scales: Option<Arc<Nf4Scales>>,
}

impl StoredMatrix {
    /// Decoding may start and end at multiples of this many columns, and end at the last one, in every format.
    pub const RANGE_UNIT: usize = 32;

    /// The matrix that `bytes` hold, when there are exactly as many as the shape takes.
    pub fn new(
        rows: usize,
        cols: usize,
        format: Format,
        bytes: Bytes,
    ) -> Result<Self, StoredError> {
        if format == Format::Nf4 {
            return Err(StoredError::ScalesMissing);
        }
        if !cols.is_multiple_of(format.block_len()) {
            return Err(StoredError::RaggedRow { format, cols });
        }
        let expected = (cols / format.block_len())
            .checked_mul(format.block_bytes())
            .and_then(|row| row.checked_mul(rows))
            .filter(|_| rows.checked_mul(cols).is_some())
            .ok_or(StoredError::TooLarge { rows, cols })?;
        if bytes.len() != expected {
            return Err(StoredError::WrongLength {
                format,
                rows,
                cols,
                expected,
                found: bytes.len(),
            });
        }
        Ok(Self {
            rows,
            cols,
            row_bytes: format.row_bytes(cols),
            format,
            bytes,
            scales: None,
        })
    }

    /// Numbers that are already f32.
    pub fn from_f32(values: &[f32], rows: usize, cols: usize) -> Result<Self, StoredError> {
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        Self::new(rows, cols, Format::F32, Bytes::from_vec(bytes))
    }

    /// NF4 codes with the scales of their blocks of 64, which `nf4::quantize` made to fit.
    pub(crate) fn nf4(rows: usize, cols: usize, codes: Vec<u8>, scales: Nf4Scales) -> Self {
        debug_assert_eq!(codes.len(), (rows * cols).div_ceil(2));
        let bytes = Bytes::from_vec(codes);
        Self {
            rows,
            cols,
            row_bytes: Format::Nf4.row_bytes(cols),
            format: Format::Nf4,
            bytes,
            scales: Some(Arc::new(scales)),
        }
    }

    /// Rows: outputs of a linear layer.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: inputs of a linear layer.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How the numbers are stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The stored bytes; for NF4 the packed codes only.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The scales of an NF4 matrix.
    pub fn nf4_scales(&self) -> Option<&Nf4Scales> {
        self.scales.as_deref()
    }

    /// Memory the stored form takes, scales included.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len() + self.scales.as_ref().map_or(0, |scales| scales.size_bytes())
    }

    /// Expands `cols` of one row into `out`, which has as many places.
    ///
    /// In block formats the range starts and ends at multiples of [`Self::RANGE_UNIT`]; their rows are whole
    /// blocks. F32, F16, BF16 and NF4 take any range. Panics on a range that breaks this.
    #[inline]
    pub fn decode_row(&self, row: usize, cols: Range<usize>, out: &mut [f32]) {
        assert!(
            row < self.rows && cols.start <= cols.end && cols.end <= self.cols,
            "row {row}, columns {cols:?} of {} × {}",
            self.rows,
            self.cols
        );
        assert_eq!(cols.len(), out.len(), "one place for each column");
        match &self.scales {
            Some(scales) => {
                quant::nf4::decode(self.bytes(), scales, row * self.cols + cols.start, out)
            }
            None => {
                let row_bytes = self.row_bytes;
                quant::decode(
                    self.format,
                    &self.bytes()[row * row_bytes..][..row_bytes],
                    cols,
                    out,
                );
            }
        }
    }

    /// The whole matrix as f32, row after row.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.cols];
        for (row, out) in values.chunks_exact_mut(self.cols.max(1)).enumerate() {
            self.decode_row(row, 0..self.cols, out);
        }
        values
    }

    /// A copy whose row `r` is this matrix's row `source(r)`, its stored bytes untouched.
    ///
    /// For formats with whole rows of bytes, which is all but NF4: that one is made after rows are in place.
    pub fn permute_rows(&self, source: impl Fn(usize) -> usize) -> Self {
        assert!(
            self.format != Format::Nf4,
            "NF4 is made once rows are in place"
        );
        let row_bytes = self.row_bytes;
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for row in 0..self.rows {
            bytes.extend_from_slice(&self.bytes()[source(row) * row_bytes..][..row_bytes]);
        }
        Self {
            bytes: Bytes::from_vec(bytes),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(rows: usize, cols: usize) -> StoredMatrix {
        let values: Vec<f32> = (0..rows * cols).map(|i| i as f32).collect();
        StoredMatrix::from_f32(&values, rows, cols).unwrap()
    }

    #[test]
    fn a_slice_shares_memory_and_stays_inside() {
        let bytes = Bytes::from_vec((0..10).collect());
        let middle = bytes.slice(2..8).unwrap();
        assert_eq!(middle.as_slice(), [2, 3, 4, 5, 6, 7]);
        assert_eq!(middle.slice(1..3).unwrap().as_slice(), [3, 4]);
        assert_eq!(middle.as_slice().as_ptr(), bytes.as_slice()[2..].as_ptr());
        assert!(middle.slice(0..7).is_none());
        assert!(middle.slice(usize::MAX..usize::MAX).is_none());
    }

    #[test]
    fn the_length_must_fit_the_shape_exactly() {
        let make = |rows, cols, format, len| {
            StoredMatrix::new(rows, cols, format, Bytes::from_vec(vec![0; len]))
        };
        assert!(make(2, 32, Format::Q4_1, 40).is_ok());
        let error = make(2, 32, Format::Q4_1, 39).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a 2 × 32 matrix of Q4_1 takes 40 bytes, found 39"
        );
        assert!(matches!(
            make(2, 32, Format::Q4_1, 41),
            Err(StoredError::WrongLength { .. })
        ));
        assert!(matches!(
            make(2, 48, Format::Q4_1, 60),
            Err(StoredError::RaggedRow { cols: 48, .. })
        ));
        assert!(matches!(
            make(usize::MAX / 2, 32, Format::F32, 0),
            Err(StoredError::TooLarge { .. })
        ));
        assert!(matches!(
            make(1, 64, Format::Nf4, 32),
            Err(StoredError::ScalesMissing)
        ));
    }

    #[test]
    fn a_stretch_of_a_row_is_that_stretch() {
        let mut out = [0.0; 3];
        counting(4, 5).decode_row(2, 1..4, &mut out);
        assert_eq!(out, [11.0, 12.0, 13.0]);
    }

    #[test]
    fn permuting_rows_moves_whole_rows() {
        let swapped = counting(3, 2).permute_rows(|row| 2 - row);
        assert_eq!(swapped.to_f32(), [4.0, 5.0, 2.0, 3.0, 0.0, 1.0]);
    }
}
