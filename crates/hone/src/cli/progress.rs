//! A count of work done, while the work has no other line.

use super::interrupt::Interrupt;
use crate::base::{PullEvent, PullWatch};
use crate::screen::{Talk, duration, plural};
use hone_eval::harness::Progress;
use hone_ledger::words::on_terminal;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// A line that counts; on a terminal redrawn in place, in a log repeated every few seconds.
pub struct Count {
    bar: ProgressBar,
    talk: Talk,
    started: Instant,
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
            started: Instant::now(),
            last_line: Instant::now(),
        }
    }

    /// Tells how far an exam is, and how long it will take yet.
    pub fn tell(&mut self, who: &str, progress: Progress) {
        let Progress { done, total } = progress;
        let left = match done * 10 < total {
            // The first rows tell too little.
            true => String::new(),
            false => {
                let each = self.started.elapsed().as_secs_f64() / done as f64;
                let left = each * (total - done) as f64;
                format!(", {} left", duration(left))
            }
        };
        self.tell_of(done, total, &format!("{who}{left}"));
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

/// What a person sees of a pull: a bar on a terminal, in a log a line every few seconds.
pub struct PullProgress {
    bar: ProgressBar,
    talk: Talk,
    interrupt: Interrupt,
    last_line: Instant,
}

impl PullProgress {
    /// Shows nothing yet.
    pub fn start(talk: Talk, interrupt: Interrupt) -> Self {
        let target = if talk.is_live() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let style = "{bar:24.cyan/dim} {bytes}/{total_bytes}  {bytes_per_sec}  {msg}";
        let style = ProgressStyle::with_template(style).expect("the template is valid");
        let bar = ProgressBar::with_draw_target(Some(0), target);
        bar.set_style(style.progress_chars("━━─"));
        Self {
            bar,
            talk,
            interrupt,
            last_line: Instant::now(),
        }
    }

    /// Ends the line.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }

    fn say(&self, line: String) {
        self.bar.suspend(|| self.talk.say(line));
    }
}

impl PullWatch for PullProgress {
    fn tell(&mut self, event: PullEvent<'_>) {
        match event {
            PullEvent::Planned { num_files, bytes } => self.say(format!(
                "fetching {}, {:.1} MB",
                plural(num_files, "file"),
                bytes as f64 / 1e6
            )),
            PullEvent::Bytes { file, done, total } if self.talk.is_live() => {
                if self.bar.length() != Some(total) || done < self.bar.position() {
                    self.bar.reset();
                }
                self.bar.set_length(total);
                self.bar.set_position(done);
                self.bar.set_message(on_terminal(file).into_owned());
            }
            PullEvent::Bytes { file, done, total } => {
                if self.last_line.elapsed() >= LOG_EVERY {
                    self.last_line = Instant::now();
                    let (done, total) = (done as f64 / 1e6, total as f64 / 1e6);
                    self.say(format!("{file}: {done:.1} of {total:.1} MB"));
                }
            }
            PullEvent::AskingAgain { what, because } => {
                self.say(format!("{what}: {because}; asking again"));
            }
            PullEvent::Waiting { what } => {
                self.say(format!("{what}: another program is fetching it; waiting"));
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.interrupt.is_raised()
    }
}
