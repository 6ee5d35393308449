//! Ours with both cores: a large schedule, the time to `down`, and a soak under load.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::ours::{Ours, Schedule, probe, write};
use super::process::{Process, load_average, stay_on};
use super::targets::{Kind, Targets, free_ports, wait_for};

/// How late the 99th of a hundred rounds may begin.
const WANTED_LATE: f64 = 0.005;
/// How much memory ten thousand probes may take, in MB.
const WANTED_MEMORY: f64 = 100.0;
/// The interval of the large schedule, and of the probes whose servers are killed.
const INTERVAL: Duration = Duration::from_secs(1);
/// How much later than two intervals such a probe may be down.
const WANTED_DOWN: Duration = Duration::from_millis(100);

/// Ten thousand probes, one second.
pub async fn schedule(seconds: Duration) -> anyhow::Result<()> {
    stay_on("0,1")?;
    let targets = Targets::start()?;
    let schedule = Schedule { kind: Kind::Http, count: 10_000, interval: INTERVAL };
    let mut ours = Ours::start("0,1", &schedule.files(&targets)?, targets.directory())?;
    ours.warm_up(schedule.count).await?;
    let (before, cpu, begun) = (ours.counts().await?, ours.process.cpu()?, Instant::now());
    let late = Late::read(&ours.metrics().await?);
    tokio::time::sleep(seconds * 2).await;
    let (after, wall) = (ours.counts().await?, begun.elapsed().as_secs_f64());
    let late = Late::read(&ours.metrics().await?).since(&late);
    println!("10,000 http probes at 1 s on both cores, the targets beside them; load average {}", load_average());
    println!(
        "  {:.0} rounds in {wall:.1} s, {:.0} failed; {:.0} % of a core",
        after.rounds - before.rounds,
        after.failed - before.failed,
        (ours.process.cpu()? - cpu) / wall * 100.0
    );
    let missed = after.missed - before.missed;
    println!("  missed slots       {missed:.0} (wanted 0)");
    println!("  p50, p99 lateness  {:.2} ms, {:.2} ms", late.quantile(0.5) * 1e3, late.quantile(0.99) * 1e3);
    println!("                     (wanted p99 < {} ms)", WANTED_LATE * 1e3);
    println!("  resident           {:.1} MB (wanted < {WANTED_MEMORY})\n", ours.process.resident()?);
    ours.process.check()
}

/// How late rounds began: the cumulated counts of the histogram's buckets.
struct Late(Vec<(f64, f64)>);

impl Late {
    fn read(metrics: &str) -> Self {
        let start = "probegate_probe_late_seconds_bucket{le=\"";
        let bucket = |line: &str| {
            let (edge, count) = line.strip_prefix(start)?.split_once("\"}")?;
            Some((edge.replace("+Inf", "inf").parse().ok()?, count.trim().parse().ok()?))
        };
        Self(metrics.lines().filter_map(bucket).collect())
    }

    fn since(self, before: &Self) -> Self {
        let zip = self.0.into_iter().zip(&before.0);
        Self(zip.map(|((edge, count), (_, earlier))| (edge, count - earlier)).collect())
    }

    /// Interpolated in its bucket, as Prometheus does.
    fn quantile(&self, share: f64) -> f64 {
        let rank = self.0.last().map_or(0.0, |(_, all)| all * share);
        let mut below = (0.0, 0.0);
        for &(edge, count) in &self.0 {
            if count >= rank {
                let within = if count > below.1 { (rank - below.1) / (count - below.1) } else { 1.0 };
                return if edge.is_finite() { below.0 + (edge - below.0) * within } else { f64::INFINITY };
            }
            below = (edge, count);
        }
        f64::NAN
    }
}

/// A server that answers every request, to be killed: `answer PORT`.
pub async fn answer(words: &[String]) -> anyhow::Result<()> {
    let port: u16 = words.first().context("answer PORT")?.parse()?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut request = [0; 1_024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
        });
    }
}

