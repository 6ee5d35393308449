//! The kind `probes`: selected probes must be up.
//!
//! Labels select in all namespaces (a control plane's probes seldom stand beside the gate), and
//! `probegate.io/namespace` narrows them; names select in the gate's own. A probe that is down
//! fails at once. One that is up counts when it has made its rounds since the run began and is not
//! failing just now; what it did before says nothing about this batch. Without rounds nothing is
//! known: pending while they can still come, unknown after that.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Check, CompileError, Context, Kind};
use crate::api::{self, CheckKind};
use crate::model::{Evidence, ProbeState, Report};
use crate::probes::{Board, Judgement, ProbeSelector, ProbeView, Reason, Round};

/// The probes that stand in the evidence one by one; of more only the worst.
const MAX_PROBES_SHOWN: usize = 50;
/// The run ids of one probe that stand in the evidence; of more only the last.
const MAX_RUNS_SHOWN: usize = 20;
/// The probes that a summary names.
const MAX_NAMED: usize = 3;
/// How soon a pending check looks again, at the soonest and at the latest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// The kind; it reads from a board.
#[derive(Clone)]
pub struct ProbesKind {
    board: Board,
}

impl ProbesKind {
    /// Checks over the probes of `board`.
    #[must_use]
    pub const fn new(board: Board) -> Self {
        Self { board }
    }
}

impl Kind for ProbesKind {
    fn name(&self) -> &'static str {
        "probes"
    }

    fn compile(&self, check: &api::Check, namespace: &str) -> Result<Arc<dyn Check>, CompileError> {
        let error = |field: &str, why: String| CompileError { field: format!("probes{field}"), why };
        let Some(CheckKind::Probes(spec)) = check.kind() else {
            return Err(error("", "this is no probes check".to_owned()));
        };
        if spec.selector.is_empty() && spec.match_expressions.is_empty() && spec.names.is_empty() {
            return Err(error("", "say which probes: selector, matchExpressions or names".to_owned()));
        }
        for expression in &spec.match_expressions {
            expression.check().map_err(|why| error(".matchExpressions", why.to_string()))?;
        }
        let selector = ProbeSelector {
            labels: spec.selector.clone(),
            expressions: spec.match_expressions.clone(),
            namespace: namespace.to_owned(),
            names: spec.names.clone(),
        };
        let rounds = spec.rounds.unwrap_or(1).max(1) as usize;
        Ok(Arc::new(ProbesCheck { selector, rounds, board: self.board.clone() }))
    }
}

struct ProbesCheck {
    selector: ProbeSelector,
    /// The least number of rounds since the run began.
    rounds: usize,
    board: Board,
}

/// Where one probe stands for this run; the order is that of importance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Fails,
    Unknown,
    Pending,
    Degraded,
    Good,
}

struct Judged {
    standing: Standing,
    /// What is to be said of it.
    what: String,
    probe: ProbeView,
    /// Its rounds since the run began.
    rounds: Vec<Round>,
    first_failure: Option<Round>,
}

#[async_trait]
impl Check for ProbesCheck {
    async fn execute(&self, context: &Context) -> Report {
        if !self.board.synced() {
            return Report { again: again(AGAIN.0), ..Report::pending("the probes are not known yet") };
        }
        let probes = self.board.states(&self.selector);
        let missing = self.missing(&probes);
        if probes.is_empty() && missing.is_empty() {
            return Report::unknown("no probe is selected").with("selector", self.selector_shown());
        }
        let mut judged: Vec<Judged> = probes.into_iter().map(|probe| self.judge(probe, context)).collect();
        judged.sort_by(|a, b| {
            (a.standing, &a.probe.namespace, &a.probe.name).cmp(&(b.standing, &b.probe.namespace, &b.probe.name))
        });
        Report { evidence: self.evidence(&judged, &missing), ..Self::conclude(&judged, &missing) }
    }

