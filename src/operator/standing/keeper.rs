//! One loop for every kind: judge what has changed or is due, write what differs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::select_all;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::api::{Resource, name_of, namespace_of};
use crate::clock::{Clock, Steps};
use crate::store::{Cache, Store, StoreError, StoreExt};

/// How long changes are gathered: a directory that is loaded is one change, not a thousand.
const GATHER: Duration = Duration::from_millis(200);
/// The longest sleep: a clock that was set is noticed within this time.
const LONGEST: Duration = Duration::from_secs(30);
/// The shortest sleep before an instant that is due: sleeping ends a little early or late.
const SHORTEST: Duration = Duration::from_millis(10);
/// The first pause after the store was in trouble; it doubles up to [`LONGEST`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What a judgement gives.
#[derive(Debug)]
pub(super) struct Judged<S> {
    pub(super) status: S,
    /// When it turns by itself.
    pub(super) due: Option<Timestamp>,
}

/// Judges resources of one kind.
pub(super) trait Judge: Send + Sync {
    /// The kind.
    type Resource: Resource;

    /// The status as it ought to be at `now`; nothing where that cannot be said yet.
    fn judge(&self, resource: &Self::Resource, now: Timestamp) -> Option<Judged<<Self::Resource as Resource>::Status>>;

    /// What else a judgement stands on: when one of these changes, all are judged anew.
    fn around(&self) -> Vec<watch::Receiver<u64>>;
}

/// What is known of one resource.
struct Known {
    version: Option<String>,
    due: Option<Timestamp>,
}

/// Keeps the statuses of every resource in `cache` written, for ever.
pub(super) async fn keep<J: Judge>(
    judge: J,
    store: &Arc<dyn Store>,
    cache: &Cache<J::Resource>,
    clock: &Arc<dyn Clock>,
) {
    cache.wait_synced().await;
    let mut own = cache.changes();
    let mut around = judge.around();
    let mut known: BTreeMap<(String, String), Known> = BTreeMap::new();
    let mut pause = FIRST_PAUSE;
    let mut steps = Steps::from_now(clock.as_ref());
    loop {
        own.mark_unchanged();
        if steps.taken(clock.as_ref()) {
            // Nothing is due when it was before: set back, a clock would leave a status as it is for long.
            known.clear();
        }
        let now = clock.now();
        let all = cache.all();
        known.retain(|(namespace, name), _| cache.get(namespace, name).is_some());
        let mut trouble = false;
        for resource in &all {
            match settle(&judge, store, &mut known, resource, now).await {
                Ok(()) => {}
                Err(error) => {
                    // Told once for as long as it lasts.
                    if pause == FIRST_PAUSE {
                        tracing::warn!(%error, kind = J::Resource::KIND, "A status cannot be written; it is tried again.");
                    }
                    trouble = true;
                    break;
                }
            }
        }
        if trouble {
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
            continue;
        }
        pause = FIRST_PAUSE;
        let next = known.values().filter_map(|known| known.due).min();
        if wait(&mut own, &mut around, next, clock).await {
            for known in known.values_mut() {
                known.version = None;
            }
        }
        sleep(GATHER.min(next.map_or(GATHER, |next| until(next, clock)))).await;
    }
}

/// Waits until something changes or is due; whether all are to be judged anew.
async fn wait(
    own: &mut watch::Receiver<u64>,
    around: &mut [watch::Receiver<u64>],
    next: Option<Timestamp>,
    clock: &Arc<dyn Clock>,
) -> bool {
    let others = async {
        if around.is_empty() {
            std::future::pending::<()>().await;
        }
        let _ = select_all(around.iter_mut().map(|other| Box::pin(other.changed()))).await;
    };
    tokio::select! {
        _ = own.changed() => false,
        () = others => true,
        () = sleep(next.map_or(LONGEST, |next| until(next, clock))) => false,
    }
}

fn until(next: Timestamp, clock: &Arc<dyn Clock>) -> Duration {
    let left = next.duration_since(clock.now());
    Duration::try_from(left).unwrap_or_default().clamp(SHORTEST, LONGEST)
}

/// Judges one resource where it has changed or is due, and writes its status where that differs.
async fn settle<J: Judge>(
    judge: &J,
    store: &Arc<dyn Store>,
    known: &mut BTreeMap<(String, String), Known>,
    resource: &J::Resource,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = (namespace_of(resource).to_owned(), name_of(resource).to_owned());
    let version = resource.meta().resource_version.clone();
    let as_it_was = known.get(&key).is_some_and(|known| {
        known.version.is_some() && known.version == version && known.due.is_none_or(|due| now < due)
    });
    if as_it_was {
        return Ok(());
    }
    let Some(Judged { status, due }) = judge.judge(resource, now) else { return Ok(()) };
    let written = if same(resource.status(), &status) {
        version
    } else {
        let mut new = resource.clone();
        *new.status_mut() = Some(status);
        match store.put_status_as(&new).await {
            Ok(new) => new.meta().resource_version.clone(),
            // Somebody has written meanwhile: the cache brings what, and it is judged then.
            Err(StoreError::Conflict { .. } | StoreError::NotFound { .. }) => None,
            // What is there was written by hand and cannot be kept as a whole: nothing to be done.
            Err(error @ StoreError::Invalid(_)) => {
                tracing::warn!(%error, kind = J::Resource::KIND, "A status is refused and is left as it is.");
                version
            }
            Err(error) => return Err(error),
        }
    };
    known.insert(key, Known { version: written, due });
    Ok(())
}

fn same<S: serde::Serialize>(old: Option<&S>, new: &S) -> bool {
    let value = |status: &S| serde_json::to_value(status).ok();
    old.is_some_and(|old| value(old) == value(new))
}
