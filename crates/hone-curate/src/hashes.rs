//! Sets and tables of what is a hash already.

use std::hash::Hasher;

use rayon::prelude::*;

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

/// Hashes, each with its number in their order. Whoever asks mostly asks for others, and one look tells.
#[derive(Default)]
pub(crate) struct Numbered {
    /// In order, each once.
    hashes: Box<[u64]>,
    /// Where the hashes of each beginning begin: hashes are spread evenly, so there are a few of each.
    begins: Box<[usize]>,
    /// How many bits are not of the beginning.
    shift: u32,
    sieve: Sieve,
}

impl Numbered {
    /// Numbers these hashes, which come in any order and more than once.
    pub fn of(mut hashes: Vec<u64>) -> Self {
        hashes.par_sort_unstable();
        hashes.dedup();
        Self::in_order(hashes)
    }

    /// Numbers these hashes, which are in order and there once.
    pub fn in_order(hashes: Vec<u64>) -> Self {
        debug_assert!(hashes.is_sorted());
        let bits = (hashes.len() / OF_ONE_BEGINNING).max(2).ilog2();
        let shift = u64::BITS - bits;
        let mut begins = vec![0; (1 << bits) + 1];
        for hash in &hashes {
            begins[(hash >> shift) as usize + 1] += 1;
        }
        for at in 1..begins.len() {
            begins[at] += begins[at - 1];
        }
        Self {
            sieve: Sieve::of(&hashes),
            hashes: hashes.into(),
            begins: begins.into(),
            shift,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// The number of a hash, if it is among them.
    pub fn number_of(&self, hash: u64) -> Option<usize> {
        if !self.sieve.may_hold(hash) {
            return None;
        }
        let beginning = (hash >> self.shift) as usize;
        let (begin, end) = (self.begins[beginning], self.begins[beginning + 1]);
        let at = self.hashes[begin..end]
            .iter()
            .position(|other| *other == hash)?;
        Some(begin + at)
    }

    /// Is a hash among them?
    pub fn has(&self, hash: u64) -> bool {
        self.number_of(hash).is_some()
    }
}

/// What belongs to each of some hashes, one list behind the other.
#[derive(Default)]
pub(crate) struct Listed<T> {
    pub hashes: Numbered,
    /// Where the list of each ends; it begins where the one before ends.
    ends: Vec<usize>,
    items: Vec<T>,
}

impl<T: Copy + Ord + Send> Listed<T> {
    /// Lists what comes with each hash, in order. A list that is not `kept` is empty.
    pub fn of(mut pairs: Vec<(u64, T)>, kept: impl Fn(&[(u64, T)]) -> bool) -> Self {
        pairs.par_sort_unstable();
        let (mut hashes, mut ends, mut items) = (Vec::new(), Vec::new(), Vec::new());
        for list in pairs.chunk_by(|a, b| a.0 == b.0) {
            hashes.push(list[0].0);
            if kept(list) {
                items.extend(list.iter().map(|(_, item)| item));
            }
            ends.push(items.len());
        }
        drop(pairs);
        Self {
            hashes: Numbered::in_order(hashes),
            ends,
            items,
        }
    }

    /// The list of the hash of a number.
    pub fn list(&self, number: usize) -> &[T] {
        let before = number.checked_sub(1);
        &self.items[before.map_or(0, |before| self.ends[before])..self.ends[number]]
    }
}

/// About how many hashes begin alike: as many as lie in one line of the processor's cache.
const OF_ONE_BEGINNING: usize = 4;

/// Bits of the hashes that are there: most words of most texts share nothing, and one look tells.
#[derive(Default)]
struct Sieve {
    bits: Vec<u64>,
}

impl Sieve {
    fn of(hashes: &[u64]) -> Self {
        let mut sieve = Self {
            bits: vec![0; (hashes.len() / 4).next_power_of_two()],
        };
        for &hash in hashes {
            let (word, bit) = sieve.place(hash);
            sieve.bits[word] |= bit;
        }
        sieve
    }

    fn may_hold(&self, hash: u64) -> bool {
        let (word, bit) = self.place(hash);
        self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn place(&self, hash: u64) -> (usize, u64) {
        let word = (hash >> 6) as usize & self.bits.len().wrapping_sub(1);
        (word, 1 << (hash & 63))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn hashes_have_the_numbers_of_their_order(
            hashes in prop::collection::vec(prop_oneof![any::<u64>(), 0..20_u64, Just(u64::MAX)], 0..200),
            others in prop::collection::vec(prop_oneof![any::<u64>(), 0..20_u64], 0..50),
        ) {
            let numbered = Numbered::of(hashes.clone());
            let expected: BTreeSet<u64> = hashes.iter().copied().collect();
            prop_assert_eq!(numbered.len(), expected.len());
            for hash in hashes.into_iter().chain(others) {
                let number = expected.iter().position(|other| *other == hash);
                prop_assert_eq!(numbered.number_of(hash), number);
            }
        }
    }

    #[test]
    fn what_belongs_to_a_hash_is_listed_in_order_unless_it_is_too_much() {
        let pairs = vec![(9, 2), (u64::MAX, 7), (9, 1), (5, 3), (5, 4), (5, 5)];
        let listed = Listed::of(pairs, |list| list.len() < 3);
        let list = |hash| {
            listed
                .hashes
                .number_of(hash)
                .map(|number| listed.list(number))
        };
        assert_eq!(list(9), Some(&[1, 2][..]));
        assert_eq!(list(u64::MAX), Some(&[7][..]));
        assert_eq!(list(5), Some(&[][..]));
        assert_eq!(list(6), None);
    }

    #[test]
    fn nothing_is_among_none() {
        assert!(!Numbered::default().has(0) && !Numbered::of(Vec::new()).has(7));
    }
}
