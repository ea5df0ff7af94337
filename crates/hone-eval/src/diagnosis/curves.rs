//! Losses of training and validation: where they part.
//!
//! Validation loss that rises while training loss goes on falling is what overfitting means. A rise has to be more than two in
//! a hundred and 0.02 nats, and seen twice or five times as large: validation loss on the same rows is not noisy from step to
//! step, but the last validation may lie in the shadow of one unlucky batch.

use serde::Serialize;

use super::{Finding, Recommended, Weight, plural};

/// The rule that calls a run overfitted by its losses.
pub const VALIDATION_ROSE: &str = "validation-rose";
/// Training loss rose with validation loss.
pub const FELL_APART: &str = "fell-apart";
/// No validation was better than that of the untouched adapter.
pub const NEVER_BETTER: &str = "never-better";

/// A rise of this share, and of this many nats, counts.
const RISE_SHARE: f64 = 0.02;
const RISE_NATS: f64 = 0.02;
/// A rise that only one validation shows has to be so many times as large.
const SEEN_ONCE: f64 = 5.0;
/// From so many passes over so few rows on, overfitting is to be expected.
const MANY_EPOCHS: f64 = 4.0;
const FEW_ROWS: usize = 200;
/// Training loss below this share of validation loss is knowing by heart.
const BY_HEART: f64 = 0.25;

/// What a run told.
#[derive(Clone, Debug, Default)]
pub struct Curves {
    /// Step, counted from 1, and loss before it.
    pub train: Vec<(usize, f64)>,
    /// Steps taken, and validation loss; the first is of the untouched adapter.
    pub valid: Vec<(usize, f64)>,
    /// Training rows.
    pub rows: usize,
    /// Steps that pass over all of them.
    pub steps_per_epoch: usize,
    /// Steps taken.
    pub steps: usize,
    /// Whether the run stopped before its end.
    pub is_unfinished: bool,
    /// Rows that were held out, where that is known.
    pub held_out: usize,
}

/// What was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Training rows.
    pub rows: usize,
    /// Steps taken.
    pub steps: usize,
    /// Passes over the rows.
    pub epochs: f64,
    /// Validations.
    pub validations: usize,
    /// Loss of the untouched adapter.
    pub valid_first: Option<f64>,
    /// The lowest validation loss.
    pub valid_best: Option<f64>,
    /// Steps taken by then.
    pub best_step: usize,
    /// The last validation loss.
    pub valid_last: Option<f64>,
    /// Steps taken by then.
    pub last_step: usize,
    /// Mean training loss between the validation before the best one and the best one.
    pub train_at_best: Option<f64>,
    /// Mean training loss since the last but one validation.
    pub train_last: Option<f64>,
}

impl Curves {
    /// Figures and findings.
    pub fn judge(&self) -> (Figures, Vec<Finding>) {
        let figures = self.figures();
        let findings = [
            never_better(&figures),
            self.validation_rose(&figures),
            by_heart(&figures),
            few_rows_often(&figures),
            self.still_falling(&figures),
            self.unfinished(),
            self.no_validations(&figures),
        ];
        (figures, findings.into_iter().flatten().collect())
    }

    fn unfinished(&self) -> Option<Finding> {
        self.is_unfinished.then(|| {
            let what = format!("the run stopped after step {} and is not finished: what is said here is of that much", self.steps);
            Finding::new("unfinished", Weight::Warning, what)
                .change("hone train --resume goes on with it")
        })
    }

    fn no_validations(&self, figures: &Figures) -> Option<Finding> {
        (figures.validations < 2).then(|| {
            let nothing = "nothing tells whether other rows get better";
            let what = match (figures.validations, self.held_out) {
                (0, 0) => format!("no rows were held out: {nothing}"),
                (0, rows) => format!(
                    "events.jsonl has no validation, although {rows} rows were held out: {nothing}"
                ),
                _ => format!(
                    "there is only one validation, after step {}: {nothing}",
                    figures.best_step
                ),
            };
            let finding = Finding::new("no-validations", Weight::Warning, what);
            match self.held_out {
                0 => finding.change("hold rows out: --valid-share 0.1, or --valid FILE"),
                _ => finding,
            }
        })
    }

