//! Scores per task, and whether a tuned model is better than its base or only luckier.
//!
//! Every row keeps its own numbers until the end, because base and tuned model answer the same rows: the
//! difference is taken row by row, and resampling rows (paired bootstrap, Efron 1979; for metrics of generated
//! text Koehn 2004) tells how far it could have fallen otherwise. Losses stay sums with counts.

use std::collections::BTreeMap;

use hone_ledger::Seed;
use serde::{Deserialize, Serialize};

/// What one model made of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowScore {
    /// Which row: base and tuned scores are paired by it.
    pub row: usize,
    /// The task it belongs to.
    pub task: String,
    /// Loss summed over the supervised tokens.
    pub nats: f64,
    /// How many those are; zero when loss was not measured.
    pub tokens: u64,
    /// Whether the answer was the expected one; `None` when nothing was asked.
    pub exact_match: Option<bool>,
    /// ROUGE-L F of the answer; `None` when nothing was asked.
    #[serde(rename = "rougeL")]
    pub rouge_l: Option<f64>,
}

/// What one model made of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskScore {
    /// How many rows were scored.
    pub rows: usize,
    /// Nats per supervised token: summed first, divided once. `None` when no token was scored.
    pub loss: Option<f64>,
    /// How many tokens that is a mean of.
    pub loss_tokens: u64,
    /// Share of the answered rows answered exactly. `None` when no row was answered.
    pub exact_match: Option<f64>,
    /// Mean ROUGE-L F of the answered rows.
    #[serde(rename = "rougeL")]
    pub rouge_l: Option<f64>,
}

impl TaskScore {
    /// The scores of each task, by name.
    pub fn per_task(rows: &[RowScore]) -> BTreeMap<String, Self> {
        let of =
            |(task, rows): (&str, Vec<&RowScore>)| (task.to_string(), Self::of(rows.into_iter()));
        by_task(rows).into_iter().map(of).collect()
    }

    /// The score of some rows; there must be one.
    fn of<'a>(rows: impl Iterator<Item = &'a RowScore>) -> Self {
        let (mut count, mut nats, mut tokens) = (0, 0.0, 0);
        let (mut exact, mut rouge) = (Mean::default(), Mean::default());
        for row in rows {
            count += 1;
            nats += row.nats;
            tokens += row.tokens;
            exact.add(row.exact_match.map(f64::from));
            rouge.add(row.rouge_l);
        }
        Self {
            rows: count,
            loss: (tokens > 0).then(|| nats / tokens as f64),
            loss_tokens: tokens,
            exact_match: exact.value(),
            rouge_l: rouge.value(),
        }
    }
}

/// A mean over the rows that have a value.
#[derive(Default)]
struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        self.sum += value.unwrap_or(0.0);
        self.count += usize::from(value.is_some());
    }

    fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// Base and tuned model on the same rows of one task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The task.
    pub task: String,
    /// The base model's score.
    pub base: TaskScore,
    /// The tuned model's score.
    pub tuned: TaskScore,
    /// How much the loss changed; negative is better. `None` when either was not measured.
    pub loss: Option<Difference>,
    /// How much the exact match changed; positive is better. `None` when nothing was asked.
    pub exact_match: Option<Difference>,
    /// How much ROUGE-L changed; positive is better. `None` when nothing was asked.
    #[serde(rename = "rougeL")]
    pub rouge_l: Option<Difference>,
}

/// Tuned minus base, with the range that 95 of 100 resamples of the rows fall into.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// On the rows at hand.
    pub value: f64,
    /// The range; `None` of fewer than [`FEWEST_ROWS`] rows.
    pub interval: Option<(f64, f64)>,
}

impl Difference {
    /// Whether chance alone is an unlikely explanation: zero lies outside the range.
    pub fn is_clear(&self) -> bool {
        self.interval
            .is_some_and(|(low, high)| low > 0.0 || high < 0.0)
    }
}

/// Compares two models task by task. The seed decides the resamples of each task, whatever other tasks there are.
pub fn compare(
    base: &[RowScore],
    tuned: &[RowScore],
    seed: Seed,
) -> Result<Vec<Comparison>, Unpaired> {
    let pairs = pair_up(base, tuned)?;
    let mut tasks: BTreeMap<&str, Vec<Pair<'_>>> = BTreeMap::new();
    pairs
        .into_iter()
        .for_each(|pair| tasks.entry(&pair.0.task).or_default().push(pair));
    let compare = |(task, pairs): (&str, Vec<_>)| {
        compare_task(task, &pairs, seed.child("bootstrap").child(task))
    };
    Ok(tasks.into_iter().map(compare).collect())
}

/// The two models were not scored on the same rows.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "row {row} of task `{task}` was scored by the {has} model and not by the {lacks} model, so they cannot be compared"
)]
pub struct Unpaired {
    /// The first row without a partner.
    pub row: usize,
    /// Its task.
    pub task: String,
    /// Who scored it.
    pub has: &'static str,
    /// Who did not.
    pub lacks: &'static str,
}