    /// Wakes when a selected probe turns, comes or goes.
    async fn changed(&self) {
        let mut versions = self.board.changes();
        let before = self.digest();
        loop {
            if versions.changed().await.is_err() {
                return std::future::pending().await;
            }
            if self.digest() != before {
                return;
            }
        }
    }
}

impl ProbesCheck {
    fn digest(&self) -> Vec<(String, String, ProbeState)> {
        self.board.states(&self.selector).into_iter().map(|probe| (probe.namespace, probe.name, probe.state)).collect()
    }

    /// Probes that are named and do not exist.
    fn missing(&self, probes: &[ProbeView]) -> Vec<String> {
        let namespace = &self.selector.namespace;
        let there = |name: &String| probes.iter().any(|probe| probe.namespace == *namespace && probe.name == *name);
        self.selector.names.iter().filter(|name| !there(name)).map(|name| format!("{namespace}/{name}")).collect()
    }

    fn judge(&self, probe: ProbeView, context: &Context) -> Judged {
        let rounds = self.board.rounds_since(&probe.namespace, &probe.name, context.started_at);
        let told = rounds.iter().filter(|round| round.judgement != Judgement::Trouble).count();
        let (standing, what) = self.standing(&probe, told, context);
        let from = probe.failing_since.map_or(context.started_at, |since| since.min(context.started_at));
        let first_failure = self
            .board
            .rounds_since(&probe.namespace, &probe.name, from)
            .into_iter()
            .find(|round| round.judgement == Judgement::Failed);
        Judged { standing, what, probe, rounds, first_failure }
    }

    fn standing(&self, probe: &ProbeView, told: usize, context: &Context) -> (Standing, String) {
        if let Some(invalid) = &probe.invalid {
            return (Standing::Unknown, format!("cannot be probed: {invalid}"));
        }
        // Rounds that have begun before the run do not count, and the next one may have begun just
        // before; then it takes as many as are asked for, and those that turn a failing probe.
        let wanted = u32::try_from(self.rounds).unwrap_or(u32::MAX).saturating_add(probe.failures).saturating_add(1);
        let by = SignedDuration::try_from(probe.interval.saturating_mul(wanted) + probe.timeout);
        let over = by.is_ok_and(|by| context.now.duration_since(context.started_at) > by);
        let lacking = format!("{told} of {} rounds since the run began", self.rounds);
        match probe.state {
            ProbeState::Down => (Standing::Fails, format!("is down since {}: {}", second(probe.since), probe.reason)),
            ProbeState::Unknown if probe.warming_up && !over => {
                (Standing::Pending, format!("is not known yet ({lacking})"))
            }
            ProbeState::Unknown => {
                (Standing::Unknown, format!("is unknown since {}: {}", second(probe.since), probe.reason))
            }
            ProbeState::Up | ProbeState::Degraded if told < self.rounds => {
                (if over { Standing::Unknown } else { Standing::Pending }, format!("has made {lacking}"))
            }
            ProbeState::Up | ProbeState::Degraded if probe.failing_since.is_some() => {
                let reason = probe.last.as_ref().and_then(|last| last.reason).map_or("error", Reason::as_str);
                (Standing::Pending, format!("has just failed ({reason}), and is not down yet"))
            }
            ProbeState::Degraded => {
                (Standing::Degraded, format!("is degraded since {}: {}", second(probe.since), probe.reason))
            }
            ProbeState::Up => (Standing::Good, "is up".to_owned()),
        }
    }

