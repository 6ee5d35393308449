//! One recurring part of a schedule: a pattern in a zone, with a length and exceptions.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::HORIZON;
use super::days::day_after;
use super::pattern::Pattern;
use super::rrule::Recurrence;
use super::stretch::Occurrence;
use super::zone::{Length, SLACK, Zone};

/// Where counting the occurrences of a COUNT ends: nobody asks about later, and the rule is endless
/// for every answer.
const LAST_COUNTED_YEAR: i16 = 2_400;

/// A rule without an occurrence for so many years has none at all, or is a mistake.
const YEARS_WITHOUT: i32 = 20;

/// Counts the work of an answer: periods and occurrences that were looked at. When it is used up,
/// the answer says that it does not know.
#[derive(Debug, Default)]
pub(super) struct Steps {
    taken: usize,
}

impl Steps {
    /// The most steps of one search: 36 years of days, or two weeks of minutes.
    pub(super) const MOST: usize = 20_000;

    pub(super) fn take(&mut self, steps: usize) {
        self.taken = self.taken.saturating_add(steps);
    }

    pub(super) const fn exhausted(&self) -> bool {
        self.taken > Self::MOST
    }

    #[cfg(test)]
    pub(super) const fn taken(&self) -> usize {
        self.taken
    }
}

/// What takes occurrences away: instants, and whole days in the zone of the series.
#[derive(Debug, Clone, Default)]
pub(super) struct Except {
    pub(super) instants: BTreeSet<Timestamp>,
    pub(super) days: BTreeSet<Date>,
    /// Rules of the old EXRULE.
    pub(super) rules: Vec<Recurrence>,
}

/// The part of a series that an event with RANGE=THISANDFUTURE has changed: the occurrences whose
/// original start lies in it.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) from: Option<Timestamp>,
    pub(super) before: Option<Timestamp>,
    /// By how much local starts move, and the zone that they move to.
    pub(super) moved: Option<(SignedDuration, Zone)>,
}

/// One recurring part.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pattern: Pattern,
    zone: Zone,
    length: Length,
    /// UNTIL, itself included.
    until: Option<Timestamp>,
    /// The last local start of a rule with COUNT.
    last: Option<DateTime>,
    except: Except,
    segment: Option<Segment>,
}

impl Series {
    /// A series without an end or exceptions.
    ///
    /// # Errors
    /// The pattern has no occurrence in 20 years.
    pub(super) fn new(pattern: Pattern, zone: Zone, length: Length) -> Result<Self, String> {
        let mut series =
            Self { pattern, zone, length, until: None, last: None, except: Except::default(), segment: None };
        let rule = match &series.pattern {
            Pattern::Recurrence(recurrence) => Some(recurrence.rule().clone()),
            Pattern::Weekly(_) | Pattern::Cron(_) => None,
        };
        if let Some(until) = rule.as_ref().and_then(|rule| rule.until) {
            series.until = if until.is_day() {
                // The whole day: up to the instant before the next one begins.
                series.zone.instant(day_after(until.local())).and_then(|next| next.checked_sub(1.nanosecond()).ok())
            } else {
                until.instant(&series.zone)
            };
        }
        if let Some(count) = rule.and_then(|rule| rule.count) {
            series.last = series.count(count);
        }
        if series.nothing_in_years() {
            return Err(format!("there is no occurrence in {YEARS_WITHOUT} years"));
        }
        Ok(series)
    }

    /// Takes occurrences away.
    pub(super) fn without(mut self, except: Except) -> Self {
        self.except = except;
        self
    }

    /// Keeps only a segment, perhaps moved and of another length.
    pub(super) fn cut(mut self, segment: Segment, length: Option<Length>) -> Self {
        self.segment = Some(segment);
        self.length = length.unwrap_or(self.length);
        self
    }

    pub(super) fn longest(&self) -> SignedDuration {
        self.length.longest()
    }

    /// The local start of the `count`th occurrence; `None` where that is too far away to matter.
    fn count(&self, count: u64) -> Option<DateTime> {
        let first = self.pattern.first()?;
        let mut left = count;
        let mut period = self.pattern.period_of(first);
        let last_period = self.pattern.period_of(DateTime::new(LAST_COUNTED_YEAR, 1, 1, 0, 0, 0, 0).ok()?);
        let mut starts = Vec::new();
        while period <= last_period {
            starts.clear();
            self.pattern.starts(period, &mut starts);
            for start in starts.iter().filter(|start| **start >= first) {
                if self.zone.occurrence(*start).is_none() {
                    continue;
                }
                left = left.saturating_sub(1);
                if left == 0 {
                    return Some(*start);
                }
            }
            period += 1;
        }
        None
    }

