//! What a network is given to learn from or to be judged by: sequences laid end to end, and the
//! tokens it should have said.

use crate::prefix::PrefixTree;

/// Sequences packed without padding. Attention never crosses a boundary.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    /// Token ids of all sequences, one after the other.
    pub ids: &'a [u32],
    /// Where sequences begin: prefix sums, one more than there are sequences.
    pub boundaries: &'a [usize],
    /// Rows whose next token is supervised, in rising order.
    pub rows: &'a [usize],
    /// That next token, for each of `rows`.
    pub targets: &'a [u32],
}

impl Packed<'_> {
    /// Rows that a step computes: a beginning common to several sequences counts once.
    pub fn distinct_rows(&self) -> usize {
        PrefixTree::shared(self.ids, self.boundaries).num_rows()
    }
}

/// A loss is a sum and a count: it adds over micro-batches and workers and is divided once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSum {
    /// Negative log-likelihood of the supervised tokens.
    pub nats: f64,
    /// How many there were.
    pub tokens: u64,
}

impl LossSum {
    /// Nats per supervised token; `None` when every label was masked out.
    pub fn mean(self) -> Option<f64> {
        (self.tokens > 0).then(|| self.nats / self.tokens as f64)
    }
}

impl std::ops::AddAssign for LossSum {
    fn add_assign(&mut self, other: Self) {
        self.nats += other.nats;
        self.tokens += other.tokens;
    }
}

impl FromIterator<f64> for LossSum {
    fn from_iter<I: IntoIterator<Item = f64>>(nats: I) -> Self {
        nats.into_iter().fold(Self::default(), |sum, nats| Self {
            nats: sum.nats + nats,
            tokens: sum.tokens + 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_of_the_sum_is_not_the_mean_of_means() {
        let mut sum = LossSum {
            nats: 40.0,
            tokens: 10,
        };
        sum += LossSum {
            nats: 90.0,
            tokens: 90,
        };
        assert_eq!(sum.mean(), Some(1.3));
        assert_eq!(LossSum::default().mean(), None);
    }
}
