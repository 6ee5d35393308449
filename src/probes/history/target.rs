//! Everything that is remembered of one target.

use jiff::Timestamp;

use super::failures::{Failed, Failures};
use super::minute::{Finished, Minute};
use super::query::Stretch;
use super::ring::{Recent, Ring};

/// The memory of one target: recent rounds, failures, and the minute that is under way.
#[derive(Debug, Clone)]
pub struct TargetHistory {
    recent: Ring,
    failures: Failures,
    minute: Minute,
}

impl TargetHistory {
    /// Nothing has happened yet. `capacity` recent rounds are kept.
    #[must_use]
    pub fn new(capacity: usize, now: Timestamp) -> Self {
        Self { recent: Ring::new(capacity, now), failures: Failures::default(), minute: Minute::new(now) }
    }

    /// Adds a round that has just ended, and its words where it was not as expected. Gives the
    /// minute before, where this round is the first of another one.
    pub fn record(&mut self, round: &Recent, words: Option<&Failed>) -> Option<Finished> {
        let finished = self.minute.finish(round.ended);
        self.minute.record(round, words);
        self.recent.push(round);
        if let Some(words) = words {
            self.failures.push(words);
        }
        finished
    }

    /// Counts slots in which no round could be made. Gives the minute before, as for a round.
    pub fn miss(&mut self, slots: u32, now: Timestamp) -> Option<Finished> {
        let finished = self.minute.finish(now);
        self.minute.miss(slots);
        finished
    }

    /// Gives the minute that was under way, where it is over: for targets with few rounds.
    pub fn finish(&mut self, now: Timestamp) -> Option<Finished> {
        self.minute.finish(now)
    }

    /// Gives what there is of the minute under way: before the process ends. The archive puts the
    /// parts of a minute together.
    pub fn flush(&mut self) -> Option<Finished> {
        self.minute.flush()
    }

    /// Keeps so many recent rounds.
    pub fn resize(&mut self, capacity: usize) {
        self.recent.resize(capacity);
    }

    /// The recent rounds.
    #[must_use]
    pub const fn recent(&self) -> &Ring {
        &self.recent
    }

    /// The failures, kept apart.
    #[must_use]
    pub const fn failures(&self) -> &Failures {
        &self.failures
    }

    /// The minute under way, as far as it has come.
    #[must_use]
    pub fn live(&self) -> Stretch {
        self.minute.live()
    }
}

#[cfg(test)]
mod tests;
