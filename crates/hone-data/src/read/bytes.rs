//! A file as bytes: unpacked if it is packed, its beginning in sight, the rest streamed.
//!
//! What packs a file is told by its first bytes, because names lie. The beginning is as long as the
//! longest row: whoever has to know what kind of file it is can look at a whole row, or at a whole
//! small file, before the first byte is taken.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::{MAX_LINE_BYTES, ReadError};

/// Frames of zstd that need more memory than this, as a power of two, are refused.
const ZSTD_WINDOW_LOG: u32 = 27;

/// The bytes of a file.
pub(super) struct Bytes<'a> {
    head: Cursor<Vec<u8>>,
    /// Why the beginning is no longer; told once everything before it was taken.
    failed: Option<io::Error>,
    rest: Box<dyn Read + 'a>,
    is_whole: bool,
    was_packed: bool,
}

impl<'a> Bytes<'a> {
    /// Opens and unpacks a file; every byte read from it is counted in `taken`.
    pub fn open(file: &Path, taken: &'a Cell<u64>) -> Result<Self, ReadError> {
        let unreadable = |source| ReadError::Unreadable {
            file: file.into(),
            source,
        };
        let inner = File::open(file).map_err(unreadable)?;
        Self::unpack(file, Box::new(Counted { inner, taken }))
    }

    /// The bytes of a file that was opened.
    pub fn unpack(file: &Path, packed: Box<dyn Read + 'a>) -> Result<Self, ReadError> {
        let unpacked = unpacked(packed).map_err(|source| ReadError::Unreadable {
            file: file.into(),
            source,
        });
        let (rest, was_packed) = unpacked?;
        let bytes = Self::of(rest, MAX_LINE_BYTES + 1).without_mark(file)?;
        Ok(Self {
            was_packed,
            ..bytes
        })
    }

    fn of(mut rest: Box<dyn Read + 'a>, head_bytes: usize) -> Self {
        // Room that is not written to takes no memory, and what grows is there twice while it grows.
        let mut head = Vec::with_capacity(head_bytes);
        let failed = rest
            .by_ref()
            .take(head_bytes as u64)
            .read_to_end(&mut head)
            .err();
        Self {
            is_whole: failed.is_none() && head.len() < head_bytes,
            head: Cursor::new(head),
            failed,
            rest,
            was_packed: false,
        }
    }

    /// Without the mark that some editors put before UTF-8.
    fn without_mark(mut self, file: &Path) -> Result<Self, ReadError> {
        let head = self.head.get_ref();
        if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
            return Err(ReadError::Utf16 { file: file.into() });
        }
        if head.starts_with(b"\xef\xbb\xbf") {
            self.head.set_position(3);
        }
        Ok(self)
    }

    /// The beginning.
    pub fn head(&self) -> &[u8] {
        &self.head.get_ref()[self.head.position() as usize..]
    }

    /// Is the beginning all there is?
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Was the file packed?
    pub fn was_packed(&self) -> bool {
        self.was_packed
    }

    /// Lets the memory of what was taken from the beginning go, a piece at a time.
    fn let_go(&mut self) {
        const PIECE: u64 = 1 << 20;
        let taken = self.head.position();
        if taken >= PIECE {
            let head = self.head.get_mut();
            head.drain(..taken as usize);
            head.shrink_to_fit();
            self.head.set_position(0);
        }
    }

    /// All of it, to be read on.
    pub fn buffered(self) -> BufReader<Self> {
        BufReader::with_capacity(1 << 16, self)
    }
}

impl Read for Bytes<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let taken = self.head.read(out)?;
        if taken > 0 || out.is_empty() {
            self.let_go();
            return Ok(taken);
        }
        // The beginning is the longest row; what is read needs it no longer.
        *self.head.get_mut() = Vec::new();
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.rest.read(out),
        }
    }
}

/// The bytes inside, and whether they were packed.
fn unpacked<'a>(file: Box<dyn Read + 'a>) -> io::Result<(Box<dyn Read + 'a>, bool)> {
    let mut file = BufReader::with_capacity(1 << 16, file);
    Ok(match file.fill_buf()? {
        [0x1f, 0x8b, ..] => (Box::new(MultiGzDecoder::new(file)), true),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let mut decoder = zstd::Decoder::with_buffer(file)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            (Box::new(decoder), true)
        }
        _ => (Box::new(file), false),
    })
}

/// Counts what is read.
struct Counted<'a, R> {
    inner: R,
    taken: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(out)?;
        self.taken.set(self.taken.get() + bytes as u64);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_go_was_read_first() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rows");
        let written: Vec<u8> = (0..5_000_000_u32)
            .map(|at| (at.wrapping_mul(at) >> 9) as u8)
            .collect();
        std::fs::write(&file, &written).unwrap();
        let taken = Cell::new(0);
        let mut bytes = Bytes::open(&file, &taken).unwrap();
        assert_eq!(bytes.head(), written);
        let mut read = vec![0; 1_500_000];
        bytes.read_exact(&mut read).unwrap();
        assert_eq!(bytes.head(), &written[1_500_000..]);
        bytes.buffered().read_to_end(&mut read).unwrap();
        assert_eq!((read, taken.get()), (written, 5_000_000));
    }
}
