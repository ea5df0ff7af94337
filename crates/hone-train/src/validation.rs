//! What a validation looks at: which rows, the loss of each task over them, and how far the adapter has moved its base on
//! their prompts.
//!
//! The last is the mean of `Σ p ln(p / q)` after a bounded sample of prompt tokens, `p` by the tuned model and `q` by its base:
//! it grows with what the base forgets, whatever the loss does. The prompts go through the network for the loss anyway, so it
//! costs the head, twice, for [`WATCHED_TOKENS`]; and once in a process a pass without the adapter, of which a row of `d_model`
//! numbers is kept for each of them.

use hone_data::{Batch, Example, within_budget};
use hone_ledger::Seed;
use hone_model::{LossSum, Model};
use hone_tensor::{Tensor, TensorError};

use crate::data::Data;
use crate::objective::supervised::with_packed;
use crate::plan::TrainingPlan;

/// So many prompt tokens are compared with the base.
pub const WATCHED_TOKENS: usize = 512;

/// Larger packs gain no speed, and smaller ones show progress.
const PACK_TOKENS: usize = 4096;

/// The rows of a run's validations, packed.
#[derive(Debug)]
pub struct Validation {
    packs: Vec<Pack>,
    num_rows: usize,
    num_tasks: usize,
    /// What the base alone has after its last layer at the watched tokens of each pack.
    base: Option<Vec<Tensor>>,
}

/// Rows of one task.
#[derive(Debug)]
struct Pack {
    task: usize,
    batch: Batch,
    watched: Vec<usize>,
}

/// What a validation found.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The loss of each task, in the order of [`Data::tasks`].
    pub tasks: Vec<LossSum>,
    /// Mean divergence from the base at the watched tokens, in nats; `None` where there are none.
    pub divergence: Option<f64>,
}

impl Look {
    /// The loss over all rows.
    pub fn loss(&self) -> LossSum {
        let mut sum = LossSum::default();
        self.tasks.iter().for_each(|task| sum += *task);
        sum
    }
}

impl Validation {
    /// Of the rows that the plan evaluates, all or a sample of each task.
    pub fn new(data: Data, plan: &TrainingPlan) -> Self {
        let seed = Seed::new(plan.seed).child("validation");
        let num_tasks = data.tasks.len();
        let rows = sampled_rows(data.valid, num_tasks, plan.eval_rows, seed);
        let watched = watched_tokens(data.valid, &rows, seed);
        let mut packs = Vec::new();
        for task in 0..num_tasks {
            let of_task: Vec<usize> = (0..rows.len())
                .filter(|&at| data.valid[rows[at]].task == task)
                .collect();
            let examples: Vec<&Example> = of_task.iter().map(|&at| &data.valid[rows[at]]).collect();
            let mut rest = &of_task[..];
            for batch in within_budget(&examples, plan.max_tokens.min(PACK_TOKENS)) {
                let (own, after) = rest.split_at(batch.num_examples());
                rest = after;
                let starts = batch.boundaries.iter();
                let own = own.iter().zip(starts);
                let own = own.flat_map(|(&at, start)| watched[at].iter().map(move |t| start + t));
                packs.push(Pack {
                    task,
                    watched: own.collect(),
                    batch,
                });
            }
        }
        Self {
            packs,
            num_rows: rows.len(),
            num_tasks,
            base: None,
        }
    }

    /// Rows that are evaluated.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Tokens that are compared with the base.
    pub fn num_watched(&self) -> usize {
        self.packs.iter().map(|pack| pack.watched.len()).sum()
    }

    /// Has the base read the watched tokens, if it has not yet; `told` hears how many rows are done, of how many.
    ///
    /// # Errors
    /// The device failed, or was asked to stop.
    pub fn read_base(
        &mut self,
        model: &Model,
        told: &mut dyn FnMut(usize, usize),
    ) -> Result<(), TensorError> {
        if self.base.is_some() {
            return Ok(());
        }
        let (mut base, mut done) = (Vec::with_capacity(self.packs.len()), 0);
        for Pack { batch, watched, .. } in &self.packs {
            base.push(match watched.is_empty() {
                true => model.device().empty(0, model.config().d_model),
                false => with_packed(batch, |packed| model.base_hidden(packed, watched))?,
            });
            done += batch.num_examples();
            told(done, self.num_rows);
        }
        self.base = Some(base);
        Ok(())
    }

    /// Evaluates the model as it is. The base has to have been read.
    ///
    /// # Errors
    /// The device failed, or was asked to stop.
    pub fn look(
        &self,
        model: &Model,
        told: &mut dyn FnMut(usize, usize),
    ) -> Result<Look, TensorError> {
        let base = self.base.as_ref().expect("the base was read");
        let mut tasks = vec![LossSum::default(); self.num_tasks];
        let (mut divergence, mut done) = (0.0, 0);
        for (pack, base) in self.packs.iter().zip(base) {
            let Pack { batch, watched, .. } = pack;
            let nats = match watched.is_empty() {
                true => with_packed(batch, |packed| model.nats(packed))?,
                false => {
                    let (nats, divergences) = with_packed(batch, |packed| {
                        model.nats_and_divergence(packed, watched, base)
                    })?;
                    divergence += divergences.iter().sum::<f64>();
                    nats
                }
            };
            tasks[pack.task] += nats.into_iter().collect();
            done += batch.num_examples();
            told(done, self.num_rows);
        }
        let watched = self.num_watched();
        Ok(Look {
            tasks,
            divergence: (watched > 0).then(|| divergence / watched as f64),
        })
    }
}