    fn nothing_in_years(&self) -> bool {
        let default = DateTime::constant(2_000, 1, 1, 0, 0, 0, 0);
        let first = self.pattern.first().unwrap_or(default);
        let end = first.saturating_add(YEARS_WITHOUT.years());
        let mut starts = Vec::new();
        let (from, to) = (self.pattern.period_of(first), self.pattern.period_of(end));
        (from..=to).all(|period| {
            starts.clear();
            self.pattern.starts(period, &mut starts);
            !starts.iter().any(|start| *start >= first && *start <= end && self.original(*start).is_some())
        })
    }

    /// The instant of a local start of the pattern, before exceptions and moves.
    fn original(&self, local: DateTime) -> Option<Timestamp> {
        let start = self.zone.occurrence(local)?;
        self.until.is_none_or(|until| start <= until).then_some(start)
    }

    /// Whether the pattern itself, before exceptions and moves, begins at `at`; tells the local start.
    pub(super) fn begins_at(&self, at: Timestamp) -> Option<DateTime> {
        let around = self.zone.local(at);
        let (lo, hi) = (around.saturating_sub(SLACK), around.saturating_add(SLACK));
        let mut starts = Vec::new();
        (self.pattern.period_of(lo)..=self.pattern.period_of(hi))
            .for_each(|period| self.pattern.starts(period, &mut starts));
        starts.into_iter().find(|start| self.counts(*start) && self.original(*start) == Some(at))
    }

    /// Whether a local start lies between the first and the last.
    fn counts(&self, local: DateTime) -> bool {
        self.pattern.first().is_none_or(|first| first <= local) && self.last.is_none_or(|last| local <= last)
    }

    /// The occurrence of a local start of the pattern.
    fn occurrence(&self, local: DateTime) -> Option<Occurrence> {
        if !self.counts(local) {
            return None;
        }
        let original = self.original(local)?;
        if self.except.instants.contains(&original)
            || self.except.days.contains(&local.date())
            || self.except.rules.iter().any(|rule| gives(rule, local))
        {
            return None;
        }
        let (local, start, zone) = match &self.segment {
            None => (local, original, &self.zone),
            Some(segment) => {
                let inside = segment.from.is_none_or(|from| from <= original)
                    && segment.before.is_none_or(|before| original < before);
                match &segment.moved {
                    _ if !inside => return None,
                    None => (local, original, &self.zone),
                    Some((by, zone)) => {
                        let local = local.checked_add(*by).ok()?;
                        (local, zone.occurrence(local)?, zone)
                    }
                }
            }
        };
        Occurrence::new(start, self.length.end(local, start, zone)?)
    }

    /// The occurrences that start at or after `from` and before `to`, in order.
    pub(super) fn between(&self, from: Timestamp, to: Timestamp, steps: &mut Steps) -> Vec<Occurrence> {
        let mut out = Vec::new();
        let (Some(lo), Some(hi)) = (self.local_bound(from, -SLACK), self.local_bound(to, SLACK)) else { return out };
        let lo = self.pattern.first().map_or(lo, |first| first.max(lo));
        let hi = self.last.map_or(hi, |last| last.min(hi));
        if lo > hi {
            return out;
        }
        let mut starts = Vec::new();
        for period in self.pattern.period_of(lo)..=self.pattern.period_of(hi) {
            starts.clear();
            self.pattern.starts_within(period, lo, hi, &mut starts);
            let near = starts.partition_point(|start| *start < lo);
            let inside: Vec<_> = starts.iter().skip(near).take_while(|start| **start <= hi).collect();
            steps.take(1 + inside.len());
            out.extend(
                inside
                    .into_iter()
                    .filter_map(|start| self.occurrence(*start))
                    .filter(|occurrence| from <= occurrence.start && occurrence.start < to),
            );
            if steps.exhausted() {
                break;
            }
        }
        // A start that was moved out of a gap comes after those that follow the gap.
        out.sort_unstable();
        out
    }

