//! The command line: what was typed, what is meant, and the exit code.

mod check;
mod crds;
mod demo;
mod exit;
mod overrides;
mod rule;
mod run;
mod serve;
mod token;
mod validate;
mod window;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

pub use exit::Exit;

/// The check that a rollout must pass before and after every batch.
#[derive(Debug, Parser)]
#[command(name = "probegate", version, propagate_version = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// How to print the result.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people: fits the terminal.
    Table,
    /// For programs.
    Json,
    /// For programs and files.
    Yaml,
    /// For CI systems that show test results.
    Junit,
    /// Workflow commands of GitHub Actions: annotations on lines.
    Github,
}

/// The verbs.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the demo: three changes through a gate, with the report.
    Demo(demo::Args),
    /// Serve the gate over HTTP from a directory of resources.
    Serve(serve::Args),
    /// Ask a gate and exit with its verdict.
    Check(check::Args),
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
}

/// Reads the arguments, runs the command, prints what went wrong, and tells the exit code.
#[must_use]
pub fn main() -> ExitCode {
    exit::code_of(run())
}

fn run() -> anyhow::Result<Exit> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let global = cli.global;
    runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(args, &global).await,
            Command::Serve(args) => serve::run(args, &global).await,
            Command::Check(args) => check::run(args, &global).await,
            Command::Run(args) => run::run(args, &global).await,
            Command::Window(args) => window::run(args, &global).await,
            Command::Override(args) => overrides::run(args, &global).await,
            Command::Rule(args) => rule::run(args, &global).await,
            Command::Validate(args) => validate::run(args, &global).await,
            Command::Crds(args) => crds::run(args, &global).await,
            Command::Token(args) => token::run(args, &global).await,
            Command::Completions { shell } => {
                let mut command = <Cli as clap::CommandFactory>::command();
                clap_complete::generate(shell, &mut command, "probegate", &mut std::io::stdout());
                Ok(Exit::Pass)
            }
        }
    })
}
