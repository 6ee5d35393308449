//! `probegate token`: access tokens for the server.

use std::io::Write;

use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;

use super::{Exit, Global};
use crate::clock::{Clock, SystemClock};
use crate::model::Period;
use crate::server::Scope;
use crate::server::access::{NewToken, new_token};

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a token: prints it once, with the entry for the file of tokens.
    New(New),
}

#[derive(Debug, clap::Args)]
struct New {
    /// The token's name in the file.
    #[arg(long)]
    name: String,
    /// Who it stands for in records. Default: its name.
    #[arg(long)]
    subject: Option<String>,
    /// What it may do; several are separated by commas.
    #[arg(long, required = true, value_enum, value_delimiter = ',')]
    scope: Vec<Scope>,
    /// The gates that it may reach, as patterns of namespace/name. Default: all.
    #[arg(long, value_delimiter = ',')]
    gate: Vec<String>,
    /// When it ends: an instant, or a length of time from now such as `90d`.
    #[arg(long)]
    expires: Option<String>,
}

pub(super) async fn run(args: Args, _global: &Global) -> anyhow::Result<Exit> {
    let Command::New(new) = args.command;
    let expires = new.expires.map(|text| expiry(&text, SystemClock::new().now())).transpose()?;
    if let Some(gate) = new.gate.iter().find(|gate| !gate.contains('/')) {
        anyhow::bail!("--gate {gate}: give a pattern of namespace/name, such as `shop/*`");
    }
    let (name, subject, gates) = (new.name, new.subject, new.gate);
    let wanted = NewToken { name, subject, scopes: new.scope.into_iter().collect(), gates, expires };
    let (token, entry) = new_token(wanted)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "# The token. It is shown this once and is stored nowhere:")?;
    writeln!(out, "{}", token.expose_secret())?;
    writeln!(out, "# The entry for the file that `probegate serve --tokens FILE` reads, below `tokens:`")?;
    write!(out, "{entry}")?;
    Ok(Exit::Pass)
}

fn expiry(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    let instant = match text.parse::<Period>() {
        Ok(period) => now.checked_add(period.exact())?,
        Err(_) => text.parse().map_err(|_| {
            anyhow::anyhow!(
                "--expires {text}: give an instant such as 2027-01-01T00:00:00Z, or a time from now such as 90d"
            )
        })?,
    };
    if instant.duration_since(now) <= SignedDuration::ZERO {
        anyhow::bail!("--expires {text}: {instant} is not in the future");
    }
    Ok(instant)
}
