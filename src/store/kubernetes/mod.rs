//! The home in a Kubernetes cluster: the API server keeps the resources, this module reads and
//! writes them.
//!
//! One watch for each kind (or for each kind in each of several namespaces) feeds an index in
//! memory; everybody who watches or lists within the program reads that one. What stays in memory is
//! compact text, of runs only the overview: their evidence is fetched when somebody asks for it.
//!
//! - **get** asks the API server, always.
//! - **list with labels** asks the API server, always, and sorts what it answers: it is how runs are
//!   found before one is created, by any replica, so it must not be old.
//! - **list without labels** answers from the index, after our own writes have come back to it. What
//!   others have written shows some milliseconds later. Runs are fetched one by one, unless the
//!   query is brief.
//! - **Order**: newest first by creationTimestamp, which has no more than seconds, then by name.
//! - **`decided`** is filtered here: an API server can select by a field of its own, not by an
//!   element of the list of conditions, and one watch without a field selector serves every query.
//! - **put** without a version reads, compares and replaces, and begins again when somebody else was
//!   faster. **`put_status`** is one server-side apply on `/status`.
//! - **create** with a status is two calls. Where the second does not succeed the object is there
//!   without its status and an error is answered; whoever asks again gets [`StoreError::Exists`].
//!
//! Objects outside of the [`Scope`] do not exist here. While the API server is away the index stays
//! in use for watches, lists from it are refused once it may be old, and writes say that the home is
//! unavailable; it recovers by itself.

mod bodies;
mod calls;
mod errors;
mod hub;
mod index;
mod kinds;
mod list;
mod metrics;
mod retention;
mod subscribe;
mod upstream;
mod write;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub use metrics::HomeMetrics;
pub use retention::{MAX_RUNS, RUNS_PER_GATE};

use self::calls::Calls;
use self::hub::Hub;
use self::kinds::{KINDS, Known};
use super::{Object, Page, Query, Store, StoreError, WatchEvent, limits};
use crate::cluster::{ApiError, Connection, Scope};

/// An answer this recent proves that the API server is there.
const READY_FOR: Duration = Duration::from_secs(1);
/// How long the readiness check waits for an answer; whoever asks does not wait longer.
const READY_SOON: Duration = Duration::from_millis(500);
/// How long the first answer is waited for: somebody at a terminal is told after this time.
const READY_FIRST: Duration = Duration::from_secs(5);
/// How long ago the last answer may be where the next one is late: an API server that needs seconds for
/// a call is slow and not away.
const READY_SLOW: Duration = Duration::from_secs(10);

/// The home in a cluster. When it is dropped its watches end.
pub struct KubernetesStore {
    calls: Calls,
    hubs: [OnceLock<Arc<Hub>>; KINDS.len()],
    /// The version of our last write of each kind: a list from memory waits for it.
    written: [AtomicU64; KINDS.len()],
    tasks: Mutex<Vec<AbortHandle>>,
    metrics: HomeMetrics,
    pulse: Arc<Mutex<Pulse>>,
}

/// What was heard of the API server last.
#[derive(Debug, Default)]
struct Pulse {
    answered: Option<Instant>,
    /// Why it did not answer the last question whether it is there.
    trouble: Option<ApiError>,
}

impl KubernetesStore {
    /// The home over a connection. Watches begin with their first reader; the API server is asked
    /// nothing yet.
    #[must_use]
    pub fn open(connection: &Connection, scope: Scope) -> Arc<Self> {
        Arc::new(Self {
            calls: Calls::new(connection.client(), scope),
            hubs: Default::default(),
            written: Default::default(),
            tasks: Mutex::default(),
            metrics: HomeMetrics::default(),
            pulse: Arc::default(),
        })
    }

    /// Its metrics, to be registered.
    #[must_use]
    pub const fn metrics(&self) -> &HomeMetrics {
        &self.metrics
    }

