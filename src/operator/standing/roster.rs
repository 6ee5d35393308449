//! Which probes there are, with their labels: what gates refer to. How they stand is left out, so
//! that an outage of a thousand probes makes nobody look at every gate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::api::Probe;
use crate::model::Labels;
use crate::store::{Cache, Key, Mark};

/// How long changes are gathered: comparing the marks of ten thousand probes takes some milliseconds.
const GATHER: Duration = Duration::from_secs(1);

/// Probes by namespace and name.
type Names = BTreeMap<Key, Listed>;

/// One probe on the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// What tells whether its labels may have changed.
    mark: Mark,
    pub(super) labels: Arc<Labels>,
}

/// Which probes there are. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(super) struct Roster {
    names: Arc<ArcSwap<Names>>,
    /// Counts changes; 0 until the first list has arrived.
    version: watch::Sender<u64>,
}

impl Roster {
    /// An empty roster that follows `probes` for as long as the returned future is polled.
    pub(super) fn follow(probes: Cache<Probe>) -> (Self, impl Future<Output = ()> + Send) {
        let roster = Self { names: Arc::default(), version: watch::Sender::new(0) };
        let writer = roster.clone();
        let run = async move {
            probes.wait_synced().await;
            let mut changes = probes.changes();
            loop {
                changes.mark_unchanged();
                writer.take(&probes);
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                sleep(GATHER).await;
            }
        };
        (roster, run)
    }

    /// Reads those that are new or have changed, and no others: a thousand that turn down at once
    /// write a thousand statuses, and change nothing here.
    fn take(&self, probes: &Cache<Probe>) {
        let known = self.now();
        let listed = |(key, mark): (Key, Mark)| {
            if let Some(same) = known.get(&key).filter(|listed| listed.mark == mark) {
                return Some((key, same.clone()));
            }
            let probe = probes.get(&key.0, &key.1)?;
            let labels = Arc::new(probe.metadata.labels.clone().unwrap_or_default());
            Some((key, Listed { mark, labels }))
        };
        let names: Names = probes.marks().into_iter().filter_map(listed).collect();
        if !self.synced() || *known != names {
            self.names.store(Arc::new(names));
            self.version.send_modify(|version| *version += 1);
        }
    }

    pub(super) fn now(&self) -> Arc<Names> {
        self.names.load_full()
    }

    pub(super) fn synced(&self) -> bool {
        *self.version.borrow() > 0
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
