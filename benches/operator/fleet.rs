//! A large cluster: how fast a replica is ready, what it writes while nothing changes, and what it
//! writes while a thousand probes go down at once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context;
use kube::api::{Api, ListParams};
use probegate::api::Probe;
use probegate::model::ProbeState;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Asked;
use super::audit::Audit;
use super::cluster::Cluster;
use super::figures::{Figures, Times, told};
use super::objects::{self, Counts, MORTAL, Ports, namespace};
use super::replica::Replica;

/// How long it may take until nothing has to be written any more.
const SETTLE: Duration = Duration::from_secs(900);
/// How long nothing may be written for it to be settled: longer than an interval and its gathering.
const QUIET: Duration = Duration::from_secs(25);
/// How long a thousand probes may take to be told.
const TELL: Duration = Duration::from_secs(300);
/// What is wanted.
const READY: Duration = Duration::from_secs(5);
const MEMORY: f64 = 200.0;
const WRITES: usize = 50;

/// What is probed: connections are taken, and closed by whoever opened them.
struct Target {
    port: u16,
    task: JoinHandle<()>,
}

impl Target {
    async fn open() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("0.0.0.0:0").await?;
        let port = listener.local_addr()?.port();
        let task = tokio::spawn(async move {
            loop {
                drop(listener.accept().await);
            }
        });
        Ok(Self { port, task })
    }
}

/// All parts that need the large cluster.
pub async fn measure(cluster: &Cluster, asked: &Asked, figures: &mut Figures) -> anyhow::Result<()> {
    let counts = asked.counts;
    let (steady, mortal) = (Target::open().await?, Target::open().await?);
    let client = cluster.client().await?;
    let begun = Instant::now();
    let ports = Ports { steady: steady.port, mortal: mortal.port };
    objects::make(&client, counts, ports).await.context("making the objects")?;
    println!(
        "{} Probe, {} Gate, {} GateRun objects, made in {}",
        counts.probes,
        counts.gates,
        counts.runs,
        told(begun.elapsed())
    );
    let logs = tempfile::tempdir()?;
    let mut audit = Audit::from_now(cluster);
    let mut replica = start(cluster, asked, logs.path(), figures).await?;
    settle(&mut replica, &mut audit, counts).await?;
    figures.judge(
        "the same, resident with every probe seated and told",
        format!("{:.0} MB; at its most {:.0} MB", replica.process.resident()?, replica.peak()?),
        "< 200 MB",
        replica.process.resident()? < MEMORY,
    );
    println!("  written until then: {:?}, at most {} in a second", audit.table(), audit.busiest());
    if asked.wants("idle") {
        idle(cluster, &mut replica, asked, figures).await?;
    }
    if asked.wants("down") {
        down(cluster, &client, &mut replica, counts, mortal, figures).await?;
    }
    steady.task.abort();
    Ok(())
}

/// Starts a replica several times; the last one goes on.
async fn start(
    cluster: &Cluster,
    asked: &Asked,
    logs: &std::path::Path,
    figures: &mut Figures,
) -> anyhow::Result<Replica> {
    let (mut ready, mut complete) = (Times::default(), Times::default());
    loop {
        let mut replica = Replica::start(cluster, "a", logs)?;
        ready.0.push(replica.ready().await?);
        while !is_complete(&replica.metrics().await?, asked.counts) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            replica.process.check()?;
        }
        complete.0.push(replica.begun.elapsed());
        if ready.0.len() < asked.starts {
            continue;
        }
        let worst = complete.max().max(ready.max());
        figures.add("from the start to /readyz: least, median, most", ready.spread(), "");
        figures.judge(
            "from the start until every object is known as well: least, median, most",
            complete.spread(),
            "< 5 s",
            worst < READY,
        );
        return Ok(replica);
    }
}

/// Whether the program knows every object.
fn is_complete(metrics: &str, counts: Counts) -> bool {
    let known =
        |kind: &str| super::replica::sum(metrics, "probegate_kubernetes_store_objects", &format!("kind=\"{kind}\""));
    let all = [("Probe", counts.probes), ("Gate", counts.gates), ("GateRun", counts.runs)];
    all.into_iter().all(|(kind, count)| known(kind) >= count as f64)
}

