//! Many verdicts as numbers.

use hone_ledger::Seed;
use serde::{Deserialize, Serialize};

use super::Choice;
use crate::statistics::corrected::{Corrected, Rated};
use crate::statistics::estimate::Estimate;
use crate::statistics::paired::PairedDifference;

/// What a judge says of two models' answers to one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The first model's is better, in both orders.
    First,
    /// The second's is.
    Second,
    /// Neither is.
    Tie,
    /// The order decided: a tie.
    Inconsistent,
    /// A reply had no verdict in it.
    Unreadable,
}

/// From the choices in both orders: first model as A, then second model as A.
pub fn of_pair(straight: Option<Choice>, turned: Option<Choice>) -> Verdict {
    match (straight, turned) {
        (None, _) | (_, None) => Verdict::Unreadable,
        (Some(Choice::A), Some(Choice::B)) => Verdict::First,
        (Some(Choice::B), Some(Choice::A)) => Verdict::Second,
        (Some(Choice::Tie), Some(Choice::Tie)) => Verdict::Tie,
        _ => Verdict::Inconsistent,
    }
}

/// Verdicts on the rows of a task, or of all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pairwise {
    /// Rows of which the first model's answer is better.
    pub first: u64,
    /// Rows of which the second's is.
    pub second: u64,
    /// Rows of which neither is.
    pub ties: u64,
    /// Ties because the judge changed its mind with the order.
    pub inconsistent: u64,
    /// Rows that do not count, because a reply had no verdict.
    pub unreadable: u64,
    /// How often the second wins, a tie as half a win.
    pub win_rate: Option<Estimate>,
    /// Whether that differs from even by more than chance.
    pub difference: Option<PairedDifference>,
    /// The share of rows that the second wins, corrected by rows that people rated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrected: Option<Corrected>,
}

impl Pairwise {
    /// Adds verdicts up; `rated` says how the judge did on rows that people rated.
    pub fn of(verdicts: &[Verdict], rated: Option<Rated>, seed: Seed) -> Self {
        let count = |which: Verdict| {
            let same = verdicts.iter().filter(|own| **own == which);
            same.count() as u64
        };
        let wins = verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::First => Some((1.0, 0.0)),
            Verdict::Second => Some((0.0, 1.0)),
            Verdict::Tie | Verdict::Inconsistent => Some((0.5, 0.5)),
            Verdict::Unreadable => None,
        });
        let (first, second): (Vec<f64>, Vec<f64>) = wins.unzip();
        let inconsistent = count(Verdict::Inconsistent);
        let won = count(Verdict::Second);
        Self {
            first: count(Verdict::First),
            second: won,
            ties: count(Verdict::Tie) + inconsistent,
            inconsistent,
            unreadable: count(Verdict::Unreadable),
            win_rate: Estimate::of_mean(&second, seed.child("win rate")),
            difference: PairedDifference::of_means(&first, &second, seed)
                .ok()
                .flatten(),
            corrected: rated.and_then(|rated| rated.correct(won, second.len() as u64)),
        }
    }
}

/// The ratings of two models' answers to a row, where they could be read.
pub type Ratings = (Option<f64>, Option<f64>);

/// Ratings of two models' answers to the rows of a task, or of all; of one model, the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Single {
    /// The first model's mean.
    pub first: Option<Estimate>,
    /// The second's.
    pub second: Option<Estimate>,
    /// Second less first, on rows of which both have a rating.
    pub difference: Option<PairedDifference>,
    /// Replies without a rating.
    pub unreadable: u64,
}

impl Single {
    /// Adds up ratings, of which some could not be read.
    pub fn of(ratings: &[Ratings], seed: Seed) -> Self {
        let side = |of: fn(&Ratings) -> Option<f64>| -> Vec<f64> {
            ratings.iter().filter_map(of).collect()
        };
        let both = ratings
            .iter()
            .filter_map(|(first, second)| (*first).zip(*second));
        let (paired_first, paired_second): (Vec<f64>, Vec<f64>) = both.unzip();
        let (first, second) = (side(|own| own.0), side(|own| own.1));
        Self {
            unreadable: (2 * ratings.len() - first.len() - second.len()) as u64,
            first: Estimate::of_mean(&first, seed.child("first")),
            second: Estimate::of_mean(&second, seed.child("second")),
            difference: PairedDifference::of_means(&paired_first, &paired_second, seed)
                .ok()
                .flatten(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_counts_if_it_survives_the_other_order() {
        use Choice::{A, B, Tie};
        assert_eq!(of_pair(Some(A), Some(B)), Verdict::First);
        assert_eq!(of_pair(Some(B), Some(A)), Verdict::Second);
        assert_eq!(of_pair(Some(Tie), Some(Tie)), Verdict::Tie);
        for changed in [(A, A), (B, B), (A, Tie), (Tie, B)] {
            assert_eq!(
                of_pair(Some(changed.0), Some(changed.1)),
                Verdict::Inconsistent
            );
        }
        assert_eq!(of_pair(None, Some(A)), Verdict::Unreadable);
    }

    #[test]
    fn a_tie_is_half_a_win_and_what_cannot_be_read_does_not_count() {
        let mut verdicts = vec![Verdict::Second; 6];
        verdicts.extend([
            Verdict::First,
            Verdict::Tie,
            Verdict::Inconsistent,
            Verdict::Unreadable,
        ]);
        let tally = Pairwise::of(&verdicts, None, Seed::new(0));
        assert_eq!(
            (tally.second, tally.first, tally.ties, tally.inconsistent),
            (6, 1, 2, 1)
        );
        let rate = tally.win_rate.unwrap();
        assert_eq!((rate.rows, rate.value), (9, 7.0 / 9.0));
        assert!((tally.difference.unwrap().value - 5.0 / 9.0).abs() < 1e-12);

        let ratings = [
            (Some(4.0), Some(6.0)),
            (None, Some(9.0)),
            (Some(5.0), Some(6.0)),
        ];
        let tally = Single::of(&ratings, Seed::new(0));
        assert_eq!(
            (tally.unreadable, tally.difference.unwrap().value),
            (1, 1.5)
        );
        assert_eq!(tally.second.unwrap().value, 7.0);
    }
}
