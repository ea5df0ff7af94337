//! Examples side by side, without padding.
//!
//! A batch is one long row of ids and the boundaries between examples; attention and positions start
//! anew at each boundary. What is predicted is listed, not masked: row `t` of the batch predicts the
//! token of row `t + 1` of the same example, if that token is supervised.

use crate::Example;

/// A packed batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The ids of all examples, one after another.
    pub ids: Vec<u32>,
    /// Where examples begin and end: 0, …, `ids.len()`; one more than there are examples.
    pub boundaries: Vec<usize>,
    /// What is predicted, by ascending row.
    pub targets: Vec<Target>,
}

/// One prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// The row that predicts.
    pub row: usize,
    /// The token it should predict.
    pub token: u32,
    /// How much it counts in a loss; 1 for a token like any other.
    pub weight: f32,
}

impl Batch {
    /// How many examples it holds.
    pub fn num_examples(&self) -> usize {
        self.boundaries.len().saturating_sub(1)
    }
}

/// Puts examples side by side.
pub fn pack(examples: &[&Example]) -> Batch {
    let mut batch = Batch {
        boundaries: vec![0],
        ..Batch::default()
    };
    for example in examples {
        let start = batch.ids.len();
        let supervised = example
            .supervised
            .iter()
            .enumerate()
            .skip(1)
            .filter(|(_, supervised)| **supervised);
        batch.targets.extend(supervised.map(|(at, _)| Target {
            row: start + at - 1,
            token: example.ids[at],
            weight: 1.0,
        }));
        batch.ids.extend(&example.ids);
        batch.boundaries.push(batch.ids.len());
    }
    batch
}

/// Packs examples, in order, into at most `parts` batches of about equal length. No batch is empty,
/// so with fewer examples than parts there are fewer batches.
pub fn micro_batches(examples: &[&Example], parts: usize) -> Vec<Batch> {
    let parts = parts.clamp(1, examples.len().max(1));
    let mut batches = Vec::with_capacity(parts);
    let mut rest = examples;
    for left in (1..=parts).rev() {
        let tokens: usize = rest.iter().map(|example| example.ids.len()).sum();
        let taken = nearest_prefix(rest, tokens / left)
            .clamp(1, rest.len().saturating_sub(left - 1).max(1));
        let (part, after) = rest.split_at(taken.min(rest.len()));
        if !part.is_empty() {
            batches.push(pack(part));
        }
        rest = after;
    }
    batches
}

/// Packs examples, in order, into batches of at most `max_tokens`; an example that is longer by itself
/// stands alone.
pub fn within_budget(examples: &[&Example], max_tokens: usize) -> Vec<Batch> {
    let (mut batches, mut start, mut tokens) = (Vec::new(), 0, 0);
    for (at, example) in examples.iter().enumerate() {
        if at > start && tokens + example.ids.len() > max_tokens {
            batches.push(pack(&examples[start..at]));
            (start, tokens) = (at, 0);
        }
        tokens += example.ids.len();
    }
    if start < examples.len() {
        batches.push(pack(&examples[start..]));
    }
    batches
}

