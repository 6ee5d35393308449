//! Cron expressions: five fields, names allowed.

use jiff::civil::{Date, DateTime};

use super::days::{number_of, of_number};

/// A set of small numbers, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Set(u64);

impl Set {
    const fn has(self, number: i8) -> bool {
        number >= 0 && self.0 >> number & 1 == 1
    }

    fn numbers(self) -> impl Iterator<Item = i8> {
        (0..60).filter(move |number| self.has(*number))
    }
}

/// One of the five fields.
struct Field {
    name: &'static str,
    least: u32,
    greatest: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, greatest: 59, names: &[] },
    Field { name: "hour", least: 0, greatest: 23, names: &[] },
    Field { name: "day of month", least: 1, greatest: 31, names: &[] },
    Field {
        name: "month",
        least: 1,
        greatest: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    // 7 is Sunday as well, and folded onto 0 after reading.
    Field { name: "day of week", least: 0, greatest: 7, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

/// A cron expression. A day fits by its day of month **or** its day of week when both are
/// restricted, which is whatever is not a plain `*`, and otherwise by the one that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cron {
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
    either_day: bool,
}

impl std::str::FromStr for Cron {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let texts: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = texts.as_slice() else {
            let hint = if text.trim_start().starts_with('@') { " (`@` names are not allowed)" } else { "" };
            return Err(format!(
                "`{}` has {} fields{hint}: five are needed: minute, hour, day of month, month, day of week",
                cut(text),
                texts.len()
            ));
        };
        let either_day = *day != "*" && *weekday != "*";
        let [minutes, hours, days, months, weekdays] = &FIELDS;
        let mut weekdays = weekdays.parse(weekday)?;
        if weekdays.has(7) {
            weekdays = Set((weekdays.0 | 1) & 0x7f);
        }
        Ok(Self {
            minutes: minutes.parse(minute)?,
            hours: hours.parse(hour)?,
            days: days.parse(day)?,
            months: months.parse(month)?,
            weekdays,
            either_day,
        })
    }
}

impl Field {
    fn parse(&self, text: &str) -> Result<Set, String> {
        let mut bits = 0;
        for part in text.split(',') {
            bits |= self.part(part).ok_or_else(|| self.wrong(part))?;
        }
        Ok(Set(bits))
    }

    fn wrong(&self, found: &str) -> String {
        let names = match (self.names.first(), self.names.last()) {
            (Some(first), Some(last)) => format!(" or {first} to {last}"),
            _ => String::new(),
        };
        format!(
            "{}: `{}` is not allowed: numbers from {} to {}{names}, as `*`, `a`, `a-b`, with `/step`, or a list of these",
            self.name,
            cut(found),
            self.least,
            self.greatest
        )
    }

    fn part(&self, text: &str) -> Option<u64> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, number(step).filter(|step| (1..=self.greatest).contains(step))?),
            None => (text, 1),
        };
        let (from, to) = if range == "*" {
            (self.least, self.greatest)
        } else if let Some((from, to)) = range.split_once('-') {
            let (from, to) = (self.value(from)?, self.value(to)?);
            // A week may end on Sunday by either of its numbers.
            (from, if self.greatest == 7 && to == 0 && from > 0 { 7 } else { to })
        } else {
            let from = self.value(range)?;
            (from, if text.contains('/') { self.greatest } else { from })
        };
        // A star on days of the week means 0 to 6: 7 would only count Sunday twice.
        let to = if self.greatest == 7 && (range == "*" || !range.contains('-') && text.contains('/')) {
            to.min(6)
        } else {
            to
        };
        (from <= to).then(|| (from..=to).step_by(usize::try_from(step).unwrap_or(1)).fold(0, |bits, n| bits | 1 << n))
    }

    fn value(&self, text: &str) -> Option<u32> {
        let named = || {
            let index = self.names.iter().position(|name| name.eq_ignore_ascii_case(text))?;
            u32::try_from(index).ok().map(|index| index + u32::from(self.least == 1))
        };
        number(text).or_else(named).filter(|value| (self.least..=self.greatest).contains(value))
    }
}

