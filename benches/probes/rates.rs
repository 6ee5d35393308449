//! Processor time for each probe: the bare client, ours and the peers, against the same targets.

use std::time::Duration;

use super::bare;
use super::ours::{Ours, Schedule};
use super::peers::{Programs, blackbox, cloudprober};
use super::process::{load_average, stay_on};
use super::targets::{Kind, Targets};

/// Ours is asked for so many probes, ten times a second, to find out how many one core can make.
const COUNTS: [(Kind, usize); 4] =
    [(Kind::Http, 1_000), (Kind::Https, 150), (Kind::Tcp, 1_000), (Kind::Exchange, 1_000)];
/// How long that is watched.
const PILOT: Duration = Duration::from_secs(1);
/// What it is asked for then, of one core: the others have no time between two probes either, and a target
/// that sleeps between them is woken at the prober's expense. What a whole core could not make would be
/// missed.
const FULL: f64 = 0.8;
const TENTH: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
/// Cloudprober makes so many in tenths of a second: asked for twice as many it fails nearly all of them.
const CLOUD_COUNT: usize = 160;
/// And both of them so many in a second.
const SLOW_COUNT: usize = 1_000;
/// Where the ratio to `blackbox_exporter` has to be.
const WANTED: [(Kind, f64); 4] = [(Kind::Http, 10.0), (Kind::Https, 4.0), (Kind::Tcp, 8.0), (Kind::Exchange, 8.0)];
/// Where the ratio to Cloudprober has to be, on http.
const WANTED_OF_CLOUDPROBER: f64 = 4.0;
/// What share of the bare client is aimed at.
const WANTED_SHARE: f64 = 0.75;

/// What a prober did in a stretch of time.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Probes made.
    pub probes: f64,
    /// Those that failed.
    pub failed: f64,
    /// Processor seconds spent.
    pub cpu: f64,
    /// Seconds gone by.
    pub wall: f64,
}

impl Measured {
    fn micros(self) -> f64 {
        self.cpu * 1e6 / self.probes
    }

    /// How many probes, each ten times a second, would be [`FULL`].
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
    fn full(self) -> usize {
        let rate = self.probes / self.cpu * FULL;
        (rate * TENTH.as_secs_f64()) as usize
    }

    fn print(self, kind: Kind, who: &str) {
        println!(
            "{:<13} {who:<18} {:>7.1} µs  {:>7.0} a core-second   ({:.0} probes, {:.0} failed, {:.0}/s, {:.0} % of a core)",
            kind.name(),
            self.micros(),
            1e6 / self.micros(),
            self.probes,
            self.failed,
            self.probes / self.wall,
            self.cpu / self.wall * 100.0,
        );
    }
}

pub async fn measure(targets: &Targets, programs: &Programs, seconds: Duration) -> anyhow::Result<()> {
    // This program drives a peer: it stays with the targets.
    stay_on("0")?;
    println!("Processor time for each probe, a new connection each; load average {}", load_average());
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("prober.log");
    let mut lines = Vec::new();
    for (kind, count) in COUNTS {
        let pilot = ours(targets, kind, (count, TENTH), PILOT).await?;
        pilot.print(kind, "probegate, pilot");
        let ours = ours(targets, kind, (pilot.full(), TENTH), seconds).await?;
        ours.print(kind, "probegate");
        let wanted = WANTED.iter().find(|(of, _)| *of == kind).map_or(0.0, |(_, wanted)| *wanted);
        let exporter = blackbox(targets, programs, kind, seconds).await?;
        exporter.print(kind, "blackbox_exporter");
        lines.push(line(kind, "times blackbox_exporter", exporter.micros() / ours.micros(), wanted));
        if kind != Kind::Https {
            let bare = bare::measure(targets, kind, seconds, &log).await?;
            bare.print(kind, "bare client");
            lines.push(line(kind, "of the bare client", bare.micros() / ours.micros(), WANTED_SHARE));
        }
        if kind == Kind::Http {
            let cloud = cloudprober(targets, programs, (CLOUD_COUNT, TENTH), seconds).await?;
            cloud.print(kind, "cloudprober");
            lines.push(line(kind, "times cloudprober", cloud.micros() / ours.micros(), WANTED_OF_CLOUDPROBER));
        }
    }
    let slow = (SLOW_COUNT, SECOND);
    println!("\n1,000 http probes at 1 s");
    let ours = ours(targets, Kind::Http, slow, seconds).await?;
    ours.print(Kind::Http, "probegate");
    let cloud = cloudprober(targets, programs, slow, seconds).await?;
    cloud.print(Kind::Http, "cloudprober");
    println!("\nProbes of probegate in a core-second");
    println!("{}", lines.join("\n"));
    let ratio = cloud.micros() / ours.micros();
    println!("{}\n", line(Kind::Http, "times cloudprober, at 1 s", ratio, WANTED_OF_CLOUDPROBER));
    Ok(())
}

fn line(kind: Kind, what: &str, ratio: f64, wanted: f64) -> String {
    let held = if ratio >= wanted { "held" } else { "missed" };
    format!("{:<13} {ratio:>6.2} {what:<25} wanted ≥ {wanted:<5} {held}", kind.name())
}

/// Ours on the second core.
async fn ours(
    targets: &Targets,
    kind: Kind,
    (count, interval): (usize, Duration),
    seconds: Duration,
) -> anyhow::Result<Measured> {
    let schedule = Schedule { kind, count, interval };
    let mut ours = Ours::start("1", &schedule.files(targets)?, targets.directory())?;
    ours.warm_up(schedule.count).await?;
    let before = ours.counts().await?;
    let cpu = ours.process.cpu()?;
    let begun = tokio::time::Instant::now();
    tokio::time::sleep(seconds).await;
    ours.process.check()?;
    let (cpu, wall, after) = (ours.process.cpu()? - cpu, begun.elapsed().as_secs_f64(), ours.counts().await?);
    let missed = after.missed - before.missed;
    if missed > 0.0 {
        println!("{:<13} probegate missed {missed:.0} of its slots", kind.name());
    }
    Ok(Measured { probes: after.rounds - before.rounds, failed: after.failed - before.failed, cpu, wall })
}
