//! The one thread that writes. It tries until it succeeds; what comes meanwhile waits, up to a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::metrics::HistoryMetrics;
use super::open::{Place, is_damage};
use super::retention::{Keep, forget};
use super::write::{Ids, Session, Totals};
use crate::clock::Clock;
use crate::probes::history::{ArchiveError, Batch, Forgotten};

/// The most items that go into one transaction; more than a minute of ten thousand targets.
const TOGETHER: usize = 20_000;
/// The time between two rounds of forgetting, and how soon a round that was not done is gone on with.
const FORGET_EVERY: Duration = Duration::from_secs(600);
const FORGET_ON: Duration = Duration::from_secs(2);
/// The pause before the second attempt to write; each further one is twice as long, up to the last.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// How far the wall clock may run ahead of the steady one: what setting it right takes.
const JUMP: Duration = Duration::from_secs(3_600);

/// What the thread is asked for.
pub(super) enum Job {
    Write(Batch),
    /// An answer when everything before it is done.
    Flush(oneshot::Sender<()>),
    Forget(Timestamp, oneshot::Sender<Result<Forgotten, ArchiveError>>),
    /// A reader has found damage in the file of this generation.
    Damaged(u64),
}

/// What the thread shares with those who ask.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Items that wait.
    pub(super) waiting: AtomicUsize,
    /// Set before the end: nothing is tried for long any more.
    pub(super) closing: AtomicBool,
    /// Counts how often the file was begun anew: older connections look at the one set aside.
    pub(super) generation: AtomicU64,
}

/// What the thread works with.
pub(super) struct Writer {
    pub(super) place: Place,
    pub(super) connection: Option<Connection>,
    pub(super) ids: Ids,
    pub(super) keep: Keep,
    pub(super) clock: Arc<dyn Clock>,
    /// When it was opened, by the wall clock and by the steady one.
    pub(super) opened: (Timestamp, Duration),
    pub(super) shared: Arc<Shared>,
    pub(super) metrics: HistoryMetrics,
}

