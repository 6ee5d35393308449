//! Writes a verdict, and answers with it only once the store has acknowledged it.

use std::sync::Arc;
use std::time::Duration;

use super::drive::Drive;
use super::metrics::VerdictLabels;
use super::open::{OpenRun, Snapshot};
use super::record::id_of;
use super::service::Engine;
use crate::api::{Gate, GateRun, GateRunStatus, Override, OverrideState, OverrideStatus, namespace_of};
use crate::model::Verdict;
use crate::store::{StoreError, StoreExt};

/// How long a verdict may wait to be written before its evidence is too old for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first pause between two attempts to write; doubled up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// How often a gate's last verdict is tried to be noted: whoever writes in between has done so after
/// that many turns.
const MAX_NOTES: usize = 5;

/// How an attempt to write a verdict ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Committed {
    /// The run is over.
    Done,
    /// The store stayed away for too long.
    TooLate,
}

impl Drive {
    pub(super) async fn commit(&mut self) -> Committed {
        let begun = self.inner.parts.clock.elapsed();
        let mut pause = FIRST_PAUSE;
        let now = self.inner.moment();
        let (before, mut told) = (self.unwritten, false);
        let old = self.latest.borrow().status.clone();
        let status = self.machine.status(now, self.attempt, Some(&old));
        loop {
            match self.write_verdict(&status).await {
                Ok(run) => return self.committed(run),
                Err(StoreError::Conflict { .. }) => {
                    if let Some(run) = self.reread().await {
                        return self.committed(run);
                    }
                }
                Err(StoreError::NotFound { .. }) => return self.gone(status),
                Err(error) => {
                    self.inner.metrics.failed_commits.inc();
                    if !std::mem::replace(&mut told, true) && !before {
                        tracing::error!(%error, run = self.run.metadata.name, "A verdict cannot be written; the answer stays wait.");
                    }
                    self.in_trouble(&error);
                }
            }
            if self.inner.parts.clock.elapsed().saturating_sub(begun) > PATIENCE {
                return Committed::TooLate;
            }
            tokio::select! {
                () = self.inner.stop.cancelled() => return Committed::Done,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(MAX_PAUSE),
            }
        }
    }

    /// Writes a verdict: a pass only while what it rests on is known to be current.
    async fn write_verdict(&mut self, status: &GateRunStatus) -> Result<GateRun, StoreError> {
        if status.verdict == Verdict::Pass
            && let Err(error) = self.inner.parts.store.current().await
        {
            self.unwritten = true;
            return Err(error);
        }
        self.write(status).await
    }

    /// Writes a status under the version that was read last.
    pub(super) async fn write(&mut self, status: &GateRunStatus) -> Result<GateRun, StoreError> {
        let mut run = self.run.clone();
        run.status = Some(status.clone());
        let written = self.inner.parts.store.put_status_as(&run).await;
        self.unwritten = matches!(written, Err(StoreError::Unavailable { .. } | StoreError::Invalid(_)));
        let written = written?;
        self.run.metadata = written.metadata.clone();
        Ok(written)
    }

    /// Somebody else has written: the stored run where it is decided, else its version is taken
    /// over for the next attempt.
    async fn reread(&mut self) -> Option<GateRun> {
        let (namespace, name) = (namespace_of(&self.run).to_owned(), self.run.metadata.name.clone()?);
        let stored = self.inner.parts.store.get_as::<GateRun>(&namespace, &name).await.ok()??;
        if stored.status.as_ref().is_some_and(|status| status.decided_at.is_some()) {
            return Some(stored);
        }
        self.run.metadata = stored.metadata;
        None
    }

    fn committed(&mut self, run: GateRun) -> Committed {
        if let Some(status) = &run.status {
            let labels = VerdictLabels { verdict: status.verdict.to_string(), point: run.spec.point.to_string() };
            self.inner.metrics.verdicts.get_or_create(&labels).inc();
            if let (Some(from), Some(to)) = (status.started_at, status.decided_at) {
                self.inner.metrics.deciding.observe(to.duration_since(from).as_secs_f64().max(0.0));
            }
            tracing::info!(run = id_of(&run), gate = run.spec.gate, change = run.spec.change.id, batch = run.spec.batch.index, point = %run.spec.point, verdict = %status.verdict, reason = status.reason, "A verdict is final.");
            self.engine.note_verdict(&run, status);
            self.latest.send_replace(Snapshot { status: Arc::new(status.clone()), retry_after: None, committed: true });
        }
        self.inner.remember(self.question.key(), run);
        Committed::Done
    }

    /// The run was deleted: whoever waits is told, and nothing is kept.
    fn gone(&self, mut status: GateRunStatus) -> Committed {
        status.verdict = Verdict::Block;
        "the run was deleted before it was decided".clone_into(&mut status.reason);
        self.latest.send_replace(Snapshot { status: Arc::new(status), retry_after: None, committed: true });
        Committed::Done
    }

    fn in_trouble(&self, error: &StoreError) {
        let mut status = self.latest.borrow().status.as_ref().clone();
        status.verdict = Verdict::Wait;
        status.reason = format!("the verdict cannot be written: {error}");
        status.until = None;
        self.latest.send_replace(Snapshot { status: Arc::new(status), retry_after: None, committed: false });
    }
}

impl Engine {
    /// What follows from a written verdict: the gate's last verdict, and the overrides that it
    /// stands on. None of it is waited for, and none of it changes the verdict.
    fn note_verdict(&self, run: &GateRun, status: &GateRunStatus) {
        let store = Arc::clone(&self.inner.parts.store);
        let (namespace, gate) = (namespace_of(run).to_owned(), run.spec.gate.clone());
        let (name, verdict, reason) =
            (run.metadata.name.clone().unwrap_or_default(), status.verdict, status.reason.clone());
        let used: Vec<String> = status.overrides.iter().map(|used| used.name.clone()).collect();
        self.inner.tasks.spawn(async move {
            // Others write to the same status: a verdict that cannot be noted then is tried again.
            for _ in 0..MAX_NOTES {
                let Ok(Some(mut gate)) = store.get_as::<Gate>(&namespace, &gate).await else { break };
                let status = gate.status.get_or_insert_default();
                status.last_verdict = Some(verdict);
                status.last_reason = Some(reason.clone());
                status.last_run = Some(name.clone());
                if !matches!(store.put_status_as(&gate).await, Err(StoreError::Conflict { .. })) {
                    break;
                }
            }
            for used in used {
                if let Ok(Some(mut by)) = store.get_as::<Override>(&namespace, &used).await {
                    let status: &mut OverrideStatus = by.status.get_or_insert_default();
                    if !status.used_by.contains(&name) {
                        status.used_by.push(name.clone());
                        status.state = Some(OverrideState::Used);
                        let _ = store.put_status_as(&by).await;
                    }
                }
            }
        });
    }

    /// Lets a run that asks the same question as an open one take that one's word when it is final.
    pub(super) fn follow(&self, run: GateRun, open: Arc<OpenRun>) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let mut latest = open.latest.clone();
            let done = tokio::select! {
                () = engine.inner.stop.cancelled() => return,
                done = latest.wait_for(|snapshot| snapshot.committed) => done.is_ok(),
            };
            let Some((namespace, name)) = open.id.split_once('/').filter(|_| done) else { return };
            let Ok(Some(decided)) = engine.inner.parts.store.get_as::<GateRun>(namespace, name).await else { return };
            if let Err(error) = engine.copy(run, &decided).await {
                tracing::warn!(%error, "A run cannot be given the answer of the run that asks the same.");
            }
        });
    }
}
