//! Zones that a calendar file defines itself (VTIMEZONE).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::days::day_after;
use super::rrule::{Recurrence, Rule};
use super::zone::SLACK;

/// One STANDARD or DAYLIGHT part as it was read: when it begins, in local time of the offset before
/// it, and the offset from then on.
#[derive(Debug, Clone)]
pub(super) struct Observance {
    pub(super) start: DateTime,
    pub(super) from: Offset,
    pub(super) to: Offset,
    pub(super) rules: Vec<Rule>,
    pub(super) dates: Vec<DateTime>,
}

#[derive(Debug, Clone)]
struct Compiled {
    from: Offset,
    to: Offset,
    rules: Vec<(Recurrence, Option<DateTime>)>,
    /// The start and every RDATE, in order.
    dates: Vec<DateTime>,
}

/// A zone of a calendar file.
#[derive(Debug, Clone)]
pub(super) struct CustomZone {
    name: String,
    observances: Vec<Compiled>,
    /// The offset before any observance has begun.
    before: Offset,
}

/// How many periods of a rule are looked at for its latest onset: rules of zones are yearly, and
/// none skips more than a few years.
const MAX_PERIODS_BACK: i64 = 16;

impl CustomZone {
    /// # Errors
    /// There is no observance, or one has a rule that makes no sense.
    pub(super) fn new(name: String, observances: Vec<Observance>) -> Result<Self, String> {
        let earliest = observances.iter().min_by_key(|observance| observance.start);
        let before = earliest.ok_or("a zone needs a STANDARD or a DAYLIGHT part")?.from;
        let observances = observances.into_iter().map(Compiled::new).collect::<Result<_, _>>()?;
        Ok(Self { name, observances, before })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The offset at an instant: that of the observance that began last.
    pub(super) fn offset_at(&self, at: Timestamp) -> Offset {
        let begun =
            self.observances.iter().filter_map(|observance| Some((observance.onset_before(at)?, observance.to)));
        begun.max_by_key(|(onset, _)| *onset).map_or(self.before, |(_, offset)| offset)
    }

    /// The instant of a local time, by the rules of [`super::zone::Zone`].
    pub(super) fn instant(&self, local: DateTime) -> Option<Timestamp> {
        let (before, after) = self.offsets_around(local)?;
        let early = before.to_timestamp(local).ok()?;
        let late = after.to_timestamp(local).ok()?;
        let valid = |at: Timestamp, offset: Offset| self.offset_at(at) == offset;
        // In a gap neither is valid, and the offset from before it moves the time forward.
        if valid(early, before) || !valid(late, after) { Some(early) } else { Some(late) }
    }

    pub(super) fn in_gap(&self, local: DateTime) -> bool {
        self.instant(local).is_some_and(|at| self.offset_at(at).to_datetime(at) != local)
    }

    /// The offsets a good day before and after a local time: far enough that they cannot be those
    /// in between, near enough that no second change lies there.
    fn offsets_around(&self, local: DateTime) -> Option<(Offset, Offset)> {
        let at = TimeZone::UTC.to_timestamp(local).ok()?;
        Some((self.offset_at(at.checked_sub(SLACK).ok()?), self.offset_at(at.checked_add(SLACK).ok()?)))
    }
}

impl Compiled {
    fn new(observance: Observance) -> Result<Self, String> {
        let Observance { start, from, to, rules, dates } = observance;
        let rules = rules.into_iter().map(|rule| {
            let last = rule.until.map(|until| match until {
                // UNTIL of an observance is in UTC; its onsets are in local time of the offset before.
                super::moment::Moment::Fixed(..) => {
                    until.instant(&super::zone::Zone::utc()).map_or(DateTime::MAX, |at| from.to_datetime(at))
                }
                super::moment::Moment::Day(_) => day_after(until.local()),
                super::moment::Moment::Local(local) => local,
            });
            let count = rule.count;
            let recurrence = Recurrence::new(rule, start, false)?;
            let last = count.map_or(last, |count| nth(&recurrence, count).or(last));
            Ok::<_, String>((recurrence, last))
        });
        let rules = rules.collect::<Result<_, _>>()?;
        let mut dates = dates;
        dates.push(start);
        dates.sort_unstable();
        Ok(Self { from, to, rules, dates })
    }

