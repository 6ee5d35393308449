//! States into the statuses of the resources: only on change, and not too often.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::board::Board;
use super::entry::Key;
use crate::api::{Condition, ConditionStatus, LastRun, Probe, ProbeStatus, Resource, TargetStatus, set_condition};
use crate::model::ProbeState;
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
    loop {
        let dirty = board.take_dirty().await;
        tokio::time::sleep(GATHER).await;
        written.retain(|key, _| cache.contains(key));
        let mut trouble = false;
        for key in dirty {
            match write_one(board, store, cache, &mut written, &key).await {
                Ok(()) | Err(StoreError::NotFound { .. } | StoreError::Invalid(_)) => {}
                Err(error) => {
                    let (namespace, name) = &*key;
                    tracing::warn!(namespace, probe = name, %error, "A probe's status cannot be written; it is tried again.");
                    board.put_off(key);
                    trouble = true;
                }
            }
        }
        if trouble {
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
    // After a restart the last state stands until there is a new one.
    if view.warming_up && valid && probe.status.is_some() && !written.contains_key(key) {
        return Ok(());
    }
    let (state, since, targets) = (view.state, view.since, targets(&view));
    let reason = view.invalid.unwrap_or(view.reason);
    let last_run = board.last_run(key);
    let new = hash(state, since, &reason, &targets, last_run.as_ref());
    if written.get(key) == Some(&new) {
        return Ok(());
    }
    let mut probe = Arc::unwrap_or_clone(probe);
    let old = probe.status.take();
    let generation = probe.metadata.generation;
    let (mut conditions, earlier) = old.map(|old| (old.conditions, old.last_run)).unwrap_or_default();
    let last_run = last_run.or(earlier);
    set_condition(
        &mut conditions,
        Condition {
            kind: READY.to_owned(),
            status: if valid { ConditionStatus::True } else { ConditionStatus::False },
            observed_generation: generation,
            last_transition_time: board.now(),
            reason: if valid { "Probing" } else { "InvalidSpec" }.to_owned(),
            message: if valid { String::new() } else { reason.clone() },
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

fn hash(
    state: ProbeState,
    since: Timestamp,
    reason: &str,
    targets: &[TargetStatus],
    last_run: Option<&LastRun>,
) -> Written {
    let mut hasher = DefaultHasher::new();
    (state, since, reason, last_run).hash(&mut hasher);
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
