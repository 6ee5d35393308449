//! Our own program, serving a directory of probes.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use super::peers::{connect, get, sum};
use super::process::Process;
use super::targets::{AUTHORITY, Kind, Targets, host};

/// How long it may take to start with ten thousand probes.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long ten thousand first states take to be written: that belongs to its start.
const SETTLE: Duration = Duration::from_secs(8);

/// So many probes of one kind, at one interval.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    pub kind: Kind,
    pub count: usize,
    pub interval: Duration,
}

impl Schedule {
    /// The resources, spread over the targets' addresses.
    pub fn probes(self, targets: &Targets) -> Vec<Value> {
        let port = targets.port(self.kind);
        (0..self.count)
            .map(|turn| {
                let mut spec = match self.kind {
                    Kind::Http => json!({"http": {"url": format!("http://{}:{port}/", host(turn))}}),
                    Kind::Https => {
                        let tls = json!({"caFile": AUTHORITY});
                        json!({"http": {"url": format!("https://{}:{port}/", host(turn)), "tls": tls}})
                    }
                    Kind::Tcp => json!({"tcp": {"address": format!("{}:{port}", host(turn))}}),
                    Kind::Exchange => json!({"tcp": {"address": format!("{}:{port}", host(turn)),
                                                     "send": "PING\\r\\n", "expect": "^\\+PONG"}}),
                };
                let millis = self.interval.as_millis();
                spec["interval"] = json!(format!("{millis}ms"));
                spec["timeout"] = json!(format!("{}ms", millis * 9 / 10));
                probe(&format!("{}-{turn}", self.kind.name().replace(' ', "-")), &spec)
            })
            .collect()
    }

    pub fn files(self, targets: &Targets) -> anyhow::Result<tempfile::TempDir> {
        write(&self.probes(targets))
    }
}

/// A resource.
pub fn probe(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "probegate.io/v1alpha1", "kind": "Probe",
           "metadata": {"name": name, "namespace": "bench"}, "spec": spec})
}

/// A directory with resources, some in a file as people keep them.
pub fn write(resources: &[Value]) -> anyhow::Result<tempfile::TempDir> {
    let directory = tempfile::tempdir()?;
    for (turn, part) in resources.chunks(50).enumerate() {
        let documents: Vec<String> = part.iter().map(Value::to_string).collect();
        std::fs::write(directory.path().join(format!("probes-{turn}.yaml")), documents.join("\n---\n"))?;
    }
    Ok(directory)
}

/// What its metrics count.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    pub rounds: f64,
    /// Rounds that did not succeed, whoever's fault it was.
    pub failed: f64,
    pub missed: f64,
}

/// The program.
pub struct Ours {
    pub process: Process,
    /// Where it shows its metrics.
    admin: SocketAddr,
    directory: tempfile::TempDir,
}

impl Ours {
    /// Starts it on `cores` with a directory of resources; the targets' authority is one of its secrets.
    pub fn start(cores: &str, files: &tempfile::TempDir, secrets: &Path) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let (files, data) = (files.path().display().to_string(), directory.path().join("data").display().to_string());
        let log = directory.path().join("log");
        let program = Path::new(env!("CARGO_BIN_EXE_probegate"));
        let secrets = secrets.display().to_string();
        let arguments = ["serve", "-f", &files, "--data", &data, "--secrets", &secrets, "--log-format", "json"];
        // More than any core makes: what is measured is the prober, and not its limit.
        let listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--probe-rate", "100000"];
        let mut process = Process::start(cores, program, &[&arguments[..], &listen].concat(), &log)?;
        let begun = Instant::now();
        loop {
            let said = std::fs::read_to_string(&log)?;
            let urls: Vec<SocketAddr> = said.lines().filter_map(url).collect();
            // The first is where it answers questions.
            if let [_, admin, ..] = urls[..] {
                return Ok(Self { process, admin, directory });
            }
            process.check().with_context(|| said.clone())?;
            anyhow::ensure!(begun.elapsed() < PATIENCE, "it is not ready:\n{said}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// How often a probe has turned down, by its log.
    pub fn turns_down(&self) -> anyhow::Result<usize> {
        let said = std::fs::read_to_string(self.directory.path().join("log"))?;
        Ok(said.lines().filter(|line| line.contains("\"to\":\"down\"")).count())
    }

    pub async fn metrics(&self) -> anyhow::Result<String> {
        get(&mut connect(self.admin).await?, "/metrics").await
    }

    pub async fn counts(&self) -> anyhow::Result<Counts> {
        let metrics = self.metrics().await?;
        let rounds = |of: &str| sum(&metrics, &["probegate_probe_rounds_total{", of]);
        let missed = metrics.lines().find_map(|line| line.strip_prefix("probegate_probe_missed_total "));
        Ok(Counts {
            rounds: rounds(""),
            failed: rounds("") - rounds("judgement=\"good\""),
            missed: missed.context("no probegate_probe_missed_total")?.trim().parse()?,
        })
    }

    /// Waits until every probe has had its turn several times, and its state is written.
    pub async fn warm_up(&mut self, probes: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.counts().await?.rounds < (probes * 5) as f64 {
            self.process.check()?;
            anyhow::ensure!(begun.elapsed() < PATIENCE, "it does not make its rounds:\n{}", self.metrics().await?);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }
}

/// The address in a line of the log that tells one.
fn url(line: &str) -> Option<SocketAddr> {
    let entry: Value = serde_json::from_str(line).ok()?;
    entry["url"].as_str()?.strip_prefix("http://")?.parse().ok()
}
