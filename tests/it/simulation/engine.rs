//! The whole engine on a simulated store, clock and checks: whole releases, with crashes in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use probegate::api::{Gate, GateRun, Override};
use probegate::checks::Table;
use probegate::engine::{Answer, Ask, Engine, Parts};
use probegate::model::{Action, Batch, Change, Invoker, Labels, Outcome, Point, Question, Verdict};
use probegate::store::{Cache, Object, Store, StoreExt};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::world::{SimClock, SimKind, SimStore, World};

/// Seeds that every run of the tests goes through; `make simulate` takes more.
const SEEDS: u64 = 40;
/// Lives of a process within one simulation; in the last one nothing fails.
const LIVES: usize = 6;
/// Questions asked in one simulation, at most.
const MAX_ASKS: usize = 160;

fn gate() -> Gate {
    serde_json::from_value(json!({
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {
            "target": {"names": ["checkout"]},
            "pre": {"timeout": "1m", "retryAfter": "30s", "validFor": "5m", "checks": [
                {"name": "window", "window": {}},
                {"name": "up", "probes": {"names": ["x"]}},
            ]},
            "post": {"soak": "20s", "timeout": "4m", "checks": [
                {"name": "up", "interval": "5s", "probes": {"names": ["x"]}},
                {"name": "errors", "interval": "5s", "retries": 1, "metric": {"query": "x", "max": "1"}},
                {"name": "business", "webhook": {"url": "http://127.0.0.1/"}},
                {"name": "policy", "rule": "rules/x.rhai", "mode": "shadow"},
            ]},
        },
    }))
    .unwrap()
}

fn question(change: usize, revision: usize, action: Action, batch: u32, point: Point) -> Question {
    Question {
        namespace: "shop".into(),
        gate: "checkout".into(),
        change: Change {
            id: format!("c-{change}"),
            target: "checkout".into(),
            revision: format!("v{revision}"),
            action,
            actor: "ci".into(),
            invoker: Invoker::Automation,
            cluster: None,
            labels: Labels::new(),
        },
        batch: Batch { index: batch, total: 3, percent: 10 },
        point,
    }
}

/// A controller that releases one change after another, batch by batch, and remembers every answer.
struct Controller {
    seed: u64,
    world: World,
    change: usize,
    revision: usize,
    action: Action,
    batch: u32,
    point: Point,
    asks: usize,
    /// The last word on each run.
    said: BTreeMap<String, Verdict>,
    /// Revisions whose block after a batch was answered, with the question.
    blocked: BTreeSet<(usize, String)>,
    /// Changes that somebody made an override for.
    overridden: BTreeSet<usize>,
    passes: usize,
    blocks: usize,
}

impl Controller {
    fn new(seed: u64, world: World) -> Self {
        Self {
            seed,
            world,
            change: 1,
            revision: 1,
            action: Action::Release,
            batch: 1,
            point: Point::Pre,
            asks: 0,
            said: BTreeMap::new(),
            blocked: BTreeSet::new(),
            overridden: BTreeSet::new(),
            passes: 0,
            blocks: 0,
        }
    }

    fn next_change(&mut self, rollback: bool) {
        self.change += 1;
        self.action = if rollback { Action::Rollback } else { Action::Release };
        // A rollback goes back to the revision before; a release brings a new one, or an old one again.
        self.revision = match (rollback, self.world.random(|random| random.below(4))) {
            (true, _) => self.revision.saturating_sub(1),
            (false, 0) => self.revision,
            (false, _) => self.change * 10,
        };
        (self.batch, self.point) = (1, Point::Pre);
    }

    async fn ask(&mut self, engine: &Engine, store: &Arc<dyn Store>) {
        self.asks += 1;
        let question = question(self.change, self.revision, self.action, self.batch, self.point);
        let wait = self.world.random(|random| random.millis(20_000));
        let answers = if self.world.random(|random| random.one_in(3)) {
            let (one, two) = tokio::join!(engine.ask(question.clone(), wait), engine.ask(question.clone(), wait));
            vec![one.unwrap(), two.unwrap()]
        } else {
            vec![engine.ask(question.clone(), wait).await.unwrap()]
        };
        for answer in &answers {
            self.judge(answer, &question);
        }
        let Some(answer) = answers.into_iter().next_back() else { return };
        match answer.verdict {
            Verdict::Wait => {
                let pause = self.world.random(|random| random.millis(8_000));
                tokio::time::sleep(pause).await;
            }
            Verdict::Pass => self.go_on(),
            Verdict::Block => self.after_block(store).await,
        }
    }

