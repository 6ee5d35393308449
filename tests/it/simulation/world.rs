//! A store, a clock and checks whose every move comes from a seed. The disk outlives a process; the
//! rest dies with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::{SignedDuration, Timestamp};
use probegate::api;
use probegate::checks::{Check, CompileError, Context, Kind};
use probegate::clock::Clock;
use probegate::model::{Outcome, Report};
use probegate::store::{Object, Page, Query, Store, StoreError, WatchEvent};
use serde_json::json;
use tokio::sync::broadcast;

use super::random::Random;

type Key = (String, String, String);

/// What outlives a process.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) objects: BTreeMap<Key, (u64, Object)>,
    revision: u64,
    created: u64,
}

/// What checks really said, for the judgement of verdicts.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) run: String,
    pub(super) check: String,
    pub(super) outcome: Outcome,
}

/// Shared by everything in one simulation.
#[derive(Clone)]
pub(super) struct World {
    pub(super) disk: Arc<Mutex<Disk>>,
    pub(super) random: Arc<Mutex<Random>>,
    pub(super) said: Arc<Mutex<Vec<Said>>>,
    /// The wall clock at the start of this life.
    pub(super) wall: Arc<Mutex<Timestamp>>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            disk: Arc::default(),
            random: Arc::new(Mutex::new(Random::new(seed))),
            said: Arc::default(),
            wall: Arc::new(Mutex::new("2026-11-21T12:00:00Z".parse().unwrap())),
        }
    }

    pub(super) fn random<T>(&self, f: impl FnOnce(&mut Random) -> T) -> T {
        f(&mut self.random.lock().unwrap())
    }
}

/// A clock over the runtime's paused time.
pub(super) struct SimClock {
    world: World,
    start: tokio::time::Instant,
}

