//! From text to a checked rule.

use jiff::civil::Weekday;

use super::{ByDay, Frequency, Rule};
use crate::windows::moment::{Moment, digits};

/// The most values of one part: a BYSETPOS or BYYEARDAY of every day of a leap year, both ways.
const MAX_VALUES: usize = 732;

/// The parts that a rule may have, for messages.
const PARTS: &str = "FREQ, INTERVAL, COUNT, UNTIL, BYMONTH, BYWEEKNO, BYYEARDAY, BYMONTHDAY, BYDAY, BYHOUR, BYMINUTE, \
                     BYSECOND, BYSETPOS and WKST";

impl std::str::FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let text = text.strip_prefix("RRULE:").unwrap_or(text);
        let mut parts = Parts::default();
        // Some programs end a rule with a semicolon: there is nothing to misread in that.
        for part in text.strip_suffix(';').unwrap_or(text).split(';') {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("`{}` is not a part of a rule: parts are written NAME=VALUE", cut(part)))?;
            parts.take(&name.to_ascii_uppercase(), value)?;
        }
        let rule = parts.into_rule()?;
        rule.check()?;
        Ok(rule)
    }
}

/// The parts that have been read so far.
#[derive(Default)]
struct Parts {
    seen: Vec<String>,
    frequency: Option<Frequency>,
    interval: Option<i64>,
    count: Option<u64>,
    until: Option<Moment>,
    lists: [Vec<i64>; 8],
    by_day: Vec<ByDay>,
    week_start: Option<Weekday>,
}

/// The parts that are lists of numbers: name, least, greatest, and whether negative ones count from
/// the end.
const LISTS: [(&str, i64, i64, bool); 8] = [
    ("BYMONTH", 1, 12, false),
    ("BYWEEKNO", 1, 53, true),
    ("BYYEARDAY", 1, 366, true),
    ("BYMONTHDAY", 1, 31, true),
    ("BYHOUR", 0, 23, false),
    ("BYMINUTE", 0, 59, false),
    ("BYSECOND", 0, 60, false),
    ("BYSETPOS", 1, 366, true),
];

impl Parts {
    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        if self.seen.iter().any(|seen| seen == name) {
            return Err(format!("{} stands twice", cut(name)));
        }
        self.seen.push(name.to_owned());
        if let Some((list, (name, least, greatest, signed))) =
            self.lists.iter_mut().zip(LISTS).find(|(_, (known, ..))| *known == name)
        {
            *list = numbers(name, value, least, greatest, signed)?;
            return Ok(());
        }
        match name {
            "FREQ" => self.frequency = Some(frequency(value)?),
            "INTERVAL" => self.interval = Some(interval(value)?),
            "COUNT" => {
                self.count = match whole(value) {
                    Some(count @ 1..) => u64::try_from(count).ok(),
                    _ => return Err(format!("COUNT={} is not allowed: it is a number from 1", cut(value))),
                }
            }
            "UNTIL" => self.until = Some(Moment::parse_short(value).map_err(|why| format!("UNTIL: {why}"))?),
            "BYDAY" => self.by_day = by_day(value)?,
            "WKST" => {
                self.week_start = Some(
                    weekday(value)
                        .ok_or_else(|| format!("WKST={} is not a day: MO, TU, WE, TH, FR, SA or SU", cut(value)))?,
                );
            }
            _ => return Err(format!("`{}` is not a part of a rule: it has {PARTS}", cut(name))),
        }
        Ok(())
    }

    fn into_rule(self) -> Result<Rule, String> {
        let [by_month, by_week, by_year_day, by_month_day, by_hour, by_minute, by_second, by_position] = self.lists;
        Ok(Rule {
            frequency: self.frequency.ok_or("FREQ is missing: HOURLY, DAILY, WEEKLY, MONTHLY or YEARLY")?,
            interval: self.interval.unwrap_or(1),
            count: self.count,
            until: self.until,
            by_month,
            by_week,
            by_year_day,
            by_month_day,
            by_day: self.by_day,
            by_hour,
            by_minute,
            by_second,
            by_position,
            week_start: self.week_start.unwrap_or(Weekday::Monday),
        })
    }
}

