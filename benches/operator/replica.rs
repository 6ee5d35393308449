//! One replica of the real program, as its pod runs it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use super::cluster::{Cluster, NAMESPACE};
use super::process::Process;

/// How long a start may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked at what a replica says.
const LOOK: Duration = Duration::from_millis(5);

/// `probegate serve --kubernetes`. Dropping it kills it.
pub struct Replica {
    pub process: Process,
    pub begun: Instant,
    log: PathBuf,
    admin: Option<SocketAddr>,
    http: reqwest::Client,
}

impl Replica {
    /// Starts one; what it says goes to a file in `logs`.
    pub fn start(cluster: &Cluster, name: &str, logs: &Path) -> anyhow::Result<Self> {
        let log = logs.join(format!("{name}-{}.log", uuid::Uuid::now_v7().simple()));
        let kubeconfig = cluster.operator_kubeconfig().display().to_string();
        let program = Path::new(env!("CARGO_BIN_EXE_probegate"));
        let serve = ["serve", "--kubernetes", "--kubeconfig", &kubeconfig, "--identity", name, "--log-format", "json"];
        let listen = ["--lease-namespace", NAMESPACE, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let begun = Instant::now();
        let process = Process::start("0,1", program, &[&serve[..], &listen].concat(), &log)?;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build()?;
        Ok(Self { process, begun, log, admin: None, http })
    }

    /// Waits until `/readyz` says so; how long that took from the start.
    pub async fn ready(&mut self) -> anyhow::Result<Duration> {
        loop {
            self.look()?;
            if let Some(admin) = self.admin {
                let answer = self.http.get(format!("http://{admin}/readyz")).send().await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return Ok(self.begun.elapsed());
                }
            }
            anyhow::ensure!(self.begun.elapsed() < PATIENCE, "it does not get ready:\n{}", self.said()?);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Notes where it listens, and fails when it has ended.
    fn look(&mut self) -> anyhow::Result<()> {
        let said = self.said()?;
        if self.admin.is_none() {
            let line = said.lines().find(|line| line.contains("Ready for probes and scrapes"));
            self.admin = line.and_then(url);
        }
        self.process.check().with_context(|| said)
    }

    /// Its log.
    pub fn said(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    pub async fn metrics(&self) -> anyhow::Result<String> {
        let admin = self.admin.context("it does not listen yet")?;
        Ok(self.http.get(format!("http://{admin}/metrics")).send().await?.text().await?)
    }

    /// The sum of the samples of one metric, of those with a text in their labels.
    pub async fn metric(&self, name: &str, label: &str) -> anyhow::Result<f64> {
        Ok(sum(&self.metrics().await?, name, label))
    }

    /// Sends a signal by its name.
    pub fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.process.id().to_string()]).status()?;
        anyhow::ensure!(sent.success(), "kill -{signal} failed");
        Ok(())
    }

    /// The most memory that it ever had, in MB.
    pub fn peak(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
        Ok(line.split_whitespace().nth(1).context("no number")?.parse::<f64>()? / 1_024.0)
    }
}

fn url(line: &str) -> Option<SocketAddr> {
    let entry: Value = serde_json::from_str(line).ok()?;
    entry["url"].as_str()?.strip_prefix("http://")?.parse().ok()
}

/// The sum of the samples of one metric, of those with a text in their labels.
pub fn sum(metrics: &str, name: &str, label: &str) -> f64 {
    let samples = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
        let (labels, value) = rest.rsplit_once(' ')?;
        if labels.contains(label) { value.parse::<f64>().ok() } else { None }
    });
    samples.sum()
}