impl Writer {
    /// Works until nobody can ask any more and everything is written.
    pub(super) fn work(mut self, jobs: &Receiver<Job>) {
        let mut due = Instant::now() + FORGET_ON;
        self.note_size();
        loop {
            match jobs.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Job::Write(batch)) => self.write_all(batch, jobs),
                Ok(job) => self.handle(job),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= due && !self.shared.closing.load(Ordering::Acquire) {
                due = Instant::now() + self.forget_some();
            }
        }
    }

    fn handle(&mut self, job: Job) {
        match job {
            Job::Write(batch) => self.write(&batch),
            // Whoever has gone away does not want to know.
            Job::Flush(answer) => drop(answer.send(())),
            Job::Forget(now, answer) => drop(answer.send(self.forget_all(now))),
            Job::Damaged(generation) => {
                if generation == self.shared.generation.load(Ordering::Acquire) {
                    self.begin_anew("a reader came upon it");
                }
            }
        }
    }

    /// Writes a batch and those that wait behind it, together.
    fn write_all(&mut self, mut batch: Batch, jobs: &Receiver<Job>) {
        let mut other = None;
        while batch.len() < TOGETHER && other.is_none() {
            match jobs.try_recv() {
                Ok(Job::Write(more)) => batch.append(more),
                Ok(job) => other = Some(job),
                Err(_) => break,
            }
        }
        self.write(&batch);
        if let Some(job) = other {
            self.handle(job);
        }
    }

    /// Tries until it is written. Only the end of the process ends it before.
    fn write(&mut self, batch: &Batch) {
        let (mut pause, mut failed) = (PAUSE.0, false);
        loop {
            match self.try_write(batch) {
                Ok(totals) => {
                    self.metrics.rows(totals);
                    break;
                }
                Err(error) => {
                    self.metrics.failed();
                    if !failed {
                        tracing::warn!(%error, "The probes' history cannot be written; it is tried again until it can.");
                    }
                    failed = true;
                }
            }
            if self.shared.closing.load(Ordering::Acquire) {
                self.metrics.dropped(batch);
                tracing::error!(items = batch.len(), "The end of the probes' history could not be written.");
                failed = false;
                break;
            }
            std::thread::park_timeout(pause);
            pause = (pause * 2).min(PAUSE.1);
        }
        if failed {
            tracing::info!("The probes' history can be written again.");
        }
        let left = self.shared.waiting.fetch_sub(batch.len(), Ordering::AcqRel).saturating_sub(batch.len());
        self.metrics.waiting.set(i64::try_from(left).unwrap_or(i64::MAX));
        self.note_size();
    }

    fn try_write(&mut self, batch: &Batch) -> Result<Totals, ArchiveError> {
        let now = self.clock.now().as_microsecond();
        let mut ids = std::mem::take(&mut self.ids);
        let result = self.transact("writing", |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let come = Session { transaction: &transaction, ids: &mut ids, now }.write(batch)?;
            let totals = come.add(&transaction)?;
            transaction.commit()?;
            Ok(totals)
        });
        // Numbers that were given in a transaction that failed mean nothing.
        if result.is_ok() {
            self.ids = ids;
        }
        result
    }

    /// Works on the database, opening it where that failed before, and beginning it anew where it is
    /// damaged.
    fn transact<T>(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&mut Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, ArchiveError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.place.writer()?),
        };
        work(connection).map_err(|error| {
            if is_damage(&error) {
                self.begin_anew(&error.to_string());
            }
            self.place.trouble(doing, &error)
        })
    }

    fn begin_anew(&mut self, why: &str) {
        self.connection = None;
        self.ids.clear();
        self.metrics.damaged();
        if let Err(error) = self.place.set_aside(why) {
            tracing::error!(%error, "The damaged history of the probes cannot be set aside.");
            return;
        }
        match self.place.writer() {
            Ok(connection) => self.connection = Some(connection),
            Err(error) => tracing::error!(%error, "The probes' history cannot be begun anew; it is tried again."),
        }
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// One round; gives when the next one is due.
    fn forget_some(&mut self) -> Duration {
        let now = self.steady_now();
        match self.forget_once(now) {
            Ok((_, true)) => FORGET_ON,
            Ok((_, false)) => FORGET_EVERY,
            Err(error) => {
                tracing::warn!(%error, "The probes' history could not be shortened; tried again later.");
                FORGET_EVERY
            }
        }
    }

    fn forget_all(&mut self, now: Timestamp) -> Result<Forgotten, ArchiveError> {
        let mut all = Forgotten::default();
        loop {
            let (forgotten, more) = self.forget_once(now)?;
            all.minutes += forgotten.minutes;
            all.hours += forgotten.hours;
            all.failures += forgotten.failures;
            all.turns += forgotten.turns;
            all.series += forgotten.series;
            if !more {
                return Ok(all);
            }
        }
    }

    fn forget_once(&mut self, now: Timestamp) -> Result<(Forgotten, bool), ArchiveError> {
        let keep = self.keep;
        let (forgotten, more, totals) = self.transact("shortening", |connection| {
            let (forgotten, more) = forget(connection, &keep, now)?;
            let transaction = connection.transaction()?;
            let totals = Totals::read(&transaction)?;
            transaction.commit()?;
            Ok((forgotten, more, totals))
        })?;
        if forgotten.series > 0 {
            self.ids.clear();
        }
        self.metrics.rows(totals);
        Ok((forgotten, more))
    }

    /// The time, unless the wall clock has run ahead of the steady one since the start: a clock that
    /// jumps into the next year must not make everything old.
    fn steady_now(&self) -> Timestamp {
        let (began, elapsed) = self.opened;
        let passed = self.clock.elapsed().saturating_sub(elapsed).saturating_add(JUMP);
        let steady = SignedDuration::try_from(passed).ok().and_then(|passed| began.checked_add(passed).ok());
        steady.map_or(began, |steady| steady.min(self.clock.now()))
    }

    fn note_size(&self) {
        self.metrics.bytes.set(i64::try_from(self.place.bytes()).unwrap_or(i64::MAX));
    }
}
