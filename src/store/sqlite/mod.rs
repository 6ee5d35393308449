//! The embedded home: SQLite in a directory.
//!
//! The directory holds `probegate.db`, its log `probegate.db-wal` with `probegate.db-shm`, and
//! `probegate.lock`, which keeps a second process out.
//!
//! One thread writes: what waits for it goes into one transaction with one fsync, and is answered
//! after that. A few connections read beside it. Every change counts the revision up, which is the
//! resourceVersion; a resource's place in a list is the revision that created it, so that a clock
//! that steps back changes nothing. A watch is fed by the writer, after the commit.
//!
//! A small database is looked through for damage before it is used, a large one while it is. Once
//! damage was seen nothing is written any more and the store is not ready: it needs a person. A
//! full or read-only disk refuses writes for as long as it lasts.

mod check;
mod error;
mod feed;
mod health;
mod metrics;
mod open;
mod pool;
mod read;
mod retention;
mod rows;
mod schema;
mod write;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::stream::BoxStream;

pub use error::OpenError;
pub use metrics::StoreMetrics;

pub use super::retention::{DEFAULT_AGE, DEFAULT_RUNS, Forgotten, MAX_RUNS, OVERRIDE_AGE, Retention};

use self::check::Check;
use self::feed::Feed;
use self::health::Health;
use self::open::Place;
use self::pool::Pool;
use self::write::{Write, Written};
use self::writer::{Desk, Writer};
use super::retention::Opened;
use super::{Object, Page, Query, Store, StoreError, WatchEvent, limits};
use crate::api::{Gate, GateRun, Override, Probe, ReleaseWindow, Resource};
use crate::clock::{Clock, SystemClock};

/// The kinds that metrics tell apart.
const KINDS: [&str; 5] = [Gate::KIND, GateRun::KIND, Override::KIND, Probe::KIND, ReleaseWindow::KIND];
/// A write this recent proves that writing works.
const READY_FOR: Duration = Duration::from_secs(1);
/// How long the readiness check waits for a disk that does not answer.
const READY_TIMEOUT: Duration = Duration::from_secs(3);

/// How to open the embedded home.
#[derive(Clone)]
pub struct Options {
    /// Gives creationTimestamps.
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock::new()) }
    }
}

/// The embedded home. When it is dropped, what was handed over is written and the database closed.
pub struct SqliteStore {
    // Dropped first: the threads end before the connections do.
    _check: Option<Check>,
    writer: Writer,
    pool: Pool,
    feed: Feed,
    health: Arc<Health>,
    metrics: StoreMetrics,
    clock: Arc<dyn Clock>,
    opened: Opened,
}

impl SqliteStore {
    /// Opens the home in `dir`, making the directory where only its last part is missing.
    ///
    /// # Errors
    /// [`OpenError`], naming the path, what is wrong and what can be done.
    pub fn open(dir: &Path, options: Options) -> Result<Arc<Self>, OpenError> {
        Self::start(Place::directory(dir)?, options)
    }

    /// A home that lives in memory and is gone when it is dropped.
    ///
    /// # Errors
    /// [`OpenError::Other`] when there is no memory or no thread to be had.
    pub fn in_memory() -> Result<Arc<Self>, OpenError> {
        Self::in_memory_with(Options::default())
    }

    /// As [`Self::in_memory`], with options.
    ///
    /// # Errors
    /// As [`Self::in_memory`].
    pub fn in_memory_with(options: Options) -> Result<Arc<Self>, OpenError> {
        Self::start(Place::Memory, options)
    }

    fn start(place: Place, options: Options) -> Result<Arc<Self>, OpenError> {
        let opened = Opened::at(options.clock.as_ref());
        let place = Arc::new(place);
        let connection = Arc::new(Mutex::new(place.writer()?));
        let health = Arc::new(Health::new(place.name()));
        let (feed, metrics) = (Feed::default(), StoreMetrics::default());
        let pool = Pool::new(Arc::clone(&place), Arc::clone(&health), &connection);
        let desk = Desk {
            connection,
            clock: Arc::clone(&options.clock),
            health: Arc::clone(&health),
            feed: feed.clone(),
            metrics: metrics.clone(),
            place: Arc::clone(&place),
        };
        let writer = Writer::start(desk)
            .map_err(|error| OpenError::io("starting the thread that writes", Path::new(&health.place), &error))?;
        let check = (place.bytes() > open::CHECK_AT_OPEN_BYTES).then(|| Check::start(&place, &health)).transpose();
        let check = check.map_err(|error| OpenError::io("starting the check of", Path::new(&health.place), &error))?;
        Ok(Arc::new(Self { _check: check, writer, pool, feed, health, metrics, opened, clock: options.clock }))
    }

    /// Its metrics, to be registered.
    #[must_use]
    pub const fn metrics(&self) -> &StoreMetrics {
        &self.metrics
    }

