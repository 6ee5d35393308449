//! The book: follows the resources and their calendars, and always has a compiled set of windows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::fetch::{Fetched, fetch};
use super::kept::Kept;
use super::metrics::{Metrics, TypeLabel, WindowLabel};
use super::source::{Good, Held, Source, read_file, refresh_of};
use super::zones::zones;
use super::{CalendarError, Options};
use crate::api::{ReleaseWindow, WindowType, name_of, namespace_of};
use crate::clock::Clock;
use crate::outbound::Outbound;
use crate::store::Cache;
use crate::windows::{CalendarInput, Compiled, Standing, WindowError, check_calendar, compile};

/// The first wait after a failure; it doubles up to the refresh interval.
const FIRST_RETRY: Duration = Duration::from_secs(30);
/// Calendars that are fetched at a time: enough for many windows, and no flood.
const MAX_FETCHES: usize = 8;
/// Intervals are spread by a tenth, so that many servers do not ask at the same moment.
const SPREAD_PERCENT: u32 = 10;
/// The most calendars that are held; more windows than this share them, or are a mistake.
const MAX_SOURCES: usize = 1_000;

/// One calendar of the book, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarStatus {
    /// The file, or the host of the URL.
    pub calendar: String,
    /// When its copy was last known to be what the source says; `None` without a copy.
    pub seen_at: Option<Timestamp>,
    /// Why the last attempt failed, where it did.
    pub trouble: Option<String>,
}

/// The windows as they stand now. Cheap to clone; all clones are one book.
#[derive(Clone)]
pub struct WindowBook {
    shared: Arc<Shared>,
}

struct Shared {
    current: ArcSwap<Vec<Arc<Compiled>>>,
    /// Counts the sets of windows; 0 until the first.
    version: watch::Sender<u64>,
    calendars: Mutex<Vec<CalendarStatus>>,
    metrics: Metrics,
}

impl WindowBook {
    /// A book that follows `windows` for as long as the returned future is polled. Until the first
    /// set of windows there is none: wait for [`Self::wait_synced`].
    pub fn follow(
        windows: Cache<ReleaseWindow>,
        outbound: Outbound,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let book = Self {
            shared: Arc::new(Shared {
                current: ArcSwap::default(),
                version: watch::Sender::new(0),
                calendars: Mutex::default(),
                metrics: Metrics::default(),
            }),
        };
        let follower = Follower {
            book: book.clone(),
            windows,
            outbound,
            clock,
            kept: Kept::new(options.keep_in),
            look_every: options.look_every,
            sources: BTreeMap::new(),
            compiled: BTreeMap::new(),
            fetching: JoinSet::new(),
        };
        (book, follower.run())
    }

