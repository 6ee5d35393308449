//! A store, the probe engine over it, and checks: what the composition root puts together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use probegate::api::{Check, Probe, Resource};
use probegate::checks::{self, Context, Kind};
use probegate::clock::{Clock, SystemClock};
use probegate::model::{Action, Batch, Change, Invoker, Labels, Point, Question, Report};
use probegate::outbound::Outbound;
use probegate::probes::{Board, Engine, Options, Tools};
use probegate::store::sqlite::SqliteStore;
use probegate::store::{Cache, Store, StoreExt};
use serde_json::{Value, json};

/// How long a story waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running engine.
pub(super) struct World {
    pub(super) store: Arc<dyn Store>,
    pub(super) board: Board,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl World {
    pub(super) fn start(outbound: Outbound) -> Self {
        let store: Arc<dyn Store> = SqliteStore::in_memory().unwrap();
        Self::over(store, outbound)
    }

    pub(super) fn start_with(outbound: Outbound, options: Options) -> Self {
        let store: Arc<dyn Store> = SqliteStore::in_memory().unwrap();
        Self::with(store, outbound, options)
    }

    pub(super) fn over(store: Arc<dyn Store>, outbound: Outbound) -> Self {
        Self::with(store, outbound, Options::default())
    }

    fn with(store: Arc<dyn Store>, outbound: Outbound, options: Options) -> Self {
        let (cache, follow) = Cache::<Probe>::follow(Arc::clone(&store));
        let clock = Arc::new(SystemClock::new());
        let engine = Engine::new(Arc::clone(&store), cache, outbound, clock, options).unwrap();
        let board = engine.board();
        let tasks = vec![tokio::spawn(follow), tokio::spawn(engine.run())];
        Self { store, board, tasks }
    }

    pub(super) async fn create(&self, name: &str, spec: Value) -> Probe {
        self.store.create_as(&probe(name, spec)).await.unwrap()
    }

    pub(super) async fn change(&self, mut probe: Probe, spec: Value) -> Probe {
        probe.spec = serde_json::from_value(spec).unwrap();
        probe.metadata.resource_version = None;
        self.store.put_as(&probe).await.unwrap()
    }

    /// The state of a probe in `shop`.
    pub(super) fn state(&self, name: &str) -> Option<&'static str> {
        self.board.get("shop", name).map(|view| view.state.as_str())
    }

    pub(super) async fn until_state(&self, name: &str, state: &str) {
        until(&format!("{name} is {state}"), || self.state(name) == Some(state)).await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// What kinds need.
pub(super) fn tools(outbound: &Outbound) -> Tools {
    Tools { outbound: outbound.clone(), clock: Arc::new(SystemClock::new()), root: None }
}

/// Waits for a condition.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A probe in `shop` with the label `app: checkout`.
pub(super) fn probe(name: &str, spec: Value) -> Probe {
    let mut probe = Probe::new(name, serde_json::from_value(spec).unwrap());
    let meta = probe.meta_mut();
    meta.namespace = Some("shop".to_owned());
    meta.labels = Some([("app".to_owned(), "checkout".to_owned())].into());
    probe
}

/// A check from its YAML fields.
pub(super) fn check(kind: &impl Kind, fields: impl std::borrow::Borrow<Value>) -> Arc<dyn checks::Check> {
    try_check(kind, fields.borrow()).unwrap()
}

pub(super) fn try_check(kind: &impl Kind, fields: &Value) -> Result<Arc<dyn checks::Check>, checks::CompileError> {
    let mut body = json!({"name": "it"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let check: Check = serde_json::from_value(body).unwrap();
    kind.compile(&check, "shop")
}

/// The context of a first execution of a run that began now.
pub(super) fn context() -> Context {
    let now = SystemClock::new().now();
    Context {
        question: question(),
        run: "run-1".to_owned(),
        started_at: now,
        now,
        timeout: Duration::from_secs(5),
        execution: 1,
        carry: None,
    }
}

/// The next execution in the same run.
pub(super) fn next(context: &Context, report: &Report) -> Context {
    let now = SystemClock::new().now();
    Context { now, execution: context.execution + 1, carry: report.carry.clone(), ..context.clone() }
}

pub(super) fn question() -> Question {
    Question {
        namespace: "shop".to_owned(),
        gate: "checkout".to_owned(),
        change: Change {
            id: "c-17".to_owned(),
            target: "checkout".to_owned(),
            revision: "v42".to_owned(),
            action: Action::Release,
            actor: "ci".to_owned(),
            invoker: Invoker::Automation,
            cluster: Some("eu-1".to_owned()),
            labels: Labels::from([("tier".to_owned(), "web".to_owned())]),
        },
        batch: Batch { index: 2, total: 5, percent: 10 },
        point: Point::Post,
    }
}

/// An instant so many seconds from now.
pub(super) fn from_now(seconds: i64) -> Timestamp {
    SystemClock::new().now() + jiff::SignedDuration::from_secs(seconds)
}
