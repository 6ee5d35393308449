//! What was: recent rounds in memory, a summary of every minute, and the archive on the disk.
//!
//! A [`TargetHistory`] remembers one target. A minute that is over goes to the [`Archive`] with some
//! of its failures; what there is of the minute under way is lost when the process is killed.
//! [`summarize`] answers what any window came to.

mod archive;
mod codec;
mod failures;
mod latencies;
mod minute;
mod packed;
mod query;
mod ring;
mod rollup;
mod run_id;
pub mod sqlite;
mod target;

pub use archive::{
    Archive, ArchiveError, Batch, Forgotten, HOUR_AGE, Known, MAX_FAILURES, MAX_HOURS, MAX_MINUTES, MAX_READ,
    MAX_TURNS, MINUTE_AGE, Past, Series, StateTurn,
};
pub use failures::{Failed, Failures};
pub use latencies::Latencies;
pub use minute::Finished;
pub use query::{Quantiles, Stretch, Summary, Window, summarize};
pub use ring::{DEFAULT_ROUNDS, MAX_ROUNDS, Recent, Ring};
pub use rollup::Rollup;
pub use run_id::RunIds;
pub use target::TargetHistory;