    /// A book of windows that never change.
    #[must_use]
    pub fn fixed(windows: Vec<Arc<Compiled>>) -> Self {
        let shared = Shared {
            current: ArcSwap::from_pointee(windows),
            version: watch::Sender::new(1),
            calendars: Mutex::default(),
            metrics: Metrics::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Every window.
    #[must_use]
    pub fn current(&self) -> Arc<Vec<Arc<Compiled>>> {
        self.shared.current.load_full()
    }

    /// Whether the first set of windows is there: before that, having none means nothing.
    #[must_use]
    pub fn synced(&self) -> bool {
        *self.shared.version.borrow() > 0
    }

    /// Waits for the first set of windows.
    pub async fn wait_synced(&self) {
        let mut version = self.shared.version.subscribe();
        // The sender lives in this book, so that waiting cannot fail.
        let _ = version.wait_for(|version| *version > 0).await;
    }

    /// Tells of every change from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// Wakes at the next change.
    pub async fn changed(&self) {
        let _ = self.changes().changed().await;
    }

    /// Every calendar that comes from a file or a URL.
    #[must_use]
    pub fn calendars(&self) -> Vec<CalendarStatus> {
        self.shared.calendars.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds its metrics.
    pub fn register(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
    }
}

/// A source with its timetable.
struct Entry {
    held: Held,
    refresh: Duration,
    zone: Option<String>,
    /// On the monotonic clock.
    due: Duration,
    failures: u32,
    busy: bool,
}

/// What an attempt has brought.
struct Attempt {
    source: Source,
    result: Result<Fetched, CalendarError>,
}

/// A compiled window with what it was made of.
struct Made {
    window: Arc<ReleaseWindow>,
    inputs: Vec<CalendarInput>,
    compiled: Arc<Compiled>,
}

struct Follower {
    book: WindowBook,
    windows: Cache<ReleaseWindow>,
    outbound: Outbound,
    clock: Arc<dyn Clock>,
    kept: Kept,
    look_every: Duration,
    sources: BTreeMap<Source, Entry>,
    compiled: BTreeMap<(String, String), Made>,
    fetching: JoinSet<Attempt>,
}

impl Follower {
    async fn run(mut self) {
        let mut changes = self.windows.changes();
        self.windows.wait_synced().await;
        let mut tick = tokio::time::interval(self.look_every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                told = changes.changed() => if told.is_err() { return },
                Some(attempt) = self.fetching.join_next(), if !self.fetching.is_empty() => match attempt {
                    Ok(attempt) => self.take(attempt).await,
                    Err(error) => tracing::error!(%error, "Fetching a calendar ended without an answer."),
                },
            }
            changes.mark_unchanged();
            self.find_sources().await;
            self.read_due().await;
            self.publish();
        }
    }

    /// Holds exactly the sources that windows name, with the shortest of their intervals.
    async fn find_sources(&mut self) {
        let mut named: BTreeMap<Source, (Duration, Option<String>)> = BTreeMap::new();
        for window in self.windows.all() {
            for (source, refresh) in sources_of(&window) {
                let zone = window.spec.time_zone.clone();
                let entry = named.entry(source).or_insert((refresh, zone));
                entry.0 = entry.0.min(refresh);
            }
        }
        self.sources.retain(|source, _| named.contains_key(source));
        for (source, (refresh, zone)) in named {
            if let Some(entry) = self.sources.get_mut(&source) {
                (entry.refresh, entry.zone) = (refresh, zone);
                continue;
            }
            if self.sources.len() >= MAX_SOURCES {
                tracing::error!(most = MAX_SOURCES, "Too many calendars: further ones are not read.");
                return;
            }
            let good = self.kept.read(&source).await;
            let held = Held { good, trouble: None };
            let entry = Entry { held, refresh, zone, due: Duration::ZERO, failures: 0, busy: false };
            self.sources.insert(source, entry);
        }
    }

    /// Reads the files and begins to fetch the URLs that are due.
    async fn read_due(&mut self) {
        let now = self.clock.elapsed();
        let due: Vec<Source> = self
            .sources
            .iter()
            .filter(|(_, entry)| !entry.busy && entry.due <= now)
            .map(|(source, _)| source.clone())
            .collect();
        for source in due {
            match &source {
                Source::File(path) => {
                    let read = read_file(path).await;
                    let result = read.map(|bytes| Fetched::New { bytes, etag: None, last_modified: None });
                    self.take(Attempt { source, result }).await;
                }
                Source::Url(url) if self.fetching.len() < MAX_FETCHES => {
                    let (outbound, url) = (self.outbound.clone(), url.clone());
                    let Some(entry) = self.sources.get_mut(&source) else { continue };
                    entry.busy = true;
                    let have = entry.held.good.clone();
                    self.fetching.spawn(async move {
                        let result = fetch(&outbound, &url, have.as_ref()).await;
                        Attempt { source, result }
                    });
                }
                // Its turn comes when one of the others has ended.
                Source::Url(_) => {}
            }
        }
    }

    /// Takes over what an attempt has brought: only a calendar that can be read as a whole.
    async fn take(&mut self, attempt: Attempt) {
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        let Attempt { source, result } = attempt;
        let Some(entry) = self.sources.get_mut(&source) else { return };
        entry.busy = false;
        let read = result.and_then(|fetched| good_of(fetched, entry, now));
        match read {
            Ok(good) => {
                let same = entry.held.good.as_ref().is_some_and(|old| old.bytes == good.bytes);
                let back = entry.held.trouble.take().is_some();
                entry.failures = 0;
                entry.due = elapsed.saturating_add(spread(entry.refresh, &source, now));
                if !same {
                    tracing::info!(calendar = source.label(), "A calendar was read.");
                } else if back {
                    tracing::info!(calendar = source.label(), "A calendar can be read again.");
                }
                // A file that stays the same is not worth a write every few seconds.
                let write = !same || back || matches!(source, Source::Url(_));
                entry.held.good = Some(good.clone());
                if write {
                    self.kept.write(&source, &good).await;
                }
            }
            Err(error) => {
                self.book.shared.metrics.failures.inc();
                let wait = FIRST_RETRY.saturating_mul(1 << entry.failures.min(16)).min(entry.refresh);
                entry.failures = entry.failures.saturating_add(1);
                entry.due = elapsed.saturating_add(spread(wait, &source, now));
                if entry.held.trouble.as_ref() != Some(&error) {
                    tracing::warn!(%error, calendar = source.label(), "A calendar cannot be read; its last good copy stays in force.");
                }
                entry.held.trouble = Some(error);
            }
        }
    }

    /// Compiles what has changed and makes it the current set.
    fn publish(&mut self) {
        let now = self.clock.now();
        let mut seen = BTreeSet::new();
        let mut different = !self.book.synced();
        for window in self.windows.all() {
            let key = (namespace_of(window.as_ref()).to_owned(), name_of(window.as_ref()).to_owned());
            let inputs = self.inputs(&window, now);
            let fresh = self.compiled.get(&key).is_some_and(|made| made.is_of(&window, &inputs));
            if !fresh {
                let compiled = Arc::new(read(&window, &inputs));
                self.compiled.insert(key.clone(), Made { window, inputs, compiled });
                different = true;
            }
            seen.insert(key);
        }
        let before = self.compiled.len();
        self.compiled.retain(|key, _| seen.contains(key));
        different |= self.compiled.len() != before;
        self.tell(now);
        if different {
            let all: Vec<_> = self.compiled.values().map(|made| Arc::clone(&made.compiled)).collect();
            self.book.shared.current.store(Arc::new(all));
            self.book.shared.version.send_modify(|version| *version += 1);
        }
    }

    fn inputs(&self, window: &ReleaseWindow, now: Timestamp) -> Vec<CalendarInput> {
        let calendars = window.spec.schedule.iter().flat_map(|schedule| &schedule.calendars);
        calendars
            .map(|calendar| match Source::of(window, calendar) {
                Some(Ok(source)) => match self.sources.get(&source) {
                    Some(entry) => entry.held.input(refresh_of(&source, calendar), now),
                    None => CalendarInput::Missing("there are too many calendars".to_owned()),
                },
                Some(Err(error)) => CalendarInput::Missing(error.to_string()),
                None => CalendarInput::Missing(String::new()),
            })
            .collect()
    }

    /// Sets the gauges and the list of calendars.
    fn tell(&self, now: Timestamp) {
        let metrics = &self.book.shared.metrics;
        let mut in_force = [0, 0];
        let mut unknown = 0;
        metrics.age.clear();
        for made in self.compiled.values() {
            let [allow, freeze] = &mut in_force;
            let count = if made.compiled.kind() == WindowType::Allow { allow } else { freeze };
            *count += i64::from(made.compiled.covering(now).is_some());
            unknown += i64::from(matches!(made.compiled.standing, Standing::Unknown(_)));
            let seen = sources_of(&made.window)
                .into_iter()
                .filter_map(|(source, _)| Some(self.sources.get(&source)?.held.good.as_ref()?.seen_at));
            if let Some(oldest) = seen.min() {
                let label =
                    WindowLabel { namespace: made.compiled.namespace.clone(), window: made.compiled.name.clone() };
                metrics.age.get_or_create(&label).set(now.duration_since(oldest).as_secs());
            }
        }
        for (kind, count) in ["allow", "freeze"].into_iter().zip(in_force) {
            metrics.in_force.get_or_create(&TypeLabel { r#type: kind }).set(count);
        }
        metrics.unknown.set(unknown);
        let calendars = self.sources.iter().map(|(source, entry)| CalendarStatus {
            calendar: source.label(),
            seen_at: entry.held.good.as_ref().map(|good| good.seen_at),
            trouble: entry.held.trouble.as_ref().map(ToString::to_string),
        });
        *self.book.shared.calendars.lock().unwrap_or_else(PoisonError::into_inner) = calendars.collect();
    }
}

impl Made {
    fn is_of(&self, window: &Arc<ReleaseWindow>, inputs: &[CalendarInput]) -> bool {
        let same = Arc::ptr_eq(&self.window, window)
            || (self.window.spec == window.spec
                && self.window.metadata.annotations == window.metadata.annotations
                && self.window.metadata.uid == window.metadata.uid);
        same && self.inputs.len() == inputs.len()
            && self.inputs.iter().zip(inputs).all(|(old, new)| same_input(old, new))
    }
}

/// Copies that are the same memory need no comparing; the age in a reason changes nothing.
fn same_input(old: &CalendarInput, new: &CalendarInput) -> bool {
    match (old, new) {
        (CalendarInput::Ready(old), CalendarInput::Ready(new))
        | (CalendarInput::Stale(old, _), CalendarInput::Stale(new, _)) => Arc::ptr_eq(old, new) || old == new,
        (CalendarInput::Missing(old), CalendarInput::Missing(new)) => old == new,
        _ => false,
    }
}

fn sources_of(window: &ReleaseWindow) -> Vec<(Source, Duration)> {
    let calendars = window.spec.schedule.iter().flat_map(|schedule| &schedule.calendars);
    calendars
        .filter_map(|calendar| {
            let source = Source::of(window, calendar)?.ok()?;
            let refresh = refresh_of(&source, calendar);
            Some((source, refresh))
        })
        .collect()
}

fn good_of(fetched: Fetched, entry: &Entry, now: Timestamp) -> Result<Good, CalendarError> {
    match (fetched, &entry.held.good) {
        (Fetched::Same, Some(good)) => Ok(Good { seen_at: now, ..good.clone() }),
        (Fetched::Same, None) => {
            Err(CalendarError::Fetch("the server says that nothing has changed since never".to_owned()))
        }
        (Fetched::New { bytes, etag, last_modified }, good) => {
            if let Some(good) = good.as_ref().filter(|good| *good.bytes == *bytes) {
                return Ok(Good { bytes: Arc::clone(&good.bytes), seen_at: now, etag, last_modified });
            }
            check_calendar(&bytes, entry.zone.as_deref(), zones())
                .map_err(|error| CalendarError::Contents(error.to_string()))?;
            Ok(Good { bytes: Arc::from(bytes), seen_at: now, etag, last_modified })
        }
    }
}

/// A window, or why it is unknown.
fn read(window: &ReleaseWindow, inputs: &[CalendarInput]) -> Compiled {
    compile(window, zones(), inputs).unwrap_or_else(|errors: Vec<WindowError>| {
        let first = errors.first().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(
            namespace = namespace_of(window),
            window = name_of(window),
            error = first,
            "A window has errors: it opens nothing until somebody mends it."
        );
        Compiled::broken(window, &errors)
    })
}

/// `wait`, shorter or longer by up to a tenth: by source and instant, so that it needs no source of
/// randomness and differs all the same.
fn spread(wait: Duration, source: &Source, now: Timestamp) -> Duration {
    let hash = crate::model::QuestionKey::over(&[&source.key(), &now.to_string()]).to_string();
    let share = u32::from_str_radix(hash.get(..4).unwrap_or("8000"), 16).unwrap_or(0x8000);
    // 0..=65535 onto 90 % to 110 %.
    let percent = 100 - SPREAD_PERCENT + share * 2 * SPREAD_PERCENT / 0xffff;
    wait.saturating_mul(percent) / 100
}
