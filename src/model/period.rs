//! Lengths of time as people write them.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// The longest period that is accepted: ten years. Longer ones are typing errors, and the limit
/// keeps every sum of an instant and a period inside the calendar.
const MAX_DAYS: i64 = 3_660;

/// A length of time: nominal days, and an exact rest.
///
/// Written `8h`, `1h30m`, `2d`, `1w`, `250ms`, or in ISO 8601 as `PT8H`, `P2DT4H`. Weeks and days
/// are nominal where a calendar is at hand (a day is a calendar day in the zone, RFC 5545 section
/// 3.3.6) and 24 hours elsewhere; hours, minutes and seconds are exact. Months and years have no
/// length of their own and are refused. Never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Period {
    days: i64,
    millis: i64,
}

/// Why a text is no period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a duration: {why}; write it like `30s`, `5m`, `1h30m`, `2d` or `PT8H`")]
pub struct PeriodError {
    found: String,
    why: &'static str,
}

impl Period {
    /// No time at all.
    pub const ZERO: Self = Self { days: 0, millis: 0 };

    /// A period of whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u32) -> Self {
        Self { days: 0, millis: secs as i64 * 1_000 }
    }

    /// A period of whole milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u32) -> Self {
        Self { days: 0, millis: millis as i64 }
    }

    /// The nominal days, weeks counted as seven.
    #[must_use]
    pub const fn days(self) -> i64 {
        self.days
    }

    /// The exact rest beside the nominal days.
    #[must_use]
    pub const fn rest(self) -> SignedDuration {
        SignedDuration::from_millis(self.millis)
    }

    /// The whole period with days of 24 hours: for time-outs, soaks and intervals.
    #[must_use]
    pub const fn exact(self) -> SignedDuration {
        SignedDuration::from_millis(self.days * 86_400_000 + self.millis)
    }

    /// [`Self::exact`] for the standard library's timers.
    #[must_use]
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.exact().as_millis()).unwrap_or(0))
    }

    /// Whether it is no time at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.days == 0 && self.millis == 0
    }

    fn checked(days: i64, millis: i64) -> Result<Self, &'static str> {
        if days > MAX_DAYS || millis > MAX_DAYS * 86_400_000 {
            return Err("it is longer than ten years");
        }
        Ok(Self { days, millis })
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        match text.strip_prefix(['P', 'p']) {
            Some(rest) => Self::parse_iso(rest),
            None => Self::parse_short(text),
        }
    }

    fn parse_short(text: &str) -> Result<Self, &'static str> {
        let mut rest = text;
        let mut last_rank = 0;
        let (mut days, mut millis) = (0_i64, 0_i64);
        if rest.is_empty() {
            return Err("it is empty");
        }
        while !rest.is_empty() {
            let (number, after) = take_number(rest)?;
            let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, after) = after.split_at(letters);
            let (rank, day_unit, milli_unit) = match unit {
                "w" => (1, 7, 0),
                "d" => (2, 1, 0),
                "h" => (3, 0, 3_600_000),
                "m" => (4, 0, 60_000),
                "s" => (5, 0, 1_000),
                "ms" => (6, 0, 1),
                "" => return Err("a number without a unit"),
                _ => return Err("the units are w, d, h, m, s and ms"),
            };
            if rank <= last_rank {
                return Err("units go from large to small, each once");
            }
            last_rank = rank;
            days += number * day_unit;
            millis += number * milli_unit;
            rest = after;
        }
        Self::checked(days, millis)
    }

    fn parse_iso(text: &str) -> Result<Self, &'static str> {
        let (mut days, mut millis) = (0_i64, 0_i64);
        let mut rest = text;
        let mut in_time = false;
        let mut last_rank = 0;
        let mut parts = 0;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(['T', 't']) {
                if in_time {
                    return Err("`T` stands twice");
                }
                in_time = true;
                rest = after;
                if rest.is_empty() {
                    return Err("nothing follows `T`");
                }
                continue;
            }
            let (number, after) = take_number(rest)?;
            let Some(unit) = after.chars().next() else {
                return Err("a number without a unit");
            };
            let (rank, day_unit, milli_unit) = match (in_time, unit.to_ascii_uppercase()) {
                (false, 'W') => (1, 7, 0),
                (false, 'D') => (2, 1, 0),
                (true, 'H') => (3, 0, 3_600_000),
                (true, 'M') => (4, 0, 60_000),
                (true, 'S') => (5, 0, 1_000),
                (false, 'Y' | 'M') => return Err("months and years have no fixed length"),
                _ => return Err("the units are W, D and, after T, H, M, S"),
            };
            if rank <= last_rank {
                return Err("units go from large to small, each once");
            }
            last_rank = rank;
            parts += 1;
            days += number * day_unit;
            millis += number * milli_unit;
            rest = after.get(unit.len_utf8()..).unwrap_or("");
        }
        if parts == 0 {
            return Err("nothing follows `P`");
        }
        Self::checked(days, millis)
    }
}