/// How many of the first examples come closest to `tokens`; everything if `tokens` is all of them.
fn nearest_prefix(examples: &[&Example], tokens: usize) -> usize {
    let (mut sum, mut taken) = (0, 0);
    for example in examples {
        let with = sum + example.ids.len();
        if with > tokens && with - tokens > tokens - sum {
            break;
        }
        (sum, taken) = (with, taken + 1);
        if sum >= tokens {
            break;
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example(ids: &[u32], supervised: &[bool]) -> Example {
        Example {
            ids: ids.to_vec(),
            supervised: supervised.to_vec(),
            task: 0,
            row: 0,
        }
    }

    fn some_examples() -> impl Strategy<Value = Vec<Example>> {
        let token = (0..1000_u32, any::<bool>());
        let example = prop::collection::vec(token, 2..20).prop_map(|tokens| {
            let (ids, mut supervised): (Vec<u32>, Vec<bool>) = tokens.into_iter().unzip();
            *supervised.last_mut().unwrap() = true;
            example(&ids, &supervised)
        });
        prop::collection::vec(example, 0..12)
    }

    /// An example's ids, and which of its rows predicts what.
    type Seen = (Vec<u32>, Vec<(usize, u32)>);

    /// All examples of some batches, read back from boundaries and targets.
    fn unpack(batches: &[Batch]) -> Vec<Seen> {
        let example = |batch: &Batch, bounds: &[usize]| {
            let inside = batch
                .targets
                .iter()
                .filter(|t| (bounds[0]..bounds[1]).contains(&t.row));
            (
                batch.ids[bounds[0]..bounds[1]].to_vec(),
                inside.map(|t| (t.row - bounds[0], t.token)).collect(),
            )
        };
        batches
            .iter()
            .flat_map(|batch| {
                batch
                    .boundaries
                    .windows(2)
                    .map(|bounds| example(batch, bounds))
            })
            .collect()
    }

    fn expected(examples: &[Example]) -> Vec<Seen> {
        let one = |e: &Example| {
            let supervised = (1..e.ids.len()).filter(|&at| e.supervised[at]);
            (
                e.ids.clone(),
                supervised.map(|at| (at - 1, e.ids[at])).collect(),
            )
        };
        examples.iter().map(one).collect()
    }

    #[test]
    fn a_row_predicts_the_next_token_of_its_own_example() {
        let (a, b) = (
            example(&[5, 6, 7], &[true, false, true]),
            example(&[8, 9], &[true, true]),
        );
        let batch = pack(&[&a, &b]);
        assert_eq!(batch.ids, [5, 6, 7, 8, 9]);
        assert_eq!(batch.boundaries, [0, 3, 5]);
        // Neither 5 nor 8 is a target: nothing of their own example stands before them.
        assert_eq!(
            batch.targets,
            [(1, 7), (3, 9)].map(|(row, token)| Target {
                row,
                token,
                weight: 1.0
            })
        );
    }

    #[test]
    fn parts_are_of_about_equal_length() {
        let lengths = |sizes: &[usize], parts| -> Vec<usize> {
            let examples: Vec<_> = sizes
                .iter()
                .map(|&size| example(&vec![1; size], &vec![true; size]))
                .collect();
            micro_batches(&examples.iter().collect::<Vec<_>>(), parts)
                .iter()
                .map(|batch| batch.ids.len())
                .collect()
        };
        assert_eq!(lengths(&[10, 10, 10, 10], 2), [20, 20]);
        assert_eq!(lengths(&[30, 10, 10, 10], 2), [30, 30]);
        assert_eq!(lengths(&[5, 5, 100], 3), [5, 5, 100]);
        assert_eq!(lengths(&[100, 5, 5], 3), [100, 5, 5]);
        assert_eq!(lengths(&[7, 7], 5), [7, 7]);
        assert_eq!(lengths(&[], 3), [0_usize; 0]);
    }

    proptest! {
        #[test]
        fn however_examples_are_packed_the_same_predictions_are_made(examples in some_examples(), parts in 1..6_usize, budget in 1..40_usize) {
            let all: Vec<&Example> = examples.iter().collect();
            let batches = micro_batches(&all, parts);
            prop_assert_eq!(unpack(&batches), expected(&examples));
            prop_assert_eq!(batches.len(), parts.min(examples.len()));
            prop_assert!(batches.iter().all(|batch| !batch.targets.is_empty()));
            let budgeted = within_budget(&all, budget);
            prop_assert_eq!(unpack(&budgeted), expected(&examples));
            prop_assert!(budgeted.iter().all(|batch| batch.num_examples() == 1 || batch.ids.len() <= budget));
        }
    }
}
