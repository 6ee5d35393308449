//! The resident engine: keeps every probe of the store seated, its status written, its state fresh.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::board::Board;
use super::entry::{Away, Entry, Key};
use super::expand::{LOOK_AGAIN, expand, moves};
use super::limits::{Gatekeeper, Limits};
use super::record::Record;
use super::round::Rounds;
use super::seats::{Maintenances, Usher};
use super::status;
use super::worker::Pool;
use crate::api::{Probe, ProbeSpec, Targets};
use crate::clock::Clock;
use crate::outbound::Outbound;
use crate::probes::SpecError;
use crate::probes::history::Archive;
use crate::probes::kinds::{Tools, kind_of};
use crate::probes::places::Places;
use crate::probes::plan::{Plan, plan};
use crate::probes::targets::own_target;
use crate::store::{Cache, Mark, Store};

/// How long changes of the cluster are gathered before targets are looked at again: addresses are
/// current within a second.
const MOVED: Duration = Duration::from_millis(500);
/// How often states are looked at for staleness, and windows for their turns.
const TICK: Duration = Duration::from_millis(500);
/// How long after one look at all probes the next one comes at the earliest: every status that is
/// written is a change too, and ten thousand of them are written when the prober starts.
const APART: Duration = Duration::from_millis(200);
/// After so many probes others may run: ten thousand new ones take a second.
const BREATHE: usize = 64;

/// What the engine is told at its start.
#[derive(Clone, Default)]
pub struct Options {
    /// Limits of the whole prober.
    pub limits: Limits,
    /// Where relative paths of scripts and lists of targets begin.
    pub root: Option<PathBuf>,
    /// Who knows the windows; without it no probe is ever in maintenance.
    pub maintenances: Option<Arc<dyn Maintenances>>,
    /// What outlives the process; without it only the recent past is known.
    pub archive: Option<Arc<dyn Archive>>,
    /// Who knows what stands in the cluster; without it nothing does.
    pub places: Option<Arc<dyn Places>>,
}

/// The engine. It works while [`Engine::run`] is polled.
pub struct Engine {
    store: Arc<dyn Store>,
    cache: Cache<Probe>,
    usher: Arc<Usher>,
    maintenances: Option<Arc<dyn Maintenances>>,
    running: BTreeMap<Key, Running>,
    /// The last plan that was made: most probes have the same one, and share it.
    plan: Option<Arc<Plan>>,
}

/// One probe as it is being probed.
struct Running {
    entry: Arc<Entry>,
    /// Follows its targets, where they can change by themselves.
    seeker: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(seeker) = &self.seeker {
            seeker.abort();
        }
    }
}

impl Engine {
    /// Probes whatever is in `cache`, and writes the states to `store`.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn new(
        store: Arc<dyn Store>,
        cache: Cache<Probe>,
        outbound: Outbound,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> io::Result<Self> {
        let board = Board::new(Arc::clone(&clock), options.archive);
        let rounds = Arc::new(Rounds { board: board.clone(), gatekeeper: Gatekeeper::new(&options.limits) });
        let pool = Pool::start(options.limits.threads, &rounds)?;
        let tools = Tools { outbound, clock, root: options.root };
        let usher = Arc::new(Usher { board, tools, rounds, pool, places: options.places });
        Ok(Self { store, cache, usher, maintenances: options.maintenances, running: BTreeMap::new(), plan: None })
    }

    /// Where the states can be read, and rounds asked for.
    #[must_use]
    pub fn board(&self) -> Board {
        self.usher.board.clone()
    }

