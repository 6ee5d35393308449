//! From a rule to the starts of one of its periods.
//!
//! A rule is a row of periods: every nth year, month, week or day from the first one. Each period
//! gives a set of local starts, and any period can be computed without those before it. That is why
//! an answer never walks from the beginning.

use jiff::civil::{Date, DateTime, Time, Weekday};

use super::{ByDay, Frequency, Rule};
use crate::windows::days::{into_week, number_of, of_number, week_of_year};

/// The most starts on one day: one every minute, as cron has it. More would make every answer slow
/// and says nothing that a longer duration does not.
const MAX_TIMES: usize = 1_440;

/// A rule with the local start that its first occurrence and everything it leaves open come from.
#[derive(Debug, Clone)]
pub(crate) struct Recurrence {
    rule: Rule,
    start: DateTime,
    /// The times of a day; for hourly rules the minutes and seconds of hour 0.
    times: Vec<Time>,
    /// The first day of the week of the start.
    first_week: i64,
}

impl Recurrence {
    /// Fills in from `start` what the rule leaves open; on whole days, BYHOUR, BYMINUTE and
    /// BYSECOND have no meaning and are passed over (RFC 5545, section 3.3.10).
    pub(crate) fn new(mut rule: Rule, start: DateTime, whole_days: bool) -> Result<Self, String> {
        if whole_days {
            if rule.frequency == Frequency::Hourly {
                return Err("FREQ=HOURLY needs a start with a time, not a whole day".to_owned());
            }
            rule.by_hour.clear();
            rule.by_minute.clear();
            rule.by_second.clear();
        }
        derive_days(&mut rule, start);
        let times = times(&rule, start);
        if times.len() > MAX_TIMES {
            return Err(format!("the rule begins {} times a day: at most {MAX_TIMES}", times.len()));
        }
        let first_week = number_of(start.date()) - into_week(start.weekday(), rule.week_start);
        Ok(Self { rule, start, times, first_week })
    }

    /// The local start that it was made with.
    pub(crate) const fn start(&self) -> DateTime {
        self.start
    }

    /// The rule.
    pub(crate) const fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Whether it begins on every single day, and then at what time first.
    pub(crate) fn every_day(&self) -> Option<Time> {
        let rule = &self.rule;
        let plain = rule.frequency == Frequency::Daily
            && rule.interval == 1
            && rule.by_month.is_empty()
            && rule.by_month_day.is_empty()
            && rule.by_day.is_empty()
            && rule.by_position.is_empty();
        plain.then(|| self.times.first().copied()).flatten()
    }

    /// The period that `at` lies in, or the last one before it.
    pub(crate) fn period_of(&self, at: DateTime) -> i64 {
        let (date, from) = (at.date(), self.start.date());
        let units = match self.rule.frequency {
            Frequency::Yearly => i64::from(date.year()) - i64::from(from.year()),
            Frequency::Monthly => months(date) - months(from),
            Frequency::Weekly => (number_of(date) - self.first_week).div_euclid(7),
            Frequency::Daily => number_of(date) - number_of(from),
            // Hours are gone through day by day.
            Frequency::Hourly => return number_of(date) - number_of(from),
        };
        units.div_euclid(self.rule.interval)
    }

    /// The local starts of a period, in order and each once, those before the first one included.
    pub(crate) fn starts(&self, period: i64, into: &mut Vec<DateTime>) {
        self.starts_within(period, DateTime::MIN, DateTime::MAX, into);
    }

    /// The same, where only those from `lo` to `hi` are of interest; others may be left out.
    pub(crate) fn starts_within(&self, period: i64, lo: DateTime, hi: DateTime, into: &mut Vec<DateTime>) {
        if self.rule.frequency == Frequency::Hourly {
            self.hours(period, into);
            return;
        }
        // A position counts from the whole set.
        let whole = !self.rule.by_position.is_empty();
        let range = if whole { (i64::MIN, i64::MAX) } else { (months(lo.date()), months(hi.date())) };
        let days = self.days(period, range);
        if self.rule.by_position.is_empty() {
            into.extend(days.iter().flat_map(|day| self.times.iter().map(|time| day.to_datetime(*time))));
            return;
        }
        for index in positions(&self.rule.by_position, days.len() * self.times.len()) {
            let (day, time) = (index / self.times.len(), index % self.times.len());
            if let (Some(day), Some(time)) = (days.get(day), self.times.get(time)) {
                into.push(day.to_datetime(*time));
            }
        }
    }

    fn hours(&self, period: i64, into: &mut Vec<DateTime>) {
        let Some(date) = of_number(number_of(self.start.date()).saturating_add(period)) else { return };
        if !self.day_fits(date) {
            return;
        }
        for hour in 0_i8..24 {
            let since = period * 24 + i64::from(hour) - i64::from(self.start.hour());
            let listed = self.rule.by_hour.is_empty() || self.rule.by_hour.contains(&i64::from(hour));
            if !listed || since.rem_euclid(self.rule.interval) != 0 {
                continue;
            }
            let at = |time: &Time| date.at(hour, time.minute(), time.second(), 0);
            if self.rule.by_position.is_empty() {
                into.extend(self.times.iter().map(at));
            } else {
                let picked = positions(&self.rule.by_position, self.times.len());
                into.extend(picked.into_iter().filter_map(|index| self.times.get(index)).map(at));
            }
        }
    }

