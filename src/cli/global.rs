//! What every command takes.

use anyhow::Context;

use super::output::{Colour, Output, Printer};
use crate::telemetry::{LogFormat, init_logging};

/// What every command takes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options for every command")]
pub struct Global {
    /// How to print the result.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// When to use colours.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Colour::Auto)]
    pub color: Colour,
    /// Say nothing but the result.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more in the log: twice for details, three times for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// What to log, such as `info` or `probegate::engine=debug`; beats -q and -v.
    #[arg(long, global = true, value_name = "FILTER", env = "PROBEGATE_LOG")]
    pub log: Option<String>,
    /// How to write the log.
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Any value turns colours off, as <https://no-color.org> asks.
    #[arg(long, global = true, hide = true, env = "NO_COLOR", hide_env = true)]
    no_color: Option<String>,
}

impl Global {
    /// The printer for results.
    pub(super) fn printer(&self) -> Printer {
        let no_color = self.no_color.as_deref().is_some_and(|value| !value.is_empty());
        Printer::new(self.output, self.color, no_color)
    }

    /// Begins to write the log; `usual` is what is logged unless the user says otherwise.
    pub(super) fn start_log(&self, usual: &str) -> anyhow::Result<()> {
        init_logging(self.log_format, &self.log_filter(usual)).context("while setting up the log")
    }

    /// What is logged: `usual` unless the user says otherwise.
    fn log_filter(&self, usual: &str) -> String {
        match (&self.log, self.quiet, self.verbose) {
            (Some(filter), ..) => filter.clone(),
            (None, true, _) => "error".to_owned(),
            (None, false, 0) => usual.to_owned(),
            (None, false, 1) => "info".to_owned(),
            (None, false, 2) => "probegate=debug,info".to_owned(),
            (None, false, _) => "probegate=trace,debug".to_owned(),
        }
    }
}
