//! `probegate validate`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use super::files;
use super::output::{Case, CaseResult, Page, Place, Render, Suite, Tone};
use super::{Exit, Global};
use crate::clock::{Clock, SystemClock};
use crate::config::{Diagnostic, Judgement, Loaded, Severity, judge};

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files and directories; `-` reads standard input.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Warnings are errors.
    #[arg(long)]
    strict: bool,
    /// Names of gates, probes, windows, rules and calendars may lead out of the given paths.
    #[arg(long)]
    allow_dangling: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    valid: bool,
    files: usize,
    resources: usize,
    /// Documents of other API groups, which are left out.
    foreign: usize,
    errors: usize,
    warnings: usize,
    diagnostics: Vec<Diagnostic>,
    #[serde(skip)]
    names: BTreeSet<String>,
}

pub(super) async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let loaded = tokio::task::spawn_blocking(move || files::load(&args.paths).map(|loaded| (loaded, args))).await?;
    let (loaded, args) = loaded?;
    let found = found(&loaded, &args);
    global.printer().print(&found)?;
    Ok(if found.valid { Exit::Pass } else { Exit::Block })
}

fn found(loaded: &Loaded, args: &Args) -> Found {
    let judgement = Judgement { now: SystemClock::new().now(), whole: !args.allow_dangling };
    let mut diagnostics = loaded.diagnostics.clone();
    diagnostics.extend(judge(loaded, judgement));
    diagnostics.sort();
    diagnostics.dedup();
    if args.strict {
        for found in &mut diagnostics {
            found.severity = Severity::Error;
        }
    }
    let errors = diagnostics.iter().filter(|found| found.is_error()).count();
    let names = loaded.files.iter().map(|file| file.name.clone()).collect();
    Found {
        valid: errors == 0,
        files: loaded.files.len(),
        resources: loaded.resources.len(),
        foreign: loaded.foreign,
        errors,
        warnings: diagnostics.len() - errors,
        diagnostics,
        names,
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

impl Render for Found {
    fn page(&self, page: &mut Page) {
        for found in &self.diagnostics {
            let tone = if found.is_error() { Tone::Bad } else { Tone::Warn };
            let severity = page.paint(format!("{}:", found.severity), tone);
            page.line(format!("{}:{}:{}: {severity} {}", found.file, found.line, found.column, found.text()));
        }
        let foreign = match self.foreign {
            0 => String::new(),
            count => format!(" ({} of other API groups left out)", counted(count, "document")),
        };
        page.line(format!(
            "{} in {}: {}, {}{foreign}",
            counted(self.resources, "resource"),
            counted(self.files, "file"),
            counted(self.errors, "error"),
            counted(self.warnings, "warning")
        ));
    }

    fn suite(&self) -> Option<Suite> {
        let mut cases: Vec<Case> = self
            .diagnostics
            .iter()
            .map(|found| Case {
                name: if found.resource.is_empty() { found.file.clone() } else { found.resource.clone() },
                result: if found.is_error() { CaseResult::Failed } else { CaseResult::Warned },
                message: found.text(),
                place: Some(Place { file: found.file.clone(), line: found.line as u64, column: found.column as u64 }),
            })
            .collect();
        let good = self.names.iter().filter(|name| !self.diagnostics.iter().any(|found| found.file == **name));
        cases.extend(good.map(|name| Case {
            name: name.clone(),
            result: CaseResult::Passed,
            message: String::new(),
            place: Some(Place { file: name.clone(), line: 1, column: 1 }),
        }));
        Some(Suite { name: "validate".to_owned(), cases })
    }
}
