//! The kind `probes`: selected probes must be up.
//!
//! Labels select in all namespaces (a control plane's probes seldom stand beside the gate), and
//! `probegate.io/namespace` narrows them; names select in the gate's own. A probe that is down
//! fails at once. One that is up counts when it has made its rounds since the run began and is not
//! failing just now; what it did before says nothing about this batch. Without rounds nothing is
//! known: pending while they can still come, unknown after that.

mod tell;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use serde_json::{Value, json};

use self::tell::{AGAIN, again, last_reason, least_told, named, second, shown};
use super::{Check, CompileError, Context, Kind};
use crate::api::{self, CheckKind};
use crate::model::{Evidence, Period, ProbeState, Report};
use crate::probes::history::{MAX_ROUNDS, Summary, Window};
use crate::probes::{Board, Judgement, ProbeSelector, ProbeView, Round};

/// The probes that stand in the evidence one by one; of more only the worst.
const MAX_PROBES_SHOWN: usize = 50;
/// How far back a check may look: as long as single rounds are remembered at the usual intervals.
const MAX_LOOK_BACK: SignedDuration = SignedDuration::from_hours(24);
/// For so long after a check has looked its probes go on at their faster interval: a batch that was
/// let through is under way, and the next question about it comes sooner or later.
const HURRY: Duration = Duration::from_secs(10 * 60);

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
        let look_back = spec.look_back.map(Period::exact).unwrap_or_default();
        if look_back > MAX_LOOK_BACK {
            return Err(error(".lookBack", format!("at most {} h are remembered", MAX_LOOK_BACK.as_hours())));
        }
        Ok(Arc::new(ProbesCheck {
            selector,
            rounds: spec.rounds.unwrap_or(1).max(1) as usize,
            allowed_failures: spec.allowed_failures.map(|count| count as usize),
            at_least: spec.at_least.map(|count| count as usize),
            look_back,
            board: self.board.clone(),
        }))
    }
}

struct ProbesCheck {
    selector: ProbeSelector,
    /// The least number of rounds since the run began.
    rounds: usize,
    /// How many of the rounds that count may fail; `None` where the state alone counts.
    allowed_failures: Option<usize>,
    /// How many probes must be good; `None` for all.
    at_least: Option<usize>,
    /// Rounds of so long before the run count as well.
    look_back: SignedDuration,
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
    /// Those of its rounds that count and are in memory.
    rounds: Vec<Round>,
    /// All that count, where not all of them are in memory.
    counted: Option<Summary>,
    first_failure: Option<Round>,
}

#[async_trait]
impl Check for ProbesCheck {
    async fn execute(&self, context: &Context) -> Report {
        if !self.board.synced() {
            return Report { again: again(AGAIN.0), ..Report::pending("the probes are not known yet") };
        }
        // A change begins, or a batch has ended: nobody waits for the next slot.
        self.board.attend(&self.selector, HURRY, MAX_ROUNDS);
        if context.execution <= 1 {
            self.board.fire(&self.selector);
        }
        let probes = self.board.states(&self.selector);
        let missing = self.missing(&probes);
        if probes.is_empty() && missing.is_empty() {
            return Report::unknown("no probe is selected").with("selector", self.selector_shown());
        }
        let mut judged = Vec::new();
        for probe in probes {
            judged.push(self.judge(probe, context).await);
        }
        judged.sort_by(|a, b| {
            (a.standing, &a.probe.namespace, &a.probe.name).cmp(&(b.standing, &b.probe.namespace, &b.probe.name))
        });
        Report { evidence: self.evidence(&judged, &missing), ..self.conclude(&judged, &missing) }
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

    async fn judge(&self, probe: ProbeView, context: &Context) -> Judged {
        let since = context.started_at.saturating_sub(self.look_back).unwrap_or(context.started_at);
        let rounds = self.board.rounds_since(&probe.namespace, &probe.name, since);
        let mut counted = None;
        if !self.board.remembers(&probe.namespace, &probe.name, since) {
            // Beyond what is in memory the history counts, to the minute.
            let window = Window { from: since, to: context.now };
            match self.board.history(&probe.namespace, &probe.name, window).await {
                Ok(history) => counted = history.map(|history| history.summary),
                Err(error) => {
                    let (standing, what) = (Standing::Unknown, format!("its history cannot be read: {error}"));
                    return Judged { standing, what, probe, rounds, counted, first_failure: None };
                }
            }
        }
        let (standing, what) = self.standing(&probe, &rounds, counted.as_ref(), context);
        let from = probe.failing_since.map_or(since, |failing| failing.min(since));
        let first_failure = self
            .board
            .rounds_since(&probe.namespace, &probe.name, from)
            .into_iter()
            .find(|round| round.judgement == Judgement::Failed);
        Judged { standing, what, probe, rounds, counted, first_failure }
    }

    fn standing(
        &self,
        probe: &ProbeView,
        rounds: &[Round],
        counted: Option<&Summary>,
        context: &Context,
    ) -> (Standing, String) {
        if let Some(invalid) = &probe.invalid {
            return (Standing::Unknown, format!("cannot be probed: {invalid}"));
        }
        let told = least_told(probe, rounds, context);
        let in_memory = rounds.iter().filter(|round| round.judgement == Judgement::Failed).count();
        let failed = counted.map_or(0, |counted| counted.failed as usize).max(in_memory);
        if let Some(allowed) = self.allowed_failures.filter(|allowed| failed > *allowed) {
            return (Standing::Fails, format!("has failed in {failed} rounds, {allowed} are allowed"));
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
                let reason = last_reason(probe);
                (Standing::Pending, format!("has just failed ({reason}), and is not down yet"))
            }
            ProbeState::Degraded | ProbeState::Up if probe.flapping => {
                (Standing::Pending, "flaps between failing and answering".to_owned())
            }
            ProbeState::Degraded => {
                (Standing::Degraded, format!("is degraded since {}: {}", second(probe.since), probe.reason))
            }
            ProbeState::Up => (Standing::Good, "is up".to_owned()),
        }
    }

