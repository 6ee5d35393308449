//! Carries out what was decided, one write at a time.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::runtime::events::{Event, EventType};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::adapter::{Write, annotate};
use super::decide::{Action, Bypass, MANAGER, Tell};
use super::driver::Inner;
use super::look::name_of;
use super::observation::Observation;
use super::queue::Key;
use super::record::Record;
use super::watch::{resource_of, value_of};
use crate::api::{
    ANNOTATION_RELEASE, ANNOTATION_VERDICT, Condition, ConditionStatus, GROUP, GateRun, VERSION, condition_types,
    set_condition,
};
use crate::cluster::{ApiError, Call, Named};

/// The longest note of an Event that the API server takes.
const MAX_NOTE: usize = 1_000;

impl Inner {
    /// Does it. The rollout after the write; `None` where it has to be read again.
    #[expect(clippy::too_many_arguments, reason = "all that one look has found out")]
    pub(super) async fn perform(
        &self,
        key: &Key,
        resource: &ApiResource,
        rollout: &Value,
        seen: &Observation,
        workload: Option<&Value>,
        revisions: &[Value],
        action: Action,
    ) -> Result<Option<Value>, ApiError> {
        let (namespace, name) = key;
        tracing::info!(namespace, name, position = ?seen.position, action = name_of(&action), "A rollout is written to.");
        let release = |record: &Record| (ANNOTATION_RELEASE, record.write());
        match action {
            Action::Hold => {
                let written = self.write(key, resource, &self.adapter.hold(rollout)).await?;
                self.metrics.holds.inc();
                Ok(Some(written))
            }
            Action::Approve => match self.adapter.approve(rollout) {
                Some(write) => self.write(key, resource, &write).await.map(Some),
                None => Ok(None),
            },
            Action::Release(record, tell) => {
                let texts = [release(&record), (ANNOTATION_VERDICT, tell.text.clone())];
                let written = self.write(key, resource, &self.adapter.release(rollout, &texts)).await?;
                self.let_out(key);
                self.publish(rollout, &tell).await;
                Ok(Some(written))
            }
            Action::Resume(record) => {
                let texts: Vec<_> = record.iter().map(release).collect();
                self.write(key, resource, &self.adapter.release(rollout, &texts)).await.map(Some)
            }
            Action::Note(record) => self.write(key, resource, &annotate(rollout, &[release(&record)])).await.map(Some),
            Action::Adopt(record) => {
                let written = self.write(key, resource, &annotate(rollout, &[release(&record)])).await?;
                let text =
                    format!("taken over in mid-release: batch {} was out before any gate was asked", record.batch);
                self.publish(rollout, &Tell { text, event: "TakenOver", warning: true, run: None }).await;
                Ok(Some(written))
            }
            Action::Bypass(bypass) => self.bypass(key, resource, rollout, bypass).await,
            Action::RollBack(tell) => {
                self.roll_back(key, rollout, workload, revisions, &tell).await?;
                Ok(Some(rollout.clone()))
            }
        }
    }

    fn let_out(&self, key: &Key) {
        self.metrics.let_out.inc();
        let since = self.remember(key, |known| {
            let since = known.waiting.take().max(known.answered.take());
            known.hand = None;
            since
        });
        if let Some(since) = since {
            self.metrics.approved_after(Instant::now().duration_since(since));
        }
    }

