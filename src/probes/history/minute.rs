//! The minute that is under way, of one target.
//!
//! A round counts in the minute in which it ended: before that nobody knows what came of it.

use jiff::Timestamp;

use super::failures::Failed;
use super::query::Stretch;
use super::ring::Recent;
use super::rollup::Rollup;
use crate::probes::result::{Judgement, Phase, Reason};

/// Seconds of a minute.
pub(super) const MINUTE: i64 = 60;
/// The failed rounds of one minute that go to the archive: the first of each reason and phase.
pub(super) const ARCHIVED: usize = 3;
/// So many minutes of nothing but failures are archived in full. Of what comes after them in the
/// same row only every [`THINNED`]th minute keeps failures, and one with another reason, so that one
/// target that is down for a month does not push out what others had to say.
pub(super) const FULL_MINUTES: u32 = 10;
/// See [`FULL_MINUTES`].
pub(super) const THINNED: u32 = 10;

/// A minute that is over, as it goes to the archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// Minutes since 1970.
    pub minute: i64,
    /// Its rounds.
    pub rollup: Rollup,
    /// Some of its failures in full.
    pub failures: Vec<Failed>,
}

/// The minute that is under way.
#[derive(Debug, Clone)]
pub(super) struct Minute {
    /// Minutes since 1970.
    number: i64,
    rollup: Rollup,
    failures: Vec<Failed>,
    /// Minutes in a row in which nothing was answered and something failed.
    failing: u32,
    /// Reason and phase of the last failure that was archived.
    archived: Option<(Reason, Option<Phase>)>,
}

/// The minute in which an instant lies.
pub(super) fn minute_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(MINUTE)
}

impl Minute {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { number: minute_of(now), rollup: Rollup::default(), failures: Vec::new(), failing: 0, archived: None }
    }

    /// Adds a round that has ended, and its words where there are some.
    pub(super) fn record(&mut self, round: &Recent, words: Option<&Failed>) {
        self.rollup.record(round);
        let Some(failed) = words.filter(|failed| failed.judgement == Judgement::Failed) else { return };
        let what = (failed.reason, failed.phase);
        let thin = self.failing >= FULL_MINUTES && !self.failing.is_multiple_of(THINNED) && self.archived == Some(what);
        let told = self.failures.iter().any(|other| (other.reason, other.phase) == what);
        if !thin && !told && self.failures.len() < ARCHIVED {
            self.archived = Some(what);
            self.failures.push(failed.clone());
        }
    }

    pub(super) fn miss(&mut self, slots: u32) {
        self.rollup.miss(slots);
    }

    /// Hands out the minute where it is over. After a clock that stepped back it is not.
    pub(super) fn finish(&mut self, now: Timestamp) -> Option<Finished> {
        let next = minute_of(now);
        if next <= self.number { None } else { self.close(next) }
    }

    /// Hands out what there is of the minute, and goes on with the rest of it.
    pub(super) fn flush(&mut self) -> Option<Finished> {
        self.close(self.number)
    }

    fn close(&mut self, next: i64) -> Option<Finished> {
        let minute = std::mem::replace(&mut self.number, next);
        if self.rollup.is_empty() {
            return None;
        }
        let rollup = std::mem::take(&mut self.rollup);
        if rollup.good + rollup.degraded > 0 {
            (self.failing, self.archived) = (0, None);
        } else if rollup.failed > 0 {
            self.failing = self.failing.saturating_add(1);
        }
        Some(Finished { minute, rollup, failures: std::mem::take(&mut self.failures) })
    }

    /// What there is of it so far.
    pub(super) fn live(&self) -> Stretch {
        Stretch::minute(self.number, self.rollup.clone())
    }
}
