//! `probegate demo`: three changes through a gate, told as it happens, with a report at the end.

use std::path::PathBuf;

use anyhow::Context;
use jiff::SignedDuration;
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::output::{Case, CaseResult, Cell, Page, Printer, Render, Suite, Table, Tone, instant, lasting};
use super::{Exit, Global};
use crate::demo::{Demo, Event, Report, Stage, Step};
use crate::model::{Action, Outcome, Verdict};

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Leave the server up at the end, with commands to try, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Where to write the files [default: a new directory for temporary files].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) async fn run(args: Args, global: &Global) -> anyhow::Result<Exit> {
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let printer = global.printer();
    let telling = printer.for_people() && !global.quiet;
    let directory = match args.dir {
        Some(directory) => directory,
        // Kept: the reader is invited to open the files.
        None => {
            tempfile::Builder::new().prefix("probegate-demo-").tempdir().context("while making a directory")?.keep()
        }
    };
    let demo = Demo::start(directory, stop.clone()).await?;
    if telling {
        tell(printer, |page| opening(page, demo.stage()));
    }
    let mut events = |event: Event| {
        if telling {
            tell(printer, |page| show(page, &event));
        }
    };
    let report = demo.play(&mut events).await?;
    let exit = if report.as_expected() { Exit::Pass } else { Exit::Block };
    let stage = report.stage.clone();
    printer.print(&Told { report })?;
    if args.keep {
        if telling {
            tell(printer, |page| invitation(page, &stage));
        }
        tokio::signal::ctrl_c().await.context("while waiting for Ctrl-C")?;
    }
    demo.end().await?;
    Ok(exit)
}

/// Prints a piece of the story at once. Where nobody reads any more, the story goes on untold.
fn tell(printer: Printer, write: impl FnOnce(&mut Page)) {
    let mut page = printer.page();
    write(&mut page);
    let _ = Printer::write(&page.into_text());
}

fn opening(page: &mut Page, stage: &Stage) {
    page.line(page.paint("Probegate demo: three changes, one gate", Tone::Strong));
    page.gap();
    page.line("Two real services run in this process: the old revision and the canary. A gate stands in");
    page.line("front of every batch; its resources are files that you can open:");
    page.gap();
    let mut table = Table::plain();
    for (name, place) in
        [("files", &stage.files), ("gate", &stage.server), ("old", &stage.baseline), ("canary", &stage.canary)]
    {
        table.row([Cell::toned(name, Tone::Dim), place.as_str().into()]);
    }
    page.table(&table);
}

fn show(page: &mut Page, event: &Event) {
    match event {
        Event::Change { title, detail } => {
            page.gap();
            page.line(page.paint(title, Tone::Strong));
            page.line(format!("  {detail}"));
        }
        Event::Told(text) => page.line(format!("  {}", page.paint(format!("· {text}"), Tone::Dim))),
        Event::Asked(step) => show_step(page, step),
    }
}

