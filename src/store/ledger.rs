//! What has happened lately: the runs that budgets, breakers and windows count.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use futures::StreamExt;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{Object, Query, Store, StoreError, WatchEvent};
use crate::api::{GateRun, name_of, namespace_of};
use crate::model::{PastRun, Verdict};

/// The most runs that are remembered: hundreds of changes a day with tens of questions each, for a
/// week. About 1 KB each.
pub const MAX_PAST_RUNS: usize = 20_000;

/// The latest runs of all gates in memory. Cheap to clone; all clones are one ledger.
#[derive(Debug, Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    runs: RwLock<BTreeMap<(Timestamp, String, String), Arc<PastRun>>>,
    synced: watch::Sender<bool>,
}

impl Ledger {
    /// An empty ledger that follows `store` for as long as the returned future is polled.
    pub fn follow(store: Arc<dyn Store>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let ledger =
            Self { shared: Arc::new(Shared { runs: RwLock::new(BTreeMap::new()), synced: watch::Sender::new(false) }) };
        let writer = ledger.clone();
        let run = async move {
            let query = Query { limit: MAX_PAST_RUNS, ..Query::default() };
            let mut events = store.watch("GateRun", query);
            while let Some(event) = events.next().await {
                writer.take(event);
            }
        };
        (ledger, run)
    }

    fn take(&self, event: Result<WatchEvent<Object>, StoreError>) {
        let mut runs = self.shared.runs.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        match event {
            Ok(WatchEvent::Listed(objects)) => *runs = objects.into_iter().filter_map(past).collect(),
            Ok(WatchEvent::Applied(object)) => runs.extend(past(object)),
            Ok(WatchEvent::Deleted(object)) => {
                // A record that retention has removed still happened: it stays until it is the oldest.
                tracing::trace!(name = object.name, "A deleted run stays in the ledger.");
            }
            Err(error) => {
                tracing::warn!(%error, "The ledger's watch is in trouble; what it knows stays in use.");
                return;
            }
        }
        while runs.len() > MAX_PAST_RUNS {
            runs.pop_first();
        }
        drop(runs);
        self.shared.synced.send_replace(true);
    }

    /// Whether the past has been read: before that, counting it would be guessing.
    #[must_use]
    pub fn synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// Waits until the past has been read.
    pub async fn wait_synced(&self) {
        let mut synced = self.shared.synced.subscribe();
        // The sender lives in this ledger, so that waiting cannot fail.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// The runs created at or after `since`, oldest first.
    #[must_use]
    pub fn since(&self, since: Timestamp) -> Vec<Arc<PastRun>> {
        let runs = self.shared.runs.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        runs.range((since, String::new(), String::new())..).map(|(_, run)| Arc::clone(run)).collect()
    }
}

fn past(object: Object) -> Option<((Timestamp, String, String), Arc<PastRun>)> {
    let run: GateRun = object
        .into_resource()
        .inspect_err(|error| tracing::warn!(%error, "A stored run cannot be read and is not counted."))
        .ok()?;
    let created_at = run.metadata.creation_timestamp.as_ref()?.0;
    let status = run.status.as_ref();
    let past = PastRun {
        name: name_of(&run).to_owned(),
        namespace: namespace_of(&run).to_owned(),
        gate: run.spec.gate.clone(),
        change: run.spec.change.clone(),
        batch: run.spec.batch,
        point: run.spec.point,
        verdict: status.map_or(Verdict::Wait, |status| status.verdict),
        until: status.filter(|status| status.verdict == Verdict::Wait).and_then(|status| status.until),
        created_at,
        decided_at: status.and_then(|status| status.decided_at),
        void: status.is_some_and(|status| status.voided.is_some()),
    };
    Some(((created_at, past.namespace.clone(), past.name.clone()), Arc::new(past)))
}