    fn conclude(&self, judged: &[Judged], missing: &[String]) -> Report {
        let of = |standing| judged.iter().filter(move |judged| judged.standing == standing);
        let all = judged.len() + missing.len();
        // So many need not be good.
        let spare = self.at_least.map_or(0, |least| all.saturating_sub(least));
        let (failing, unknown) = (of(Standing::Fails).count(), of(Standing::Unknown).count() + missing.len());
        let pending = of(Standing::Pending).count();
        let needed = self.at_least.map_or(String::new(), |least| format!("{} of {all} must be good: ", least.min(all)));
        if failing > spare {
            let since =
                of(Standing::Fails).map(|judged| judged.probe.failing_since.unwrap_or(judged.probe.since)).min();
            return Report { since, ..Report::fail(format!("{needed}{}", named(of(Standing::Fails)))) };
        }
        if failing + unknown > spare {
            if let Some(first) = missing.first() {
                let more =
                    if missing.len() > 1 { format!(" (nor do {} more)", missing.len() - 1) } else { String::new() };
                return Report::unknown(format!("{needed}probe {first} does not exist{more}"));
            }
            return Report::unknown(format!("{needed}{}", named(of(Standing::Unknown))));
        }
        if failing + unknown + pending > spare {
            let soonest = of(Standing::Pending).map(|judged| judged.probe.interval).min().unwrap_or(AGAIN.1);
            return Report {
                again: again(soonest),
                ..Report::pending(format!("{needed}{}", named(of(Standing::Pending))))
            };
        }
        let rounds: usize = judged.iter().map(|judged| judged.rounds.len()).sum();
        let failed =
            judged.iter().flat_map(|judged| &judged.rounds).filter(|r| r.judgement == Judgement::Failed).count();
        let good = all - failing - unknown - pending;
        let mut summary = match judged {
            [one] if all == 1 => format!("probe {}/{} is up", one.probe.namespace, one.probe.name),
            _ if good < all => format!("{good} of {all} probes are up"),
            many => format!("{} probes are up", many.len()),
        };
        if of(Standing::Degraded).next().is_some() {
            summary = format!("warning: {}", named(of(Standing::Degraded)));
        }
        summary.push_str(&self.counted(rounds, failed));
        Report::pass(summary)
    }

    fn counted(&self, rounds: usize, failed: usize) -> String {
        let word = if rounds == 1 { "round" } else { "rounds" };
        let since = if self.look_back.is_zero() {
            "since the run began".to_owned()
        } else {
            format!("since {} s before the run began", self.look_back.as_secs())
        };
        match failed {
            0 => format!(", {rounds} {word} {since}"),
            _ => format!(", {rounds} {word} {since}, {failed} of them failed"),
        }
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
        if let Some(allowed) = self.allowed_failures {
            evidence.insert("allowedFailures".to_owned(), allowed.into());
        }
        if let Some(least) = self.at_least {
            evidence.insert("atLeast".to_owned(), least.into());
        }
        if !self.look_back.is_zero() {
            evidence.insert("lookBackSeconds".to_owned(), self.look_back.as_secs().into());
        }
        evidence.insert("probes".to_owned(), judged.iter().take(MAX_PROBES_SHOWN).map(shown).collect());
        if !missing.is_empty() {
            evidence.insert("missing".to_owned(), missing.into());
        }
        evidence
    }
}
