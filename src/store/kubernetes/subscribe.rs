//! A watch within the program: everything that there is, then every change.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt, unfold};
use serde_json::Value;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;

use super::bodies;
use super::calls::Calls;
use super::errors;
use super::hub::{Change, Hub, Standing};
use super::index::Key;
use crate::store::facts::Facts;
use crate::store::{Object, Query, StoreError, WatchEvent};

/// How long a subscriber waits after trouble of its own before it lists again.
const PAUSE: Duration = Duration::from_secs(1);
/// Whole runs that are fetched at the same time.
pub(super) const FETCHES: usize = 8;

type Item = Result<WatchEvent<Object>, StoreError>;

/// One subscriber.
struct Subscriber {
    hub: Arc<Hub>,
    calls: Calls,
    query: Query,
    standing: watch::Receiver<Standing>,
    /// The troubles that it was told of.
    episode: u64,
    at: At,
}

enum At {
    /// Nothing was listed yet, or it must be listed again.
    Start,
    /// Trouble was told; after a pause it is listed again.
    Trouble,
    /// Every change up to this number has been told.
    Live { changes: broadcast::Receiver<Arc<Change>>, number: u64 },
}

/// See [`crate::store::Store::watch`].
pub(super) fn watch(hub: Arc<Hub>, calls: Calls, query: Query) -> BoxStream<'static, Item> {
    let standing = hub.standing();
    let query = Query { after: None, ..query };
    unfold(Subscriber { hub, calls, query, standing, episode: 0, at: At::Start }, Subscriber::next).boxed()
}

/// What a live subscriber hears next.
enum Heard {
    Change(Arc<Change>),
    Standing,
    Lagged(u64),
    Closed,
}

impl Subscriber {
    async fn next(mut self) -> Option<(Item, Self)> {
        loop {
            if let Some(error) = self.trouble() {
                return Some((Err(error), self));
            }
            match &mut self.at {
                At::Trouble => {
                    tokio::time::sleep(PAUSE).await;
                    self.at = At::Start;
                }
                At::Start => {
                    if !self.standing.borrow().synced {
                        if self.standing.changed().await.is_err() {
                            return None;
                        }
                        continue;
                    }
                    let item = self.list().await;
                    return Some((item, self));
                }
                At::Live { changes, number } => match hear(changes, &mut self.standing).await {
                    Heard::Change(change) if change.number <= *number => {}
                    Heard::Change(change) => {
                        *number = change.number;
                        if let Some(event) = event(&self.hub, &self.calls, &self.query, &change).await {
                            return Some((event, self));
                        }
                    }
                    Heard::Standing => {}
                    Heard::Lagged(missed) => {
                        tracing::debug!(kind = self.hub.kind.kind, missed, "A watch lagged behind and lists anew.");
                        self.hub.metrics.lagged(self.hub.kind.kind);
                        self.at = At::Start;
                    }
                    Heard::Closed => return None,
                },
            }
        }
    }

    /// The trouble upstream, once for each time that it begins.
    fn trouble(&mut self) -> Option<StoreError> {
        let standing = self.standing.borrow_and_update();
        if standing.episode == self.episode {
            return None;
        }
        self.episode = standing.episode;
        standing.trouble.as_ref().map(|(_, error)| error.clone())
    }

    async fn list(&mut self) -> Item {
        let snapshot = self.hub.snapshot(&self.query);
        let objects = if self.hub.kind.brief && !self.query.brief {
            let keys = snapshot.objects.into_iter().map(|(key, _)| key).collect();
            match fetch(&self.hub, &self.calls, keys).await {
                // One that has left the query meanwhile is told so by a change.
                Ok(objects) => objects.into_iter().filter(|object| matches(&self.query, object)).collect(),
                Err(error) => {
                    self.at = At::Trouble;
                    return Err(error);
                }
            }
        } else {
            snapshot.objects.iter().filter_map(|(_, text)| parse(&self.hub, text)).collect()
        };
        self.at = At::Live { changes: snapshot.changes, number: snapshot.number };
        Ok(WatchEvent::Listed(objects))
    }
}

async fn hear(changes: &mut broadcast::Receiver<Arc<Change>>, standing: &mut watch::Receiver<Standing>) -> Heard {
    tokio::select! {
        biased;
        change = changes.recv() => match change {
            Ok(change) => Heard::Change(change),
            Err(RecvError::Lagged(missed)) => Heard::Lagged(missed),
            Err(RecvError::Closed) => Heard::Closed,
        },
        turned = standing.changed() => if turned.is_ok() { Heard::Standing } else { Heard::Closed },
    }
}

fn matches(query: &Query, object: &Object) -> bool {
    Facts::of(&object.body).match_query(query, &object.namespace)
}

/// What a change means to whoever asked for `query`.
async fn event(hub: &Hub, calls: &Calls, query: &Query, change: &Change) -> Option<Item> {
    let among = |facts: &Option<Facts>| facts.as_ref().is_some_and(|facts| facts.match_query(query, &change.key.0));
    let (is, was) = (among(&change.is), among(&change.was));
    if !is && !was {
        return None;
    }
    let object = if is && !change.whole && !query.brief {
        match fetch(hub, calls, vec![change.key.clone()]).await {
            Ok(objects) => objects.into_iter().next()?,
            Err(error) => return Some(Err(error)),
        }
    } else {
        parse(hub, &change.text)?
    };
    // It has left the filter, or the cluster.
    Some(Ok(if is { WatchEvent::Applied(object) } else { WatchEvent::Deleted(object) }))
}

/// The whole objects of these keys, as they are now; those that are gone are left out.
pub(super) async fn fetch(hub: &Hub, calls: &Calls, keys: Vec<Key>) -> Result<Vec<Object>, StoreError> {
    let kind = hub.kind;
    let get = |(namespace, name): Key| async move {
        let found = calls.get(kind, &namespace, &name).await;
        found.map_err(|error| errors::unavailable(&format!("reading {} {namespace}/{name}", kind.kind), &error))
    };
    let found: Vec<Result<Option<Value>, StoreError>> = stream::iter(keys).map(get).buffered(FETCHES).collect().await;
    let objects: Result<Vec<Option<Value>>, StoreError> = found.into_iter().collect();
    Ok(objects?.into_iter().flatten().filter_map(|body| bodies::object(kind, body)).collect())
}

/// An object out of its text, which was JSON when it was written.
pub(super) fn parse(hub: &Hub, text: &str) -> Option<Object> {
    bodies::object(hub.kind, serde_json::from_str(text).ok()?)
}
