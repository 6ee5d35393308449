//! Where the states and the recent rounds of all probes can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, watch};

use super::metrics::Metrics;
use super::result::{Observation, Reason};
use super::schedule::Plan;
use super::slot::Slot;
use super::state::Cause;
use super::view::{ProbeSelector, ProbeView, Round};
use crate::clock::Clock;
use crate::model::{Labels, ProbeState};

/// Namespace and name.
pub(super) type Key = (String, String);

/// The board. Cheap to clone; all clones are one board.
#[derive(Clone)]
pub struct Board {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    slots: RwLock<BTreeMap<Key, Slot>>,
    /// Counts changes of states and of the set of probes; 0 until the first list has arrived.
    version: watch::Sender<u64>,
    /// Whose status is to be written.
    dirty: Mutex<BTreeSet<Key>>,
    written: Notify,
    metrics: Metrics,
}

impl Board {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock,
                slots: RwLock::default(),
                version: watch::Sender::new(0),
                dirty: Mutex::default(),
                written: Notify::new(),
                metrics: Metrics::default(),
            }),
        }
    }

    /// Whether the engine has seen which probes there are: before that an absence means nothing.
    #[must_use]
    pub fn synced(&self) -> bool {
        *self.shared.version.borrow() > 0
    }

    /// Tells of every change of a state and of the set of probes from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// The selected probes, by namespace and name.
    #[must_use]
    pub fn states(&self, selector: &ProbeSelector) -> Vec<ProbeView> {
        let now = self.shared.clock.now();
        let slots = self.read();
        slots
            .iter()
            .filter(|(key, slot)| selector.matches(key, &slot.labels))
            .map(|(key, slot)| slot.view(key, now))
            .collect()
    }

    /// All probes, by namespace and name.
    #[must_use]
    pub fn all(&self) -> Vec<ProbeView> {
        let now = self.shared.clock.now();
        self.read().iter().map(|(key, slot)| slot.view(key, now)).collect()
    }

    /// One probe.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<ProbeView> {
        let key = (namespace.to_owned(), name.to_owned());
        let now = self.shared.clock.now();
        self.read().get(&key).map(|slot| slot.view(&key, now))
    }

    /// The rounds of a probe that began at `since` or later, oldest first; at most the last
    /// [`super::MAX_ROUNDS`].
    #[must_use]
    pub fn rounds_since(&self, namespace: &str, name: &str, since: Timestamp) -> Vec<Round> {
        let slots = self.read();
        let rounds = slots.get(&(namespace.to_owned(), name.to_owned())).map(Slot::rounds);
        rounds.into_iter().flatten().filter(|round| round.at >= since).cloned().collect()
    }

    /// Hands over the engine's metrics.
    pub fn register(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Key, Slot>> {
        self.shared.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Key, Slot>> {
        self.shared.slots.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn dirty(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.shared.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touched(&self, key: &Key) {
        self.dirty().insert(key.clone());
        self.shared.written.notify_one();
    }

    pub(super) fn announce(&self) {
        self.shared.version.send_modify(|version| *version += 1);
    }

    /// Puts a probe on the board. Its state and rounds stay, unless another target makes them
    /// meaningless (`anew`).
    pub(super) fn put(&self, key: &Key, labels: Labels, plan: Result<(&'static str, Plan), String>, anew: bool) {
        let now = self.shared.clock.now();
        let mut slots = self.write();
        let before = slots.get(key).map(|slot| slot.machine.state());
        match slots.get_mut(key).filter(|slot| !anew && slot.plan.is_ok() && plan.is_ok()) {
            Some(slot) => {
                slot.labels = labels;
                slot.plan = plan;
            }
            None => {
                slots.insert(key.clone(), Slot::new(labels, plan, now));
            }
        }
        let after = slots.get(key).map(|slot| slot.machine.state());
        drop(slots);
        self.metrics().turn(before, after);
        self.touched(key);
    }

    pub(super) fn remove(&self, key: &Key) {
        let gone = self.write().remove(key);
        self.metrics().turn(gone.map(|slot| slot.machine.state()), None);
    }

    pub(super) fn observed(&self, key: &Key) -> bool {
        self.read().get(key).is_some_and(Slot::observed)
    }

    pub(super) fn missed(&self, key: &Key, slots: u32) {
        if let Some(slot) = self.write().get_mut(key) {
            slot.miss(slots);
        }
        self.metrics().missed(slots);
    }

    /// Takes a round that began at `at`.
    pub(super) fn round(&self, key: &Key, at: Timestamp, seen: Observation) {
        let now = self.shared.clock.now();
        let mut slots = self.write();
        let Some(slot) = slots.get_mut(key) else { return };
        let Ok((kind, _)) = slot.plan else { return };
        let reason = seen.reason.map_or("none", Reason::as_str);
        self.metrics().round(kind, seen.judgement(), reason, seen.durations.total().as_secs_f64());
        let turned = slot.take(at, now, seen).map(|before| (before, slot.standing()));
        drop(slots);
        if let Some((before, standing)) = turned {
            self.changed(key, before, &standing);
        }
    }

    /// Looks for states that have become stale.
    pub(super) fn tick(&self) {
        let now = self.shared.clock.now();
        let mut turned = Vec::new();
        for (key, slot) in self.write().iter_mut() {
            if let Some(before) = slot.tick(now) {
                turned.push((key.clone(), before, slot.standing()));
            }
        }
        for (key, before, standing) in turned {
            self.changed(&key, before, &standing);
        }
    }

    fn changed(&self, key: &Key, before: ProbeState, (state, _, reason): &(ProbeState, Timestamp, String)) {
        self.metrics().turn(Some(before), Some(*state));
        let (namespace, name) = key;
        tracing::info!(namespace, probe = name, from = %before, to = %state, reason, "A probe has changed its state.");
        self.touched(key);
        self.announce();
    }

    /// Waits until the status of some probe is to be written, and takes their names.
    pub(super) async fn take_dirty(&self) -> BTreeSet<Key> {
        loop {
            self.shared.written.notified().await;
            let dirty = std::mem::take(&mut *self.dirty());
            if !dirty.is_empty() {
                return dirty;
            }
        }
    }

    /// Asks for a status to be written later.
    pub(super) fn put_off(&self, key: Key) {
        self.dirty().insert(key);
        self.shared.written.notify_one();
    }

    /// What stands in a probe's status, whether it is valid, and whether it is only warming up.
    pub(super) fn standing(&self, key: &Key) -> Option<(ProbeState, Timestamp, String, bool, bool)> {
        self.read().get(key).map(|slot| {
            let (state, since, reason) = slot.standing();
            (state, since, reason, slot.plan.is_ok(), slot.machine.cause() == Cause::WarmUp)
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }
}
