//! One look at one rollout: read, ask, decide, write, until there is nothing to do.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::decide::{Action, Answers, Ask, GateView, Next, Tell, Told, View, decide};
use super::driver::Inner;
use super::gates;
use super::observation::{Observation, Position};
use super::queue::Key;
use super::watch::{resource_of, value_of};
use crate::api::{Cause, GateRun, WorkloadRef};
use crate::cluster::{ApiError, Call, Named};
use crate::model::{OnBlock, Point, Verdict};
use crate::store::StoreExt;

/// The most writes of one look: a hold, an approval, a release and some notes. More would mean that
/// somebody undoes what we do.
const MAX_WRITES: usize = 8;
/// How long a waiting question is listened to before its rollout is looked at anyway.
const LISTEN: Duration = Duration::from_secs(20);
/// The pause after a question whose answer did not wait for us: Probegate itself is in trouble.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the answer about a rollback is waited for, which is asked about its windows alone.
const BACK: Duration = Duration::from_secs(2);
/// How often a held rollout is asked about again: an override may have come.
const RECHECK: Duration = Duration::from_secs(5);
/// How often a release that is under way is looked at though nothing has changed.
const RELOOK: Duration = Duration::from_secs(30);
/// The most revisions of a workload that are read: the API server keeps ten unless told otherwise.
const MAX_REVISIONS: u32 = 500;

