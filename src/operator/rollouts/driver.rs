//! The watches, and the tasks that look at rollouts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use kube::core::ApiResource;
use kube::runtime::events::{Recorder, Reporter};
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::adapter::Adapter;
use super::decide::{Ask, GateView};
use super::kruise::Kruise;
use super::metrics::Metrics;
use super::queue::{Key, Queue};
use super::standing::Standing;
use super::{gates, watch};
use crate::api::Gate;
use crate::clock::Clock;
use crate::cluster::{Backoff, Scope};
use crate::engine::Ask as Answers;
use crate::store::{Cache, Store};

/// How many rollouts are looked at at once: each look is a few calls to the API server.
const MAX_LOOKS: usize = 16;
/// How long changes of gates are gathered before the rollouts behind them are looked at.
const GATHER: Duration = Duration::from_millis(200);
/// How long the end waits for looks that are under way.
const GRACE: Duration = Duration::from_secs(3);

/// What the operator's part for rollouts stands on.
#[derive(Clone)]
pub struct Parts {
    /// The cluster.
    pub client: Client,
    /// Which of its objects are ours.
    pub scope: Scope,
    /// Every gate.
    pub gates: Cache<Gate>,
    /// Who answers.
    pub ask: Arc<dyn Answers>,
    /// Where the runs are.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The name of this replica, for Events.
    pub replica: String,
}

/// Rollouts that gates stand in front of. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Rollouts {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) parts: Parts,
    pub(super) adapter: Box<dyn Adapter>,
    pub(super) recorder: Recorder,
    pub(super) metrics: Metrics,
    pub(super) queue: Queue,
    pub(super) standing: Standing,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    state: Mutex<State>,
}

/// What is known in memory: nothing that cannot be read again.
#[derive(Default)]
pub(super) struct State {
    /// The version that is served.
    pub(super) resource: Option<ApiResource>,
    /// The last that a watch or a write told of each rollout.
    pub(super) rollouts: BTreeMap<Key, Arc<Value>>,
    /// The workloads of those rollouts: kind, namespace, name.
    pub(super) workloads: BTreeMap<(String, String, String), Key>,
    /// The kinds of workloads that are watched.
    pub(super) kinds: BTreeSet<(String, String)>,
    /// What is remembered from look to look.
    pub(super) known: BTreeMap<Key, Known>,
}

/// What is remembered of one rollout.
#[derive(Default)]
pub(super) struct Known {
    /// Pauses after failures.
    pub(super) backoff: Backoff,
    /// Who gave the word, seen in passing.
    pub(super) hand: Option<String>,
    /// The gates at the last look.
    pub(super) gates: Vec<GateView>,
    /// Since when a step waits.
    pub(super) waiting: Option<Instant>,
    /// When an answer came that was waited for.
    pub(super) answered: Option<Instant>,
    /// The question whose answer is waited for, and who waits.
    pub(super) waiter: Option<(Vec<Ask>, AbortOnDropHandle<()>)>,
    /// It was deleted; this is its last state.
    pub(super) gone: bool,
}

impl Rollouts {
    /// Prepares it; nothing is done before [`Self::run`].
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let reporter = Reporter { controller: "probegate".to_owned(), instance: Some(parts.replica.clone()) };
        let recorder = Recorder::new(parts.client.clone(), reporter);
        let inner = Inner {
            parts,
            adapter: Box::new(Kruise),
            recorder,
            metrics: Metrics::new(),
            queue: Queue::default(),
            standing: Standing::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            state: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Adds the metrics.
    pub fn register(&self, registry: &mut Registry) {
        self.inner.metrics.register(registry);
    }

    /// Watches, holds and lets on until `shutdown`. Only the leader may run it, and only once.
    pub async fn run(&self, shutdown: CancellationToken) {
        let inner = &self.inner;
        let stop = shutdown.child_token();
        let _guard = inner.stop.clone().drop_guard();
        inner.parts.gates.wait_synced().await;
        inner.tasks.spawn(watch::rollouts(Arc::clone(inner)));
        inner.tasks.spawn(follow_gates(Arc::clone(inner)));
        let looks = Arc::new(Semaphore::new(MAX_LOOKS));
        loop {
            let key = tokio::select! {
                () = stop.cancelled() => break,
                key = inner.queue.next() => key,
            };
            let Ok(permit) = Arc::clone(&looks).acquire_owned().await else { break };
            let inner = Arc::clone(inner);
            self.inner.tasks.spawn(async move {
                let _done = Done { inner: &inner, key: &key };
                inner.look_and_plan(&key).await;
                drop(permit);
            });
        }
        inner.stop.cancel();
        inner.lock().known.clear();
        inner.tasks.close();
        if tokio::time::timeout(GRACE, inner.tasks.wait()).await.is_err() {
            tracing::warn!("Some looks at rollouts did not end in time.");
        }
    }
}

/// Says that a look is over, however it ended.
struct Done<'a> {
    inner: &'a Inner,
    key: &'a Key,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.inner.queue.done(self.key);
    }
}

impl Inner {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is remembered of a rollout.
    pub(super) fn remember<T>(&self, key: &Key, change: impl FnOnce(&mut Known) -> T) -> T {
        change(self.lock().known.entry(key.clone()).or_default())
    }

    /// The gates in front of a rollout. One that is named and not there counts only where the
    /// rollout is ours: it may be another operator's gate.
    pub(super) fn gates_of(&self, rollout: &Value) -> Vec<GateView> {
        let mut views = gates::of_rollout(self.adapter.as_ref(), &self.parts.gates.all(), rollout);
        if views.iter().any(|view| view.missing) {
            let metadata = rollout.get("metadata").cloned().and_then(|value| serde_json::from_value(value).ok());
            let ours = metadata.is_some_and(|metadata| self.parts.scope.has(&metadata));
            views.retain(|view| !view.missing || ours);
        }
        views
    }

    async fn look_and_plan(self: &Arc<Self>, key: &Key) {
        let looked = self.look(key).await;
        match looked {
            Ok(after) => {
                self.remember(key, |known| known.backoff.reset());
                if let Some(after) = after {
                    self.queue.push(key.clone(), after);
                }
            }
            Err(error) => {
                self.metrics.errors.inc();
                let pause = self.remember(key, |known| {
                    let first = known.backoff.is_fresh();
                    (first, known.backoff.pause_at_least(error.retry_after()))
                });
                let (namespace, name) = key;
                if pause.0 {
                    tracing::warn!(%error, namespace, name, "A rollout could not be looked at; it is tried again.");
                } else {
                    tracing::debug!(%error, namespace, name, "A rollout could not be looked at again.");
                }
                self.queue.push(key.clone(), pause.1);
            }
        }
    }
}

/// Looks again at the rollouts whose gates have changed.
async fn follow_gates(inner: Arc<Inner>) {
    let mut changes = inner.parts.gates.changes();
    loop {
        tokio::select! {
            () = inner.stop.cancelled() => return,
            news = changes.changed() => if news.is_err() { return },
        }
        tokio::time::sleep(GATHER).await;
        changes.mark_unchanged();
        let all: Vec<(Key, Arc<Value>)> =
            inner.lock().rollouts.iter().map(|(key, rollout)| (key.clone(), Arc::clone(rollout))).collect();
        let gates = inner.parts.gates.all();
        for (key, rollout) in all {
            let now = gates::of_rollout(inner.adapter.as_ref(), &gates, &rollout);
            let same = inner.lock().known.get(&key).is_some_and(|known| known.gates == now);
            if !same {
                inner.queue.push(key, Duration::ZERO);
            }
        }
    }
}
