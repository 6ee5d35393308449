//! `probegate rule list` and `probegate rule show`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Origin;
use crate::cli::output::{Page, Render, Table, Tone};
use crate::cli::{Exit, Global};
use crate::rules::{Parameter, Rule};

/// What `list` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    origin: Origin,
}

/// What `show` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// The rule, such as `rules/weekend.rhai`.
    rule: String,
    #[command(flatten)]
    origin: Origin,
}

/// One rule as it is listed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    rule: String,
    hash: String,
    ready_made: bool,
    description: String,
    parameters: BTreeMap<String, Parameter>,
    imports: Vec<String>,
}

impl Listed {
    fn of(rule: &Rule) -> Self {
        Self {
            rule: rule.path().to_owned(),
            hash: rule.hash().to_owned(),
            ready_made: rule.is_builtin(),
            description: rule.description().to_owned(),
            parameters: rule.parameters().clone(),
            imports: rule.imports().map(str::to_owned).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct List {
    rules: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    rule: Listed,
    text: String,
}

pub(super) fn list(args: &ListArgs, global: &Global) -> anyhow::Result<Exit> {
    let library = args.origin.library()?;
    global.printer().print(&List { rules: library.rules().map(|rule| Listed::of(rule)).collect() })?;
    Ok(Exit::Pass)
}

pub(super) fn show(args: &ShowArgs, global: &Global) -> anyhow::Result<Exit> {
    let library = args.origin.library()?;
    let rule = library.rule(&args.rule).map_err(anyhow::Error::msg)?;
    global.printer().print(&Shown { rule: Listed::of(rule), text: rule.text().to_owned() })?;
    Ok(Exit::Pass)
}

/// The value that a parameter has where none is given, as it is shown.
fn default_of(parameter: &Parameter) -> String {
    match &parameter.default {
        Some(value) => value.to_string(),
        None if parameter.optional => "-".to_owned(),
        None => "(required)".to_owned(),
    }
}

impl Render for List {
    fn page(&self, page: &mut Page) {
        let mut table = Table::new(["RULE", "VERSION", "PARAMETERS", "WHAT IT DOES"]);
        for rule in &self.rules {
            let names = rule.parameters.keys().cloned().collect::<Vec<_>>().join(", ");
            let first = rule.description.split_inclusive(". ").next().unwrap_or_default().trim().to_owned();
            table.row([rule.rule.clone().into(), rule.hash.clone().into(), names.into(), first.into()]);
        }
        page.table(&table);
    }
}

impl Render for Shown {
    fn page(&self, page: &mut Page) {
        let heading = page.paint(&self.rule.rule, Tone::Strong);
        page.line(format!("{heading}  version {}", self.rule.hash));
        page.line(&self.rule.description);
        page.gap();
        let mut table = Table::new(["PARAMETER", "TYPE", "DEFAULT", "MEANING"]);
        for (name, parameter) in &self.rule.parameters {
            let default = default_of(parameter);
            table.row([name.into(), parameter.kind.into(), default.into(), parameter.help.clone().into()]);
        }
        page.table(&table);
        page.gap();
        page.line(self.text.trim_end());
    }
}
