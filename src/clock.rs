//! The one place that reads the wall clock.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

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

/// How far the two clocks may drift apart between two looks without the wall clock's having been set:
/// a time server that slews one moves it by a thousandth at the most.
const SLEWED: SignedDuration = SignedDuration::from_secs(1);

/// Notices that the wall clock was set, by what the other one says.
#[derive(Debug)]
pub struct Steps {
    apart: SignedDuration,
}

impl Steps {
    /// Notices what happens from now on.
    #[must_use]
    pub fn from_now(clock: &dyn Clock) -> Self {
        Self { apart: apart(clock) }
    }

    /// Whether the wall clock was set since the last look, forwards or backwards.
    pub fn taken(&mut self, clock: &dyn Clock) -> bool {
        let before = std::mem::replace(&mut self.apart, apart(clock));
        (self.apart - before).abs() > SLEWED
    }
}

fn apart(clock: &dyn Clock) -> SignedDuration {
    let elapsed = SignedDuration::try_from(clock.elapsed()).unwrap_or(SignedDuration::MAX);
    clock.now().duration_since(Timestamp::UNIX_EPOCH).saturating_sub(elapsed)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Seconds on the wall, and seconds gone.
    struct Hands(Mutex<(i64, u64)>);

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(self.0.lock().unwrap().0).unwrap()
        }

        fn elapsed(&self) -> Duration {
            Duration::from_secs(self.0.lock().unwrap().1)
        }
    }

    #[test]
    fn a_clock_that_is_set_is_noticed_once_and_one_that_runs_is_not() {
        let clock = Hands(Mutex::new((1_800_000_000, 5)));
        let mut steps = Steps::from_now(&clock);
        let mut after = |wall: i64, gone: u64| {
            let mut hands = clock.0.lock().unwrap();
            (hands.0, hands.1) = (hands.0 + wall, hands.1 + gone);
            drop(hands);
            steps.taken(&clock)
        };
        assert!(!after(0, 0));
        assert!(!after(3_600, 3_600));
        assert!(!after(31, 30), "slewed");
        assert!(after(3_600, 30));
        assert!(!after(30, 30));
        assert!(after(-3_600, 30));
        assert!(!after(30, 30));
    }
}