fn show_step(page: &mut Page, step: &Step) {
    let verdict = page.paint(format!("{:5}", step.verdict.as_str()), step.verdict);
    let took = page.paint(format!("{:.1}s", step.took_ms as f64 / 1_000.0), Tone::Dim);
    let what = if step.action == Action::Rollback {
        "rollback    ".to_owned()
    } else {
        format!("{:4} batch {}/{}", step.point.as_str(), step.batch.index, step.batch.total)
    };
    page.line(format!("  {what}  {verdict}  {took}  {}", step.reason));
    if step.verdict == Verdict::Pass {
        return;
    }
    // The reason says what the deciding check says; this is what it saw.
    let decisive = step
        .evidence
        .iter()
        .filter(|evidence| step.reason.contains(&evidence.summary) || evidence.outcome == Outcome::Fail);
    for evidence in decisive {
        for (name, value) in evidence.saw.iter().filter_map(Value::as_object).flatten() {
            page.line(format!("      {} {}", page.paint(format!("{name}:"), Tone::Dim), plain(value)));
        }
    }
    if let (Verdict::Wait, Some(until)) = (step.verdict, step.until) {
        page.line(format!("      opens at {}", instant(until)));
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn invitation(page: &mut Page, stage: &Stage) {
    let (server, canary) = (&stage.server, &stage.canary);
    page.gap();
    page.line(page.paint("The server stays up. Try these, and end it with Ctrl-C:", Tone::Strong));
    page.line("  # ask the gate yourself");
    page.line(format!("  curl -s '{server}v1/check?wait=20s' -H 'content-type: application/json' -d '{QUESTION}'"));
    page.line("  # put a fault into the canary, and ask again with another change");
    page.line(format!("  curl -s {canary}faults -H 'content-type: application/json' -d '{{\"errorEvery\": 2}}'"));
    page.line("  # read what was decided, with the evidence");
    page.line(format!("  probegate run list --server {server}"));
    page.line("  # edit the gate: the next run follows it");
    page.line(format!("  $EDITOR {}/gate.yaml", stage.files));
    page.line("  # health and metrics");
    page.line(format!("  curl -s '{}readyz?verbose'; curl -s {}metrics", stage.admin, stage.admin));
}

const QUESTION: &str = r#"{"gate":"demo/shop","change":{"id":"mine-1","target":"checkout","revision":"v50","actor":"me"},"batch":{"index":1,"total":2,"percent":10},"point":"post"}"#;

/// The report at the end. Its JSON has every question with its evidence.
struct Told {
    report: Report,
}

impl Serialize for Told {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.report.serialize(serializer)
    }
}

impl Render for Told {
    fn page(&self, page: &mut Page) {
        page.gap();
        page.line(page.paint("Report", Tone::Strong));
        let mut table = Table::new(["change", "batch", "point", "verdict", "evidence", "reason", "run"]);
        for step in &self.report.steps {
            let what = match step.action {
                Action::Release => format!("{} {}", step.target, step.revision),
                action => format!("{} {action} to {}", step.target, step.revision),
            };
            table.row([
                what.into(),
                format!("{}/{} ({}%)", step.batch.index, step.batch.total, step.batch.percent).into(),
                step.point.into(),
                Cell::toned(step.verdict, step.verdict),
                evidence_of(step).into(),
                step.reason.as_str().into(),
                step.run.as_str().into(),
            ]);
        }
        page.table(&table);
        page.gap();
        page.line(page.paint("What the probes saw meanwhile", Tone::Strong));
        let mut table =
            Table::new(["probe", "kind", "targets", "state", "rounds", "failed", "missed", "p99", "reason"]);
        for probe in &self.report.probes {
            table.row([
                probe.name.as_str().into(),
                probe.kind.as_str().into(),
                probe.targets.to_string().into(),
                Cell::toned(probe.state, probe.state),
                probe.rounds.to_string().into(),
                probe.failed.to_string().into(),
                probe.missed.to_string().into(),
                probe.p99_ms.map_or_else(|| "-".to_owned(), |millis| format!("{millis:.1} ms")).into(),
                probe.reason.as_str().into(),
            ]);
        }
        page.table(&table);
        page.gap();
        let took = lasting(SignedDuration::from_millis(i64::try_from(self.report.took_ms).unwrap_or(i64::MAX)));
        let count = self.report.steps.len();
        if self.report.as_expected() {
            page.line(format!("{count} questions in {took}; every answer was what it should be."));
        } else {
            page.line(
                page.paint(format!("{count} questions in {took}; not every answer was what it should be:"), Tone::Bad),
            );
            for step in self.report.steps.iter().filter(|step| step.verdict != step.expected) {
                page.line(format!("  run {} says {} and should say {}", step.run, step.verdict, step.expected));
            }
        }
        page.line(format!("Gate, probes, windows and rule: {}", self.report.stage.files));
    }

    fn suite(&self) -> Option<Suite> {
        let case = |step: &Step| Case {
            name: format!("{} {} batch {}", step.change, step.point, step.batch.index),
            result: if step.verdict == step.expected { CaseResult::Passed } else { CaseResult::Failed },
            message: format!("{} (expected {}): {}", step.verdict, step.expected, step.reason),
            place: None,
        };
        Some(Suite { name: "demo".to_owned(), cases: self.report.steps.iter().map(case).collect() })
    }
}

/// What decided, in a few words; the reason says the rest.
fn evidence_of(step: &Step) -> String {
    let parts = step.evidence.iter().map(|evidence| format!("{} {}", evidence.check, evidence.outcome));
    parts.collect::<Vec<_>>().join(", ")
}
