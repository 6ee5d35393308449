//! Watches: what was committed goes out to whoever looks, and whoever lags behind begins anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt, unfold};
use tokio::sync::broadcast::{self, error::RecvError};

use super::metrics::StoreMetrics;
use super::pool::Pool;
use super::read;
use super::write::Change;
use crate::store::facts::Facts;
use crate::store::{Object, Query, StoreError, WatchEvent};

/// Changes of one kind that a watch may lag behind: some seconds of the fastest writing, some
/// megabytes at the usual size. Beyond it the watch lists anew.
const BACKLOG: usize = 1_024;
/// How long a watch waits after trouble before it lists again.
const PAUSE: Duration = Duration::from_secs(1);

type Senders = HashMap<&'static str, broadcast::Sender<Arc<Change>>>;

/// The changes of every kind. Cheap to clone; all clones are one feed.
#[derive(Debug, Clone, Default)]
pub(super) struct Feed {
    kinds: Arc<Mutex<Senders>>,
}

impl Feed {
    /// Tells whoever watches.
    pub(super) fn publish(&self, change: Change) {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = kinds.get(change.object.kind) {
            // Nobody there is no failure.
            let _ = sender.send(Arc::new(change));
        }
    }

    fn subscribe(&self, kind: &'static str) -> broadcast::Receiver<Arc<Change>> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.entry(kind).or_insert_with(|| broadcast::Sender::new(BACKLOG)).subscribe()
    }
}

/// One watch.
struct Watch {
    feed: Feed,
    pool: Pool,
    metrics: StoreMetrics,
    kind: &'static str,
    query: Query,
    at: At,
}

enum At {
    /// Nothing was listed yet, or it must be listed again.
    Start,
    /// Trouble was told; after a pause it is listed again.
    Trouble,
    /// Everything up to this revision has been told.
    Live { changes: broadcast::Receiver<Arc<Change>>, revision: i64 },
}

type Item = Result<WatchEvent<Object>, StoreError>;

/// See [`crate::store::Store::watch`].
pub(super) fn watch(
    feed: Feed,
    pool: Pool,
    metrics: StoreMetrics,
    kind: &'static str,
    query: Query,
) -> BoxStream<'static, Item> {
    let query = Query { after: None, ..query };
    unfold(Watch { feed, pool, metrics, kind, query, at: At::Start }, Watch::next).boxed()
}

impl Watch {
    async fn next(mut self) -> Option<(Item, Self)> {
        loop {
            match &mut self.at {
                At::Trouble => {
                    tokio::time::sleep(PAUSE).await;
                    self.at = At::Start;
                }
                At::Start => {
                    let item = self.list().await;
                    return Some((item, self));
                }
                At::Live { changes, revision } => match changes.recv().await {
                    Ok(change) if change.revision <= *revision => {}
                    Ok(change) => {
                        if let Some(event) = event(&self.query, &change) {
                            return Some((Ok(event), self));
                        }
                    }
                    Err(RecvError::Lagged(missed)) => {
                        tracing::debug!(kind = self.kind, missed, "A watch lagged behind and lists anew.");
                        self.metrics.lagged(self.kind);
                        self.at = At::Start;
                    }
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    async fn list(&mut self) -> Item {
        // First subscribed, then listed: what is committed in between is seen twice, never missed.
        let changes = self.feed.subscribe(self.kind);
        let (kind, query) = (self.kind, self.query.clone());
        let doing = format!("listing {kind} for a watch");
        match self.pool.read(&doing, move |connection| read::list_all(connection, kind, &query)).await {
            Ok((objects, revision)) => {
                self.at = At::Live { changes, revision };
                Ok(WatchEvent::Listed(objects))
            }
            Err(error) => {
                self.at = At::Trouble;
                Err(error)
            }
        }
    }
}

/// What a change means to whoever asked for `query`.
fn event(query: &Query, change: &Change) -> Option<WatchEvent<Object>> {
    let namespace = &change.object.namespace;
    let among = |facts: &Option<Facts>| facts.as_ref().is_some_and(|facts| facts.match_query(query, namespace));
    if among(&change.is) {
        return Some(WatchEvent::Applied(change.object.clone()));
    }
    // It has left the filter, or the store.
    among(&change.was).then(|| WatchEvent::Deleted(change.object.clone()))
}
