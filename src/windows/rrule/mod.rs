//! Recurrence rules of RFC 5545, section 3.3.10.

mod expand;
mod parse;

use jiff::civil::Weekday;

pub(super) use expand::Recurrence;

use super::moment::Moment;

/// How often a rule's period comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Frequency {
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

/// A day of the week, in a month or year perhaps only the nth from its start or, negative, its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ByDay {
    pub(super) nth: Option<i64>,
    pub(super) day: Weekday,
}

/// A rule as it is written, checked against the restrictions of the RFC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) frequency: Frequency,
    pub(super) interval: i64,
    pub(super) count: Option<u64>,
    pub(super) until: Option<Moment>,
    pub(super) by_month: Vec<i64>,
    pub(super) by_week: Vec<i64>,
    pub(super) by_year_day: Vec<i64>,
    pub(super) by_month_day: Vec<i64>,
    pub(super) by_day: Vec<ByDay>,
    pub(super) by_hour: Vec<i64>,
    pub(super) by_minute: Vec<i64>,
    pub(super) by_second: Vec<i64>,
    pub(super) by_position: Vec<i64>,
    pub(super) week_start: Weekday,
}
