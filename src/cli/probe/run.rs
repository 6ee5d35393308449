//! `probegate probe run` and `test`: rounds by hand.

use std::path::PathBuf;

use anyhow::{bail, ensure};
use serde::Serialize;
use serde_json::json;

use super::cluster;
use super::list::{Made, case};
use super::once::{exit_of, observe, of_files};
use super::report::{Report, Rounds, Writer, worst};
use super::seen::{Seen, millis, tone};
use crate::cli::backend::{Place, ResidentArgs};
use crate::cli::output::{Page, Progress, Render, Suite};
use crate::cli::{Exit, Global};
use crate::model::ProbeState;
use crate::probes::Observation;
use crate::server::ProbeRuns;

/// What `run` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// The probe, as NAMESPACE/NAME or NAME.
    probe: String,
    /// Make the round here, with the probe of these files; may be given several times.
    #[arg(short, long = "file", value_name = "PATH", conflicts_with = "server")]
    files: Vec<PathBuf>,
    /// The directory with the secrets that the probe refers to.
    #[arg(long, value_name = "DIR", env = "PROBEGATE_SECRETS", requires = "files")]
    secrets: Option<PathBuf>,
    #[command(flatten)]
    resident: ResidentArgs,
}

/// What `test` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Test {
    /// Files or directories with probes; `-` reads standard input.
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
    /// The directory with the secrets that the probes refer to.
    #[arg(long, value_name = "DIR", env = "PROBEGATE_SECRETS")]
    secrets: Option<PathBuf>,
}

pub(super) async fn run(args: Run, global: &Global) -> anyhow::Result<Exit> {
    if !args.files.is_empty() {
        let title = args.resident.title(&args.probe);
        let mut ready = of_files(&args.files, args.secrets).await?;
        ready.retain(|ready| ready.title == title);
        ensure!(!ready.is_empty(), "there is no Probe {title} in the files");
        let mut writer = Writer::new(global, false);
        writer.take(Report { probes: observe(&ready).await })?;
        return Ok(exit_of(writer.finish()?));
    }
    let made = args.resident.about(Some(&args.probe)).with(async |backend| {
        let (namespace, name) = backend.full_name(&args.probe);
        match &backend.place {
            Place::Here(here) => match here.cluster() {
                Some(terminal) => cluster::run(here, terminal, namespace, name).await,
                None => bail!("say which server: --server URL, or PROBEGATE_SERVER"),
            },
            Place::Remote(client) => {
                let path = ["v1", "probes", namespace, name, "run"];
                Ok(client.post::<ProbeRuns>(&path, &json!({})).await?)
            }
        }
    });
    let made = made.await?;
    // The server alone knows the quorum; of what it tells, the worst target counts.
    let state = worst(made.runs.iter().map(|run| Seen::read(&run.result).state));
    global.printer().print(&Made { made, verbose: global.verbose > 0 })?;
    Ok(exit_of(state))
}

pub(super) async fn test(args: Test, global: &Global) -> anyhow::Result<Exit> {
    let ready = of_files(&args.files, args.secrets).await?;
    let mut progress = Progress::new(global.quiet || !global.printer().for_people());
    progress.say(&format!("running {} probes", ready.len()));
    let probes = observe(&ready).await;
    progress.finish();
    let state = worst(probes.iter().map(|probe| probe.state));
    if probes.iter().any(|probe| probe.targets.is_empty()) {
        bail!("a probe has no targets");
    }
    global.printer().print(&Tested { probes, verbose: global.verbose > 0 })?;
    Ok(exit_of(state))
}

/// Every probe, run once.
struct Tested {
    probes: Vec<Rounds>,
    verbose: bool,
}

/// One of them, for programs.
#[derive(Serialize)]
struct Told<'a> {
    probe: &'a str,
    state: ProbeState,
    targets: Vec<Target<'a>>,
}

#[derive(Serialize)]
struct Target<'a> {
    target: &'a str,
    result: &'a Observation,
}

impl Serialize for Tested {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.probes.iter().map(|probe| Told {
            probe: &probe.title,
            state: probe.state,
            targets: probe.targets.iter().map(|once| Target { target: &once.target, result: &once.seen }).collect(),
        }))
    }
}

impl Render for Tested {
    fn page(&self, page: &mut Page) {
        for probe in &self.probes {
            let state = page.paint(format!("{:<8}", probe.state), tone(probe.state));
            let seconds: f64 = probe.targets.iter().map(|once| Seen::of(&once.seen).seconds()).fold(0.0, f64::max);
            page.line(format!("{state}  {} ({})", probe.title, millis(seconds)));
            for once in &probe.targets {
                let seen = Seen::of(&once.seen);
                let bad = seen.state != ProbeState::Up;
                if bad || self.verbose {
                    page.line(format!("          {}: {}", once.target, seen.said()));
                    let log = once.seen.log.lines();
                    log.for_each(|line| page.line(format!("          {line}")));
                }
            }
        }
        page.gap();
        let count = |wanted: ProbeState| self.probes.iter().filter(|probe| probe.state == wanted).count();
        let states = ProbeState::ALL.iter().map(|state| (*state, count(*state))).filter(|(_, count)| *count > 0);
        let states: Vec<String> = states.map(|(state, count)| format!("{count} {state}")).collect();
        page.line(format!("{} probes: {}", self.probes.len(), states.join(", ")));
    }

    fn suite(&self) -> Option<Suite> {
        let cases = self.probes.iter().map(|probe| {
            let bad = probe.targets.iter().filter(|once| once.seen.state() != ProbeState::Up);
            let said: Vec<String> =
                bad.map(|once| format!("{}: {}", once.target, Seen::of(&once.seen).said())).collect();
            case(probe.title.clone(), probe.state, said.join("; "))
        });
        Some(Suite { name: "probes".to_owned(), cases: cases.collect() })
    }
}
