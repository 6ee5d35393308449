//! The one thread that writes: several writes, one transaction, one fsync, then the answers.

use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::feed::Feed;
use super::health::Health;
use super::metrics::StoreMetrics;
use super::open::Place;
use super::pool::Shared;
use super::write::{Change, Failed, Session, Write, Written};
use crate::clock::Clock;
use crate::store::StoreError;

/// The most writes that wait: beyond it, callers wait to hand theirs over.
const QUEUE: usize = 256;
/// The most writes of one transaction: a bound on how long the first of them waits for the last.
const BATCH: usize = 128;

type Answer = Result<Written, StoreError>;

struct Job {
    write: Write,
    answer: oneshot::Sender<Answer>,
}

/// Hands writes to the thread. The thread ends, with everything written, when this is dropped.
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    metrics: StoreMetrics,
}

/// What the thread works with.
pub(super) struct Desk {
    pub(super) connection: Shared,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) health: Arc<Health>,
    pub(super) feed: Feed,
    pub(super) metrics: StoreMetrics,
    pub(super) place: Arc<Place>,
}

impl Writer {
    pub(super) fn start(desk: Desk) -> Result<Self, std::io::Error> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let metrics = desk.metrics.clone();
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || desk.work(queue))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), metrics })
    }

    /// Returns when the write is on the disk, or was refused.
    pub(super) async fn write(&self, write: Write) -> Answer {
        let doing = write.doing();
        let closed = || StoreError::Unavailable { doing, why: "the store is closed".to_owned() };
        let (answer, result) = oneshot::channel();
        let Some(jobs) = &self.jobs else { return Err(closed()) };
        self.metrics.queue.inc();
        if jobs.send(Job { write, answer }).await.is_err() {
            self.metrics.queue.dec();
            return Err(closed());
        }
        result.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked has nothing more to write.
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn work(self, mut queue: mpsc::Receiver<Job>) {
        self.count_objects();
        while let Some(first) = queue.blocking_recv() {
            let mut jobs = vec![first];
            while jobs.len() < BATCH
                && let Ok(job) = queue.try_recv()
            {
                jobs.push(job);
            }
            self.metrics.queue.dec_by(i64::try_from(jobs.len()).unwrap_or(0));
            self.handle(jobs);
        }
    }

    fn handle(&self, jobs: Vec<Job>) {
        let doing: Vec<String> = jobs.iter().map(|job| job.write.doing()).collect();
        let (writes, answers): (Vec<_>, Vec<_>) = jobs.into_iter().map(|job| (job.write, job.answer)).unzip();
        let results = match self.transact(writes) {
            Ok((results, changes)) => {
                self.committed(changes);
                results
            }
            Err(Failed::Refused(error)) => doing.iter().map(|_| Err(error.clone())).collect(),
            Err(Failed::Database(error)) => doing.iter().map(|doing| Err(self.health.trouble(doing, &error))).collect(),
        };
        for (result, answer) in results.into_iter().zip(answers) {
            // Whoever has gone away does not want to know.
            let _ = answer.send(result);
        }
    }

    fn transact(&self, writes: Vec<Write>) -> Result<(Vec<Answer>, Vec<Change>), Failed> {
        self.health.check("writing")?;
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut session = Session::begin(&transaction, self.clock.now())?;
        let mut results = Vec::with_capacity(writes.len());
        for write in writes {
            match session.write(write) {
                Ok(written) => results.push(Ok(written)),
                // Refusals come before the first change, so that the others may go on.
                Err(Failed::Refused(error)) => results.push(Err(error)),
                Err(Failed::Database(error)) => return Err(error.into()),
            }
        }
        let changes = session.end()?;
        self.commit(transaction)?;
        Ok((results, changes))
    }

    fn commit(&self, transaction: Transaction<'_>) -> Result<(), rusqlite::Error> {
        let started = Instant::now();
        transaction.commit()?;
        self.metrics.committed(started.elapsed());
        Ok(())
    }

    fn committed(&self, changes: Vec<Change>) {
        self.health.committed();
        self.metrics.bytes.set(i64::try_from(self.place.bytes()).unwrap_or(i64::MAX));
        for change in changes {
            let by = i64::from(change.is.is_some()) - i64::from(change.was.is_some());
            if by != 0 {
                self.metrics.objects_changed(change.object.kind, by);
            }
            self.feed.publish(change);
        }
    }

    /// Before the first write, so that every later change can be added.
    fn count_objects(&self) {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = count(&connection, &self.metrics) {
            let error = self.health.trouble("counting the resources", &error);
            tracing::warn!(%error, "The stored resources cannot be counted.");
        }
        self.metrics.bytes.set(i64::try_from(self.place.bytes()).unwrap_or(i64::MAX));
    }
}

fn count(connection: &Connection, metrics: &StoreMetrics) -> Result<(), rusqlite::Error> {
    let mut statement =
        connection.prepare("SELECT kind, count(*) FROM objects INDEXED BY objects_by_kind GROUP BY kind")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let kind: String = row.get(0)?;
        if let Some(kind) = super::KINDS.into_iter().find(|known| *known == kind) {
            metrics.objects_changed(kind, row.get(1)?);
        }
    }
    Ok(())
}
