//! `probegate probe list`, `show`, `history`: what a server or a cluster knows of its probes.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::cluster;
use super::seen::{Seen, millis, several, tone};
use crate::cli::backend::{Place, ResidentArgs};
use crate::cli::output::{Case, CaseResult, Cell, Page, Render, Suite, Table, Tone, ago, instant, lasting};
use crate::cli::{Exit, Global};
use crate::clock::{Clock, SystemClock};
use crate::model::{Labels, ProbeState};
use crate::server::{PastSummary, ProbeDetail, ProbeHistory, ProbeList};

/// Minutes of a past that a person is shown unless there is more to say.
const STEPS_SHOWN: usize = 30;
/// Failures of a target that a person is shown.
const FAILURES_SHOWN: usize = 20;

/// What `list` takes.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only with these labels: `key=value`, with commas between several.
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// Only in this state: up, degraded, down or unknown.
    #[arg(long, value_name = "STATE")]
    pub(super) state: Option<ProbeState>,
    /// At most so many.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(super) limit: u16,
    #[command(flatten)]
    resident: ResidentArgs,
}

/// What `show` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The probe, as NAMESPACE/NAME or NAME.
    probe: String,
    #[command(flatten)]
    resident: ResidentArgs,
}

/// What `history` takes.
#[derive(Debug, clap::Args)]
pub(super) struct History {
    /// The probe, as NAMESPACE/NAME or NAME.
    probe: String,
    /// From when: an instant, or a time before now such as `6h`.
    #[arg(long, value_name = "WHEN", default_value = "1h")]
    since: String,
    /// Until when: an instant, or a time before now. Otherwise now.
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    #[command(flatten)]
    resident: ResidentArgs,
}

impl List {
    /// The labels of `--selector`.
    pub(super) fn labels(&self) -> anyhow::Result<Labels> {
        let pairs = self.selector.iter().flat_map(|text| text.split(',')).filter(|pair| !pair.is_empty());
        let pair = |pair: &str| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.trim_start_matches('=').to_owned())),
            _ => anyhow::bail!("--selector: `{pair}` is no label: write key=value, with commas between several"),
        };
        pairs.map(pair).collect()
    }
}

pub(super) async fn list(args: List, global: &Global) -> anyhow::Result<Exit> {
    let probes = args.resident.clone().with(async |backend| {
        let client = match &backend.place {
            Place::Here(here) => return cluster::list(here, backend, &args).await,
            Place::Remote(client) => client,
        };
        let filters = [
            ("namespace", backend.only().map(str::to_owned)),
            ("selector", args.selector.clone()),
            ("state", args.state.map(|state| state.to_string())),
            ("limit", Some(args.limit.to_string())),
        ];
        let query: Vec<_> = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        Ok(client.get::<ProbeList>(&["v1", "probes"], &query).await?)
    });
    global.printer().print(&Listed { probes: probes.await?, now: SystemClock::new().now() })?;
    Ok(Exit::Pass)
}

pub(super) async fn show(args: Show, global: &Global) -> anyhow::Result<Exit> {
    let probe = args.resident.about(Some(&args.probe)).with(async |backend| {
        let (namespace, name) = backend.full_name(&args.probe);
        match &backend.place {
            Place::Here(here) => cluster::show(here, namespace, name).await,
            Place::Remote(client) => Ok(client.get::<ProbeDetail>(&["v1", "probes", namespace, name], &[]).await?),
        }
    });
    let (probe, verbose) = (probe.await?, global.verbose > 0);
    global.printer().print(&Shown { probe, verbose, now: SystemClock::new().now() })?;
    Ok(Exit::Pass)
}

pub(super) async fn history(args: History, global: &Global) -> anyhow::Result<Exit> {
    let past = args.resident.about(Some(&args.probe)).with(async |backend| {
        let (namespace, name) = backend.full_name(&args.probe);
        let client = match &backend.place {
            Place::Remote(client) => client,
            Place::Here(here) => match here.cluster() {
                Some(terminal) => return Err(cluster::no_past(terminal, namespace, name, &args.since)),
                None => anyhow::bail!("files have no past: say --server URL"),
            },
        };
        let mut query = vec![("since", args.since.clone())];
        query.extend(args.until.clone().map(|until| ("until", until)));
        let known: ProbeHistory = client.get(&["v1", "probes", namespace, name, "history"], &query).await?;
        Ok(Past { title: format!("{namespace}/{name}"), known, verbose: global.verbose > 0 })
    });
    global.printer().print(&past.await?)?;
    Ok(Exit::Pass)
}

