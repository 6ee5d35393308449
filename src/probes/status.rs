//! States into the statuses of the resources: only on change, and not too often.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::board::{Board, Key};
use crate::api::{Condition, ConditionStatus, Probe, ProbeStatus, Resource, set_condition};
use crate::model::ProbeState;
use crate::store::{Cache, Store, StoreError, StoreExt};

/// How long changes are gathered before they are written: a flapping probe must not keep the store
/// busy, and an outage that turns a hundred probes is one burst.
const GATHER: Duration = Duration::from_millis(500);
/// How long to wait after the store was in trouble.
const BACK_OFF: Duration = Duration::from_secs(5);
/// The condition that tells whether the spec is valid and being probed.
const READY: &str = "Ready";

/// Writes statuses for ever.
pub(super) async fn write(board: &Board, store: &Arc<dyn Store>, cache: &Cache<Probe>) {
    let mut written: BTreeMap<Key, (ProbeState, Timestamp, String)> = BTreeMap::new();
    loop {
        let dirty = board.take_dirty().await;
        tokio::time::sleep(GATHER).await;
        written.retain(|(namespace, name), _| cache.get(namespace, name).is_some());
        let mut trouble = false;
        for key in dirty {
            match write_one(board, store, cache, &mut written, &key).await {
                Ok(()) | Err(StoreError::NotFound { .. } | StoreError::Invalid(_)) => {}
                Err(error) => {
                    let (namespace, name) = &key;
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
    written: &mut BTreeMap<Key, (ProbeState, Timestamp, String)>,
    key: &Key,
) -> Result<(), StoreError> {
    let (Some((state, since, reason, valid, warming_up)), Some(probe)) =
        (board.standing(key), cache.get(&key.0, &key.1))
    else {
        return Ok(());
    };
    // After a restart the last state stands until there is a new one.
    if warming_up && valid && probe.status.is_some() && !written.contains_key(key) {
        return Ok(());
    }
    let new = (state, since, reason);
    if written.get(key) == Some(&new) {
        return Ok(());
    }
    let mut probe = Probe::clone(&probe);
    let old = probe.status.take();
    let (state, since, reason) = new.clone();
    let generation = probe.metadata.generation;
    let mut conditions = old.map(|old| old.conditions).unwrap_or_default();
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
        Some(ProbeStatus { state, since, reason, targets: Vec::new(), observed_generation: generation, conditions });
    // Nobody else writes this status: what is stored is overwritten whatever its version.
    probe.metadata.resource_version = None;
    store.put_status_as(&probe).await?;
    written.insert(key.clone(), new);
    Ok(())
}
