//! Where the states and the recent rounds of all probes can be read, and rounds asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, broadcast, watch};

use super::entry::{Around, Entry, Key, Settled, Told};
use super::events::Transition;
use super::metrics::Metrics;
use crate::api::LastRun;
use crate::clock::Clock;
use crate::model::ProbeState;
use crate::probes::aggregate::Why;
use crate::probes::history::{Archive, Batch, Known, Series, StateTurn};
use crate::probes::view::ProbeSelector;

/// How many turns a reader of events may lag behind before it loses some: an outage of a thousand
/// probes is one burst.
const MAX_TRANSITIONS: usize = 2_048;

/// The board. Cheap to clone; all clones are one board.
#[derive(Clone)]
pub struct Board {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    clock: Arc<dyn Clock>,
    entries: RwLock<BTreeMap<Key, Arc<Entry>>>,
    /// Counts changes of states and of the set of probes; 0 until the first list has arrived.
    version: watch::Sender<u64>,
    /// The last run by hand of each probe that had one.
    runs: Mutex<BTreeMap<Key, LastRun>>,
    /// Whose status is to be written.
    dirty: Mutex<BTreeSet<Key>>,
    written: Notify,
    transitions: broadcast::Sender<Arc<Transition>>,
    metrics: Metrics,
    /// What outlives the process; without it only the recent past is known.
    pub(super) archive: Option<Arc<dyn Archive>>,
    /// What is to be handed over to it.
    pub(super) outgoing: Mutex<Batch>,
    /// The last states that an earlier process knew.
    pub(super) before: OnceLock<BTreeMap<Key, Known>>,
}

impl Board {
    pub(super) fn new(clock: Arc<dyn Clock>, archive: Option<Arc<dyn Archive>>) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock,
                entries: RwLock::default(),
                version: watch::Sender::new(0),
                runs: Mutex::default(),
                dirty: Mutex::default(),
                written: Notify::new(),
                transitions: broadcast::Sender::new(MAX_TRANSITIONS),
                metrics: Metrics::default(),
                archive,
                outgoing: Mutex::default(),
                before: OnceLock::new(),
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

    /// The turns of states from now on, without those of probes that flap. A reader that lags behind loses the oldest.
    #[must_use]
    pub fn transitions(&self) -> broadcast::Receiver<Arc<Transition>> {
        self.shared.transitions.subscribe()
    }

