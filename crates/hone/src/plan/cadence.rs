//! How often a run is validated and on how many rows, so that watching it costs little beside training it.
//!
//! Where nobody says, validations take at most about a tenth of the time of the steps, by the operations that a rehearsal counted:
//! ten validations of all rows if that is little enough, of a sample if not, and fewer of them, but four, where the sample would
//! be too small to tell much. Two are always made, before the first step and after the last, whatever they cost.

/// What validations may take of the steps' operations: a tenth of their time, since an operation of a validation takes up to a
/// quarter longer (30 s of validations beside 184 s of steps where 13 % were counted).
const SHARE: f64 = 0.08;

/// Validations in a run, where they cost little.
const USUAL: usize = 10;

/// Fewer rows tell too little for the number of validations to stay.
const ENOUGH_ROWS: usize = 64;

/// Fewer validations tell no course, so that rows are given up for them.
const FEW: usize = 4;

/// Fewer rows are not evaluated, whatever it costs.
const LEAST_ROWS: usize = 16;

/// What was asked, and what there is to compute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cadence {
    pub steps: usize,
    /// Operations of all steps.
    pub of_steps: f64,
    /// Operations of a validation of all rows.
    pub of_look: f64,
    /// Rows of the validation set.
    pub rows: usize,
    pub asked_every: Option<usize>,
    pub asked_rows: Option<usize>,
}

impl Cadence {
    /// Steps between validations, and the rows that are evaluated if not all are.
    pub fn settle(self) -> (usize, Option<usize>) {
        let every = |validations: usize| self.steps.div_ceil(validations.max(1)).max(1);
        if self.rows == 0 {
            return (self.asked_every.unwrap_or(every(USUAL)), self.asked_rows);
        }
        let sampled = |rows: usize| (rows < self.rows).then_some(rows);
        match (self.asked_every, self.asked_rows) {
            (Some(every), Some(rows)) => (every, sampled(rows)),
            (Some(every), None) => {
                let looks = self.steps.div_ceil(every);
                (every, sampled(self.rows_for(looks).max(LEAST_ROWS)))
            }
            (None, Some(rows)) => (every(self.looks_for(rows)), sampled(rows)),
            (None, None) => {
                let usual = USUAL.min(self.steps);
                let rows = self.rows_for(usual);
                if rows >= ENOUGH_ROWS.min(self.rows) {
                    return (every(usual), sampled(rows));
                }
                let looks = match self.looks_for(ENOUGH_ROWS) {
                    few if few < FEW => match self.rows_for(FEW.min(self.steps)) {
                        rows if rows >= LEAST_ROWS.min(self.rows) => FEW.min(self.steps),
                        _ => self.looks_for(LEAST_ROWS),
                    },
                    looks => looks,
                };
                let rows = self.rows_for(looks).max(LEAST_ROWS);
                (every(looks), sampled(rows))
            }
        }
    }

    /// The rows that so many validations may have: one more is made before the first step, and the base reads them once.
    fn rows_for(self, looks: usize) -> usize {
        let share = SHARE * self.of_steps / ((looks + 2) as f64 * self.of_look.max(1.0));
        (share * self.rows as f64).min(self.rows as f64) as usize
    }

    /// So many validations may so many rows have, from one to the usual number.
    fn looks_for(self, rows: usize) -> usize {
        let rows = rows.min(self.rows) as f64;
        let of_look = self.of_look.max(1.0) * rows / self.rows as f64;
        let looks = (SHARE * self.of_steps / of_look) as usize;
        looks.saturating_sub(2).clamp(1, USUAL.min(self.steps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred steps, beside so many rows whose validation takes `of_look` of them.
    fn cadence(of_look: f64, rows: usize) -> Cadence {
        Cadence {
            steps: 100,
            of_steps: 100e9,
            of_look: of_look * 1e9,
            rows,
            asked_every: None,
            asked_rows: None,
        }
    }

    /// What the steps between validations and their rows come to, as a share of the steps.
    fn share(cadence: Cadence) -> f64 {
        let (every, rows) = cadence.settle();
        let part = rows.unwrap_or(cadence.rows) as f64 / cadence.rows as f64;
        let looks = cadence.steps.div_ceil(every) + 2;
        looks as f64 * part * cadence.of_look / cadence.of_steps
    }

    #[test]
    fn a_small_set_is_validated_ten_times_on_all_rows() {
        assert_eq!(cadence(0.5, 50).settle(), (10, None));
    }

    #[test]
    fn a_large_set_is_sampled_and_validated_as_often() {
        let large = cadence(5.0, 2000);
        assert_eq!(large.settle(), (10, Some(266)));
        assert!(share(large) <= SHARE);
    }

    #[test]
    fn where_a_sample_would_be_too_small_there_are_fewer_validations() {
        let dear = cadence(5.0, 212);
        let (every, rows) = dear.settle();
        assert_eq!((every, rows), (25, Some(56)));
        assert!(share(dear) <= SHARE);
        // Forty rows would leave one validation.
        let small = cadence(2.6, 40);
        assert_eq!(small.settle(), (25, Some(20)));
        assert!(share(small) <= SHARE);
        // A set that is small and dear: each row is as long as a step.
        assert_eq!(cadence(40.0, 40).settle(), (100, Some(16)));
        assert_eq!(cadence(40.0, 10).settle(), (100, None));
    }

    #[test]
    fn what_was_asked_stays_and_the_other_follows() {
        let asked = |every, rows| {
            let cadence = Cadence {
                asked_every: every,
                asked_rows: rows,
                ..cadence(5.0, 2000)
            };
            cadence.settle()
        };
        assert_eq!(asked(Some(3), Some(9)), (3, Some(9)));
        assert_eq!(asked(Some(50), None), (50, Some(800)));
        assert_eq!(asked(None, Some(500)), (25, Some(500)));
        assert_eq!(asked(None, Some(5000)), (100, None));
        assert_eq!(asked(Some(3), Some(5000)), (3, None));
    }

    #[test]
    fn without_rows_there_is_nothing_to_bound() {
        assert_eq!(cadence(0.0, 0).settle(), (10, None));
    }
}