    fn go_on(&mut self) {
        self.passes += 1;
        match (self.point, self.batch) {
            (Point::Pre, _) => self.point = Point::Post,
            (Point::Post, 3) => self.next_change(false),
            (Point::Post, _) => (self.batch, self.point) = (self.batch + 1, Point::Pre),
        }
    }

    async fn after_block(&mut self, store: &Arc<dyn Store>) {
        self.blocks += 1;
        match (self.point, self.world.random(|random| random.below(3))) {
            (Point::Pre, 0 | 1) => tokio::time::sleep(Duration::from_secs(31)).await,
            (Point::Post, 0) => self.override_it(store).await,
            (_, 1) => self.next_change(true),
            _ => self.next_change(false),
        }
    }

    async fn override_it(&mut self, store: &Arc<dyn Store>) {
        let now = *self.world.wall.lock().unwrap();
        let by: Override = serde_json::from_value(json!({
            "metadata": {"name": format!("o-{}", self.asks), "namespace": "shop"},
            "spec": {"gate": "checkout", "change": format!("c-{}", self.change), "effect": "pass", "actor": "on-call",
                     "reason": "simulated", "expires": (now + SignedDuration::from_hours(100)).to_string()},
        }))
        .unwrap();
        // From here on a pass may rest on it, whether the acknowledgement arrived or not.
        self.overridden.insert(self.change);
        let _ = store.create_as(&by).await;
    }

    /// What every answer has to keep to.
    fn judge(&mut self, answer: &Answer, question: &Question) {
        let seed = self.seed;
        if answer.verdict == Verdict::Wait {
            assert!(answer.retry_after_seconds.is_some(), "seed {seed}: a wait without when to ask again: {answer:?}");
            return;
        }
        if let Some(before) = self.said.insert(answer.id.clone(), answer.verdict) {
            assert_eq!(before, answer.verdict, "seed {seed}: run {} had two verdicts", answer.id);
        }
        let run = self.stored(&answer.id);
        let status = run.status.as_ref().unwrap();
        assert_eq!(status.verdict, answer.verdict, "seed {seed}: an answer that is not on the disk");
        assert!(status.decided_at.is_some(), "seed {seed}: an answer that is not final on the disk");
        let free = self.overridden.contains(&self.change) || question.change.action == Action::Rollback;
        match answer.verdict {
            Verdict::Pass => {
                // A question that has passed under an override blocks its revision no more.
                self.blocked.remove(&(self.revision, question.key().to_string()));
                let stands = self.blocked.iter().any(|(revision, _)| *revision == self.revision);
                assert!(free || !stands, "seed {seed}: a blocked revision passed: {answer:?}\n{}", self.dump());
                if !free {
                    self.check_evidence(&run);
                }
            }
            Verdict::Block if question.point == Point::Post && question.change.action != Action::Rollback => {
                let cause = serde_json::to_value(status.cause).unwrap();
                if cause == "checks" || cause == "unknown" {
                    self.blocked.insert((self.revision, question.key().to_string()));
                }
            }
            _ => {}
        }
        assert!(
            answer.verdict != Verdict::Block || question.change.action != Action::Rollback,
            "seed {seed}: a rollback was blocked: {answer:?}"
        );
    }

    fn stored(&self, id: &str) -> GateRun {
        let (namespace, name) = id.split_once('/').unwrap();
        let disk = self.world.disk.lock().unwrap();
        let key = ("GateRun".to_owned(), namespace.to_owned(), name.to_owned());
        let (_, object) =
            disk.objects.get(&key).unwrap_or_else(|| panic!("seed {}: {id} is not on the disk", self.seed));
        object.clone().into_resource().unwrap()
    }

    /// A pass has what its checks really said behind it: the last word of each was pass.
    fn check_evidence(&self, run: &GateRun) {
        let status = run.status.as_ref().unwrap();
        let name = run.metadata.name.as_deref().unwrap();
        let said = self.world.said.lock().unwrap();
        for check in status.checks.iter().filter(|check| check.mode == probegate::model::Mode::Enforce) {
            let passed = said.iter().any(|s| s.run == name && s.check == check.name && s.outcome == Outcome::Pass);
            assert!(
                passed && check.outcome == Outcome::Pass,
                "seed {}: {name} passed without {}",
                self.seed,
                check.name
            );
        }
    }
}