/// Probes. Their JSON is that of `GET /v1/probes`.
#[derive(Serialize)]
#[serde(transparent)]
struct Listed {
    probes: ProbeList,
    #[serde(skip)]
    now: Timestamp,
}

impl Render for Listed {
    fn page(&self, page: &mut Page) {
        if self.probes.items.is_empty() {
            page.line("There are no such probes.");
            return;
        }
        let mut table = Table::new(["probe", "kind", "state", "since", "targets up", "reason"]);
        for probe in &self.probes.items {
            let counts = probe.counts;
            let all = counts.up + counts.degraded + counts.down + counts.unknown;
            table.row([
                probe.title().into(),
                probe.kind.as_deref().unwrap_or("invalid").into(),
                Cell::toned(probe.state, tone(probe.state)),
                ago(probe.since, self.now).into(),
                // Of a probe with one address a status tells no targets.
                if all == 0 { String::new() } else { format!("{}/{all}", counts.up) }.into(),
                probe.reason.as_str().into(),
            ]);
        }
        page.table(&table);
        if self.probes.next.is_some() {
            page.line(page.paint("there are more: raise --limit", Tone::Dim));
        }
    }

    fn suite(&self) -> Option<Suite> {
        let cases = self.probes.items.iter().map(|probe| case(probe.title(), probe.state, probe.reason.clone()));
        Some(Suite { name: "probes".to_owned(), cases: cases.collect() })
    }
}

/// A state as a test case.
pub(super) fn case(name: String, state: ProbeState, message: String) -> Case {
    let result = match state {
        ProbeState::Up => CaseResult::Passed,
        ProbeState::Degraded => CaseResult::Warned,
        ProbeState::Down => CaseResult::Failed,
        ProbeState::Unknown => CaseResult::Skipped,
    };
    Case { name, result, message, place: None }
}

/// One probe. Its JSON is that of `GET /v1/probes/{namespace}/{name}`.
#[derive(Serialize)]
#[serde(transparent)]
struct Shown {
    probe: ProbeDetail,
    #[serde(skip)]
    verbose: bool,
    #[serde(skip)]
    now: Timestamp,
}

impl Shown {
    fn head(&self, page: &mut Page) {
        let summary = &self.probe.summary;
        let mut table = Table::plain();
        let mut row = |name: &str, value: String| table.row([Cell::toned(name, Tone::Dim), value.into()]);
        row("kind", summary.kind.clone().unwrap_or_else(|| "invalid".to_owned()));
        row("since", format!("{} ({})", instant(summary.since), ago(summary.since, self.now)));
        if let Some(until) = summary.until {
            row("until", instant(until));
        }
        if let Some(failing) = summary.failing_since {
            row("failing since", instant(failing));
        }
        row("interval", format!("{} s, {} s for a round", summary.interval_seconds, summary.timeout_seconds));
        // Who only reads what the operator writes knows none.
        if summary.rounds > 0 || summary.missed > 0 {
            row("rounds", format!("{}, {} missed", summary.rounds, summary.missed));
        }
        if summary.quorum > 1 {
            row("quorum", format!("{} targets must be down", summary.quorum));
        }
        if summary.flapping {
            row("flapping", "yes".to_owned());
        }
        let labels: Vec<String> = summary.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if !labels.is_empty() {
            row("labels", labels.join(", "));
        }
        page.table(&table);
    }
}

impl Render for Shown {
    fn page(&self, page: &mut Page) {
        let summary = &self.probe.summary;
        let state = page.paint(summary.state.as_str().to_uppercase(), tone(summary.state));
        page.line(format!("{state}  {}", summary.title()));
        page.line(&summary.reason);
        page.gap();
        self.head(page);
        page.gap();
        if let [target] = self.probe.targets.as_slice() {
            match &target.last {
                Some(last) => Seen::read(last).full(&target.target, self.verbose, page),
                None => page.line(format!("{}: no round was made yet", target.target)),
            }
            return;
        }
        let mut table = Table::new(["target", "state", "since", "rounds", "last round"]);
        for target in &self.probe.targets {
            let last = target.last.as_ref().map(|last| Seen::read(last).said()).unwrap_or_default();
            table.row([
                target.target.as_str().into(),
                Cell::toned(target.state, tone(target.state)),
                ago(target.since, self.now).into(),
                target.rounds.into(),
                last.into(),
            ]);
        }
        page.table(&table);
    }

    fn suite(&self) -> Option<Suite> {
        let said = |last: &serde_json::Value| Seen::read(last).said();
        let cases = self.probe.targets.iter().map(|target| {
            case(target.target.clone(), target.state, target.last.as_ref().map(said).unwrap_or_default())
        });
        Some(Suite { name: self.probe.summary.title(), cases: cases.collect() })
    }
}

