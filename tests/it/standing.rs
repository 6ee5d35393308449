//! The standing of gates, windows and overrides, kept written on the embedded store.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use probegate::api::{Condition, ConditionStatus, Gate, Override, OverrideState, Probe, ReleaseWindow, Resource};
use probegate::calendars::{self, WindowBook};
use probegate::checks::Table;
use probegate::checks::window::WindowKind;
use probegate::clock::{Clock, SystemClock};
use probegate::operator::Standings;
use probegate::outbound::{Outbound, Secrets};
use probegate::store::sqlite::SqliteStore;
use probegate::store::{Cache, Ledger, Store, StoreExt};
use serde_json::{Value, json};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    running: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.running.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl World {
    fn start() -> Self {
        let store: Arc<dyn Store> = SqliteStore::in_memory().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut running = Vec::new();
        let gates = follow::<Gate>(&store, &mut running);
        let overrides = follow::<Override>(&store, &mut running);
        let windows = follow::<ReleaseWindow>(&store, &mut running);
        let probes = follow::<Probe>(&store, &mut running);
        let secrets = Secrets::new(None);
        let outbound = Outbound::new(secrets.clone());
        let options = calendars::Options::default();
        let (book, run) = WindowBook::follow(windows.clone(), outbound, Arc::clone(&clock), options);
        running.push(tokio::spawn(run));
        let (past, run) = Ledger::follow(Arc::clone(&store));
        running.push(tokio::spawn(run));
        let window = WindowKind::new(book.clone(), past, overrides.clone());
        let table = Table::default().with(window).with(Fine("probes"));
        let store_too = Arc::clone(&store);
        let clock_too = Arc::clone(&clock);
        let standings = Standings {
            store: store_too,
            gates,
            overrides,
            windows,
            book,
            probes,
            table,
            clock: clock_too,
            secrets,
            cluster: None,
        };
        running.push(tokio::spawn(standings.keep()));
        Self { store, clock, running }
    }

    async fn create<R: Resource>(&self, resource: Value) {
        self.store.create_as(&serde_json::from_value::<R>(resource).unwrap()).await.unwrap();
    }

    async fn until<R: Resource>(&self, name: &str, what: &str, is: impl Fn(&R) -> bool) -> R {
        let begun = self.clock.elapsed();
        loop {
            if let Some(resource) = self.store.get_as::<R>("shop", name).await.unwrap().filter(|resource| is(resource))
            {
                return resource;
            }
            assert!(self.clock.elapsed().saturating_sub(begun) < PATIENCE, "never {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn follow<R: Resource>(store: &Arc<dyn Store>, running: &mut Vec<tokio::task::JoinHandle<()>>) -> Cache<R> {
    let (cache, run) = Cache::follow(Arc::clone(store));
    running.push(tokio::spawn(run));
    cache
}

/// A kind whose every check compiles.
struct Fine(&'static str);

struct Passes;

impl probegate::checks::Kind for Fine {
    fn name(&self) -> &'static str {
        self.0
    }

    fn compile(
        &self,
        _: &probegate::api::Check,
        _: &str,
    ) -> Result<Arc<dyn probegate::checks::Check>, probegate::checks::CompileError> {
        Ok(Arc::new(Passes))
    }
}

#[async_trait::async_trait]
impl probegate::checks::Check for Passes {
    async fn execute(&self, _: &probegate::checks::Context) -> probegate::model::Report {
        probegate::model::Report::pass("fine")
    }
}

fn ready(conditions: &[Condition]) -> Option<(ConditionStatus, String, String)> {
    let ready = conditions.iter().find(|condition| condition.kind == "Ready")?;
    Some((ready.status, ready.reason.clone(), ready.message.clone()))
}

fn gate(check: &Value) -> Value {
    json!({
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {"target": {"names": ["checkout"]}, "pre": {"checks": [check]}},
    })
}

fn of_gate(gate: &Gate) -> Option<(ConditionStatus, String, String)> {
    ready(&gate.status.as_ref()?.conditions)
}

#[tokio::test]
async fn a_gate_names_the_probe_that_is_not_there_and_is_ready_once_it_is() {
    let world = World::start();
    world.create::<Gate>(gate(&json!({"name": "up", "probes": {"names": ["front"]}}))).await;
    let found = world.until::<Gate>("checkout", "judged", |gate| of_gate(gate).is_some()).await;
    let expected = "pre check up: there is no probe shop/front".to_owned();
    assert_eq!(of_gate(&found), Some((ConditionStatus::False, "UnresolvedReference".to_owned(), expected)));
    assert_eq!(found.status.unwrap().observed_generation, Some(1));
    world
        .create::<Probe>(json!({
            "metadata": {"name": "front", "namespace": "shop"}, "spec": {"tcp": {"address": "127.0.0.1:1"}},
        }))
        .await;
    let is_ready = |gate: &Gate| of_gate(gate).is_some_and(|(status, ..)| status == ConditionStatus::True);
    world.until::<Gate>("checkout", "ready", is_ready).await;
}

#[tokio::test]
async fn a_selector_that_selects_nothing_and_a_check_that_cannot_be_executed_are_told() {
    let world = World::start();
    world.create::<Gate>(gate(&json!({"name": "up", "probes": {"selector": {"app": "shop"}}}))).await;
    let found = world.until::<Gate>("checkout", "judged", |gate| of_gate(gate).is_some()).await;
    assert_eq!(of_gate(&found).unwrap().2, "pre check up: its selector selects no probe");
    let mut other = gate(&json!({"name": "errors", "metric": {"query": "up", "max": "1"}}));
    other["metadata"]["name"] = json!("errors");
    world.create::<Gate>(other).await;
    let found = world.until::<Gate>("errors", "judged", |gate| of_gate(gate).is_some()).await;
    let (status, reason, message) = of_gate(&found).unwrap();
    assert_eq!((status, reason.as_str()), (ConditionStatus::False, "InvalidSpec"), "{message}");
    assert!(message.starts_with("pre check errors: "), "{message}");
}

#[tokio::test]
async fn a_window_turns_in_its_status_when_its_time_comes() {
    let world = World::start();
    let opens = (world.clock.now() + SignedDuration::from_secs(3)).round(jiff::Unit::Second).unwrap();
    let closes = opens + SignedDuration::from_hours(1);
    world
        .create::<ReleaseWindow>(json!({
            "metadata": {"name": "tonight", "namespace": "shop"},
            "spec": {"type": "allow", "schedule": {"dates": [{"from": opens.to_string(), "to": closes.to_string()}]}},
        }))
        .await;
    let shut = world.until::<ReleaseWindow>("tonight", "judged", |window| window.status.is_some()).await;
    let status = shut.status.unwrap();
    assert_eq!((status.in_force, ready(&status.conditions).unwrap().0), (false, ConditionStatus::True));
    let in_force = |window: &ReleaseWindow| window.status.as_ref().is_some_and(|status| status.in_force);
    let open = world.until::<ReleaseWindow>("tonight", "in force", in_force).await;
    assert!(world.clock.now() >= opens, "not before its time");
    assert_eq!(open.status.unwrap().until, Some(closes));
}

#[tokio::test]
async fn an_override_is_expired_when_its_time_is_over() {
    let world = World::start();
    let expires: Timestamp = world.clock.now() + SignedDuration::from_secs(2);
    world
        .create::<Override>(json!({
            "metadata": {"name": "o-1", "namespace": "shop"},
            "spec": {
                "gate": "checkout", "change": "c-17", "effect": "pass", "actor": "alice", "reason": "slow start",
                "expires": expires.to_string(),
            },
        }))
        .await;
    let is = |state: OverrideState| {
        move |by: &Override| by.status.as_ref().is_some_and(|status| status.state == Some(state))
    };
    world.until::<Override>("o-1", "in force", is(OverrideState::InForce)).await;
    world.until::<Override>("o-1", "expired", is(OverrideState::Expired)).await;
}

#[tokio::test]
async fn a_status_that_stays_is_not_written_again() {
    let world = World::start();
    world.create::<Gate>(gate(&json!({"name": "window", "window": {}}))).await;
    let first = world.until::<Gate>("checkout", "judged", |gate| gate.status.is_some()).await;
    // Another gate makes the keeper look again at all that has changed.
    let mut other = gate(&json!({"name": "window", "window": {}}));
    other["metadata"]["name"] = json!("other");
    world.create::<Gate>(other).await;
    world.until::<Gate>("other", "judged", |gate| gate.status.is_some()).await;
    let again = world.store.get_as::<Gate>("shop", "checkout").await.unwrap().unwrap();
    assert_eq!(again.metadata.resource_version, first.metadata.resource_version);
}
