//! States into the statuses of the resources: only on change, and not too often.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

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
/// How long to wait after a namespace could not be written to.
const BACK_OFF: Duration = Duration::from_secs(5);
/// How many are written before it is looked again at what is most urgent: a home that takes forty
/// statuses in a second is busy with ten thousand first ones for minutes.
const AT_ONCE: usize = 32;
/// The condition that tells whether the spec is valid and being probed.
const READY: &str = "Ready";
/// The targets that stand in a status; of more only the worst.
const MAX_TARGETS_SHOWN: usize = 100;
/// The longest reason of one target there.
const MAX_TARGET_REASON: usize = 160;

/// What was written last of a probe, or stands there from an earlier process.
struct Written {
    /// A hash of generation, state, since when, why, and how the targets stand.
    hash: u64,
    /// Since when the state lasts.
    since: Since,
    /// The same of each target that stands there.
    targets: Box<[(Box<str>, Since)]>,
}

/// An instant as this process has seen it, and as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Since {
    own: Timestamp,
    told: Timestamp,
}

impl Since {
    /// A state that an earlier process has found, and this one finds as well, is taken for what it
    /// is: the instant stays that was written.
    fn of(own: Timestamp, before: Option<Self>, earlier: Option<Timestamp>) -> Self {
        let told = before.filter(|before| before.own == own).map(|before| before.told).or(earlier);
        Self { own, told: told.filter(|told| *told <= own).unwrap_or(own) }
    }
}

/// Those whose status is to be written, each with its place in the queue.
#[derive(Default)]
struct Waiting {
    places: BTreeMap<Key, u64>,
    next: u64,
}

impl Waiting {
    fn add(&mut self, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            self.places.entry(key).or_insert(self.next);
            self.next += 1;
        }
    }

    /// Takes the next ones out that may be written: what is urgent first, else in their order.
    fn take(&mut self, may: impl Fn(&Key) -> bool, is_urgent: impl Fn(&Key) -> bool) -> Vec<Key> {
        let all = self.places.iter().filter(|(key, _)| may(key));
        let mut all: Vec<(bool, u64, &Key)> = all.map(|(key, place)| (!is_urgent(key), *place, key)).collect();
        all.sort_unstable();
        let next: Vec<Key> = all.into_iter().take(AT_ONCE).map(|(_, _, key)| Arc::clone(key)).collect();
        for key in &next {
            self.places.remove(key);
        }
        next
    }
}

