//! What the rounds of a window came to.
//!
//! Rounds are summed up in stretches: minutes, and hours of what is long gone. A stretch that the
//! window cuts is counted exactly where the recent rounds reach back over all of it, and as a whole
//! where they do not: then the answer says which window it is really about. A round belongs to the
//! window in which it ended. Missed slots are known by the stretch only, and always counted as a
//! whole.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

use super::minute::MINUTE;
use super::ring::{Ring, before, instant};
use super::rollup::Rollup;

/// Seconds of an hour.
const HOUR: i64 = 3_600;

/// A stretch of time and the rounds that ended in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch {
    /// Where it begins.
    pub from: Timestamp,
    /// Where the next one begins.
    pub to: Timestamp,
    /// Its rounds.
    pub rollup: Rollup,
}

impl Stretch {
    /// The minute of this number since 1970.
    #[must_use]
    pub fn minute(number: i64, rollup: Rollup) -> Self {
        Self::numbered(number, MINUTE, rollup)
    }

    /// The hour of this number since 1970.
    #[must_use]
    pub fn hour(number: i64, rollup: Rollup) -> Self {
        Self::numbered(number, HOUR, rollup)
    }

    fn numbered(number: i64, seconds: i64, rollup: Rollup) -> Self {
        let micros = |number: i64| instant(number.saturating_mul(seconds).saturating_mul(1_000_000));
        Self { from: micros(number), to: micros(number.saturating_add(1)), rollup }
    }
}

/// From an instant to another, without that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Window {
    /// The first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub to: Timestamp,
}

impl Window {
    /// The last so long before now.
    #[must_use]
    pub fn last(duration: Duration, now: Timestamp) -> Self {
        let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        Self { from: before(now, duration), to: now }
    }

    fn has(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

/// Latencies of the rounds that were answered, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// The median.
    #[serde(serialize_with = "seconds")]
    pub p50: Duration,
    /// Nine of ten took no longer.
    #[serde(serialize_with = "seconds")]
    pub p90: Duration,
    /// Ninety-nine of a hundred took no longer.
    #[serde(serialize_with = "seconds")]
    pub p99: Duration,
    /// The longest.
    #[serde(serialize_with = "seconds")]
    pub max: Duration,
}

/// What the rounds of a window came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The window that was really counted: the one that was asked for, or up to whole minutes or
    /// hours more at its ends.
    pub window: Window,
    /// All rounds.
    pub rounds: u64,
    /// Those that were as expected.
    pub good: u32,
    /// Those that were answered outside a softer limit.
    pub degraded: u32,
    /// Those that failed.
    pub failed: u32,
    /// Those with trouble of the prober.
    pub trouble: u32,
    /// Slots in which no round could be made.
    pub missed: u32,
    /// Good and degraded rounds of good, degraded and failed ones; nothing where there are none.
    pub availability: Option<f64>,
    /// How long those took that were answered.
    pub latency: Option<Quantiles>,
    /// When the first round began that failed.
    pub first_failure: Option<Timestamp>,
    /// When the last round began that failed.
    pub last_failure: Option<Timestamp>,
}

/// Sums up the rounds that ended in a window.
///
/// The stretches must not overlap; their order does not matter. The minute that is under way is one
/// of them: up to `now` it is whole. `recent` are the rounds in memory.
#[must_use]
pub fn summarize(window: Window, stretches: &[Stretch], recent: Option<&Ring>, now: Timestamp) -> Summary {
    let (mut total, mut covered) = (Rollup::default(), window);
    for stretch in stretches.iter().filter(|stretch| stretch.from < window.to && window.from < stretch.to) {
        let whole = window.from <= stretch.from && stretch.to.min(now) <= window.to;
        let reaching = recent.filter(|ring| !whole && ring.complete_since() <= stretch.from);
        let Some(ring) = reaching else {
            total.merge(&stretch.rollup);
            covered.from = covered.from.min(stretch.from);
            covered.to = covered.to.max(stretch.to.min(now));
            continue;
        };
        total.miss(stretch.rollup.missed);
        for round in ring.iter().filter(|round| stretch.from <= round.ended && round.ended < stretch.to) {
            if window.has(round.ended) {
                total.record(&round);
            }
        }
    }
    Summary::of(covered, &total)
}

impl Summary {
    /// Puts a sum into words.
    #[must_use]
    pub fn of(window: Window, total: &Rollup) -> Self {
        let quantile = |q| total.latencies.quantile(q);
        let latency = || {
            Some(Quantiles {
                p50: quantile(0.5)?,
                p90: quantile(0.9)?,
                p99: quantile(0.99)?,
                max: total.latencies.max()?,
            })
        };
        Self {
            window,
            rounds: total.rounds(),
            good: total.good,
            degraded: total.degraded,
            failed: total.failed,
            trouble: total.trouble,
            missed: total.missed,
            availability: total.availability(),
            latency: latency(),
            first_failure: total.first_failure(),
            last_failure: total.last_failure(),
        }
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
