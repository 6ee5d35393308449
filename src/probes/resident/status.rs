//! States into the statuses of the resources: only on change, and not too often.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::board::Board;
use super::entry::Key;
use crate::api::{Condition, ConditionStatus, LastRun, Probe, ProbeStatus, Resource, TargetStatus, set_condition};
use crate::model::ProbeState;
use crate::outbound::SecretError;
use crate::probes::Reason;
use crate::probes::view::{ProbeView, TargetView};
use crate::store::{Cache, Store, StoreError, StoreExt};

/// How long changes are gathered before they are written: a flapping probe must not keep the store
/// busy, and an outage that turns a hundred probes is one burst.
const GATHER: Duration = Duration::from_millis(500);
/// How long to wait after the store was in trouble.
const BACK_OFF: Duration = Duration::from_secs(5);
/// The condition that tells whether the spec is valid and being probed.
const READY: &str = "Ready";
/// The targets that stand in a status; of more only the worst.
const MAX_TARGETS_SHOWN: usize = 100;
/// The longest reason of one target there.
const MAX_TARGET_REASON: usize = 160;

/// A hash of what was written last: state, since when, why, and how the targets stand.
type Written = u64;

/// Writes statuses for ever.
pub(super) async fn write(board: &Board, store: &Arc<dyn Store>, cache: &Cache<Probe>) {
    let mut written: BTreeMap<Key, Written> = BTreeMap::new();
    let mut well = true;
    loop {
        let dirty = board.take_dirty().await;
        tokio::time::sleep(GATHER).await;
        written.retain(|key, _| cache.contains(key));
        let mut trouble: BTreeSet<String> = BTreeSet::new();
        for key in dirty {
            // What cannot be written for one probe of a namespace cannot be for the others: a store that
            // is away is not asked for each of ten thousand.
            if trouble.contains(&key.0) {
                board.put_off(key);
                continue;
            }
            match write_one(board, store, cache, &mut written, &key).await {
                Ok(()) | Err(StoreError::NotFound { .. } | StoreError::Invalid(_)) => {}
                // Somebody else has written in between: the others are not kept waiting.
                Err(StoreError::Conflict { .. }) => board.put_off(key),
                Err(error) => {
                    if std::mem::take(&mut well) {
                        let (namespace, name) = &*key;
                        tracing::warn!(namespace, probe = name, %error, "The statuses of probes cannot be written; they are tried again.");
                    }
                    trouble.insert(key.0.clone());
                    board.put_off(key);
                }
            }
        }
        if trouble.is_empty() {
            well = true;
        } else {
            tokio::time::sleep(BACK_OFF).await;
        }
    }
}

async fn write_one(
    board: &Board,
    store: &Arc<dyn Store>,
    cache: &Cache<Probe>,
    written: &mut BTreeMap<Key, Written>,
    key: &Key,
) -> Result<(), StoreError> {
    let (Some(view), Some(probe)) = (board.get(&key.0, &key.1), cache.get(&key.0, &key.1)) else {
        return Ok(());
    };
    let valid = view.invalid.is_none();
    let secret = secret_trouble(&view);
    // After a restart the last state stands until there is a new one.
    if view.warming_up && valid && probe.status.is_some() && !written.contains_key(key) {
        return Ok(());
    }
    let (state, since, targets) = (view.state, view.since, targets(&view));
    let reason = view.invalid.unwrap_or(view.reason);
    let last_run = board.last_run(key);
    let new = hash((state, since), (&reason, secret.as_ref()), &targets, last_run.as_ref());
    if written.get(key) == Some(&new) {
        return Ok(());
    }
    let (why, message) = match secret {
        _ if !valid => ("InvalidSpec", reason.clone()),
        Some(trouble) => trouble,
        None => ("Probing", String::new()),
    };
    let mut probe = Arc::unwrap_or_clone(probe);
    let old = probe.status.take();
    let generation = probe.metadata.generation;
    let (mut conditions, earlier) = old.map(|old| (old.conditions, old.last_run)).unwrap_or_default();
    let last_run = last_run.or(earlier);
    set_condition(
        &mut conditions,
        Condition {
            kind: READY.to_owned(),
            status: if why == "Probing" { ConditionStatus::True } else { ConditionStatus::False },
            observed_generation: generation,
            last_transition_time: board.now(),
            reason: why.to_owned(),
            message,
        },
    );
    *probe.status_mut() =
        Some(ProbeStatus { state, since, reason, targets, last_run, observed_generation: generation, conditions });
    // Nobody else writes this status: what is stored is overwritten whatever its version.
    probe.metadata.resource_version = None;
    store.put_status_as(&probe).await?;
    written.insert(Arc::clone(key), new);
    Ok(())
}

/// The reason and message of a probe whose last round could not be made for want of a secret.
fn secret_trouble(view: &ProbeView) -> Option<(&'static str, String)> {
    let last = view.targets.iter().filter_map(|target| target.last.as_ref());
    let trouble = last.into_iter().find(|last| last.reason == Some(Reason::Secret))?;
    let reason =
        if SecretError::tells_not_granted(&trouble.message) { "SecretNotGranted" } else { "SecretUnavailable" };
    Some((reason, trouble.message.to_string()))
}

fn hash(
    (state, since): (ProbeState, Timestamp),
    (reason, secret): (&str, Option<&(&'static str, String)>),
    targets: &[TargetStatus],
    last_run: Option<&LastRun>,
) -> Written {
    let mut hasher = DefaultHasher::new();
    (state, since, reason, secret, last_run).hash(&mut hasher);
    for target in targets {
        (&target.target, target.state, target.since, &target.reason).hash(&mut hasher);
    }
    hasher.finish()
}

/// The targets, the worst first; a probe of one address has them not.
fn targets(view: &ProbeView) -> Vec<TargetStatus> {
    if view.targets.len() < 2 {
        return Vec::new();
    }
    let rank = |state: ProbeState| match state {
        ProbeState::Down => 0,
        ProbeState::Unknown => 1,
        ProbeState::Degraded => 2,
        ProbeState::Up => 3,
    };
    let mut targets: Vec<&TargetView> = view.targets.iter().collect();
    targets.sort_by(|a, b| (rank(a.state), &a.target).cmp(&(rank(b.state), &b.target)));
    let told = |target: &&TargetView| TargetStatus {
        target: target.target.to_string(),
        state: target.state,
        since: target.since,
        reason: match (target.state, &target.last) {
            (ProbeState::Up, _) | (_, None) => String::new(),
            (_, Some(last)) => {
                format!("{}: {}", last.reason_word(), last.message).chars().take(MAX_TARGET_REASON).collect()
            }
        },
    };
    targets.iter().take(MAX_TARGETS_SHOWN).map(told).collect()
}
