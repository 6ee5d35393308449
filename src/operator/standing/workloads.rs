//! Which of the workloads that gates stand in front of are there: their names, by watches on metadata
//! alone. A kind is watched from when a gate names it first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use kube::Client;
use kube::api::{Api, DynamicObject, ResourceExt};
use kube::core::{ApiResource, GroupVersionKind, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::api::{Gate, WorkloadRef};
use crate::cluster::{Scope, api_in};
use crate::store::Cache;

/// The kinds that the operator may watch: those that its rollouts move, and rollouts themselves. Of
/// others nobody can say whether they are there.
const KINDS: [(&str, &str, &str); 6] = [
    ("apps", "Deployment", "deployments"),
    ("apps", "StatefulSet", "statefulsets"),
    ("apps.kruise.io", "CloneSet", "clonesets"),
    ("apps.kruise.io", "StatefulSet", "statefulsets"),
    ("apps.kruise.io", "DaemonSet", "daemonsets"),
    ("rollouts.kruise.io", "Rollout", "rollouts"),
];

/// apiVersion and kind.
type Kind = (String, String);

/// The objects of one kind in one place.
#[derive(Default)]
struct Part {
    /// Whether all were listed, without which an absence means nothing.
    listed: bool,
    names: BTreeSet<(String, String)>,
    /// A list that is coming in.
    fresh: Option<BTreeSet<(String, String)>>,
}

/// Every kind that is watched, each place with its task.
type Kinds = BTreeMap<Kind, Vec<(Part, AbortOnDropHandle<()>)>>;

/// Which workloads there are. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct Workloads {
    client: Option<Client>,
    scope: Scope,
    inner: Arc<Mutex<Kinds>>,
    version: watch::Sender<u64>,
}

impl Workloads {
    /// Those of a cluster; without one nothing is missing.
    pub(super) fn new(cluster: Option<(Client, Scope)>) -> Self {
        let (client, scope) = match cluster {
            Some((client, scope)) => (Some(client), scope),
            None => (None, Scope::everything()),
        };
        Self { client, scope, inner: Arc::default(), version: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Kinds> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches the kinds that gates name, for as long as it is polled.
    pub(super) async fn follow(self, gates: Cache<Gate>) {
        let Some(client) = &self.client else { return };
        let mut changes = gates.changes();
        loop {
            for gate in gates.all() {
                if let Some(workload) = &gate.spec.target.workload_ref {
                    self.watch(client, workload);
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn watch(&self, client: &Client, like: &WorkloadRef) {
        let kind = (like.api_version.clone(), like.kind.clone());
        let Some(resource) = resource_of(like) else { return };
        let mut kinds = self.lock();
        if kinds.contains_key(&kind) {
            return;
        }
        let follow = |(number, place): (usize, Option<String>)| {
            let api = api_in(client.clone(), place.as_deref(), &resource);
            let task = tokio::spawn(self.clone().one(api, kind.clone(), number));
            (Part::default(), AbortOnDropHandle::new(task))
        };
        let parts = self.scope.places().into_iter().enumerate().map(follow).collect();
        kinds.insert(kind, parts);
    }

    /// Follows one kind in one place, for ever.
    async fn one(self, api: Api<PartialObjectMeta<DynamicObject>>, kind: Kind, number: usize) {
        let mut events = kube::runtime::watcher(api, watcher::Config::default()).default_backoff().boxed();
        let mut well = true;
        while let Some(event) = events.next().await {
            if let Err(error) = &event
                && !is_unknown(error)
            {
                if std::mem::take(&mut well) {
                    tracing::warn!(%error, kind = kind.1, "Workloads cannot be watched; whether gates' targets are there is not told.");
                }
                continue;
            }
            well = true;
            let changed =
                self.lock().get_mut(&kind).and_then(|parts| parts.get_mut(number)).is_some_and(|(part, _)| {
                    let before = (part.listed, part.names.len());
                    let renamed = part.take(event);
                    renamed || before != (part.listed, part.names.len())
                });
            if changed {
                self.version.send_modify(|version| *version += 1);
            }
        }
    }

    /// Whether a workload is known to be missing.
    pub(super) fn is_missing(&self, namespace: &str, workload: &WorkloadRef) -> bool {
        let kinds = self.lock();
        let Some(parts) = kinds.get(&(workload.api_version.clone(), workload.kind.clone())) else { return false };
        let name = (namespace.to_owned(), workload.name.clone());
        parts.iter().all(|(part, _)| part.listed) && !parts.iter().any(|(part, _)| part.names.contains(&name))
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

impl Part {
    /// Takes what the watch says; whether a name has come or gone. A kind that the API server does not
    /// know has no objects.
    fn take(&mut self, event: Result<Event<PartialObjectMeta<DynamicObject>>, watcher::Error>) -> bool {
        let name =
            |object: &PartialObjectMeta<DynamicObject>| (object.namespace().unwrap_or_default(), object.name_any());
        match event {
            Ok(Event::Init) => {
                // Until the list is whole what was known stays.
                self.fresh = Some(BTreeSet::new());
                false
            }
            Ok(Event::InitApply(object)) => {
                self.fresh.get_or_insert_default().insert(name(&object));
                false
            }
            Ok(Event::InitDone) => {
                let fresh = self.fresh.take().unwrap_or_default();
                let changed = fresh != self.names;
                (self.listed, self.names) = (true, fresh);
                changed
            }
            Ok(Event::Apply(object)) => self.names.insert(name(&object)),
            Ok(Event::Delete(object)) => self.names.remove(&name(&object)),
            Err(_) => {
                (self.listed, self.names) = (true, BTreeSet::new());
                false
            }
        }
    }
}

/// Whether the API server does not know the kind.
fn is_unknown(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404)
}

fn resource_of(reference: &WorkloadRef) -> Option<ApiResource> {
    let (group, version) = reference.api_version.split_once('/')?;
    let (.., plural) = KINDS.iter().find(|(of, name, _)| *of == group && *name == reference.kind)?;
    Some(ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, &reference.kind), plural))
}