    /// The days of a period; of a year only those in a range of months.
    fn days(&self, period: i64, (first, last): (i64, i64)) -> Vec<Date> {
        let Some(units) = period.checked_mul(self.rule.interval) else { return Vec::new() };
        let from = self.start.date();
        match self.rule.frequency {
            Frequency::Yearly => {
                let year = i64::from(from.year()).saturating_add(units);
                let inside = |month: &i64| (first..=last).contains(&(year * 12 + month - 1));
                let months = (1..=12).filter(inside).filter(|month| self.month_fits(*month));
                months.flat_map(|month| self.days_of_month(year, month)).collect()
            }
            Frequency::Monthly => {
                let months = months(from).saturating_add(units);
                let month = months.rem_euclid(12) + 1;
                if self.month_fits(month) { self.days_of_month(months.div_euclid(12), month) } else { Vec::new() }
            }
            Frequency::Weekly => {
                let first = self.first_week.saturating_add(units.saturating_mul(7));
                (0..7)
                    .filter_map(|day| of_number(first.saturating_add(day)))
                    .filter(|date| self.day_fits(*date))
                    .collect()
            }
            Frequency::Daily | Frequency::Hourly => {
                let date = of_number(number_of(from).saturating_add(units));
                date.into_iter().filter(|date| self.day_fits(*date)).collect()
            }
        }
    }

    fn days_of_month(&self, year: i64, month: i64) -> Vec<Date> {
        let first = i16::try_from(year).ok().zip(i8::try_from(month).ok());
        let Some(first) = first.and_then(|(year, month)| Date::new(year, month, 1).ok()) else { return Vec::new() };
        (1..=first.days_in_month())
            .filter_map(|day| Date::new(first.year(), first.month(), day).ok())
            .filter(|date| self.day_fits(*date))
            .collect()
    }

    fn month_fits(&self, month: i64) -> bool {
        self.rule.by_month.is_empty() || self.rule.by_month.contains(&month)
    }

    /// Whether a day meets every part of the rule that speaks of days.
    fn day_fits(&self, date: Date) -> bool {
        let rule = &self.rule;
        let counted =
            |list: &[i64], nth: i64, of: i64| list.is_empty() || list.contains(&nth) || list.contains(&(nth - of - 1));
        self.month_fits(i64::from(date.month()))
            && counted(&rule.by_month_day, i64::from(date.day()), i64::from(date.days_in_month()))
            && counted(&rule.by_year_day, i64::from(date.day_of_year()), i64::from(date.days_in_year()))
            && (rule.by_day.is_empty() || rule.by_day.iter().any(|day| self.weekday_fits(*day, date)))
            && (rule.by_week.is_empty()
                || week_of_year(date, rule.week_start).is_some_and(|(nth, of)| counted(&rule.by_week, nth, of)))
    }

    fn weekday_fits(&self, by_day: ByDay, date: Date) -> bool {
        if date.weekday() != by_day.day {
            return false;
        }
        let Some(nth) = by_day.nth else { return true };
        // The nth of the month, unless the rule is about the whole year (RFC 5545, table in 3.3.10).
        let (day, days) = if self.rule.frequency == Frequency::Monthly || !self.rule.by_month.is_empty() {
            (i64::from(date.day()), i64::from(date.days_in_month()))
        } else {
            (i64::from(date.day_of_year()), i64::from(date.days_in_year()))
        };
        if nth > 0 { (day - 1) / 7 + 1 == nth } else { (days - day) / 7 + 1 == -nth }
    }
}

/// Months since the year 0.
fn months(date: Date) -> i64 {
    i64::from(date.year()) * 12 + i64::from(date.month()) - 1
}

/// What the rule leaves open about days comes from the start.
fn derive_days(rule: &mut Rule, start: DateTime) {
    let weekday = |day: Weekday| ByDay { nth: None, day };
    let says_days = !rule.by_year_day.is_empty() || !rule.by_month_day.is_empty() || !rule.by_day.is_empty();
    if says_days {
        return;
    }
    match rule.frequency {
        // A week of the year alone: the start's day of that week.
        Frequency::Yearly if !rule.by_week.is_empty() => rule.by_day.push(weekday(start.weekday())),
        Frequency::Yearly => {
            if rule.by_month.is_empty() {
                rule.by_month.push(i64::from(start.month()));
            }
            rule.by_month_day.push(i64::from(start.day()));
        }
        Frequency::Monthly => rule.by_month_day.push(i64::from(start.day())),
        Frequency::Weekly => rule.by_day.push(weekday(start.weekday())),
        Frequency::Daily | Frequency::Hourly => {}
    }
}

fn times(rule: &Rule, start: DateTime) -> Vec<Time> {
    let or = |list: &[i64], from_start: i8| {
        if list.is_empty() { vec![i64::from(from_start)] } else { list.to_vec() }
    };
    let hours = match rule.frequency {
        Frequency::Hourly => vec![0],
        _ => or(&rule.by_hour, start.hour()),
    };
    let (minutes, seconds) = (or(&rule.by_minute, start.minute()), or(&rule.by_second, start.second()));
    let mut out = Vec::new();
    for hour in &hours {
        for minute in &minutes {
            for second in &seconds {
                // A leap second is the second before it (RFC 5545, section 3.3.12).
                let parts = (i8::try_from(*hour), i8::try_from(*minute), i8::try_from((*second).min(59)));
                if let (Ok(hour), Ok(minute), Ok(second)) = parts {
                    out.extend(Time::new(hour, minute, second, 0));
                }
            }
        }
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// The places in a set of `len` that BYSETPOS picks, in order and each once.
fn positions(picks: &[i64], len: usize) -> Vec<usize> {
    let mut out: Vec<usize> = picks
        .iter()
        .filter_map(|pick| match usize::try_from(*pick) {
            Ok(from_start) => from_start.checked_sub(1),
            Err(_) => len.checked_sub(usize::try_from(pick.unsigned_abs()).ok()?),
        })
        .filter(|index| *index < len)
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}
