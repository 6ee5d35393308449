//! What the machine knows of one check.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::event::Moment;
use super::plan::PlannedCheck;
use crate::api::Attempt;
use crate::model::{Evidence, Outcome, Report};

/// The most earlier executions that a record keeps: enough to see a pattern, small enough for
/// etcd.
const MAX_ATTEMPTS: usize = 20;
/// How often a check that is held until a known instant looks again before it: calendars change.
const HELD_RECHECK: Duration = Duration::from_secs(300);
/// The least time between two executions, whatever a check asks for.
const MIN_GAP: Duration = Duration::from_millis(50);

/// An execution that has not answered yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct InFlight {
    pub(super) execution: u32,
    pub(super) began: Moment,
}

/// One check: its standing outcome, its last evidence, and when it is due.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CheckState {
    pub(super) outcome: Outcome,
    pub(super) summary: String,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) evidence: Evidence,
    pub(super) carry: Option<serde_json::Value>,
    pub(super) executions: u32,
    pub(super) in_flight: Option<InFlight>,
    /// On the monotonic clock; `None`: not before something wakes it.
    pub(super) due: Option<Duration>,
    /// When the execution that gave the standing outcome began, on the monotonic clock of this
    /// life of the driver; `None` for an outcome from before a restart.
    pub(super) looked_at: Option<Duration>,
    pub(super) failures_in_row: u32,
    pub(super) attempts: Vec<Attempt>,
    /// It was woken while an execution was in flight, which may have looked too early.
    pub(super) woken: bool,
}

impl CheckState {
    pub(super) fn new() -> Self {
        Self {
            outcome: Outcome::Pending,
            summary: "not looked at yet".to_owned(),
            since: None,
            until: None,
            evidence: Evidence::new(),
            carry: None,
            executions: 0,
            in_flight: None,
            due: None,
            looked_at: None,
            failures_in_row: 0,
            attempts: Vec::new(),
            woken: false,
        }
    }

    /// Whether it waits for a known instant instead of measuring.
    pub(super) fn held(&self) -> bool {
        self.outcome == Outcome::Pending && self.until.is_some()
    }

    /// Whether it has looked at least once in this life of the driver.
    pub(super) fn has_looked(&self) -> bool {
        self.looked_at.is_some()
    }

    /// Whether its pass still counts: one pass is enough, or it looked at or after `fresh_from`.
    pub(super) fn passed(&self, planned: &PlannedCheck, fresh_from: Duration) -> bool {
        self.outcome == Outcome::Pass && (planned.once || self.looked_at.is_some_and(|at| at >= fresh_from))
    }

    /// Begins an execution.
    pub(super) fn begin(&mut self, now: Moment) -> u32 {
        self.executions = self.executions.saturating_add(1);
        self.in_flight = Some(InFlight { execution: self.executions, began: now });
        self.due = None;
        self.woken = false;
        self.executions
    }

    /// Takes an answer; whether the standing outcome has changed.
    pub(super) fn take(&mut self, planned: &PlannedCheck, flight: InFlight, report: Report, now: Moment) -> bool {
        self.in_flight = None;
        let before = (self.outcome, self.until);
        let mut report = report;
        if report.outcome == Outcome::Fail {
            self.failures_in_row = self.failures_in_row.saturating_add(1);
            self.remember(flight, &report);
            if self.failures_in_row <= u32::from(planned.retries) {
                report.outcome = Outcome::Pending;
                report.until = None;
                report.summary = format!(
                    "failed {} of {} tries: {}",
                    self.failures_in_row,
                    u32::from(planned.retries) + 1,
                    report.summary
                );
            }
        } else {
            self.failures_in_row = 0;
            if report.outcome != self.outcome && self.has_looked() {
                self.remember(flight, &report);
            }
        }
        if report.outcome != Outcome::Pending {
            report.until = None;
        }
        if report.outcome != before.0 || self.since.is_none() {
            self.since = Some(report.since.unwrap_or(flight.began.wall));
        } else if report.since.is_some() {
            self.since = report.since;
        }
        self.due = Self::next_due(planned, &report, now);
        self.outcome = report.outcome;
        self.summary = report.summary;
        self.until = report.until;
        self.evidence = report.evidence;
        self.carry = report.carry;
        self.looked_at = Some(flight.began.mono);
        if self.woken && self.due.is_some() {
            self.due = Some(now.mono);
        }
        (self.outcome, self.until) != before
    }

    fn remember(&mut self, flight: InFlight, report: &Report) {
        if self.attempts.len() >= MAX_ATTEMPTS {
            self.attempts.remove(0);
        }
        self.attempts.push(Attempt { at: flight.began.wall, outcome: report.outcome, summary: report.summary.clone() });
    }

    /// When to look again. A failed check has decided; one that passes once is done.
    fn next_due(planned: &PlannedCheck, report: &Report, now: Moment) -> Option<Duration> {
        let interval = planned.interval.to_std();
        let gap = match report.outcome {
            Outcome::Fail if planned.enforced() || planned.once => return None,
            Outcome::Pass if planned.once => return None,
            Outcome::Fail | Outcome::Pass | Outcome::Unknown => report.again.map_or(interval, to_std),
            Outcome::Pending => match report.until {
                Some(until) => to_std(until.duration_since(now.wall)).min(HELD_RECHECK),
                None => report.again.map_or(interval, to_std),
            },
        };
        Some(now.mono + gap.max(MIN_GAP))
    }
}

/// A length of time for the monotonic clock: nothing where it is negative.
pub(super) fn to_std(length: SignedDuration) -> Duration {
    Duration::try_from(length).unwrap_or_default()
}