/// Waits until every probe is up and nothing has been written for a while.
async fn settle(replica: &mut Replica, audit: &mut Audit, counts: Counts) -> anyhow::Result<()> {
    let (begun, mut quiet) = (Instant::now(), Instant::now());
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        replica.process.check().with_context(|| replica.said().unwrap_or_default())?;
        let up = replica.metric("probegate_probes", "state=\"up\"").await?;
        if audit.read()? > 0 || up < counts.probes as f64 {
            quiet = Instant::now();
        }
        if quiet.elapsed() > QUIET {
            return Ok(());
        }
        anyhow::ensure!(begun.elapsed() < SETTLE, "it does not settle: {up} up, {:?}", audit.table());
    }
}

async fn idle(cluster: &Cluster, replica: &mut Replica, asked: &Asked, figures: &mut Figures) -> anyhow::Result<()> {
    let mut audit = Audit::from_now(cluster);
    let rounds = replica.metric("probegate_probe_rounds_total", "").await?;
    tokio::time::sleep(asked.idle).await;
    audit.read()?;
    let rounds = replica.metric("probegate_probe_rounds_total", "").await? - rounds;
    replica.process.check()?;
    let (others, leases) = (audit.others().count(), audit.writes.len() - audit.others().count());
    figures.judge(
        &format!("writes in {} with nothing changing, by the API server's audit log", told(asked.idle)),
        format!("{others}, and {leases} lease renewals, in {rounds:.0} rounds"),
        "0 but lease renewals",
        others == 0,
    );
    if others > 0 {
        println!("  {:?}", audit.table());
    }
    Ok(())
}

async fn down(
    cluster: &Cluster,
    client: &kube::Client,
    replica: &mut Replica,
    counts: Counts,
    mortal: Target,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let names: Vec<(String, String)> =
        (0..counts.mortal).map(|number| (namespace(number), format!("probe-{number}"))).collect();
    // At once means within a second, and not within an interval of ten.
    let hasty = json!({"spec": {"interval": "1s", "timeout": "500ms", "down": {"failures": 1}}});
    objects::patch_all::<Probe>(client, &names, &hasty).await?;
    settle(replica, &mut Audit::from_now(cluster), counts).await?;
    let mut audit = Audit::from_now(cluster);
    mortal.task.abort();
    let begun = Instant::now();
    let turned = async {
        while replica.metric("probegate_probes", "state=\"down\"").await? < counts.mortal as f64 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(begun.elapsed())
    };
    let turned = tokio::time::timeout(TELL, turned).await.context("they do not turn down")??;
    loop {
        audit.read()?;
        let told: BTreeSet<(&str, &str)> = audit
            .others()
            .filter(|write| write.resource == "probes/status" && write.code == 200)
            .map(|write| (write.namespace.as_str(), write.name.as_str()))
            .collect();
        if told.len() >= counts.mortal || begun.elapsed() > TELL {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let taken = begun.elapsed();
    let probes: Api<Probe> = Api::all(client.clone());
    let stored = probes.list(&ListParams::default().labels(&format!("{MORTAL}=yes"))).await?;
    let is_down = |probe: &&Probe| probe.status.as_ref().is_some_and(|status| status.state == ProbeState::Down);
    let lost = counts.mortal - stored.iter().filter(is_down).count();
    tokio::time::sleep(Duration::from_secs(3)).await;
    audit.read()?;
    let what = format!("{} probes going down at once (all in {})", counts.mortal, told(turned));
    figures.judge(
        &format!("{what}: the most writes in any second"),
        format!("{}, {} in all, told in {}", audit.busiest(), audit.others().count(), told(taken)),
        "<= 50",
        audit.busiest() <= WRITES,
    );
    figures.judge("the same, lost", lost.to_string(), "0", lost == 0);
    println!("  {:?}", audit.table());
    Ok(())
}
