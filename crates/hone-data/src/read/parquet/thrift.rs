//! A look at Thrift's compact encoding, before the parquet crate reads it in earnest.
//!
//! That crate reserves memory for as many items as a list says it has, and for texts as long as they say
//! they are; a few hostile bytes would end the program. Here a size that the bytes at hand cannot hold
//! is no Thrift.

/// Deeper than anything in a Parquet file.
const MAX_DEPTH: usize = 16;

/// The number of bytes of the struct that `bytes` begin with; `seen` gets every whole number in it and
/// the ids of the fields that lead to it, and says whether it may be.
pub(super) fn struct_length(
    bytes: &[u8],
    seen: &mut dyn FnMut(&[i16], i64) -> bool,
) -> Option<usize> {
    let mut look = Look {
        bytes,
        at: 0,
        path: Vec::new(),
        seen,
    };
    look.fields()?;
    Some(look.at)
}

struct Look<'a> {
    bytes: &'a [u8],
    at: usize,
    path: Vec<i16>,
    seen: &'a mut dyn FnMut(&[i16], i64) -> bool,
}

impl Look<'_> {
    fn fields(&mut self) -> Option<()> {
        let mut id = 0_i16;
        loop {
            let header = self.byte()?;
            if header == 0 {
                return Some(());
            }
            id = match header >> 4 {
                0 => i16::try_from(self.number()?).ok()?,
                step => id.checked_add(i16::from(step))?,
            };
            self.path.push(id);
            // The value of a truth is in the header.
            if !matches!(header & 0x0f, 1 | 2) {
                self.value(header & 0x0f)?;
            }
            self.path.pop();
        }
    }

    fn value(&mut self, kind: u8) -> Option<()> {
        match kind {
            1..=3 => self.pass(1),
            4..=6 => {
                let number = self.number()?;
                (self.seen)(&self.path, number).then_some(())
            }
            7 => self.pass(8),
            8 => {
                let length = self.varint()?;
                self.pass(usize::try_from(length).ok()?)
            }
            9 | 10 => self.list(),
            11 => self.map(),
            12 if self.path.len() < MAX_DEPTH => self.fields(),
            13 => self.pass(16),
            _ => None,
        }
    }

    fn list(&mut self) -> Option<()> {
        let header = self.byte()?;
        let kind = header & 0x0f;
        let size = match header >> 4 {
            15 => self.varint()?,
            size => u64::from(size),
        };
        // Any item has a byte, and a struct worth having three.
        let least = if kind == 12 { 3 } else { 1 };
        let room = (self.bytes.len() - self.at) as u64;
        if size.checked_mul(least)? > room.max(least) || self.path.len() >= MAX_DEPTH {
            return None;
        }
        (0..size).try_for_each(|_| self.value(kind))
    }

    fn map(&mut self) -> Option<()> {
        let size = self.varint()?;
        if size == 0 {
            return Some(());
        }
        let kinds = self.byte()?;
        if size > (self.bytes.len() - self.at) as u64 || self.path.len() >= MAX_DEPTH {
            return None;
        }
        (0..size).try_for_each(|_| {
            self.value(kinds >> 4)?;
            self.value(kinds & 0x0f)
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn pass(&mut self, bytes: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes)?;
        (self.at <= self.bytes.len()).then_some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// Zigzag: the sign is the last bit.
    fn number(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Numbers = Vec<(Vec<i16>, i64)>;

    fn look(bytes: &[u8]) -> Option<(usize, Numbers)> {
        let mut numbers = Vec::new();
        let length = struct_length(bytes, &mut |path, number| {
            numbers.push((path.to_vec(), number));
            true
        })?;
        Some((length, numbers))
    }

    #[test]
    fn numbers_are_told_with_the_fields_that_lead_to_them() {
        // 1: i32 = -3, 2: [{1: i32 = 5}, {1: i32 = 1}], 3: "ab", 4: true, then bytes that are not part of it.
        let bytes = [
            0x15, 5, 0x19, 0x2c, 0x15, 10, 0, 0x15, 2, 0, 0x18, 2, b'a', b'b', 0x11, 0, 99,
        ];
        let numbers = vec![(vec![1], -3), (vec![2, 1], 5), (vec![2, 1], 1)];
        assert_eq!(look(&bytes), Some((16, numbers)));
    }

    #[test]
    fn sizes_that_the_bytes_cannot_hold_are_refused() {
        assert_eq!(look(&[0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 7, 0, 0]), None);
        assert_eq!(look(&[0x18, 0xff, 0xff, 0xff, 0xff, 7, b'a', 0]), None);
        assert_eq!(look(&[0x15, 2]), None);
        assert_eq!(look(&[0x1c; 100]), None);
        assert!(struct_length(&[0x15, 2, 0], &mut |_, _| false).is_none());
    }
}
