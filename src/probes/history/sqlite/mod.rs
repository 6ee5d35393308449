//! The archive as a database file of its own, `history.db`, in the data directory.
//!
//! Apart from the store's, because it is written all the time, is not needed for any verdict, and
//! must never stop anything: a damaged one is set aside and begun anew. One thread writes, in one
//! transaction for all that waits; a few connections read beside it. Commits are not synced each: a
//! process that is killed loses nothing that was written, a power failure the last seconds.

mod metrics;
mod open;
mod read;
mod retention;
mod write;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

pub use metrics::HistoryMetrics;
pub use retention::Keep;

use self::open::Place;
use self::writer::{Job, Shared, Writer};
use super::{Archive, ArchiveError, Batch, Forgotten, Known, Past, Series, Window};
use crate::clock::{Clock, SystemClock};

/// The most items that wait to be written: five minutes of ten thousand targets, some 30 MB.
pub const MAX_WAITING: usize = 50_000;
/// The most batches and requests that wait: small ones must not add up either.
const MAX_JOBS: usize = 4_096;
/// The most reads at the same time.
const READERS: usize = 2;
/// How long a read waits for what was handed over before it: a disk that stalls must not stall reads.
const FLUSH_BEFORE_READ: Duration = Duration::from_secs(2);
/// How often a flush looks whether there is room for it.
const FLUSH_AGAIN: Duration = Duration::from_millis(10);

/// How to open it.
#[derive(Clone)]
pub struct Options {
    /// How much is kept.
    pub keep: Keep,
    /// Tells what is old.
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self { keep: Keep::default(), clock: Arc::new(SystemClock::new()) }
    }
}

/// The archive in a directory. When it is dropped, what was handed over is written.
pub struct SqliteArchive {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    readers: Arc<Readers>,
    shared: Arc<Shared>,
    metrics: HistoryMetrics,
    /// Whether it was said that something is dropped, until something is taken again.
    dropping: AtomicBool,
}

struct Readers {
    place: Place,
    permits: Arc<Semaphore>,
    /// Connections that nobody uses, with the generation of their file.
    idle: Mutex<Vec<(u64, Connection)>>,
    shared: Arc<Shared>,
}

impl SqliteArchive {
    /// Opens the archive in an existing directory. A damaged one is set aside.
    ///
    /// # Errors
    /// [`ArchiveError`] where a newer program or another one has written the file, or the directory
    /// cannot be written.
    pub fn open(dir: &Path, options: Options) -> Result<Self, ArchiveError> {
        let place = Place::new(dir);
        let connection = place.writer()?;
        let (shared, metrics) = (Arc::<Shared>::default(), HistoryMetrics::default());
        let writer = Writer {
            place: place.clone(),
            connection: Some(connection),
            ids: write::Ids::new(),
            keep: options.keep,
            opened: (options.clock.now(), options.clock.elapsed()),
            clock: options.clock,
            shared: Arc::clone(&shared),
            metrics: metrics.clone(),
        };
        let (jobs, queue) = sync_channel(MAX_JOBS);
        let thread = std::thread::Builder::new()
            .name("history-writer".to_owned())
            .spawn(move || writer.work(&queue))
            .map_err(|error| place.trouble("starting the thread that writes", &error))?;
        let readers = Arc::new(Readers {
            place,
            permits: Arc::new(Semaphore::new(READERS)),
            idle: Mutex::default(),
            shared: Arc::clone(&shared),
        });
        let (jobs, thread) = (Some(jobs), Some(thread));
        Ok(Self { jobs, thread, readers, shared, metrics, dropping: AtomicBool::new(false) })
    }

    /// Its metrics, to be registered.
    #[must_use]
    pub const fn metrics(&self) -> &HistoryMetrics {
        &self.metrics
    }

