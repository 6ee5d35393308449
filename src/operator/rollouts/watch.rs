//! The watches on rollouts and on the workloads that they move.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, DynamicObject, ResourceExt};
use kube::core::{ApiResource, GroupVersionKind, PartialObjectMeta, TypeMeta};
use kube::discovery;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use serde_json::Value;

use super::driver::Inner;
use super::queue::Key;
use crate::api::WorkloadRef;
use crate::cluster::api_in;

/// How often it is found out whether the engine's definition has come, where it is not there.
const DISCOVERY: Duration = Duration::from_secs(30);

/// The plurals of the workloads that are known: guessing them goes wrong at one of ten.
const PLURALS: [(&str, &str, &str); 6] = [
    ("apps", "Deployment", "deployments"),
    ("apps", "StatefulSet", "statefulsets"),
    ("apps", "DaemonSet", "daemonsets"),
    ("apps.kruise.io", "CloneSet", "clonesets"),
    ("apps.kruise.io", "StatefulSet", "statefulsets"),
    ("apps.kruise.io", "DaemonSet", "daemonsets"),
];

/// The resource of a workload.
pub(super) fn resource_of(reference: &WorkloadRef) -> ApiResource {
    let (group, version) = reference.api_version.split_once('/').unwrap_or(("", &reference.api_version));
    let kind = GroupVersionKind::gvk(group, version, &reference.kind);
    match PLURALS.iter().find(|(of, name, _)| *of == group && *name == reference.kind) {
        Some((_, _, plural)) => ApiResource::from_gvk_with_plural(&kind, plural),
        None => ApiResource::from_gvk(&kind),
    }
}

/// An object as a value, with its kind, which lists leave out.
pub(super) fn value_of(mut object: DynamicObject, resource: &ApiResource) -> Value {
    object
        .types
        .get_or_insert_with(|| TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() });
    serde_json::to_value(object).unwrap_or_default()
}

/// Waits until the engine is there, then watches its rollouts for as long as the operator runs.
pub(super) async fn rollouts(inner: Arc<Inner>) {
    let resource = tokio::select! {
        () = inner.stop.cancelled() => return,
        resource = discover(&inner) => resource,
    };
    inner.lock().resource = Some(resource.clone());
    for place in inner.parts.scope.places() {
        inner.tasks.spawn(one_place(Arc::clone(&inner), resource.clone(), place));
    }
}

async fn discover(inner: &Inner) -> ApiResource {
    let adapter = inner.adapter.as_ref();
    let mut told = false;
    loop {
        match discovery::group(&inner.parts.client, adapter.group()).await {
            Ok(group) => {
                let version = adapter.versions().iter().find(|version| group.versions().any(|one| one == **version));
                if let Some(version) = version {
                    let kind = GroupVersionKind::gvk(adapter.group(), version, adapter.kind());
                    tracing::info!(group = adapter.group(), version, "Rollouts are watched.");
                    return ApiResource::from_gvk_with_plural(&kind, adapter.plural());
                }
            }
            Err(error) => tracing::debug!(%error, "The engine of rollouts was not found."),
        }
        if !told {
            told = true;
            let group = adapter.group();
            tracing::info!(group, "The cluster has no such rollouts; they are watched as soon as it has.");
        }
        tokio::time::sleep(DISCOVERY).await;
    }
}

async fn one_place(inner: Arc<Inner>, resource: ApiResource, place: Option<String>) {
    let api: Api<DynamicObject> = api_in(inner.parts.client.clone(), place.as_deref(), &resource);
    let mut events = kube::runtime::watcher(api, watcher::Config::default()).default_backoff().boxed();
    let mut listed: BTreeSet<Key> = BTreeSet::new();
    let mut well = true;
    loop {
        let event = tokio::select! {
            () = inner.stop.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(event)) => {
                well = true;
                take(&inner, &resource, place.as_ref(), &mut listed, event);
            }
            Some(Err(error)) => {
                if std::mem::take(&mut well) {
                    tracing::warn!(%error, "The watch on rollouts is in trouble; it is begun again.");
                }
            }
            None => return,
        }
    }
}

