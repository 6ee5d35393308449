//! The interface of what outlives the process.
//!
//! History is evidence beside the records of the gates' runs: whatever happens to it, the prober goes
//! on. Handing something over never waits; what cannot be taken is counted as dropped. A process that
//! is killed loses what there is of the minute under way.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::failures::Failed;
use super::minute::Finished;
use super::query::{Stretch, Window};
use crate::model::ProbeState;

/// How old a minute may become before it is put into its hour: last night's change is still seen by
/// the minute, and so is the same hour of yesterday.
pub const MINUTE_AGE: SignedDuration = SignedDuration::from_hours(48);
/// How old hours, failures and turns of states may become: a month's comparison, and the report of
/// an incident weeks ago.
pub const HOUR_AGE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The most minutes that are kept, of all targets together: some 400 MB. With more than 1,400 targets
/// it is reached before [`MINUTE_AGE`]; the oldest are put into their hours then.
pub const MAX_MINUTES: u64 = 4_000_000;
/// The most hours that are kept: some 400 MB, a month of 2,800 targets.
pub const MAX_HOURS: u64 = 2_000_000;
/// The most failures that are kept in full: some 200 MB.
pub const MAX_FAILURES: u64 = 200_000;
/// The most turns of states that are kept: some 50 MB.
pub const MAX_TURNS: u64 = 300_000;
/// The most failures, and the most turns, that one read gives: the newest.
pub const MAX_READ: usize = 1_000;

/// Whose history it is: a target of a probe, or the probe itself, without a target.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Series {
    /// The probe's namespace.
    pub namespace: String,
    /// Its name.
    pub probe: String,
    /// The target; empty for the probe itself.
    pub target: String,
}

impl Series {
    /// A target of a probe.
    #[must_use]
    pub fn target(namespace: impl Into<String>, probe: impl Into<String>, target: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), probe: probe.into(), target: target.into() }
    }

    /// A probe itself.
    #[must_use]
    pub fn probe(namespace: impl Into<String>, probe: impl Into<String>) -> Self {
        Self::target(namespace, probe, "")
    }
}

/// A turn of a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateTurn {
    /// When.
    pub at: Timestamp,
    /// What it was.
    pub from: ProbeState,
    /// What it is since then.
    pub to: ProbeState,
    /// Why, in one line.
    pub reason: String,
}

/// The last state that is known of a series. After a restart it is only to be shown: the live state
/// begins unknown, because nobody has looked since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Known {
    /// The state.
    pub state: ProbeState,
    /// Since when.
    pub since: Timestamp,
    /// Until when it was seen.
    pub seen: Timestamp,
    /// Why, in one line.
    pub reason: String,
}

/// What is handed over at once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Minutes that are over, or parts of them.
    pub minutes: Vec<(Arc<Series>, Finished)>,
    /// Turns of states.
    pub turns: Vec<(Arc<Series>, StateTurn)>,
    /// States as they stand.
    pub states: Vec<(Arc<Series>, Known)>,
}

impl Batch {
    /// How many items it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.minutes.len() + self.turns.len() + self.states.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds everything of another.
    pub fn append(&mut self, mut other: Self) {
        self.minutes.append(&mut other.minutes);
        self.turns.append(&mut other.turns);
        self.states.append(&mut other.states);
    }
}

/// What is known of a series in a window.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Past {
    /// Minutes, and hours of what is older, by time; they do not overlap.
    pub stretches: Vec<Stretch>,
    /// Failures that began in it, oldest first; at most the last [`MAX_READ`].
    pub failures: Vec<Failed>,
    /// Turns in it, oldest first; at most the last [`MAX_READ`].
    pub turns: Vec<StateTurn>,
}

/// What was forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Minutes that were put into their hours.
    pub minutes: u64,
    /// Hours.
    pub hours: u64,
    /// Failures.
    pub failures: u64,
    /// Turns of states.
    pub turns: u64,
    /// Targets and probes of which nothing was left.
    pub series: u64,
}

/// What can go wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// A newer program has written it.
    #[error("the probes' history {} has version {found}, and this program knows versions up to {known}: \
        use the program that wrote it, or a newer one, or move it away to begin anew", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest known one.
        known: i64,
    },
    /// It is a database of another program.
    #[error("{} is a database of another program and not the probes' history: move it away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The database or its disk is in trouble.
    #[error("while {doing} the probes' history {}: {why}", path.display())]
    Trouble {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        why: String,
    },
    /// It is closed, or has more to do than it can.
    #[error("the probes' history is {why}")]
    Unavailable {
        /// Which of them.
        why: &'static str,
    },
}

/// What outlives the process.
#[async_trait]
pub trait Archive: Send + Sync + 'static {
    /// Hands something over, without waiting. False: it was dropped, and counted.
    fn append(&self, batch: Batch) -> bool;

    /// The targets of a probe of which something is known, by name.
    async fn targets(&self, namespace: &str, probe: &str) -> Result<Vec<String>, ArchiveError>;

    /// What is known of a series in a window, with everything that was handed over before.
    async fn past(&self, series: &Series, window: Window) -> Result<Past, ArchiveError>;

    /// The last known state of every series.
    async fn known(&self) -> Result<Vec<(Series, Known)>, ArchiveError>;

    /// Forgets what is too old at `now` or too much. It also happens by itself, now and then.
    async fn forget(&self, now: Timestamp) -> Result<Forgotten, ArchiveError>;

    /// Returns when everything that was handed over before is written, or was given up.
    async fn flush(&self) -> Result<(), ArchiveError>;
}