    fn figures(&self) -> Figures {
        let finite = || self.valid.iter().filter(|(_, loss)| loss.is_finite());
        // Of equal ones the first, as the run keeps it.
        let best = finite().min_by(|a, b| a.1.total_cmp(&b.1));
        let best_step = best.map_or(self.steps, |best| best.0);
        let last_step = finite().next_back().map_or(self.steps, |last| last.0);
        Figures {
            rows: self.rows,
            steps: self.steps,
            epochs: self.steps as f64 / self.steps_per_epoch.max(1) as f64,
            validations: finite().count(),
            valid_first: finite().next().map(|first| first.1),
            valid_best: best.map(|best| best.1),
            best_step,
            valid_last: finite().next_back().map(|last| last.1),
            last_step,
            train_at_best: self.train_until(best_step),
            train_last: self.train_until(last_step),
        }
    }

    /// Mean training loss between the validation before the one after `step` and that one.
    fn train_until(&self, step: usize) -> Option<f64> {
        let before = self.valid.iter().map(|(at, _)| *at);
        let from = before.filter(|at| *at < step).max().unwrap_or(0);
        // An epoch has all rows, easy and hard; fewer steps may be of either.
        let from = from.min(step.saturating_sub(self.steps_per_epoch));
        let between = self.train.iter();
        let between =
            between.filter(|(at, loss)| (from + 1..=step).contains(at) && loss.is_finite());
        let losses: Vec<f64> = between.map(|(_, loss)| *loss).collect();
        (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64)
    }

    fn validation_rose(&self, figures: &Figures) -> Option<Finding> {
        let (best, last) = (figures.valid_best?, figures.valid_last?);
        let counts = (RISE_SHARE * best).max(RISE_NATS);
        let after = self
            .valid
            .iter()
            .filter(|(step, _)| *step > figures.best_step);
        let higher = after.filter(|(_, loss)| *loss > best + counts).count();
        let rise = last - best;
        let is_seen = rise > counts && higher >= 2 || rise > SEEN_ONCE * counts;
        let (then, now) = (
            figures.train_at_best.unwrap_or(f64::INFINITY),
            figures.train_last?,
        );
        if !is_seen || figures.best_step == 0 {
            return None;
        }
        // Where training loss rises as well, the run is falling apart and not learning by heart.
        if now > then + RISE_NATS {
            let what = format!(
                "validation loss rose from {best:.3} after step {} to {last:.3}, and training loss from {then:.3} to {now:.3}: the run falls apart",
                figures.best_step
            );
            let change = "a lower --lr (half of it, or a third), or a longer --warmup-ratio";
            return Some(Finding::new(FELL_APART, Weight::Problem, what).change(change));
        }
        let epochs = figures.best_step as f64 / self.steps_per_epoch.max(1) as f64;
        let what = format!(
            "validation loss rose from {best:.3} after step {} to {last:.3}, while training loss fell from {then:.3} to {now:.3}",
            figures.best_step
        );
        let change = format!(
            "train for about {epochs:.1} epochs in place of {:.1}, or give --patience 2; more rows, or a lower --lr or --rank, let it learn longer",
            figures.epochs
        );
        Some(Finding::new(VALIDATION_ROSE, Weight::Problem, what).change(change))
    }

    fn still_falling(&self, figures: &Figures) -> Option<Finding> {
        let last = self
            .valid
            .last()
            .filter(|last| last.0 == figures.best_step && last.0 > 0)?;
        let before = self.valid.iter().rev().nth(1)?;
        let fell = before.1 - last.1;
        (fell > (RISE_SHARE * before.1).max(RISE_NATS) && figures.validations > 2).then(|| {
            let what = format!(
                "validation loss was still falling at the end, from {:.3} to {:.3} since step {}",
                before.1, last.1, before.0
            );
            Finding::new("still-falling", Weight::Note, what)
                .change("more --epochs may make it better")
        })
    }
}

fn never_better(figures: &Figures) -> Option<Finding> {
    let (first, last) = (figures.valid_first?, figures.valid_last?);
    (figures.validations > 1 && figures.best_step == 0 && figures.steps > 0).then(|| {
        let what = format!(
            "no validation was better than the untouched base: {first:.3} before the first step, {last:.3} after the last"
        );
        Finding::new(NEVER_BETTER, Weight::Problem, what)
            .change("a lower --lr, more rows, or rows that are more like those of the validation set")
    })
}

fn by_heart(figures: &Figures) -> Option<Finding> {
    let (train, valid) = (figures.train_last?, figures.valid_last?);
    (figures.epochs >= 2.0 && train < BY_HEART * valid && valid - train > RISE_NATS).then(|| {
        let what = format!(
            "training rows are known nearly by heart: their loss is {train:.3} at the end, that of validation rows {valid:.3}"
        );
        Finding::new("known-by-heart", Weight::Warning, what)
    })
}

