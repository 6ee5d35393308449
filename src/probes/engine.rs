//! The resident engine: makes every probe's rounds on time.
//!
//! Each probe has a task of its own, so that a slow target delays nobody. Rounds begin at slots of
//! a fixed rate; a slot in which none can be made is counted as missed, never made up for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::board::{Board, Key};
use super::kinds::{Compiled, SpecError, Tools, compile};
use super::schedule::{Plan, Slots, missed, plan};
use super::status;
use crate::api::{Probe, ProbeSpec, name_of, namespace_of};
use crate::clock::Clock;
use crate::model::Labels;
use crate::outbound::Outbound;
use crate::store::{Cache, Store};

/// The most rounds under way at once, each with a descriptor: below the 1,024 that a process has
/// by default, with room for everything else.
const MAX_IN_FLIGHT: usize = 512;
/// How often states are looked at for staleness.
const TICK: Duration = Duration::from_millis(500);

/// The engine. It works while [`Engine::run`] is polled.
pub struct Engine {
    store: Arc<dyn Store>,
    cache: Cache<Probe>,
    worker: Worker,
    running: BTreeMap<Key, Running>,
    tasks: JoinSet<Key>,
}

/// What every probe's task needs.
#[derive(Clone)]
struct Worker {
    board: Board,
    tools: Tools,
    clock: Arc<dyn Clock>,
    permits: Arc<Semaphore>,
}

/// One probe as it is being probed.
struct Running {
    spec: ProbeSpec,
    labels: Labels,
    task: Option<AbortHandle>,
}

impl Engine {
    /// Probes whatever is in `cache`, and writes the states to `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, cache: Cache<Probe>, outbound: Outbound, clock: Arc<dyn Clock>) -> Self {
        let board = Board::new(Arc::clone(&clock));
        let tools = Tools { outbound, clock: Arc::clone(&clock), root: None };
        let worker = Worker { board, tools, clock, permits: Arc::new(Semaphore::new(MAX_IN_FLIGHT)) };
        Self { store, cache, worker, running: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Where the states can be read.
    #[must_use]
    pub fn board(&self) -> Board {
        self.worker.board.clone()
    }

    /// Works until it is dropped.
    pub async fn run(mut self) {
        let board = self.board();
        let (store, cache) = (Arc::clone(&self.store), self.cache.clone());
        let writer = status::write(&board, &store, &cache);
        let ticker = async {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                board.tick();
            }
        };
        tokio::join!(self.follow(), writer, ticker);
    }

    /// Keeps one task for each probe of the cache.
    async fn follow(&mut self) {
        let mut changes = self.cache.changes();
        self.cache.wait_synced().await;
        loop {
            changes.mark_unchanged();
            self.sync();
            tokio::select! {
                gone = changes.changed() => if gone.is_err() { return },
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => self.ended(ended),
            }
        }
    }

    /// A task ends by itself only when something in it is broken: then it is started again.
    fn ended(&mut self, ended: Result<Key, tokio::task::JoinError>) {
        match ended {
            Err(error) if error.is_cancelled() => {}
            ended => {
                tracing::error!(?ended, "A probe's task has ended by itself; it is started again.");
                self.running.retain(|_, running| running.task.as_ref().is_none_or(|task| !task.is_finished()));
            }
        }
    }

    fn sync(&mut self) {
        let probes: BTreeMap<Key, Arc<Probe>> = self
            .cache
            .all()
            .into_iter()
            .map(|probe| ((namespace_of(&*probe).to_owned(), name_of(&*probe).to_owned()), probe))
            .collect();
        let mut changed = !self.worker.board.synced();
        let gone: Vec<Key> = self.running.keys().filter(|key| !probes.contains_key(*key)).cloned().collect();
        for key in gone {
            if let Some(task) = self.running.remove(&key).and_then(|running| running.task) {
                task.abort();
            }
            self.worker.board.remove(&key);
            changed = true;
        }
        for (key, probe) in probes {
            changed |= self.sync_one(key, &probe);
        }
        if changed {
            self.worker.board.announce();
        }
    }

    fn sync_one(&mut self, key: Key, probe: &Probe) -> bool {
        let labels = probe.metadata.labels.clone().unwrap_or_default();
        let old = self.running.get(&key);
        if old.is_some_and(|old| old.spec == probe.spec && old.labels == labels) {
            return false;
        }
        // Another target: what was seen of the old one says nothing about it.
        let anew = old.is_some_and(|old| (&old.spec.http, &old.spec.tcp) != (&probe.spec.http, &probe.spec.tcp));
        if let Some(task) = old.and_then(|old| old.task.as_ref()) {
            task.abort();
        }
        let ready = self.prepare(&probe.spec);
        let on_board = ready.as_ref().map(|(kind, plan, _)| (*kind, *plan)).map_err(ToString::to_string);
        self.worker.board.put(&key, labels.clone(), on_board, anew);
        let task = ready.ok().map(|(_, plan, prober)| {
            let (worker, key) = (self.worker.clone(), key.clone());
            self.tasks.spawn(async move { worker.probe(key, plan, prober).await })
        });
        self.running.insert(key, Running { spec: probe.spec.clone(), labels, task });
        true
    }

    fn prepare(&self, spec: &ProbeSpec) -> Result<(&'static str, Plan, Compiled), SpecError> {
        let plan = plan(spec)?;
        let prober = compile(spec, plan.timeout, &self.worker.tools)?;
        Ok((prober.kind(), plan, prober))
    }
}

impl Worker {
    /// Makes the rounds of one probe for ever.
    async fn probe(self, key: Key, plan: Plan, prober: Compiled) -> Key {
        let slots = Slots::new(&key.0, &key.1, plan.interval);
        let start = Instant::now();
        let mut due = start + slots.until_next(self.clock.now());
        if !self.board.observed(&key) {
            let first = start + slots.until_first();
            if first < due {
                sleep_until(first).await;
                self.round(&key, &prober, first).await;
            }
        }
        loop {
            sleep_until(due).await;
            // The semaphore is never closed.
            let Ok(permit) = self.permits.acquire().await else { return key };
            let skipped = self.skip(&key, due, plan.interval);
            due += plan.interval * skipped;
            self.round(&key, &prober, due).await;
            drop(permit);
            due += plan.interval;
            due += plan.interval * self.skip(&key, due, plan.interval);
        }
    }

    /// Counts the whole slots that have gone since `due`.
    fn skip(&self, key: &Key, due: Instant, interval: Duration) -> u32 {
        let skipped = missed(Instant::now().saturating_duration_since(due), interval);
        if skipped > 0 {
            self.board.missed(key, skipped);
        }
        skipped
    }

    async fn round(&self, key: &Key, prober: &Compiled, due: Instant) {
        let at = self.clock.now();
        self.board.metrics().late(Instant::now().saturating_duration_since(due).as_secs_f64());
        let seen = prober.observe().await;
        self.board.round(key, at, seen);
    }
}
