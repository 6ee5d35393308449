//! When the rounds of a probe are due: pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::kinds::SpecError;
use super::machine::{Flap, Rules, Threshold};
use crate::api::{FlapRule, ProbeSpec, Severity};
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
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The time between two slots.
    pub interval: Duration,
    /// The time between two rounds while the last one contradicts the state.
    pub edge: Option<Duration>,
    /// The time between two rounds while a change is under way.
    pub change: Option<Duration>,
    /// How long one round may take.
    pub timeout: Duration,
    /// How far a round may be moved behind its slot.
    pub jitter: Duration,
    /// When the state of a target turns.
    pub rules: Rules,
    /// How many targets must be down.
    pub quorum: usize,
    /// So many times the usual latency is too slow, and what that means.
    pub usual: Option<(f64, Severity)>,
}

/// Reads the schedule of a spec.
///
/// # Errors
/// An interval outside its limits, or a timeout or jitter that does not fit into every interval.
pub fn plan(spec: &ProbeSpec) -> Result<Plan, SpecError> {
    let interval = spec.interval.map_or(DEFAULT_INTERVAL, Period::to_std);
    if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&interval) {
        let found = spec.interval.unwrap_or_default();
        return Err(SpecError::new("interval", format!("`{found}` is not allowed: 100ms to 24h are")));
    }
    let edge = faster("edgeInterval", spec.edge_interval, interval)?;
    let change = faster("changeInterval", spec.change_interval, interval)?;
    let shortest = [edge, change].into_iter().flatten().fold(interval, Duration::min);
    let timeout = spec.timeout.map_or_else(|| DEFAULT_TIMEOUT.min(shortest / 2), Period::to_std);
    if timeout.is_zero() || timeout >= shortest {
        let found = spec.timeout.unwrap_or_default();
        let which = if shortest == interval { "the interval" } else { "the shortest interval" };
        let why = format!("`{found}` is not allowed: it must be above 0 and shorter than {which} ({shortest:?})");
        return Err(SpecError::new("timeout", why));
    }
    let jitter = spec.jitter.map_or(Duration::ZERO, Period::to_std);
    if jitter + timeout >= shortest {
        let found = spec.jitter.unwrap_or_default();
        let room = shortest.saturating_sub(timeout);
        let why = format!("`{found}` is not allowed: the shortest interval less the timeout leaves less than {room:?}");
        return Err(SpecError::new("jitter", why));
    }
    let stale_after = (interval * STALE_INTERVALS + timeout).max(MIN_STALE);
    Ok(Plan {
        interval,
        edge,
        change,
        timeout,
        jitter,
        rules: Rules {
            down: threshold("down.of", spec.down.map(|down| (down.failures, down.of)), DEFAULT_FAILURES)?,
            up: threshold("up.of", spec.up.map(|up| (up.successes, up.of)), DEFAULT_SUCCESSES)?,
            stale_after: SignedDuration::try_from(stale_after).unwrap_or(SignedDuration::MAX),
            flap: flap(spec.flap)?,
        },
        quorum: spec.quorum.unwrap_or(1).max(1) as usize,
        usual: usual(spec)?,
    })
}

/// An interval for the time being: not longer than the ordinary one.
fn faster(field: &str, period: Option<Period>, interval: Duration) -> Result<Option<Duration>, SpecError> {
    let Some(period) = period else { return Ok(None) };
    let found = period.to_std();
    if (MIN_INTERVAL..=interval).contains(&found) {
        return Ok(Some(found));
    }
    Err(SpecError::new(field, format!("`{period}` is not allowed: 100ms to the interval ({interval:?}) are")))
}

fn threshold(field: &str, rule: Option<(u32, Option<u32>)>, default: u32) -> Result<Threshold, SpecError> {
    let (count, of) = rule.unwrap_or((default, None));
    let of = of.unwrap_or(count);
    if of < count {
        return Err(SpecError::new(field, format!("{of} is not allowed: it must not be less than {count}")));
    }
    Ok(Threshold { count, of }.bounded())
}

fn flap(rule: Option<FlapRule>) -> Result<Option<Flap>, SpecError> {
    let usual = Flap::default();
    let Some(rule) = rule else { return Ok(Some(usual)) };
    let flap = Flap {
        window: rule.window.unwrap_or(usual.window),
        high_percent: rule.high.unwrap_or(usual.high_percent),
        low_percent: rule.low.unwrap_or(usual.low_percent),
    };
    if flap.low_percent > flap.high_percent {
        let why = format!("{} is not allowed: it must not be above high ({})", flap.low_percent, flap.high_percent);
        return Err(SpecError::new("flap.low", why));
    }
    Ok((flap.window > 0).then_some(flap))
}

