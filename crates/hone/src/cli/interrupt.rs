//! Ctrl-C and SIGTERM: the first asks to stop, the second does not ask.
//!
//! Work in progress looks at a flag at points where it can stop without losing anything. Someone who presses twice wants
//! out now, and gets it.

use crate::refusal::Exit;
use crate::screen::Talk;
use anyhow::{Context, Result};
use hone_model::StopSignal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Is the process on its way out?
static IS_LEAVING: AtomicBool = AtomicBool::new(false);

/// Ends the process at the first press, for work of which nothing is kept that is not finished: `leave` cleans up and tells what was kept.
pub fn leave_at_once(talk: Talk, leave: impl Fn() -> String + Send + 'static) -> Result<()> {
    ctrlc::set_handler(move || {
        IS_LEAVING.store(true, Ordering::SeqCst);
        let kept = leave();
        talk.say(format!("stopped: {kept}"));
        std::process::exit(Exit::Interrupted as i32);
    })
    .context("cannot listen for Ctrl-C")
}

/// Waits for the end, if the process is on its way out: what fails meanwhile has been cleaned up beneath it.
pub fn wait_if_leaving() {
    while IS_LEAVING.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The wish to stop.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Starts to listen; once per process.
    pub fn listen(talk: Talk) -> Result<Self> {
        Self::listen_and_say(
            talk,
            "stopping; what is done is saved first. Ctrl-C again leaves at once",
        )
    }

    /// Starts to listen, with an answer of its own; once per process.
    pub fn listen_and_say(talk: Talk, answer: &'static str) -> Result<Self> {
        let raised = Arc::new(AtomicBool::new(false));
        let handler = Arc::clone(&raised);
        ctrlc::set_handler(move || {
            if handler.swap(true, Ordering::SeqCst) {
                std::process::exit(Exit::Failed as i32);
            }
            // Whoever presses is answered at once, however long it takes to reach a place to stop at.
            talk.say(answer);
        })
        .context("cannot listen for Ctrl-C")?;
        Ok(Self(raised))
    }

    /// Whether stopping was asked for.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// For the engine to look at.
    pub fn signal(&self) -> StopSignal {
        Arc::clone(&self.0).into()
    }

    /// Nothing is in progress: the next press leaves.
    pub fn leave_at_once(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Work begins: the next press only asks.
    pub fn clear(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}
