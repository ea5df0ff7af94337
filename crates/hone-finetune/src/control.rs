//! Whether something goes on: what a callback answers, and what another thread can ask for.

use hone_model::StopSignal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a callback wants. A callback that returns nothing always goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub enum Control {
    /// Go on.
    #[default]
    Continue,
    /// Stop as soon as what there is can be kept.
    Stop,
}

impl From<()> for Control {
    fn from((): ()) -> Self {
        Self::Continue
    }
}

impl From<std::ops::ControlFlow<()>> for Control {
    fn from(flow: std::ops::ControlFlow<()>) -> Self {
        match flow {
            std::ops::ControlFlow::Continue(()) => Self::Continue,
            std::ops::ControlFlow::Break(()) => Self::Stop,
        }
    }
}

/// Stops a run from anywhere, such as another thread or a handler of signals.
#[derive(Clone, Debug, Default)]
pub struct StopHandle(Arc<AtomicBool>);

impl StopHandle {
    /// Asks the run to stop: what is being computed is dropped, and what was there before it is saved.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked for.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn signal(&self) -> StopSignal {
        StopSignal::from(Arc::clone(&self.0))
    }

    pub(crate) fn reset(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
