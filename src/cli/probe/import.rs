//! `probegate probe import-blackbox`: the modules of `blackbox_exporter` as probes.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use crate::api::Probe;
use crate::cli::files::read_one;
use crate::cli::output::{Output, Printer};
use crate::cli::{Exit, Global};
use crate::config::blackbox;

const HELP: &str = "\
What a probe cannot say is told on standard error, with its line; secrets are not carried over: the
messages name the files below the secrets directory that they belong into.

Put the output among the resources of `probegate serve`: a Prometheus that was set up for
blackbox_exporter then asks /probe?module=NAME&target=ADDRESS there. The probes are suspended: they
make no rounds by themselves.

Exit codes: 0 every module was turned into a probe, 1 one was not, 3 wrong use or an error.";

/// What the command takes.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The configuration of `blackbox_exporter`; `-` reads standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The namespace of the probes.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
}

pub(super) async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let (name, bytes) = read_one(&args.file)?;
    let imported = blackbox::import(&name, &bytes, args.namespace.as_deref());
    let mut err = std::io::stderr().lock();
    for note in &imported.notes {
        // Where standard error is gone there is nobody left to tell.
        let _ = writeln!(err, "{note}");
    }
    match global.output {
        Output::Table | Output::Yaml => Printer::write(&yaml(&imported.probes)?)?,
        Output::Json => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": imported.probes});
            Printer::write(&(serde_json::to_string_pretty(&list)? + "\n"))?;
        }
        Output::Junit | Output::Github => anyhow::bail!("probes are printed as yaml or json"),
    }
    let failed = imported.notes.iter().any(crate::config::Diagnostic::is_error);
    Ok(if failed { Exit::Block } else { Exit::Pass })
}

fn yaml(probes: &[Probe]) -> anyhow::Result<String> {
    let mut text = String::new();
    for probe in probes {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(probe).context("while writing the probes as YAML")?);
    }
    Ok(text)
}
