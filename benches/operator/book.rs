//! What happens to the applications, as watches on the API server tell it: the truth that the
//! operator is held against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ResourceExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use probegate::api::ANNOTATION_RELEASE;
use probegate::clock::{Clock, SystemClock};
use probegate::operator::rollouts::record::Record;
use serde_json::Value;

use super::judge::{Judge, Release};
use super::shop::{NAMESPACE, rollouts};

/// A step that waited, and was let on.
#[derive(Debug, Clone)]
pub struct Approval {
    pub app: String,
    pub change: String,
    pub batch: u32,
    pub waited_from: Timestamp,
    pub let_on: Timestamp,
}

/// One rollout as it was seen last.
#[derive(Default)]
struct Seen {
    phase: String,
    state: String,
    step: u64,
    paused: bool,
    told: String,
    /// The last change and batch that were let out.
    record: Option<(String, u32)>,
    /// Since when a step waits.
    waits: Option<(u64, Timestamp)>,
}

#[derive(Default)]
struct Inner {
    rollouts: BTreeMap<String, Seen>,
    /// Pods that are there: application and version.
    pods: BTreeMap<String, Release>,
    /// Versions that were out as a whole.
    stable: BTreeSet<Release>,
    let_out: BTreeSet<(String, String, u32)>,
    approvals: Vec<Approval>,
    doubled: Vec<String>,
    unproven: Vec<String>,
}

/// The book.
pub struct Book {
    judge: Judge,
    inner: Mutex<Inner>,
}

/// What went wrong, if anything.
pub struct Faults {
    pub let_out: usize,
    pub doubled: Vec<String>,
    pub unproven: Vec<String>,
}

impl Book {
    /// Begins to watch.
    pub fn open(client: &kube::Client, judge: Judge) -> Arc<Self> {
        let book = Arc::new(Self { judge, inner: Mutex::default() });
        let (of_rollouts, of_pods) = (Arc::clone(&book), Arc::clone(&book));
        let api = rollouts(client);
        tokio::spawn(async move {
            let mut events = watcher::watcher(api, watcher::Config::default()).default_backoff().boxed();
            while let Some(event) = events.next().await {
                if let Ok(Event::Apply(rollout) | Event::InitApply(rollout)) = event
                    && let Ok(value) = serde_json::to_value(&rollout)
                {
                    of_rollouts.note(&rollout.name_any(), &value);
                }
            }
        });
        let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        tokio::spawn(async move {
            let mut events = watcher::watcher(api, watcher::Config::default()).default_backoff().boxed();
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Apply(pod) | Event::InitApply(pod)) => of_pods.note_pod(&pod),
                    Ok(Event::Delete(pod)) => drop(of_pods.lock().pods.remove(&pod.name_any())),
                    _ => {}
                }
            }
        });
        book
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, app: &str, rollout: &Value) {
        let now = SystemClock::new().now();
        let text = |pointer: &str| rollout.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let annotations = &rollout["metadata"]["annotations"];
        let record = annotations[ANNOTATION_RELEASE].as_str().and_then(Record::read);
        let mut inner = self.lock();
        let inner = &mut *inner;
        let seen = inner.rollouts.entry(app.to_owned()).or_default();
        seen.phase = text("/status/phase");
        seen.state = text("/status/canaryStatus/currentStepState");
        seen.step = rollout.pointer("/status/canaryStatus/currentStepIndex").and_then(Value::as_u64).unwrap_or(0);
        seen.paused = rollout.pointer("/spec/strategy/paused").and_then(Value::as_bool) == Some(true);
        annotations["probegate.io/verdict"].as_str().unwrap_or_default().clone_into(&mut seen.told);
        if seen.phase != "Progressing" {
            seen.waits = None;
        }
        let waits = seen.phase == "Progressing" && seen.state == "StepPaused";
        if waits && seen.waits.is_none_or(|(step, _)| step != seen.step) {
            seen.waits = Some((seen.step, now));
        }
        let Some(record) = record else { return };
        let at = (record.change.clone(), record.batch);
        if seen.record.as_ref() == Some(&at) {
            return;
        }
        let before = seen.record.replace(at);
        if record.batch == 0 {
            return;
        }
        if !inner.let_out.insert((app.to_owned(), record.change.clone(), record.batch)) {
            inner.doubled.push(format!("{app}: batch {} of {}, after {before:?}", record.batch, record.change));
        }
        if let Some((_, waited_from)) = seen.waits.take().filter(|_| record.batch > 1) {
            let approval = Approval {
                app: app.to_owned(),
                change: record.change,
                batch: record.batch - 1,
                waited_from,
                let_on: now,
            };
            inner.approvals.push(approval);
        }
    }

    fn note_pod(&self, pod: &Pod) {
        let name = pod.name_any();
        let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
        let env = containers.iter().flat_map(|container| container.env.iter().flatten());
        let version = env.filter(|one| one.name == "VERSION").find_map(|one| one.value.as_ref()?.parse::<u64>().ok());
        let (Some(version), Some(app)) = (version, pod.labels().get("app").cloned()) else { return };
        let mut inner = self.lock();
        if pod.metadata.deletion_timestamp.is_some() {
            inner.pods.remove(&name);
            return;
        }
        let release = (app, version);
        if inner.pods.insert(name, release.clone()).is_some() || inner.stable.contains(&release) {
            return;
        }
        let (are, may) =
            (inner.pods.values().filter(|one| **one == release).count(), self.judge.pods_allowed(&release));
        if version > 0 && are > may {
            inner.unproven.push(format!("{} version {version}: {are} pods where {may} were allowed", release.0));
        }
    }

    /// Pods of a version that are there.
    pub fn pods(&self, app: &str, version: u64) -> usize {
        let release = (app.to_owned(), version);
        self.lock().pods.values().filter(|one| **one == release).count()
    }

    /// Pods of any version.
    pub fn all_pods(&self, app: &str) -> usize {
        self.lock().pods.values().filter(|one| one.0 == app).count()
    }

    /// Whether nothing is being released.
    pub fn rests(&self, app: &str) -> bool {
        self.lock().rollouts.get(app).is_some_and(|seen| seen.phase == "Healthy" && seen.paused)
    }

    /// The last word of the gate.
    pub fn told(&self, app: &str) -> String {
        self.lock().rollouts.get(app).map(|seen| seen.told.clone()).unwrap_or_default()
    }

    /// Where a rollout stands, for people.
    pub fn place(&self, app: &str) -> String {
        let inner = self.lock();
        let seen = inner.rollouts.get(app);
        seen.map(|seen| {
            format!(
                "{} step {} {} paused={} {:?} {}",
                seen.phase, seen.step, seen.state, seen.paused, seen.record, seen.told
            )
        })
        .unwrap_or_default()
    }

    /// A version that was out as a whole: it may come back without a question.
    pub fn settled(&self, release: Release) {
        self.lock().stable.insert(release);
    }

    /// The steps that were let on so far.
    pub fn approvals(&self) -> Vec<Approval> {
        self.lock().approvals.clone()
    }

    pub fn faults(&self) -> Faults {
        let inner = self.lock();
        Faults { let_out: inner.let_out.len(), doubled: inner.doubled.clone(), unproven: inner.unproven.clone() }
    }
}
