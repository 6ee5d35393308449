//! Runs that another replica drives: whoever asks here is told what is written there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lookup::{Found, Judged};
use super::open::{OpenRun, Order, Snapshot};
use super::record::{id_of, new_run, question_of, run_name};
use super::service::Engine;
use crate::api::{ANNOTATION_CANCEL, GateRun, GateRunStatus, Wish, name_of, namespace_of};
use crate::model::{Question, QuestionKey, Verdict};
use crate::store::{Object, Query, StoreError, StoreExt, WatchEvent};

/// How long a run may lie there before its asker is told that nobody takes it up: longer than it takes
/// until another replica leads.
const ATTENDED_WITHIN: Duration = Duration::from_secs(15);
/// How often a command at a terminal looks at the runs that it waits for.
const LOOK: Duration = Duration::from_secs(1);
/// How many attempts that are over are passed by on the way to the next one: whoever counts them by
/// other labels than we do is soon overtaken.
const MAX_PASSED: u32 = 10;

/// What is told of the runs that are looked on, by the run's id.
#[derive(Debug, Default)]
pub(super) struct LookedOn(Mutex<HashMap<String, (QuestionKey, watch::Sender<Snapshot>)>>);

impl LookedOn {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (QuestionKey, watch::Sender<Snapshot>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ids(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }
}

impl Engine {
    /// Makes a run for whoever leads: without a status, because that is the leader's to write, and an
    /// API server with admission policies takes it from nobody else.
    pub(super) async fn hand_on(&self, question: &Question, key: QuestionKey, first: u32) -> Result<Found, StoreError> {
        for number in first..first.saturating_add(MAX_PASSED) {
            let store = &self.inner.parts.store;
            match store.create_as(&new_run(question, number)).await {
                Ok(run) => return Ok(Found::Open(self.look_on(&run, question))),
                Err(StoreError::Exists { .. }) => {}
                Err(error) => return Err(error),
            }
            // Somebody was faster, or it was made here before and is labelled otherwise by now.
            let there = store.get_as::<GateRun>(&question.namespace, &run_name(question, number)).await?;
            match there.map(|run| self.judged(run, question, key)) {
                Some(Judged::Open(run)) => return Ok(Found::Open(self.look_on(&run, question))),
                Some(Judged::Answer(answer)) => return Ok(Found::Answer(answer)),
                Some(Judged::Over(_)) | None => {}
            }
        }
        Err(StoreError::Invalid("runs of this question come and go too fast: ask again".to_owned()))
    }

    /// Looks on at a run that another replica drives. The caller holds the question's lock.
    pub(super) fn look_on(&self, run: &GateRun, question: &Question) -> Arc<OpenRun> {
        let (key, id) = (question.key(), id_of(run));
        if let Some(open) = self.inner.open.get(key).filter(|open| open.id == id) {
            return open;
        }
        let status = run.status.clone().unwrap_or_else(not_begun);
        let (latest, receiver) =
            watch::channel(Snapshot { status: Arc::new(status), retry_after: None, committed: false });
        // Nobody here takes orders: whoever would end it writes that on the run.
        let (orders, _) = mpsc::channel(1);
        let open = Arc::new(OpenRun { id: id.clone(), since: Instant::now(), orders, latest: receiver });
        self.inner.looked_on.lock().insert(id.clone(), (key, latest));
        self.inner.open.insert(key, Arc::clone(&open));
        if self.inner.parts.lead.now() {
            // It leads since a moment ago and takes the run up by its watch: nothing may stand in the way.
            self.inner.looked_on.lock().remove(&id);
            self.inner.open.remove(key, &id);
            return open;
        }
        // It may have been decided between the reading and the looking.
        let (engine, namespace, name) = (self.clone(), namespace_of(run).to_owned(), name_of(run).to_owned());
        self.inner.tasks.spawn(async move { engine.look(&namespace, &name).await });
        open
    }

