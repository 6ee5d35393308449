//! The engine on the embedded store: whole questions, from asking to the record.

mod halves;
mod replicas;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::{SignedDuration, Timestamp};
use probegate::api::{self, Gate, GateRun, Override};
use probegate::checks::{Check, CompileError, Context, Kind, Table};
use probegate::clock::{Clock, SystemClock};
use probegate::engine::{Answer, Ask, AskError, Engine, Lead, Parts};
use probegate::model::{Action, Batch, Change, Invoker, Labels, Outcome, Point, Question, Report, Verdict};
use probegate::store::sqlite::SqliteStore;
use probegate::store::{Cache, Object, Page, Query, Store, StoreError, StoreExt, WatchEvent};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const LONG: Duration = Duration::from_secs(20);

/// What each check says next, by its name; checks that are not named pass.
#[derive(Clone, Default)]
struct Script {
    says: Arc<Mutex<BTreeMap<String, Report>>>,
    executions: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Script {
    fn say(&self, check: &str, report: Report) {
        self.says.lock().unwrap().insert(check.to_owned(), report);
    }

    fn executions(&self, check: &str) -> u32 {
        self.executions.lock().unwrap().get(check).copied().unwrap_or(0)
    }
}

struct Scripted(&'static str, Script);
struct ScriptedCheck(String, &'static str, Script);

impl Kind for Scripted {
    fn name(&self) -> &'static str {
        self.0
    }

    fn compile(&self, check: &api::Check, _: &str) -> Result<Arc<dyn Check>, CompileError> {
        if check.name == "broken" {
            return Err(CompileError { field: "metric.query".into(), why: "it is empty".into() });
        }
        Ok(Arc::new(ScriptedCheck(check.name.clone(), self.0, self.1.clone())))
    }
}

#[async_trait]
impl Check for ScriptedCheck {
    async fn execute(&self, _: &Context) -> Report {
        *self.2.executions.lock().unwrap().entry(self.0.clone()).or_default() += 1;
        assert_ne!(self.0, "panics", "a check that panics");
        if self.0 == "hangs" {
            std::future::pending::<()>().await;
        }
        self.2.says.lock().unwrap().get(&self.0).cloned().unwrap_or_else(|| Report::pass("fine"))
    }

    fn once(&self) -> bool {
        self.1 == "webhook"
    }
}

/// A clock that a test can move.
struct Moved(SystemClock, Mutex<SignedDuration>);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        self.0.now() + *self.1.lock().unwrap()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A store whose watches are cut off whenever a test says so, and whose creates stop half way.
struct Cut {
    store: Arc<dyn Store>,
    off: std::sync::atomic::AtomicBool,
    half: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Store for Cut {
    async fn get(&self, kind: &'static str, namespace: &str, name: &str) -> Result<Option<Object>, StoreError> {
        self.store.get(kind, namespace, name).await
    }
    async fn list(&self, kind: &'static str, query: &Query) -> Result<Page<Object>, StoreError> {
        self.store.list(kind, query).await
    }
    fn watch(&self, kind: &'static str, query: Query) -> BoxStream<'static, Result<WatchEvent<Object>, StoreError>> {
        self.store.watch(kind, query)
    }
    async fn create(&self, mut object: Object) -> Result<Object, StoreError> {
        if !self.half.load(std::sync::atomic::Ordering::SeqCst) {
            return self.store.create(object).await;
        }
        // As in a cluster: the object is there, and the second call, for its status, got lost.
        object.body.as_object_mut().unwrap().remove("status");
        self.store.create(object).await?;
        let (doing, why) = ("writing the status of GateRun".to_owned(), "it got lost".to_owned());
        Err(StoreError::Unavailable { doing, why })
    }
    async fn put(&self, object: Object) -> Result<Object, StoreError> {
        self.store.put(object).await
    }
    async fn put_status(&self, object: Object) -> Result<Object, StoreError> {
        self.store.put_status(object).await
    }
    async fn delete(&self, kind: &'static str, ns: &str, name: &str, version: Option<&str>) -> Result<(), StoreError> {
        self.store.delete(kind, ns, name, version).await
    }
    async fn current(&self) -> Result<(), StoreError> {
        if self.off.load(std::sync::atomic::Ordering::SeqCst) {
            let why = "the API server has not answered for 45 s".to_owned();
            return Err(StoreError::Unavailable { doing: "watching ReleaseWindow".to_owned(), why });
        }
        Ok(())
    }
    async fn ready(&self) -> Result<(), StoreError> {
        self.store.ready().await
    }
}

/// A running engine.
struct House {
    store: Arc<dyn Store>,
    engine: Engine,
    script: Script,
    clock: Arc<Moved>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl House {
    async fn over(store: Arc<dyn Store>, script: Script) -> Self {
        Self::over_as(store, script, Lead::alone()).await
    }

    async fn over_as(store: Arc<dyn Store>, script: Script, lead: Lead) -> Self {
        let (gates, follow_gates) = Cache::<Gate>::follow(Arc::clone(&store));
        let (overrides, follow_overrides) = Cache::<Override>::follow(Arc::clone(&store));
        let stop = CancellationToken::new();
        for follow in [tokio::spawn(follow_gates), tokio::spawn(follow_overrides)] {
            let stop = stop.clone();
            tokio::spawn(async move {
                stop.cancelled().await;
                follow.abort();
            });
        }
        gates.wait_synced().await;
        overrides.wait_synced().await;
        let table = ["window", "probes", "metric", "webhook", "rule"]
            .into_iter()
            .fold(Table::default(), |table, kind| table.with(Scripted(kind, script.clone())));
        let clock = Arc::new(Moved(SystemClock::new(), Mutex::new(SignedDuration::ZERO)));
        let parts = Parts {
            store: Arc::clone(&store),
            gates,
            overrides,
            table,
            clock: clock.clone(),
            cluster: Some("eu-1".into()),
            lead,
        };
        let engine = Engine::new(parts);
        let running = tokio::spawn({
            let (engine, stop) = (engine.clone(), stop.clone());
            async move { engine.run(stop).await }
        });
        Self { store, engine, script, clock, stop, running }
    }

    async fn with(gate: Value) -> Self {
        let store: Arc<dyn Store> = SqliteStore::in_memory().unwrap();
        let gate: Gate = serde_json::from_value(gate).unwrap();
        store.create_as(&gate).await.unwrap();
        Self::over(store, Script::default()).await
    }

    async fn ask(&self, question: &Question) -> Answer {
        self.engine.ask(question.clone(), LONG).await.unwrap()
    }

    async fn run(&self, answer: &Answer) -> GateRun {
        let (namespace, name) = answer.id.split_once('/').unwrap();
        self.store.get_as::<GateRun>(namespace, name).await.unwrap().unwrap()
    }

    fn later(&self, by: SignedDuration) {
        *self.clock.1.lock().unwrap() += by;
    }

    /// Stops the engine as a shutdown does, and starts another one on the same store.
    async fn restart(self) -> Self {
        self.stop.cancel();
        self.running.await.unwrap();
        Self::over(self.store, self.script).await
    }

    async fn create_override(&self, spec: Value) {
        let expires = self.clock.now() + SignedDuration::from_hours(1);
        let mut spec = spec;
        spec["expires"] = json!(expires.to_string());
        spec["actor"] = json!("on-call");
        spec["reason"] = json!("known slow start");
        let by: Override =
            serde_json::from_value(json!({"metadata": {"name": "o-1", "namespace": "shop"}, "spec": spec})).unwrap();
        self.store.create_as(&by).await.unwrap();
    }

    /// Waits until the engine has seen an override, and asks.
    async fn ask_until(&self, question: &Question, verdict: Verdict) -> Answer {
        for _ in 0..200 {
            let answer = self.ask(question).await;
            if answer.verdict == verdict {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("never {verdict}");
    }
}

fn gate() -> Value {
    json!({
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {
            "target": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}},
            "pre": {"checks": [{"name": "window", "window": {}}]},
            "post": {"checks": [
                {"name": "up", "probes": {"names": ["x"]}},
                {"name": "latency", "metric": {"query": "x", "max": "1"}},
            ]},
        },
    })
}

fn question(point: Point) -> Question {
    Question {
        namespace: "shop".into(),
        gate: "checkout".into(),
        change: Change {
            id: "c-17".into(),
            target: "checkout".into(),
            revision: "v42".into(),
            action: Action::Release,
            actor: "ci".into(),
            invoker: Invoker::Automation,
            cluster: None,
            labels: Labels::new(),
        },
        batch: Batch { index: 2, total: 5, percent: 10 },
        point,
    }
}

#[tokio::test]
async fn the_same_question_gets_the_same_run_and_its_checks_run_once() {
    let house = House::with(gate()).await;
    let question = question(Point::Post);
    let asks: Vec<_> = (0..20).map(|_| house.ask(&question)).collect();
    let answers = futures::future::join_all(asks).await;
    assert!(answers.iter().all(|answer| answer == &answers[0] && answer.verdict == Verdict::Pass), "{answers:?}");
    assert_eq!(house.script.executions("up"), 1);
    let run = house.run(&answers[0]).await;
    let status = run.status.unwrap();
    assert_eq!((status.verdict, status.attempt, status.checks.len()), (Verdict::Pass, 1, 2));
    assert_eq!(run.metadata.labels.unwrap()["probegate.io/gate"], "checkout");
}

#[tokio::test]
async fn nothing_passes_while_a_freeze_may_have_been_missed() {
    let home: Arc<dyn Store> = SqliteStore::in_memory().unwrap();
    home.create_as::<Gate>(&serde_json::from_value(gate()).unwrap()).await.unwrap();
    let cut = Arc::new(Cut { store: home, off: true.into(), half: false.into() });
    let house = House::over(Arc::clone(&cut) as Arc<dyn Store>, Script::default()).await;

    let answer = house.engine.ask(question(Point::Pre), Duration::from_millis(500)).await.unwrap();
    assert_eq!(
        (answer.verdict, answer.reason.as_str()),
        (
            Verdict::Wait,
            "the verdict cannot be written: while watching ReleaseWindow: the API server has not answered for 45 s"
        )
    );

    cut.off.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(house.ask(&question(Point::Pre)).await.verdict, Verdict::Pass);
    cut.off.store(true, std::sync::atomic::Ordering::SeqCst);
    house.script.say("latency", Report::fail("slow"));
    assert_eq!(house.ask(&question(Point::Post)).await.verdict, Verdict::Block, "a block needs no such proof");
}

#[tokio::test]
async fn a_block_after_a_batch_stands_for_the_rest_of_the_revision() {
    let house = House::with(gate()).await;
    house.script.say("latency", Report::fail("p99 812 ms, 300 ms is allowed"));
    let answer = house.ask(&question(Point::Post)).await;
    assert_eq!(
        (answer.verdict, answer.reason.as_str()),
        (Verdict::Block, "latency failed: p99 812 ms, 300 ms is allowed")
    );
    assert_eq!(answer.retry_after_seconds, None, "a block after a batch is final");
    house.script.say("latency", Report::pass("fine again"));
    assert_eq!(house.ask(&question(Point::Post)).await, answer);
    let mut next = question(Point::Pre);
    next.batch.index = 3;
    let next = house.ask(&next).await;
    assert_eq!(next.verdict, Verdict::Block);
    assert!(next.reason.contains("p99 812 ms"), "{}", next.reason);
}

#[tokio::test]
async fn a_rollback_passes_although_the_revision_is_blocked() {
    let house = House::with(gate()).await;
    house.script.say("latency", Report::fail("slow"));
    house.ask(&question(Point::Post)).await;
    let mut back = question(Point::Post);
    back.change.action = Action::Rollback;
    assert_eq!(house.ask(&back).await.verdict, Verdict::Pass);
}

#[tokio::test]
async fn a_block_before_a_batch_is_judged_anew_after_its_time_and_every_attempt_is_kept() {
    let house = House::with(gate()).await;
    house.script.say("window", Report::fail("stop the line"));
    let first = house.ask(&question(Point::Pre)).await;
    assert_eq!((first.verdict, first.retry_after_seconds), (Verdict::Block, Some(60)));
    house.script.say("window", Report::pass("open"));
    assert_eq!(house.ask(&question(Point::Pre)).await.id, first.id, "it stands for its time");
    house.later(SignedDuration::from_secs(61));
    let second = house.ask(&question(Point::Pre)).await;
    assert_eq!(second.verdict, Verdict::Pass);
    assert_eq!(house.run(&second).await.status.unwrap().attempt, 2);
    assert_eq!(house.run(&first).await.status.unwrap().verdict, Verdict::Block);
}

#[tokio::test]
async fn a_pass_before_a_batch_expires() {
    let house = House::with(gate()).await;
    let first = house.ask(&question(Point::Pre)).await;
    assert_eq!(first.verdict, Verdict::Pass);
    house.later(SignedDuration::from_secs(599));
    assert_eq!(house.ask(&question(Point::Pre)).await.id, first.id);
    house.later(SignedDuration::from_secs(2));
    assert_ne!(house.ask(&question(Point::Pre)).await.id, first.id);
}

#[tokio::test]
async fn a_new_revision_makes_open_and_decided_verdicts_void() {
    let house = House::with(gate()).await;
    let decided = house.ask(&question(Point::Pre)).await;
    house.script.say("up", Report::pending("measuring"));
    let open = house.engine.ask(question(Point::Post), Duration::ZERO).await.unwrap();
    assert_eq!(open.verdict, Verdict::Wait);
    let mut newer = question(Point::Pre);
    newer.change.revision = "v43".into();
    newer.change.id = "c-18".into();
    assert_eq!(house.ask(&newer).await.verdict, Verdict::Pass);
    assert_eq!(house.run(&decided).await.status.unwrap().voided.unwrap().revision, "v43");
    let again = house.ask(&question(Point::Pre)).await;
    assert_eq!(again.verdict, Verdict::Wait, "a void pass is no pass: {again:?}");
    let mut run = house.run(&open).await;
    for _ in 0..100 {
        if run.status.as_ref().unwrap().decided_at.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        run = house.run(&open).await;
    }
    let status = run.status.unwrap();
    assert_eq!(status.verdict, Verdict::Block);
    assert!(status.reason.contains("v43"), "{}", status.reason);
}

#[tokio::test]
async fn an_override_lets_a_blocked_question_be_judged_anew_and_is_marked_as_used() {
    let house = House::with(gate()).await;
    house.script.say("latency", Report::fail("slow"));
    let blocked = house.ask(&question(Point::Post)).await;
    assert_eq!(blocked.verdict, Verdict::Block);
    house.create_override(json!({"gate": "checkout", "change": "c-17", "check": "latency", "effect": "pass"})).await;
    let passed = house.ask_until(&question(Point::Post), Verdict::Pass).await;
    assert!(passed.reason.contains("overridden: latency"), "{}", passed.reason);
    assert_eq!(house.run(&passed).await.status.unwrap().overrides[0].actor, "on-call");
    for _ in 0..200 {
        let by: Override = house.store.get_as("shop", "o-1").await.unwrap().unwrap();
        if by.status.is_some_and(|status| !status.used_by.is_empty()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the override was not marked as used");
}

#[tokio::test]
async fn an_override_that_blocks_stops_a_change_that_had_passed() {
    let house = House::with(gate()).await;
    assert_eq!(house.ask(&question(Point::Pre)).await.verdict, Verdict::Pass);
    house.create_override(json!({"gate": "checkout", "change": "c-17", "effect": "block"})).await;
    let answer = house.ask_until(&question(Point::Pre), Verdict::Block).await;
    assert!(answer.reason.contains("known slow start"), "{}", answer.reason);
}

#[tokio::test]
async fn a_run_that_was_created_as_a_resource_is_evaluated() {
    let house = House::with(gate()).await;
    let run: GateRun = serde_json::from_value(json!({
        "metadata": {"name": "by-hand", "namespace": "shop"},
        "spec": {"gate": "checkout", "change": {"id": "c-17", "target": "checkout", "revision": "v42"}, "point": "pre"},
    }))
    .unwrap();
    house.store.create_as(&run).await.unwrap();
    for _ in 0..200 {
        let run: GateRun = house.store.get_as("shop", "by-hand").await.unwrap().unwrap();
        if run.status.is_some_and(|status| status.verdict == Verdict::Pass) {
            let mut same = question(Point::Pre);
            same.batch = Batch::default();
            assert_eq!(house.ask(&same).await.id, "shop/by-hand", "the same question gets the same run");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the run was not taken up");
}

#[tokio::test]
async fn a_run_that_asks_an_answered_question_takes_its_answer() {
    let house = House::with(gate()).await;
    house.script.say("latency", Report::fail("slow"));
    let answer = house.ask(&question(Point::Post)).await;
    let spec = house.run(&answer).await.spec;
    let copy = GateRun::new("copy", spec);
    let mut copy = copy;
    copy.metadata.namespace = Some("shop".into());
    house.script.say("latency", Report::pass("fine again"));
    house.store.create_as(&copy).await.unwrap();
    for _ in 0..200 {
        let run: GateRun = house.store.get_as("shop", "copy").await.unwrap().unwrap();
        if let Some(status) = run.status {
            assert_eq!(status.verdict, Verdict::Block);
            assert!(status.reason.contains("the same question"), "{}", status.reason);
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the run was not answered");
}

#[tokio::test]
async fn an_open_run_goes_on_after_a_restart() {
    let house = House::with(gate()).await;
    house.script.say("up", Report::pending("measuring"));
    let open = house.engine.ask(question(Point::Post), Duration::from_millis(200)).await.unwrap();
    assert_eq!(open.verdict, Verdict::Wait);
    let house = house.restart().await;
    house.script.say("up", Report::pass("fine"));
    let answer = house.ask(&question(Point::Post)).await;
    assert_eq!((answer.id, answer.verdict), (open.id, Verdict::Pass));
}

#[tokio::test]
async fn a_cancelled_run_blocks_and_says_who_cancelled_it() {
    let house = House::with(gate()).await;
    house.script.say("up", Report::pending("measuring"));
    let open = house.engine.ask(question(Point::Post), Duration::ZERO).await.unwrap();
    let (namespace, name) = open.id.split_once('/').unwrap();
    let answer = house.engine.cancel(namespace, name, "on-call", "wrong build").await.unwrap();
    assert_eq!((answer.verdict, answer.reason.as_str()), (Verdict::Block, "cancelled by on-call: wrong build"));
    assert_eq!(house.engine.cancel(namespace, name, "x", "").await, Err(AskError::Decided(open.id.clone())));
    assert_eq!(house.engine.cancel("shop", "nothing", "x", "").await, Err(AskError::NoRun("shop/nothing".into())));
}

#[tokio::test]
async fn a_deleted_run_is_over() {
    let house = House::with(gate()).await;
    house.script.say("up", Report::pending("measuring"));
    let open = house.engine.ask(question(Point::Post), Duration::ZERO).await.unwrap();
    let (namespace, name) = open.id.split_once('/').unwrap();
    // The question is asked first and waits: the run is deleted under it.
    let asked = question(Point::Post);
    let (answer, deleted) = tokio::join!(house.ask(&asked), house.store.delete("GateRun", namespace, name, None));
    deleted.unwrap();
    assert_eq!(answer.verdict, Verdict::Block);
}

#[tokio::test]
async fn checks_that_panic_hang_or_do_not_compile_are_unknown_and_never_pass() {
    let mut spec = gate();
    spec["spec"]["pre"] = json!({"timeout": "4s", "checks": [
        {"name": "panics", "probes": {"names": ["x"]}},
        {"name": "hangs", "timeout": "200ms", "probes": {"names": ["x"]}},
        {"name": "broken", "metric": {"query": "", "max": "1"}},
        {"name": "fine", "probes": {"names": ["x"]}},
    ]});
    let house = House::with(spec).await;
    let answer = house.ask(&question(Point::Pre)).await;
    assert_eq!(answer.verdict, Verdict::Block, "{answer:?}");
    let outcomes: Vec<_> = answer.checks.iter().map(|check| (check.name.as_str(), check.outcome)).collect();
    let unknown = Outcome::Unknown;
    assert_eq!(outcomes, [("panics", unknown), ("hangs", unknown), ("broken", unknown), ("fine", Outcome::Pass)]);
    assert!(answer.checks[1].summary.contains("200ms"), "{}", answer.checks[1].summary);
    assert!(answer.checks[2].summary.contains("metric.query"), "{}", answer.checks[2].summary);
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused_with_what_is_allowed() {
    let house = House::with(gate()).await;
    let refuse = async |change: &dyn Fn(&mut Question)| {
        let mut question = question(Point::Pre);
        change(&mut question);
        house.engine.ask(question, Duration::ZERO).await.unwrap_err().to_string()
    };
    assert!(refuse(&|q| q.gate = "chekout".into()).await.contains("did you mean shop/checkout?"));
    assert!(refuse(&|q| q.change.target = "cart".into()).await.contains("it selects Deployment checkout"));
    assert!(refuse(&|q| q.batch.index = 9).await.contains("1 to total"));
    assert!(refuse(&|q| q.change.revision = String::new()).await.contains("change.revision: it is empty"));
}

#[tokio::test]
async fn a_clock_that_steps_back_behind_a_decision_answers_wait() {
    let house = House::with(gate()).await;
    assert_eq!(house.ask(&question(Point::Pre)).await.verdict, Verdict::Pass);
    house.later(SignedDuration::from_hours(-1));
    let answer = house.ask(&question(Point::Pre)).await;
    assert_eq!(answer.verdict, Verdict::Wait);
    assert!(answer.reason.contains("clock"), "{}", answer.reason);
}

#[tokio::test]
async fn runs_of_one_question_are_found_by_their_labels() {
    let house = House::with(gate()).await;
    let answer = house.ask(&question(Point::Pre)).await;
    let mut labels = Labels::new();
    labels.insert("probegate.io/change".into(), "c-17".into());
    let found = house.store.list_as::<GateRun>(&Query { labels, ..Query::default() }).await.unwrap();
    assert_eq!(found.items.len(), 1);
    assert_eq!(format!("shop/{}", found.items[0].metadata.name.as_deref().unwrap()), answer.id);
}
