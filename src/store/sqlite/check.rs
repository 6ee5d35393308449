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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::{Options, SqliteStore};

    fn place() -> (tempfile::TempDir, Arc<Place>) {
        let dir = tempfile::tempdir().unwrap();
        drop(SqliteStore::open(dir.path(), Options::default()).unwrap());
        let place = Arc::new(Place::directory(dir.path()).unwrap());
        (dir, place)
    }

    #[test]
    fn a_check_that_is_dropped_before_it_begins_ends_at_once() {
        let (_dir, place) = place();
        let health = Arc::new(Health::new(place.name()));
        let started = Instant::now();

        drop(Check::start(&place, &health).unwrap());

        assert!(started.elapsed() < DELAY);
        health.check("looking").unwrap();
    }

    #[test]
    fn damage_that_the_check_finds_is_remembered() {
        let (dir, place) = place();
        let connection = place.reader().unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(dir.path().join(open::DATABASE)).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[0xAA; 4_096], 4_096).unwrap();
        let health = Health::new(place.name());

        check(&connection, &health);

        let error = health.check("writing").unwrap_err().to_string();
        assert!(error.starts_with("while writing: the database ") && error.contains(" is damaged ("), "{error}");
    }
}
