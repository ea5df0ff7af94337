//! The living line of a run: where it is, how it learns, when it ends.
//!
//! On a terminal it is one line redrawn in place. In a log file it is a plain line every few seconds, because a log of
//! carriage returns cannot be read.

use super::{Talk, duration};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What the line tells at one step.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Steps done.
    pub step: usize,
    /// Loss of this step, in nats per supervised token.
    pub loss: f64,
    /// Supervised tokens it is over.
    pub supervised_tokens: u64,
    /// Tokens of this step.
    pub tokens: u64,
    /// Time it took.
    pub seconds: f64,
    /// Memory in use.
    pub memory_bytes: u64,
}

/// A line that lives as long as the run.
pub struct LivingLine {
    bar: ProgressBar,
    talk: Talk,
    pace: Pace,
    last_line: Option<Instant>,
    /// The newest steps, as many as the shown loss is a mean of.
    recent: VecDeque<Moment>,
    /// How far the adapter has moved its base, as the last validation found.
    divergence: Option<f64>,
}

/// What there is to do, and how long it has taken so far.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    num_steps: usize,
    eval_every: usize,
    steps: usize,
    step_seconds: f64,
    tokens: u64,
    looks: usize,
    look_seconds: f64,
}

impl Pace {
    /// How long the steps and validations after so many steps will take.
    fn seconds_left(&self, step: usize) -> f64 {
        let each = |seconds: f64, times: usize| seconds / times.max(1) as f64;
        let steps_left = self.num_steps.saturating_sub(step);
        // One after every `eval_every` steps, this one included, and one after the last.
        let every = self.eval_every.max(1);
        let looks_left = self
            .num_steps
            .div_ceil(every)
            .saturating_sub(step.saturating_sub(1) / every);
        each(self.step_seconds, self.steps) * steps_left as f64
            + each(self.look_seconds, self.looks) * looks_left as f64
    }

    /// Tokens a second of training, validations apart.
    fn speed(&self) -> f64 {
        self.tokens as f64 / self.step_seconds.max(1e-9)
    }
}

/// A log gets a line this often.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The shown loss is a mean of so many steps, since that of one step depends on its rows more than on what was learned.
const RECENT_STEPS: usize = 10;

impl LivingLine {
    /// Starts before the step after `first_step`.
    pub fn start(talk: Talk, first_step: usize, num_steps: usize, eval_every: usize) -> Self {
        let target = if talk.is_live() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(num_steps as u64), target);
        let style = ProgressStyle::with_template("{bar:24.cyan/dim} {pos}/{len}  {msg}");
        bar.set_style(style.expect("the template is valid").progress_chars("━━─"));
        bar.set_position(first_step as u64);
        Self {
            bar,
            talk,
            pace: Pace {
                num_steps,
                eval_every,
                ..Pace::default()
            },
            last_line: None,
            recent: VecDeque::new(),
            divergence: None,
        }
    }

    /// Tells about a step.
    pub fn tell(&mut self, moment: Moment) {
        if self.recent.len() == RECENT_STEPS {
            self.recent.pop_front();
        }
        self.recent.push_back(moment);
        self.pace.steps += 1;
        self.pace.step_seconds += moment.seconds;
        self.pace.tokens += moment.tokens;
        let words = self.words(moment);
        let num_steps = self.pace.num_steps;
        if self.talk.is_live() {
            self.bar.set_position(moment.step as u64);
            self.bar.set_message(words);
        } else if self.last_line.is_none_or(|at| at.elapsed() >= LOG_EVERY)
            || moment.step == num_steps
        {
            self.last_line = Some(Instant::now());
            self.talk
                .say(format!("step {}/{num_steps}  {words}", moment.step));
        }
    }

    /// Takes note of how long a validation took.
    pub fn count_look(&mut self, seconds: f64) {
        self.pace.looks += 1;
        self.pace.look_seconds += seconds;
    }

    /// Tells how many rows of a validation are done.
    pub fn tell_of_look(&mut self, done: usize, total: usize) {
        let words = format!("validation: {done} of {total} rows");
        if self.talk.is_live() {
            self.bar.set_message(words);
        } else if self.last_line.is_some_and(|at| at.elapsed() >= LOG_EVERY) {
            self.last_line = Some(Instant::now());
            self.talk.say(words);
        }
    }

    /// Shows from now on how far the adapter has moved its base.
    pub fn show_divergence(&mut self, divergence: Option<f64>) {
        self.divergence = divergence;
    }

    /// Says a line that stays above the living one.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| self.talk.say(line));
    }

    /// Ends the line.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }

    fn words(&self, moment: Moment) -> String {
        let moved = self.divergence;
        let moved = moved.map_or(String::new(), |kl| format!("  KL {kl:.3}"));
        format!(
            "{}{moved}  {:.0} tok/s  {:.2} GB  {} left",
            self.loss(),
            self.pace.speed(),
            moment.memory_bytes as f64 / 1e9,
            duration(self.pace.seconds_left(moment.step))
        )
    }

    /// The mean over the supervised tokens of the newest steps, and how many steps these are.
    fn loss(&self) -> String {
        let tokens: u64 = self.recent.iter().map(|step| step.supervised_tokens).sum();
        let nats = self
            .recent
            .iter()
            .map(|step| step.loss * step.supervised_tokens as f64);
        let mean = nats.sum::<f64>() / tokens.max(1) as f64;
        match self.recent.len() {
            1 => format!("loss {mean:.3}"),
            steps => format!("loss {mean:.3} (mean of {steps} steps)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(step: usize, loss: f64, supervised_tokens: u64) -> Moment {
        Moment {
            step,
            loss,
            supervised_tokens,
            tokens: 200,
            seconds: 4.0,
            memory_bytes: 1_200_000_000,
        }
    }

    #[test]
    fn the_time_left_counts_steps_and_validations_that_are_left() {
        let mut line = LivingLine::start(Talk::new(true), 90, 100, 3);
        line.tell(moment(91, 2.0, 10));
        assert_eq!(
            line.words(moment(91, 2.0, 10)),
            "loss 2.000  50 tok/s  1.20 GB  36 s left"
        );
        // After steps 93, 96, 99 and 100; what validations take is known once there was one.
        line.count_look(10.0);
        line.tell(moment(92, 1.0, 30));
        assert_eq!(
            line.words(moment(92, 1.0, 30)),
            "loss 1.250 (mean of 2 steps)  50 tok/s  1.20 GB  1 min 12 s left"
        );
    }

    #[test]
    fn a_validation_is_left_after_the_last_step() {
        let mut line = LivingLine::start(Talk::new(true), 98, 100, 50);
        line.tell(moment(99, 2.0, 10));
        line.count_look(10.0);
        assert_eq!(line.pace.seconds_left(99), 14.0);
        assert_eq!(line.pace.seconds_left(100), 10.0);
    }

    #[test]
    fn the_shown_loss_is_the_mean_of_the_steps_it_names() {
        let mut line = LivingLine::start(Talk::new(true), 0, 100, 10);
        for step in 1..=30 {
            line.tell(moment(step, step as f64, 7));
        }
        assert_eq!(line.loss(), "loss 25.500 (mean of 10 steps)");
    }
}
