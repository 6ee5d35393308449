//! Probes an address, or every probe of files, here and now.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;

use super::address::Scheme;
use super::flags::Flags;
use super::report::{Report, Rounds, Writer};
use crate::api::ProbeSpec;
use crate::cli::{Exit, Global, files};
use crate::clock::SystemClock;
use crate::config::{Diagnostic, Sourced, nearest};
use crate::model::{Period, ProbeState};
use crate::outbound::{Outbound, Secrets};
use crate::probes::{self, Prepared, SpecError, Tools};

/// How long a round of an address may take where the user does not say: longer than a resident
/// probe waits, because somebody sits before it who wants to know.
const DEFAULT_TIMEOUT: &str = "10s";
/// The time between the starts of two rounds where the user does not say.
const DEFAULT_INTERVAL: &str = "1s";
/// Probes of files that are run at the same time.
const MAX_TOGETHER: usize = 16;

/// What is probed.
#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    /// An address, such as <https://shop.example/healthz> or <tcp://redis:6379>.
    #[arg(value_name = "ADDRESS", conflicts_with = "files")]
    address: Option<String>,
    /// Files or directories with probes, of which each is run once; `-` reads standard input; may be
    /// given several times.
    #[arg(short, long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    /// The directory with the secrets that the probes of files refer to.
    #[arg(long, value_name = "DIR", env = "PROBEGATE_SECRETS")]
    secrets: Option<PathBuf>,
    /// How long one round of an address may take; probes of files have their own.
    #[arg(long, value_name = "TIME", default_value = DEFAULT_TIMEOUT, conflicts_with = "files")]
    timeout: Period,
    /// Make so many rounds.
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// The time between the starts of two rounds.
    #[arg(long, value_name = "TIME", default_value = DEFAULT_INTERVAL)]
    interval: Period,
    #[command(flatten)]
    flags: Flags,
}

impl Asked {
    /// Whether anything was named that is to be probed.
    pub(super) const fn is_given(&self) -> bool {
        self.address.is_some() || !self.files.is_empty()
    }
}

/// One probe, ready to be run.
pub(super) struct Ready {
    /// `namespace/name`, or the address.
    pub(super) title: String,
    prepared: Prepared,
}

pub(super) async fn run(args: Asked, global: &Global) -> anyhow::Result<Exit> {
    anyhow::ensure!(
        args.is_given(),
        "say what to probe: an address such as https://shop.example/healthz, or -f PATH for the probes of a file"
    );
    let ready = if let Some(address) = &args.address {
        vec![of_address(address, &args).await?]
    } else {
        if let Some(flag) = args.flags.given() {
            bail!("{flag} is for an address; the probes of files say themselves how they are made");
        }
        of_files(&args.files, args.secrets.clone()).await?
    };
    let mut writer = Writer::new(global, args.count > 1);
    let mut ticks = tokio::time::interval(args.interval.to_std().max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    for _ in 0..args.count {
        ticks.tick().await;
        writer.take(Report { probes: observe(&ready).await })?;
    }
    let worst = writer.finish()?;
    Ok(exit_of(worst))
}

/// The exit code of a state.
pub(super) const fn exit_of(state: ProbeState) -> Exit {
    match state {
        ProbeState::Up | ProbeState::Degraded => Exit::Pass,
        ProbeState::Down => Exit::Block,
        ProbeState::Unknown => Exit::Wait,
    }
}

/// One round of each, in their order.
pub(super) async fn observe(ready: &[Ready]) -> Vec<Rounds> {
    let rounds = ready.iter().map(async |ready| {
        let rounds = ready.prepared.observe().await;
        Rounds { title: ready.title.clone(), state: ready.prepared.state(&rounds), targets: rounds }
    });
    futures::stream::iter(rounds).buffered(MAX_TOGETHER).collect().await
}

async fn of_address(address: &str, args: &Asked) -> anyhow::Result<Ready> {
    let scheme: Scheme = address.parse().map_err(|error: anyhow::Error| match nearest(address, super::COMMANDS) {
        Some(command) => anyhow::anyhow!("there is no command `{address}`; did you mean `{command}`?"),
        None => error,
    })?;
    let spec = args.flags.spec(scheme)?;
    // Files are named by their paths here, so that everything below `/` may be one.
    let tools = tools(Some(PathBuf::from("/")), Path::new("."));
    let timeout = args.timeout.to_std();
    anyhow::ensure!(!timeout.is_zero(), "the timeout must be longer than 0s");
    let prepared = Prepared::new(&spec, timeout, &tools).await;
    let prepared = prepared.map_err(|error| anyhow::anyhow!("{}: {}", error.field, error.why))?;
    Ok(Ready { title: address.to_owned(), prepared })
}

/// Every probe of files, ready to be run; `-` stands for standard input.
pub(super) async fn of_files(paths: &[PathBuf], secrets: Option<PathBuf>) -> anyhow::Result<Vec<Ready>> {
    let paths = paths.to_vec();
    let loaded =
        tokio::task::spawn_blocking(move || files::load(&paths)).await.context("while reading the files")??;
    let errors: Vec<&Diagnostic> = loaded.diagnostics.iter().filter(|found| found.is_error()).collect();
    refuse(&errors)?;
    let (mut ready, mut wrong) = (Vec::new(), Vec::new());
    for sourced in &loaded.resources {
        let Some(probe) = sourced.resource.as_probe() else { continue };
        let root = loaded.files.iter().find(|file| file.name == sourced.file).map(|file| file.root.as_path());
        let tools = tools(secrets.clone(), root.unwrap_or(Path::new(".")));
        match prepared(&probe.spec, &tools).await {
            Ok(prepared) => {
                let title = format!("{}/{}", sourced.resource.namespace(), sourced.resource.name());
                ready.push(Ready { title, prepared });
            }
            Err(error) => wrong.push(said(sourced, &error)),
        }
    }
    refuse(&wrong.iter().collect::<Vec<_>>())?;
    anyhow::ensure!(!ready.is_empty(), "there is no Probe in the files");
    Ok(ready)
}

async fn prepared(spec: &ProbeSpec, tools: &Tools) -> Result<Prepared, SpecError> {
    let plan = probes::plan(spec)?;
    Prepared::new(spec, plan.timeout, tools).await
}

/// Where a spec is wrong: the file and the line.
fn said(sourced: &Sourced, error: &SpecError) -> Diagnostic {
    let field = format!("spec.{}", error.field);
    let keys: Vec<&str> = field.split(['.', '[', ']']).filter(|part| !part.is_empty()).collect();
    Diagnostic::error("probe", &sourced.file, sourced.place(&keys), error.why.clone())
        .with_path(field.as_str())
        .with_resource(sourced.title())
}

/// Ends with what is wrong, if anything is.
fn refuse(errors: &[&Diagnostic]) -> anyhow::Result<()> {
    if errors.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let count = if errors.len() == 1 { "1 error".to_owned() } else { format!("{} errors", errors.len()) };
    bail!("{}\n{count} in the files: `probegate validate` tells more", list.join("\n"))
}

fn tools(secrets: Option<PathBuf>, root: &Path) -> Tools {
    Tools {
        outbound: Outbound::new(Secrets::new(secrets)),
        clock: Arc::new(SystemClock::new()),
        root: Some(root.to_owned()),
    }
}