/// The past of a probe. Its JSON is that of `GET /v1/probes/{namespace}/{name}/history`.
#[derive(Serialize)]
#[serde(transparent)]
struct Past {
    known: ProbeHistory,
    #[serde(skip)]
    title: String,
    #[serde(skip)]
    verbose: bool,
}

fn percent(availability: Option<f64>) -> String {
    availability.map_or_else(|| "nothing known".to_owned(), |share| format!("{:.3} %", share * 100.0))
}

fn summed(summary: &PastSummary, page: &mut Page) {
    let mut table = Table::plain();
    let mut row = |name: &str, value: String| table.row([Cell::toned(name, Tone::Dim), value.into()]);
    let window = &summary.window;
    let length = lasting(window.to.duration_since(window.from).max(SignedDuration::ZERO));
    row("window", format!("{} to {} ({length})", instant(window.from), instant(window.to)));
    row("availability", percent(summary.availability));
    row(
        "rounds",
        format!(
            "{}: {} good, {} degraded, {} failed, {} in trouble; {} missed",
            summary.rounds, summary.good, summary.degraded, summary.failed, summary.trouble, summary.missed
        ),
    );
    if let Some(latency) = &summary.latency {
        let [p50, p90, p99, max] = [latency.p50, latency.p90, latency.p99, latency.max].map(millis);
        row("latency", format!("p50 {p50}, p90 {p90}, p99 {p99}, most {max}"));
    }
    for (name, at) in [("first failure", summary.first_failure), ("last failure", summary.last_failure)] {
        if let Some(at) = at {
            row(name, instant(at));
        }
    }
    page.table(&table);
}

impl Render for Past {
    fn page(&self, page: &mut Page) {
        page.line(page.paint(&self.title, Tone::Strong));
        summed(&self.known.summary, page);
        if !self.known.turns.is_empty() {
            page.gap();
            let mut table = Table::new(["at", "from", "to", "reason"]);
            for turn in &self.known.turns {
                let (from, to) = (Cell::toned(turn.from, tone(turn.from)), Cell::toned(turn.to, tone(turn.to)));
                table.row([instant(turn.at).into(), from, to, turn.reason.as_str().into()]);
            }
            page.table(&table);
        }
        for target in &self.known.targets {
            page.gap();
            page.line(page.paint(&target.target, Tone::Strong));
            if self.known.targets.len() > 1 {
                summed(&target.summary, page);
            }
            let shown = if self.verbose { target.steps.len() } else { STEPS_SHOWN };
            let mut table = Table::new(["from", "rounds", "failed", "availability", "p50", "p99"]);
            for step in target.steps.iter().skip(target.steps.len().saturating_sub(shown)) {
                let latency = step.summary.latency.as_ref();
                table.row([
                    instant(step.from).into(),
                    step.summary.rounds.into(),
                    step.summary.failed.into(),
                    percent(step.summary.availability).into(),
                    latency.map(|latency| millis(latency.p50)).unwrap_or_default().into(),
                    latency.map(|latency| millis(latency.p99)).unwrap_or_default().into(),
                ]);
            }
            page.table(&table);
            let mut table = Table::new(["failed at", "reason", "phase", "what"]);
            let shown = if self.verbose { target.failures.len() } else { FAILURES_SHOWN };
            for failure in target.failures.iter().skip(target.failures.len().saturating_sub(shown)) {
                table.row([
                    instant(failure.at).into(),
                    failure.reason.as_str().into(),
                    failure.phase.as_deref().unwrap_or_default().into(),
                    failure.message.as_str().into(),
                ]);
            }
            page.table(&table);
        }
    }
}

/// Rounds that a server was asked for. Their JSON is that of `POST /v1/probes/{name}/run`.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Made {
    /// What was made.
    pub(super) made: crate::server::ProbeRuns,
    #[serde(skip)]
    /// Whether the log is shown, too.
    pub(super) verbose: bool,
}

impl Render for Made {
    fn page(&self, page: &mut Page) {
        let made = &self.made;
        if let [run] = made.runs.as_slice() {
            Seen::read(&run.result).full(&made.probe, self.verbose, page);
            page.gap();
            page.line(page.paint(format!("run {}", run.id), Tone::Dim));
            return;
        }
        several(made.runs.iter().map(|run| (run.id.as_str(), run.target.as_str(), Seen::read(&run.result))), page);
    }

    fn suite(&self) -> Option<Suite> {
        let cases = self.made.runs.iter().map(|run| {
            let seen = Seen::read(&run.result);
            case(run.target.clone(), seen.state, seen.said())
        });
        Some(Suite { name: self.made.probe.clone(), cases: cases.collect() })
    }
}