    async fn write(&self, key: &Key, resource: &ApiResource, write: &Write) -> Result<Value, ApiError> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.parts.client.clone(), &key.0, resource);
        let sub = if write.status { "/status" } else { "" };
        let kind = format!("{}.{}{sub}", resource.plural, resource.group);
        let call = Call { verb: "patch", resource: &kind, namespace: &key.0, name: &key.1 };
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(&write.patch);
        let written = if write.status {
            api.patch_status(&key.1, &params, &patch).await
        } else {
            api.patch(&key.1, &params, &patch).await
        };
        Ok(value_of(written.named(call)?, resource))
    }

    /// Tells what holds the rollout: where `kubectl describe` shows it, and as an Event.
    pub(super) async fn tell(
        &self,
        key: &Key,
        resource: &ApiResource,
        rollout: &Value,
        tell: Tell,
    ) -> Result<(), ApiError> {
        let written = self.write(key, resource, &annotate(rollout, &[(ANNOTATION_VERDICT, tell.text.clone())])).await?;
        self.lock().rollouts.insert(key.clone(), std::sync::Arc::new(written));
        self.publish(rollout, &tell).await;
        Ok(())
    }

    /// An Event that cannot be written is no reason to hold anything up.
    async fn publish(&self, rollout: &Value, tell: &Tell) {
        let run = tell.run.as_deref().and_then(|run| run.split_once('/')).map(|(namespace, name)| ObjectReference {
            api_version: Some(format!("{GROUP}/{VERSION}")),
            kind: Some("GateRun".to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        });
        let event = Event {
            type_: if tell.warning { EventType::Warning } else { EventType::Normal },
            reason: tell.event.to_owned(),
            note: Some(tell.text.chars().take(MAX_NOTE).collect()),
            action: "Gate".to_owned(),
            secondary: run,
        };
        if let Err(error) = self.recorder.publish(&event, &reference(rollout)).await {
            tracing::warn!(%error, "An Event about a rollout could not be written.");
        }
    }

    async fn bypass(
        &self,
        key: &Key,
        resource: &ApiResource,
        rollout: &Value,
        bypass: Bypass,
    ) -> Result<Option<Value>, ApiError> {
        let by = bypass.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let text = format!("batch {} went out without a pass: {}{by}", bypass.batch, bypass.how.in_words());
        if let Some(run) = &bypass.run {
            self.mark(run, &bypass, &text).await?;
        }
        // The record goes last: until it is written the bypass is found again.
        let over = self.lock().known.get(key).is_some_and(|known| known.gone);
        let written = if over {
            None
        } else {
            let note = annotate(rollout, &[(ANNOTATION_RELEASE, bypass.record.write())]);
            match self.write(key, resource, &note).await {
                Ok(written) => Some(written),
                Err(ApiError::NotFound { .. }) => None,
                Err(error) => return Err(error),
            }
        };
        let (namespace, name) = key;
        tracing::warn!(
            namespace,
            name,
            how = bypass.how.as_str(),
            batch = bypass.batch,
            "A batch went out without a pass."
        );
        self.metrics.bypassed(bypass.how);
        self.remember(key, |known| known.hand = None);
        self.publish(rollout, &Tell { text, event: "Bypassed", warning: true, run: bypass.run }).await;
        Ok(written)
    }

    /// Records it on the run; one that is marked stays as it is.
    pub(super) async fn mark(&self, run: &str, bypass: &Bypass, text: &str) -> Result<(), ApiError> {
        let Some((namespace, name)) = run.split_once('/') else { return Ok(()) };
        let api: Api<GateRun> = Api::namespaced(self.parts.client.clone(), namespace);
        let call = Call { verb: "get", resource: "gateruns.probegate.io", namespace, name };
        let found = api.get_opt(name).await.named(call)?;
        let Some(status) = found.and_then(|run| run.status) else { return Ok(()) };
        if status.bypassed.is_some() {
            return Ok(());
        }
        let now = self.parts.clock.now();
        let mut conditions = Vec::new();
        set_condition(
            &mut conditions,
            Condition {
                kind: condition_types::BYPASSED.to_owned(),
                status: ConditionStatus::True,
                observed_generation: None,
                last_transition_time: now,
                reason: format!("{:?}", bypass.how),
                message: text.to_owned(),
            },
        );
        let bypassed = json!({"at": now, "how": bypass.how.as_str(), "by": bypass.by, "batch": bypass.batch});
        let status = json!({"bypassed": bypassed, "conditions": conditions});
        self.apply_status::<GateRun>("GateRun", "gateruns.probegate.io/status", namespace, name, &status).await
    }

    /// Applies some fields of a status, and leaves the others to whoever writes them.
    pub(super) async fn apply_status<K>(
        &self,
        kind: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        status: &Value,
    ) -> Result<(), ApiError>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.parts.client.clone(), namespace);
        let body = json!({"apiVersion": format!("{GROUP}/{VERSION}"), "kind": kind, "metadata": {"name": name}, "status": status});
        let call = Call { verb: "patch", resource, namespace, name };
        match api.patch_status(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&body)).await.named(call) {
            Ok(_) | Err(ApiError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn roll_back(
        &self,
        key: &Key,
        rollout: &Value,
        workload: Option<&Value>,
        revisions: &[Value],
        tell: &Tell,
    ) -> Result<(), ApiError> {
        let stable = workload.and_then(|workload| self.adapter.stable_template(rollout, workload, revisions));
        let (Some(workload), Some(stable), Some(reference)) = (workload, stable, self.adapter.workload(rollout)) else {
            let call = format!("roll back the workload of {}/{}", key.0, key.1);
            return Err(ApiError::Unavailable { call, why: "its stable template cannot be found".to_owned() });
        };
        let mut new = workload.clone();
        if let Some(template) = new.pointer_mut("/spec/template") {
            *template = stable;
        }
        if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
            let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.insert(ANNOTATION_VERDICT.to_owned(), tell.text.clone().into());
            }
        }
        let resource = resource_of(&reference);
        let kind = format!("{}.{}", resource.plural, resource.group);
        let call = Call { verb: "update", resource: &kind, namespace: &key.0, name: &reference.name };
        let object: DynamicObject = serde_json::from_value(new)
            .map_err(|error| ApiError::Invalid { call: call.to_string(), message: error.to_string() })?;
        let api: Api<DynamicObject> = Api::namespaced_with(self.parts.client.clone(), &key.0, &resource);
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        api.replace(&reference.name, &params, &object).await.named(call)?;
        self.metrics.rollbacks.inc();
        let text = format!("rolled back: {}", tell.text);
        self.publish(rollout, &Tell { text, event: "RolledBack", warning: true, run: tell.run.clone() }).await;
        Ok(())
    }
}

fn reference(object: &Value) -> ObjectReference {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    ObjectReference {
        api_version: text("/apiVersion"),
        kind: text("/kind"),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name"),
        uid: text("/metadata/uid"),
        resource_version: text("/metadata/resourceVersion"),
        field_path: None,
    }
}
