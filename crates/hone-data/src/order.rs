//! Which examples a step learns from.
//!
//! A pure function of seed and step: a resumed run needs to know nothing but how far it got.

use hone_ledger::Seed;

/// The examples of one epoch, shuffled.
pub fn order(num_examples: usize, seed: Seed, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..num_examples).collect();
    seed.child("shuffle")
        .index(epoch)
        .stream()
        .shuffle(&mut order);
    order
}

/// Deals the examples of epoch after epoch in batches. The last batch of an epoch is as large as what
/// is left: every example is seen once per epoch, and batches do not cross epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    num_examples: usize,
    batch_size: usize,
    seed: Seed,
}

impl Sampler {
    /// A sampler of at least one example in batches of at least one; `None` otherwise.
    pub fn new(num_examples: usize, batch_size: usize, seed: Seed) -> Option<Self> {
        (num_examples > 0 && batch_size > 0).then_some(Self {
            num_examples,
            batch_size,
            seed,
        })
    }

    /// Batches in one epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.num_examples.div_ceil(self.batch_size)
    }

    /// Steps for a number of epochs, rounded to the nearest, at least one.
    pub fn steps(&self, epochs: f64) -> usize {
        ((self.steps_per_epoch() as f64 * epochs).round() as usize).max(1)
    }

    /// The examples of an epoch, counted from 0, in their order.
    pub fn epoch(&self, epoch: usize) -> Vec<usize> {
        order(self.num_examples, self.seed, epoch as u64)
    }

    /// The examples of a step, counted from 0.
    pub fn batch(&self, step: usize) -> Vec<usize> {
        let (epoch, position) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        let order = self.epoch(epoch);
        let start = position * self.batch_size;
        order[start..self.num_examples.min(start + self.batch_size)].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_deals_every_example_once_in_another_order() {
        let sampler = Sampler::new(10, 4, Seed::new(3)).unwrap();
        assert_eq!(sampler.steps_per_epoch(), 3);
        let epoch = |epoch: usize| -> Vec<usize> {
            (0..3)
                .flat_map(|step| sampler.batch(epoch * 3 + step))
                .collect()
        };
        assert_eq!(
            sampler.batch(2).len(),
            2,
            "the last batch keeps what is left"
        );
        for number in 0..3 {
            let mut all = epoch(number);
            assert_eq!(all, order(10, Seed::new(3), number as u64));
            all.sort_unstable();
            assert_eq!(all, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(epoch(0), epoch(1));
        assert_ne!(order(10, Seed::new(3), 0), order(10, Seed::new(4), 0));
    }

    #[test]
    fn epochs_may_be_broken_and_nothing_cannot_be_dealt() {
        let sampler = Sampler::new(10, 4, Seed::new(0)).unwrap();
        assert_eq!(
            (sampler.steps(1.0), sampler.steps(1.5), sampler.steps(0.01)),
            (3, 5, 1)
        );
        assert_eq!(Sampler::new(0, 4, Seed::new(0)), None);
        assert_eq!(Sampler::new(4, 0, Seed::new(0)), None);
    }
}
