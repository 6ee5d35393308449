//! The engine as a service: answers questions, adopts runs that others have created, and resumes
//! those that a restart has interrupted.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use lru::LruCache;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer;
use super::ask::{Answer, Ask, AskError};
use super::executor::MAX_EXECUTIONS;
use super::lead::Lead;
use super::metrics::Metrics;
use super::onlooker::LookedOn;
use super::open::{OpenRuns, Order};
use super::record::run_name;
use crate::api::{Gate, GateRun, GateRunStatus, LABEL_QUESTION, Override};
use crate::checks::Table;
use crate::clock::Clock;
use crate::gate::Moment;
use crate::model::{Question, QuestionKey};
use crate::store::{Cache, Object, Query, Store, StoreExt, WatchEvent};

/// The most decided runs that are kept in memory to answer at once; about 2 KB each.
const MAX_DECIDED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4_095);
/// Locks over questions: two questions seldom share one, and it is held only while a run is looked
/// up or created.
const LOCKS: usize = 64;
/// How long the end of the program waits for open runs to notice it.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// What the engine stands on.
#[derive(Clone)]
pub struct Parts {
    /// Where runs are kept.
    pub store: Arc<dyn Store>,
    /// Every gate.
    pub gates: Cache<Gate>,
    /// Every override.
    pub overrides: Cache<Override>,
    /// The kinds of checks.
    pub table: Table,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The cluster of changes that name none.
    pub cluster: Option<String>,
    /// Whether this process drives runs, or others do.
    pub lead: Lead,
}

/// The driver of runs. Cheap to clone; all clones are one engine.
#[derive(Clone)]
pub struct Engine {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) parts: Parts,
    pub(super) open: OpenRuns,
    pub(super) looked_on: LookedOn,
    decided: Mutex<LruCache<QuestionKey, Arc<Remembered>>>,
    locks: Vec<tokio::sync::Mutex<()>>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) metrics: Metrics,
}

/// A decided run in memory.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) run: GateRun,
    pub(super) id: String,
    /// The version of the overrides that it was held against.
    pub(super) overrides: u64,
}

impl Engine {
    /// An engine that answers; [`Engine::run`] has to be polled for runs that others create.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            inner: Arc::new(Inner {
                parts,
                open: OpenRuns::default(),
                looked_on: LookedOn::default(),
                decided: Mutex::new(LruCache::new(MAX_DECIDED)),
                locks: (0..LOCKS).map(|_| tokio::sync::Mutex::new(())).collect(),
                permits: Arc::new(Semaphore::new(MAX_EXECUTIONS)),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
                metrics: Metrics::new(),
            }),
        }
    }

    /// Adds the engine's metrics.
    pub fn register(&self, registry: &mut Registry) {
        self.inner.metrics.register(registry);
    }

    /// Takes up open runs from the store until `shutdown`: those that a restart has interrupted,
    /// and those that somebody has created there. Then lets go of all runs; they stay open in the
    /// store. Where another replica leads, it looks on until this one does.
    pub async fn run(&self, shutdown: CancellationToken) {
        self.inner.parts.gates.wait_synced().await;
        self.inner.parts.overrides.wait_synced().await;
        if !self.inner.parts.lead.now() {
            self.look_on_until_leading(&shutdown).await;
        }
        let query = Query { decided: Some(false), ..Query::default() };
        let mut open = self.inner.parts.store.watch("GateRun", query);
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => break,
                event = open.next() => event,
            };
            match event {
                Some(Ok(WatchEvent::Listed(objects))) => self.listed(objects).await,
                Some(Ok(WatchEvent::Applied(object))) => self.adopt(object).await,
                Some(Ok(WatchEvent::Deleted(object))) => {
                    self.gone(&object.namespace, &object.name).await;
                }
                Some(Err(error)) => tracing::warn!(%error, "The watch on open runs is in trouble."),
                None => break,
            }
        }
        self.inner.stop.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(SHUTDOWN_GRACE, self.inner.tasks.wait()).await.is_err() {
            tracing::warn!("Some runs did not let go in time; they stay open and are resumed at the next start.");
        }
    }

    /// What a run cannot begin without and is still not there after `wait`: an absence means nothing
    /// before the first list.
    async fn not_known_yet(&self, wait: Duration) -> Option<&'static str> {
        let parts = &self.inner.parts;
        if !parts.gates.synced() || !parts.overrides.synced() {
            let both = async { tokio::join!(parts.gates.wait_synced(), parts.overrides.wait_synced()) };
            // What is known by then is looked at below.
            let _ = tokio::time::timeout(wait, both).await;
        }
        match (parts.gates.synced(), parts.overrides.synced()) {
            (false, _) => Some("the gates"),
            (true, false) => Some("the overrides"),
            (true, true) => None,
        }
    }

    /// Takes up what is listed, and ends what goes on here but is not there any more.
    async fn listed(&self, objects: Vec<Object>) {
        let listed: HashSet<String> =
            objects.iter().map(|object| format!("{}/{}", object.namespace, object.name)).collect();
        for id in self.inner.open.ids() {
            if let Some((namespace, name)) = id.split_once('/').filter(|_| !listed.contains(&id)) {
                self.gone(namespace, name).await;
            }
        }
        for object in objects {
            self.adopt(object).await;
        }
    }

    /// A run has left the watch: one that was decided does so as well, so only one that is not in
    /// the store any more was deleted, which cancels it.
    async fn gone(&self, namespace: &str, name: &str) {
        let Some(open) = self.inner.open.by_id(&format!("{namespace}/{name}")) else { return };
        if let Ok(None) = self.inner.parts.store.get("GateRun", namespace, name).await {
            let order = Order::Cancel { actor: "deletion".to_owned(), reason: "the run was deleted".to_owned() };
            // A full queue has an earlier order in it, which ends the run as well.
            let _ = open.orders.try_send(order);
        }
    }
}