    fn conclude(judged: &[Judged], missing: &[String]) -> Report {
        let of = |standing| judged.iter().filter(move |judged| judged.standing == standing);
        if of(Standing::Fails).next().is_some() {
            let since =
                of(Standing::Fails).map(|judged| judged.probe.failing_since.unwrap_or(judged.probe.since)).min();
            return Report { since, ..Report::fail(named(of(Standing::Fails))) };
        }
        if let Some(first) = missing.first() {
            let more = if missing.len() > 1 { format!(" (nor do {} more)", missing.len() - 1) } else { String::new() };
            return Report::unknown(format!("probe {first} does not exist{more}"));
        }
        if of(Standing::Unknown).next().is_some() {
            return Report::unknown(named(of(Standing::Unknown)));
        }
        if of(Standing::Pending).next().is_some() {
            let soonest = of(Standing::Pending).map(|judged| judged.probe.interval).min().unwrap_or(AGAIN.1);
            return Report { again: again(soonest), ..Report::pending(named(of(Standing::Pending))) };
        }
        let rounds: usize = judged.iter().map(|judged| judged.rounds.len()).sum();
        let failed =
            judged.iter().flat_map(|judged| &judged.rounds).filter(|r| r.judgement == Judgement::Failed).count();
        let mut summary = match judged {
            [one] => format!("probe {}/{} is up", one.probe.namespace, one.probe.name),
            many => format!("{} probes are up", many.len()),
        };
        if of(Standing::Degraded).next().is_some() {
            summary = format!("warning: {}", named(of(Standing::Degraded)));
        }
        summary.push_str(&counted(rounds, failed));
        Report::pass(summary)
    }

    fn selector_shown(&self) -> Value {
        json!({
            "matchLabels": self.selector.labels,
            "matchExpressions": self.selector.expressions,
            "names": self.selector.names,
            "namespace": self.selector.namespace,
        })
    }

    fn evidence(&self, judged: &[Judged], missing: &[String]) -> Evidence {
        let mut evidence = Evidence::new();
        evidence.insert("selector".to_owned(), self.selector_shown());
        evidence.insert("selected".to_owned(), judged.len().into());
        evidence.insert("roundsRequired".to_owned(), self.rounds.into());
        evidence.insert("probes".to_owned(), judged.iter().take(MAX_PROBES_SHOWN).map(shown).collect());
        if !missing.is_empty() {
            evidence.insert("missing".to_owned(), missing.into());
        }
        evidence
    }
}

fn counted(rounds: usize, failed: usize) -> String {
    let word = if rounds == 1 { "round" } else { "rounds" };
    match failed {
        0 => format!(", {rounds} {word} since the run began"),
        _ => format!(", {rounds} {word} since the run began, {failed} of them failed"),
    }
}

fn again(after: Duration) -> Option<SignedDuration> {
    SignedDuration::try_from(after.clamp(AGAIN.0, AGAIN.1)).ok()
}

/// An instant for a person: to the second.
fn second(at: Timestamp) -> String {
    format!("{at:.0}")
}

fn named<'a>(judged: impl Iterator<Item = &'a Judged>) -> String {
    let all: Vec<&Judged> = judged.collect();
    let mut parts: Vec<String> = all
        .iter()
        .take(MAX_NAMED)
        .map(|judged| format!("probe {}/{} {}", judged.probe.namespace, judged.probe.name, judged.what))
        .collect();
    if all.len() > MAX_NAMED {
        parts.push(format!("and {} more", all.len() - MAX_NAMED));
    }
    parts.join("; ")
}

fn shown(judged: &Judged) -> Value {
    let Judged { probe, rounds, first_failure, .. } = judged;
    let count = |wanted| rounds.iter().filter(|round| round.judgement == wanted).count();
    let ids = rounds.iter().rev().take(MAX_RUNS_SHOWN).rev().map(|round| round.id.to_string());
    let mut value = json!({
        "probe": format!("{}/{}", probe.namespace, probe.name),
        "kind": probe.kind,
        "state": probe.state,
        "since": probe.since,
        "reason": probe.reason,
        "rounds": rounds.len(),
        "failed": count(Judgement::Failed),
        "degraded": count(Judgement::Degraded),
        "trouble": count(Judgement::Trouble),
        "missed": probe.missed,
        "runs": ids.collect::<Vec<_>>(),
    });
    if let (Some(round), Some(map)) = (first_failure, value.as_object_mut()) {
        map.insert("firstFailure".to_owned(), json!(round));
    }
    value
}
