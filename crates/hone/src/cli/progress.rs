//! A count of work done, while the work has no other line.

use crate::screen::Talk;
use hone_eval::harness::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// A line that counts; on a terminal redrawn in place, in a log repeated every few seconds.
pub struct Count {
    bar: ProgressBar,
    talk: Talk,
    last_line: Instant,
}

const LOG_EVERY: Duration = Duration::from_secs(15);

impl Count {
    /// Starts at nothing.
    pub fn start(talk: Talk) -> Self {
        let target = if talk.is_live() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let style = ProgressStyle::with_template("{bar:24.cyan/dim} {pos}/{len}  {msg}");
        let bar = ProgressBar::with_draw_target(Some(0), target);
        bar.set_style(style.expect("the template is valid").progress_chars("━━─"));
        Self {
            bar,
            talk,
            last_line: Instant::now(),
        }
    }

    /// Tells how far an exam is.
    pub fn tell(&mut self, who: &str, progress: Progress) {
        self.tell_of(progress.done, progress.total, &format!("{who} model"));
    }

    /// Tells how far something is.
    pub fn tell_of(&mut self, done: usize, total: usize, what: &str) {
        if self.talk.is_live() {
            self.bar.set_length(total as u64);
            self.bar.set_position(done as u64);
            self.bar.set_message(what.to_string());
        } else if self.last_line.elapsed() >= LOG_EVERY {
            self.last_line = Instant::now();
            self.talk.say(format!("{what}: {done} of {total}"));
        }
    }

    /// Ends the line.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}
