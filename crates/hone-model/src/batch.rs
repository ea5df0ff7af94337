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
    /// What the gradient of each target is multiplied with; 1 where nothing is said.
    pub weights: Option<&'a [f32]>,
}

/// Why a model cannot be given a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// Nothing to compute, or nothing to learn from it.
    #[error("the batch has no {what}")]
    Empty {
        /// What there is none of.
        what: &'static str,
    },
    /// A token that the model does not have.
    #[error("the batch has token {id}, and the model knows {vocab_size}")]
    UnknownToken {
        /// The token.
        id: u32,
        /// How many the model knows.
        vocab_size: usize,
    },
    /// A sequence longer than the model was loaded for.
    #[error("a sequence of the batch has {tokens} tokens, and the model was loaded for {limit}")]
    TooLong {
        /// Its tokens.
        tokens: usize,
        /// What the model takes.
        limit: usize,
    },
    /// Boundaries or targets that contradict the ids.
    #[error("the batch contradicts itself: {what}")]
    Contradicts {
        /// What must be otherwise.
        what: &'static str,
    },
}

impl Packed<'_> {
    /// Refuses what a model of this vocabulary, loaded for sequences of up to `limit` tokens, cannot be given.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, vocab_size: usize, limit: usize) -> Result<(), BatchError> {
        if self.ids.is_empty() {
            return Err(BatchError::Empty { what: "tokens" });
        }
        if self.rows.is_empty() {
            let what = "supervised tokens";
            return Err(BatchError::Empty { what });
        }
        let contradicts = |is_wrong: bool, what: &'static str| match is_wrong {
            true => Err(BatchError::Contradicts { what }),
            false => Ok(()),
        };
        let (first, last) = (self.boundaries.first(), self.boundaries.last());
        let spans = self.boundaries.windows(2);
        contradicts(
            first != Some(&0) || last != Some(&self.ids.len()),
            "boundaries begin with 0 and end with the number of ids",
        )?;
        contradicts(
            spans.clone().any(|span| span[0] >= span[1]),
            "boundaries rise, so that no sequence is empty",
        )?;
        contradicts(
            self.rows.len() != self.targets.len()
                || self
                    .weights
                    .is_some_and(|weights| weights.len() != self.rows.len()),
            "there is a token and a weight for each row that predicts",
        )?;
        contradicts(
            self.rows.windows(2).any(|rows| rows[0] >= rows[1])
                || self.rows.last().is_some_and(|row| *row >= self.ids.len()),
            "rows that predict rise and are rows of the batch",
        )?;
        let is_weight = |weight: &f32| weight.is_finite() && *weight >= 0.0;
        contradicts(
            self.weights
                .is_some_and(|weights| !weights.iter().all(is_weight)),
            "weights are numbers of at least 0",
        )?;
        let mut ids = self.ids.iter().chain(self.targets);
        if let Some(&id) = ids.find(|&&id| id as usize >= vocab_size) {
            return Err(BatchError::UnknownToken { id, vocab_size });
        }
        let longest = spans.map(|span| span[1] - span[0]).max().unwrap_or(0);
        match longest > limit {
            true => Err(BatchError::TooLong {
                tokens: longest,
                limit,
            }),
            false => Ok(()),
        }
    }

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
