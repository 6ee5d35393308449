//! The machine as the record that is kept of it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::event::Moment;
use super::judge::Judgement;
use super::machine::Machine;
use crate::api::{CheckStatus, Condition, ConditionStatus, GateRunStatus, Voided, condition_types, set_condition};
use crate::model::{Outcome, Point, Verdict};

/// The longest time that a caller is told to stay away: something may have been lifted by hand.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// The shortest.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);

impl Machine {
    /// The record at `now`, as `attempt` number so many at its question. `old` gives the conditions
    /// whose transition times stay.
    #[must_use]
    pub fn status(&self, now: Moment, attempt: u32, old: Option<&GateRunStatus>) -> GateRunStatus {
        let (verdict, reason, until) = match &self.ruling {
            Some(ruling) => (ruling.verdict, ruling.reason.clone(), self.counts_until(ruling.verdict, ruling.at)),
            None => match self.judge(now) {
                Judgement::Open(open) => (Verdict::Wait, open.reason, open.until),
                Judgement::Final(ruling) => (Verdict::Wait, ruling.reason, None),
            },
        };
        let mut status = GateRunStatus {
            verdict,
            reason,
            until,
            attempt,
            checks: self.check_statuses(now),
            started_at: Some(self.started_at),
            decided_at: self.ruling.as_ref().map(|ruling| ruling.at),
            cause: self.ruling.as_ref().map(|ruling| ruling.cause),
            measured_millis: i64::try_from(self.measured.as_millis()).unwrap_or(i64::MAX),
            seen_at: Some(self.last.wall),
            plan: serde_json::to_value(&self.plan).ok(),
            overrides: self.ruling.as_ref().map(|ruling| ruling.overrides.clone()).unwrap_or_default(),
            voided: self.superseded.as_ref().map(|(revision, change)| Voided {
                revision: revision.clone(),
                change: change.clone(),
                at: now.wall,
            }),
            bypassed: old.and_then(|old| old.bypassed.clone()),
            cancelled_by: self.cancelled.as_ref().map(|(actor, _)| actor.clone()),
            decided_with: if self.ruling.is_some() { env!("CARGO_PKG_VERSION").to_owned() } else { String::new() },
            conditions: old.map(|old| old.conditions.clone()).unwrap_or_default(),
        };
        self.conditions(&mut status, now.wall);
        status
    }

    /// When it is worth asking again: nothing for a pass, and for a block at post, which is final.
    #[must_use]
    pub fn retry_after(&self, now: Moment) -> Option<Duration> {
        match &self.ruling {
            Some(ruling) if ruling.verdict == Verdict::Block => self.plan.retry_after.map(crate::model::Period::to_std),
            Some(_) => None,
            None => {
                let wake = self.wake_after(now).unwrap_or(MAX_RETRY_AFTER);
                let held = self.holding(now).filter_map(|check| check.until).max();
                let wait =
                    held.map_or(wake, |until| Duration::try_from(until.duration_since(now.wall)).unwrap_or_default());
                Some(wait.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER))
            }
        }
    }

    fn counts_until(&self, verdict: Verdict, at: Timestamp) -> Option<Timestamp> {
        let length: SignedDuration = match (verdict, self.plan.point) {
            (Verdict::Pass, Point::Pre) => self.plan.valid_for?.exact(),
            (Verdict::Block, Point::Pre) => self.plan.retry_after?.exact(),
            _ => return None,
        };
        Some(at + length)
    }

    fn check_statuses(&self, now: Moment) -> Vec<CheckStatus> {
        let statuses = self.plan.checks.iter().zip(&self.checks).map(|(planned, state)| {
            let overridden = self.override_of(Some(&planned.spec.name), now.wall);
            let mut evidence = state.evidence.clone();
            if let Some(version) = &planned.version {
                evidence.entry("version".to_owned()).or_insert_with(|| version.clone().into());
            }
            CheckStatus {
                name: planned.spec.name.clone(),
                kind: planned.kind.clone(),
                mode: planned.mode,
                outcome: state.outcome,
                summary: state.summary.clone(),
                since: state.since,
                until: state.until.filter(|_| state.outcome == Outcome::Pending),
                executions: state.executions,
                evidence,
                carry: state.carry.clone(),
                attempts: state.attempts.clone(),
                overridden_by: overridden.map(|by| by.name.clone()),
            }
        });
        statuses.collect()
    }

    fn conditions(&self, status: &mut GateRunStatus, now: Timestamp) {
        let (decided, reason) = match status.verdict {
            Verdict::Pass => (ConditionStatus::True, "Passed"),
            Verdict::Block => (ConditionStatus::True, "Blocked"),
            Verdict::Wait if self.held => (ConditionStatus::False, "Held"),
            Verdict::Wait => (ConditionStatus::False, "Measuring"),
        };
        let condition = |kind: &str, holds, reason: &str, message: String| Condition {
            kind: kind.to_owned(),
            status: holds,
            observed_generation: self.plan.gate_generation,
            last_transition_time: now,
            reason: reason.to_owned(),
            message,
        };
        let message = status.reason.clone();
        set_condition(&mut status.conditions, condition(condition_types::DECIDED, decided, reason, message));
        if let Some(voided) = status.voided.clone() {
            let message = format!("revision {} of change {} has come", voided.revision, voided.change);
            set_condition(
                &mut status.conditions,
                condition(condition_types::VOID, ConditionStatus::True, "NewRevision", message),
            );
        }
    }
}
