//! Times as scripts see them: an instant together with the zone that it is looked at in.

use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, Zoned};
use rhai::{Array, Engine, ImmutableString};

use super::complaint::{Answer, complain};
use crate::model::Period;

/// The days of the week, as lists of days name them; full names are understood as well.
pub(super) const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const LONG_WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/// The farthest that a search over days looks: a year and a day, so that a list of days of one
/// year cannot exhaust it.
const MAX_DAYS_AHEAD: i64 = 366;

/// An instant in a zone.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Time(pub(super) Zoned);

/// The zone of an IANA name.
pub(super) fn zone(name: &str) -> Result<TimeZone, String> {
    // Names of files beside the database are none of zones.
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-' | b'+'));
    TimeZone::get(name)
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| format!("`{name}` is not a time zone such as `UTC` or `Europe/Berlin`"))
}

/// The number of a day of the week, Monday being 1.
pub(super) fn weekday(name: &str) -> Result<i64, String> {
    let lower = name.to_lowercase();
    let position = |names: &[&str; 7]| names.iter().position(|word| *word == lower);
    position(&WEEKDAYS)
        .or_else(|| position(&LONG_WEEKDAYS))
        .and_then(|at| i64::try_from(at + 1).ok())
        .ok_or_else(|| format!("`{name}` is not a day of the week: it is one of {}", WEEKDAYS.join(", ")))
}

/// A time of day: `09:00`, and `24:00` for the end of the day.
pub(super) fn time_of_day(text: &str) -> Result<TimeOfDay, String> {
    let error = || format!("`{text}` is not a time of day such as `09:00` or `24:00`");
    let (hour, minute) = text.split_once(':').ok_or_else(error)?;
    if hour.len() != 2 || minute.len() != 2 {
        return Err(error());
    }
    let (hour, minute): (i8, i8) = (hour.parse().map_err(|_| error())?, minute.parse().map_err(|_| error())?);
    match (hour, minute) {
        (24, 0) => Ok(TimeOfDay { next_day: true, time: civil::Time::midnight() }),
        _ => civil::Time::new(hour, minute, 0, 0).map(|time| TimeOfDay { next_day: false, time }).map_err(|_| error()),
    }
}

/// A time of day, or the end of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimeOfDay {
    next_day: bool,
    time: civil::Time,
}

/// A date: `2026-12-24`.
pub(super) fn date(text: &str) -> Result<civil::Date, String> {
    let error = || format!("`{text}` is not a date such as `2026-12-24`");
    if text.len() != 10 {
        return Err(error());
    }
    text.parse().map_err(|_| error())
}

/// A period of time: see [`Period`].
pub(super) fn period(text: &str) -> Result<Period, String> {
    text.parse::<Period>().map_err(|error| error.to_string())
}

impl Time {
    /// `at`, looked at in `zone`.
    pub(super) fn new(at: Timestamp, zone: TimeZone) -> Self {
        Self(at.to_zoned(zone))
    }

    /// The local time `at` on `date` in this time's zone. One that does not exist moves forward by
    /// the gap; one that exists twice is the earlier.
    fn on(&self, date: civil::Date, at: TimeOfDay) -> Result<Self, String> {
        let date = if at.next_day { date.tomorrow().map_err(|error| error.to_string())? } else { date };
        date.to_datetime(at.time)
            .to_zoned(self.0.time_zone().clone())
            .map(Self)
            .map_err(|error| format!("there is no such time: {error}"))
    }

    fn shifted(&self, by: &str, back: bool) -> Answer<Self> {
        let period = period(by).map_err(complain)?;
        let shift = || -> Result<Zoned, jiff::Error> {
            let (days, rest) = (Span::new().try_days(period.days())?, period.rest());
            if back { self.0.checked_sub(days)?.checked_sub(rest) } else { self.0.checked_add(days)?.checked_add(rest) }
        };
        shift().map(Self).map_err(|error| complain(format!("{by} from {self} is no time: {error}")))
    }

    /// The first moment of the first day after this one for which `wanted` holds.
    fn next_day(&self, wanted: impl Fn(&civil::Date) -> bool) -> Answer<Self> {
        let mut day = self.0.date();
        for _ in 0..MAX_DAYS_AHEAD {
            day = day.tomorrow().map_err(|error| complain(error.to_string()))?;
            if wanted(&day) {
                return self.on(day, TimeOfDay { next_day: false, time: civil::Time::midnight() }).map_err(complain);
            }
        }
        Err(complain("there is no such day within a year"))
    }

    fn between(&self, from: &str, to: &str) -> Answer<bool> {
        let (from, to) = (time_of_day(from).map_err(complain)?, time_of_day(to).map_err(complain)?);
        let now = TimeOfDay { next_day: false, time: self.0.time() };
        Ok(if from < to { from <= now && now < to } else { from <= now || now < to })
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let zone = self.0.time_zone().iana_name().unwrap_or("UTC");
        write!(f, "{} {zone}", self.0.strftime("%a %Y-%m-%d %H:%M"))
    }
}

/// The days of a list of names, as numbers.
fn days(list: &Array) -> Answer<Vec<i64>> {
    list.iter()
        .map(|day| {
            let name =
                day.as_immutable_string_ref().map_err(|_| complain("a list of days holds names such as `sat`"))?;
            weekday(&name).map_err(complain)
        })
        .collect()
}

/// The dates of a list.
fn dates(list: &Array) -> Answer<Vec<civil::Date>> {
    list.iter()
        .map(|day| {
            let text = day
                .as_immutable_string_ref()
                .map_err(|_| complain("a list of dates holds texts such as `2026-12-24`"))?;
            date(&text).map_err(complain)
        })
        .collect()
}

