//! What has happened lately: the runs that budgets, breakers and windows count.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::watch;

use super::{Object, Query, Store, StoreError, WatchEvent};
use crate::api::{GateRun, GateRunSpec, Resource};
use crate::model::{PastRun, Verdict};

/// The most runs that are remembered: hundreds of changes a day with tens of questions each, for a
/// week. About 1 KB each.
pub const MAX_PAST_RUNS: usize = 20_000;
/// Runs that are read at once at the start: each comes with its evidence, of which nothing stays.
const PAGE: usize = 100;
/// How long the first reading waits after trouble before it goes on.
const PAUSE: Duration = Duration::from_secs(1);

type Key = (Timestamp, String, String);

/// The latest runs of all gates in memory. Cheap to clone; all clones are one ledger.
#[derive(Debug, Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    runs: RwLock<BTreeMap<Key, Arc<PastRun>>>,
    synced: watch::Sender<bool>,
}

impl Ledger {
    /// An empty ledger that follows `store` for as long as the returned future is polled.
    pub fn follow(store: Arc<dyn Store>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let ledger =
            Self { shared: Arc::new(Shared { runs: RwLock::new(BTreeMap::new()), synced: watch::Sender::new(false) }) };
        let writer = ledger.clone();
        let run = async move {
            // The list of the watch only says where it begins; the past itself is read in pages.
            let query = Query { limit: 1, brief: true, ..Query::default() };
            let mut events = store.watch(GateRun::KIND, query);
            while let Some(event) = events.next().await {
                match event {
                    Ok(WatchEvent::Listed(_)) => {
                        writer.read_past(store.as_ref()).await;
                        writer.shared.synced.send_replace(true);
                    }
                    Ok(WatchEvent::Applied(object)) => writer.add(past(object)),
                    Ok(WatchEvent::Deleted(object)) => {
                        // A record that retention has removed still happened: it stays until it is the oldest.
                        tracing::trace!(name = object.name, "A deleted run stays in the ledger.");
                    }
                    Err(error) => {
                        tracing::warn!(%error, "The ledger's watch is in trouble; what it knows stays in use.");
                    }
                }
            }
        };
        (ledger, run)
    }

    /// Reads the newest runs page by page: one page at a time is in memory, whatever is stored.
    async fn read_past(&self, store: &dyn Store) {
        let mut query = Query { limit: PAGE, brief: true, ..Query::default() };
        let mut left = MAX_PAST_RUNS;
        while left > 0 {
            let page = match store.list(GateRun::KIND, &query).await {
                Ok(page) => page,
                Err(error) => {
                    self.tell(&error);
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            left = left.saturating_sub(page.items.len());
            self.add(page.items.into_iter().filter_map(past));
            let Some(next) = page.next else { break };
            query.after = Some(next);
        }
    }

    fn tell(&self, error: &StoreError) {
        tracing::warn!(%error, synced = self.synced(), "The past runs cannot be read; tried again.");
    }

    fn add(&self, new: impl IntoIterator<Item = (Key, Arc<PastRun>)>) {
        // Read before the lock is taken: whoever counts does not wait for that.
        let new: Vec<_> = new.into_iter().collect();
        let mut runs = self.shared.runs.write().unwrap_or_else(PoisonError::into_inner);
        for (key, run) in new {
            // A page may be ahead of the events that come after it: what is decided stays so.
            let ahead = runs.get(&key).is_some_and(|old| old.decided_at.is_some() && run.decided_at.is_none());
            if !ahead {
                runs.insert(key, run);
            }
        }
        while runs.len() > MAX_PAST_RUNS {
            runs.pop_first();
        }
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
        let runs = self.shared.runs.read().unwrap_or_else(PoisonError::into_inner);
        runs.range((since, String::new(), String::new())..).map(|(_, run)| Arc::clone(run)).collect()
    }
}

/// What is remembered of a stored run: all but its checks, which are most of it.
#[derive(Deserialize)]
struct Brief {
    metadata: ObjectMeta,
    spec: GateRunSpec,
    #[serde(default)]
    status: Option<BriefStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BriefStatus {
    verdict: Verdict,
    #[serde(default)]
    until: Option<Timestamp>,
    #[serde(default)]
    decided_at: Option<Timestamp>,
    #[serde(default)]
    voided: Option<IgnoredAny>,
}

fn past(object: Object) -> Option<(Key, Arc<PastRun>)> {
    let Object { namespace, name, body, .. } = object;
    let Brief { metadata, spec, status } = serde_json::from_value(body)
        .inspect_err(|error| tracing::warn!(%error, namespace, name, "A stored run cannot be read and is not counted."))
        .ok()?;
    let created_at = metadata.creation_timestamp?.0;
    let past = PastRun {
        name: name.clone(),
        namespace: namespace.clone(),
        verdict: status.as_ref().map_or(Verdict::Wait, |status| status.verdict),
        until: status.as_ref().filter(|status| status.verdict == Verdict::Wait).and_then(|status| status.until),
        created_at,
        decided_at: status.as_ref().and_then(|status| status.decided_at),
        void: status.is_some_and(|status| status.voided.is_some()),
        gate: spec.gate,
        change: spec.change,
        batch: spec.batch,
        point: spec.point,
    };
    Some(((created_at, namespace, name), Arc::new(past)))
}
