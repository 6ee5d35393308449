//! A resident copy of every resource of one kind, kept current by a watch.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures::StreamExt;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::{Object, Query, Store, StoreError, WatchEvent};
use crate::api::Resource;

/// Namespace and name, shared by whoever keeps something of a resource.
pub type Key = Arc<(String, String)>;

/// A hash of a resource's uid, labels and spec: while it is the same, nothing but the status and other
/// metadata has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark([u8; 16]);

type Items<R> = BTreeMap<Key, Item<R>>;

/// One resource in memory.
#[derive(Debug)]
struct Item<R> {
    mark: Mark,
    held: Held<R>,
}

/// How it is kept.
#[derive(Debug)]
enum Held<R> {
    /// Ready to be handed out.
    Whole(Arc<R>),
    /// As JSON, read whenever somebody asks for it.
    Packed(Box<str>),
}

impl<R: Resource> Held<R> {
    fn open(&self) -> Option<Arc<R>> {
        match self {
            Self::Whole(whole) => Some(Arc::clone(whole)),
            Self::Packed(text) => match serde_json::from_str(text) {
                Ok(read) => Some(Arc::new(read)),
                Err(error) => {
                    // It could be read when it came.
                    tracing::warn!(%error, kind = R::KIND, "A resource in memory cannot be read and is left out.");
                    None
                }
            },
        }
    }
}

/// Every resource of one kind in memory. Cheap to clone; all clones are one cache.
#[derive(Debug)]
pub struct Cache<R> {
    shared: Arc<Shared<R>>,
}

#[derive(Debug)]
struct Shared<R> {
    items: RwLock<Items<R>>,
    packed: bool,
    /// Counts changes; 0 until the first list has arrived.
    version: watch::Sender<u64>,
}

impl<R> Clone for Cache<R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<R: Resource> Cache<R> {
    /// An empty cache that follows `store` for as long as the returned future is polled.
    pub fn follow(store: Arc<dyn Store>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        Self::start(store, false)
    }

    /// [`Self::follow`] for very many resources that are seldom asked for: each is kept as text, which
    /// takes a quarter of the room, and read anew whenever it is handed out.
    pub fn follow_packed(store: Arc<dyn Store>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        Self::start(store, true)
    }

    fn start(store: Arc<dyn Store>, packed: bool) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (items, version) = (RwLock::new(Items::new()), watch::Sender::new(0));
        let cache = Self { shared: Arc::new(Shared { items, packed, version }) };
        let writer = cache.clone();
        let run = async move {
            let mut events = store.watch(R::KIND, Query::default());
            while let Some(event) = events.next().await {
                writer.take(event);
            }
        };
        (cache, run)
    }

    fn take(&self, event: Result<WatchEvent<Object>, StoreError>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(%error, kind = R::KIND, "A watch is in trouble; the last known state stays in use.");
                return;
            }
        };
        // What takes time is done before the lock is taken: readers do not wait for it.
        let read = |object: Object| read::<R>(object, self.shared.packed);
        match event {
            WatchEvent::Listed(objects) => {
                let all: Vec<_> = objects.into_iter().filter_map(read).collect();
                let mut items = self.write();
                // The names stay where they are: others share them.
                let all = all.into_iter().map(|(key, item)| match items.get_key_value(&key) {
                    Some((known, _)) => (Arc::clone(known), item),
                    None => (Arc::new(key), item),
                });
                let all = all.collect();
                let old = std::mem::replace(&mut *items, all);
                drop(items);
                drop(old);
            }
            WatchEvent::Applied(object) => {
                let Some((key, item)) = read(object) else { return };
                let mut items = self.write();
                match items.get_mut(&key) {
                    Some(known) => *known = item,
                    None => drop(items.insert(Arc::new(key), item)),
                }
            }
            WatchEvent::Deleted(object) => {
                self.write().remove(&(object.namespace, object.name));
            }
        }
        self.shared.version.send_modify(|version| *version += 1);
    }

    /// Whether the first list has arrived: before that an absence means nothing.
    #[must_use]
    pub fn synced(&self) -> bool {
        *self.shared.version.borrow() > 0
    }

    /// Waits for the first list.
    pub async fn wait_synced(&self) {
        let mut version = self.shared.version.subscribe();
        // The sender lives in this cache, so that waiting cannot fail.
        let _ = version.wait_for(|version| *version > 0).await;
    }

    /// Tells of every change from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// One resource.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<R>> {
        self.read().get(&(namespace.to_owned(), name.to_owned()))?.held.open()
    }

    /// All of them, by namespace and name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<R>> {
        self.read().values().filter_map(|item| item.held.open()).collect()
    }

    /// Those in which a text stands somewhere, and perhaps others: what is packed is searched before
    /// it is read.
    #[must_use]
    pub fn mentioning(&self, text: &str) -> Vec<Arc<R>> {
        let may = |held: &Held<R>| !matches!(held, Held::Packed(packed) if !packed.contains(text));
        self.read().values().filter(|item| may(&item.held)).filter_map(|item| item.held.open()).collect()
    }

    /// The names of all of them, in order, and what tells whether one has changed.
    #[must_use]
    pub fn marks(&self) -> Vec<(Key, Mark)> {
        self.read().iter().map(|(key, item)| (Arc::clone(key), item.mark)).collect()
    }

    /// Whether it is there.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        self.read().contains_key(key)
    }

    fn read(&self) -> RwLockReadGuard<'_, Items<R>> {
        self.shared.items.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Items<R>> {
        self.shared.items.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read<R: Resource>(object: Object, packed: bool) -> Option<((String, String), Item<R>)> {
    let (key, mark) = ((object.namespace.clone(), object.name.clone()), mark(&object.body));
    let text = packed.then(|| object.body.to_string());
    match object.into_resource::<R>() {
        Ok(whole) => {
            let held = text.map_or_else(|| Held::Whole(Arc::new(whole)), |text| Held::Packed(text.into()));
            Some((key, Item { mark, held }))
        }
        Err(error) => {
            tracing::warn!(%error, "A stored resource cannot be read and is left out.");
            None
        }
    }
}

fn mark(body: &Value) -> Mark {
    let mut hash = Sha256::new();
    for part in ["/metadata/uid", "/metadata/labels", "/spec"] {
        // A zero stands in no JSON text.
        hash.update(body.pointer(part).map(Value::to_string).unwrap_or_default());
        hash.update([0]);
    }
    let mut mark = [0; 16];
    mark.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    Mark(mark)
}
