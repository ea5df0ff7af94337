//! The living line of a run: where it is, how it learns, when it ends.
//!
//! On a terminal it is one line redrawn in place. In a log file it is a plain line every few seconds, because a log of
//! carriage returns cannot be read.

use super::{Talk, duration};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// What the line tells at one step.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Steps done.
    pub step: usize,
    /// Loss of this step, in nats per supervised token.
    pub loss: f64,
    /// Tokens seen since the run (or its resumption) began.
    pub tokens: u64,
    /// Memory in use.
    pub memory_bytes: u64,
}

/// A line that lives as long as the run.
pub struct LivingLine {
    bar: ProgressBar,
    talk: Talk,
    num_steps: usize,
    first_step: usize,
    started: Instant,
    last_line: Option<Instant>,
    smoothed_loss: Option<f64>,
}

/// A log gets a line this often.
const LOG_EVERY: Duration = Duration::from_secs(10);

impl LivingLine {
    /// Starts before the step after `first_step`.
    pub fn start(talk: Talk, first_step: usize, num_steps: usize) -> Self {
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
            num_steps,
            first_step,
            started: Instant::now(),
            last_line: None,
            smoothed_loss: None,
        }
    }

    /// Tells about a step.
    pub fn tell(&mut self, moment: Moment) {
        let loss = self
            .smoothed_loss
            .map_or(moment.loss, |before| 0.9 * before + 0.1 * moment.loss);
        self.smoothed_loss = Some(loss);
        let words = self.words(moment, loss, self.started.elapsed().as_secs_f64());
        if self.talk.is_live() {
            self.bar.set_position(moment.step as u64);
            self.bar.set_message(words);
        } else if self.last_line.is_none_or(|at| at.elapsed() >= LOG_EVERY)
            || moment.step == self.num_steps
        {
            self.last_line = Some(Instant::now());
            self.talk
                .say(format!("step {}/{}  {words}", moment.step, self.num_steps));
        }
    }

    /// Says a line that stays above the living one.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| self.talk.say(line));
    }

    /// Ends the line.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }

    fn words(&self, moment: Moment, loss: f64, seconds: f64) -> String {
        let done = moment.step.saturating_sub(self.first_step).max(1) as f64;
        let left = self.num_steps.saturating_sub(moment.step) as f64;
        format!(
            "loss {loss:.3}  {:.0} tok/s  {:.2} GB  {} left",
            moment.tokens as f64 / seconds.max(1e-3),
            moment.memory_bytes as f64 / 1e9,
            duration(seconds / done * left)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_counted_from_where_a_resumed_run_began() {
        let line = LivingLine::start(Talk::new(true), 90, 100);
        let moment = Moment {
            step: 95,
            loss: 1.0,
            tokens: 1000,
            memory_bytes: 1_200_000_000,
        };
        assert_eq!(
            line.words(moment, 1.25, 20.0),
            "loss 1.250  50 tok/s  1.20 GB  20 s left"
        );
    }
}
