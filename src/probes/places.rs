//! Targets that stand in a cluster: what the prober wants to know of whoever watches it.

use tokio::sync::watch;

use crate::api::Targets;

/// Knows where the services, pods and nodes of a cluster are.
pub trait Places: Send + Sync + 'static {
    /// The targets of a probe of `namespace` that stand in the cluster.
    ///
    /// # Errors
    /// What is not there, or has not been read yet, in words for a person.
    fn find(&self, namespace: &str, targets: &Targets) -> Result<Vec<String>, String>;

    /// Tells of every change.
    fn changes(&self) -> watch::Receiver<u64>;
}
