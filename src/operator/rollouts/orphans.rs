//! Runs that wait for a rollout that is not there any more: it was deleted while no operator looked,
//! and whatever it held went out.

use super::decide::Bypass;
use super::driver::Inner;
use super::gates;
use super::record::{How, Record};
use crate::api::{GateRun, name_of, namespace_of};
use crate::store::{Query, StoreExt};

impl Inner {
    /// Records it on the runs that are open. Only after a whole list of rollouts: what is missing
    /// from it does not exist.
    pub(super) async fn find_orphans(&self, place: Option<&str>) {
        let mut query =
            Query { namespace: place.map(str::to_owned), decided: Some(false), brief: true, ..Query::default() };
        loop {
            let page = match self.parts.store.list_as::<GateRun>(&query).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "It is not known whether rollouts were deleted while nobody looked.");
                    return;
                }
            };
            for run in page.items.iter().filter(|run| self.is_orphan(run)) {
                self.tell_of(run).await;
            }
            let Some(next) = page.next else { return };
            query.after = Some(next);
        }
    }

    /// Whether a run was asked for a rollout that is not there.
    fn is_orphan(&self, run: &GateRun) -> bool {
        let change = &run.spec.change;
        let ours = change.actor.strip_prefix(self.adapter.actor());
        if !ours.is_some_and(|rest| rest.is_empty() || rest.starts_with(" (")) {
            return false;
        }
        if run.status.as_ref().is_some_and(|status| status.bypassed.is_some()) {
            return false;
        }
        let namespace = namespace_of(run);
        // A run whose gate's target is the workload does not tell the rollout's name.
        let Some(gate) = self.parts.gates.get(namespace, &run.spec.gate) else { return false };
        gates::targets(self.adapter.as_ref(), &gate, namespace, &change.target)
            && !self.lock().rollouts.contains_key(&(namespace.to_owned(), change.target.clone()))
    }

    async fn tell_of(&self, run: &GateRun) {
        let (namespace, name, batch) = (namespace_of(run), name_of(run), run.spec.batch.index);
        let bypass = Bypass { run: None, batch, how: How::Deleted, by: None, record: Record::default() };
        let text = format!("batch {batch} went out without a pass: {}", bypass.how.in_words());
        match self.mark(&format!("{namespace}/{name}"), &bypass, &text).await {
            Ok(()) => {
                self.metrics.bypassed(bypass.how);
                tracing::warn!(namespace, run = name, "A rollout was deleted while nobody looked; its run is marked.");
            }
            Err(error) => tracing::warn!(%error, namespace, run = name, "A run could not be marked as bypassed."),
        }
    }
}
