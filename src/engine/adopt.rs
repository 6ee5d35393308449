//! Runs that others have created: those that a restart has interrupted, those that a replica or a
//! terminal has left for whoever leads, and those that somebody has made by hand.

use super::attempt::{AttemptState, state_of};
use super::record::{id_of, labels, question_of};
use super::service::{Engine, labelled_key};
use crate::api::{GateRun, name_of, namespace_of};
use crate::model::{Question, QuestionKey};
use crate::store::{Object, StoreError, StoreExt};

impl Engine {
    /// Takes up an open run from the store, unless it goes on already. One that somebody has
    /// created without our labels gets them; if its question has a run, it takes that run's word.
    pub(super) async fn adopt(&self, object: Object) {
        let run: GateRun = match object.into_resource() {
            Ok(run) => run,
            Err(error) => {
                tracing::error!(%error, "A run cannot be read; it stays open.");
                return;
            }
        };
        let question = question_of(&run, self.inner.parts.cluster.as_deref());
        let key = question.key();
        if self.inner.open.by_id(&id_of(&run)).is_some() {
            self.heed(&run);
            return;
        }
        let _guard = self.inner.lock(key).await;
        if let Err(error) = self.adopt_locked(run, question, key).await {
            tracing::error!(%error, "An open run cannot be taken up; it is tried again when it changes.");
        }
    }

    /// The same, for whoever holds the question's lock.
    pub(super) async fn adopt_locked(
        &self,
        run: GateRun,
        question: Question,
        key: QuestionKey,
    ) -> Result<(), StoreError> {
        let (namespace, name) = (namespace_of(&run).to_owned(), name_of(&run).to_owned());
        // In this order: a run that has just ended here is decided in the store before it is let go.
        if self.inner.open.by_id(&id_of(&run)).is_some() {
            return Ok(());
        }
        let Some(mut run) = self.inner.parts.store.get_as::<GateRun>(&namespace, &name).await? else { return Ok(()) };
        if run.status.as_ref().is_some_and(|status| status.decided_at.is_some()) {
            return Ok(());
        }
        if labelled_key(&run).as_deref() == Some(key.to_string().as_str()) && run.status.is_some() {
            if self.inner.parts.lead.is_shared() {
                // The replica that was asked cannot end what goes on here.
                self.void_others(&question).await?;
            }
            let standing = self.standing(&question).await?;
            let wanted = run.clone();
            self.start(run, question, standing).await;
            self.heed(&wanted);
            return Ok(());
        }
        if let Some(open) = self.inner.open.get(key) {
            self.follow(run, open);
            return Ok(());
        }
        let other = self.latest_attempt(&question, key, Some(&name)).await?;
        let number = match &other {
            Some(other) => match state_of(other, &self.overrides_on(&question), self.inner.parts.clock.now()) {
                AttemptState::Open => {
                    let standing = self.standing(&question).await?;
                    let open = self.start(other.clone(), question, standing).await;
                    self.follow(run, open);
                    return Ok(());
                }
                AttemptState::Answers => return self.copy(run, other).await,
                _ => other.status.as_ref().map_or(1, |status| status.attempt).saturating_add(1),
            },
            None => 1,
        };
        run.metadata.labels.get_or_insert_default().extend(labels(&question));
        let run = self.inner.parts.store.put_as(&run).await?;
        self.void_others(&question).await?;
        let standing = self.standing(&question).await?;
        let wanted = run.clone();
        self.start_as(run, question, standing, number).await;
        self.heed(&wanted);
        Ok(())
    }

    /// Gives a run that asks an answered question that question's answer.
    pub(super) async fn copy(&self, mut run: GateRun, from: &GateRun) -> Result<(), StoreError> {
        run.status.clone_from(&from.status);
        if let Some(status) = run.status.as_mut() {
            status.reason = format!("the same question as run {}: {}", name_of(from), status.reason);
        }
        self.inner.parts.store.put_status_as(&run).await.map(|_| ())
    }
}