/// From a killed server to `down`, with a threshold of 2, as the metrics tell it.
pub async fn down(kills: usize) -> anyhow::Result<()> {
    stay_on("0,1")?;
    let directory = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let (mut servers, mut resources) = (Vec::new(), Vec::new());
    for turn in 0..kills {
        let [port] = free_ports()?;
        let log = directory.path().join(format!("server-{turn}"));
        servers.push(Process::start("0,1", &program, &["answer", &port.to_string()], &log)?);
        wait_for(SocketAddr::from(([127, 0, 0, 1], port)))?;
        let spec = json!({"http": {"url": format!("http://127.0.0.1:{port}/")}, "interval": "1s",
                          "timeout": "500ms", "down": {"failures": 2}});
        resources.push(probe(&format!("server-{turn}"), &spec));
    }
    let mut ours = Ours::start("0,1", &write(&resources)?, directory.path())?;
    ours.warm_up(kills).await?;
    let mut taken = Vec::new();
    for (turn, server) in servers.into_iter().enumerate() {
        // Another moment of the interval each time.
        tokio::time::sleep(INTERVAL.mul_f64(0.37)).await;
        drop(server);
        let killed = Instant::now();
        let name = format!("probe=\"server-{turn}\"");
        while !ours.metrics().await?.lines().any(|line| is_down(line, &name)) {
            anyhow::ensure!(killed.elapsed() < INTERVAL * 20, "it does not turn down");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        taken.push(killed.elapsed());
    }
    taken.sort_unstable();
    let milliseconds = |place: usize| taken.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    println!(
        "From a killed server to `down`, interval 1 s, threshold 2, {kills} times; load average {}",
        load_average()
    );
    println!("  median {:.0} ms, longest {:.0} ms", milliseconds(kills / 2), milliseconds(kills.saturating_sub(1)));
    println!("  (wanted < {} ms)\n", (INTERVAL * 2 + WANTED_DOWN).as_millis());
    ours.process.check()
}

/// Whether a line of the metrics says that a probe is down.
fn is_down(line: &str, name: &str) -> bool {
    let value = line.strip_prefix("probegate_probe_up{").filter(|rest| rest.contains(name));
    value.and_then(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()) == Some(0.0)
}

/// Healthy servers, and a loop that never rests on each core: nothing may turn down, nothing may grow.
pub async fn soak(time: Duration) -> anyhow::Result<()> {
    stay_on("0,1")?;
    let targets = Targets::start()?;
    let directory = tempfile::tempdir()?;
    let mut resources = Vec::new();
    for kind in Kind::ALL {
        let schedule = Schedule { kind, count: 250, interval: INTERVAL * 2 };
        resources.extend(schedule.probes(&targets));
    }
    let mut ours = Ours::start("0,1", &write(&resources)?, targets.directory())?;
    ours.warm_up(resources.len()).await?;
    let program = std::env::current_exe()?;
    let busy = |core: &str| Process::start(core, &program, &["busy"], &directory.path().join(format!("busy-{core}")));
    let _busy = [busy("0")?, busy("1")?];
    let (before, resident) = (ours.counts().await?, ours.process.resident()?);
    let begun = Instant::now();
    println!("A soak of {} s, 1,000 probes of every kind at 2 s, a busy loop on each core", time.as_secs());
    println!("  resident at the start   {resident:.1} MB");
    while begun.elapsed() < time {
        tokio::time::sleep(Duration::from_secs(1)).await;
        ours.process.check()?;
    }
    let after = ours.counts().await?;
    println!("  resident at the end     {:.1} MB", ours.process.resident()?);
    println!("  rounds                  {:.0}", after.rounds - before.rounds);
    println!("  that did not succeed    {:.0}", after.failed - before.failed);
    println!("  missed slots            {:.0}", after.missed - before.missed);
    println!("  turns to down           {} (wanted 0)", ours.turns_down()?);
    Ok(())
}