fn usual(spec: &ProbeSpec) -> Result<Option<(f64, Severity)>, SpecError> {
    let Some(rule) = &spec.latency else { return Ok(None) };
    if rule.max.is_some_and(Period::is_zero) {
        return Err(SpecError::new("latency.max", "it is 0: no round could be so fast"));
    }
    let Some(times) = &rule.times_usual else { return Ok(None) };
    if times.value() <= 1.0 {
        return Err(SpecError::new("latency.timesUsual", format!("`{times}` is not allowed: it must be more than 1")));
    }
    Ok(Some((times.value(), rule.severity.unwrap_or(Severity::Degraded))))
}

/// The place of a target's rounds in time: the same after every restart, and spread over the
/// interval, because it comes from the names of the probe and, where it has several, the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slots {
    interval_ms: u64,
    phase_ms: u64,
}

impl Slots {
    pub(super) fn new(namespace: &str, name: &str, target: Option<&str>, interval: Duration) -> Self {
        let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
        let parts: Vec<&str> = [namespace, name].into_iter().chain(target).collect();
        let key = QuestionKey::over(&parts).to_string();
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
    use crate::api::{DownRule, LatencyRule, UpRule};
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
        assert_eq!((plan.rules.down.count, plan.rules.up.count), (2, 1));
        assert_eq!(plan.rules.stale_after, SignedDuration::from_secs(32));
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
        assert_eq!((plan.rules.down.count, plan.rules.up.count), (5, 3));
    }

    #[test]
    fn a_faster_interval_needs_a_shorter_timeout() {
        let edge = Some(Period::from_millis(500));
        let spec = ProbeSpec { edge_interval: edge, timeout: Some(Period::from_secs(1)), ..ProbeSpec::default() };
        let message = plan(&spec).unwrap_err().to_string();
        assert_eq!(
            message,
            "spec.timeout: `1s` is not allowed: it must be above 0 and shorter than the shortest interval (500ms)"
        );
        assert_eq!(plan(&ProbeSpec { timeout: None, ..spec }).unwrap().timeout, Duration::from_millis(250));
    }

    #[rstest]
    #[case::slower_than_usual("edgeInterval", ProbeSpec { edge_interval: Some(Period::from_secs(11)), ..ProbeSpec::default() })]
    #[case("changeInterval", ProbeSpec { change_interval: Some(Period::from_millis(99)), ..ProbeSpec::default() })]
    #[case("jitter", ProbeSpec { jitter: Some(Period::from_secs(8)), ..ProbeSpec::default() })]
    #[case("down.of", ProbeSpec { down: Some(DownRule { failures: 3, of: Some(2) }), ..ProbeSpec::default() })]
    #[case("flap.low", ProbeSpec { flap: Some(FlapRule { window: None, high: Some(10), low: None }), ..ProbeSpec::default() })]
    #[case("latency.timesUsual", ProbeSpec {
        latency: Some(LatencyRule { times_usual: Some("1".parse().unwrap()), ..LatencyRule::default() }),
        ..ProbeSpec::default()
    })]
    fn what_contradicts_itself_is_refused_at_its_field(#[case] field: &str, #[case] spec: ProbeSpec) {
        assert_eq!(plan(&spec).unwrap_err().field, field);
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
        let slots = Slots::new("shop", "checkout", None, Duration::from_secs(10));
        assert_eq!(slots, Slots { interval_ms: 10_000, phase_ms: 9_850 });
    }

    #[test]
    fn phases_are_spread_over_the_interval() {
        let mut tenths = [0; 10];
        for number in 0..1_000 {
            let slots = Slots::new("shop", &format!("probe-{number}"), None, Duration::from_secs(10));
            tenths[usize::try_from(slots.phase_ms / 1_000).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (60..140).contains(count)), "{tenths:?}");
    }

    proptest! {
        #[test]
        fn every_slot_is_at_the_phase(name in "[a-z]{1,8}", millis in 100_u64..100_000, now in 0_i64..4_000_000_000_000) {
            let interval = Duration::from_millis(millis);
            let slots = Slots::new("shop", &name, None, interval);
            let now = Timestamp::from_millisecond(now).unwrap();
            let wait = slots.until_next(now);
            prop_assert!(wait < interval);
            let due = u64::try_from(now.as_millisecond()).unwrap() + u64::try_from(wait.as_millis()).unwrap();
            prop_assert_eq!(due % millis, slots.phase_ms);
            prop_assert!(slots.until_first() < interval.min(FIRST_WITHIN));
        }
    }
}
