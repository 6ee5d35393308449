//! Which of the secrets that gates refer to cannot be read, and why. A probe tells that by itself, in
//! its rounds; a gate's secrets are wanted only when a run calls its webhook, and that is too late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::api::{Check, Gate, namespace_of};
use crate::outbound::{SecretError, Secrets};
use crate::store::Cache;

/// How often secrets are looked at again: a grant shows in the gate within this time.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long changes of gates are gathered.
const GATHER: Duration = Duration::from_millis(500);
/// The most references that are looked at; each Secret is one call at most.
const MAX_REFERENCES: usize = 2_000;

/// A namespace, and the path of a secret.
type Reference = (String, String);
type Faults = BTreeMap<Reference, SecretError>;

/// What is wrong with secrets. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(super) struct Wallet {
    faults: Arc<ArcSwap<Faults>>,
    version: watch::Sender<u64>,
}

/// The secrets that a check refers to.
pub(super) fn references(check: &Check) -> Vec<&str> {
    let Some(webhook) = &check.webhook else { return Vec::new() };
    let headers = webhook.headers.iter().filter_map(|header| header.secret_file.as_deref());
    let tls = webhook.tls.iter().flat_map(|tls| [&tls.ca_file, &tls.cert_file, &tls.key_file]);
    headers.chain(tls.filter_map(|file| file.as_deref())).collect()
}

impl Wallet {
    /// Nothing is wrong yet; it follows `gates` for as long as the returned future is polled.
    pub(super) fn follow(gates: Cache<Gate>, secrets: Secrets) -> (Self, impl Future<Output = ()> + Send) {
        let wallet = Self { faults: Arc::default(), version: watch::Sender::new(0) };
        let writer = wallet.clone();
        let run = async move {
            gates.wait_synced().await;
            let mut changes = gates.changes();
            loop {
                changes.mark_unchanged();
                writer.look(&gates, &secrets).await;
                // The cache lives in this task: its end is not told.
                let _ = timeout(LOOK_EVERY, changes.changed()).await;
                sleep(GATHER).await;
            }
        };
        (wallet, run)
    }

    async fn look(&self, gates: &Cache<Gate>, secrets: &Secrets) {
        let mut wanted: BTreeSet<Reference> = BTreeSet::new();
        for gate in gates.all() {
            let pre = gate.spec.pre.iter().flat_map(|pre| &pre.checks);
            let post = gate.spec.post.iter().flat_map(|post| &post.checks);
            let paths = pre.chain(post).flat_map(references);
            wanted.extend(paths.map(|path| (namespace_of(gate.as_ref()).to_owned(), path.to_owned())));
        }
        let mut faults = Faults::new();
        for (namespace, path) in wanted.into_iter().take(MAX_REFERENCES) {
            // The larger of both limits: whether the text is good is said when it is used.
            if let Err(error) = secrets.of(&namespace).pem(&path).await {
                faults.insert((namespace, path), error);
            }
        }
        if **self.faults.load() != faults {
            self.faults.store(Arc::new(faults));
            self.version.send_modify(|version| *version += 1);
        }
    }

    /// What is wrong with the secrets of a check in a gate of `namespace`.
    pub(super) fn faults(&self, namespace: &str, check: &Check) -> Vec<SecretError> {
        let faults = self.faults.load();
        let paths = references(check).into_iter();
        paths.filter_map(|path| faults.get(&(namespace.to_owned(), path.to_owned())).cloned()).collect()
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
