//! The homes that keep the contract, and resources to put into them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use probegate::clock::Clock;
use probegate::store::sqlite::{Options, SqliteStore};
use probegate::store::{Object, Store};
use serde_json::{Value, json};

/// A home to be tested. Another home is another variant here, and nothing else.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Home {
    Memory,
    Directory,
}

/// An empty store, and what must live as long as it does.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<HandClock>,
    _dir: Option<tempfile::TempDir>,
}

impl Home {
    pub(crate) fn open(self) -> Opened {
        let clock = HandClock::at("2026-11-21T12:00:00Z");
        let options = Options { clock: Arc::clone(&clock) as Arc<dyn Clock> };
        let (store, dir): (Arc<dyn Store>, _) = match self {
            Self::Memory => (SqliteStore::in_memory_with(options).unwrap(), None),
            Self::Directory => {
                let dir = tempfile::tempdir().unwrap();
                (SqliteStore::open(dir.path(), options).unwrap(), Some(dir))
            }
        };
        Opened { store, clock, _dir: dir }
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

/// A run without labels.
pub(crate) fn run(name: &str) -> Object {
    object("GateRun", "shop", name, json!({}), json!({"gate": "checkout"}))
}

/// A run with one label.
pub(crate) fn labelled(name: &str, key: &str, value: &str) -> Object {
    object("GateRun", "shop", name, json!({key: value}), json!({"gate": "checkout"}))
}

pub(crate) fn with_status(mut object: Object, status: Value) -> Object {
    object.body["status"] = status;
    object
}

pub(crate) fn decided() -> Value {
    json!({"verdict": "pass", "reason": "all passed", "conditions": [{"type": "Decided", "status": "True"}]})
}

pub(crate) fn version(object: &Object) -> String {
    object.body["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

pub(crate) fn names(objects: &[Object]) -> Vec<&str> {
    objects.iter().map(|object| object.name.as_str()).collect()
}
