//! Two replicas of the program, and which of them leads.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;

use super::cluster::{Cluster, NAMESPACE};
use super::replica::Replica;

/// How often it is looked who leads.
const LOOK: Duration = Duration::from_millis(10);
/// How long it may take until somebody leads.
const PATIENCE: Duration = Duration::from_secs(60);
const NAMES: [&str; 2] = ["a", "b"];

/// Both of them.
pub struct Replicas<'a> {
    cluster: &'a Cluster,
    logs: &'a Path,
    leases: Api<Lease>,
    running: [Replica; 2],
}

impl<'a> Replicas<'a> {
    /// Starts both, and waits until one leads.
    pub async fn start(cluster: &'a Cluster, logs: &'a Path) -> anyhow::Result<Self> {
        let leases = Api::namespaced(cluster.client().await?, NAMESPACE);
        let begin = |name: &str| Replica::start(cluster, name, logs);
        let mut running = [begin(NAMES[0])?, begin(NAMES[1])?];
        for replica in &mut running {
            replica.ready().await?;
        }
        let replicas = Self { cluster, logs, leases, running };
        replicas.next_leader("").await?;
        Ok(replicas)
    }

    async fn holder(&self) -> String {
        let lease = self.leases.get_opt("probegate").await.unwrap_or_default();
        lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
    }

    /// Waits until somebody leads who is not `old`; who, and how long that took.
    async fn next_leader(&self, old: &str) -> anyhow::Result<(String, Duration)> {
        let begun = Instant::now();
        loop {
            let holder = self.holder().await;
            if !holder.is_empty() && holder != old {
                return Ok((holder, begun.elapsed()));
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "nobody leads after {old:?}:\n{}", self.running[1].said()?);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Sends the leader a signal that ends it, waits until the other one leads, and starts another
    /// in its place; how long nobody led.
    pub async fn replace_leader(&mut self, signal: &str) -> anyhow::Result<Duration> {
        let old = self.holder().await;
        let place = NAMES.iter().position(|name| old.starts_with(&format!("{name}_")));
        let place = place.with_context(|| format!("{old:?} leads"))?;
        self.running[place].signal(signal)?;
        let (_, taken) = self.next_leader(&old).await?;
        self.running[place] = Replica::start(self.cluster, NAMES[place], self.logs)?;
        self.running[place].ready().await?;
        Ok(taken)
    }

    /// Fails where one of them has ended by itself.
    pub fn check(&mut self) -> anyhow::Result<()> {
        for replica in &mut self.running {
            replica.process.check().with_context(|| replica.said().unwrap_or_default())?;
        }
        Ok(())
    }
}