    fn send(&self, job: Job) -> Result<(), Job> {
        let Some(jobs) = &self.jobs else { return Err(job) };
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        // Late is better than never: a stalled disk shows what was written before.
        let _ = tokio::time::timeout(FLUSH_BEFORE_READ, self.flush()).await;
        let closed = || ArchiveError::Unavailable { why: "closed" };
        let permit = Arc::clone(&self.readers.permits).acquire_owned().await.map_err(|_| closed())?;
        let readers = Arc::clone(&self.readers);
        let blocking = move || {
            // Kept until the work ends, even where nobody waits for it any more.
            let _permit = permit;
            readers.with(work)
        };
        let (result, generation) = tokio::task::spawn_blocking(blocking).await.map_err(|_| closed())?;
        result.map_err(|error| {
            if open::is_damage(&error) {
                // Where there is no room for it, the next reader or the writer comes upon it again.
                let _ = self.send(Job::Damaged(generation));
            }
            self.readers.place.trouble("reading", &error)
        })
    }
}

impl Readers {
    fn with<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> (Result<T, rusqlite::Error>, u64) {
        let generation = self.shared.generation.load(Ordering::Acquire);
        let idle = || {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|(of, _)| *of == generation);
            idle.pop()
        };
        let connection = match idle().map_or_else(|| self.place.reader(), |(_, connection)| Ok(connection)) {
            Ok(connection) => connection,
            Err(error) => return (Err(error), generation),
        };
        let result = work(&connection);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((generation, connection));
        (result, generation)
    }
}

#[async_trait]
impl Archive for SqliteArchive {
    fn append(&self, batch: Batch) -> bool {
        let items = batch.len();
        if items == 0 {
            return true;
        }
        let before = self.shared.waiting.fetch_add(items, Ordering::AcqRel);
        // One that is larger than all that may wait is taken where nothing waits.
        let refused = if before > 0 && before.saturating_add(items) > MAX_WAITING {
            Some(batch)
        } else {
            match self.send(Job::Write(batch)) {
                Err(Job::Write(batch)) => Some(batch),
                _ => None,
            }
        };
        let Some(batch) = refused else {
            self.dropping.store(false, Ordering::Relaxed);
            self.metrics.waiting.set(i64::try_from(self.shared.waiting.load(Ordering::Acquire)).unwrap_or(i64::MAX));
            return true;
        };
        self.shared.waiting.fetch_sub(items, Ordering::AcqRel);
        self.metrics.dropped(&batch);
        if !self.dropping.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "The probes' history cannot be written as fast as it comes: what comes now is missing from it. \
                 See probegate_history_dropped_total for how much, and look at the disk of the data directory."
            );
        }
        false
    }

    async fn targets(&self, namespace: &str, probe: &str) -> Result<Vec<String>, ArchiveError> {
        let (namespace, probe) = (namespace.to_owned(), probe.to_owned());
        self.read(move |connection| read::targets(connection, &namespace, &probe)).await
    }

    async fn past(&self, series: &Series, window: Window) -> Result<Past, ArchiveError> {
        let series = series.clone();
        self.read(move |connection| read::past(connection, &series, window)).await
    }

    async fn known(&self) -> Result<Vec<(Series, Known)>, ArchiveError> {
        self.read(read::known).await
    }

    async fn forget(&self, now: Timestamp) -> Result<Forgotten, ArchiveError> {
        let (answer, result) = oneshot::channel();
        self.send(Job::Forget(now, answer)).map_err(|_| ArchiveError::Unavailable { why: "busy or closed" })?;
        result.await.unwrap_or(Err(ArchiveError::Unavailable { why: "closed" }))
    }

    async fn flush(&self) -> Result<(), ArchiveError> {
        let closed = || ArchiveError::Unavailable { why: "closed" };
        let (answer, result) = oneshot::channel();
        let mut job = Job::Flush(answer);
        while let Err(again) = self.send(job) {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                return Err(closed());
            }
            job = again;
            tokio::time::sleep(FLUSH_AGAIN).await;
        }
        result.await.map_err(|_| closed())
    }
}

impl Drop for SqliteArchive {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A thread that has panicked has nothing more to write.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
