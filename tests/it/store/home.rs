//! The homes that keep the contract, and resources to put into them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use probegate::clock::Clock;
use probegate::cluster::Scope;
use probegate::store::kubernetes::KubernetesStore;
use probegate::store::sqlite::{Options, SqliteStore};
use probegate::store::{Object, Store};
use serde_json::{Value, json};

use super::renamed::Renamed;
use crate::cluster::{control_plane, create_namespace};

/// A home to be tested. Another home is another variant here, and nothing else.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Home {
    Memory,
    Directory,
    /// A real API server.
    Cluster,
}

/// An empty store, and what must live as long as it does.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    /// The clock of a home that takes one.
    clock: Option<Arc<HandClock>>,
    _dir: Option<tempfile::TempDir>,
}

/// The namespaces of the tests.
const NAMESPACES: [&str; 3] = ["shop", "mall", "other"];

impl Home {
    /// Runs `test` on an empty store of this home.
    pub(crate) fn run(self, test: impl AsyncFnOnce(Opened) + Send) {
        if matches!(self, Self::Cluster) {
            return control_plane().run_anywhere(|place| async move {
                let namespaces = kube::Api::all(place.client.clone());
                let names = NAMESPACES.map(|name| format!("{}-{name}", place.namespace));
                for name in &names {
                    create_namespace(&namespaces, name).await;
                }
                let scope = Scope::new(names.clone(), None).unwrap();
                let store = Renamed::over(KubernetesStore::open(&place.connection, scope), &place.namespace);
                test(Opened { store, clock: None, _dir: None }).await;
                for name in &names {
                    let _ = namespaces.delete(name, &kube::api::DeleteParams::background()).await;
                }
            });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { test(self.open()).await });
    }

    /// An empty store of an embedded home.
    pub(crate) fn open(self) -> Opened {
        let clock = HandClock::at("2026-11-21T12:00:00Z");
        let options = Options { clock: Arc::clone(&clock) as Arc<dyn Clock> };
        let (store, dir): (Arc<dyn Store>, _) = match self {
            Self::Memory => (SqliteStore::in_memory_with(options).unwrap(), None),
            Self::Directory => {
                let dir = tempfile::tempdir().unwrap();
                (SqliteStore::open(dir.path(), options).unwrap(), Some(dir))
            }
            Self::Cluster => panic!("a cluster is reached on a thread of its own: use run"),
        };
        Opened { store, clock: Some(clock), _dir: dir }
    }
}

impl Opened {
    /// The clock of an embedded home.
    pub(crate) fn clock(&self) -> &HandClock {
        self.clock.as_deref().expect("this home has no clock of its own")
    }

    /// Lets so much time pass that what comes next is newer: a cluster's clock has seconds.
    pub(crate) async fn later(&self) {
        match &self.clock {
            Some(clock) => clock.advance(SignedDuration::from_secs(1)),
            None => tokio::time::sleep(Duration::from_millis(1_050)).await,
        }
    }

    /// Asserts that an instant is now, by the home's clock.
    pub(crate) fn assert_now(&self, instant: &Value) {
        let instant: Timestamp = instant.as_str().unwrap().parse().unwrap();
        let Some(clock) = &self.clock else {
            let now = probegate::clock::SystemClock::new().now();
            assert!(now.duration_since(instant).abs() < SignedDuration::from_mins(5), "{instant} and {now}");
            return;
        };
        assert_eq!(instant, clock.now());
    }
}

/// A clock that is set by hand: what the wall shows, and what has passed.
#[derive(Debug)]
pub(crate) struct HandClock(Mutex<(Timestamp, Duration)>);

impl HandClock {
    pub(crate) fn at(instant: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new((instant.parse().unwrap(), Duration::ZERO))))
    }

    /// Time passes.
    pub(crate) fn advance(&self, by: SignedDuration) {
        self.jump(by);
        self.0.lock().unwrap().1 += Duration::try_from(by).unwrap();
    }

    /// Somebody sets the wall clock, forward or back.
    pub(crate) fn jump(&self, by: SignedDuration) {
        self.0.lock().unwrap().0 += by;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().0
    }

    fn elapsed(&self) -> Duration {
        self.0.lock().unwrap().1
    }
}

/// A resource with a spec of one field.
pub(crate) fn object(
    kind: &'static str,
    namespace: &str,
    name: &str,
    labels: impl Into<Value>,
    spec: impl Into<Value>,
) -> Object {
    Object {
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        body: json!({
            "apiVersion": "probegate.io/v1alpha1",
            "kind": kind,
            "metadata": {"namespace": namespace, "name": name, "labels": labels.into()},
            "spec": spec.into(),
        }),
    }
}

/// The spec of a run as every home takes it, with what an API server would fill in.
pub(crate) fn spec() -> Value {
    json!({
        "gate": "checkout", "point": "post", "batch": {"index": 1, "total": 1, "percent": 100},
        "change": {
            "id": "c-17", "target": "checkout", "revision": "v42", "action": "release", "actor": "ci",
            "invoker": "automation"
        }
    })
}

/// A run without labels.
pub(crate) fn run(name: &str) -> Object {
    object("GateRun", "shop", name, json!({}), spec())
}

/// A run with one label.
pub(crate) fn labelled(name: &str, key: &str, value: &str) -> Object {
    object("GateRun", "shop", name, json!({key: value}), spec())
}

/// A gate: its spec may change, which a run's may not.
pub(crate) fn gate(name: &str) -> Object {
    object(
        "Gate",
        "shop",
        name,
        json!({}),
        json!({
            "target": {"names": ["checkout"]}, "pre": {"checks": [{"name": "window", "mode": "enforce", "window": {}}]}
        }),
    )
}

pub(crate) fn with_status(mut object: Object, status: Value) -> Object {
    object.body["status"] = status;
    object
}

/// The status of a gate.
pub(crate) fn verdict(last: &str) -> Value {
    json!({"lastVerdict": last, "conditions": []})
}

/// The status of an open run.
pub(crate) fn waiting(reason: &str) -> Value {
    json!({
        "verdict": "wait", "reason": reason, "attempt": 1, "checks": [], "measuredMillis": 0, "conditions": []
    })
}

/// The status of a decided run.
pub(crate) fn decided() -> Value {
    json!({
        "verdict": "pass", "reason": "all passed", "attempt": 1, "checks": [], "measuredMillis": 0,
        "conditions": [{
            "type": "Decided", "status": "True", "reason": "Pass", "message": "all passed",
            "lastTransitionTime": "2026-11-21T12:00:00Z"
        }]
    })
}

pub(crate) fn version(object: &Object) -> String {
    object.body["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

pub(crate) fn without_version(mut object: Object) -> Object {
    object.body["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    object
}

pub(crate) fn names(objects: &[Object]) -> Vec<&str> {
    objects.iter().map(|object| object.name.as_str()).collect()
}
