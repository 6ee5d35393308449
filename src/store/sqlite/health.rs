//! What is known of the database's standing.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::error::{Trouble, unavailable};
use crate::store::StoreError;

/// Shared by all who touch the database.
#[derive(Debug)]
pub(super) struct Health {
    /// The file, or `in memory`.
    pub(super) place: String,
    /// Set once damage was seen: what was found. It stays until the next start.
    damaged: OnceLock<String>,
    last_commit: Mutex<Option<Instant>>,
}

impl Health {
    pub(super) const fn new(place: String) -> Self {
        Self { place, damaged: OnceLock::new(), last_commit: Mutex::new(None) }
    }

    /// Turns a database error into one for callers, and remembers damage.
    pub(super) fn trouble(&self, doing: &str, error: &rusqlite::Error) -> StoreError {
        if Trouble::of(error) == Trouble::Damaged {
            self.found_damage(&error.to_string());
        }
        unavailable(doing, &self.place, error)
    }

    /// From now on nothing is written: writing into a damaged file makes it worse.
    pub(super) fn found_damage(&self, what: &str) {
        if self.damaged.set(what.to_owned()).is_ok() {
            tracing::error!(
                database = self.place,
                found = what,
                "The database is damaged: nothing is written any more. Restore it from a backup and start again."
            );
        }
    }

    /// # Errors
    /// [`StoreError::Unavailable`] once damage was seen.
    pub(super) fn check(&self, doing: &str) -> Result<(), StoreError> {
        match self.damaged.get() {
            None => Ok(()),
            Some(found) => Err(StoreError::Unavailable {
                doing: doing.to_owned(),
                why: format!(
                    "the database {} is damaged ({found}); restore it from a backup and start again",
                    self.place
                ),
            }),
        }
    }

    pub(super) fn committed(&self) {
        *self.last_commit.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether something was written and synced within `age`.
    pub(super) fn committed_within(&self, age: Duration) -> bool {
        self.last_commit.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < age)
    }
}
