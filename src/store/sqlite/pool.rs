//! The connections that read.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::health::Health;
use super::open::Place;
use crate::store::StoreError;

/// The most reads at one time: each holds a thread, and memory for its pages.
const MAX_READERS: usize = 4;

/// A connection that one thread uses at a time.
pub(super) type Shared = Arc<Mutex<Connection>>;

/// Hands out connections for reading, and opens more of them as they are needed.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Shared>>,
    health: Arc<Health>,
    /// Keeps the directory locked as long as anybody reads.
    place: Arc<Place>,
}

impl Pool {
    /// In memory the writer's connection is the only one that there can be.
    pub(super) fn new(place: Arc<Place>, health: Arc<Health>, writer: &Shared) -> Self {
        let (readers, idle) = match *place {
            Place::Memory => (1, vec![Arc::clone(writer)]),
            Place::File { .. } => (MAX_READERS, Vec::new()),
        };
        let permits = Arc::new(Semaphore::new(readers));
        Self { inner: Arc::new(Inner { permits, idle: Mutex::new(idle), health, place }) }
    }

    /// Runs `work` with a connection on a thread that may block.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        doing: &str,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let ended = |why: String| StoreError::Unavailable { doing: doing.to_owned(), why };
        let permit = Arc::clone(&self.inner.permits).acquire_owned().await.map_err(|error| ended(error.to_string()))?;
        let inner = Arc::clone(&self.inner);
        let blocking = move || {
            // Held by the thread: a caller that goes away does not end the work.
            let _permit = permit;
            inner.with(work)
        };
        let result = tokio::task::spawn_blocking(blocking).await;
        result.map_err(|error| ended(error.to_string()))?.map_err(|error| self.inner.health.trouble(doing, &error))
    }
}

impl Inner {
    fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>) -> Result<T, rusqlite::Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let shared = match idle {
            Some(shared) => shared,
            None => Arc::new(Mutex::new(self.place.reader()?)),
        };
        let result = work(&shared.lock().unwrap_or_else(PoisonError::into_inner));
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(shared);
        result
    }
}