impl Controller {
    /// Every run and override in the order of their creation, for the message of a failure.
    fn dump(&self) -> String {
        let disk = self.world.disk.lock().unwrap();
        let mut all: Vec<_> = disk.objects.values().filter(|(_, o)| o.kind != "Gate").collect();
        all.sort_by_key(|(order, _)| *order);
        let lines =
            all.into_iter().map(|(n, o)| format!("{n} {} {} {} {}", o.kind, o.name, o.body["spec"], o.body["status"]));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// One life of the process: until `length` has passed, or the story is over.
fn live(controller: &mut Controller, length: Duration, faults: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let world = controller.world.clone();
    let lived = runtime.block_on(async {
        let clock = Arc::new(SimClock::new(world.clone()));
        let store: Arc<dyn Store> = Arc::new(SimStore::new(world.clone(), Arc::clone(&clock), faults));
        let (gates, follow_gates) = Cache::<Gate>::follow(Arc::clone(&store));
        let (overrides, follow_overrides) = Cache::<Override>::follow(Arc::clone(&store));
        tokio::spawn(follow_gates);
        tokio::spawn(follow_overrides);
        let kinds = ["window", "probes", "metric", "webhook", "rule"];
        let table = kinds.into_iter().fold(Table::default(), |table, kind| table.with(SimKind(kind, world.clone())));
        let lead = probegate::engine::Lead::alone();
        let parts =
            Parts { store: Arc::clone(&store), gates, overrides, table, clock: clock.clone(), cluster: None, lead };
        let engine = Engine::new(parts);
        let running = engine.clone();
        tokio::spawn(async move { running.run(CancellationToken::new()).await });
        let start = tokio::time::Instant::now();
        let releases = async {
            while controller.asks < MAX_ASKS {
                controller.ask(&engine, &store).await;
            }
        };
        let _ = tokio::time::timeout(length, releases).await;
        start.elapsed()
    });
    // The process dies here: every task with it. Time goes on, and the clock may be set meanwhile.
    drop(runtime);
    let away = controller.world.random(|random| random.millis(60_000));
    let mut wall = controller.world.wall.lock().unwrap();
    *wall += SignedDuration::try_from(lived + away).unwrap();
}

/// Attempts at one question are numbered without gaps, and all but the last one are decided.
fn check_disk(seed: u64, world: &World) {
    let disk = world.disk.lock().unwrap();
    let mut attempts: BTreeMap<String, Vec<(u32, Option<Timestamp>)>> = BTreeMap::new();
    for (_, object) in disk.objects.values().filter(|(_, object)| object.kind == "GateRun") {
        let run: GateRun = Object::into_resource(object.clone()).unwrap();
        let question = run.metadata.labels.as_ref().unwrap()["probegate.io/question"].clone();
        let status = run.status.as_ref().unwrap();
        attempts.entry(question).or_default().push((status.attempt, status.decided_at));
    }
    for (question, mut runs) in attempts {
        runs.sort_unstable();
        for (place, (attempt, decided_at)) in runs.iter().enumerate() {
            assert_eq!(usize::try_from(*attempt).unwrap(), place + 1, "seed {seed}: {question} has attempts {runs:?}");
            assert!(decided_at.is_some() || place + 1 == runs.len(), "seed {seed}: {question} has two open attempts");
        }
    }
}

#[test]
fn whole_releases_through_crashes_keep_every_promise() {
    let (mut passes, mut blocks) = (0, 0);
    for seed in super::random::seeds(SEEDS) {
        let world = World::new(seed);
        let mut controller = Controller::new(seed, world.clone());
        let gate = Object::from_resource(&gate()).unwrap();
        let setup = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        setup.block_on(async {
            let clock = Arc::new(SimClock::new(world.clone()));
            SimStore::new(world.clone(), clock, false).create(gate).await.unwrap();
        });
        for life in 0..LIVES {
            let length = world.random(|random| random.millis(120_000));
            let last = life + 1 == LIVES;
            live(&mut controller, if last { Duration::from_secs(1_200) } else { length }, !last);
        }
        check_disk(seed, &world);
        passes += controller.passes;
        blocks += controller.blocks;
    }
    // The simulation is worth something only while it reaches every end.
    assert!(passes > 100 && blocks > 25, "{passes} passes, {blocks} blocks");
}