/// The whole number at the head of `text`, at most nine digits so that no product overflows.
fn take_number(text: &str) -> Result<(i64, &str), &'static str> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    match digits {
        0 if text.starts_with('-') => Err("it is negative"),
        0 => Err("a whole number is expected before each unit"),
        1..=9 => Ok((number.parse().map_err(|_| "a number is too large")?, rest)),
        _ => Err("a number is too large"),
    }
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        Self::parse(text).map_err(|why| PeriodError { found: text.chars().take(64).collect(), why })
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let mut push = |number: i64, unit: &str| {
            if number != 0 {
                text.push_str(&number.to_string());
                text.push_str(unit);
            }
        };
        push(self.days, "d");
        push(self.millis / 3_600_000, "h");
        push(self.millis / 60_000 % 60, "m");
        push(self.millis / 1_000 % 60, "s");
        push(self.millis % 1_000, "ms");
        if text.is_empty() {
            text.push_str("0s");
        }
        f.pad(&text)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Period;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `30s`, `5m`, `1h30m`, `2d` or `PT8H`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl JsonSchema for Period {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 32,
            "x-probegate-text": "duration",
            "pattern": r"^([0-9]+(w|d|h|m|s|ms))+$|^[Pp]([0-9]+[WwDd])*([Tt]([0-9]+[HhMmSs])+)?$",
            "description": "A duration such as `30s`, `5m`, `1h30m`, `2d` or `PT8H`."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("8h", 0, 28_800_000)]
    #[case("1h30m", 0, 5_400_000)]
    #[case("2d", 2, 0)]
    #[case("1w2d", 9, 0)]
    #[case("PT8H", 0, 28_800_000)]
    #[case("P2DT4H", 2, 14_400_000)]
    #[case("250ms", 0, 250)]
    #[case("0s", 0, 0)]
    fn a_period_reads_in_both_notations(#[case] text: &str, #[case] days: i64, #[case] millis: i64) {
        assert_eq!(text.parse::<Period>().unwrap(), Period { days, millis });
    }

    #[rstest]
    #[case("")]
    #[case("5")]
    #[case("5 m")]
    #[case("-5m")]
    #[case("5m1h")]
    #[case("5m5m")]
    #[case("1.5h")]
    #[case("P")]
    #[case("PT")]
    #[case("P1M")]
    #[case("P1Y")]
    #[case("20000d")]
    #[case("99999999999999999999h")]
    #[case("5µs")]
    fn a_text_that_is_no_period_is_refused_with_an_example(#[case] text: &str) {
        let message = text.parse::<Period>().unwrap_err().to_string();
        assert!(message.contains("PT8H"), "{message}");
    }

    proptest! {
        #[test]
        fn a_printed_period_reads_back_as_itself(days in 0_i64..3_000, millis in 0_i64..1_000_000_000) {
            let period = Period { days, millis };
            prop_assert_eq!(period.to_string().parse::<Period>().unwrap(), period);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}") {
            let _ = text.parse::<Period>();
        }
    }
}
