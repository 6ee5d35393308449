//! `probegate window`: what the windows of files or of a cluster say, now and at any other instant.

mod calendar;
mod explain;
mod files;
mod list;
mod next;

use std::path::PathBuf;

use jiff::Timestamp;

use super::kubernetes::TerminalArgs;
use super::{Exit, Global};
use crate::clock::{Clock, SystemClock};
use crate::model::{Action, Invoker, Labels, Running};
use crate::windows::Query;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List windows and freezes with their standing.
    List(list::Args),
    /// Tell when changes are allowed and shut out next.
    Next(next::Args),
    /// Say whether a change is allowed at an instant, by which window, why and until when.
    ///
    /// Exit code 0: allowed; 2: shut, and the next opening is known; 1: shut without one.
    Explain(explain::Args),
    /// Show a month, or export it as iCalendar.
    Calendar(calendar::Args),
}

/// Where the windows are.
#[derive(Debug, Clone, clap::Args)]
struct From {
    /// A file or directory with resources; may be given several times.
    #[arg(short, long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    cluster: TerminalArgs,
}

/// What is asked about.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "What is asked about")]
struct Subject {
    /// The cluster of the target.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The namespace of the target; in a cluster by default that of the context.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// The target.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// A label of the target; may be given several times.
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// What the change does: release, rollback, scale or config.
    #[arg(long, value_name = "ACTION", default_value_t, value_parser = word::<Action>)]
    action: Action,
    /// Who sets it off: person or automation.
    #[arg(long, value_name = "INVOKER", default_value_t, value_parser = word::<Invoker>)]
    invoker: Invoker,
    /// The change's id, for the overrides among the files.
    #[arg(long, value_name = "ID")]
    change: Option<String>,
    /// The change is under way already.
    #[arg(long)]
    under_way: bool,
    /// What the gate says about changes under way: hold or finish.
    #[arg(long, value_name = "POLICY", requires = "under_way", value_parser = word::<Running>)]
    running: Option<Running>,
}

impl Subject {
    /// The same in a cluster, whose context names a namespace.
    fn within(mut self, namespace: Option<&String>) -> Self {
        self.namespace = self.namespace.or_else(|| namespace.cloned());
        self
    }

    fn query(&self, at: Timestamp) -> Query {
        Query {
            at,
            cluster: self.cluster.clone(),
            namespace: self.namespace.clone(),
            target: self.target.clone(),
            labels: self.labels.iter().cloned().collect::<Labels>(),
            action: self.action,
            invoker: self.invoker,
            change: self.change.clone(),
            under_way: self.under_way,
            gate_running: self.running,
        }
    }
}

pub(super) async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    match args.command {
        Command::List(args) => list::run(args, global).await,
        Command::Next(args) => next::run(args, global).await,
        Command::Explain(args) => explain::run(args, global).await,
        Command::Calendar(args) => calendar::run(args, global).await,
    }
}

fn now() -> Timestamp {
    SystemClock::new().now()
}

/// Reads an instant: a time with `Z` or an offset.
fn instant(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    text.parse().map_err(|_| {
        format!(
            "`{}` is not an instant: write it like `2026-12-24T11:00:00Z` or `2026-12-24T12:00:00+01:00`",
            text.chars().take(64).collect::<String>()
        )
    })
}

fn word<T: std::str::FromStr<Err = crate::model::UnknownWord>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: crate::model::UnknownWord| error.to_string())
}

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = pair.ok_or_else(|| format!("`{text}` is not a label: write it like tier=web"))?;
    Ok((key.to_owned(), value.to_owned()))
}
