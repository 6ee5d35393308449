//! One kind as it is known here: fed by one watch upstream, read by everybody.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};

use super::index::{Entry, Index, Key, Place, Step};
use super::kinds::Known;
use super::metrics::HomeMetrics;
use crate::cluster::WATCH_IDLE;
use crate::store::facts::Facts;
use crate::store::{Query, StoreError};

/// How long a list waits for the first list from the API server, and for our own last write to come
/// back by the watch.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the watch may be in trouble before what it has told is too old: a list from memory is
/// refused then, and nothing passes.
const STALE_AFTER: Duration = Duration::from_secs(30);
/// How long a watch may say nothing, not even a bookmark, before what it has told is too old: a
/// connection that died in silence is begun anew after [`WATCH_IDLE`], with a list, which proves
/// that everything is known. So nothing passes on what is older than two minutes.
const SILENT_AFTER: Duration = WATCH_IDLE.saturating_add(STALE_AFTER);

/// One change, as subscribers get it.
#[derive(Debug)]
pub(super) struct Change {
    /// Counts the changes of this hub.
    pub(super) number: u64,
    pub(super) key: Key,
    pub(super) was: Option<Facts>,
    pub(super) is: Option<Facts>,
    /// The object as JSON: whole where it came by the watch, and of a brief kind its overview where
    /// it came by a list.
    pub(super) text: Arc<str>,
    /// Whether the text is the whole object.
    pub(super) whole: bool,
}

/// How the watch upstream stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// Whether everything has been listed once.
    pub(super) synced: bool,
    /// Counts the troubles that began.
    pub(super) episode: u64,
    /// The trouble that lasts, and since when.
    pub(super) trouble: Option<(tokio::time::Instant, StoreError)>,
    /// Counts what was heard, so that waiting for a version can look again.
    heard: u64,
}

/// One part of the watch: all namespaces, or one of several.
#[derive(Debug, Default)]
struct Part {
    synced: bool,
    version: u64,
    trouble: Option<(tokio::time::Instant, StoreError)>,
    /// When something came: a list, a change, a bookmark.
    heard: Option<tokio::time::Instant>,
}

impl Part {
    /// How long nothing came.
    fn silence(&self) -> Duration {
        self.heard.map(|at| at.elapsed()).unwrap_or_default()
    }
}

#[derive(Debug)]
struct Inner {
    index: Index,
    number: u64,
    parts: Vec<Part>,
    /// Deleted by us, and not yet by the watch.
    deleted: HashSet<String>,
}

/// What a subscriber begins with.
pub(super) struct Snapshot {
    pub(super) changes: broadcast::Receiver<Arc<Change>>,
    pub(super) number: u64,
    pub(super) objects: Vec<(Key, Arc<str>)>,
}

/// One kind.
pub(super) struct Hub {
    pub(super) kind: &'static Known,
    places: Vec<Option<String>>,
    inner: Mutex<Inner>,
    changes: broadcast::Sender<Arc<Change>>,
    standing: watch::Sender<Standing>,
    pub(super) metrics: HomeMetrics,
}