impl Rule {
    /// The restrictions of the RFC on how parts go together.
    fn check(&self) -> Result<(), String> {
        use Frequency::{Daily, Hourly, Monthly, Weekly, Yearly};
        let frequency = self.frequency;
        let none = |list: &[i64]| list.is_empty();
        let refuse = |wrong: bool, why: &str| if wrong { Err(why.to_owned()) } else { Ok(()) };
        refuse(self.count.is_some() && self.until.is_some(), "COUNT and UNTIL do not go together: keep one of them")?;
        refuse(!none(&self.by_week) && frequency != Yearly, "BYWEEKNO goes with FREQ=YEARLY alone")?;
        refuse(
            !none(&self.by_year_day) && matches!(frequency, Daily | Weekly | Monthly),
            "BYYEARDAY does not go with FREQ=DAILY, WEEKLY or MONTHLY",
        )?;
        refuse(!none(&self.by_month_day) && frequency == Weekly, "BYMONTHDAY does not go with FREQ=WEEKLY")?;
        let nth = self.by_day.iter().any(|day| day.nth.is_some());
        refuse(
            nth && matches!(frequency, Hourly | Daily | Weekly),
            "a number before a day in BYDAY goes with FREQ=MONTHLY and YEARLY alone",
        )?;
        refuse(nth && !none(&self.by_week), "a number before a day in BYDAY does not go with BYWEEKNO")?;
        let others = [
            &self.by_month,
            &self.by_week,
            &self.by_year_day,
            &self.by_month_day,
            &self.by_hour,
            &self.by_minute,
            &self.by_second,
        ];
        refuse(
            !none(&self.by_position) && self.by_day.is_empty() && others.into_iter().all(Vec::is_empty),
            "BYSETPOS picks from what another BY part gives: there is none",
        )
    }
}

fn frequency(value: &str) -> Result<Frequency, String> {
    Ok(match value.to_ascii_uppercase().as_str() {
        "HOURLY" => Frequency::Hourly,
        "DAILY" => Frequency::Daily,
        "WEEKLY" => Frequency::Weekly,
        "MONTHLY" => Frequency::Monthly,
        "YEARLY" => Frequency::Yearly,
        fast @ ("SECONDLY" | "MINUTELY") => {
            return Err(format!("FREQ={fast} is too often for a window: HOURLY, DAILY, WEEKLY, MONTHLY or YEARLY"));
        }
        _ => return Err(format!("FREQ={} is not allowed: HOURLY, DAILY, WEEKLY, MONTHLY or YEARLY", cut(value))),
    })
}

fn interval(value: &str) -> Result<i64, String> {
    match whole(value) {
        Some(interval @ 1..) => Ok(interval),
        Some(0) => Err("INTERVAL=0 never comes again: it is a number from 1".to_owned()),
        _ => Err(format!("INTERVAL={} is not allowed: it is a number from 1", cut(value))),
    }
}

/// A number without a sign, of at most nine digits so that no product overflows.
fn whole(text: &str) -> Option<i64> {
    if text.len() > 9 { None } else { digits(text, text.len()) }
}

fn numbers(name: &str, value: &str, least: i64, greatest: i64, signed: bool) -> Result<Vec<i64>, String> {
    let wrong = |found: &str| {
        let ends = if signed { format!(" or from -{greatest} to -{least}") } else { String::new() };
        format!("{name}: `{}` is not allowed: numbers from {least} to {greatest}{ends}", cut(found))
    };
    let mut out = Vec::new();
    for text in value.split(',') {
        let (sign, plain) = match text.strip_prefix('-') {
            Some(plain) if signed => (-1, plain),
            Some(_) => return Err(wrong(text)),
            None => (1, if signed { text.strip_prefix('+').unwrap_or(text) } else { text }),
        };
        let number = whole(plain).filter(|number| (least..=greatest).contains(number)).ok_or_else(|| wrong(text))?;
        out.push(sign * number);
    }
    if out.len() > MAX_VALUES {
        return Err(format!("{name} has {} values: at most {MAX_VALUES}", out.len()));
    }
    out.sort_unstable();
    out.dedup();
    Ok(out)
}

