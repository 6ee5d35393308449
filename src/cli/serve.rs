//! `probegate serve`: the gate over HTTP.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::kubernetes::OperatorArgs;
use super::{Exit, Global};
use crate::app::{App, Bound, Candidacy, Home, Limits, Options, Serving};

const EXAMPLES: &str = "\
Examples:
  On this machine alone, without tokens:
    probegate serve -f gates/ --data ./data
  For others: with tokens (`probegate token new` makes one) and TLS:
    probegate serve -f gates/ --data /var/lib/probegate --listen 0.0.0.0:8443 \\
      --tokens tokens.yaml --tls-cert tls.crt --tls-key tls.key --admin-listen 0.0.0.0:9090
  In a Kubernetes cluster (`kubectl apply -k deploy/` does it), where its own tokens are good:
    probegate serve --kubernetes --listen 0.0.0.0:8080 --admin-listen 0.0.0.0:9090

The files are followed: an edit is in force at once, and a broken file keeps its last good state.
SIGTERM and SIGINT end it in order; a second one ends it at once.";

/// What the command takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The directory with resources; it is followed.
    #[arg(short, long = "file", value_name = "DIR", env = "PROBEGATE_FILES")]
    files: Option<PathBuf>,
    /// The directory that keeps runs and overrides; without it they are forgotten at the end. In a
    /// cluster it keeps the probes' history and copies of calendars alone.
    #[arg(long, value_name = "DIR", env = "PROBEGATE_DATA")]
    data: Option<PathBuf>,
    #[command(flatten)]
    kubernetes: OperatorArgs,
    /// The name of this replica among several, such as the pod's.
    #[arg(long, value_name = "NAME", env = "PROBEGATE_IDENTITY", help_heading = "Cluster")]
    identity: Option<String>,
    /// The namespace of the lease that makes one of the replicas lead; by default that of the pod.
    #[arg(long, value_name = "NAME", env = "PROBEGATE_NAMESPACE", help_heading = "Cluster")]
    lease_namespace: Option<String>,
    /// The address by which the other replicas reach this one, such as the pod's: what only the leader
    /// knows is asked there.
    #[arg(long, value_name = "IP", env = "PROBEGATE_ADVERTISE", help_heading = "Cluster")]
    advertise: Option<IpAddr>,
    /// Where to listen for questions; may be given several times.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080",
        env = "PROBEGATE_LISTEN",
        value_delimiter = ','
    )]
    listen: Vec<SocketAddr>,
    /// Where to listen for health and metrics: /livez, /readyz, /metrics.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090", env = "PROBEGATE_ADMIN_LISTEN")]
    admin_listen: SocketAddr,
    /// The file of tokens. Without it only this machine may ask, and may do everything.
    #[arg(long, value_name = "FILE", env = "PROBEGATE_TOKENS")]
    tokens: Option<PathBuf>,
    /// The certificate chain in PEM; read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "PROBEGATE_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "PROBEGATE_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// The cluster of changes that name none.
    #[arg(long, value_name = "NAME", env = "PROBEGATE_CLUSTER")]
    cluster: Option<String>,
    /// The Prometheus server of metric checks that name none.
    #[arg(long, value_name = "URL", env = "PROBEGATE_PROMETHEUS")]
    prometheus: Option<Url>,
    /// The directory with the secrets that checks and probes refer to. Not in a cluster: there they are
    /// Secrets of the namespace that refers to them, where it has granted them.
    #[arg(long, value_name = "DIR", env = "PROBEGATE_SECRETS")]
    secrets: Option<PathBuf>,
    /// The most rounds of probes in a second.
    #[arg(long, value_name = "N", default_value_t = Limits::default().per_second, env = "PROBEGATE_PROBE_RATE")]
    probe_rate: NonZeroU32,
    /// The most rounds of probes under way at once; half of the descriptors that there are is the most.
    #[arg(long, value_name = "N", default_value_t = Limits::default().in_flight, env = "PROBEGATE_PROBE_IN_FLIGHT")]
    probe_in_flight: usize,
    /// The most rounds of probes under way to one host.
    #[arg(long, value_name = "N", default_value_t = Limits::default().per_host, env = "PROBEGATE_PROBE_PER_HOST")]
    probe_per_host: usize,
    /// How many threads probe; by default as many as there are processors, at most 4.
    #[arg(long, value_name = "N", env = "PROBEGATE_PROBE_THREADS")]
    probe_threads: Option<usize>,
}

pub(super) async fn run(args: Args, _global: &Global) -> anyhow::Result<Exit> {
    let stop = CancellationToken::new();
    let in_cluster = args.kubernetes.is_meant();
    let home = if in_cluster {
        let candidacy = Candidacy { identity: args.identity, namespace: args.lease_namespace };
        Home::Cluster(Box::new(args.kubernetes.home(candidacy, args.data.clone())?))
    } else {
        args.data.clone().map_or(Home::Memory, Home::Directory)
    };
    let options = Options {
        home,
        files: args.files.into_iter().collect(),
        follow: true,
        cluster: args.cluster,
        prometheus: args.prometheus,
        secrets: args.secrets,
        probing: Limits {
            in_flight: args.probe_in_flight,
            per_host: args.probe_per_host,
            per_second: args.probe_rate,
            threads: args.probe_threads.unwrap_or(Limits::default().threads),
        },
    };
    let serving = Serving {
        listen: args.listen,
        admin: Some(args.admin_listen),
        tokens: args.tokens,
        tls: args.tls_cert.zip(args.tls_key),
        advertise: args.advertise,
    };
    let secure = serving.tls.is_some();
    // Signals count from here: whoever ends it while it starts is heard as well.
    let mut signals = Signals::new()?;
    let app = App::start(options, stop.clone()).await?;
    let bound = match app.bind(serving).await {
        Ok(bound) => bound,
        Err(error) => {
            app.stop().await;
            return Err(error.into());
        }
    };
    announce(&bound, secure, args.data.is_none() && !in_cluster);
    let mut served = tokio::spawn(bound.run());
    tokio::select! {
        () = signals.next() => {}
        early = &mut served => early.context("while serving")??,
        // At once, and not in order: another replica may lead in a moment.
        why = app.lost() => anyhow::bail!("this replica led and has lost: {why}"),
    }
    tracing::info!("Ending: open runs stay in the store and go on at the next start. A second signal ends at once.");
    stop.cancel();
    let end = async {
        if !served.is_finished() {
            served.await.context("while serving")??;
        }
        app.stop().await;
        anyhow::Ok(())
    };
    tokio::select! {
        ended = end => ended?,
        () = signals.next() => anyhow::bail!("a second signal came before everything was in order"),
    }
    Ok(Exit::Pass)
}

/// What ends the program.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("while listening for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Tells where it answers, in the log: standard output stays empty.
fn announce(bound: &Bound, secure: bool, forgets: bool) {
    let scheme = if secure { "https" } else { "http" };
    for address in &bound.main {
        tracing::info!(url = %format!("{scheme}://{address}"), "Ready for questions.");
    }
    if let Some(address) = bound.admin {
        tracing::info!(url = %format!("http://{address}"), "Ready for probes and scrapes: /livez, /readyz, /metrics.");
    }
    if forgets {
        tracing::warn!("There is no data directory: verdicts are forgotten at the end. Give one with --data.");
    }
}