fn monday_is_one(date: civil::Date) -> i64 {
    i64::from(date.weekday().to_monday_one_offset())
}

/// Makes times known to scripts.
pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Time>("Time");
    register_properties(engine);
    register_operators(engine);
    engine
        .register_fn("time", |text: &str| -> Answer<Time> {
            let at: Timestamp = text
                .parse()
                .map_err(|_| complain(format!("`{text}` is not an instant such as `2026-12-24T12:00:00Z`")))?;
            Ok(Time::new(at, TimeZone::UTC))
        })
        .register_fn("in_zone", |time: &mut Time, name: &str| -> Answer<Time> {
            Ok(Time(time.0.with_time_zone(zone(name).map_err(complain)?)))
        })
        .register_fn("at", |time: &mut Time, text: &str| -> Answer<Time> {
            time.on(time.0.date(), time_of_day(text).map_err(complain)?).map_err(complain)
        })
        .register_fn("add", |time: &mut Time, by: &str| time.shifted(by, false))
        .register_fn("subtract", |time: &mut Time, by: &str| time.shifted(by, true))
        .register_fn("start_of_day", |time: &mut Time| -> Answer<Time> {
            time.0.start_of_day().map(Time).map_err(|error| complain(error.to_string()))
        })
        .register_fn("next_day", |time: &mut Time| time.next_day(|_| true))
        .register_fn("next_day_in", |time: &mut Time, list: Array| -> Answer<Time> {
            let wanted = days(&list)?;
            time.next_day(|date| wanted.contains(&monday_is_one(*date)))
        })
        .register_fn("next_day_not_in", |time: &mut Time, list: Array| -> Answer<Time> {
            let shut = days(&list)?;
            time.next_day(|date| !shut.contains(&monday_is_one(*date)))
        })
        .register_fn("next_date_not_in", |time: &mut Time, list: Array| -> Answer<Time> {
            let shut = dates(&list)?;
            time.next_day(|date| !shut.contains(date))
        })
        .register_fn("day_in", |time: &mut Time, list: Array| -> Answer<bool> {
            Ok(days(&list)?.contains(&monday_is_one(time.0.date())))
        })
        .register_fn("date_in", |time: &mut Time, list: Array| -> Answer<bool> {
            Ok(dates(&list)?.contains(&time.0.date()))
        })
        .register_fn("between", |time: &mut Time, from: &str, to: &str| time.between(from, to))
        .register_fn("seconds", |text: &str| -> Answer<i64> { Ok(period(text).map_err(complain)?.exact().as_secs()) })
        .register_fn("seconds_since", |time: &mut Time, earlier: Time| time.0.duration_since(&earlier.0).as_secs())
        .register_fn("to_string", |time: &mut Time| time.to_string())
        .register_fn("to_debug", |time: &mut Time| time.to_string());
}

fn register_properties(engine: &mut Engine) {
    engine
        .register_get("year", |time: &mut Time| i64::from(time.0.year()))
        .register_get("month", |time: &mut Time| i64::from(time.0.month()))
        .register_get("day", |time: &mut Time| i64::from(time.0.day()))
        .register_get("hour", |time: &mut Time| i64::from(time.0.hour()))
        .register_get("minute", |time: &mut Time| i64::from(time.0.minute()))
        .register_get("second", |time: &mut Time| i64::from(time.0.second()))
        .register_get("weekday", |time: &mut Time| monday_is_one(time.0.date()))
        .register_get("weekdayName", |time: &mut Time| -> ImmutableString {
            usize::try_from(monday_is_one(time.0.date()) - 1)
                .ok()
                .and_then(|at| LONG_WEEKDAYS.get(at))
                .copied()
                .unwrap_or_default()
                .into()
        })
        .register_get("minuteOfDay", |time: &mut Time| i64::from(time.0.hour()) * 60 + i64::from(time.0.minute()))
        .register_get("date", |time: &mut Time| time.0.date().to_string())
        .register_get("clock", |time: &mut Time| time.0.strftime("%H:%M").to_string())
        .register_get("iso", |time: &mut Time| time.0.timestamp().to_string())
        .register_get("zone", |time: &mut Time| time.0.time_zone().iana_name().unwrap_or("UTC").to_owned())
        .register_get("epoch", |time: &mut Time| time.0.timestamp().as_second());
}

fn register_operators(engine: &mut Engine) {
    engine
        .register_fn("==", |a: Time, b: Time| a.0.timestamp() == b.0.timestamp())
        .register_fn("!=", |a: Time, b: Time| a.0.timestamp() != b.0.timestamp())
        .register_fn("<", |a: Time, b: Time| a.0.timestamp() < b.0.timestamp())
        .register_fn("<=", |a: Time, b: Time| a.0.timestamp() <= b.0.timestamp())
        .register_fn(">", |a: Time, b: Time| a.0.timestamp() > b.0.timestamp())
        .register_fn(">=", |a: Time, b: Time| a.0.timestamp() >= b.0.timestamp())
        .register_fn("+", |time: Time, by: &str| time.shifted(by, false))
        .register_fn("-", |time: Time, by: &str| time.shifted(by, true));
}

/// A length of time in words, such as `2h 5m`: for reasons.
pub(super) fn lasting(length: SignedDuration) -> String {
    let minutes = length.as_secs().max(0).unsigned_abs().div_ceil(60);
    match (minutes / 1_440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, 0) => format!("{hours}h"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, 0, _) => format!("{days}d"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}
