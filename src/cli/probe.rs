//! `probegate probe`: probes an address from flags, the probes of files, and converts the modules
//! of others.

mod address;
mod cluster;
mod flags;
mod import;
mod list;
mod once;
mod report;
mod run;
mod seen;

use super::{Exit, Global};

const EXAMPLES: &str = "\
Examples:
  Ask once, and see where the time goes:
    probegate probe https://shop.example/healthz --status 200 --contains ok
    probegate probe tcp://redis:6379 --send 'PING\\r\\n' --expect '^\\+PONG'
    probegate probe tls://mail.example:25 --starttls smtp --valid-for 14d
    probegate probe 'dns://10.96.0.10/shop.example?type=A'
    probegate probe grpc://orders:50051/shop.Orders
    probegate probe icmp://router -v
  Run every probe of a file, one JSON object for each target:
    probegate probe -f probe.yaml -o json
  Look at the resident probes of a server or a cluster, and run one now:
    probegate probe list --server https://probegate.example --state down
    probegate probe history shop/checkout --since 6h --server https://probegate.example
    probegate probe run shop/checkout --server https://probegate.example
    probegate probe list --kubernetes -A
  Run every probe of a directory like tests:
    probegate probe test -f probes/ -o junit
  Take over the modules of blackbox_exporter:
    probegate probe import-blackbox blackbox.yml > probes.yaml

Addresses begin with http, https, ws, wss, tcp, tls, dns, grpc, grpcs, icmp, udp or unix.

Exit codes: 0 up or degraded, 1 down, 2 unknown, 3 wrong use or an error. Of several targets a probe
is down when as many of them are as its `quorum` says, and unknown when those that are unknown could
make it so; of several probes, and of several rounds, the worst counts: down, then unknown.";

/// What the command takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    once: once::Asked,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the probes of a server or a cluster, and how they stand.
    List(list::List),
    /// Show one probe of a server or a cluster with its targets and their last rounds.
    Show(list::Show),
    /// Tell the past of a probe of a server: availability, latencies, failures, turns.
    History(list::History),
    /// Run a probe now, on its server or in its cluster, or here from files, and exit with its state.
    Run(run::Run),
    /// Run every probe of files once, and report like a test runner.
    Test(run::Test),
    /// Turn the modules of `blackbox_exporter` into probes.
    ImportBlackbox(import::Args),
}

/// The commands by their names, for whoever misspells one.
const COMMANDS: [&str; 6] = ["list", "show", "history", "run", "test", "import-blackbox"];

pub(super) async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    if args.command.is_some() && args.once.is_given() {
        anyhow::bail!("an address, or -f before the command, goes without a command: see `probegate probe --help`");
    }
    match args.command {
        Some(Command::List(args)) => list::list(args, global).await,
        Some(Command::Show(args)) => list::show(args, global).await,
        Some(Command::History(args)) => list::history(args, global).await,
        Some(Command::Run(args)) => run::run(args, global).await,
        Some(Command::Test(args)) => run::test(args, global).await,
        Some(Command::ImportBlackbox(args)) => import::run(args, global).await,
        None => once::run(args.once, global).await,
    }
}