/// Writes statuses for ever.
pub(super) async fn write(board: &Board, store: &Arc<dyn Store>, cache: &Cache<Probe>) {
    let mut written: BTreeMap<Key, Written> = BTreeMap::new();
    let mut waiting = Waiting::default();
    // Namespaces that cannot be written to, each until it is tried again.
    let mut trouble: BTreeMap<String, Instant> = BTreeMap::new();
    // Those of which that was told.
    let mut told: BTreeSet<String> = BTreeSet::new();
    loop {
        if waiting.places.is_empty() {
            waiting.add(board.take_dirty().await);
            tokio::time::sleep(GATHER).await;
        }
        waiting.add(board.dirty_now());
        written.retain(|key, _| cache.contains(key));
        trouble.retain(|_, until| Instant::now() < *until);
        // A state that turned is news; a first one says what everybody expects, unless it is bad.
        let is_urgent = |key: &Key| {
            let state = board.entry(key).map(|entry| entry.state());
            written.contains_key(key) || matches!(state, Some(ProbeState::Down | ProbeState::Degraded))
        };
        let next = waiting.take(|key| !trouble.contains_key(&key.0), is_urgent);
        if next.is_empty() {
            tokio::time::sleep(GATHER).await;
        }
        for key in next {
            // What cannot be written for one probe of a namespace cannot be for the others: a store that
            // is away is not asked for each of ten thousand.
            if trouble.contains_key(&key.0) {
                waiting.add([key]);
                continue;
            }
            match write_one(board, store, cache, &mut written, &key).await {
                Ok(()) => {
                    told.remove(&key.0);
                }
                Err(StoreError::NotFound { .. } | StoreError::Invalid(_)) => {}
                // Somebody else has written in between: the others are not kept waiting.
                Err(StoreError::Conflict { .. }) => waiting.add([key]),
                Err(error) => {
                    if told.insert(key.0.clone()) {
                        let (namespace, name) = &*key;
                        tracing::warn!(namespace, probe = name, %error, "The statuses of probes cannot be written; they are tried again.");
                    }
                    trouble.insert(key.0.clone(), Instant::now() + BACK_OFF);
                    waiting.add([key]);
                }
            }
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
    let before = written.get(key);
    // After a restart the last state stands until there is a new one.
    if view.warming_up && view.invalid.is_none() && probe.status.is_some() && before.is_none() {
        return Ok(());
    }
    let mut probe = Arc::unwrap_or_clone(probe);
    let old = probe.status.take();
    let last_run = board.last_run(key).or_else(|| old.as_ref().and_then(|old| old.last_run.clone()));
    let (new, next) = status((&view, last_run), &probe, old.as_ref(), before, board.now());
    let as_it_was = match before {
        Some(before) => before.hash == next.hash,
        // Ten thousand probes that stand as an earlier process has left them are no writes.
        None => old.as_ref() == Some(&new),
    };
    if !as_it_was {
        *probe.status_mut() = Some(new);
        // Nobody else writes this status: what is stored is overwritten whatever its version.
        probe.metadata.resource_version = None;
        store.put_status_as(&probe).await?;
    }
    written.insert(Arc::clone(key), next);
    Ok(())
}

/// The status as it ought to be, and what is remembered of it.
fn status(
    (view, last_run): (&ProbeView, Option<LastRun>),
    probe: &Probe,
    old: Option<&ProbeStatus>,
    before: Option<&Written>,
    now: Timestamp,
) -> (ProbeStatus, Written) {
    let generation = probe.metadata.generation;
    let earlier = old.filter(|_| before.is_none());
    let state_of_old = earlier.filter(|old| old.state == view.state).map(|old| old.since);
    let since = Since::of(view.since, before.map(|before| before.since), state_of_old);
    let (mut targets, mut known) = (targets(view), Vec::new());
    for target in &mut targets {
        let before = before.and_then(|all| all.targets.iter().find(|(name, _)| **name == *target.target));
        let same = |old: &&TargetStatus| old.target == target.target && old.state == target.state;
        let of_old = earlier.and_then(|old| old.targets.iter().find(same)).map(|old| old.since);
        let since = Since::of(target.since, before.map(|(_, since)| *since), of_old);
        target.since = since.told;
        known.push((target.target.as_str().into(), since));
    }
    let reason = view.invalid.clone().unwrap_or_else(|| view.reason.clone());
    let (why, message) = match secret_trouble(view) {
        _ if view.invalid.is_some() => ("InvalidSpec", reason.clone()),
        Some(trouble) => trouble,
        None => ("Probing", String::new()),
    };
    let mut conditions = old.map(|old| old.conditions.clone()).unwrap_or_default();
    set_condition(
        &mut conditions,
        Condition {
            kind: READY.to_owned(),
            status: if why == "Probing" { ConditionStatus::True } else { ConditionStatus::False },
            observed_generation: generation,
            last_transition_time: now,
            reason: why.to_owned(),
            message,
        },
    );
    let state = view.state;
    let observed_generation = generation;
    let status = ProbeStatus { state, since: since.told, reason, targets, last_run, observed_generation, conditions };
    let written = Written { hash: hash(&status), since, targets: known.into() };
    (status, written)
}

/// The reason and message of a probe whose last round could not be made for want of a secret.
fn secret_trouble(view: &ProbeView) -> Option<(&'static str, String)> {
    let last = view.targets.iter().filter_map(|target| target.last.as_ref());
    let trouble = last.into_iter().find(|last| last.reason == Some(Reason::Secret))?;
    let reason =
        if SecretError::tells_not_granted(&trouble.message) { "SecretNotGranted" } else { "SecretUnavailable" };
    Some((reason, trouble.message.to_string()))
}

fn hash(status: &ProbeStatus) -> u64 {
    let mut hasher = DefaultHasher::new();
    (status.observed_generation, status.state, status.since, &status.reason, &status.last_run).hash(&mut hasher);
    for condition in &status.conditions {
        (&condition.kind, &condition.reason, &condition.message).hash(&mut hasher);
    }
    for target in &status.targets {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key::new(("shop".to_owned(), format!("p-{number:05}")))
    }

    #[test]
    fn what_turned_is_written_before_ten_thousand_first_states() {
        let mut waiting = Waiting::default();
        waiting.add((0..10_000).map(key));
        waiting.add([key(9_999), key(5)]);
        let next = waiting.take(|_| true, |other| *other == key(7_777));
        assert_eq!((next.len(), &next[0], &next[1]), (AT_ONCE, &key(7_777), &key(0)));
        assert_eq!(waiting.places.len(), 10_000 - AT_ONCE);
    }

    #[test]
    fn an_earlier_instant_stays_while_the_state_does_and_one_that_lies_ahead_never_does() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let taken = Since::of(at(100), None, Some(at(40)));
        assert_eq!(taken, Since { own: at(100), told: at(40) });
        assert_eq!(Since::of(at(100), Some(taken), None), taken);
        assert_eq!(Since::of(at(130), Some(taken), None), Since { own: at(130), told: at(130) });
        assert_eq!(Since::of(at(100), None, Some(at(101))), Since { own: at(100), told: at(100) });
    }

    #[test]
    fn nobody_waits_for_ever_behind_those_whose_names_come_first() {
        let mut waiting = Waiting::default();
        waiting.add([key(9)]);
        waiting.add((0..AT_ONCE).map(key));
        assert_eq!(waiting.take(|_| true, |_| true)[0], key(9));
    }
}