impl Inner {
    /// Looks, and says when to look again though nothing changes.
    pub(super) async fn look(self: &Arc<Self>, key: &Key) -> Result<Option<Duration>, ApiError> {
        let known = {
            let state = self.lock();
            state.resource.clone().zip(state.rollouts.get(key).cloned())
        };
        let Some((resource, rollout)) = known else { return Ok(None) };
        let mut rollout = rollout.as_ref().clone();
        let mut gates = self.gates_of(&rollout);
        if !gates.is_empty() && !self.is_over(key) {
            // A watch that is behind must not keep a rollout waiting: a look begins with what is there.
            rollout = self.reread(key, &resource, rollout).await?;
            gates = self.gates_of(&rollout);
        }
        self.remember(key, |known| known.gates.clone_from(&gates));
        if gates.is_empty() && self.adapter.observe(&rollout, None, &[]).record.is_none() {
            self.report(key, &gates, None, None).await;
            if self.is_over(key) {
                self.forget(key);
            }
            return Ok(None);
        }
        for _ in 0..MAX_WRITES {
            let (workload, revisions) = self.workload(key, &rollout, !gates.is_empty()).await?;
            let seen = self.adapter.observe(&rollout, workload.as_ref(), &revisions);
            self.time(key, &seen);
            let next = self.next(key, &seen, &gates).await;
            let done = match next {
                Next::Rest { tell, waits } => {
                    return self.rest(key, &resource, &rollout, &seen, &gates, tell, waits).await;
                }
                Next::Ask(_) => return Ok(Some(PAUSE)),
                Next::Do(action) => {
                    self.perform(key, &resource, &rollout, &seen, workload.as_ref(), &revisions, action).await
                }
            };
            match done {
                Ok(Some(new)) => {
                    self.lock().rollouts.insert(key.clone(), Arc::new(new.clone()));
                    rollout = new;
                }
                // The rollout is gone, or what was written is not in it.
                Ok(None) | Err(ApiError::Conflict { .. }) => rollout = self.reread(key, &resource, rollout).await?,
                // It was deleted a moment ago, and the watch tells soon.
                Err(ApiError::NotFound { .. }) if !self.is_over(key) => return Ok(Some(PAUSE)),
                Err(ApiError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
            if self.is_over(key) {
                self.forget(key);
                return Ok(None);
            }
        }
        tracing::warn!(
            namespace = key.0,
            name = key.1,
            "A rollout changes as fast as it is written to; others wait no longer for it."
        );
        Ok(Some(RECHECK))
    }

    fn is_over(&self, key: &Key) -> bool {
        self.lock().known.get(key).is_some_and(|known| known.gone)
    }

    /// Asks whoever has to be asked until it is clear what comes next.
    async fn next(&self, key: &Key, seen: &Observation, gates: &[GateView]) -> Next {
        let hand = self.lock().known.get(key).and_then(|known| known.hand.clone());
        let hand = hand.filter(|hand| hand != super::decide::MANAGER && !is_engine(hand));
        let mut answers = Answers::new();
        loop {
            let next = decide(&View { seen, gates, answers: &answers, hand: hand.as_deref() });
            let Next::Ask(asks) = next else { return next };
            let before = answers.len();
            for ask in asks {
                let wait = if ask.rollback { BACK } else { Duration::ZERO };
                let told = self.ask(seen, gates, &ask, wait).await;
                answers.insert(ask, told);
            }
            if answers.len() == before {
                return super::decide::IDLE;
            }
        }
    }

    async fn ask(&self, seen: &Observation, gates: &[GateView], ask: &Ask, wait: Duration) -> Told {
        let gate = self.parts.gates.get(&seen.namespace, &ask.gate);
        let question = gates::question(self.adapter.as_ref(), gate.as_deref(), seen, ask);
        let answer = match self.parts.ask.ask(question, wait).await {
            Ok(answer) => answer,
            Err(error) => {
                let reason = error.to_string();
                return Told { verdict: Verdict::Wait, reason, run: None, final_word: false };
            }
        };
        let rolls_back = gates.iter().any(|gate| gate.name == ask.gate && gate.on_block == OnBlock::Rollback);
        let blocked = answer.verdict == Verdict::Block && ask.point == Point::Post;
        let final_word = blocked && rolls_back && self.is_final(&answer.id).await;
        Told { verdict: answer.verdict, reason: answer.reason, run: Some(answer.id), final_word }
    }

    /// Whether a block speaks of the revision. What cannot be read does not.
    async fn is_final(&self, id: &str) -> bool {
        let Some((namespace, name)) = id.split_once('/') else { return false };
        let run: Option<GateRun> = self.parts.store.get_as(namespace, name).await.ok().flatten();
        let cause = run.and_then(|run| run.status).and_then(|status| status.cause);
        matches!(cause, Some(Cause::Checks | Cause::Unknown | Cause::Override | Cause::Standing))
    }

    /// The workload as it is now, and its revisions while a release is under way.
    async fn workload(&self, key: &Key, rollout: &Value, gated: bool) -> Result<(Option<Value>, Vec<Value>), ApiError> {
        let Some(reference) = self.adapter.workload(rollout).filter(|_| gated) else { return Ok((None, Vec::new())) };
        let resource = resource_of(&reference);
        let api: Api<DynamicObject> = Api::namespaced_with(self.parts.client.clone(), &key.0, &resource);
        let kind = format!("{}.{}", resource.plural, resource.group);
        let call = Call { verb: "get", resource: &kind, namespace: &key.0, name: &reference.name };
        let Some(workload) = api.get_opt(&reference.name).await.named(call)? else { return Ok((None, Vec::new())) };
        let workload = value_of(workload, &resource);
        let resting = matches!(
            self.adapter.observe(rollout, None, &[]).position,
            Position::Resting { .. } | Position::Finishing | Position::RollingBack | Position::Strange
        );
        let revisions = if resting { Vec::new() } else { self.revisions(key, &reference, &workload).await? };
        Ok((Some(workload), revisions))
    }

    async fn revisions(&self, key: &Key, reference: &WorkloadRef, workload: &Value) -> Result<Vec<Value>, ApiError> {
        let (kind, plural) = if reference.kind == "Deployment" {
            ("ReplicaSet", "replicasets")
        } else {
            ("ControllerRevision", "controllerrevisions")
        };
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("apps", "v1", kind), plural);
        let labels = workload.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
        let selector: Vec<String> = labels
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?)))
            .collect();
        let api: Api<DynamicObject> = Api::namespaced_with(self.parts.client.clone(), &key.0, &resource);
        let params = ListParams::default().labels(&selector.join(",")).limit(MAX_REVISIONS);
        let name = format!("{plural}.apps");
        let call = Call { verb: "list", resource: &name, namespace: &key.0, name: "" };
        let found = api.list(&params).await.named(call)?;
        let uid = workload.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned();
        let owned =
            |object: &DynamicObject| object.metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid);
        Ok(found.items.into_iter().filter(owned).map(|object| value_of(object, &resource)).collect())
    }

    async fn reread(&self, key: &Key, resource: &ApiResource, old: Value) -> Result<Value, ApiError> {
        if self.is_over(key) {
            return Ok(old);
        }
        let api: Api<DynamicObject> = Api::namespaced_with(self.parts.client.clone(), &key.0, resource);
        let kind = format!("{}.{}", resource.plural, resource.group);
        let call = Call { verb: "get", resource: &kind, namespace: &key.0, name: &key.1 };
        let Some(object) = api.get_opt(&key.1).await.named(call)? else { return Ok(old) };
        let value = value_of(object, resource);
        self.lock().rollouts.insert(key.clone(), Arc::new(value.clone()));
        Ok(value)
    }

    /// Since when a step waits, for the time to its approval.
    fn time(&self, key: &Key, seen: &Observation) {
        let waits = matches!(seen.position, Position::Waiting(_) | Position::Asking | Position::Ready(_));
        self.remember(key, |known| {
            if !waits {
                (known.waiting, known.answered) = (None, None);
            } else if known.waiting.is_none() {
                known.waiting = Some(Instant::now());
            }
        });
    }

    #[expect(clippy::too_many_arguments, reason = "all that one look has found out")]
    async fn rest(
        self: &Arc<Self>,
        key: &Key,
        resource: &ApiResource,
        rollout: &Value,
        seen: &Observation,
        gates: &[GateView],
        tell: Option<Tell>,
        waits: Vec<Ask>,
    ) -> Result<Option<Duration>, ApiError> {
        self.report(key, gates, Some(seen), tell.as_ref()).await;
        if self.is_over(key) {
            self.forget(key);
            return Ok(None);
        }
        self.listen(key, seen, gates, waits);
        let held = tell.is_some();
        if let Some(tell) = tell.filter(|tell| seen.told.as_ref() != Some(&tell.text)) {
            match self.tell(key, resource, rollout, tell).await {
                Ok(()) | Err(ApiError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(match seen.position {
            Position::Resting { .. } | Position::Disabled | Position::Leaving => None,
            _ if held => Some(RECHECK),
            _ => Some(RELOOK),
        })
    }

    /// Waits for open answers in a task of its own, and looks again as soon as there is one.
    fn listen(self: &Arc<Self>, key: &Key, seen: &Observation, gates: &[GateView], waits: Vec<Ask>) {
        let mut state = self.lock();
        let known = state.known.entry(key.clone()).or_default();
        if waits.is_empty() {
            known.waiter = None;
            return;
        }
        if known.waiter.as_ref().is_some_and(|(asks, task)| *asks == waits && !task.is_finished()) {
            return;
        }
        let (inner, seen, gates, asks, key) =
            (Arc::clone(self), seen.clone(), gates.to_vec(), waits.clone(), key.clone());
        let task = self.tasks.spawn(async move {
            let begun = Instant::now();
            let answers = asks.iter().map(|ask| Box::pin(inner.ask(&seen, &gates, ask, LISTEN)));
            let (told, ..) = tokio::select! {
                () = inner.stop.cancelled() => return,
                answer = futures::future::select_all(answers) => answer,
            };
            // What passes goes on at once. A block is looked at now and then; one that came at once was there before.
            let pause = match told.verdict {
                Verdict::Pass => Duration::ZERO,
                Verdict::Block if begun.elapsed() >= PAUSE => Duration::ZERO,
                Verdict::Block | Verdict::Wait => PAUSE,
            };
            inner.remember(&key, |known| known.answered = Some(Instant::now()));
            inner.queue.push(key, pause);
        });
        known.waiter = Some((waits, AbortOnDropHandle::new(task)));
    }
}

/// Whether a field manager is the engine itself: its binary's name, or that of its image.
pub(super) fn is_engine(manager: &str) -> bool {
    matches!(manager, "rollouts" | "kruise-rollout" | "manager")
}

/// What an action is called in logs.
pub(super) const fn name_of(action: &Action) -> &'static str {
    match action {
        Action::Hold => "hold",
        Action::Approve => "approve",
        Action::Release(..) => "let out",
        Action::Resume(_) => "resume",
        Action::Note(_) => "note",
        Action::Adopt(_) => "take over",
        Action::Bypass(_) => "record a bypass",
        Action::RollBack(_) => "roll back",
    }
}
