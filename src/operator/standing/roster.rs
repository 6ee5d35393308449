//! Which probes there are, with their labels: what gates refer to. How they stand is left out, so
//! that an outage of a thousand probes makes nobody look at every gate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::api::{Probe, name_of, namespace_of};
use crate::model::Labels;
use crate::store::Cache;

/// How long changes are gathered: reading all labels of ten thousand probes takes some milliseconds.
const GATHER: Duration = Duration::from_secs(1);

type Names = BTreeMap<(String, String), Labels>;

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
                writer.take(&probes.all());
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                sleep(GATHER).await;
            }
        };
        (roster, run)
    }

    fn take(&self, probes: &[Arc<Probe>]) {
        let labels = |probe: &Probe| probe.metadata.labels.clone().unwrap_or_default();
        let key = |probe: &Probe| (namespace_of(probe).to_owned(), name_of(probe).to_owned());
        let names: Names = probes.iter().map(|probe| (key(probe), labels(probe))).collect();
        if !self.synced() || *self.now() != names {
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
