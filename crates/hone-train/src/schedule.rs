//! How the learning rate rises and falls.

use serde::{Deserialize, Serialize};

/// The shape of the fall after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine, down to zero.
    Cosine,
    /// A straight line, down to zero.
    Linear,
    /// No fall.
    Constant,
}

/// The learning rate of every step, with the semantics of transformers' schedulers: the warm-up
/// begins at zero, and the step after the last would have rate zero again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearningRate {
    /// The highest rate.
    pub peak: f32,
    /// The fall.
    pub schedule: Schedule,
    /// Steps of linear rise.
    pub warmup_steps: usize,
    /// Steps in all.
    pub steps: usize,
}

impl LearningRate {
    /// With `ratio` of the steps as warm-up, rounded up, but for the last step: one step of warm-up alone has rate zero and
    /// would learn nothing, where transformers takes it all the same.
    pub fn new(peak: f32, schedule: Schedule, ratio: f64, steps: usize) -> Self {
        let warmup_steps = (ratio * steps as f64).ceil() as usize;
        let warmup_steps = warmup_steps.min(steps.saturating_sub(1));
        Self {
            peak,
            schedule,
            warmup_steps,
            steps,
        }
    }

    /// The rate of a step, counted from 0.
    pub fn at(&self, step: usize) -> f32 {
        if step < self.warmup_steps {
            return (f64::from(self.peak) * step as f64 / self.warmup_steps as f64) as f32;
        }
        let fall = (step - self.warmup_steps) as f64
            / (self.steps.saturating_sub(self.warmup_steps)).max(1) as f64;
        let share = match self.schedule {
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * fall).cos()),
            Schedule::Linear => 1.0 - fall,
            Schedule::Constant => 1.0,
        };
        (f64::from(self.peak) * share.max(0.0)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_to_the_peak_and_falls_to_zero() {
        for schedule in [Schedule::Cosine, Schedule::Linear] {
            let rate = LearningRate::new(2e-4, schedule, 0.05, 100);
            assert_eq!(rate.warmup_steps, 5);
            assert_eq!((rate.at(0), rate.at(5)), (0.0, 2e-4));
            assert!((5..99).all(|step| rate.at(step + 1) < rate.at(step)));
            assert!(rate.at(99) > 0.0 && rate.at(100) < 1e-10);
        }
        assert_eq!(
            LearningRate::new(2e-4, Schedule::Cosine, 0.05, 1).at(0),
            2e-4
        );
        let constant = LearningRate::new(1e-3, Schedule::Constant, 0.0, 3);
        assert!((0..3).all(|step| constant.at(step) == 1e-3));
    }
}