    /// The latest onset at or before `at`.
    fn onset_before(&self, at: Timestamp) -> Option<Timestamp> {
        let local = self.from.to_datetime(at);
        let date =
            self.dates.partition_point(|date| *date <= local).checked_sub(1).and_then(|index| self.dates.get(index));
        let rule =
            self.rules.iter().filter_map(|(rule, last)| latest(rule, last.map_or(local, |last| last.min(local)))).max();
        self.from.to_timestamp(date.copied().max(rule)?).ok()
    }
}

/// The latest start of a rule at or before `at`.
fn latest(rule: &Recurrence, at: DateTime) -> Option<DateTime> {
    let period = rule.period_of(at);
    let mut starts = Vec::new();
    for back in 0..MAX_PERIODS_BACK {
        if period < back {
            return None;
        }
        starts.clear();
        rule.starts(period - back, &mut starts);
        if let Some(start) = starts.iter().rev().find(|start| **start <= at && **start >= rule.start()) {
            return Some(*start);
        }
    }
    None
}

/// The `count`th start of a rule; `None` where that is beyond every question.
fn nth(rule: &Recurrence, count: u64) -> Option<DateTime> {
    /// Zones have a few onsets in a year: this many periods are thousands of years.
    const MAX_PERIODS: i64 = 10_000;
    let mut starts = Vec::new();
    (0..MAX_PERIODS).for_each(|period| {
        if u64::try_from(starts.len()).unwrap_or(u64::MAX) <= count {
            rule.starts(period, &mut starts);
        }
    });
    let index = usize::try_from(count.checked_sub(1)?).ok()?;
    starts.into_iter().filter(|start| *start >= rule.start()).nth(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use super::super::zone::{Zone, Zones};

    fn berlin() -> CustomZone {
        let observance = |start: &str, from: &str, to: &str, rule: &str| Observance {
            start: start.parse().unwrap(),
            from: super::super::moment::offset_of(from, false).unwrap(),
            to: super::super::moment::offset_of(to, false).unwrap(),
            rules: vec![rule.parse().unwrap()],
            dates: Vec::new(),
        };
        CustomZone::new(
            "Our Berlin".into(),
            vec![
                observance("1981-03-29T02:00", "+0100", "+0200", "FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU"),
                observance("1996-10-27T03:00", "+0200", "+0100", "FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU"),
            ],
        )
        .unwrap()
    }

    #[test]
    fn a_zone_without_parts_is_refused() {
        assert!(CustomZone::new("x".into(), Vec::new()).unwrap_err().contains("STANDARD"));
    }

    proptest! {
        #[test]
        fn a_zone_of_a_file_agrees_with_the_database_of_zones(minutes in 0_i64..20_000_000) {
            let known = Zone::Known(Zones::bundled().get("Europe/Berlin").unwrap());
            let ours = berlin();
            let at = Timestamp::from_second(852_076_800 + minutes * 60).unwrap();
            prop_assert_eq!(ours.offset_at(at).to_datetime(at), known.local(at));
            let local = known.local(at);
            prop_assert_eq!(ours.instant(local), known.instant(local));
        }
    }

    #[test]
    fn gaps_and_overlaps_of_a_file_s_zone_follow_the_same_rules() {
        let ours = berlin();
        let known = Zone::Known(Zones::bundled().get("Europe/Berlin").unwrap());
        for year in 2000..2040 {
            for (month, days) in [(3, 25..=31), (10, 25..=31)] {
                for day in days {
                    for (hour, minute) in [(1, 59), (2, 0), (2, 30), (2, 59), (3, 0)] {
                        let local = jiff::civil::date(year, month, day).at(hour, minute, 0, 0);
                        assert_eq!(ours.instant(local), known.instant(local), "{local}");
                    }
                }
            }
        }
    }
}
