//! One seed, handed down: every random choice in a run is a leaf of this tree.
//!
//! A child is named, not numbered by call order, so adding a new consumer of randomness never
//! changes the numbers that another one sees, and no thread count or resume point can either.

/// A node of the seed tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The root of a run's randomness: the number the user wrote.
    pub fn new(value: u64) -> Self {
        Self(mix(value ^ 0x686f_6e65_5f72_6f6f))
    }

    /// The sub-tree for one purpose, for example `"init"` or `"shuffle"`.
    pub fn child(self, name: &str) -> Self {
        // FNV-1a: short names, no collisions that matter, and stable across platforms.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(mix(self.0 ^ mix(hash)))
    }

    /// The sub-tree for one member of a sequence, for example an epoch or a step.
    pub fn index(self, index: u64) -> Self {
        Self(mix(self.0.wrapping_add(mix(
            index.wrapping_add(0x9e37_79b9_7f4a_7c15)
        ))))
    }

    /// The node itself as a number, for counter-based generators such as dropout masks.
    pub fn value(self) -> u64 {
        self.0
    }

    /// A stream of numbers from this node.
    pub fn stream(self) -> Stream {
        Stream(self.0)
    }
}

/// A sequence of pseudo-random numbers (SplitMix64; Steele, Lea & Flood 2014).
#[derive(Clone, Debug)]
pub struct Stream(u64);

impl Stream {
    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number in `[0, 1)` with 24 random bits.
    pub fn unit_f32(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// A number in `[0, bound)`; `bound` must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Multiply-shift: the bias is below 2⁻³² for every list a fine-tuning run can hold.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Fisher–Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_differ_by_name_and_by_index() {
        let root = Seed::new(0);
        assert_ne!(root.child("init"), root.child("shuffle"));
        assert_ne!(root.child("init").index(0), root.child("init").index(1));
        assert_ne!(Seed::new(0), Seed::new(1));
    }

    #[test]
    fn a_shuffle_is_a_permutation_and_repeats() {
        let order = |seed| {
            let mut items: Vec<u32> = (0..100).collect();
            Seed::new(seed).stream().shuffle(&mut items);
            items
        };
        let mut sorted = order(7);
        assert_eq!(order(7), sorted);
        assert_ne!(order(8), sorted);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