fn number(text: &str) -> Option<u32> {
    (1..=2).contains(&text.len()).then(|| super::moment::digits(text, text.len())).flatten()?.try_into().ok()
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

impl Cron {
    /// Every period is a day.
    #[expect(clippy::unused_self, reason = "every pattern is asked in the same way")]
    pub(super) fn period_of(&self, at: DateTime) -> i64 {
        number_of(at.date())
    }

    /// The local starts of a day, in order.
    pub(super) fn starts(&self, period: i64, into: &mut Vec<DateTime>) {
        let Some(date) = of_number(period).filter(|date| self.day_fits(*date)) else { return };
        let times = self.hours.numbers().flat_map(|hour| self.minutes.numbers().map(move |minute| (hour, minute)));
        into.extend(times.map(|(hour, minute)| date.at(hour, minute, 0, 0)));
    }

    fn day_fits(&self, date: Date) -> bool {
        if !self.months.has(date.month()) {
            return false;
        }
        let day = self.days.has(date.day());
        let weekday = self.weekdays.has(date.weekday().to_sunday_zero_offset());
        if self.either_day { day || weekday } else { day && weekday }
    }

    /// Whether it begins on every single day.
    pub(super) fn every_day(&self) -> bool {
        let (days, weekdays) = (self.days == Set(0xffff_fffe), self.weekdays == Set(0x7f));
        self.months == Set(0x1ffe) && if self.either_day { days || weekdays } else { days && weekdays }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn fits(expression: &str, day: &str) -> bool {
        expression.parse::<Cron>().unwrap().day_fits(day.parse().unwrap())
    }

    #[rstest]
    // Friday the 13th of February 2026, a Friday, a 13th that is a Friday.
    #[case("0 0 13 * 5", "2026-02-13", true)]
    #[case("0 0 13 * 5", "2026-02-20", true)]
    #[case("0 0 13 * 5", "2026-01-13", true)]
    #[case("0 0 13 * 5", "2026-01-14", false)]
    #[case("0 0 13 * *", "2026-02-20", false)]
    #[case("0 0 * * 5", "2026-01-13", false)]
    #[case("0 0 * * 0", "2026-02-15", true)]
    #[case("0 0 * * 7", "2026-02-15", true)]
    #[case("0 0 * * sun", "2026-02-15", true)]
    #[case("0 0 * * Fri-Sun", "2026-02-15", true)]
    #[case("0 0 * * 5-7", "2026-02-15", true)]
    #[case("0 0 * * 5-7", "2026-02-16", false)]
    #[case("0 0 * FEB *", "2026-02-16", true)]
    #[case("0 0 * 1-3/2 *", "2026-02-16", false)]
    #[case("0 0 1-31 * 1", "2026-02-17", true)]
    #[case("0 0 */2 * 1", "2026-02-17", true)]
    #[case("0 0 */2 * 1", "2026-02-16", true)]
    #[case("0 0 */2 * 1", "2026-02-18", false)]
    fn a_day_fits_by_day_of_month_or_week_when_both_are_restricted(
        #[case] expression: &str,
        #[case] day: &str,
        #[case] expected: bool,
    ) {
        assert_eq!(fits(expression, day), expected);
    }

    #[test]
    fn steps_and_lists_give_their_times() {
        let cron: Cron = "*/20,5 9-17/4 * * *".parse().unwrap();
        let mut starts = Vec::new();
        cron.starts(cron.period_of("2026-02-16T00:00".parse().unwrap()), &mut starts);
        let times: Vec<_> = starts.iter().map(|start| start.strftime("%H:%M").to_string()).collect();
        assert_eq!(
            times,
            [
                "09:00", "09:05", "09:20", "09:40", "13:00", "13:05", "13:20", "13:40", "17:00", "17:05", "17:20",
                "17:40"
            ]
        );
    }

    #[rstest]
    #[case("", "0 fields")]
    #[case("0 9 * *", "4 fields")]
    #[case("0 0 9 * * *", "6 fields")]
    #[case("@daily", "`@` names")]
    #[case("60 9 * * *", "minute: `60`")]
    #[case("0 24 * * *", "hour: `24`")]
    #[case("0 9 0 * *", "day of month: `0`")]
    #[case("0 9 * 13 *", "month: `13`")]
    #[case("0 9 * * 8", "day of week: `8`")]
    #[case("0 9 * * mond", "sun to sat")]
    #[case("0 17-9 * * *", "hour: `17-9`")]
    #[case("*/0 9 * * *", "minute: `*/0`")]
    #[case("0 9 L * *", "day of month: `L`")]
    #[case("0 9 * * 5#2", "day of week: `5#2`")]
    #[case("0 9,,10 * * *", "hour: ``")]
    #[case("-5 9 * * *", "minute: `-5`")]
    fn a_wrong_expression_is_refused_with_field_and_range(#[case] text: &str, #[case] why: &str) {
        let message = text.parse::<Cron>().unwrap_err();
        assert!(message.contains(why), "{message}");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}", near in "[0-9*/, -]{0,12}( [0-9*/,a-z-]{1,6}){4}") {
            let _ = text.parse::<Cron>();
            let _ = near.parse::<Cron>();
        }
    }
}
