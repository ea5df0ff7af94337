//! The least speed of a download. Silence has a limit of its own; a byte now and then is not silence.

use std::time::{Duration, Instant};

/// Fewer bytes than these in a second are as good as silence: a small model of 100 MB would take a day.
const LEAST_BYTES_A_SECOND: f64 = 1000.0;

/// Hardly anything came for a while.
#[derive(Debug, thiserror::Error)]
#[error("it sent {bytes} bytes in {seconds} s")]
pub struct TooSlow {
    /// What came.
    bytes: u64,
    /// In what time.
    seconds: f64,
}

/// How fast bytes come, looked at in windows of time: drops that fall at intervals shorter than any silence are no progress.
#[derive(Debug)]
pub struct Pace {
    window: Duration,
    since: Instant,
    bytes: u64,
}

impl Pace {
    /// Looks at what comes within each `window`.
    pub fn within(window: Duration) -> Self {
        Self {
            window,
            since: Instant::now(),
            bytes: 0,
        }
    }

    /// Takes note of bytes that have come.
    pub fn took(&mut self, bytes: u64) -> Result<(), TooSlow> {
        self.bytes += bytes;
        let elapsed = self.since.elapsed();
        if elapsed < self.window {
            return Ok(());
        }
        let came = std::mem::take(&mut self.bytes);
        self.since = Instant::now();
        match came as f64 >= LEAST_BYTES_A_SECOND * elapsed.as_secs_f64() {
            true => Ok(()),
            false => Err(TooSlow {
                bytes: came,
                seconds: (elapsed.as_secs_f64() * 10.0).round() / 10.0,
            }),
        }
    }
}
