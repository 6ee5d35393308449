//! The one place that reads the wall clock.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Tells the time. Decisions take instants as values; drivers take a clock.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock: may jump in both directions.
    fn now(&self) -> Timestamp;
    /// Time since an arbitrary start that never jumps.
    fn elapsed(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts the monotonic part now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}
