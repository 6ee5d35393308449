//! The runs that are going on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::api::GateRunStatus;
use crate::model::QuestionKey;

/// What is told to a run that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// End it.
    Cancel {
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Another revision has come.
    Supersede {
        /// The revision.
        revision: String,
        /// Its change.
        change: String,
    },
}

/// The latest that is known of a run.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) status: Arc<GateRunStatus>,
    pub(super) retry_after: Option<Duration>,
    /// The verdict is final and written.
    pub(super) committed: bool,
}

/// A run that goes on.
#[derive(Debug)]
pub(super) struct OpenRun {
    pub(super) id: String,
    /// Since when this process knows of it.
    pub(super) since: Instant,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) latest: watch::Receiver<Snapshot>,
}

impl OpenRun {
    /// Waits until the verdict is written, at most `wait`, and tells the latest.
    pub(super) async fn wait(&self, wait: Duration) -> Snapshot {
        let mut latest = self.latest.clone();
        if !wait.is_zero() {
            let decided = latest.wait_for(|snapshot| snapshot.committed);
            // Neither the end of the time nor the end of the run is an error: the latest counts.
            let _ = tokio::time::timeout(wait, decided).await;
        }
        self.latest.borrow().clone()
    }
}

/// All of them, by question.
#[derive(Debug, Default)]
pub(super) struct OpenRuns {
    runs: Mutex<HashMap<QuestionKey, Arc<OpenRun>>>,
}

impl OpenRuns {
    pub(super) fn get(&self, key: QuestionKey) -> Option<Arc<OpenRun>> {
        self.lock().get(&key).cloned()
    }

    pub(super) fn by_id(&self, id: &str) -> Option<Arc<OpenRun>> {
        self.lock().values().find(|run| run.id == id).cloned()
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.lock().values().map(|run| run.id.clone()).collect()
    }

    pub(super) fn insert(&self, key: QuestionKey, run: Arc<OpenRun>) {
        self.lock().insert(key, run);
    }

    pub(super) fn remove(&self, key: QuestionKey, id: &str) {
        let mut runs = self.lock();
        if runs.get(&key).is_some_and(|run| run.id == id) {
            runs.remove(&key);
        }
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<QuestionKey, Arc<OpenRun>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
