//! iCalendar files (RFC 5545): every event is an occurrence.
//!
//! Reading is strict: a calendar is read as a whole or not at all, because half of one would open
//! what the other half shuts.

mod assemble;
mod component;
mod event;
mod lines;
mod zones;

use std::fmt;

use super::series::Series;
use super::stretch::Occurrence;
use super::zone::{Zone, Zones};

/// The largest calendar: a company's holidays of many countries and years are some hundred KB.
pub const MAX_CALENDAR_BYTES: usize = 4 * 1024 * 1024;
/// The most events: see [`MAX_CALENDAR_BYTES`]. Each one is kept in memory.
pub(super) const MAX_EVENTS: usize = 10_000;
/// The most events that recur: each one costs time in every answer.
pub(super) const MAX_RECURRING: usize = 1_000;
/// The most RDATE and EXDATE values of a calendar.
pub(super) const MAX_DATES: usize = 50_000;

/// Why a calendar cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct IcsError {
    /// The line, from 1; of a folded one the first.
    pub line: Option<usize>,
    /// What was found and what is allowed.
    pub why: String,
}

impl fmt::Display for IcsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

impl IcsError {
    fn at(line: usize, why: impl Into<String>) -> Self {
        Self { line: Some(line), why: why.into() }
    }

    fn whole(why: impl Into<String>) -> Self {
        Self { line: None, why: why.into() }
    }
}

/// What a calendar says, as parts of a schedule.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    pub(super) fixed: Vec<Occurrence>,
    pub(super) series: Vec<Series>,
}

/// Reads a whole calendar. Floating times and dates are in `zone`.
pub(super) fn read(bytes: &[u8], zone: &Zone, zones: &Zones) -> Result<Contents, IcsError> {
    let calendars = component::parse(bytes)?;
    let mut contents = Contents::default();
    let mut events = 0;
    let mut dates = 0;
    for calendar in &calendars {
        let known = zones::FileZones::new(calendar, zones, zone);
        let mut read = Vec::new();
        for component in calendar.children.iter().filter(|component| component.name == "VEVENT") {
            let event = event::read(component, &known)?;
            events += 1;
            dates += event.further.len() + event.except.len();
            if events > MAX_EVENTS || dates > MAX_DATES {
                return Err(IcsError::at(
                    component.line,
                    format!("the calendar is too large: at most {MAX_EVENTS} events and {MAX_DATES} dates in them"),
                ));
            }
            read.push(event);
        }
        assemble::assemble(read, &mut contents)?;
    }
    if contents.series.len() > MAX_RECURRING {
        return Err(IcsError::whole(format!("{} events recur: at most {MAX_RECURRING}", contents.series.len())));
    }
    Ok(contents)
}
