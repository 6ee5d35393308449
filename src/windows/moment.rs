//! Times as they are written: in fields of a window, and in calendar files.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

use super::zone::Zone;

/// A time before its zone is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// A whole day.
    Day(Date),
    /// A local time without an offset.
    Local(DateTime),
    /// A local time at a fixed offset; zero for `Z`.
    Fixed(DateTime, Offset),
}

impl Moment {
    /// Reads a field of a window: `2026-12-24`, `2026-12-24T12:00`, with seconds, with `Z` or an
    /// offset, or in iCalendar's short form.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{}` is not a time: write it like `2026-12-24`, `2026-12-24T12:00`, `2026-12-24T12:00:00` or \
                 `2026-12-24T11:00:00Z`",
                text.chars().take(64).collect::<String>()
            )
        };
        if !text.contains('-') && !text.contains(':') {
            return Self::parse_short(text).map_err(|_| wrong());
        }
        if text.len() == 10 {
            return text.parse().map(Self::Day).map_err(|_| wrong());
        }
        let (date, rest) = text.split_once(['T', 't', ' ']).ok_or_else(wrong)?;
        let date: Date = if date.len() == 10 { date.parse().map_err(|_| wrong())? } else { return Err(wrong()) };
        let zulu = rest.strip_suffix(['Z', 'z']);
        let sign = rest.rfind(['+', '-']);
        let (clock, offset) = match (zulu, sign.and_then(|at| rest.split_at_checked(at))) {
            (Some(clock), _) => (clock, Some(Offset::UTC)),
            (None, Some((clock, offset))) => (clock, Some(offset_of(offset, true).ok_or_else(wrong)?)),
            (None, None) => (rest, None),
        };
        if !matches!(clock.len(), 5 | 8) {
            return Err(wrong());
        }
        let local = date.to_datetime(clock.parse::<Time>().map_err(|_| wrong())?);
        Ok(offset.map_or(Self::Local(local), |offset| Self::Fixed(local, offset)))
    }

    /// Reads a value of a calendar file: `20261224`, `20261224T120000` or `20261224T110000Z`.
    pub(super) fn parse_short(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{}` is not a time: it is written like `20261224`, `20261224T120000` or `20261224T110000Z`",
                text.chars().take(64).collect::<String>()
            )
        };
        let Some((date, time)) = text.split_once(['T', 't']) else {
            return short_date(text).map(Self::Day).ok_or_else(wrong);
        };
        let date = short_date(date).ok_or_else(wrong)?;
        let (time, zulu) = match time.strip_suffix(['Z', 'z']) {
            Some(time) => (time, true),
            None => (time, false),
        };
        let local = date.to_datetime(short_time(time).ok_or_else(wrong)?);
        Ok(if zulu { Self::Fixed(local, Offset::UTC) } else { Self::Local(local) })
    }

    /// Whether it is a whole day.
    pub(super) const fn is_day(self) -> bool {
        matches!(self, Self::Day(_))
    }

    /// The local time as it stands there; midnight of a day.
    pub(super) fn local(self) -> DateTime {
        match self {
            Self::Day(date) => date.to_datetime(Time::midnight()),
            Self::Local(local) | Self::Fixed(local, _) => local,
        }
    }

    /// The zone that it is in, where `zone` is the one for times without an offset.
    pub(super) fn zone(self, zone: &Zone) -> Zone {
        match self {
            Self::Day(_) | Self::Local(_) => zone.clone(),
            Self::Fixed(_, offset) if offset == Offset::UTC => Zone::utc(),
            Self::Fixed(_, offset) => Zone::Known(TimeZone::fixed(offset)),
        }
    }

    /// The instant; of a day its first one.
    pub(super) fn instant(self, zone: &Zone) -> Option<Timestamp> {
        match self {
            Self::Day(_) | Self::Local(_) => zone.instant(self.local()),
            Self::Fixed(local, offset) => offset.to_timestamp(local).ok(),
        }
    }
}

/// The digits of `text` as a number, where it has exactly `count` digits and nothing else.
pub(super) fn digits(text: &str, count: usize) -> Option<i64> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn small(text: &str) -> Option<i8> {
    digits(text, 2).and_then(|number| i8::try_from(number).ok())
}

fn short_date(text: &str) -> Option<Date> {
    digits(text, 8)?;
    let (year, rest) = text.split_at_checked(4)?;
    let (month, day) = rest.split_at_checked(2)?;
    Date::new(i16::try_from(digits(year, 4)?).ok()?, small(month)?, small(day)?).ok()
}

fn short_time(text: &str) -> Option<Time> {
    digits(text, 6)?;
    let (hour, rest) = text.split_at_checked(2)?;
    let (minute, second) = rest.split_at_checked(2)?;
    // A leap second is the second before it (RFC 5545, section 3.3.12).
    Time::new(small(hour)?, small(minute)?, small(second)?.min(if small(second)? == 60 { 59 } else { i8::MAX }), 0).ok()
}

/// An offset: `+0100`, `-013000`, and with `colons` also `+01:00`.
pub(super) fn offset_of(text: &str, colons: bool) -> Option<Offset> {
    let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(rest), _) => (1, rest),
        (None, Some(rest)) => (-1, rest),
        (None, None) => return None,
    };
    let rest = if colons { rest.replace(':', "") } else { rest.to_owned() };
    let (hours, rest) = rest.split_at_checked(2)?;
    let (minutes, seconds) = rest.split_at_checked(2)?;
    let seconds = if seconds.is_empty() { 0 } else { digits(seconds, 2)? };
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    // No zone was ever further from UTC than a day.
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    Offset::from_seconds(i32::try_from(sign * (hours * 3_600 + minutes * 60 + seconds)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("2026-12-24T12:00", "2026-12-24T11:00:00Z")]
    #[case("2026-12-24T12:00:00", "2026-12-24T11:00:00Z")]
    #[case("2026-12-24", "2026-12-23T23:00:00Z")]
    #[case("2026-12-24T12:00Z", "2026-12-24T12:00:00Z")]
    #[case("2026-12-24T12:00:00+05:30", "2026-12-24T06:30:00Z")]
    #[case("20261224T120000", "2026-12-24T11:00:00Z")]
    #[case("20261224T120000Z", "2026-12-24T12:00:00Z")]
    #[case("20261224", "2026-12-23T23:00:00Z")]
    fn a_time_without_an_offset_is_in_the_zone(#[case] text: &str, #[case] instant: Timestamp) {
        let berlin = Zone::Known(super::super::Zones::bundled().get("Europe/Berlin").unwrap());
        assert_eq!(Moment::parse(text).unwrap().instant(&berlin), Some(instant));
    }

    #[rstest]
    #[case("")]
    #[case("2026-02-30")]
    #[case("2026-12-24T25:00")]
    #[case("2026-12-24T12")]
    #[case("2026-12-24T12:00+99:00")]
    #[case("20260230")]
    #[case("20261224T240000")]
    #[case("tomorrow")]
    #[case("2026-12-24T12:00[Europe/Berlin]")]
    fn a_text_that_is_no_time_is_refused_with_an_example(#[case] text: &str) {
        assert!(Moment::parse(text).unwrap_err().contains("2026-12-24T12:00"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,30}", short in "[0-9TZ:+-]{0,20}") {
            let _ = Moment::parse(&text);
            let _ = Moment::parse(&short);
            let _ = Moment::parse_short(&short);
            let _ = offset_of(&short, true);
        }
    }
}
