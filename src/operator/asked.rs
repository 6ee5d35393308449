//! Probes that somebody runs by hand with an annotation: `kubectl annotate probe checkout
//! probegate.io/run="$(date)" --overwrite`. Every new value is one run.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::api::{ANNOTATION_RUN, Probe, Resource};
use crate::probes::Board;
use crate::store::{Object, Query, Store, WatchEvent};

/// The most runs by hand at one time; further ones wait.
const MAX_RUNS: usize = 16;

type Key = (String, String);

/// Makes the rounds that are asked for, for ever. What was asked for before it began was asked of
/// another process: every probe makes a round at the start anyway.
pub async fn run_when_asked(store: Arc<dyn Store>, board: Board) {
    let mut asked: BTreeMap<Key, String> = BTreeMap::new();
    let mut listed = false;
    let mut events = store.watch(Probe::KIND, Query::default());
    let mut running = FuturesUnordered::new();
    loop {
        let event = tokio::select! {
            event = events.next(), if running.len() < MAX_RUNS => event,
            Some(()) = running.next() => continue,
        };
        let objects = match event {
            Some(Ok(WatchEvent::Listed(objects))) => {
                // A later list may hold what was missed.
                let first = !std::mem::replace(&mut listed, true);
                if first {
                    asked = objects.iter().filter_map(wish).collect();
                    continue;
                }
                objects
            }
            Some(Ok(WatchEvent::Applied(object))) => vec![object],
            Some(Ok(WatchEvent::Deleted(object))) => {
                asked.remove(&(object.namespace, object.name));
                continue;
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "The watch on probes that are run by hand is in trouble; it goes on.");
                continue;
            }
            None => return,
        };
        for (key, value) in objects.iter().filter_map(wish) {
            if asked.get(&key) != Some(&value) {
                asked.insert(key.clone(), value);
                running.push(run(board.clone(), key));
            }
        }
    }
}

fn wish(object: &Object) -> Option<(Key, String)> {
    let value = object.body.get("metadata")?.get("annotations")?.get(ANNOTATION_RUN)?.as_str()?;
    Some(((object.namespace.clone(), object.name.clone()), value.to_owned()))
}

async fn run(board: Board, (namespace, name): Key) {
    match board.run(&namespace, &name).await {
        Ok(made) => {
            let failed = made.iter().filter(|made| !made.observation.success).count();
            tracing::info!(namespace, probe = name, rounds = made.len(), failed, "A probe was run by its annotation.");
        }
        Err(error) => tracing::warn!(%error, "A probe cannot be run by its annotation."),
    }
}