    /// The original local time that no start at or after (before, for a positive margin) `at` is
    /// beyond. The margin is needed only near a change of the offset.
    fn local_bound(&self, at: Timestamp, margin: SignedDuration) -> Option<DateTime> {
        let (zone, by) = match self.segment.as_ref().and_then(|segment| segment.moved.as_ref()) {
            Some((by, zone)) => (zone, *by),
            None => (&self.zone, SignedDuration::ZERO),
        };
        let local = zone.local(at).saturating_sub(by);
        let (Ok(before), Ok(after)) = (at.checked_sub(SLACK), at.checked_add(SLACK)) else {
            return local.checked_add(margin).ok();
        };
        // A move may carry a start over a gap of its own zone, so it always needs the margin.
        let steady = by.is_zero() && zone.steady(before, after);
        Some(if steady { local } else { local.saturating_add(margin) })
    }

    /// The first occurrence that starts after `at`.
    pub(super) fn next_after(&self, at: Timestamp, steps: &mut Steps) -> Option<Occurrence> {
        let mut from = at.checked_add(1.nanosecond()).ok()?;
        let end = at.saturating_add(HORIZON).ok()?;
        let mut block = FIRST_BLOCK;
        while from < end && !steps.exhausted() {
            let to = from.saturating_add(block).ok()?.min(end);
            if let Some(first) = self.between(from, to, steps).into_iter().next() {
                return Some(first);
            }
            if self.is_over_at(to) {
                return None;
            }
            from = to;
            block = block.saturating_mul(2).min(LARGEST_BLOCK);
        }
        None
    }

    /// The end of the last occurrence that starts at or before `at`.
    pub(super) fn last_end_before(&self, at: Timestamp, steps: &mut Steps) -> Option<Timestamp> {
        let mut to = at.checked_add(1.nanosecond()).ok()?;
        let begin = at.saturating_sub(HORIZON).ok()?;
        let mut block = FIRST_BLOCK;
        while to > begin && !steps.exhausted() {
            let from = to.saturating_sub(block).ok()?.max(begin);
            let end = self.between(from, to, steps).into_iter().map(|occurrence| occurrence.end).max();
            if end.is_some() || self.has_not_begun_at(from) {
                return end;
            }
            to = from;
            block = block.saturating_mul(2).min(LARGEST_BLOCK);
        }
        None
    }

    /// The widest reach of the occurrences that contain `at`.
    pub(super) fn covering(&self, at: Timestamp, steps: &mut Steps) -> Option<Occurrence> {
        let from = at.saturating_sub(self.longest()).ok()?;
        let to = at.checked_add(1.nanosecond()).ok()?;
        // The latest start ends last nearly always: long series need not be gone through.
        let near = from.max(at.saturating_sub(LARGEST_BLOCK).ok()?);
        let mut found = self.between(near, to, steps);
        found.retain(|occurrence| occurrence.end > at);
        if found.is_empty() && near > from {
            found = self.between(from, near, steps);
            found.retain(|occurrence| occurrence.end > at);
        }
        let start = found.iter().map(|occurrence| occurrence.start).min()?;
        let end = found.iter().map(|occurrence| occurrence.end).max()?;
        Some(Occurrence { start, end })
    }

    /// How far back occurrences that overlap or touch reach from `since`.
    pub(super) fn reach_back(&self, mut since: Timestamp, steps: &mut Steps) -> Timestamp {
        let mut to = since;
        let mut block = self.longest().max(FIRST_BLOCK);
        loop {
            let filled = self.fill_back(since, steps);
            if filled < since {
                (since, to) = (filled, filled);
            }
            // What starts earlier than this cannot reach `since` any more.
            let edge = since.saturating_sub(self.longest()).unwrap_or(Timestamp::MIN);
            if to <= edge || steps.exhausted() {
                return since;
            }
            let from = to.saturating_sub(block).unwrap_or(Timestamp::MIN);
            for occurrence in self.between(from, to, steps).iter().rev() {
                if occurrence.end >= since {
                    since = occurrence.start;
                }
            }
            to = from;
            block = block.saturating_mul(2).min(LARGEST_BLOCK);
        }
    }