type Pair<'a> = (&'a RowScore, &'a RowScore);

fn pair_up<'a>(base: &'a [RowScore], tuned: &'a [RowScore]) -> Result<Vec<Pair<'a>>, Unpaired> {
    let key = |score: &'a RowScore| (score.task.as_str(), score.row);
    let unpaired = |score: &RowScore, has, lacks| Unpaired {
        row: score.row,
        task: score.task.clone(),
        has,
        lacks,
    };
    let mut partners: BTreeMap<_, _> = tuned.iter().map(|score| (key(score), score)).collect();
    let pairs = base
        .iter()
        .map(|score| match partners.remove(&key(score)) {
            Some(partner) => Ok((score, partner)),
            None => Err(unpaired(score, "base", "tuned")),
        })
        .collect::<Result<_, _>>()?;
    match partners.values().next() {
        Some(score) => Err(unpaired(score, "tuned", "base")),
        None => Ok(pairs),
    }
}

fn compare_task(task: &str, pairs: &[Pair<'_>], seed: Seed) -> Comparison {
    let (base, tuned) = scores(pairs);
    let [loss, exact_match, rouge_l] = changes(&base, &tuned);

    let mut stream = seed.stream();
    let mut resampled: [Vec<f64>; 3] = Default::default();
    for _ in 0..RESAMPLES {
        let draw = |_: &Pair<'_>| pairs[stream.below(pairs.len() as u64) as usize];
        let (base, tuned) = scores(&pairs.iter().map(draw).collect::<Vec<_>>());
        for (all, change) in resampled.iter_mut().zip(changes(&base, &tuned)) {
            all.extend(change);
        }
    }
    let [losses, exact_matches, rouges] = resampled.map(|all| {
        if pairs.len() >= FEWEST_ROWS {
            middle_95(all)
        } else {
            None
        }
    });
    let difference =
        |value: Option<f64>, interval| value.map(|value| Difference { value, interval });
    Comparison {
        task: task.to_string(),
        loss: difference(loss, losses),
        exact_match: difference(exact_match, exact_matches),
        rouge_l: difference(rouge_l, rouges),
        base,
        tuned,
    }
}

/// Enough for a range stable in its second digit.
const RESAMPLES: usize = 1000;

/// Of fewer rows that all change the same way, which happens by chance too often, resamples do so too: their range would say
/// more than they know.
pub const FEWEST_ROWS: usize = 6;

fn scores(pairs: &[Pair<'_>]) -> (TaskScore, TaskScore) {
    (
        TaskScore::of(pairs.iter().map(|pair| pair.0)),
        TaskScore::of(pairs.iter().map(|pair| pair.1)),
    )
}

/// Tuned minus base in loss, exact match and ROUGE-L.
fn changes(base: &TaskScore, tuned: &TaskScore) -> [Option<f64>; 3] {
    let change = |of: fn(&TaskScore) -> Option<f64>| Some(of(tuned)? - of(base)?);
    [
        change(|score| score.loss),
        change(|score| score.exact_match),
        change(|score| score.rouge_l),
    ]
}

/// From the 2.5th to the 97.5th percentile.
fn middle_95(mut values: Vec<f64>) -> Option<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let at = |share: f64| values[(share * last as f64).round() as usize];
    Some((at(0.025), at(0.975)))
}

fn by_task(rows: &[RowScore]) -> BTreeMap<&str, Vec<&RowScore>> {
    let mut tasks: BTreeMap<&str, Vec<&RowScore>> = BTreeMap::new();
    rows.iter()
        .for_each(|row| tasks.entry(&row.task).or_default().push(row));
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(row: usize, task: &str, exact_match: bool, rouge_l: f64) -> RowScore {
        RowScore {
            row,
            task: task.into(),
            nats: 40.0,
            tokens: 10,
            exact_match: Some(exact_match),
            rouge_l: Some(rouge_l),
        }
    }

    /// `count` rows of a task, of which every `every`-th is answered exactly.
    fn rows(task: &str, count: usize, every: usize) -> Vec<RowScore> {
        (0..count)
            .map(|at| row(at, task, at % every == 0, 0.5))
            .collect()
    }

    #[test]
    fn loss_is_divided_once() {
        let short = row(0, "meaning", true, 1.0);
        let long = RowScore {
            nats: 90.0,
            tokens: 90,
            ..row(1, "meaning", false, 0.5)
        };
        let score = &TaskScore::per_task(&[short, long])["meaning"];
        assert_eq!((score.loss, score.loss_tokens), (Some(1.3), 100));
        assert_eq!(
            (score.rows, score.exact_match, score.rouge_l),
            (2, Some(0.5), Some(0.75))
        );
    }

    #[test]
    fn the_names_in_json_are_fixed() {
        let score = &TaskScore::per_task(&[RowScore {
            tokens: 0,
            ..row(0, "group", true, 1.0)
        }])["group"];
        let expected =
            json!({"rows": 1, "loss": null, "loss_tokens": 0, "exact_match": 1.0, "rougeL": 1.0});
        assert_eq!(serde_json::to_value(score).unwrap(), expected);
    }

    #[test]
    fn tasks_do_not_mix() {
        let scores = TaskScore::per_task(&[row(0, "group", true, 1.0), row(1, "fix", false, 0.0)]);
        assert_eq!(scores.keys().collect::<Vec<_>>(), ["fix", "group"]);
        assert_eq!(
            (scores["group"].exact_match, scores["fix"].exact_match),
            (Some(1.0), Some(0.0))
        );
    }

    #[test]
    fn the_same_answers_differ_by_nothing() {
        let same = rows("group", 20, 3);
        let comparison = &compare(&same, &same, Seed::new(0)).unwrap()[0];
        for difference in [
            comparison.loss.unwrap(),
            comparison.exact_match.unwrap(),
            comparison.rouge_l.unwrap(),
        ] {
            assert_eq!(
                difference,
                Difference {
                    value: 0.0,
                    interval: Some((0.0, 0.0))
                }
            );
            assert!(!difference.is_clear());
        }
    }

    #[test]
    fn a_large_gain_is_clear_and_one_lucky_row_is_not() {
        let base = rows("group", 40, 40);
        let gained = &compare(&base, &rows("group", 40, 2), Seed::new(0)).unwrap()[0];
        let gained = gained.exact_match.unwrap();
        assert_eq!(gained.value, 19.0 / 40.0);
        assert!(gained.is_clear(), "{gained:?}");
        let lucky = &compare(&base, &rows("group", 40, 39), Seed::new(0)).unwrap()[0];
        let lucky = lucky.exact_match.unwrap();
        assert_eq!(lucky.value, 1.0 / 40.0);
        assert!(!lucky.is_clear(), "{lucky:?}");
    }

    #[test]
    fn the_interval_is_as_wide_as_theory_says() {
        // 100 rows, half of them gained: the mean of 100 fair coins, standard error 0.05.
        let base: Vec<_> = (0..100).map(|at| row(at, "group", false, 0.0)).collect();
        let tuned = rows("group", 100, 2);
        let (low, high) = compare(&base, &tuned, Seed::new(1)).unwrap()[0]
            .exact_match
            .unwrap()
            .interval
            .unwrap();
        assert!(
            (low - (0.5 - 1.96 * 0.05)).abs() < 0.02 && (high - (0.5 + 1.96 * 0.05)).abs() < 0.02,
            "{low} {high}"
        );
    }

    #[test]
    fn the_seed_decides_and_other_tasks_do_not() {
        let (base, tuned) = (rows("group", 30, 7), rows("group", 30, 2));
        let alone = compare(&base, &tuned, Seed::new(0)).unwrap();
        let with_other = |rows: &[RowScore]| [rows, &[row(0, "fix", true, 1.0)]].concat();
        let together = compare(&with_other(&base), &with_other(&tuned), Seed::new(0)).unwrap();
        assert_eq!(together[1], alone[0]);
        assert_ne!(compare(&base, &tuned, Seed::new(1)).unwrap(), alone);
    }

    #[test]
    fn one_row_proves_nothing() {
        let comparison = compare(
            &[row(0, "fix", false, 0.0)],
            &[row(0, "fix", true, 1.0)],
            Seed::new(0),
        )
        .unwrap();
        let difference = comparison[0].rouge_l.unwrap();
        assert_eq!((difference.value, difference.interval), (1.0, None));
        assert!(!difference.is_clear());
    }

    #[test]
    fn a_loss_that_was_not_measured_is_not_compared() {
        let unmeasured = RowScore {
            tokens: 0,
            ..row(0, "fix", true, 1.0)
        };
        let comparison = compare(&[row(0, "fix", true, 1.0)], &[unmeasured], Seed::new(0)).unwrap();
        assert_eq!(comparison[0].loss, None);
    }

    #[test]
    fn a_row_that_was_not_asked_is_no_wrong_answer() {
        let unasked = RowScore {
            exact_match: None,
            rouge_l: None,
            ..row(1, "fix", false, 0.0)
        };
        let mixed = [row(0, "fix", true, 1.0), unasked.clone()];
        let score = &TaskScore::per_task(&mixed)["fix"];
        assert_eq!(
            (score.rows, score.exact_match, score.rouge_l),
            (2, Some(1.0), Some(1.0))
        );
        let comparison = compare(
            std::slice::from_ref(&unasked),
            std::slice::from_ref(&unasked),
            Seed::new(0),
        )
        .unwrap();
        assert_eq!(comparison[0].exact_match, None);
    }

    #[test]
    fn rows_scored_by_one_model_only_are_named() {
        let (two, one) = (rows("fix", 2, 1), rows("fix", 1, 1));
        let error = compare(&two, &one, Seed::new(0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "row 1 of task `fix` was scored by the base model and not by the tuned model, so they cannot be compared"
        );
        let error = compare(&one, &two, Seed::new(0)).unwrap_err();
        assert_eq!((error.row, error.has, error.lacks), (1, "tuned", "base"));
    }
}
