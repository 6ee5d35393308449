//! The windows as they stand now: resources from the store, calendars from files and URLs.
//!
//! Reading is here, deciding is in `windows`. A calendar that cannot be read keeps its last good
//! copy, with its age; past a limit its windows are unknown, which opens nothing.

mod book;
mod fetch;
mod kept;
mod load;
mod metrics;
mod source;
mod zones;

use std::path::PathBuf;
use std::time::Duration;

pub use book::{CalendarStatus, WindowBook};
pub use load::load;
pub use zones::{zones, zones_version};

/// What a [`WindowBook`] needs to know of its surroundings.
#[derive(Debug, Clone)]
pub struct Options {
    /// A directory of its own where good copies of calendars survive a restart. Absent: they do not.
    pub keep_in: Option<PathBuf>,
    /// How often the book looks what is due, and what the clock has made of its windows.
    pub look_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        // As often as files are due: a person who has saved one waits for it.
        Self { keep_in: None, look_every: source::FILE_REFRESH }
    }
}

/// Why there is no good copy of a calendar, or no new one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// A file could not be read.
    #[error("the file cannot be read: {0}")]
    File(String),
    /// The window did not come from a file, so that there is nothing to find one beside.
    #[error("the window did not come from a file, so that a file beside it cannot be found: use url or inline")]
    NoDirectory,
    /// It could not be fetched.
    #[error("it cannot be fetched: {0}")]
    Fetch(String),
    /// What was read or fetched is no calendar.
    #[error("it is not a calendar that can be read: {0}")]
    Contents(String),
}