/// Which rows are evaluated: all, or so many of each task as it has a share of them, at least one, chosen by the seed.
fn sampled_rows(rows: &[Example], num_tasks: usize, most: Option<usize>, seed: Seed) -> Vec<usize> {
    let Some(most) = most.filter(|most| *most < rows.len()) else {
        return (0..rows.len()).collect();
    };
    let (mut chosen, mut before) = (Vec::with_capacity(most), 0);
    for task in 0..num_tasks {
        let mut of_task: Vec<usize> = (0..rows.len())
            .filter(|&row| rows[row].task == task)
            .collect();
        // Rounded so that the shares add up; a task with any rows has one.
        let up_to = |count: usize| most * count / rows.len();
        let share = up_to(before + of_task.len()) - up_to(before);
        let share = share.max(1);
        before += of_task.len();
        let seed = seed.child("rows").index(task as u64);
        seed.stream().shuffle(&mut of_task);
        chosen.extend(of_task.into_iter().take(share));
    }
    chosen.sort_unstable();
    chosen
}

/// The tokens of each of these rows after which distributions are compared: in turn one of each row, at most
/// [`WATCHED_TOKENS`] in all.
fn watched_tokens(all: &[Example], rows: &[usize], seed: Seed) -> Vec<Vec<usize>> {
    let seed = seed.child("watched");
    let shuffled = |(at, row): (usize, &usize)| {
        let mut tokens = prompt_tokens(&all[*row]);
        seed.child("tokens")
            .index(at as u64)
            .stream()
            .shuffle(&mut tokens);
        tokens
    };
    let candidates: Vec<Vec<usize>> = rows.iter().enumerate().map(shuffled).collect();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    seed.stream().shuffle(&mut order);
    let mut watched = vec![vec![]; rows.len()];
    let (mut left, mut turn) = (WATCHED_TOKENS, 0);
    while left > 0 && candidates.iter().any(|tokens| tokens.len() > turn) {
        for &row in &order {
            if let Some(&token) = candidates[row].get(turn).filter(|_| left > 0) {
                watched[row].push(token);
                left -= 1;
            }
        }
        turn += 1;
    }
    watched.iter_mut().for_each(|tokens| tokens.sort_unstable());
    watched
}

/// The tokens of a row that it is not trained on, up to its last reply; the first half of a row that is trained on whole.
fn prompt_tokens(row: &Example) -> Vec<usize> {
    let end = row.supervised.iter().rposition(|is| *is).unwrap_or(0);
    let tokens: Vec<usize> = (0..end).filter(|&at| !row.supervised[at]).collect();
    // What stands before a text, at most one token, asks for nothing.
    match tokens.len() {
        0 | 1 => (0..row.ids.len() / 2).collect(),
        _ => tokens,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize, task: usize) -> Vec<Example> {
        let row = |row| Example {
            ids: (0..30).collect(),
            supervised: (0..30).map(|at| (10..29).contains(&at)).collect(),
            task,
            row,
        };
        (0..count).map(row).collect()
    }

    #[test]
    fn a_sample_has_of_each_task_its_share_and_the_same_rows_for_the_same_seed() {
        let rows: Vec<Example> = [rows(90, 0), rows(9, 1), rows(1, 2)].concat();
        let sample = |seed| sampled_rows(&rows, 3, Some(20), Seed::new(seed));
        let of = |task| {
            sample(1)
                .iter()
                .filter(|&&row| rows[row].task == task)
                .count()
        };
        assert_eq!([of(0), of(1), of(2)], [18, 1, 1]);
        assert_eq!(sample(1), sample(1));
        assert_ne!(sample(1), sample(2));
        assert_eq!(sampled_rows(&rows, 3, Some(100), Seed::new(1)).len(), 100);
        assert_eq!(sampled_rows(&rows, 3, None, Seed::new(1)).len(), 100);
    }

    #[test]
    fn watched_tokens_are_prompt_tokens_of_all_rows_in_turn_and_bounded() {
        let many = rows(200, 0);
        let all: Vec<usize> = (0..200).collect();
        let watched = watched_tokens(&many, &all, Seed::new(3));
        let counts: Vec<usize> = watched.iter().map(Vec::len).collect();
        assert_eq!(counts.iter().sum::<usize>(), WATCHED_TOKENS);
        assert!(counts.iter().all(|count| (2..=3).contains(count)));
        assert!(watched.iter().flatten().all(|&token| token < 10));
        let few = watched_tokens(&many, &[4, 5], Seed::new(3));
        assert_eq!(few, [(0..10).collect::<Vec<_>>(), (0..10).collect()]);
    }

    #[test]
    fn a_text_is_watched_in_its_first_half() {
        let text = Example {
            supervised: (0..30).map(|at| at > 0).collect(),
            ..rows(1, 0).remove(0)
        };
        assert_eq!(prompt_tokens(&text), (0..15).collect::<Vec<_>>());
    }
}
