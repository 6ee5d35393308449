//! When the rounds of a probe are due: pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::kinds::SpecError;
use super::state::Thresholds;
use crate::api::ProbeSpec;
use crate::model::{Period, QuestionKey};

/// The shortest interval: below it the schedule of a busy machine is no longer kept.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// The longest interval: a state older than two days is no state.
const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
const DEFAULT_FAILURES: u32 = 2;
const DEFAULT_SUCCESSES: u32 = 1;
/// A state is stale when so many intervals have gone without a round that says anything.
const STALE_INTERVALS: u32 = 3;
/// But never sooner: a machine that was busy for a moment must not lose every state.
const MIN_STALE: Duration = Duration::from_secs(2);
/// A new probe makes its first round within this time, spread by its phase.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// The schedule of a probe and its thresholds, with the defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The time between the starts of two rounds.
    pub interval: Duration,
    /// How long one round may take.
    pub timeout: Duration,
    /// When the state turns.
    pub thresholds: Thresholds,
}

/// Reads the schedule of a spec.
///
/// # Errors
/// An interval outside its limits, or a timeout that is not shorter than the interval.
pub fn plan(spec: &ProbeSpec) -> Result<Plan, SpecError> {
    let interval = spec.interval.map_or(DEFAULT_INTERVAL, Period::to_std);
    if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&interval) {
        let found = spec.interval.unwrap_or_default();
        return Err(SpecError::new("interval", format!("`{found}` is not allowed: 100ms to 24h are")));
    }
    let timeout = spec.timeout.map_or_else(|| DEFAULT_TIMEOUT.min(interval / 2), Period::to_std);
    if timeout.is_zero() || timeout >= interval {
        let found = spec.timeout.unwrap_or_default();
        let why = format!("`{found}` is not allowed: it must be above 0 and shorter than the interval ({interval:?})");
        return Err(SpecError::new("timeout", why));
    }
    let stale_after = (interval * STALE_INTERVALS + timeout).max(MIN_STALE);
    let thresholds = Thresholds {
        failures: spec.down.map_or(DEFAULT_FAILURES, |down| down.failures).max(1),
        successes: spec.up.map_or(DEFAULT_SUCCESSES, |up| up.successes).max(1),
        stale_after: SignedDuration::try_from(stale_after).unwrap_or(SignedDuration::MAX),
    };
    Ok(Plan { interval, timeout, thresholds })
}

/// The place of a probe's rounds in time: the same after every restart, and spread over the
/// interval, because it comes from the probe's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slots {
    interval_ms: u64,
    phase_ms: u64,
}

impl Slots {
    pub(super) fn new(namespace: &str, name: &str, interval: Duration) -> Self {
        let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
        let key = QuestionKey::over(&[namespace, name]).to_string();
        let hash = key.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0);
        Self { interval_ms, phase_ms: hash % interval_ms }
    }

    /// How long it is from `now` to the next slot.
    pub(super) fn until_next(&self, now: Timestamp) -> Duration {
        let now = now.as_millisecond().rem_euclid(i64::try_from(self.interval_ms).unwrap_or(i64::MAX));
        let now = u64::try_from(now).unwrap_or(0);
        Duration::from_millis((self.interval_ms + self.phase_ms - now) % self.interval_ms)
    }

    /// How long a new probe waits for its first round, where its next slot is further away.
    pub(super) fn until_first(&self) -> Duration {
        let within = u64::try_from(FIRST_WITHIN.as_millis()).unwrap_or(u64::MAX).min(self.interval_ms);
        Duration::from_millis(self.phase_ms % within.max(1))
    }
}

/// How many whole slots have gone since `late` ago: those are missed.
pub(super) fn missed(late: Duration, interval: Duration) -> u32 {
    u32::try_from(late.as_nanos() / interval.as_nanos().max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{DownRule, UpRule};
    use proptest::prelude::*;
    use rstest::rstest;

    fn spec(interval: &str, timeout: Option<&str>) -> ProbeSpec {
        ProbeSpec {
            interval: Some(interval.parse().unwrap()),
            timeout: timeout.map(|timeout| timeout.parse().unwrap()),
            ..ProbeSpec::default()
        }
    }

    #[test]
    fn defaults_are_filled_in() {
        let plan = plan(&ProbeSpec::default()).unwrap();
        assert_eq!((plan.interval.as_secs(), plan.timeout.as_secs()), (10, 2));
        assert_eq!((plan.thresholds.failures, plan.thresholds.successes), (2, 1));
        assert_eq!(plan.thresholds.stale_after, SignedDuration::from_secs(32));
    }

    #[test]
    fn a_short_interval_has_half_of_it_as_timeout() {
        assert_eq!(plan(&spec("1s", None)).unwrap().timeout, Duration::from_millis(500));
    }

    #[test]
    fn thresholds_come_from_the_spec() {
        let down = Some(DownRule { failures: 5, of: None });
        let up = Some(UpRule { successes: 3, of: None });
        let plan = plan(&ProbeSpec { down, up, ..ProbeSpec::default() }).unwrap();
        assert_eq!((plan.thresholds.failures, plan.thresholds.successes), (5, 3));
    }

    #[rstest]
    #[case("99ms", None, "spec.interval: `99ms` is not allowed: 100ms to 24h are")]
    #[case("25h", None, "spec.interval: `25h` is not allowed: 100ms to 24h are")]
    #[case(
        "5s",
        Some("5s"),
        "spec.timeout: `5s` is not allowed: it must be above 0 and shorter than the interval (5s)"
    )]
    #[case(
        "5s",
        Some("0s"),
        "spec.timeout: `0s` is not allowed: it must be above 0 and shorter than the interval (5s)"
    )]
    fn a_schedule_that_cannot_be_kept_is_refused(
        #[case] interval: &str,
        #[case] timeout: Option<&str>,
        #[case] message: &str,
    ) {
        assert_eq!(plan(&spec(interval, timeout)).unwrap_err().to_string(), message);
    }

    #[test]
    fn the_phase_of_a_probe_never_changes() {
        let slots = Slots::new("shop", "checkout", Duration::from_secs(10));
        assert_eq!(slots, Slots { interval_ms: 10_000, phase_ms: 9_850 });
    }

    #[test]
    fn phases_are_spread_over_the_interval() {
        let mut tenths = [0; 10];
        for number in 0..1_000 {
            let slots = Slots::new("shop", &format!("probe-{number}"), Duration::from_secs(10));
            tenths[usize::try_from(slots.phase_ms / 1_000).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (60..140).contains(count)), "{tenths:?}");
    }

    proptest! {
        #[test]
        fn every_slot_is_at_the_phase(name in "[a-z]{1,8}", millis in 100_u64..100_000, now in 0_i64..4_000_000_000_000) {
            let interval = Duration::from_millis(millis);
            let slots = Slots::new("shop", &name, interval);
            let now = Timestamp::from_millisecond(now).unwrap();
            let wait = slots.until_next(now);
            prop_assert!(wait < interval);
            let due = u64::try_from(now.as_millisecond()).unwrap() + u64::try_from(wait.as_millis()).unwrap();
            prop_assert_eq!(due % millis, slots.phase_ms);
            prop_assert!(slots.until_first() < interval.min(FIRST_WITHIN));
        }
    }
}
