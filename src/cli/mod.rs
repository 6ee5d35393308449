//! The command line: what was typed, what is meant, and the exit code.

mod backend;
mod check;
mod crds;
mod demo;
mod exit;
mod files;
mod global;
mod kubernetes;
mod output;
mod overrides;
mod probe;
mod question;
mod rule;
mod run;
mod serve;
mod token;
mod validate;
mod window;

use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};

pub use exit::Exit;
pub use global::Global;
pub use output::{Colour, Output};

/// The most worker threads of the runtime: the work waits for sockets and the disk, not for cores.
const MAX_WORKERS: usize = 4;

/// The name under which kubectl finds it.
const PLUGIN: &str = "kubectl-probegate";

const AFTER_HELP: &str = "\
Exit codes:
  0  pass, or done
  1  block, or not valid
  2  wait, or unknown
  3  wrong use, or an error

Examples:
  probegate demo
  probegate validate gates/
  probegate check -f gates/ --gate shop/checkout --revision v42
  probegate serve -f gates/ --data /var/lib/probegate";

/// The check that a rollout must pass before and after every batch.
#[derive(Debug, Parser)]
#[command(
    name = "probegate",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = AFTER_HELP
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one, and it lives as long as the program")]
enum Command {
    /// Run the demo: three changes through a gate, with the report.
    Demo(demo::Args),
    /// Serve the gate over HTTP from a directory of resources.
    Serve(serve::Args),
    /// Ask a gate and exit with its verdict.
    Check(check::Args),
    /// Probe an address or the probes of files, once.
    Probe(probe::Args),
    /// Look at runs, follow one, cancel one.
    Run(run::Args),
    /// List release windows and freezes, and explain them.
    Window(window::Args),
    /// Create, list and revoke overrides.
    Override(overrides::Args),
    /// Test rules against their examples, and try them out.
    Rule(rule::Args),
    /// Check files: names file, line and column of whatever is wrong.
    Validate(validate::Args),
    /// Print the custom resource definitions or the JSON Schemas for editors.
    Crds(crds::Args),
    /// Make access tokens for the server.
    Token(token::Args),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the program's version and that of its time zone database.
    Version,
}

/// Reads the arguments, runs the command, prints what went wrong, and tells the exit code.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => exit::code_of(run(cli)),
        Err(error) => exit::code_of_usage(&error),
    }
}

/// Whether kubectl has called: `kubectl probegate …` works in its cluster unless somebody says where.
fn is_plugin() -> bool {
    let own = std::env::args_os().next().map(std::path::PathBuf::from);
    own.as_deref().and_then(std::path::Path::file_stem).is_some_and(|name| name == PLUGIN)
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.clamp(2, MAX_WORKERS))
        .thread_name("probegate")
        .enable_all()
        .build()
        .context("while starting the runtime")?;
    cli.global.start_log(usual_log(&cli.command))?;
    runtime.block_on(dispatch(cli.command, &cli.global))
}

/// What is logged where the user does not say: a server tells what it does, everything else only
/// what is wrong.
const fn usual_log(command: &Command) -> &'static str {
    if matches!(command, Command::Serve(_)) { "info" } else { "warn" }
}

async fn dispatch(command: Command, global: &Global) -> anyhow::Result<Exit> {
    match command {
        Command::Demo(args) => demo::run(args, global).await,
        Command::Serve(args) => serve::run(args, global).await,
        Command::Check(args) => check::run(args, global).await,
        Command::Probe(args) => probe::run(args, global).await,
        Command::Run(args) => run::run(args, global).await,
        Command::Window(args) => window::run(args, global).await,
        Command::Override(args) => overrides::run(args, global).await,
        Command::Rule(args) => rule::run(args, global).await,
        Command::Validate(args) => validate::run(args, global).await,
        Command::Crds(args) => crds::run(args, global).await,
        Command::Token(args) => token::run(args, global).await,
        Command::Completions { shell } => completions(shell),
        Command::Version => version(),
    }
}

fn version() -> anyhow::Result<Exit> {
    let zones = crate::calendars::zones_version();
    output::Printer::write(&format!("probegate {}\ntime zone database {zones}\n", env!("CARGO_PKG_VERSION")))?;
    Ok(Exit::Pass)
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    // Into memory first: the generator does not expect a reader that goes away.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "probegate", &mut text);
    output::Printer::write(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Pass)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_every_option_says_what_it_is_for() {
        fn walk(command: &clap::Command, path: &str) {
            assert!(command.get_about().is_some(), "{path} says nothing");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path}: {} says nothing", argument.get_id());
            }
            for below in command.get_subcommands() {
                walk(below, &format!("{path} {}", below.get_name()));
            }
        }
        walk(&Cli::command(), "probegate");
    }
}