fn by_day(value: &str) -> Result<Vec<ByDay>, String> {
    let wrong = |text: &str| {
        format!("BYDAY: `{}` is not a day: MO, TU, WE, TH, FR, SA or SU, with a number such as 1MO or -1FR", cut(text))
    };
    let mut out: Vec<ByDay> = Vec::new();
    for text in value.split(',') {
        let letters = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(|| wrong(text))?;
        let (number, letters) = text.split_at_checked(letters).ok_or_else(|| wrong(text))?;
        let day = weekday(letters).ok_or_else(|| wrong(text))?;
        let (sign, plain) = match number.strip_prefix('-') {
            Some(plain) => (-1, plain),
            None => (1, number.strip_prefix('+').unwrap_or(number)),
        };
        let nth = whole(plain).filter(|nth| (1..=53).contains(nth)).map(|nth| sign * nth);
        if nth.is_none() && !number.is_empty() {
            return Err(wrong(text));
        }
        let day = ByDay { nth, day };
        if !out.contains(&day) {
            out.push(day);
        }
    }
    if out.len() > MAX_VALUES {
        return Err(format!("BYDAY has {} values: at most {MAX_VALUES}", out.len()));
    }
    Ok(out)
}

fn weekday(text: &str) -> Option<Weekday> {
    Some(match text.to_ascii_uppercase().as_str() {
        "MO" => Weekday::Monday,
        "TU" => Weekday::Tuesday,
        "WE" => Weekday::Wednesday,
        "TH" => Weekday::Thursday,
        "FR" => Weekday::Friday,
        "SA" => Weekday::Saturday,
        "SU" => Weekday::Sunday,
        _ => return None,
    })
}

/// What was found, short enough for a message.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("", "NAME=VALUE")]
    #[case("INTERVAL=2", "FREQ is missing")]
    #[case("FREQ=SECONDLY", "too often")]
    #[case("FREQ=MINUTELY", "too often")]
    #[case("FREQ=FORTNIGHTLY", "FREQ=FORTNIGHTLY is not allowed")]
    #[case("FREQ=DAILY;INTERVAL=0", "never comes again")]
    #[case("FREQ=DAILY;INTERVAL=-1", "a number from 1")]
    #[case("FREQ=DAILY;COUNT=0", "a number from 1")]
    #[case("FREQ=DAILY;COUNT=3;UNTIL=20260101", "do not go together")]
    #[case("FREQ=DAILY;UNTIL=2026-01-01", "UNTIL")]
    #[case("FREQ=DAILY;UNTIL=20260230", "UNTIL")]
    #[case("FREQ=DAILY;FREQ=DAILY", "twice")]
    #[case("FREQ=DAILY;BYHOUR=24", "from 0 to 23")]
    #[case("FREQ=MONTHLY;BYMONTHDAY=0", "from -31 to -1")]
    #[case("FREQ=MONTHLY;BYMONTHDAY=32", "from 1 to 31")]
    #[case("FREQ=DAILY;BYDAY=1MO", "MONTHLY and YEARLY alone")]
    #[case("FREQ=YEARLY;BYWEEKNO=20;BYDAY=1MO", "does not go with BYWEEKNO")]
    #[case("FREQ=MONTHLY;BYWEEKNO=20", "YEARLY alone")]
    #[case("FREQ=MONTHLY;BYYEARDAY=20", "does not go with")]
    #[case("FREQ=WEEKLY;BYMONTHDAY=20", "does not go with FREQ=WEEKLY")]
    #[case("FREQ=MONTHLY;BYSETPOS=1", "there is none")]
    #[case("FREQ=MONTHLY;BYDAY=XX", "is not a day")]
    #[case("FREQ=MONTHLY;BYDAY=54MO", "is not a day")]
    #[case("FREQ=DAILY;BYEASTER=1", "is not a part of a rule")]
    #[case("FREQ=WEEKLY;WKST=XX", "is not a day")]
    #[case("FREQ=DAILY;BYMONTH=-1", "from 1 to 12")]
    fn a_rule_that_makes_no_sense_is_refused_with_the_reason(#[case] text: &str, #[case] why: &str) {
        let message = text.parse::<Rule>().unwrap_err();
        assert!(message.contains(why), "{message}");
    }

    #[rstest]
    #[case("RRULE:FREQ=WEEKLY;BYDAY=MO")]
    #[case("freq=weekly;byday=mo")]
    #[case("BYDAY=MO;FREQ=WEEKLY;")]
    fn a_rule_may_be_written_in_any_order_and_case(#[case] text: &str) {
        assert_eq!(text.parse::<Rule>(), "FREQ=WEEKLY;BYDAY=MO".parse());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,60}", near in "(FREQ|BYDAY|UNTIL|COUNT|BYSETPOS)=[A-Z0-9,+-]{0,12};[A-Z=0-9;,-]{0,30}") {
            let _ = text.parse::<Rule>();
            let _ = near.parse::<Rule>();
        }
    }
}