    /// Hands over the engine's metrics.
    pub fn register(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
        registry.register_collector(Box::new(super::collector::PerProbe::new(self.clone())));
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    pub(super) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Key, Arc<Entry>>> {
        self.shared.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Key, Arc<Entry>>> {
        self.shared.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn dirty(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.shared.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn entry(&self, key: &Key) -> Option<Arc<Entry>> {
        self.read().get(key).cloned()
    }

    pub(super) fn named(&self, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        self.read().get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        self.read().values().cloned().collect()
    }

    pub(super) fn selected(&self, selector: &ProbeSelector) -> Vec<Arc<Entry>> {
        let entries = self.read();
        entries.values().filter(|entry| selector.matches(&entry.key, &entry.labels)).cloned().collect()
    }

    /// Puts a probe on the board in the place of what was there.
    pub(super) fn put(&self, entry: &Arc<Entry>) {
        let before = self.write().insert(Arc::clone(&entry.key), Arc::clone(entry));
        self.metrics().turn(before.map(|entry| entry.state()), Some(entry.state()));
        self.touched(&entry.key);
    }

    /// Has the status of a probe tell of a run by hand.
    pub fn note_run(&self, namespace: &str, name: &str, run: LastRun) {
        if let Some(entry) = self.named(namespace, name) {
            self.runs().insert(Arc::clone(&entry.key), run);
            self.touched(&entry.key);
        }
    }

    /// The last run by hand that is known here.
    pub(super) fn last_run(&self, key: &Key) -> Option<LastRun> {
        self.runs().get(key).cloned()
    }

    fn runs(&self) -> MutexGuard<'_, BTreeMap<Key, LastRun>> {
        self.shared.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remove(&self, key: &Key) {
        self.runs().remove(key);
        let gone = self.write().remove(key);
        self.metrics().turn(gone.map(|entry| entry.state()), None);
    }

    /// Ends all probing; what is known stays, and grows stale.
    pub(super) fn end(&self) {
        self.read().values().for_each(|entry| entry.end());
    }

    pub(super) fn announce(&self) {
        self.shared.version.send_modify(|version| *version += 1);
    }

    fn touched(&self, key: &Key) {
        self.dirty().insert(Arc::clone(key));
        self.shared.written.notify_one();
    }

    /// What others say of a probe.
    pub(super) fn around(&self, entry: &Entry) -> Around {
        let mut around = Around::default();
        for explainer in entry.explainers().iter() {
            let Some(other) = self.entry(&explainer.key).filter(|other| other.state() == ProbeState::Down) else {
                continue;
            };
            if explainer.parent {
                around.parents_down.push(other.key.1.clone());
            } else {
                around.self_check.get_or_insert_with(|| other.title());
            }
        }
        around
    }

    /// Judges a probe anew, and those that it explains, where it turns.
    pub(super) fn settle(&self, entry: &Arc<Entry>) {
        let now = self.now();
        let Settled::Anew(before) = entry.settle(&self.around(entry), now) else { return };
        // A newer entry may have taken its place meanwhile: then this one is of no interest.
        if self.entry(&entry.key).is_none_or(|current| !Arc::ptr_eq(&current, entry)) {
            return;
        }
        self.touched(&entry.key);
        let Some(told) = entry.told() else { return };
        if told.announced != before.as_ref().map_or(ProbeState::Unknown, |told| told.announced) {
            self.tell(entry, before.as_ref(), &told);
        }
        let from = before.as_ref().map_or(ProbeState::Unknown, |told| told.standing.state);
        if told.standing.state != from {
            self.turned(entry, from, told.standing.state);
        }
    }

    /// Tells everybody that follows the turns.
    fn tell(&self, entry: &Entry, before: Option<&Told>, told: &Told) {
        let (from, to) = (before.map_or(ProbeState::Unknown, |told| told.announced), told.announced);
        let (namespace, name) = &*entry.key;
        let reason = &told.standing.reason;
        tracing::info!(namespace, probe = name, %from, %to, reason, "A probe has changed its state.");
        let turn = StateTurn { at: told.since, from, to, reason: reason.clone() };
        self.outgoing().turns.push((Arc::new(Series::probe(namespace, name)), turn));
        let first = before.is_none_or(|told| told.standing.why == Why::WarmUp);
        let earlier = self.before(&entry.key).filter(|_| first).map(|known| known.state);
        let transition = Transition {
            namespace: namespace.clone(),
            name: name.clone(),
            from,
            first,
            earlier,
            to,
            at: told.since,
            reason: reason.clone(),
            why: told.standing.why,
        };
        let _ = self.shared.transitions.send(Arc::new(transition));
    }

    fn turned(&self, entry: &Entry, from: ProbeState, to: ProbeState) {
        self.metrics().turn(Some(from), Some(to));
        self.announce();
        let explained = |other: &Arc<Entry>| other.explainers().iter().any(|explainer| explainer.key == entry.key);
        for other in self.entries().iter().filter(|other| explained(other)) {
            self.settle(other);
        }
    }

    /// Looks for states that have become stale, and for windows that have turned.
    pub(super) fn tick(&self, away: impl Fn(&Entry, Timestamp) -> Option<super::Away>) {
        let now = self.now();
        for entry in self.entries() {
            let Ok((_, plan)) = &entry.plan else { continue };
            let mut turned = entry.set_away(away(&entry, now));
            for record in entry.records() {
                let (turn, finished) = record.tick(now, &plan.rules);
                turned |= turn.is_some();
                self.keep(&record, finished);
            }
            if turned {
                self.settle(&entry);
            }
        }
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

    /// Takes the names of those whose status is to be written by now.
    pub(super) fn dirty_now(&self) -> BTreeSet<Key> {
        std::mem::take(&mut *self.dirty())
    }
}
