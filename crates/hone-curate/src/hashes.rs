//! Sets and tables of what is a hash already.

use std::hash::Hasher;

/// A hasher for keys that are hashes.
#[derive(Default)]
pub(crate) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Bits of the hashes that are there: most words of most texts share nothing, and one look tells.
#[derive(Default)]
pub(crate) struct Sieve {
    bits: Vec<u64>,
}

impl Sieve {
    pub fn of(hashes: impl Iterator<Item = u64>, count: usize) -> Self {
        let mut sieve = Self {
            bits: vec![0; (count / 4).next_power_of_two()],
        };
        for hash in hashes {
            let (word, bit) = sieve.place(hash);
            sieve.bits[word] |= bit;
        }
        sieve
    }

    pub fn may_hold(&self, hash: u64) -> bool {
        let (word, bit) = self.place(hash);
        self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn place(&self, hash: u64) -> (usize, u64) {
        let word = (hash >> 6) as usize & self.bits.len().wrapping_sub(1);
        (word, 1 << (hash & 63))
    }
}
