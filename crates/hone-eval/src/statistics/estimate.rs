//! A score of a set of rows with its standard error and interval: what every metric is shown with.

use hone_ledger::Seed;
use serde::Serialize;

use super::{Interval, LEVEL, RESAMPLES, bootstrap, proportion};

/// A score and how far it may be off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// How many rows were scored.
    pub rows: usize,
    /// The score of all of them.
    pub value: f64,
    /// The sample's standard deviation over the root of the rows, as lm_eval has it; of a score that is no mean, the
    /// standard deviation of its resamples. `None` for a single row.
    pub standard_error: Option<f64>,
    /// The range of 95 %: Wilson's where every score is right or wrong, else from resampled rows. `None` for a single row.
    pub interval: Option<Interval>,
}

impl Estimate {
    /// The mean of scores; `None` without any.
    pub fn of_mean(scores: &[f64], seed: Seed) -> Option<Self> {
        Some(Self {
            rows: scores.len(),
            value: mean(scores)?,
            standard_error: standard_error(scores),
            interval: interval(scores, seed),
        })
    }

    /// A score of rows that is no mean of theirs, such as BLEU or a macro F1; `None` without rows. `score` is given
    /// numbers of rows, some of them several times.
    pub fn by(
        rows: usize,
        seed: Seed,
        score: impl Fn(&[usize]) -> f64 + Sync + Send,
    ) -> Option<Self> {
        if rows == 0 {
            return None;
        }
        let all: Vec<usize> = (0..rows).collect();
        let value = score(&all);
        let resampled = match rows {
            1 => vec![],
            _ => bootstrap::resampled_by(rows, RESAMPLES, seed, score),
        };
        Some(Self {
            rows,
            value,
            standard_error: deviation(&resampled),
            interval: bootstrap::interval(rows, LEVEL, resampled),
        })
    }
}

/// Ten right answers have only right ones among their resamples, which would be an interval from 1 to 1: the true share of
/// 90 % was in it for 65 of 100 simulated models. Wilson's knows better.
fn interval(scores: &[f64], seed: Seed) -> Option<Interval> {
    let is_right_or_wrong = |score: &f64| *score == 0.0 || *score == 1.0;
    if scores.len() < 2 || !scores.iter().all(is_right_or_wrong) {
        return bootstrap::interval_of_mean(scores, LEVEL, RESAMPLES, seed);
    }
    let right = scores.iter().filter(|score| **score == 1.0).count();
    proportion::wilson(right as u64, scores.len() as u64, LEVEL)
}

/// The mean; `None` without scores.
pub fn mean(scores: &[f64]) -> Option<f64> {
    (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
}

/// The standard error of the mean: the sample's standard deviation over the root of its size. `None` for fewer than two.
pub fn standard_error(scores: &[f64]) -> Option<f64> {
    deviation(scores).map(|deviation| deviation / (scores.len() as f64).sqrt())
}

fn deviation(scores: &[f64]) -> Option<f64> {
    if scores.len() < 2 {
        return None;
    }
    let mean = mean(scores)?;
    let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
    Some((squares / (scores.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_error_is_that_of_a_sample() {
        // Deviations 1.5, 0.5, 0.5, 1.5: a variance of 5 / 3.
        let error = standard_error(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!((error - (5.0_f64 / 3.0).sqrt() / 2.0).abs() < 1e-15);
        assert_eq!(standard_error(&[1.0]), None);
    }

    #[test]
    fn one_row_has_a_score_and_nothing_to_judge_it_by() {
        let estimate = Estimate::of_mean(&[0.5], Seed::new(0)).unwrap();
        assert_eq!((estimate.value, estimate.rows), (0.5, 1));
        assert_eq!((estimate.standard_error, estimate.interval), (None, None));
        assert_eq!(Estimate::by(1, Seed::new(0), |_| 0.5), Some(estimate));
        assert_eq!(Estimate::of_mean(&[], Seed::new(0)), None);
    }

    #[test]
    fn answers_that_are_all_right_leave_room_for_wrong_ones() {
        let estimate = Estimate::of_mean(&[1.0; 10], Seed::new(0)).unwrap();
        let (low, high) = estimate.interval.unwrap();
        assert!((low - 0.7225).abs() < 1e-4 && high == 1.0);
    }

    #[test]
    fn resamples_agree_with_the_formula_where_there_is_one() {
        let scores: Vec<f64> = (0..200).map(|at| f64::from(at % 7)).collect();
        let mean_of = |rows: &[usize]| rows.iter().map(|at| scores[*at]).sum::<f64>() / 200.0;
        let by_formula = Estimate::of_mean(&scores, Seed::new(1)).unwrap();
        let by_resamples = Estimate::by(200, Seed::new(1), mean_of).unwrap();
        assert_eq!(by_formula.interval, by_resamples.interval);
        let errors = [by_formula, by_resamples].map(|one| one.standard_error.unwrap());
        assert!((errors[0] / errors[1] - 1.0).abs() < 0.06, "{errors:?}");
        let (low, high) = by_formula.interval.unwrap();
        assert!(low < by_formula.value && by_formula.value < high);
    }
}
