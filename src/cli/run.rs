//! `probegate run`: looks at runs, follows one, cancels one.

use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::backend::{Backend, BackendArgs, Place};
use super::output::{Case, CaseResult, Cell, Page, Progress, Render, Suite, Table, Tone, ago, instant};
use super::{Exit, Global};
use crate::api::{CheckStatus, GateRun, name_of, namespace_of};
use crate::clock::{Clock, SystemClock};
use crate::engine::{Answer, Ask};
use crate::model::{Outcome, Verdict};
use crate::server::{RunList, RunSummary};
use crate::store::{Query, StoreExt};

/// How often a followed run is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Runs that are read at once.
const PAGE: usize = 200;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List runs, newest first.
    List(List),
    /// Show one run with its evidence.
    Show(One),
    /// Follow a run until its verdict, and exit with it.
    Watch(One),
    /// End an open run: its verdict is block.
    Cancel(Cancel),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only of this gate, as NAMESPACE/NAME.
    #[arg(long, value_name = "GATE")]
    gate: Option<String>,
    /// Only of this change.
    #[arg(long, value_name = "ID")]
    change: Option<String>,
    /// Only with this verdict: pass, block or wait.
    #[arg(long, value_name = "VERDICT")]
    verdict: Option<Verdict>,
    /// At most so many.
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    #[command(flatten)]
    backend: BackendArgs,
}

#[derive(Debug, clap::Args)]
struct One {
    /// The run, as NAMESPACE/NAME or NAME.
    run: String,
    #[command(flatten)]
    backend: BackendArgs,
}

#[derive(Debug, clap::Args)]
struct Cancel {
    /// The run, as NAMESPACE/NAME or NAME.
    run: String,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    backend: BackendArgs,
}

pub(super) async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    match args.command {
        Command::List(list) => {
            let backend = list.backend.clone().about(list.gate.as_deref());
            let runs = backend.with(async |backend| list.read(backend).await).await?;
            global.printer().print(&Runs { runs, now: SystemClock::new().now() })?;
            Ok(Exit::Pass)
        }
        Command::Show(one) => {
            let run = one.backend.about(Some(&one.run)).with(async |backend| find(backend, &one.run).await).await?;
            global.printer().print(&Shown { run })?;
            Ok(Exit::Pass)
        }
        Command::Watch(one) => watch(one, global).await,
        Command::Cancel(cancel) => {
            let backend = cancel.backend.clone().about(Some(&cancel.run));
            let answer = backend.with(async |backend| cancel.end(backend).await).await?;
            let done = answer.verdict == Verdict::Block;
            global.printer().print(&Cancelled { answer })?;
            Ok(if done { Exit::Pass } else { Exit::Wait })
        }
    }
}

async fn find(backend: &Backend, run: &str) -> anyhow::Result<GateRun> {
    let (namespace, name) = backend.full_name(run);
    match &backend.place {
        Place::Remote(client) => Ok(client.get(&["v1", "runs", namespace, name], &[]).await?),
        Place::Here(here) => {
            here.store().get_as(namespace, name).await?.with_context(|| {
                format!("there is no run {namespace}/{name}; `probegate run list` shows which there are")
            })
        }
    }
}

async fn watch(one: One, global: &Global) -> anyhow::Result<Exit> {
    let mut progress = Progress::new(global.quiet || !global.printer().for_people());
    let decided = one.backend.about(Some(&one.run)).with(async |backend| {
        loop {
            let run = find(backend, &one.run).await?;
            let status = run.status.as_ref();
            if status.is_some_and(|status| status.decided_at.is_some()) {
                return anyhow::Ok(run);
            }
            progress.say(&format!("wait: {}", status.map_or("not begun yet", |status| status.reason.as_str())));
            tokio::time::sleep(LOOK).await;
        }
    });
    let run = decided.await?;
    progress.finish();
    let verdict = run.status.as_ref().map_or(Verdict::Wait, |status| status.verdict);
    global.printer().print(&Shown { run })?;
    Ok(verdict.into())
}