    /// How far on occurrences that overlap or touch reach from `until`.
    pub(super) fn reach_on(&self, mut until: Timestamp, steps: &mut Steps) -> Timestamp {
        let mut from = until;
        // What began before `until` and ends after it.
        if let Some(over) = self.covering(until, steps) {
            until = over.end;
        }
        let mut block = FIRST_BLOCK;
        loop {
            let filled = self.fill_on(until, steps);
            if filled > until {
                (until, from) = (filled, filled);
            }
            let to = from.saturating_add(block).unwrap_or(Timestamp::MAX);
            if from > until || to <= from || steps.exhausted() {
                return until;
            }
            for occurrence in self.between(from, to, steps) {
                if occurrence.start > until {
                    return until;
                }
                until = until.max(occurrence.end);
            }
            from = to;
            block = block.saturating_mul(2).min(LARGEST_BLOCK);
        }
    }

    /// A series that fills every day needs no walking: it reaches back to its first occurrence, or
    /// to the last exception.
    fn fill_back(&self, since: Timestamp, steps: &mut Steps) -> Timestamp {
        if !self.fills_days() || self.covering(since, steps).is_none() {
            return since;
        }
        let exception = self.last_exception_before(since);
        let first = self.pattern.first().and_then(|first| self.zone.instant(first));
        let Some(floor) = exception.max(first) else {
            return Timestamp::MIN;
        };
        let Ok(to) = floor.saturating_add(SLACK.saturating_mul(2)) else { return since };
        self.between(floor, to, steps).first().map_or(since, |occurrence| occurrence.start.min(since))
    }

    /// The same forward: up to UNTIL, COUNT or the next exception.
    fn fill_on(&self, until: Timestamp, steps: &mut Steps) -> Timestamp {
        if !self.fills_days() || self.between(until, until.saturating_add(SLACK).unwrap_or(until), steps).is_empty() {
            return until;
        }
        let exception = self.first_exception_after(until);
        let last = self.last.and_then(|last| self.zone.instant(last));
        let ends = [exception, last, self.until];
        let Some(ceiling) = ends.into_iter().flatten().min() else {
            return Timestamp::MAX;
        };
        let Ok(from) = ceiling.saturating_sub(SLACK.saturating_mul(2)) else { return until };
        if from <= until {
            return until;
        }
        let before = self.between(from, ceiling, steps);
        before.first().map_or(until, |occurrence| occurrence.end.max(until))
    }

    fn fills_days(&self) -> bool {
        self.segment.is_none()
            && self.except.rules.is_empty()
            && self.pattern.every_day().is_some_and(|time| self.length.fills_a_day(time))
    }

    fn last_exception_before(&self, at: Timestamp) -> Option<Timestamp> {
        let instant = self.except.instants.range(..at).next_back().copied();
        let day = self.except.days.range(..=self.zone.local(at).date()).next_back();
        instant.max(day.and_then(|day| self.zone.start_of(day.tomorrow().ok()?))).map(|exception| exception.min(at))
    }

    fn first_exception_after(&self, at: Timestamp) -> Option<Timestamp> {
        let instant = self.except.instants.range(at..).next().copied();
        let day = self.except.days.range(self.zone.local(at).date()..).next();
        let day = day.and_then(|day| self.zone.start_of(*day));
        [instant, day].into_iter().flatten().min()
    }

    fn is_over_at(&self, at: Timestamp) -> bool {
        let moved = self.segment.as_ref().is_some_and(|segment| segment.moved.is_some());
        !moved
            && (self.until.is_some_and(|until| until < at)
                || self.last.and_then(|last| self.zone.instant(last)).is_some_and(|last| last < at))
    }

    fn has_not_begun_at(&self, at: Timestamp) -> bool {
        let moved = self.segment.as_ref().is_some_and(|segment| segment.moved.is_some());
        !moved && self.pattern.first().and_then(|first| self.zone.instant(first)).is_some_and(|first| at < first)
    }
}

/// The first stretch of time that a search looks at; it doubles while it finds nothing.
const FIRST_BLOCK: SignedDuration = SignedDuration::from_hours(30);

/// The largest: some thousand starts of a rule that begins every few minutes.
const LARGEST_BLOCK: SignedDuration = SignedDuration::from_hours(24 * 400);

/// Whether a rule gives this very local start.
fn gives(rule: &Recurrence, local: DateTime) -> bool {
    let mut starts = Vec::new();
    rule.starts(rule.period_of(local), &mut starts);
    local >= rule.start() && starts.contains(&local)
}