fn few_rows_often(figures: &Figures) -> Option<Finding> {
    let Figures { rows, epochs, .. } = figures;
    (*epochs >= MANY_EPOCHS && *rows < FEW_ROWS).then(|| {
        let what = format!("each of {} was trained on {epochs:.0} times", plural(*rows, "row"));
        Finding::new("few-rows-often", Weight::Note, what)
            .change("a few hundred rows and 1 to 3 epochs are usual; 1,000 good rows are better than 100 epochs")
    })
}

impl Figures {
    /// The adapter to take: the one of the lowest validation loss, or the last where nothing was validated.
    pub fn recommend(&self) -> Recommended {
        let (adapter, step) = ("adapter", self.best_step);
        let Some(best) = self.valid_best else {
            return Recommended {
                adapter,
                step: self.steps,
                why: "it is the only one, that of the last step".into(),
            };
        };
        if self.validations == 1 && step < self.steps {
            return Recommended {
                adapter: "last",
                step: self.steps,
                why: format!(
                    "it is that of the last step; adapter/ is that of step {step}, the only one that was validated"
                ),
            };
        }
        let last = self.valid_last.filter(|_| step < self.last_step);
        let beside = last.map_or(String::new(), |last| {
            format!(" ({last:.3} after step {})", self.last_step)
        });
        Recommended {
            adapter,
            step,
            why: format!(
                "it is that of step {step}, where validation loss was lowest: {best:.3}{beside}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curves(valid: &[(usize, f64)], train: impl Fn(usize) -> f64) -> Curves {
        let steps = valid.last().map_or(40, |last| last.0);
        Curves {
            train: (1..=steps).map(|step| (step, train(step))).collect(),
            valid: valid.to_vec(),
            rows: 30,
            steps_per_epoch: 4,
            steps,
            ..Curves::default()
        }
    }

    fn rules(curves: &Curves) -> Vec<&'static str> {
        curves
            .judge()
            .1
            .iter()
            .map(|finding| finding.rule)
            .collect()
    }

    fn falling(step: usize) -> f64 {
        3.0 / step as f64
    }

    #[test]
    fn validation_that_rises_twice_while_training_falls_is_overfitting() {
        let over = curves(
            &[(0, 3.0), (10, 2.0), (20, 2.2), (30, 2.6), (40, 3.0)],
            falling,
        );
        assert!(rules(&over).contains(&VALIDATION_ROSE));
        let (figures, findings) = over.judge();
        assert_eq!(figures.recommend().step, 10);
        let change = findings[0].change.as_deref().unwrap();
        assert!(
            change.contains("about 2.5 epochs in place of 10.0"),
            "{change}"
        );
    }

    #[test]
    fn one_small_rise_at_the_end_is_none_and_a_large_one_is() {
        assert!(
            !rules(&curves(&[(0, 3.0), (10, 2.0), (20, 2.05)], falling)).contains(&VALIDATION_ROSE)
        );
        assert!(
            rules(&curves(&[(0, 3.0), (10, 2.0), (20, 2.3)], falling)).contains(&VALIDATION_ROSE)
        );
        assert!(
            !rules(&curves(
                &[(0, 3.0), (10, 2.0), (20, 2.01), (30, 2.02)],
                falling
            ))
            .contains(&VALIDATION_ROSE)
        );
    }

    #[test]
    fn a_run_that_falls_apart_did_not_overfit() {
        let apart = curves(&[(0, 3.0), (10, 2.0), (20, 4.0), (30, 6.0)], |step| {
            step as f64 / 5.0
        });
        assert_eq!(rules(&apart)[0], FELL_APART);
    }

    #[test]
    fn what_never_got_better_learned_nothing() {
        assert_eq!(
            rules(&curves(&[(0, 3.0), (10, 3.2), (20, 3.4)], falling))[0],
            NEVER_BETTER
        );
    }

    #[test]
    fn a_curve_that_still_falls_asks_for_more() {
        let short = curves(&[(0, 3.0), (4, 2.0), (8, 1.6)], |_| 1.5);
        assert_eq!(rules(&short), ["still-falling"]);
        assert_eq!(
            rules(&curves(&[(0, 3.0), (4, 1.61), (8, 1.6)], |_| 1.5)),
            [""; 0]
        );
    }

    #[test]
    fn nothing_validated_is_said() {
        let (figures, findings) = curves(&[], falling).judge();
        assert_eq!(findings.last().unwrap().rule, "no-validations");
        assert_eq!(figures.recommend().step, 40);
    }
}
