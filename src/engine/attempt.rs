//! Whether an earlier attempt at a question still answers it. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::api::{Cause, Effect, GateRun, GateRunStatus, Override, name_of};
use crate::gate::{ActiveOverride, Standing};
use crate::model::{Action, Outcome, Point, Verdict};

/// How long a void or cancelled run keeps its question from being judged anew: two controllers
/// that ask about one target with two revisions would otherwise make runs without end.
pub(super) const PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// How far the clock may stand before a decision without counting as stepped back.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// What the latest attempt at a question means now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptState {
    /// It is going on.
    Open,
    /// It answers the question.
    Answers,
    /// It is void, and the question is judged anew only at that instant.
    Void(Timestamp),
    /// The clock stands before its decision: nothing that depends on time can be said.
    ClockBack,
    /// It does not answer any more: a new attempt is due.
    Over,
}

/// Judges the latest attempt at `now`, with the `overrides` on its gate and change.
pub(super) fn state_of(run: &GateRun, overrides: &[ActiveOverride], now: Timestamp) -> AttemptState {
    let Some(status) = &run.status else { return AttemptState::Open };
    let Some(decided_at) = status.decided_at else { return AttemptState::Open };
    if let Some(voided) = &status.voided {
        let until = voided.at + PAUSE;
        return if now < until { AttemptState::Void(until) } else { AttemptState::Over };
    }
    if now < decided_at - CLOCK_TOLERANCE {
        return AttemptState::ClockBack;
    }
    let within = |until: Option<Timestamp>| until.is_none_or(|until| now < until);
    let new_word = |effect: Effect| {
        overrides.iter().any(|o| o.effect == effect && now < o.expires && !used(status, o) && concerns(status, o))
    };
    let answers = match (status.verdict, run.spec.point, status.cause) {
        (Verdict::Wait, ..) => return AttemptState::Open,
        (Verdict::Pass, ..) => within(status.until) && !new_word(Effect::Block),
        (Verdict::Block, _, Some(Cause::Cancelled)) => now < decided_at + PAUSE,
        (Verdict::Block, _, Some(Cause::Override)) => {
            status.overrides.iter().any(|used| overrides.iter().any(|o| o.name == used.name && now < o.expires))
        }
        (Verdict::Block, Point::Pre, _) => within(status.until) && !new_word(Effect::Pass),
        (Verdict::Block, Point::Post, _) => !new_word(Effect::Pass),
    };
    if answers { AttemptState::Answers } else { AttemptState::Over }
}

fn used(status: &GateRunStatus, o: &ActiveOverride) -> bool {
    status.overrides.iter().any(|used| used.name == o.name)
}

/// Whether an override speaks of something that took part in the verdict.
fn concerns(status: &GateRunStatus, o: &ActiveOverride) -> bool {
    match &o.check {
        None => true,
        Some(_) if status.cause == Some(Cause::Standing) => true,
        Some(check) => status.checks.iter().any(|heard| &heard.name == check),
    }
}

/// The block that is final for a revision, among all runs of it: of each question only the latest
/// attempt counts, so that one which passed under an override takes the block away.
pub(super) fn final_block<'a>(runs: impl IntoIterator<Item = &'a GateRun>) -> Option<Standing> {
    let mut latest: std::collections::BTreeMap<String, &GateRun> = std::collections::BTreeMap::new();
    for run in runs {
        let question = run.metadata.labels.as_ref().and_then(|labels| labels.get(crate::api::LABEL_QUESTION));
        let attempt = |run: &GateRun| run.status.as_ref().map_or(0, |status| status.attempt);
        let Some(question) = question else { continue };
        match latest.get(question) {
            Some(other) if attempt(other) >= attempt(run) => {}
            _ => {
                latest.insert(question.clone(), run);
            }
        }
    }
    let blocks = latest.into_values().filter_map(|run| Some((run, run.status.as_ref()?))).filter(|(run, status)| {
        run.spec.point == Point::Post
            && run.spec.change.action != Action::Rollback
            && status.verdict == Verdict::Block
            && matches!(status.cause, Some(Cause::Checks | Cause::Unknown))
    });
    let (run, status) = blocks.max_by_key(|(_, status)| status.decided_at)?;
    Some(Standing {
        run: name_of(run).to_owned(),
        batch: run.spec.batch.index,
        reason: status.reason.clone(),
        failed: failed_checks(status),
    })
}

/// The enforced checks that a block rests on.
fn failed_checks(status: &GateRunStatus) -> Vec<String> {
    let enforced = status.checks.iter().filter(|check| check.mode == crate::model::Mode::Enforce);
    let counts = |outcome: Outcome| match status.cause {
        Some(Cause::Unknown) => outcome != Outcome::Pass,
        _ => outcome == Outcome::Fail,
    };
    enforced.filter(|check| counts(check.outcome)).map(|check| check.name.clone()).collect()
}

/// The overrides on one gate and change that are in force at `now`.
pub(super) fn active<'a>(
    overrides: impl IntoIterator<Item = &'a std::sync::Arc<Override>>,
    namespace: &str,
    gate: &str,
    change: &str,
    now: Timestamp,
) -> Vec<ActiveOverride> {
    let bound = overrides.into_iter().filter(|o| {
        crate::api::namespace_of(o.as_ref()) == namespace
            && o.spec.gate.as_deref() == Some(gate)
            && o.spec.change == change
            && o.in_force(now)
    });
    let active = bound.map(|o| ActiveOverride {
        name: name_of(o.as_ref()).to_owned(),
        check: o.spec.check.clone(),
        effect: o.spec.effect,
        actor: o.spec.actor.clone(),
        reason: o.spec.reason.clone(),
        ticket: o.spec.ticket.clone(),
        expires: o.spec.expires,
    });
    active.collect()
}