impl SimClock {
    pub(super) fn new(world: World) -> Self {
        Self { world, start: tokio::time::Instant::now() }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        *self.world.wall.lock().unwrap() + SignedDuration::try_from(self.start.elapsed()).unwrap()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A store on the disk of the world: slow, and now and then in trouble, before or after it wrote.
pub(super) struct SimStore {
    world: World,
    clock: Arc<SimClock>,
    told: broadcast::Sender<(Object, bool)>,
    pub(super) faults: bool,
}

impl SimStore {
    pub(super) fn new(world: World, clock: Arc<SimClock>, faults: bool) -> Self {
        Self { world, clock, told: broadcast::channel(1_024).0, faults }
    }

    async fn pause(&self) {
        let length = self.world.random(|random| random.millis(20));
        tokio::time::sleep(length).await;
    }

    fn fault(&self) -> bool {
        self.faults && self.world.random(|random| random.one_in(40))
    }

    fn trouble() -> StoreError {
        StoreError::Unavailable { doing: "simulating".into(), why: "the disk is full".into() }
    }

    async fn write(
        &self,
        change: impl FnOnce(&mut Disk) -> Result<Object, StoreError> + Send,
    ) -> Result<Object, StoreError> {
        self.pause().await;
        if self.fault() {
            return Err(Self::trouble());
        }
        let written = change(&mut self.world.disk.lock().unwrap());
        if let Ok(object) = &written {
            // Nobody may be listening.
            let _ = self.told.send((object.clone(), false));
        }
        self.pause().await;
        // The write happened, and its acknowledgement got lost.
        if self.fault() { Err(Self::trouble()) } else { written }
    }
}

fn key(object: &Object) -> Key {
    (object.kind.to_owned(), object.namespace.clone(), object.name.clone())
}

fn decided(object: &Object) -> bool {
    object.body["status"]["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|c| c["type"] == "Decided" && c["status"] == "True"))
}

fn fits(object: &Object, query: &Query) -> bool {
    query.namespace.as_ref().is_none_or(|namespace| *namespace == object.namespace)
        && query.decided.is_none_or(|wanted| wanted == decided(object))
        && query.labels.iter().all(|(key, value)| object.body["metadata"]["labels"][key] == value.as_str())
}

fn stamp(disk: &mut Disk, object: &mut Object) {
    disk.revision += 1;
    object.body["metadata"]["resourceVersion"] = json!(disk.revision.to_string());
}

/// The stored object that `new` may replace.
fn stored(disk: &Disk, new: &Object) -> Result<(u64, Object), StoreError> {
    let (kind, namespace, name) = (new.kind, new.namespace.clone(), new.name.clone());
    let Some((order, old)) = disk.objects.get(&key(new)).cloned() else {
        return Err(StoreError::NotFound { kind, namespace, name });
    };
    let version = &new.body["metadata"]["resourceVersion"];
    if !version.is_null() && *version != old.body["metadata"]["resourceVersion"] {
        return Err(StoreError::Conflict { kind, namespace, name });
    }
    Ok((order, old))
}

#[async_trait]
impl Store for SimStore {
    async fn get(&self, kind: &'static str, namespace: &str, name: &str) -> Result<Option<Object>, StoreError> {
        self.pause().await;
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        Ok(self.world.disk.lock().unwrap().objects.get(&key).map(|(_, object)| object.clone()))
    }

    async fn list(&self, kind: &'static str, query: &Query) -> Result<Page<Object>, StoreError> {
        self.pause().await;
        if self.fault() {
            return Err(Self::trouble());
        }
        let disk = self.world.disk.lock().unwrap();
        let mut all: Vec<_> =
            disk.objects.values().filter(|(_, o)| o.kind == kind && fits(o, query)).cloned().collect();
        all.sort_by_key(|(order, _)| std::cmp::Reverse(*order));
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        Ok(Page { items: all.into_iter().take(limit).map(|(_, object)| object).collect(), next: None })
    }

    fn watch(&self, kind: &'static str, query: Query) -> BoxStream<'static, Result<WatchEvent<Object>, StoreError>> {
        let told = self.told.subscribe();
        let disk = self.world.disk.lock().unwrap();
        let all: Vec<_> =
            disk.objects.values().filter(|(_, o)| o.kind == kind && fits(o, &query)).map(|(_, o)| o.clone()).collect();
        let first = futures::stream::iter([Ok(WatchEvent::Listed(all))]);
        let rest = futures::stream::unfold((told, query), move |(mut told, query)| async move {
            loop {
                let Ok((object, deleted)) = told.recv().await else { return None };
                if object.kind == kind {
                    let event = if deleted || !fits(&object, &query) {
                        WatchEvent::Deleted(object)
                    } else {
                        WatchEvent::Applied(object)
                    };
                    return Some((Ok(event), (told, query)));
                }
            }
        });
        first.chain(rest).boxed()
    }

    async fn create(&self, mut object: Object) -> Result<Object, StoreError> {
        let now = self.clock.now();
        self.write(|disk| {
            if disk.objects.contains_key(&key(&object)) {
                return Err(StoreError::Exists { kind: object.kind, namespace: object.namespace, name: object.name });
            }
            disk.created += 1;
            object.body["metadata"]["creationTimestamp"] = json!(now.to_string());
            object.body["metadata"]["generation"] = json!(1);
            stamp(disk, &mut object);
            let order = disk.created;
            disk.objects.insert(key(&object), (order, object.clone()));
            Ok(object)
        })
        .await
    }

    async fn put(&self, mut object: Object) -> Result<Object, StoreError> {
        self.write(|disk| {
            let (order, old) = stored(disk, &object)?;
            object.body["status"] = old.body["status"].clone();
            stamp(disk, &mut object);
            disk.objects.insert(key(&object), (order, object.clone()));
            Ok(object)
        })
        .await
    }

    async fn put_status(&self, object: Object) -> Result<Object, StoreError> {
        self.write(|disk| {
            let (order, mut old) = stored(disk, &object)?;
            old.body["status"] = object.body["status"].clone();
            stamp(disk, &mut old);
            disk.objects.insert(key(&old), (order, old.clone()));
            Ok(old)
        })
        .await
    }

    async fn delete(&self, kind: &'static str, namespace: &str, name: &str, _: Option<&str>) -> Result<(), StoreError> {
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        let gone = self.world.disk.lock().unwrap().objects.remove(&key);
        if let Some((_, object)) = gone {
            let _ = self.told.send((object, true));
        }
        Ok(())
    }

    async fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A kind of check that says what the seed says.
pub(super) struct SimKind(pub(super) &'static str, pub(super) World);

impl Kind for SimKind {
    fn name(&self) -> &'static str {
        self.0
    }

    fn compile(&self, check: &api::Check, _: &str) -> Result<Arc<dyn Check>, CompileError> {
        Ok(Arc::new(SimCheck { name: check.name.clone(), kind: self.0, world: self.1.clone() }))
    }
}

struct SimCheck {
    name: String,
    kind: &'static str,
    world: World,
}

#[async_trait]
impl Check for SimCheck {
    async fn execute(&self, context: &Context) -> Report {
        let (pause, luck, held) = self.world.random(|random| {
            let slow = random.one_in(15);
            (random.millis(if slow { 30_000 } else { 800 }), random.below(40), random.below(90_000))
        });
        tokio::time::sleep(pause).await;
        // No freeze names rollbacks here: a window never fails or holds one.
        let free = self.kind == "window" && context.question.change.action == probegate::model::Action::Rollback;
        let report = match luck {
            0 if !free => Report::fail("broken"),
            1 | 2 => Report::unknown("no data"),
            3 => Report::pending("measuring"),
            4 | 5 if self.kind == "window" && !free => {
                Report::held("shut", context.now + SignedDuration::from_millis(i64::try_from(held).unwrap()))
            }
            _ => Report::pass("fine"),
        };
        self.world.said.lock().unwrap().push(Said {
            run: context.run.clone(),
            check: self.name.clone(),
            outcome: report.outcome,
        });
        report
    }

    fn once(&self) -> bool {
        self.kind == "webhook"
    }
}
