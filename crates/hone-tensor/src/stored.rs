//! A weight matrix in the form it has on disk, and the one way to read numbers out of it.
//!
//! A frozen base is never expanded as a whole: the matrix product asks for a stretch of a row at a time and
//! gets f32. Everything that could be wrong with the bytes is checked once, when the matrix is made, so that
//! reading has no error to return.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::Mmap;

use crate::quant::{self, Aside, Format, Int4Groups, Nf4Scales, ScaleGrid};

/// A stretch of read-only bytes, owned or memory-mapped; clones share the same memory.
#[derive(Clone)]
pub struct Bytes {
    owner: Owner,
    range: Range<usize>,
}

#[derive(Clone)]
enum Owner {
    Memory(Arc<Vec<u8>>),
    File(Arc<Mmap>),
}

impl Owner {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::File(map) => map,
        }
    }
}

impl Bytes {
    /// Bytes held in memory.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self {
            range: 0..bytes.len(),
            owner: Owner::Memory(Arc::new(bytes)),
        }
    }

    /// A mapped file, whose pages come in when they are used and can leave again.
    pub fn mapped(file: Mmap) -> Self {
        Self {
            range: 0..file.len(),
            owner: Owner::File(Arc::new(file)),
        }
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
        &self.owner.as_slice()[self.range.clone()]
    }

    /// Starts reading a part from disk, if that is where it is.
    fn read_ahead(&self, part: Range<usize>) {
        #[cfg(unix)]
        if let Owner::File(map) = &self.owner {
            let start = self.range.start + part.start;
            // Advice: where it is not taken, pages come in one by one.
            let _ = map.advise_range(memmap2::Advice::WillNeed, start, part.len());
        }
        #[cfg(not(unix))]
        let _ = part;
    }

    /// Lets the memory of a part go, if the file holds it anyway.
    fn release(&self, part: Range<usize>) {
        #[cfg(unix)]
        if let Owner::File(map) = &self.owner {
            let start = self.range.start + part.start;
            // SAFETY: the map is of a file and never written, so whoever reads these pages next, or reads
            // them now, finds the same bytes again. Where the advice is not taken, they merely stay.
            let _ = unsafe {
                map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, part.len())
            };
        }
        #[cfg(not(unix))]
        let _ = part;
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
    /// Some formats keep their scales outside the blocks, so their bytes alone are not a matrix.
    #[error("codes without the scales that this format keeps apart")]
    ScalesMissing,
    /// Too few or too many scales.
    #[error("a {rows} × {cols} matrix of {format} takes {expected} scales, found {found}", format = format.name())]
    WrongScales {
        /// How the codes are stored.
        format: Format,
        /// Rows of the matrix.
        rows: usize,
        /// Values in a row.
        cols: usize,
        /// Scales that shape takes.
        expected: usize,
        /// Scales there are.
        found: usize,
    },
    /// Groups of columns that do not fit the matrix.
    #[error("{problem}")]
    Groups {
        /// What does not fit.
        problem: String,
    },
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
    /// A number beyond what the format can hold.
    #[error("the value at row {row}, column {col} is {value}, which is beyond what {format} can hold", format = format.name())]
    OutOfRange {
        /// The format asked for.
        format: Format,
        /// Row of the first such value, or block.
        row: usize,
        /// Its column; of a block, its largest value's.
        col: usize,
        /// The value itself.
        value: f32,
    },
    /// A format that is only read.
    #[error("Hone reads {format} but does not write it", format = format.name())]
    NoEncoder {
        /// The format asked for.
        format: Format,
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
    aside: Option<Arc<Aside>>,
    /// Which stored row is row `r`, where the file has another order.
    order: Option<Arc<[u32]>>,
    is_streamed: bool,
    /// Of a band: its first row in the whole matrix, and how many rows that has.
    first_row: usize,
    whole_rows: usize,
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
        if format.has_scales_aside() {
            return Err(StoredError::ScalesMissing);
        }
        Self::with_aside(rows, cols, format, bytes, None)
    }

    fn with_aside(
        rows: usize,
        cols: usize,
        format: Format,
        bytes: Bytes,
        aside: Option<Aside>,
    ) -> Result<Self, StoredError> {
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
            aside: aside.map(Arc::new),
            order: None,
            is_streamed: false,
            first_row: 0,
            whole_rows: rows,
        })
    }

    /// Codes of 4 bits, NF4 or FP4, with the scales of blocks of `block` values, an even number of them. Two codes share
    /// a byte, the first in its high half; blocks run over the flattened matrix, and the last may be shorter.
    pub fn four_bit(
        format: Format,
        rows: usize,
        cols: usize,
        codes: Bytes,
        block: usize,
        scales: Nf4Scales,
    ) -> Result<Self, StoredError> {
        let count = rows
            .checked_mul(cols)
            .ok_or(StoredError::TooLarge { rows, cols })?;
        if !matches!(format, Format::Nf4 | Format::Fp4) || block == 0 || !block.is_multiple_of(2) {
            let problem = format!("{} has no blocks of {block}", format.name());
            return Err(StoredError::Groups { problem });
        }
        if codes.len() != count.div_ceil(2) {
            return Err(StoredError::WrongLength {
                format,
                rows,
                cols,
                expected: count.div_ceil(2),
                found: codes.len(),
            });
        }
        let (expected, found) = (count.div_ceil(block), scales.len());
        if expected != found || !scales.is_whole() {
            return Err(StoredError::WrongScales {
                format,
                rows,
                cols,
                expected,
                found,
            });
        }
        Ok(Self {
            rows,
            cols,
            row_bytes: format.row_bytes(cols),
            format,
            bytes: codes,
            aside: Some(Arc::new(Aside::FourBit { block, scales })),
            order: None,
            is_streamed: false,
            first_row: 0,
            whole_rows: rows,
        })
    }

    /// Floats of 8 bits, E4M3, each times the scale of its block.
    pub fn fp8(
        rows: usize,
        cols: usize,
        bytes: Bytes,
        grid: ScaleGrid,
    ) -> Result<Self, StoredError> {
        let format = Format::F8E4M3;
        let (expected, found) = (grid.expected(rows, cols), grid.scales.len());
        if expected != found {
            return Err(StoredError::WrongScales {
                format,
                rows,
                cols,
                expected,
                found,
            });
        }
        Self::with_aside(rows, cols, format, bytes, Some(Aside::Grid(grid)))
    }

    /// Codes of 4 bits as [`int4::pack`](crate::int4::pack) lays them out, with the scales and zeros of their groups.
    pub fn int4(
        rows: usize,
        cols: usize,
        codes: Bytes,
        groups: Int4Groups,
    ) -> Result<Self, StoredError> {
        groups.check(rows, cols)?;
        Self::with_aside(rows, cols, Format::Int4, codes, Some(Aside::Groups(groups)))
    }

    /// Numbers that are already f32.
    pub fn from_f32(values: &[f32], rows: usize, cols: usize) -> Result<Self, StoredError> {
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        Self::new(rows, cols, Format::F32, Bytes::from_vec(bytes))
    }

    /// Row-major numbers in the format asked for, on all threads of the current pool; the result does not depend on
    /// how many those are.
    ///
    /// F32, F16 and BF16 (to the nearest, ties to even), Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 (as the `gguf` package), Q4_K,
    /// Q5_K, Q6_K (as llama.cpp's reference) and NF4 (double-quantised, as bitsandbytes). Refused: other formats,
    /// numbers that are not finite, and those beyond what the format can hold. A large matrix may be encoded in bands
    /// of rows, whose [`bytes`](Self::bytes) follow each other; not so NF4, whose blocks run over rows.
    pub fn encode(
        format: Format,
        values: &[f32],
        rows: usize,
        cols: usize,
    ) -> Result<Self, StoredError> {
        quant::encode::encode(format, values, rows, cols)
    }

    /// NF4 codes with the scales of their blocks of 64, which `nf4::quantize` made to fit.
    pub(crate) fn nf4(rows: usize, cols: usize, codes: Vec<u8>, scales: Nf4Scales) -> Self {
        let block = quant::nf4::BLOCK;
        Self::four_bit(
            Format::Nf4,
            rows,
            cols,
            Bytes::from_vec(codes),
            block,
            scales,
        )
        .expect("codes and scales of every block")
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

    /// Whether the bytes are a mapped file's, whose memory can be let go and read again.
    pub fn is_mapped(&self) -> bool {
        matches!(self.bytes.owner, Owner::File(_))
    }

    /// The stored bytes, rows in the order of the file; without scales that lie beside them.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The stored bytes of one row; NF4 and FP4, whose blocks run over rows, have none.
    pub fn row_bytes(&self, row: usize) -> &[u8] {
        &self.bytes()[self.stored_row(row) * self.row_bytes..][..self.row_bytes]
    }

    /// The stored bytes of some rows, if they lie there one after the other.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn run_of_rows(&self, rows: Range<usize>) -> Option<&[u8]> {
        let first = (self.first_row + rows.start) * self.row_bytes;
        let bytes = &self.bytes()[first..][..rows.len() * self.row_bytes];
        self.order.is_none().then_some(bytes)
    }

    /// Are its bytes read from disk as they are used?
    pub(crate) fn is_streamed(&self) -> bool {
        self.is_streamed
    }

    fn stored_row(&self, row: usize) -> usize {
        let row = self.first_row + row;
        self.order.as_ref().map_or(row, |order| order[row] as usize)
    }

    /// Rows of the matrix that this one is a band of, or is.
    pub(crate) fn whole_rows(&self) -> usize {
        self.whole_rows
    }

    /// The scales of an NF4 or FP4 matrix.
    pub fn nf4_scales(&self) -> Option<&Nf4Scales> {
        match self.aside.as_deref() {
            Some(Aside::FourBit { scales, .. }) => Some(scales),
            _ => None,
        }
    }

    /// Memory the stored form takes, scales included.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len() + self.aside.as_ref().map_or(0, |aside| aside.size_bytes())
    }

    /// Expands `cols` of one row into `out`, which has as many places.
    ///
    /// In block formats the range starts and ends at multiples of [`Self::RANGE_UNIT`]; their rows are whole
    /// blocks. F32, F16, BF16, E4M3, NF4 and FP4 take any range. Panics on a range that breaks this.
    #[inline]
    pub fn decode_row(&self, row: usize, cols: Range<usize>, out: &mut [f32]) {
        assert!(
            row < self.rows && cols.start <= cols.end && cols.end <= self.cols,
            "row {row}, columns {cols:?} of {} × {}",
            self.rows,
            self.cols
        );
        assert_eq!(cols.len(), out.len(), "one place for each column");
        match self.aside.as_deref() {
            None => quant::decode(self.format, self.row_bytes(row), cols, out),
            Some(Aside::FourBit { block, scales }) => {
                let start = (self.first_row + row) * self.cols + cols.start;
                quant::nf4::decode_any(self.format, self.bytes(), scales, *block, start, out)
            }
            Some(Aside::Grid(grid)) => {
                let (codes, row) = (self.row_bytes(row), self.stored_row(row));
                quant::fp8::decode(codes, grid, row, self.cols, cols, out)
            }
            Some(Aside::Groups(groups)) => {
                let (codes, row) = (self.row_bytes(row), self.stored_row(row));
                quant::int4::decode(codes, groups, row, cols, out)
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

    /// The matrix whose row `r` is this one's row `source(r)`; the bytes stay where they are.
    ///
    /// For formats with whole rows of bytes, which is all but NF4 and FP4: those are made after rows are in place.
    pub fn permute_rows(&self, source: impl Fn(usize) -> usize) -> Self {
        assert!(
            !self.runs_over_rows(),
            "NF4 and FP4 are made once rows are in place"
        );
        let stored =
            |row| u32::try_from(self.stored_row(source(row))).expect("fewer rows than 2³²");
        Self {
            order: Some((0..self.rows).map(stored).collect()),
            ..self.clone()
        }
    }

    /// Some rows as a matrix of their own that shares the bytes: one expert of many that lie in one tensor. `None` where
    /// rows are not there, or are no run of bytes with nothing beside them.
    pub fn rows_of(&self, rows: Range<usize>) -> Option<Self> {
        let is_plain = self.aside.is_none() && self.order.is_none() && self.first_row == 0;
        let part = rows.start.checked_mul(self.row_bytes)?..rows.end.checked_mul(self.row_bytes)?;
        let bytes = self.bytes.slice(part).filter(|_| is_plain)?;
        Self::new(rows.len(), self.cols, self.format, bytes).ok()
    }

    /// The matrix with more rows below it, in memory: `rows` are so many numbers for each, row-major. The format stays
    /// where single rows can be written in it, so that the rows that were there keep their bytes; where they cannot (codes
    /// with scales beside them, formats that are only read, numbers beyond the format's range), all are f32.
    pub fn with_rows(&self, rows: &[f32]) -> Result<Self, StoredError> {
        let count = rows.len() / self.cols.max(1);
        let encoded = Self::encode(self.format, rows, count, self.cols);
        let is_plain = self.aside.is_none() && !self.runs_over_rows();
        let total = self.rows + count;
        if let Some(encoded) = encoded.ok().filter(|_| is_plain) {
            let mut bytes = Vec::with_capacity(total * self.row_bytes);
            self.read_rows(|row| bytes.extend_from_slice(row));
            bytes.extend_from_slice(encoded.bytes());
            return Self::new(total, self.cols, self.format, Bytes::from_vec(bytes));
        }
        let mut values = self.to_f32();
        values.extend_from_slice(rows);
        Self::from_f32(&values, total, self.cols)
    }

    /// The matrix with rows and columns exchanged, in memory; numbers of the same kind where each has bytes of its
    /// own, as in F32, F16 and BF16, and f32 otherwise.
    pub fn transposed(&self) -> Self {
        let (rows, cols, size) = (self.rows, self.cols, self.row_bytes / self.cols.max(1));
        if !matches!(self.format, Format::F32 | Format::F16 | Format::Bf16) {
            let values = self.to_f32();
            let turned: Vec<f32> = (0..rows * cols)
                .map(|at| values[at % rows * cols + at / rows])
                .collect();
            return Self::from_f32(&turned, cols, rows).expect("as many numbers as before");
        }
        let mut bytes = Vec::with_capacity(rows * cols * size);
        for col in 0..cols {
            for row in 0..rows {
                bytes.extend_from_slice(&self.row_bytes(row)[col * size..][..size]);
            }
        }
        Self::new(cols, rows, self.format, Bytes::from_vec(bytes))
            .expect("as many numbers as before")
    }

    /// The same matrix, read from disk whenever it is used and not held in memory in between.
    pub fn streamed(self) -> Self {
        Self {
            is_streamed: true,
            ..self
        }
    }

    /// Hands out the bytes of every row, and after them those of the scales beside them; of a mapped matrix no more
    /// than a band is in memory meanwhile. NF4 and FP4, whose rows need not be whole bytes, come in stretches of any length.
    pub fn read_rows(&self, mut each: impl FnMut(&[u8])) {
        if self.runs_over_rows() {
            for start in (0..self.bytes.len()).step_by(BAND_BYTES) {
                let part = start..self.bytes.len().min(start + BAND_BYTES);
                each(&self.bytes()[part.clone()]);
                self.bytes.release(part);
            }
            each(
                &self
                    .aside
                    .as_ref()
                    .map_or_else(Vec::new, |aside| aside.to_bytes()),
            );
            return;
        }
        for band in self.clone().streamed().bands(1) {
            (0..band.rows()).for_each(|row| each(band.row_bytes(row)));
        }
        if let Some(aside) = &self.aside {
            each(&aside.to_bytes());
        }
    }

    /// Whether blocks, and even bytes, may hold the end of one row and the start of the next.
    fn runs_over_rows(&self) -> bool {
        matches!(self.format, Format::Nf4 | Format::Fp4)
    }

    /// Lets the memory of a mapped matrix go; the next use reads it from disk again.
    pub fn release(&self) {
        self.bytes.release(0..self.bytes.len());
    }

    /// The matrix in bands of rows, each a multiple of `step` but the last. One band, unless it is streamed:
    /// then the next is read ahead while one is in use, and a band's memory goes when it is done.
    pub(crate) fn bands(&self, step: usize) -> impl Iterator<Item = Band> {
        let rows = match self.is_streamed {
            true => (BAND_BYTES / self.row_bytes.max(1) / step).max(1) * step,
            false => self.rows.max(1),
        };
        (0..self.rows).step_by(rows).map(move |first_row| {
            let band = self.band(first_row, rows);
            if self.is_streamed {
                self.bytes.read_ahead(band.extent());
                self.bytes
                    .read_ahead(self.band(first_row + rows, rows).extent());
            }
            Band(band)
        })
    }

    /// The whole matrix while a few of its rows are looked up.
    pub(crate) fn in_use(&self) -> Band {
        Band(self.clone())
    }

    fn band(&self, first_row: usize, rows: usize) -> Self {
        Self {
            rows: rows.min(self.rows.saturating_sub(first_row)),
            first_row,
            ..self.clone()
        }
    }

    /// The bytes from the first of its rows to the last.
    fn extent(&self) -> Range<usize> {
        if self.runs_over_rows() {
            let values = self.first_row * self.cols..(self.first_row + self.rows) * self.cols;
            return values.start / 2..values.end.div_ceil(2);
        }
        let stored = || (0..self.rows).map(|row| self.stored_row(row));
        let (Some(first), Some(last)) = (stored().min(), stored().max()) else {
            return 0..0;
        };
        first * self.row_bytes..(last + 1) * self.row_bytes
    }
}

/// How much of a streamed matrix is in memory at a time.
pub const BAND_BYTES: usize = 32 << 20;

/// Some rows of a matrix while they are in use.
pub(crate) struct Band(StoredMatrix);

impl Band {
    /// Its first row in the whole matrix.
    pub fn first_row(&self) -> usize {
        self.0.first_row
    }
}

impl Deref for Band {
    type Target = StoredMatrix;

    fn deref(&self) -> &StoredMatrix {
        &self.0
    }
}

impl Drop for Band {
    fn drop(&mut self) {
        if self.0.is_streamed {
            self.0.bytes.release(self.0.extent());
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
    fn more_rows_leave_the_bytes_of_those_before_them() {
        let values: Vec<f32> = (0..3 * 256).map(|i| (i % 7) as f32 - 3.0).collect();
        let more: Vec<f32> = (0..2 * 256).map(|i| (i % 5) as f32 - 2.0).collect();
        for format in [
            Format::F32,
            Format::F16,
            Format::Bf16,
            Format::Q8_0,
            Format::Q6K,
        ] {
            let matrix = StoredMatrix::encode(format, &values, 3, 256).unwrap();
            let longer = matrix.with_rows(&more).unwrap();
            assert_eq!((longer.rows(), longer.format()), (5, format));
            assert_eq!(longer.bytes()[..matrix.bytes().len()], *matrix.bytes());
            let own = StoredMatrix::encode(format, &more, 2, 256).unwrap();
            assert_eq!(longer.to_f32()[3 * 256..], own.to_f32());
        }
        // Its blocks run over rows, so that the numbers are kept and not the codes.
        let nf4 = StoredMatrix::encode(Format::Nf4, &values, 3, 256).unwrap();
        let longer = nf4.with_rows(&more).unwrap();
        assert_eq!(longer.format(), Format::F32);
        assert_eq!(longer.to_f32(), [nf4.to_f32(), more].concat());
        // Rows in another order than the file's stay in it.
        let turned = counting(2, 3).permute_rows(|row| 1 - row);
        let longer = turned.with_rows(&[9.0; 3]).unwrap();
        assert_eq!(longer.to_f32(), [3., 4., 5., 0., 1., 2., 9., 9., 9.]);
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
        assert_eq!(
            swapped.row_bytes(0),
            4.0_f32
                .to_le_bytes()
                .iter()
                .chain(&5.0_f32.to_le_bytes())
                .copied()
                .collect::<Vec<u8>>()
        );
        let again = swapped.permute_rows(|row| (row + 1) % 3);
        assert_eq!(again.to_f32(), [2.0, 3.0, 0.0, 1.0, 4.0, 5.0]);
    }

    #[test]
    fn rows_and_columns_change_places() {
        let turned = counting(2, 3).permute_rows(|row| 1 - row).transposed();
        assert_eq!((turned.rows(), turned.cols()), (3, 2));
        assert_eq!(turned.to_f32(), [3.0, 0.0, 4.0, 1.0, 5.0, 2.0]);
        let halves: Vec<u8> = (0..32_u16).flat_map(|x| (x << 8).to_le_bytes()).collect();
        let stored = StoredMatrix::new(4, 8, Format::Bf16, Bytes::from_vec(halves)).unwrap();
        assert_eq!(stored.transposed().transposed().bytes(), stored.bytes());
        let blocks = Bytes::from_vec((0..68).collect());
        let stored = StoredMatrix::new(2, 32, Format::Q8_0, blocks).unwrap();
        assert_eq!(stored.transposed().transposed().to_f32(), stored.to_f32());
    }

    /// A mapped matrix whose rows begin with their number.
    #[cfg(target_os = "linux")]
    fn mapped(rows: usize, cols: usize) -> StoredMatrix {
        use std::os::unix::fs::FileExt;
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 * (rows * cols) as u64).unwrap();
        for row in 0..rows {
            let number = (row as f32).to_le_bytes();
            file.write_all_at(&number, 4 * (row * cols) as u64).unwrap();
        }
        // SAFETY: nobody else knows the file.
        let bytes = Bytes::mapped(unsafe { Mmap::map(&file).unwrap() });
        StoredMatrix::new(rows, cols, Format::F32, bytes).unwrap()
    }

    /// Memory that a mapping takes now.
    #[cfg(target_os = "linux")]
    fn resident_bytes(matrix: &StoredMatrix) -> usize {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let start = format!("{:x}-", matrix.bytes().as_ptr() as usize);
        let of_map = smaps.lines().skip_while(|line| !line.starts_with(&start));
        let rss = of_map
            .into_iter()
            .find_map(|line| line.strip_prefix("Rss:"));
        let kib = rss.unwrap().split_whitespace().next().unwrap();
        1024 * kib.parse::<usize>().unwrap()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_streamed_matrix_is_in_memory_a_band_at_a_time() {
        let matrix = mapped(6000, 4096).streamed().permute_rows(|row| row ^ 1);
        let (mut seen, mut out) = (Vec::new(), vec![0.0; 4096]);
        let mut most_bytes = 0;
        for band in matrix.bands(48) {
            assert_eq!(band.first_row() % 48, 0);
            for row in 0..band.rows() {
                band.decode_row(row, 0..4096, &mut out);
                seen.push(out[0] as usize ^ 1);
            }
            most_bytes = most_bytes.max(resident_bytes(&matrix));
        }
        assert!(seen.into_iter().eq(0..6000));
        let (mut row, mut read_bytes) = (0_usize, 0);
        matrix.read_rows(|bytes| {
            let number = f32::from_le_bytes(*bytes.first_chunk().unwrap());
            assert_eq!(number as usize, row ^ 1);
            row += 1;
            if row.is_multiple_of(100) {
                read_bytes = read_bytes.max(resident_bytes(&matrix));
            }
        });
        assert!(read_bytes < BAND_BYTES + (1 << 20), "{read_bytes}");
        // Pages come in some at a time, so a few of the neighbours' are there too.
        assert!(
            most_bytes > BAND_BYTES / 2 && most_bytes < BAND_BYTES + (1 << 20),
            "{most_bytes}"
        );
        assert!(resident_bytes(&matrix) < 1 << 20);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_released_matrix_can_be_read_again() {
        let matrix = mapped(1000, 1024);
        let before = matrix.to_f32();
        assert!(resident_bytes(&matrix) > 2 << 20);
        matrix.release();
        assert_eq!(resident_bytes(&matrix), 0);
        assert!(matrix.to_f32() == before);
    }
}
