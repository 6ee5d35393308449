//! `probegate override`.

use super::{Exit, Global};

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) async fn run(_args: Args, _global: &Global) -> anyhow::Result<Exit> {
    anyhow::bail!("not built yet")
}
