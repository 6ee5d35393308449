//! What recurs: rows of periods that give local starts.

use jiff::civil::{DateTime, Time};

use super::cron::Cron;
use super::days::{number_of, of_number};
use super::rrule::Recurrence;

/// Days of the week with a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Weekly {
    /// Which days, Monday first.
    pub(super) days: [bool; 7],
    /// When it begins on them.
    pub(super) from: Time,
}

/// A row of periods; any one gives its local starts without those before it.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    Weekly(Weekly),
    Cron(Cron),
    Recurrence(Box<Recurrence>),
}

impl Pattern {
    /// The period that `at` lies in, or the last one before it.
    pub(super) fn period_of(&self, at: DateTime) -> i64 {
        match self {
            Self::Weekly(_) => number_of(at.date()),
            Self::Cron(cron) => cron.period_of(at),
            Self::Recurrence(recurrence) => recurrence.period_of(at),
        }
    }

    /// The local starts of a period, in order, those before [`Self::first`] included.
    pub(super) fn starts(&self, period: i64, into: &mut Vec<DateTime>) {
        match self {
            Self::Weekly(weekly) => {
                let Some(date) = of_number(period) else { return };
                let day = usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0);
                if weekly.days.get(day).copied().unwrap_or(false) {
                    into.push(date.to_datetime(weekly.from));
                }
            }
            Self::Cron(cron) => cron.starts(period, into),
            Self::Recurrence(recurrence) => recurrence.starts(period, into),
        }
    }

    /// The same, where only those from `lo` to `hi` are of interest; others may be left out.
    pub(super) fn starts_within(&self, period: i64, lo: DateTime, hi: DateTime, into: &mut Vec<DateTime>) {
        match self {
            Self::Recurrence(recurrence) => recurrence.starts_within(period, lo, hi, into),
            Self::Weekly(_) | Self::Cron(_) => self.starts(period, into),
        }
    }

    /// The first local start that counts, where there is one.
    pub(super) fn first(&self) -> Option<DateTime> {
        match self {
            Self::Recurrence(recurrence) => Some(recurrence.start()),
            Self::Weekly(_) | Self::Cron(_) => None,
        }
    }

    /// Whether it begins on every single day; then the time at which it begins first.
    pub(super) fn every_day(&self) -> Option<Time> {
        match self {
            Self::Weekly(weekly) => weekly.days.iter().all(|day| *day).then_some(weekly.from),
            Self::Cron(cron) if cron.every_day() => {
                let mut starts = Vec::new();
                cron.starts(0, &mut starts);
                starts.first().map(|start| start.time())
            }
            Self::Cron(_) => None,
            Self::Recurrence(recurrence) => recurrence.every_day(),
        }
    }
}
