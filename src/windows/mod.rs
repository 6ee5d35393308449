//! Windows and freezes: what a calendar means, and what it says about a change.
//!
//! Pure: the instant, the calendars' bytes, the past and the overrides are values. Every kind of
//! schedule is a row of periods of which any one can be computed alone, so that an answer never
//! walks from the beginning. The doubtful cases are decided as follows.
//!
//! - A local time in a gap moves forward by the gap's length; one that exists twice is the earlier
//!   instant; a day that the zone skips has no occurrences.
//! - Weeks and days are nominal, hours, minutes and seconds exact.
//! - Occurrences are half-open; those that overlap or touch are one stretch.
//! - What cannot be read is unknown: it shuts allow windows and keeps freezes.

mod compile;
mod cron;
mod days;
mod decide;
mod export;
mod ics;
mod moment;
mod pattern;
mod rrule;
mod select;
mod series;
mod stretch;
mod timeline;
mod vtimezone;
mod zone;

#[cfg(test)]
mod tests;

use jiff::SignedDuration;

pub use compile::{CalendarInput, Compiled, Standing, WindowError, check_calendar, compile};
pub use decide::{Decision, Evidence, Query, State, WindowState, decide, outlook};
pub use export::to_ics;
pub use ics::{IcsError, MAX_CALENDAR_BYTES};
pub use stretch::{Occurrence, Stretch, merged};
pub use zone::Zones;

/// How far ahead and back the next opening, and the ends of what is not in force, are searched for.
/// Twenty years, after which a rule without an occurrence counts as a mistake.
pub const HORIZON: SignedDuration = SignedDuration::from_hours(20 * 366 * 24);
