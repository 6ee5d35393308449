//! Pauses between attempts: doubling, with jitter, so that many clients do not come back at once.

use std::time::Duration;

/// The first pause between two attempts at something in the cluster.
const FIRST: Duration = Duration::from_millis(200);
/// The longest pause: what a recovered API server waits for us at most.
const LONGEST: Duration = Duration::from_secs(15);

/// How long to wait before the next attempt. Each pause is between one half and the whole of the
/// current step; the step doubles up to the longest.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    attempts: u32,
}

impl Default for Backoff {
    /// From 200 ms to 15 s.
    fn default() -> Self {
        Self::new(FIRST, LONGEST)
    }
}

impl Backoff {
    /// From `first`, doubling up to `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, attempts: 0 }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let step = step(self.first, self.longest, self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        jittered(step, random())
    }

    /// The next pause, and at least what the server has asked for.
    pub fn pause_at_least(&mut self, asked: Option<Duration>) -> Duration {
        self.pause().max(asked.unwrap_or_default())
    }

    /// Whether no pause was taken since the start or the last success.
    #[must_use]
    pub const fn is_fresh(&self) -> bool {
        self.attempts == 0
    }

    /// After a success: the next trouble begins with the first pause.
    pub const fn reset(&mut self) {
        self.attempts = 0;
    }
}

fn step(first: Duration, longest: Duration, attempts: u32) -> Duration {
    let factor = 1_u32.checked_shl(attempts).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

fn jittered(step: Duration, random: u32) -> Duration {
    let half = step / 2;
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Without a source of randomness everybody comes back at once, which is no reason to fail.
fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_pause_stays_between_half_a_step_and_a_step(
            first in 1_u64..10_000, longest in 1_u64..100_000, attempts in 0_u32..100, random: u32,
        ) {
            let (first, longest) = (Duration::from_millis(first), Duration::from_millis(longest));
            let step = step(first, longest, attempts);
            let pause = jittered(step, random);
            prop_assert!(step <= longest);
            prop_assert!(pause >= step / 2 && pause <= step, "{pause:?} of {step:?}");
        }

        #[test]
        fn steps_never_shrink(first in 1_u64..10_000, longest in 1_u64..100_000, attempts in 0_u32..100) {
            let (first, longest) = (Duration::from_millis(first), Duration::from_millis(longest));
            prop_assert!(step(first, longest, attempts) <= step(first, longest, attempts + 1));
        }
    }

    #[test]
    fn a_success_begins_anew_and_the_server_may_ask_for_more() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        for _ in 0..5 {
            backoff.pause();
        }
        assert!(backoff.pause() >= Duration::from_secs(16));
        backoff.reset();
        assert!(backoff.is_fresh());
        assert!(backoff.pause() <= Duration::from_secs(1));
        assert_eq!(backoff.pause_at_least(Some(Duration::from_secs(90))), Duration::from_secs(90));
    }
}