    async fn write_object(
        &self,
        operation: &'static str,
        write: fn(Object) -> Write,
        object: Object,
    ) -> Result<Object, StoreError> {
        let (started, kind) = (Instant::now(), object.kind);
        let result = match limits::check(&object) {
            Ok(()) => self.writer.write(write(object)).await,
            Err(error) => Err(error),
        };
        self.metrics.operated(operation, kind, &result, started.elapsed());
        match result? {
            Written::Object(object) => Ok(*object),
            other => Err(StoreError::Unavailable { doing: operation.to_owned(), why: format!("{other:?} came back") }),
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, kind: &'static str, namespace: &str, name: &str) -> Result<Option<Object>, StoreError> {
        let started = Instant::now();
        let doing = format!("reading {kind} {namespace}/{name}");
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let result = self.pool.read(&doing, move |connection| read::get(connection, kind, namespace, name)).await;
        self.metrics.operated("get", kind, &result, started.elapsed());
        result
    }

    async fn list(&self, kind: &'static str, query: &Query) -> Result<Page<Object>, StoreError> {
        let started = Instant::now();
        let below = match &query.after {
            None => i64::MAX,
            Some(after) => after
                .parse()
                .map_err(|_| StoreError::Invalid(format!("\"{after}\" is not where a list of this store ended")))?,
        };
        let doing = format!("listing {kind}");
        let query = query.clone();
        let result = self.pool.read(&doing, move |connection| read::list(connection, kind, &query, below)).await;
        self.metrics.operated("list", kind, &result, started.elapsed());
        result.map(|(items, next)| Page { items, next: next.map(|id| id.to_string()) })
    }

    fn watch(&self, kind: &'static str, query: Query) -> BoxStream<'static, Result<WatchEvent<Object>, StoreError>> {
        feed::watch(self.feed.clone(), self.pool.clone(), self.metrics.clone(), kind, query)
    }

    async fn create(&self, object: Object) -> Result<Object, StoreError> {
        self.write_object("create", Write::Create, object).await
    }

    async fn put(&self, object: Object) -> Result<Object, StoreError> {
        self.write_object("put", Write::Put, object).await
    }

    async fn put_status(&self, object: Object) -> Result<Object, StoreError> {
        self.write_object("put_status", Write::PutStatus, object).await
    }

    async fn delete(
        &self,
        kind: &'static str,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<(), StoreError> {
        let started = Instant::now();
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let write = Write::Delete { kind, namespace, name, version: version.map(str::to_owned) };
        let result = self.writer.write(write).await;
        self.metrics.operated("delete", kind, &result, started.elapsed());
        result.map(|_| ())
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.health.check("looking whether the store is ready")?;
        if self.health.committed_within(READY_FOR) {
            return Ok(());
        }
        match tokio::time::timeout(READY_TIMEOUT, self.writer.write(Write::Touch)).await {
            Ok(result) => result.map(|_| ()),
            Err(_) => Err(StoreError::Unavailable {
                doing: "trying a small write".to_owned(),
                why: format!("the disk of {} has not answered for {READY_TIMEOUT:?}", self.health.place),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn large(index: usize) -> Object {
        let (namespace, name) = ("shop".to_owned(), format!("run-{index}"));
        let body = json!({"spec": {"gate": "checkout"}, "status": {"reason": "because ".repeat(400)}});
        Object { kind: GateRun::KIND, namespace, name, body }
    }

    async fn bound_pages(store: &SqliteStore, pages: u32) {
        let bound = move |connection: &rusqlite::Connection| connection.pragma_update(None, "max_page_count", pages);
        store.pool.read("bounding", bound).await.unwrap();
    }

    #[tokio::test]
    async fn without_room_writes_are_refused_until_there_is_room() {
        let store = SqliteStore::in_memory().unwrap();
        bound_pages(&store, 60).await;

        let mut written = 0;
        let error = loop {
            match store.create(large(written)).await {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
        };

        assert_eq!(
            error.to_string(),
            format!(
                "while creating GateRun shop/run-{written}: the database in memory says: database or disk is full; \
                 make room on its disk, the store goes on by itself"
            )
        );
        assert_eq!(store.list(GateRun::KIND, &Query::default()).await.unwrap().items.len(), written);
        bound_pages(&store, 10_000).await;
        store.create(large(written)).await.unwrap();
    }

    #[tokio::test]
    async fn a_read_that_was_given_up_keeps_its_place_until_it_ends() {
        let store = SqliteStore::in_memory().unwrap();
        let (began, begins) = tokio::sync::oneshot::channel();
        let (end, ends) = std::sync::mpsc::channel::<()>();
        let slow = store.pool.read("waiting", move |_| {
            let _ = began.send(());
            let _ = ends.recv();
            Ok(())
        });
        tokio::select! {
            _ = slow => panic!("it cannot have ended"),
            started = begins => started.unwrap(),
        }
        end.send(()).unwrap();

        store.create(large(1)).await.unwrap();
        assert!(store.get(GateRun::KIND, "shop", "run-1").await.unwrap().is_some());
    }
}