fn take(
    inner: &Arc<Inner>,
    resource: &ApiResource,
    place: Option<&String>,
    listed: &mut BTreeSet<Key>,
    event: Event<DynamicObject>,
) {
    match event {
        Event::Init => listed.clear(),
        Event::InitApply(object) => {
            listed.insert(key_of(&object));
            inner.seen(value_of(object, resource));
        }
        Event::InitDone => {
            let here = |key: &Key| place.is_none_or(|namespace| *namespace == key.0);
            let missing: Vec<Key> =
                inner.lock().rollouts.keys().filter(|key| here(key) && !listed.contains(*key)).cloned().collect();
            for key in missing {
                inner.deleted(&key, None);
            }
            let (inner, place) = (Arc::clone(inner), place.cloned());
            inner.tasks.clone().spawn(async move { inner.find_orphans(place.as_deref()).await });
        }
        Event::Apply(object) => inner.seen(value_of(object, resource)),
        Event::Delete(object) => {
            let key = key_of(&object);
            inner.deleted(&key, Some(value_of(object, resource)));
        }
    }
}

fn key_of(object: &DynamicObject) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn key_of_value(value: &Value) -> Key {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("/metadata/namespace"), text("/metadata/name"))
}

impl Inner {
    /// A rollout was created or changed.
    fn seen(self: &Arc<Self>, rollout: Value) {
        let key = key_of_value(&rollout);
        let workload = self.adapter.workload(&rollout);
        let gated = !self.gates_of(&rollout).is_empty();
        let hand = self.adapter.observe(&rollout, None, &[]).hands.ready;
        if let Some(workload) = workload.as_ref().filter(|_| gated) {
            self.watch_kind(workload);
        }
        let mut state = self.lock();
        if let Some(workload) = workload {
            state.workloads.insert((workload.kind, key.0.clone(), workload.name), key.clone());
        }
        state.rollouts.insert(key.clone(), Arc::new(rollout));
        let known = state.known.entry(key.clone()).or_default();
        known.gone = false;
        // The engine overwrites its own word within milliseconds; whoever gave it stands here once.
        if let Some(hand) = hand {
            known.hand = Some(hand);
        }
        drop(state);
        self.queue.push(key, Duration::ZERO);
    }

    /// A rollout was deleted; a release that was under way goes on without us.
    fn deleted(&self, key: &Key, last: Option<Value>) {
        let mut state = self.lock();
        let Some(last) = last.map(Arc::new).or_else(|| state.rollouts.get(key).cloned()) else { return };
        let mut last = last.as_ref().clone();
        if let Some(metadata) = last.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.entry("deletionTimestamp").or_insert_with(|| Value::from("gone"));
        }
        state.rollouts.insert(key.clone(), Arc::new(last));
        state.known.entry(key.clone()).or_default().gone = true;
        drop(state);
        self.queue.push(key.clone(), Duration::ZERO);
    }

    /// Forgets a rollout that is gone for good.
    pub(super) fn forget(&self, key: &Key) {
        let mut state = self.lock();
        state.rollouts.remove(key);
        state.known.remove(key);
        state.workloads.retain(|_, rollout| rollout != key);
    }

    /// Watches the kind of a workload, from its first gated rollout on.
    pub(super) fn watch_kind(self: &Arc<Self>, workload: &WorkloadRef) {
        if !self.lock().kinds.insert((workload.api_version.clone(), workload.kind.clone())) {
            return;
        }
        for place in self.parts.scope.places() {
            self.tasks.spawn(workloads(Arc::clone(self), workload.clone(), place));
        }
    }
}

/// Looks at a rollout as soon as its workload's spec has changed. Only metadata is watched: there
/// may be many workloads that nobody rolls out.
async fn workloads(inner: Arc<Inner>, like: WorkloadRef, place: Option<String>) {
    let resource = resource_of(&like);
    let api: Api<PartialObjectMeta<DynamicObject>> = api_in(inner.parts.client.clone(), place.as_deref(), &resource);
    let mut events = kube::runtime::watcher(api, watcher::Config::default()).default_backoff().boxed();
    let mut well = true;
    loop {
        let event = tokio::select! {
            () = inner.stop.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(Event::Apply(object) | Event::InitApply(object) | Event::Delete(object))) => {
                well = true;
                touched(&inner, &like.kind, &object);
            }
            Some(Ok(_)) => well = true,
            Some(Err(error)) => {
                if std::mem::take(&mut well) {
                    let kind = &like.kind;
                    tracing::warn!(%error, kind, "The watch on workloads is in trouble; it is begun again.");
                }
            }
            None => return,
        }
    }
}

fn touched(inner: &Inner, kind: &str, object: &PartialObjectMeta<DynamicObject>) {
    let workload = (kind.to_owned(), object.namespace().unwrap_or_default(), object.name_any());
    let key = inner.lock().workloads.get(&workload).cloned();
    if let Some(key) = key {
        inner.queue.push(key, Duration::ZERO);
    }
}