impl Hub {
    pub(super) fn new(kind: &'static Known, places: Vec<Option<String>>, metrics: HomeMetrics) -> Self {
        let parts = places.iter().map(|_| Part::default()).collect();
        let inner = Inner { index: Index::default(), number: 0, parts, deleted: HashSet::new() };
        Self {
            kind,
            places,
            inner: Mutex::new(inner),
            changes: broadcast::Sender::new(kind.backlog),
            standing: watch::Sender::default(),
            metrics,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    // ---- what the watch upstream says

    /// A whole list of one part.
    pub(super) fn listed(&self, part: usize, list: Vec<(Key, Entry)>, version: u64) {
        let namespace = self.places.get(part).cloned().flatten();
        let mut inner = self.lock();
        inner.deleted.clear();
        let steps = inner.index.replace(namespace.as_deref(), list);
        let first = !self.standing.borrow().synced;
        if let Some(part) = inner.parts.get_mut(part) {
            part.synced = true;
            part.version = version;
            part.heard = Some(tokio::time::Instant::now());
        }
        // Before everything is listed nobody has been told anything.
        if !first {
            for step in steps {
                self.tell(&mut inner, step, None);
            }
        }
        self.told(&inner);
    }

    /// One object as it is now. `whole` is its text where the index keeps only an overview.
    pub(super) fn applied(&self, part: usize, key: Key, entry: Entry, whole: Option<Arc<str>>) {
        let mut inner = self.lock();
        let version = entry.version;
        if let Some(step) = inner.index.apply(key, entry) {
            self.tell(&mut inner, step, whole);
        }
        self.reached(&mut inner, part, version);
    }

    /// One object is gone; its last state.
    pub(super) fn deleted(&self, part: usize, key: &Key, entry: &Entry, whole: Option<Arc<str>>) {
        let mut inner = self.lock();
        inner.deleted.remove(&entry.uid);
        if let Some(mut step) = inner.index.remove(key, &entry.uid) {
            step.text = Arc::clone(&entry.text);
            self.tell(&mut inner, step, whole);
        }
        self.reached(&mut inner, part, entry.version);
    }

    /// Nothing has happened up to this version.
    pub(super) fn bookmark(&self, part: usize, version: Option<u64>) {
        let mut inner = self.lock();
        self.reached(&mut inner, part, version);
    }

    /// The watch of a part cannot be kept up. Whether this is news.
    pub(super) fn in_trouble(&self, part: usize, error: StoreError) -> bool {
        let mut inner = self.lock();
        let Some(part) = inner.parts.get_mut(part) else { return false };
        let news = part.trouble.is_none();
        let since = part.trouble.as_ref().map_or_else(tokio::time::Instant::now, |(since, _)| *since);
        part.trouble = Some((since, error));
        self.standing.send_modify(|standing| {
            standing.trouble = worst(&inner.parts);
            standing.episode += u64::from(news);
        });
        news
    }

    /// The watch of a part goes on. Whether it was in trouble.
    pub(super) fn well_again(&self, part: usize) -> bool {
        let mut inner = self.lock();
        let was = inner.parts.get_mut(part).is_some_and(|part| part.trouble.take().is_some());
        if was {
            self.standing.send_modify(|standing| standing.trouble = worst(&inner.parts));
        }
        was
    }

    fn tell(&self, inner: &mut Inner, step: Step, whole: Option<Arc<str>>) {
        inner.number += 1;
        let is_whole = whole.is_some() || !self.kind.brief;
        let change = Change {
            number: inner.number,
            key: step.key,
            was: step.was,
            is: step.is,
            text: whole.unwrap_or(step.text),
            whole: is_whole,
        };
        // Nobody there is no failure.
        let _ = self.changes.send(Arc::new(change));
    }

    fn reached(&self, inner: &mut Inner, part: usize, version: Option<u64>) {
        if let Some(part) = inner.parts.get_mut(part) {
            part.version = part.version.max(version.unwrap_or_default());
            part.heard = Some(tokio::time::Instant::now());
        }
        self.told(inner);
    }

    fn told(&self, inner: &Inner) {
        self.metrics.resident(self.kind.kind, inner.index.len());
        let synced = inner.parts.iter().all(|part| part.synced);
        self.standing.send_modify(|standing| {
            standing.synced = synced;
            standing.heard += 1;
        });
    }

    // ---- what readers ask

    /// Waits until everything was listed, and our own writes up to `version` have come back.
    pub(super) async fn current(&self, namespace: Option<&str>, version: u64) -> Result<(), StoreError> {
        let mut heard = self.standing.subscribe();
        let enough = async {
            loop {
                let synced = heard.borrow_and_update().synced;
                // Looked at without holding what `told` waits for.
                if synced && self.has_reached(namespace, version) {
                    break;
                }
                if heard.changed().await.is_err() {
                    break;
                }
            }
        };
        let waited = tokio::time::timeout(PATIENCE, enough).await.is_ok();
        let standing = self.standing.borrow().clone();
        match standing.trouble {
            Some((since, error)) if !standing.synced || since.elapsed() > STALE_AFTER => Err(error),
            _ if standing.synced => {
                // A write that does not come back within the patience is one of another scope.
                tracing::trace!(kind = self.kind.kind, waited, "A list is answered from memory.");
                Ok(())
            }
            _ => Err(StoreError::Unavailable {
                doing: format!("listing {}", self.kind.kind),
                why: format!("the API server has not given the first list within {PATIENCE:?}"),
            }),
        }
    }

    /// Whether everything was listed, and what it has told is still good.
    pub(super) fn not_too_old(&self) -> Result<(), StoreError> {
        let inner = self.lock();
        let unavailable = |why| StoreError::Unavailable { doing: format!("watching {}", self.kind.kind), why };
        inner.parts.iter().try_for_each(|part| match &part.trouble {
            Some((since, error)) if !part.synced || since.elapsed() > STALE_AFTER => Err(error.clone()),
            _ if !part.synced => Err(unavailable("the first list has not come yet".to_owned())),
            _ if part.silence() > SILENT_AFTER => {
                Err(unavailable(format!("nothing was heard for {} s", part.silence().as_secs())))
            }
            _ => Ok(()),
        })
    }

    /// Whether the watch of a part has said nothing for so long that only a list proves anything.
    pub(super) fn is_silent(&self, part: usize) -> bool {
        self.lock().parts.get(part).is_some_and(|part| part.silence() >= WATCH_IDLE)
    }

    fn has_reached(&self, namespace: Option<&str>, version: u64) -> bool {
        let inner = self.lock();
        let concerns = |place: &Option<String>| match (place.as_deref(), namespace) {
            (Some(place), Some(namespace)) => place == namespace,
            _ => true,
        };
        let mut parts = self.places.iter().zip(&inner.parts).filter(|(place, _)| concerns(place));
        // In one of several namespaces the write was made: the others do not hear of it.
        if self.places.len() > 1 && namespace.is_none() {
            return parts.any(|(_, part)| part.version >= version);
        }
        parts.all(|(_, part)| part.version >= version)
    }

    /// Remembers that an object was deleted by us, until the watch says so as well.
    pub(super) fn forget(&self, key: &Key) {
        let mut inner = self.lock();
        if let Some(uid) = inner.index.get(key).map(|entry| entry.uid.clone()) {
            inner.deleted.insert(uid);
        }
    }

    /// Up to `limit` of what a query asks for, and whether there is more.
    pub(super) fn select(&self, query: &Query, after: Option<&Place>, limit: usize) -> (Vec<(Place, Arc<str>)>, bool) {
        let inner = self.lock();
        let mut found = inner.index.select(query, after).filter(|(_, entry)| !inner.deleted.contains(&entry.uid));
        let page = found.by_ref().take(limit).map(|(place, entry)| (place.clone(), Arc::clone(&entry.text))).collect();
        (page, found.next().is_some())
    }

    /// The text of an object of this very version.
    pub(super) fn at_version(&self, key: &Key, version: u64) -> Option<Arc<str>> {
        let inner = self.lock();
        let entry = inner.index.get(key).filter(|entry| entry.version == Some(version))?;
        Some(Arc::clone(&entry.text))
    }

    /// The last version that was told of an object, where it is the one with this uid.
    pub(super) fn version_of(&self, key: &Key, uid: &str) -> Option<String> {
        let inner = self.lock();
        Some(inner.index.get(key).filter(|entry| entry.uid == uid)?.version?.to_string())
    }

    /// What there is, and the changes from here on: nothing in between is missed.
    pub(super) fn snapshot(&self, query: &Query) -> Snapshot {
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        let inner = self.lock();
        let changes = self.changes.subscribe();
        let objects = inner.index.select(query, None).take(limit);
        let objects = objects.map(|(place, entry)| (place.key().clone(), Arc::clone(&entry.text))).collect();
        Snapshot { changes, number: inner.number, objects }
    }
}

fn worst(parts: &[Part]) -> Option<(tokio::time::Instant, StoreError)> {
    parts.iter().filter_map(|part| part.trouble.clone()).min_by_key(|(since, _)| *since)
}
