//! The union of the parts of a schedule: stretches of time.

use jiff::{SignedDuration, Timestamp, ToSpan};

use super::HORIZON;
use super::series::{Series, Steps};
use super::stretch::{Occurrence, Stretch, merged};

/// A schedule that can be asked about any instant.
#[derive(Debug, Clone, Default)]
pub(super) struct Timeline {
    /// One-off occurrences, disjoint and in order.
    fixed: Vec<Occurrence>,
    series: Vec<Series>,
}

/// The most stretches that one list has: a month of a rule that begins every few minutes.
const MAX_LISTED: usize = 10_000;

impl Timeline {
    pub(super) fn new(fixed: Vec<Occurrence>, series: Vec<Series>) -> Self {
        Self { fixed: merged(fixed), series }
    }

    /// The stretch that contains `at`.
    pub(super) fn covering(&self, at: Timestamp) -> Option<Stretch> {
        self.covering_within(at, &mut Steps::default(), &mut Steps::default())
    }

    /// The same, with an account of the work in both directions.
    pub(super) fn covering_within(&self, at: Timestamp, back: &mut Steps, on: &mut Steps) -> Option<Stretch> {
        let fixed = self.fixed_at(at);
        let found = fixed.into_iter().chain(self.series.iter().filter_map(|series| series.covering(at, back)));
        let reach = found
            .reduce(|left, right| Occurrence { start: left.start.min(right.start), end: left.end.max(right.end) })?;
        Some(Stretch { since: self.since(reach.start, at, back), until: self.until(reach.end, at, on) })
    }

    fn since(&self, from: Timestamp, at: Timestamp, steps: &mut Steps) -> Option<Timestamp> {
        let mut since = from;
        loop {
            let before = since;
            let index = self.fixed.partition_point(|occurrence| occurrence.end < since);
            if let Some(touching) = self.fixed.get(index) {
                since = since.min(touching.start);
            }
            since = self.series.iter().fold(since, |since, series| series.reach_back(since, steps));
            // A search that was given up has found no end.
            if steps.exhausted() || at.duration_since(since) > LONGEST_STRETCH {
                return None;
            }
            if since == before {
                return (since > Timestamp::MIN).then_some(since);
            }
        }
    }

    fn until(&self, from: Timestamp, at: Timestamp, steps: &mut Steps) -> Option<Timestamp> {
        let mut until = from;
        loop {
            let before = until;
            let index = self.fixed.partition_point(|occurrence| occurrence.end <= until);
            if let Some(touching) = self.fixed.get(index).filter(|occurrence| occurrence.start <= until) {
                until = touching.end;
            }
            until = self.series.iter().fold(until, |until, series| series.reach_on(until, steps));
            if steps.exhausted() || until.duration_since(at) > LONGEST_STRETCH {
                return None;
            }
            if until == before {
                return (until < Timestamp::MAX).then_some(until);
            }
        }
    }

    fn fixed_at(&self, at: Timestamp) -> Option<Occurrence> {
        let index = self.fixed.partition_point(|occurrence| occurrence.end <= at);
        self.fixed.get(index).filter(|occurrence| occurrence.contains(at)).copied()
    }

    /// The first start after `at`; where `at` is not covered, this is where the next stretch begins.
    pub(super) fn next_start(&self, at: Timestamp) -> Option<Timestamp> {
        let fixed = self.fixed.get(self.fixed.partition_point(|occurrence| occurrence.start <= at));
        // A budget of its own for each: a sparse one must not starve the next.
        let series = self.series.iter().filter_map(|series| series.next_after(at, &mut Steps::default()));
        let limit = at.saturating_add(HORIZON).ok()?;
        fixed
            .copied()
            .into_iter()
            .chain(series)
            .map(|occurrence| occurrence.start)
            .min()
            .filter(|start| *start <= limit)
    }

    /// Where `at` is not covered, the end of the stretch before it.
    pub(super) fn last_end(&self, at: Timestamp) -> Option<Timestamp> {
        let index = self.fixed.partition_point(|occurrence| occurrence.end <= at);
        let fixed = index.checked_sub(1).and_then(|index| self.fixed.get(index)).map(|occurrence| occurrence.end);
        let series = self.series.iter().filter_map(|series| series.last_end_before(at, &mut Steps::default())).max();
        fixed.max(series)
    }

    /// The stretches that overlap `from` to `to`, in order; those at the edges reach beyond them.
    pub(super) fn stretches(&self, from: Timestamp, to: Timestamp) -> Vec<Stretch> {
        let mut out: Vec<Stretch> = Vec::new();
        let mut at = Some(from);
        while let Some(instant) = at.filter(|at| *at < to) {
            if out.len() >= MAX_LISTED {
                break;
            }
            at = match self.covering(instant) {
                Some(stretch) => {
                    out.push(stretch);
                    stretch.until
                }
                None => self.next_start(instant),
            };
        }
        out
    }

    /// Whether there is an occurrence that starts at or after `at`, or lasts beyond it.
    pub(super) fn has_future(&self, at: Timestamp) -> bool {
        at.checked_sub(1.nanosecond()).is_ok_and(|before| self.next_start(before).is_some())
            || self.covering(at).is_some()
    }
}

/// Beyond this the ends of a stretch are not searched for.
const LONGEST_STRETCH: SignedDuration = SignedDuration::from_hours(24 * 366 * 60);
