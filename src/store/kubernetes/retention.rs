//! Forgetting in a cluster: the same rules as at home, with less to keep in etcd.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::KubernetesStore;
use super::kinds;
use crate::api::{GateRun, Override, Resource, name_of, namespace_of};
use crate::clock::Clock;
use crate::store::retention::{Decided, EVERY, FIRST_AFTER, Opened, due, over_since, policies};
use crate::store::{Forgotten, Query, Retention, Store, StoreError};

/// Decided runs that are kept of one gate, where it does not say.
pub const RUNS_PER_GATE: u32 = 200;
/// Decided runs that are kept of all gates together: at 30 KB each some 300 MB of etcd's usual 2 GB.
pub const MAX_RUNS: u32 = 10_000;
/// The pause between two deletions: others write as well.
const PAUSE: Duration = Duration::from_millis(20);

/// What of a run's overview says whose it is.
#[derive(Deserialize)]
struct Brief {
    spec: BriefSpec,
}

#[derive(Deserialize)]
struct BriefSpec {
    #[serde(default)]
    gate: Option<String>,
}

impl KubernetesStore {
    /// How much is kept in a cluster where gates do not say.
    #[must_use]
    pub fn retention() -> Retention {
        Retention { runs: RUNS_PER_GATE, all_runs: MAX_RUNS, ..Retention::default() }
    }

    /// Removes what is due, now and then, until `shutdown`. Only one replica should. Failures are
    /// logged and tried again.
    pub async fn forget(self: Arc<Self>, retention: Retention, clock: Arc<dyn Clock>, shutdown: CancellationToken) {
        let opened = Opened::at(clock.as_ref());
        let mut pause = FIRST_AFTER;
        while shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            pause = EVERY;
            let now = opened.now(clock.as_ref());
            match shutdown.run_until_cancelled(self.forget_once(&retention, now)).await {
                None => return,
                Some(Ok(Forgotten { runs: 0, overrides: 0 })) => {}
                Some(Ok(Forgotten { runs, overrides })) => {
                    tracing::info!(runs, overrides, "Old records were removed.");
                }
                Some(Err(error)) => tracing::warn!(%error, "Old records could not be removed; tried again later."),
            }
        }
    }

    /// One round at `now`, the oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; what was removed until then stays removed.
    pub async fn forget_once(&self, retention: &Retention, now: Timestamp) -> Result<Forgotten, StoreError> {
        let policies = policies(self).await?;
        let runs = due(self.decided_runs().await?, retention, &policies, now);
        let mut forgotten = Forgotten::default();
        for (namespace, name, version) in runs {
            forgotten.runs += self.remove(GateRun::KIND, &namespace, &name, version.as_deref()).await?;
        }
        if let Ok(before) = now.checked_sub(retention.overrides) {
            forgotten.overrides = self.forget_overrides(before).await?;
        }
        Ok(forgotten)
    }

    /// Every decided run, out of memory, with the version that was seen to be decided.
    async fn decided_runs(&self) -> Result<Vec<Decided<(String, String, Option<String>)>>, StoreError> {
        let Some((number, kind)) = kinds::find(GateRun::KIND) else { return Ok(Vec::new()) };
        let hub = self.hub(number, kind);
        hub.current(None, 0).await?;
        let query = Query { decided: Some(true), brief: true, ..Query::default() };
        let (found, _) = hub.select(&query, None, usize::MAX);
        let read = |(place, text): (super::index::Place, Arc<str>)| {
            let (namespace, name) = place.key().clone();
            let gate = serde_json::from_str::<Brief>(&text).ok().and_then(|brief| brief.spec.gate);
            let body: serde_json::Value = serde_json::from_str(&text).ok()?;
            let version = super::bodies::meta(&body, "resourceVersion").map(str::to_owned);
            let created = super::bodies::meta(&body, "creationTimestamp")?.parse().ok()?;
            Some(Decided { key: (namespace.clone(), name, version), namespace, gate, created })
        };
        Ok(found.into_iter().filter_map(read).collect())
    }

    async fn forget_overrides(&self, before: Timestamp) -> Result<usize, StoreError> {
        let (mut count, mut query) = (0, Query::default());
        loop {
            let page = self.list(Override::KIND, &query).await?;
            for due in page.items.into_iter().filter_map(|object| over_since(object, before)) {
                let version = due.metadata.resource_version.as_deref();
                count += self.remove(Override::KIND, namespace_of(&due), name_of(&due), version).await?;
            }
            let Some(next) = page.next else { return Ok(count) };
            query.after = Some(next);
        }
    }

    /// One deletion, and the pause after it; how many are gone by it.
    async fn remove(
        &self,
        kind: &'static str,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<usize, StoreError> {
        let removed = match self.delete(kind, namespace, name, version).await {
            Ok(()) => 1,
            // Somebody has just written it, or taken it away: looked at again next time.
            Err(StoreError::Conflict { .. } | StoreError::NotFound { .. }) => 0,
            Err(error) => return Err(error),
        };
        if removed > 0 {
            self.metrics.deleted(kind);
        }
        tokio::time::sleep(PAUSE).await;
        Ok(removed)
    }
}
