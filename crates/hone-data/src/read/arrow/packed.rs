//! How much packed bytes can hold at most, told by their blocks and without unpacking them.
//!
//! Both formats are frames of blocks, and no block holds more than its frame allows. A length that stands before the frame
//! was written by whoever wrote the file, and memory is reserved for it: it is compared with this first.

/// A block of Zstandard never holds more.
const ZSTD_BLOCK: u64 = 128 << 10;

/// A byte of LZ4 stands for so many at most.
const LZ4_RATIO: u64 = 255;

/// Bytes that are looked at from their beginning.
struct Look<'a>(&'a [u8]);

impl<'a> Look<'a> {
    fn skip(&mut self, count: usize) -> Option<&'a [u8]> {
        let (skipped, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(skipped)
    }

    /// A number of up to eight bytes, the lowest first.
    fn number(&mut self, bytes: usize) -> Option<u64> {
        let bytes = self.skip(bytes)?.iter().rev();
        Some(bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn word(&mut self) -> Option<u64> {
        self.number(4)
    }
}

/// The bytes that frames of LZ4 can hold; `None` if they are none.
pub(super) fn most_of_lz4(packed: &[u8]) -> Option<u64> {
    let mut look = Look(packed);
    let mut most = 0_u64;
    while !look.0.is_empty() {
        if look.word()? != 0x184d_2204 {
            return None;
        }
        let flags = look.number(1)?;
        let is_set = |bit: u32| usize::from(flags >> bit & 1 == 1);
        let largest = match look.number(1)? >> 4 & 7 {
            size @ 4..=7 => 1_u64 << (8 + 2 * size),
            _ => return None,
        };
        // The length of the content, a dictionary's id, and a checksum of these.
        look.skip(8 * is_set(3) + 4 * is_set(0) + 1)?;
        loop {
            let size = look.word()?;
            if size == 0 {
                break;
            }
            let (is_plain, size) = (size >> 31 == 1, size & 0x7fff_ffff);
            let block = if is_plain { size } else { size * LZ4_RATIO };
            most += block.min(largest);
            look.skip(usize::try_from(size).ok()? + 4 * is_set(4))?;
        }
        look.skip(4 * is_set(2))?;
    }
    Some(most)
}

/// The bytes that frames of Zstandard can hold; `None` if they are none.
pub(super) fn most_of_zstd(packed: &[u8]) -> Option<u64> {
    let mut look = Look(packed);
    let mut most = 0_u64;
    while !look.0.is_empty() {
        match look.word()? {
            0xfd2f_b528 => {}
            // A frame that is to be skipped.
            0x184d_2a50..=0x184d_2a5f => {
                let size = look.word()?;
                look.skip(usize::try_from(size).ok()?)?;
                continue;
            }
            _ => return None,
        }
        let flags = look.number(1)?;
        let (is_single, has_checksum) = (flags >> 5 & 1 == 1, flags >> 2 & 1 == 1);
        let dictionary = [0, 1, 2, 4][(flags & 3) as usize];
        let content = [usize::from(is_single), 2, 4, 8][(flags >> 6 & 3) as usize];
        look.skip(usize::from(!is_single) + dictionary + content)?;
        loop {
            let block = look.number(3)?;
            let (is_last, kind, size) = (block & 1 == 1, block >> 1 & 3, block >> 3);
            let (written, holds) = match kind {
                0 => (size, size),
                1 => (1, size),
                2 => (size, ZSTD_BLOCK),
                _ => return None,
            };
            most += holds.min(ZSTD_BLOCK);
            look.skip(usize::try_from(written).ok()?)?;
            if is_last {
                break;
            }
        }
        look.skip(if has_checksum { 4 } else { 0 })?;
    }
    Some(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_tell_how_much_they_can_hold() {
        // A frame of LZ4 with one plain block of three bytes, in blocks of 64 KiB.
        let frame =
            |block: &[u8]| [&[4, 0x22, 0x4d, 0x18, 0x40, 0x40, 0][..], block, &[0; 4]].concat();
        assert_eq!(most_of_lz4(&frame(&[3, 0, 0, 0x80, 1, 2, 3])), Some(3));
        assert_eq!(most_of_lz4(&frame(&[3, 0, 0, 0, 1, 2, 3])), Some(765));
        let long = [&[0, 2, 0, 0][..], &[0; 512]].concat();
        assert_eq!(most_of_lz4(&frame(&long)), Some(1 << 16));
        assert_eq!(most_of_lz4(&frame(&[9, 0, 0, 0, 1])), None);
        for text in [&b""[..], b"a", &[b'x'; 500_000]] {
            let packed = zstd::encode_all(text, 3).unwrap();
            let most = most_of_zstd(&packed).unwrap();
            let blocks = text.len().div_ceil(128 << 10).max(1) as u64;
            assert!(
                (text.len() as u64..=blocks * ZSTD_BLOCK).contains(&most),
                "{most}"
            );
            assert_eq!(most_of_zstd(&packed[..packed.len() - 1]), None);
        }
    }
}
