//! What is told of the probes: counts, names, evidence.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Judged;
use crate::checks::Context;
use crate::probes::history::Summary;
use crate::probes::{Judgement, ProbeView, Reason, Round};

/// The run ids of one probe that stand in the evidence; of more only the last.
const MAX_RUNS_SHOWN: usize = 20;
/// The probes that a summary names.
const MAX_NAMED: usize = 3;
/// How soon a pending check looks again, at the soonest and at the latest.
pub(super) const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// How long after now a round may seem to have begun. Further ahead, the clock was set back since, and
/// nobody knows whether the round was made before the run began.
const AHEAD: SignedDuration = SignedDuration::from_secs(2);

/// How many rounds that say something each target has made since the run began, at the least; those
/// before it say nothing about this batch.
pub(super) fn least_told(probe: &ProbeView, rounds: &[Round], context: &Context) -> usize {
    let latest = context.now.saturating_add(AHEAD).unwrap_or(context.now);
    let told = |target: &str| {
        let counts = |round: &&Round| {
            *round.target == *target
                && (context.started_at..=latest).contains(&round.at)
                && round.judgement != Judgement::Trouble
        };
        rounds.iter().filter(counts).count()
    };
    // As many targets as may be down without the probe being so need not have told anything.
    let mut told: Vec<usize> = probe.targets.iter().map(|target| told(&target.target)).collect();
    told.sort_unstable();
    let spare = probe.quorum.clamp(1, told.len().max(1)) - 1;
    told.get(spare).copied().unwrap_or(0)
}

/// The reason of the failing target's last round.
pub(super) fn last_reason(probe: &ProbeView) -> &'static str {
    let failing = probe.targets.iter().filter(|target| target.failing_since.is_some());
    let last = failing.filter_map(|target| target.last.as_ref()).find_map(|last| last.reason);
    last.map_or("error", Reason::as_str)
}

pub(super) fn again(after: Duration) -> Option<SignedDuration> {
    SignedDuration::try_from(after.clamp(AGAIN.0, AGAIN.1)).ok()
}

/// An instant for a person: to the second.
pub(super) fn second(at: Timestamp) -> String {
    format!("{at:.0}")
}

pub(super) fn named<'a>(judged: impl Iterator<Item = &'a Judged>) -> String {
    let all: Vec<&Judged> = judged.collect();
    let mut parts: Vec<String> = all
        .iter()
        .take(MAX_NAMED)
        .map(|judged| format!("probe {}/{} {}", judged.probe.namespace, judged.probe.name, judged.what))
        .collect();
    if all.len() > MAX_NAMED {
        parts.push(format!("and {} more", all.len() - MAX_NAMED));
    }
    parts.join("; ")
}

pub(super) fn shown(judged: &Judged) -> Value {
    let Judged { probe, rounds, counted, first_failure, .. } = judged;
    let all = |counted: &Option<Summary>, of: fn(&Summary) -> u64, in_memory: usize| {
        counted.as_ref().map_or(in_memory as u64, of)
    };
    let count = |wanted| rounds.iter().filter(|round| round.judgement == wanted).count();
    let ids = rounds.iter().rev().take(MAX_RUNS_SHOWN).rev().map(|round| round.id.to_string());
    let mut value = json!({
        "probe": format!("{}/{}", probe.namespace, probe.name),
        "kind": probe.kind,
        "state": probe.state,
        "since": probe.since,
        "reason": probe.reason,
        "targets": probe.targets.len(),
        "rounds": all(counted, |counted| counted.rounds, rounds.len()),
        "failed": all(counted, |counted| counted.failed.into(), count(Judgement::Failed)),
        "degraded": all(counted, |counted| counted.degraded.into(), count(Judgement::Degraded)),
        "trouble": all(counted, |counted| counted.trouble.into(), count(Judgement::Trouble)),
        "missed": probe.missed,
        "runs": ids.collect::<Vec<_>>(),
    });
    if let (Some(round), Some(map)) = (first_failure, value.as_object_mut()) {
        map.insert("firstFailure".to_owned(), json!(round));
    }
    value
}