    /// Works until it is dropped.
    pub async fn run(mut self) {
        let board = self.board();
        let (store, cache) = (Arc::clone(&self.store), self.cache.clone());
        let maintenances = self.maintenances.clone();
        let writer = status::write(&board, &store, &cache);
        let ticker = async {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                board.tick(|entry, now| away(maintenances.as_deref(), entry, now));
                board.hand_over();
            }
        };
        tokio::join!(self.follow(), writer, ticker);
    }

    /// Keeps every probe of the cache seated.
    async fn follow(&mut self) {
        let mut changes = self.cache.changes();
        self.usher.board.recall().await;
        self.cache.wait_synced().await;
        loop {
            changes.mark_unchanged();
            self.sync().await;
            sleep(APART).await;
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    async fn sync(&mut self) {
        let marks = self.cache.marks();
        let board = self.board();
        let mut changed = !board.synced();
        let gone: Vec<Key> = self.running.keys().filter(|key| !self.cache.contains(key)).cloned().collect();
        for key in gone {
            if let Some(running) = self.running.remove(&key) {
                running.entry.sit(Vec::new(), None);
            }
            board.remove(&key);
            changed = true;
        }
        for (count, (key, mark)) in marks.into_iter().enumerate() {
            if self.running.get(&key).is_none_or(|running| running.entry.mark != mark) {
                changed |= self.sync_one(key, mark).await;
            }
            if count % BREATHE == BREATHE - 1 {
                tokio::task::yield_now().await;
            }
        }
        if changed {
            self.usher.introduce();
            board.announce();
        }
    }

    /// Seats a probe that is new or has changed; true unless it is gone meanwhile.
    async fn sync_one(&mut self, key: Key, mark: Mark) -> bool {
        let Some(probe) = self.cache.get(&key.0, &key.1) else { return false };
        let old = self.running.get(&key).map(|running| &running.entry);
        // Another address, another question: what was seen says nothing about it.
        let same = old.filter(|old| old.terms.ask_what(&probe.spec)).map(Arc::clone);
        let records = same.as_ref().map(|old| old.records()).unwrap_or_default();
        if let Some(Ok((_, until_now))) = same.as_ref().map(|old| old.plan.as_ref()) {
            let now = self.usher.board.now();
            for record in &records {
                record.renew(now, &until_now.rules);
            }
        }
        let planned = self.prepare(&key.0, &probe.spec);
        self.plan = planned.as_ref().ok().map(|(_, plan)| Arc::clone(plan)).or(self.plan.take());
        let on_board = planned.as_ref().map(|(kind, plan)| (*kind, Arc::clone(plan))).map_err(ToString::to_string);
        let entry = Arc::new(Entry::new((Arc::clone(&key), mark), &probe, on_board, same.as_deref()));
        if let Some(old) = self.running.remove(&key) {
            old.entry.sit(Vec::new(), None);
        }
        let mut seeker = None;
        if let Ok((_, plan)) = planned {
            seeker = self.begin(&entry, (&probe, &plan), records).await;
            if plan.usual.is_some() && same.is_none() {
                let (board, records) = (self.board(), entry.records());
                tokio::spawn(async move {
                    for record in records {
                        board.teach(&record).await;
                    }
                });
            }
        }
        self.usher.board.put(&entry);
        self.usher.board.settle(&entry);
        self.running.insert(key, Running { entry, seeker });
        true
    }

    /// The kind and the schedule of a spec that can be probed.
    fn prepare(&self, namespace: &str, spec: &ProbeSpec) -> Result<(&'static str, Arc<Plan>), SpecError> {
        let plan = plan(spec)?;
        let first = spec.targets.as_ref().and_then(|targets| targets.list.first());
        let kind = match (first, &spec.targets) {
            (Some(first), _) => self.usher.compile((namespace, spec), &plan, first)?.kind(),
            (None, None) if is_module(spec) => kind_of(spec)?,
            (None, None) => self.usher.compile((namespace, spec), &plan, &own_target(spec))?.kind(),
            (None, Some(_)) => kind_of(spec)?,
        };
        let shared = self.plan.as_ref().filter(|last| ***last == plan).map(Arc::clone);
        Ok((kind, shared.unwrap_or_else(|| Arc::new(plan))))
    }

    /// Seats the targets of a probe, and follows them where they can change by themselves.
    async fn begin(
        &self,
        entry: &Arc<Entry>,
        (probe, plan): (&Arc<Probe>, &Arc<Plan>),
        records: Vec<Arc<Record>>,
    ) -> Option<JoinHandle<()>> {
        let spec = &probe.spec;
        if is_module(spec) {
            return None;
        }
        if spec.targets.as_ref().is_some_and(moves) {
            entry.lost(Some("the targets are not known yet".to_owned()));
            let seeker =
                seek(Arc::clone(&self.usher), Arc::clone(entry), (Arc::clone(probe), Arc::clone(plan)), records);
            return Some(tokio::spawn(seeker));
        }
        let found = expand((&entry.key.0, spec), &self.usher.tools, None).await.map_err(|error| error.to_string());
        let seated = found.and_then(|targets| {
            self.usher.seat(entry, (spec, plan), &targets, &records).map_err(|error| error.to_string())
        });
        if let Err(why) = seated {
            entry.lost(Some(why));
        }
        None
    }
}

impl Drop for Engine {
    /// Ends all probing: the threads hold the board, and the board their seats.
    fn drop(&mut self) {
        self.usher.board.end();
    }
}

/// Follows the targets of one probe for ever.
async fn seek(usher: Arc<Usher>, entry: Arc<Entry>, (probe, plan): (Arc<Probe>, Arc<Plan>), mut old: Vec<Arc<Record>>) {
    let spec = &probe.spec;
    let places = usher.places.clone().filter(|_| spec.targets.as_ref().is_some_and(Targets::are_in_cluster));
    let mut moved = places.as_ref().map(|places| places.changes());
    let mut trouble = None;
    loop {
        let found =
            expand((&entry.key.0, spec), &usher.tools, places.as_deref()).await.map_err(|error| error.to_string());
        let changed = match found {
            Ok(targets) if entry.targets().iter().map(|target| &**target).eq(targets.iter().map(String::as_str)) => {
                Ok(false)
            }
            Ok(targets) => {
                usher.seat(&entry, (spec, &plan), &targets, &old).map(|()| true).map_err(|error| error.to_string())
            }
            Err(why) => Err(why),
        };
        let (namespace, name) = &*entry.key;
        match &changed {
            Ok(true) => {
                let count = entry.targets().len();
                tracing::info!(namespace, probe = name, count, "A probe has other targets.");
                old = entry.records();
                usher.introduce();
                usher.board.settle(&entry);
            }
            Err(why) if trouble.as_ref() != Some(why) => {
                tracing::warn!(
                    namespace,
                    probe = name,
                    why,
                    "The targets of a probe cannot be found; those that are known stay."
                );
                entry.lost(Some(why.clone()));
                usher.board.settle(&entry);
            }
            Ok(false) | Err(_) => {}
        }
        trouble = changed.err();
        look_again(moved.as_mut()).await;
    }
}

/// Waits until targets are to be looked at again.
async fn look_again(moved: Option<&mut watch::Receiver<u64>>) {
    let moved = async {
        match moved {
            Some(moved) => moved.changed().await.is_ok(),
            None => false,
        }
    };
    tokio::select! {
        true = moved => sleep(MOVED).await,
        () = sleep(LOOK_AGAIN) => {}
    }
}

fn away(maintenances: Option<&dyn Maintenances>, entry: &Entry, now: Timestamp) -> Option<Away> {
    let maintenance = entry.terms.maintenance.as_deref()?;
    maintenances?.away(&entry.key.0, maintenance, now)
}

/// Whether it has no target of its own: whoever asks for `/probe` names one.
fn is_module(spec: &ProbeSpec) -> bool {
    spec.suspend && spec.targets.is_none() && own_target(spec).is_empty()
}