    /// Tells what the store tells of runs that others drive, until this process leads or `shutdown`.
    pub(super) async fn look_on_until_leading(&self, shutdown: &CancellationToken) {
        let query = Query { decided: Some(false), ..Query::default() };
        let mut open = self.inner.parts.store.watch("GateRun", query);
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.inner.parts.lead.wait() => break,
                event = open.next() => event,
            };
            match event {
                Some(Ok(WatchEvent::Listed(objects))) => {
                    let listed: Vec<String> = objects.iter().map(|o| format!("{}/{}", o.namespace, o.name)).collect();
                    for object in objects {
                        self.tell(object);
                    }
                    for id in self.inner.looked_on.ids().iter().filter(|id| !listed.contains(id)) {
                        if let Some((namespace, name)) = id.split_once('/') {
                            self.look(namespace, name).await;
                        }
                    }
                }
                Some(Ok(WatchEvent::Applied(object))) => self.tell(object),
                Some(Ok(WatchEvent::Deleted(object))) => self.look(&object.namespace, &object.name).await,
                Some(Err(error)) => tracing::warn!(%error, "The watch on open runs is in trouble."),
                None => break,
            }
        }
        // Whoever still waits gets the latest that is known, and asks again.
        self.inner.looked_on.lock().clear();
        self.inner.open.clear();
    }

    /// Looks at the runs that somebody here waits for, time and again until `shutdown`: for a command at
    /// a terminal, which waits for one or two and would rather not follow all that there are.
    pub async fn look_now_and_then(&self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            for id in self.inner.looked_on.ids() {
                if let Some((namespace, name)) = id.split_once('/') {
                    self.look(namespace, name).await;
                }
            }
        }
    }

    /// Looks a run up in the store and tells what stands there.
    async fn look(&self, namespace: &str, name: &str) {
        let id = format!("{namespace}/{name}");
        if !self.inner.looked_on.lock().contains_key(&id) {
            return;
        }
        match self.inner.parts.store.get("GateRun", namespace, name).await {
            Ok(Some(object)) => self.tell(object),
            Ok(None) => self.end(&id, |old| {
                let mut status = old.clone();
                status.verdict = Verdict::Block;
                "the run was deleted before it was decided".clone_into(&mut status.reason);
                status
            }),
            Err(error) => tracing::warn!(%error, id, "A run that another replica drives cannot be read."),
        }
    }

    fn tell(&self, object: Object) {
        let id = format!("{}/{}", object.namespace, object.name);
        if !self.inner.looked_on.lock().contains_key(&id) {
            return;
        }
        let Ok(GateRun { status: Some(status), .. }) = object.into_resource::<GateRun>() else { return };
        if status.decided_at.is_some() {
            self.end(&id, |_| status);
        } else if let Some((_, latest)) = self.inner.looked_on.lock().get(&id) {
            latest.send_replace(Snapshot { status: Arc::new(status), retry_after: None, committed: false });
        }
    }

    fn end(&self, id: &str, last: impl FnOnce(&GateRunStatus) -> GateRunStatus) {
        let Some((key, latest)) = self.inner.looked_on.lock().remove(id) else { return };
        let status = Arc::new(last(&latest.borrow().status));
        latest.send_replace(Snapshot { status, retry_after: None, committed: true });
        self.inner.open.remove(key, id);
    }

    /// Writes on a run that it shall end, for the replica that drives it, and looks on at it. Who has
    /// wished so first stays on record.
    pub(super) async fn wish_to_cancel(
        &self,
        run: &GateRun,
        actor: &str,
        reason: &str,
    ) -> Result<Arc<OpenRun>, StoreError> {
        let wish = Wish { actor: actor.to_owned(), reason: reason.to_owned() };
        let store = &self.inner.parts.store;
        let write = |run: &mut GateRun| wish.write_first(run, ANNOTATION_CANCEL);
        let run = store.amend(namespace_of(run), name_of(run), write).await?;
        let question = question_of(&run, self.inner.parts.cluster.as_deref());
        let _guard = self.inner.lock(question.key()).await;
        Ok(self.look_on(&run, &question))
    }

    /// Ends a run here where somebody has written on it that it shall end.
    pub(super) fn heed(&self, run: &GateRun) {
        let wish = Wish::of(run, ANNOTATION_CANCEL);
        let Some((wish, open)) = wish.zip(self.inner.open.by_id(&id_of(run))) else { return };
        // A full queue has an earlier order in it, which ends the run as well.
        let _ = open.orders.try_send(Order::Cancel { actor: wish.actor, reason: wish.reason });
    }
}

/// What is said of a run that lies there and that nobody takes up.
pub(super) fn unattended(open: &OpenRun, snapshot: &Snapshot) -> Option<String> {
    let begun = snapshot.status.started_at.is_some() || snapshot.committed;
    (!begun && open.since.elapsed() > ATTENDED_WITHIN).then(|| {
        "no operator leads: nobody has taken the run up; is one running, and is this namespace its own?".to_owned()
    })
}

/// The status of a run that nobody has taken up yet.
fn not_begun() -> GateRunStatus {
    GateRunStatus {
        verdict: Verdict::Wait,
        reason: "the run has not begun yet".to_owned(),
        until: None,
        attempt: 1,
        checks: Vec::new(),
        started_at: None,
        decided_at: None,
        cause: None,
        measured_millis: 0,
        seen_at: None,
        plan: None,
        overrides: Vec::new(),
        voided: None,
        bypassed: None,
        cancelled_by: None,
        decided_with: String::new(),
        conditions: Vec::new(),
    }
}
