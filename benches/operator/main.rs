//! The figures of the operator, measured on the real program and a real API server:
//! `make bench-operator`.
//!
//! The bench starts a control plane out of `tests/cluster`, fills it with thousands of resources, and
//! runs the program on it under its own service account. What is written is counted by the API
//! server's audit log. For rollouts it starts a node with the real OpenKruise Rollouts controller;
//! every gate asks a server of the bench's, which knows what may go out, and watches tell what did.
//!
//! Words after `--` choose: `quick`, `kills=N`, `seed=N`, and any of `ready`, `idle`, `down`,
//! `approve`, `kills` for only these.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "a bench prints its figures, and may end where an answer has another shape"
)]

mod approve;
mod audit;
mod book;
mod cluster;
mod figures;
mod fleet;
mod judge;
#[path = "../../tests/it/cluster/keeper.rs"]
mod keeper;
mod kills;
mod objects;
#[allow(dead_code, reason = "shared with the prober's bench, which uses all of it")]
#[path = "../probes/process.rs"]
mod process;
mod replica;
mod replicas;
mod shop;

use std::time::Duration;

use anyhow::Context;

use self::cluster::Cluster;
use self::figures::Figures;
use self::objects::Counts;
use self::replicas::Replicas;
use self::shop::Shop;

/// The seed where none is given.
const SEED: u64 = 0x5EED_0005;
/// The parts, in their order.
const PARTS: [&str; 5] = ["ready", "idle", "down", "approve", "kills"];

/// What was asked for.
struct Asked {
    counts: Counts,
    /// How often a replica is started.
    starts: usize,
    /// How long it is watched with nothing changing.
    idle: Duration,
    /// Applications that are rolled out.
    apps: usize,
    /// Versions of each, without a kill.
    releases: u64,
    kills: usize,
    handovers: usize,
    seed: u64,
    /// Only these parts; all when empty.
    parts: Vec<String>,
}

impl Asked {
    fn read(words: &[String]) -> anyhow::Result<Self> {
        let mut asked = Self {
            counts: Counts { probes: 10_000, gates: 1_000, runs: 5_000, mortal: 1_000 },
            starts: 5,
            idle: Duration::from_secs(60),
            apps: 6,
            releases: 6,
            kills: 50,
            handovers: 15,
            seed: SEED,
            parts: Vec::new(),
        };
        for word in words {
            match word.split_once('=') {
                Some(("kills", count)) => asked.kills = count.parse().context("kills=")?,
                Some(("seed", seed)) => {
                    let hex = seed.strip_prefix("0x").map(|hex| u64::from_str_radix(hex, 16));
                    asked.seed = hex.unwrap_or_else(|| seed.parse()).context("seed=")?;
                }
                None if word == "quick" => {
                    asked.counts = Counts { probes: 1_000, gates: 100, runs: 500, mortal: 100 };
                    (asked.starts, asked.idle) = (2, Duration::from_secs(20));
                    (asked.apps, asked.releases, asked.kills, asked.handovers) = (3, 1, 4, 3);
                }
                None if PARTS.contains(&word.as_str()) => asked.parts.push(word.clone()),
                // Cargo's own.
                None if word == "--bench" => {}
                _ => anyhow::bail!("{word} is none of quick, kills=N, seed=N, {}", PARTS.join(", ")),
            }
        }
        Ok(asked)
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }
}

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let asked = Asked::read(&words)?;
    // As the program itself does, first of all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut figures = Figures::default();
    if ["ready", "idle", "down"].into_iter().any(|part| asked.wants(part)) {
        let cluster = &Cluster::start("control-plane")?;
        let (asked, figures) = (&asked, &mut figures);
        cluster.run(move || fleet::measure(cluster, asked, figures))?;
    }
    if ["approve", "kills"].into_iter().any(|part| asked.wants(part)) {
        let cluster = &Cluster::start("up")?;
        let (asked, figures) = (&asked, &mut figures);
        cluster.run(move || rollouts(cluster, asked, figures))?;
    }
    figures.print();
    Ok(())
}

async fn rollouts(cluster: &Cluster, asked: &Asked, figures: &mut Figures) -> anyhow::Result<()> {
    let shop = Shop::open(cluster, asked.apps).await?;
    let logs = tempfile::tempdir()?;
    let mut replicas = Replicas::start(cluster, logs.path()).await?;
    let mut version = 0;
    if asked.wants("approve") {
        version = approve::measure(&shop, &mut replicas, asked.releases, figures).await?;
    }
    if asked.wants("kills") {
        let many = (asked.kills, asked.handovers, asked.seed);
        kills::measure(&shop, &mut replicas, version, many, figures).await?;
    }
    Ok(())
}
