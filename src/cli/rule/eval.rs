//! `probegate rule eval`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Origin, read_text};
use crate::cli::output::{Page, Render, Tone, instant};
use crate::cli::{Exit, Global};
use crate::clock::{Clock, SystemClock};
use crate::model::Outcome;
use crate::rules::{Decided, ExampleFacts, MAX_RULE_BYTES};

/// What the verb takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The rule, such as `rules/weekend.rhai`.
    rule: String,
    #[command(flatten)]
    origin: Origin,
    /// The facts, as examples have them: YAML or JSON; `-` reads standard input. What is not given
    /// has a plain default.
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
    /// A parameter of the rule; the value is YAML.
    #[arg(short, long = "parameter", value_name = "KEY=VALUE")]
    parameters: Vec<String>,
    /// The instant to decide at, such as 2026-11-21T10:00:00Z. Default: that of the facts, or now.
    #[arg(long, value_name = "INSTANT")]
    at: Option<Timestamp>,
}

/// The decision as it is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    rule: String,
    hash: String,
    outcome: Outcome,
    decision: &'static str,
    reason: String,
    until: Option<Timestamp>,
    at: Timestamp,
    parameters: Map<String, Value>,
    looked_up: Vec<Value>,
    log: Vec<String>,
}

pub(super) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    let library = args.origin.library()?;
    let rule = library.rule(&args.rule).map_err(anyhow::Error::msg)?;
    let parameters = args.parameters.iter().map(|text| parameter(text)).collect::<Result<BTreeMap<_, _>, _>>()?;
    let bound = rule.bind(&parameters).map_err(|errors| {
        anyhow::anyhow!("{}: {}", rule.path(), errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    let mut facts = facts(args)?;
    if args.at.is_some() {
        facts.now = args.at;
    }
    let facts = Arc::new(facts.into_facts(Some(SystemClock::new().now())));
    let Decided { decision, looked_up, log, .. } = bound.decide(Arc::clone(&facts));
    let answer = Answer {
        rule: rule.path().to_owned(),
        hash: rule.hash().to_owned(),
        outcome: decision.outcome(),
        decision: decision.word(),
        reason: decision.why().to_owned(),
        until: decision.until(),
        at: facts.now,
        parameters: bound.parameters().clone(),
        looked_up,
        log,
    };
    global.printer().print(&answer)?;
    Ok(match answer.outcome {
        Outcome::Pass => Exit::Pass,
        Outcome::Fail => Exit::Block,
        Outcome::Pending | Outcome::Unknown => Exit::Wait,
    })
}

fn facts(args: &Args) -> anyhow::Result<ExampleFacts> {
    let Some(path) = &args.facts else {
        return Ok(ExampleFacts::default());
    };
    let text = if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin()
            .take(MAX_RULE_BYTES as u64 * 16)
            .read_to_string(&mut text)
            .context("while reading the facts from standard input")?;
        text
    } else {
        read_text(path)?
    };
    serde_saphyr::from_str(&text).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

fn parameter(text: &str) -> anyhow::Result<(String, Value)> {
    let (key, value) =
        text.split_once('=').with_context(|| format!("`{text}` is not a parameter such as `max=3` or `days=[sat]`"))?;
    let value = serde_saphyr::from_str(value).map_err(|error| anyhow::anyhow!("parameter `{key}`: {error}"))?;
    Ok((key.to_owned(), value))
}

impl Render for Answer {
    fn page(&self, page: &mut Page) {
        let tone: Tone = self.outcome.into();
        let word = page.paint(self.decision, tone);
        let until = self.until.map(|until| format!(" until {}", instant(until))).unwrap_or_default();
        let colon = if self.reason.is_empty() { "" } else { ": " };
        page.line(format!("{word}{until}{colon}{}", self.reason));
        page.line(format!("rule {} version {}, at {}", self.rule, self.hash, instant(self.at)));
        for (name, value) in &self.parameters {
            page.line(format!("  {name}: {value}"));
        }
        for looked_up in &self.looked_up {
            page.line(format!("looked up {looked_up}"));
        }
        for line in &self.log {
            page.line(format!("printed: {line}"));
        }
    }
}