impl List {
    async fn read(&self, backend: &Backend) -> anyhow::Result<RunList> {
        if let Place::Remote(client) = &backend.place {
            let filters = [
                ("gate", self.gate.clone()),
                ("change", self.change.clone()),
                ("verdict", self.verdict.map(|verdict| verdict.to_string())),
                ("limit", Some(self.limit.to_string())),
            ];
            let query: Vec<_> = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            let mut runs: RunList = client.get(&["v1", "runs"], &query).await?;
            runs.items.retain(|run| backend.shows(namespace_in(&run.id)));
            return Ok(runs);
        }
        let Place::Here(here) = &backend.place else { return Ok(RunList { items: Vec::new(), next: None }) };
        let limit = usize::from(self.limit);
        let mut items = Vec::new();
        let namespace = backend.only().map(str::to_owned);
        let mut query = Query { namespace, limit: PAGE, brief: true, ..Query::default() };
        loop {
            let page = here.store().list_as::<GateRun>(&query).await?;
            items.extend(page.items.iter().map(RunSummary::of).filter(|run| self.takes(run)));
            match page.next {
                Some(next) if items.len() < limit => query.after = Some(next),
                _ => break,
            }
        }
        items.truncate(limit);
        Ok(RunList { items, next: None })
    }

    fn takes(&self, run: &RunSummary) -> bool {
        let of_gate =
            |gate: &String| run.gate == *gate || run.gate.split_once('/').is_some_and(|(_, name)| name == gate);
        self.gate.as_ref().is_none_or(of_gate)
            && self.change.as_ref().is_none_or(|change| *change == run.change.id)
            && self.verdict.is_none_or(|verdict| verdict == run.verdict)
    }
}

/// The namespace of a full name.
fn namespace_in(id: &str) -> &str {
    id.split_once('/').map_or("", |(namespace, _)| namespace)
}

impl Cancel {
    async fn end(&self, backend: &Backend) -> anyhow::Result<Answer> {
        let (namespace, name) = backend.full_name(&self.run);
        match &backend.place {
            Place::Remote(client) => {
                let path = ["v1", "runs", namespace, name, "cancel"];
                Ok(client.post(&path, &json!({"reason": self.reason})).await?)
            }
            Place::Here(here) => {
                if let Some(cluster) = here.cluster() {
                    cluster.require("update", "gateruns", namespace, "probegate-caller").await?;
                }
                let actor = here.user().await.unwrap_or_else(|| "somebody at a terminal".to_owned());
                let mut answer = here.engine().cancel(namespace, name, &actor, &self.reason).await?;
                if let Some(cluster) = here.cluster().filter(|_| answer.verdict == Verdict::Wait)
                    && let Some(why) = cluster.leaderless().await
                {
                    answer.reason = format!("the wish is written, and no operator leads: {why}");
                }
                Ok(answer)
            }
        }
    }
}

/// A list of runs. Its JSON is that of `GET /v1/runs`.
struct Runs {
    runs: RunList,
    now: Timestamp,
}

impl Serialize for Runs {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.runs.serialize(serializer)
    }
}

impl Render for Runs {
    fn page(&self, page: &mut Page) {
        if self.runs.items.is_empty() {
            page.line("There are no such runs.");
            return;
        }
        let mut table = Table::new(["run", "change", "batch", "point", "verdict", "created", "reason"]);
        for run in &self.runs.items {
            let void = if run.void { " (void)" } else { "" };
            table.row([
                run.id.as_str().into(),
                format!("{} {}", run.change.id, run.change.revision).into(),
                format!("{}/{}", run.batch.index, run.batch.total).into(),
                run.point.into(),
                Cell::toned(format!("{}{void}", run.verdict), run.verdict),
                run.created_at.map(|at| ago(at, self.now)).unwrap_or_default().into(),
                run.reason.as_str().into(),
            ]);
        }
        page.table(&table);
        if self.runs.next.is_some() {
            page.line(page.paint("there are more: raise --limit", Tone::Dim));
        }
    }
}

/// One run. Its JSON is the whole resource.
struct Shown {
    run: GateRun,
}

impl Serialize for Shown {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.run.serialize(serializer)
    }
}

