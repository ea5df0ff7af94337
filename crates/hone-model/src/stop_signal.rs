//! The wish to stop, looked at between two layers.
//!
//! A pass over a large batch takes long, and whoever presses Ctrl-C should not wait for its end. What a stopped pass has
//! computed is dropped: the numbers before it are what counts.

use hone_tensor::TensorError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Says whether the work in progress should stop; cheap to ask and to clone.
#[derive(Clone)]
pub struct StopSignal(Arc<dyn Fn() -> bool + Send + Sync>);

impl StopSignal {
    /// Asks `is_raised` between two layers.
    pub fn new(is_raised: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_raised))
    }

    /// Nobody will ask.
    pub fn never() -> Self {
        Self::new(|| false)
    }

    /// Whether somebody asked to stop.
    pub fn is_raised(&self) -> bool {
        (self.0)()
    }

    /// Ends a pass that is not wanted any more.
    pub(crate) fn check(&self) -> Result<(), TensorError> {
        match self.is_raised() {
            true => Err(TensorError::Stopped),
            false => Ok(()),
        }
    }
}

impl From<Arc<AtomicBool>> for StopSignal {
    fn from(flag: Arc<AtomicBool>) -> Self {
        Self::new(move || flag.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StopSignal")
    }
}
