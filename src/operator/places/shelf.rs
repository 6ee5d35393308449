//! Every object of one kind in memory, watched from when somebody asks for it first.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, OnceLock};

use futures::StreamExt;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::cluster::{Backoff, Scope};

/// Objects on one page of a list.
const PAGE: u32 = 500;

/// One watch: what it has read, and whether it has read all.
type Followed<K> = (reflector::Store<K>, watch::Receiver<bool>);

/// Every object of one kind.
pub(super) struct Shelf<K: Resource + 'static>
where
    K::DynamicType: Hash + Eq,
{
    /// The objects of a namespace, or of all.
    api: fn(&Client, Option<&str>) -> Api<K>,
    /// What is left of an object: what nobody looks at is not kept.
    trim: fn(&mut K),
    followed: OnceLock<Vec<Followed<K>>>,
}

/// What the shelves of one cluster have in common.
pub(super) struct Common {
    pub(super) client: Client,
    pub(super) scope: Scope,
    /// Counts changes of anything.
    pub(super) changed: watch::Sender<u64>,
}

impl<K> Shelf<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    pub(super) const fn new(api: fn(&Client, Option<&str>) -> Api<K>, trim: fn(&mut K)) -> Self {
        Self { api, trim, followed: OnceLock::new() }
    }

    /// All of them; nothing before they have been read.
    pub(super) fn all(&self, common: &Common) -> Option<Vec<Arc<K>>> {
        let places = common.scope.places();
        let followed = self.followed.get_or_init(|| {
            let follow = |place: &Option<String>| self.follow((self.api)(&common.client, place.as_deref()), common);
            places.iter().map(follow).collect()
        });
        let read = followed.iter().all(|(_, read)| *read.borrow());
        read.then(|| followed.iter().flat_map(|(store, _)| store.state()).collect())
    }

    fn follow(&self, api: Api<K>, common: &Common) -> Followed<K> {
        let (store, writer) = reflector::store();
        let (tell, read) = watch::channel(false);
        let (changed, trim) = (common.changed.clone(), self.trim);
        tokio::spawn(async move {
            let config = watcher::Config::default().page_size(PAGE);
            let events = watcher(api, config).modify(trim).reflect(writer);
            let mut pauses = Backoff::default();
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        pauses.reset();
                        if matches!(event, watcher::Event::InitDone) {
                            tell.send_replace(true);
                        }
                        if !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_)) {
                            changed.send_modify(|version| *version += 1);
                        }
                    }
                    Err(error) => {
                        if pauses.is_fresh() {
                            tracing::warn!(%error, kind = %K::kind(&()), "Objects of the cluster cannot be watched; the last known ones stay in use.");
                        }
                        tokio::time::sleep(pauses.pause()).await;
                    }
                }
            }
        });
        (store, read)
    }
}