impl Shown {
    fn checks(&self) -> &[CheckStatus] {
        self.run.status.as_ref().map(|status| status.checks.as_slice()).unwrap_or_default()
    }

    fn head(&self, page: &mut Page) {
        let spec = &self.run.spec;
        let mut table = Table::plain();
        let mut row = |name: &str, value: String| table.row([Cell::toned(name, Tone::Dim), value.into()]);
        row("run", format!("{}/{}", namespace_of(&self.run), name_of(&self.run)));
        row("gate", format!("{}/{}", namespace_of(&self.run), spec.gate));
        row(
            "change",
            format!("{} {} of {} to {}", spec.change.id, spec.change.action, spec.change.target, spec.change.revision),
        );
        row("asked by", format!("{} ({})", spec.change.actor, spec.change.invoker));
        row("batch", format!("{} of {} ({}%), {}", spec.batch.index, spec.batch.total, spec.batch.percent, spec.point));
        if let Some(status) = &self.run.status {
            row("attempt", status.attempt.to_string());
            let times = [("started", status.started_at), ("decided", status.decided_at), ("until", status.until)];
            for (name, at) in times {
                if let Some(at) = at {
                    row(name, instant(at));
                }
            }
            if let Some(voided) = &status.voided {
                row("void", format!("revision {} came at {}", voided.revision, instant(voided.at)));
            }
            for used in &status.overrides {
                row("override", format!("{} by {}: {}", used.name, used.actor, used.reason));
            }
            if !status.decided_with.is_empty() {
                row("decided with", status.decided_with.clone());
            }
        }
        page.table(&table);
    }
}

impl Render for Shown {
    fn page(&self, page: &mut Page) {
        let (verdict, reason) = match &self.run.status {
            Some(status) => (status.verdict, status.reason.as_str()),
            None => (Verdict::Wait, "not begun yet"),
        };
        page.line(format!("{}  {reason}", page.paint(verdict.as_str().to_uppercase(), verdict)));
        self.head(page);
        let mut table = Table::new(["check", "kind", "outcome", "mode", "executed", "summary"]);
        for check in self.checks() {
            table.row([
                check.name.as_str().into(),
                check.kind.as_str().into(),
                Cell::toned(check.outcome, check.outcome),
                check.mode.into(),
                check.executions.into(),
                check.summary.as_str().into(),
            ]);
        }
        page.gap();
        page.table(&table);
        let seen = self.checks().iter().filter(|check| !check.evidence.is_empty());
        for check in seen {
            page.gap();
            page.line(page.paint(format!("What {} saw", check.name), Tone::Strong));
            let mut table = Table::plain();
            for (name, value) in &check.evidence {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                table.row([Cell::toned(name, Tone::Dim), text.into()]);
            }
            page.table(&table);
        }
    }

    fn suite(&self) -> Option<Suite> {
        let case = |check: &CheckStatus| Case {
            name: check.name.clone(),
            result: match (check.outcome, check.mode) {
                (Outcome::Pass, _) | (_, crate::model::Mode::Shadow) => CaseResult::Passed,
                (_, crate::model::Mode::Advise) => CaseResult::Warned,
                (Outcome::Fail, _) => CaseResult::Failed,
                (Outcome::Unknown | Outcome::Pending, _) => CaseResult::Skipped,
            },
            message: format!("{}: {}", check.outcome, check.summary),
            place: None,
        };
        let cases = self.checks().iter().map(case).collect();
        Some(Suite { name: format!("{}/{}", namespace_of(&self.run), name_of(&self.run)), cases })
    }
}

/// What became of a cancelled run.
struct Cancelled {
    answer: Answer,
}

impl Serialize for Cancelled {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.answer.serialize(serializer)
    }
}

impl Render for Cancelled {
    fn page(&self, page: &mut Page) {
        let verdict = page.paint(self.answer.verdict.as_str().to_uppercase(), self.answer.verdict);
        page.line(format!("{verdict}  {}", self.answer.reason));
        page.line(page.paint(format!("run {}", self.answer.id), Tone::Dim));
    }
}
