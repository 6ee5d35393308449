//! From the record of a run to the answer that a caller gets.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::ask::{Answer, CheckAnswer};
use crate::api::GateRunStatus;
use crate::model::Verdict;

/// How soon a caller may come back when Probegate itself is in trouble.
const TROUBLE_RETRY_SECONDS: u64 = 5;

/// The answer that a run's record gives at `now`.
pub(super) fn of_status(id: &str, status: &GateRunStatus, retry_after: Option<Duration>, now: Timestamp) -> Answer {
    // Whoever drives a run writes its pass together with the instant of the decision. A pass that stands on
    // an open run came there by another hand.
    let by_hand = status.verdict == Verdict::Pass && status.decided_at.is_none();
    let verdict = if by_hand { Verdict::Wait } else { status.verdict };
    let retry =
        match (verdict, status.until) {
            (Verdict::Pass, _) => None,
            (Verdict::Block, until) => until.map(|until| seconds_until(until, now)),
            (Verdict::Wait, _) => Some(retry_after.map_or(TROUBLE_RETRY_SECONDS, |after| {
                after.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX)
            })),
        };
    Answer {
        verdict,
        id: id.to_owned(),
        reason: if by_hand { "the run is not decided yet".to_owned() } else { status.reason.clone() },
        until: status.until,
        retry_after_seconds: retry,
        checks: checks(status),
    }
}

/// The answer to a question whose verdict was made void and is not judged anew before `until`.
pub(super) fn void(id: &str, status: &GateRunStatus, until: Timestamp, now: Timestamp) -> Answer {
    let by = status.voided.as_ref().map(|voided| voided.revision.clone()).unwrap_or_default();
    Answer {
        verdict: Verdict::Wait,
        id: id.to_owned(),
        reason: format!("the verdict is void since revision {by} has come; the question is judged anew then"),
        until: Some(until),
        retry_after_seconds: Some(seconds_until(until, now)),
        checks: checks(status),
    }
}

/// The answer while Probegate itself is in trouble: never a pass.
pub(super) fn trouble(id: String, reason: String) -> Answer {
    Answer {
        verdict: Verdict::Wait,
        id,
        reason,
        until: None,
        retry_after_seconds: Some(TROUBLE_RETRY_SECONDS),
        checks: Vec::new(),
    }
}

fn checks(status: &GateRunStatus) -> Vec<CheckAnswer> {
    let answers = status.checks.iter().map(|check| CheckAnswer {
        name: check.name.clone(),
        outcome: check.outcome,
        mode: check.mode,
        summary: check.summary.clone(),
        since: check.since,
    });
    answers.collect()
}

fn seconds_until(until: Timestamp, now: Timestamp) -> u64 {
    let left = until.duration_since(now).max(SignedDuration::from_secs(1));
    u64::try_from((left.as_millis() + 999) / 1_000).unwrap_or(1)
}
