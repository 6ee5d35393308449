//! Looks for damage in a database that is too large to be checked before it is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, InterruptHandle};

use super::health::Health;
use super::open::{self, Place};

/// The start of the program comes first: the check reads the whole file.
const DELAY: Duration = Duration::from_secs(5);
/// How often an interrupted check is interrupted again: one that was about to begin misses the
/// first time.
const INTERRUPT_EVERY: Duration = Duration::from_millis(2);

/// A check that runs beside the work. Dropping it stops it.
pub(super) struct Check {
    stop: Arc<AtomicBool>,
    interrupt: InterruptHandle,
    thread: Option<JoinHandle<()>>,
}

impl Check {
    pub(super) fn start(place: &Arc<Place>, health: &Arc<Health>) -> Result<Self, std::io::Error> {
        let connection = place.reader().map_err(std::io::Error::other)?;
        let (stop, interrupt) = (Arc::new(AtomicBool::new(false)), connection.get_interrupt_handle());
        let (stopped, place, health) = (Arc::clone(&stop), Arc::clone(place), Arc::clone(health));
        let work = move || {
            let begin = Instant::now() + DELAY;
            while !stopped.load(Ordering::Acquire) {
                match begin.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => std::thread::park_timeout(left),
                    _ => break,
                }
            }
            if !stopped.load(Ordering::Acquire) {
                check(&connection, &health);
            }
            drop((connection, place));
        };
        let thread = std::thread::Builder::new().name("store-check".to_owned()).spawn(work)?;
        Ok(Self { stop, interrupt, thread: Some(thread) })
    }
}

fn check(connection: &Connection, health: &Health) {
    let started = Instant::now();
    match open::find_damage(connection) {
        Ok(None) => {
            tracing::debug!(took = ?started.elapsed(), "The database was checked from end to end: no damage.");
        }
        Ok(Some(what)) => health.found_damage(&what),
        Err(rusqlite::Error::SqliteFailure(failure, _)) if failure.code == ErrorCode::OperationInterrupted => {}
        Err(error) => {
            let error = health.trouble("checking the database", &error);
            tracing::warn!(%error, "The database could not be checked from end to end.");
        }
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        while !thread.is_finished() {
            self.interrupt.interrupt();
            std::thread::park_timeout(INTERRUPT_EVERY);
        }
    }
}
