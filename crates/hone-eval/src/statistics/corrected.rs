//! A share that an imperfect judge has counted, corrected for how often the judge is wrong.
//!
//! A judge that says "better" of a share of rows says it of some that are not, and misses some that are. Where people have rated
//! some rows, its sensitivity and specificity are known, with their own uncertainty, and the true share follows (Rogan and
//! Gladen 1978; the interval after Lee et al. 2025, arXiv 2511.21140, with counts adjusted as there).

use serde::Serialize;

use super::{Interval, LEVEL, normal};

/// How a judge did on rows that people have rated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rated {
    /// Rows of which people say yes.
    pub yes: u64,
    /// Those of them of which the judge says yes too.
    pub yes_found: u64,
    /// Rows of which people say no.
    pub no: u64,
    /// Those of them of which the judge says no too.
    pub no_found: u64,
}

/// A corrected share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Corrected {
    /// The share of yes that the judge's counts mean.
    pub value: f64,
    /// The range that holds the truth in 95 of 100 cases.
    pub interval: Interval,
    /// How often the judge sees a yes.
    pub sensitivity: f64,
    /// How often the judge sees a no.
    pub specificity: f64,
}

impl Rated {
    /// Adds a row.
    pub fn add(&mut self, people: bool, judge: bool) {
        let (all, found) = match people {
            true => (&mut self.yes, &mut self.yes_found),
            false => (&mut self.no, &mut self.no_found),
        };
        *all += 1;
        *found += u64::from(people == judge);
    }

    /// The true share behind `yes` of `rows` that the judge has counted. `None` where there are no rated rows of one kind, or
    /// the judge knows no better than chance.
    pub fn correct(&self, yes: u64, rows: u64) -> Option<Corrected> {
        if self.yes == 0 || self.no == 0 || rows == 0 {
            return None;
        }
        let z = normal::quantile(0.5 + LEVEL / 2.0);
        let share = |found: u64, all: u64| found as f64 / all as f64;
        let (sensitivity, specificity) = (
            share(self.yes_found, self.yes),
            share(self.no_found, self.no),
        );
        let value = truth(share(yes, rows), sensitivity, specificity)?;
        // Counts adjusted so that a judge without a fault on few rows is not taken for one without any.
        let n = rows as f64 + z * z;
        let seen = (yes as f64 + z * z / 2.0) / n;
        let (m1, m0) = (self.yes as f64 + 2.0, self.no as f64 + 2.0);
        let q1 = (self.yes_found as f64 + 1.0) / m1;
        let q0 = (self.no_found as f64 + 1.0) / m0;
        let middle = truth(seen, q1, q0)?;
        let variance = |share: f64, count: f64| share * (1.0 - share) / count;
        let (v1, v0) = (variance(q1, m1), variance(q0, m0));
        let shift = 2.0 * z * z * (middle * v1 - (1.0 - middle) * v0);
        let from_seen = variance(seen, n);
        let from_rated = (1.0 - middle).powi(2) * v0 + middle * middle * v1;
        let half = z * (from_seen + from_rated).sqrt() / (q0 + q1 - 1.0);
        let end = |value: f64| value.clamp(0.0, 1.0);
        Some(Corrected {
            value,
            interval: (end(middle + shift - half), end(middle + shift + half)),
            sensitivity,
            specificity,
        })
    }
}

/// The share of yes that a judge of this sensitivity and specificity sees as `seen`.
fn truth(seen: f64, sensitivity: f64, specificity: f64) -> Option<f64> {
    let power = sensitivity + specificity - 1.0;
    (power > 0.0).then(|| ((seen + specificity - 1.0) / power).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_ledger::Seed;

    #[test]
    fn a_judge_without_fault_is_believed_and_one_that_guesses_is_not() {
        let faultless = Rated {
            yes: 50,
            yes_found: 50,
            no: 50,
            no_found: 50,
        };
        let corrected = faultless.correct(30, 100).unwrap();
        assert!((corrected.value - 0.3).abs() < 1e-12);
        let guesses = Rated {
            yes_found: 25,
            no_found: 25,
            ..faultless
        };
        assert_eq!(guesses.correct(30, 100), None);
        assert_eq!(Rated::default().correct(30, 100), None);
        // Worked by hand: (0.5 + 0.8 - 1) / (0.9 + 0.8 - 1).
        let rated = Rated {
            yes: 10,
            yes_found: 9,
            no: 10,
            no_found: 8,
        };
        assert!((rated.correct(50, 100).unwrap().value - 3.0 / 7.0).abs() < 1e-12);
    }

    #[test]
    fn the_interval_holds_the_truth_in_about_95_of_100_cases() {
        let mut stream = Seed::new(5).stream();
        let mut draw = |share: f64| f64::from(stream.unit_f32()) < share;
        for (truth, sensitivity, specificity) in
            [(0.5, 0.85, 0.75), (0.3, 0.9, 0.7), (0.65, 0.7, 0.9)]
        {
            let (mut covered, mut biased, mut cases) = (0, 0.0, 0);
            for _ in 0..1500 {
                let mut rated = Rated::default();
                for _ in 0..80 {
                    let people = draw(truth);
                    let judge = draw(if people {
                        sensitivity
                    } else {
                        1.0 - specificity
                    });
                    rated.add(people, judge);
                }
                let mut yes = 0;
                for _ in 0..200 {
                    let people = draw(truth);
                    yes += u64::from(draw(if people {
                        sensitivity
                    } else {
                        1.0 - specificity
                    }));
                }
                let Some(corrected) = rated.correct(yes, 200) else {
                    continue;
                };
                cases += 1;
                biased += yes as f64 / 200.0 - corrected.value;
                let (low, high) = corrected.interval;
                covered += u32::from((low..=high).contains(&truth));
            }
            let share = f64::from(covered) / f64::from(cases);
            assert!((0.93..=0.975).contains(&share), "{truth} {share}");
            // What the judge counts itself is off by more than a correction that does nothing would allow.
            let seen = truth * sensitivity + (1.0 - truth) * (1.0 - specificity);
            let bias = biased / f64::from(cases);
            assert!((bias - (seen - truth)).abs() < 0.02, "{truth} {bias}");
        }
    }
}