impl Inner {
    /// Both clocks.
    pub(super) fn moment(&self) -> Moment {
        Moment { wall: self.parts.clock.now(), mono: self.parts.clock.elapsed() }
    }

    /// Held while a question's run is looked up or created.
    pub(super) async fn lock(&self, key: QuestionKey) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let text = key.to_string();
        let place = text.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        let lock = self.locks.get(place % LOCKS)?;
        Some(lock.lock().await)
    }

    pub(super) fn remembered(&self, key: QuestionKey) -> Option<Arc<Remembered>> {
        // What others write to the same store, such as that a verdict is void, is not known here.
        if self.parts.lead.is_shared() {
            return None;
        }
        self.decided.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    pub(super) fn remember(&self, key: QuestionKey, run: GateRun) {
        if self.parts.lead.is_shared() {
            return;
        }
        let id = super::record::id_of(&run);
        let overrides = *self.parts.overrides.changes().borrow();
        let remembered = Arc::new(Remembered { run, id, overrides });
        self.decided.lock().unwrap_or_else(PoisonError::into_inner).put(key, remembered);
    }

    pub(super) fn forget(&self, key: QuestionKey) {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner).pop(&key);
    }
}

#[async_trait]
impl Ask for Engine {
    async fn ask(&self, question: Question, wait: Duration) -> Result<Answer, AskError> {
        let question = self.admitted(question)?;
        let key = question.key();
        if let Some(unknown) = self.not_known_yet(wait).await {
            let id = format!("{}/{}", question.namespace, run_name(&question, 1));
            return Ok(answer::trouble(id, format!("{unknown} are not known yet: the program is starting")));
        }
        if let Some(answer) = self.remembered_answer(key) {
            self.inner.metrics.answers_from_memory.inc();
            return Ok(answer);
        }
        self.answer_of_run(question, key, wait).await
    }

    async fn cancel(&self, namespace: &str, run: &str, actor: &str, reason: &str) -> Result<Answer, AskError> {
        let id = format!("{namespace}/{run}");
        let open = self.inner.open.by_id(&id).filter(|_| self.inner.parts.lead.now());
        let open = match open {
            Some(open) => {
                let order = Order::Cancel { actor: actor.to_owned(), reason: reason.to_owned() };
                if open.orders.send(order).await.is_err() {
                    return Err(AskError::Decided(id));
                }
                open
            }
            None => match self.inner.parts.store.get_as::<GateRun>(namespace, run).await {
                Ok(Some(run))
                    if run.status.as_ref().is_some_and(|status: &GateRunStatus| status.decided_at.is_some()) =>
                {
                    return Err(AskError::Decided(id));
                }
                Ok(Some(_)) if self.inner.parts.lead.now() => {
                    return Ok(answer::trouble(id, "the run is being taken up: try again".to_owned()));
                }
                Ok(Some(run)) => match self.wish_to_cancel(&run, actor, reason).await {
                    Ok(open) => open,
                    Err(error) => return Ok(answer::trouble(id, error.to_string())),
                },
                Ok(None) => return Err(AskError::NoRun(id)),
                Err(error) => return Ok(answer::trouble(id, error.to_string())),
            },
        };
        let snapshot = open.wait(Duration::from_secs(10)).await;
        let now = self.inner.parts.clock.now();
        Ok(answer::of_status(&id, &snapshot.status, snapshot.retry_after, now))
    }
}

/// The question that a stored run is an attempt at, by its label.
pub(super) fn labelled_key(run: &GateRun) -> Option<String> {
    run.metadata.labels.as_ref()?.get(LABEL_QUESTION).cloned()
}
