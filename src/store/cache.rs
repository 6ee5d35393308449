//! A resident copy of every resource of one kind, kept current by a watch.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures::StreamExt;
use tokio::sync::watch;

use super::{Object, Query, Store, StoreError, WatchEvent};
use crate::api::{Resource, name_of, namespace_of};

type Items<R> = BTreeMap<(String, String), Arc<R>>;

/// Every resource of one kind in memory. Cheap to clone; all clones are one cache.
#[derive(Debug)]
pub struct Cache<R> {
    shared: Arc<Shared<R>>,
}

#[derive(Debug)]
struct Shared<R> {
    items: RwLock<Items<R>>,
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
        let cache =
            Self { shared: Arc::new(Shared { items: RwLock::new(Items::new()), version: watch::Sender::new(0) }) };
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
        match event {
            WatchEvent::Listed(objects) => {
                let all = objects.into_iter().filter_map(read::<R>).collect();
                *self.write() = all;
            }
            WatchEvent::Applied(object) => {
                let one = read::<R>(object);
                self.write().extend(one);
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
        self.read().get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// All of them, by namespace and name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<R>> {
        self.read().values().cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Items<R>> {
        self.shared.items.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Items<R>> {
        self.shared.items.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read<R: Resource>(object: Object) -> Option<((String, String), Arc<R>)> {
    match object.into_resource::<R>() {
        Ok(resource) => Some(((namespace_of(&resource).to_owned(), name_of(&resource).to_owned()), Arc::new(resource))),
        Err(error) => {
            tracing::warn!(%error, "A stored resource cannot be read and is left out.");
            None
        }
    }
}