    /// Which objects it sees.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        &self.calls.scope
    }

    /// Whether objects of a kind can be listed everywhere in the scope, asked of the API server itself: a
    /// watch would try for ever.
    ///
    /// # Errors
    /// Why not.
    pub async fn readable(&self, kind: &'static str) -> Result<(), StoreError> {
        let (_, kind) = Self::kind(kind)?;
        let labels = self.calls.scope.label_selector();
        for place in self.calls.scope.places() {
            let page = self.calls.page(kind, place.as_deref(), &labels, 1, None).await;
            page.map_err(|error| errors::unavailable(&format!("listing {}", kind.plural), &error))?;
        }
        self.note_answered();
        Ok(())
    }

    fn kind(kind: &'static str) -> Result<(usize, &'static Known), StoreError> {
        kinds::find(kind).ok_or_else(|| StoreError::Invalid(format!("there is no kind {kind}")))
    }

    /// The hub of a kind; the first who asks begins its watches.
    fn hub(&self, number: usize, kind: &'static Known) -> Arc<Hub> {
        let begin = || {
            let places = self.calls.scope.places();
            let hub = Arc::new(Hub::new(kind, places.clone(), self.metrics.clone()));
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            for (part, place) in places.into_iter().enumerate() {
                let follow = upstream::follow(Arc::clone(&hub), self.calls.clone(), part, place);
                tasks.push(tokio::spawn(follow).abort_handle());
            }
            hub
        };
        self.hubs.get(number).map_or_else(begin, |place| Arc::clone(place.get_or_init(begin)))
    }

    /// The hub of a kind, where somebody reads it.
    fn running(&self, number: usize) -> Option<&Arc<Hub>> {
        self.hubs.get(number)?.get()
    }

    /// Whether every kind that somebody reads was listed and is not too old.
    fn watching(&self) -> Result<(), StoreError> {
        self.hubs.iter().filter_map(OnceLock::get).try_for_each(|hub| hub.not_too_old())
    }

    fn note_written(&self, number: usize, version: Option<u64>) {
        if let (Some(written), Some(version)) = (self.written.get(number), version) {
            written.fetch_max(version, Ordering::AcqRel);
        }
        self.note_answered();
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_answered(&self) {
        *self.pulse() = Pulse { answered: Some(Instant::now()), trouble: None };
    }

    /// How long ago the API server has answered.
    fn since_answer(&self) -> Option<Duration> {
        self.pulse().answered.map(|at| at.elapsed())
    }

    /// Has the API server asked whether it is there, and hears of it, at once or later.
    fn knock(&self, kind: &'static Known) -> oneshot::Receiver<Result<(), ApiError>> {
        let (tell, told) = oneshot::channel();
        let (calls, pulse) = (self.calls.clone(), Arc::clone(&self.pulse));
        tokio::spawn(async move {
            let (place, labels) = (calls.scope.places().into_iter().next().flatten(), calls.scope.label_selector());
            let page = calls.page(kind, place.as_deref(), &labels, 1, None);
            let Ok(page) = tokio::time::timeout(READY_SLOW, page).await else { return };
            let mut heard = pulse.lock().unwrap_or_else(PoisonError::into_inner);
            match &page {
                Ok(_) => *heard = Pulse { answered: Some(Instant::now()), trouble: None },
                Err(error) => heard.trouble = Some(error.clone()),
            }
            drop(heard);
            // Nobody may be waiting any more.
            let _ = tell.send(page.map(|_| ()));
        });
        told
    }

    /// Whether there can be such an object: what is no name must not become a part of a path.
    fn can_be(&self, namespace: &str, name: &str) -> bool {
        self.calls.scope.has_namespace(namespace)
            && limits::check_namespace(namespace).is_ok()
            && limits::check_name(name).is_ok()
    }
}

impl Drop for KubernetesStore {
    fn drop(&mut self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

#[async_trait]
impl Store for KubernetesStore {
    async fn get(&self, kind: &'static str, namespace: &str, name: &str) -> Result<Option<Object>, StoreError> {
        let (_, kind) = Self::kind(kind)?;
        if !self.can_be(namespace, name) {
            return Ok(None);
        }
        self.read(kind, namespace, name).await
    }

    async fn list(&self, kind: &'static str, query: &Query) -> Result<Page<Object>, StoreError> {
        let (number, kind) = Self::kind(kind)?;
        if query.labels.is_empty() {
            return self.list_indexed(number, kind, query).await;
        }
        self.list_labelled(kind, query).await
    }

    fn watch(&self, kind: &'static str, query: Query) -> BoxStream<'static, Result<WatchEvent<Object>, StoreError>> {
        match Self::kind(kind) {
            Ok((number, kind)) => subscribe::watch(self.hub(number, kind), self.calls.clone(), query),
            Err(error) => stream::iter([Err(error)]).chain(stream::pending()).boxed(),
        }
    }

    async fn create(&self, object: Object) -> Result<Object, StoreError> {
        let (number, kind) = Self::kind(object.kind)?;
        self.check(&object)?;
        self.create_object(number, kind, object).await
    }

    async fn put(&self, object: Object) -> Result<Object, StoreError> {
        let (number, kind) = Self::kind(object.kind)?;
        self.check(&object)?;
        self.replace_object(number, kind, object).await
    }

    async fn put_status(&self, object: Object) -> Result<Object, StoreError> {
        let (number, kind) = Self::kind(object.kind)?;
        self.check(&object)?;
        self.apply_status(number, kind, object).await
    }

    async fn delete(
        &self,
        kind: &'static str,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<(), StoreError> {
        let (number, kind) = Self::kind(kind)?;
        if !self.can_be(namespace, name) {
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            return Err(StoreError::NotFound { kind: kind.kind, namespace, name });
        }
        self.delete_object(number, kind, namespace, name, version).await
    }

    async fn current(&self) -> Result<(), StoreError> {
        self.watching()
    }

    async fn ready(&self) -> Result<(), StoreError> {
        if self.since_answer().is_some_and(|ago| ago < READY_FOR) {
            return self.watching();
        }
        let doing = "looking whether the API server answers";
        let (_, kind) = Self::kind("Gate")?;
        let heard = {
            let pulse = self.pulse();
            pulse.answered.is_some() || pulse.trouble.is_some()
        };
        let patience = if heard { READY_SOON } else { READY_FIRST };
        match tokio::time::timeout(patience, self.knock(kind)).await {
            Ok(Ok(Ok(()))) => self.watching(),
            Ok(Ok(Err(error))) => Err(errors::unavailable(doing, &error)),
            Ok(Err(_)) | Err(_) if self.since_answer().is_some_and(|ago| ago < READY_SLOW) => self.watching(),
            Ok(Err(_)) | Err(_) => {
                let why = self.pulse().trouble.as_ref().map(ApiError::why);
                let why = why.unwrap_or_else(|| "the API server does not answer".to_owned());
                Err(StoreError::Unavailable { doing: doing.to_owned(), why })
            }
        }
    }
}
