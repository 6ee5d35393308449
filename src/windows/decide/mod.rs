//! The decision: may this change go on at this instant, by whose word, until when, and when next?

mod opening;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::compile::{Compiled, Standing};
use super::select::why_not;
use super::stretch::Stretch;
use crate::api::{Override, WindowType};
use crate::model::{Action, Invoker, Labels, PastRun, Question, Running, Verdict};

use opening::{next_opening, next_opening_after_shutting};
use view::{Bound, latest_until};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The instant.
    pub at: Timestamp,
    /// The cluster of the target.
    pub cluster: Option<String>,
    /// The namespace of the gate.
    pub namespace: Option<String>,
    /// The target.
    pub target: Option<String>,
    /// The target's labels.
    pub labels: Labels,
    /// What the change does.
    pub action: Action,
    /// Who set it off.
    pub invoker: Invoker,
    /// The change's id, where the question is about a certain one.
    pub change: Option<String>,
    /// Whether the change has already begun.
    pub under_way: bool,
    /// What the gate says about changes under way.
    pub gate_running: Option<Running>,
}

impl Query {
    /// A question about nothing in particular at an instant: a release by automation.
    #[must_use]
    pub fn at(at: Timestamp) -> Self {
        Self {
            at,
            cluster: None,
            namespace: None,
            target: None,
            labels: Labels::new(),
            action: Action::default(),
            invoker: Invoker::default(),
            change: None,
            under_way: false,
            gate_running: None,
        }
    }

    /// The question of a gate.
    #[must_use]
    pub fn of(question: &Question, at: Timestamp, under_way: bool, gate_running: Option<Running>) -> Self {
        Self {
            at,
            cluster: question.change.cluster.clone(),
            namespace: Some(question.namespace.clone()),
            target: Some(question.change.target.clone()),
            labels: question.change.labels.clone(),
            action: question.change.action,
            invoker: question.change.invoker,
            change: Some(question.change.id.clone()),
            under_way,
            gate_running,
        }
    }

    /// The question that a past run asked.
    fn of_past(run: &PastRun) -> Self {
        let question = Question {
            namespace: run.namespace.clone(),
            gate: run.gate.clone(),
            change: run.change.clone(),
            batch: run.batch,
            point: run.point,
        };
        Self::of(&question, run.created_at, false, None)
    }
}

/// What the windows say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The change may go on.
    Allowed,
    /// It may not.
    Shut,
    /// A window that binds it cannot be read: it may not, and nobody knows until when.
    Unknown,
}

/// What one window contributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WindowState {
    /// An allow window that is open, or a freeze that is not in force.
    Open,
    /// An allow window that is shut, or a freeze that is in force.
    Shut,
    /// It cannot be read.
    Unreadable,
    /// It does not bind the change.
    NotSelecting,
    /// It has expired.
    Expired,
}

/// One window as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The window's namespace.
    pub namespace: String,
    /// The window's name.
    pub name: String,
    /// Whether it is an allow window or a freeze.
    #[serde(rename = "type")]
    pub kind: WindowType,
    /// What it contributed.
    pub state: WindowState,
    /// Why.
    pub why: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What the windows say.
    pub state: State,
    /// The deciding window; `None` where none binds the change.
    pub rule: Option<Arc<Compiled>>,
    /// Why, in one line.
    pub reason: String,
    /// Since when the deciding window is as it is.
    pub since: Option<Timestamp>,
    /// Until when.
    pub until: Option<Timestamp>,
    /// The next instant at which all windows together begin to allow the change; `None` where it
    /// is not known.
    pub next_opening: Option<Timestamp>,
    /// Names of the overrides that changed the answer.
    pub overrides: Vec<String>,
    /// Every window.
    pub windows: Vec<Evidence>,
}

impl PartialEq for Compiled {
    fn eq(&self, other: &Self) -> bool {
        self.namespace == other.namespace && self.name == other.name && self.spec == other.spec
    }
}

impl Decision {
    /// Whether the change may go on.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.state == State::Allowed
    }

    /// The deciding window's name.
    #[must_use]
    pub fn rule_name(&self) -> Option<&str> {
        self.rule.as_ref().map(|rule| rule.name.as_str())
    }

    /// The deciding window's type.
    #[must_use]
    pub fn rule_type(&self) -> Option<WindowType> {
        self.rule.as_ref().map(|rule| rule.kind())
    }
}

/// Decides. `past` is counted for windows with `maxChanges`; `overrides` are those of all windows.
///
/// A freeze beats every allow window; where no allow window binds the change, it is allowed; an
/// expired window does not exist; a window that cannot be read opens nothing.
#[must_use]
pub fn decide(
    windows: &[Arc<Compiled>],
    query: &Query,
    past: &[Arc<PastRun>],
    overrides: &[Arc<Override>],
) -> Decision {
    let bound: Vec<Bound<'_>> = windows
        .iter()
        .filter(|window| why_not(window, query).is_none())
        .map(|window| Bound::new(window, query, past, overrides))
        .collect();
    let mut decision = judge(&bound, query);
    decision.windows = windows.iter().map(|window| view::evidence(window, query, &bound)).collect();
    decision
}

/// The decision at `query.at`, and every later one up to `to` that differs from the one before it
/// in what it says or by whose word; at most `most` of them.
#[must_use]
pub fn outlook(
    windows: &[Arc<Compiled>],
    query: &Query,
    overrides: &[Arc<Override>],
    to: Timestamp,
    most: usize,
) -> Vec<(Timestamp, Decision)> {
    /// The most edges that are looked at: a month of windows that open every few minutes.
    const MAX_EDGES: usize = 20_000;
    let bound: Vec<Bound<'_>> = windows
        .iter()
        .filter(|window| why_not(window, query).is_none())
        .map(|window| Bound::new(window, query, &[], overrides))
        .collect();
    let mut out: Vec<(Timestamp, Decision)> = Vec::new();
    let mut at = Some(query.at);
    for _ in 0..MAX_EDGES {
        let Some(now) = at.filter(|at| *at < to && out.len() < most) else { break };
        let decision = judge(&bound, &Query { at: now, ..query.clone() });
        let same = out.last().is_some_and(|(_, last)| last.state == decision.state && last.rule == decision.rule);
        if !same {
            out.push((now, decision));
        }
        at = opening::next_edge(&bound, now);
    }
    out
}

/// An answer before its evidence.
fn answer(state: State, rule: Option<&Bound<'_>>, reason: String, stretch: Stretch) -> Decision {
    Decision {
        state,
        rule: rule.map(|bound| Arc::clone(bound.window)),
        reason,
        since: stretch.since,
        until: stretch.until,
        next_opening: None,
        overrides: Vec::new(),
        windows: Vec::new(),
    }
}

/// An end that nobody knows.
const NOWHERE: Stretch = Stretch { since: None, until: None };

fn judge(bound: &[Bound<'_>], query: &Query) -> Decision {
    let at = query.at;
    if let Some((stopped, by)) = bound.iter().find_map(|bound| Some((bound, bound.blocked_by(at)?))) {
        let reason =
            format!("{} is held by override {} of {}: {}", stopped.title(), name(by), by.spec.actor, by.spec.reason);
        let until = Stretch { since: None, until: Some(by.spec.expires) };
        let next_opening = next_opening(bound, at);
        let overrides = vec![name(by).to_owned()];
        return Decision { next_opening, overrides, ..answer(State::Shut, Some(stopped), reason, until) };
    }
    let freezes: Vec<_> = bound.iter().filter(|bound| bound.kind() == WindowType::Freeze).collect();
    let holding: Vec<_> = freezes.iter().copied().filter(|freeze| freeze.holds(query)).collect();
    if let Some((freeze, stretch)) =
        latest_until(holding.iter().filter_map(|freeze| Some((*freeze, freeze.covering(at)?))))
    {
        let decision = answer(State::Shut, Some(freeze), freeze.title(), stretch);
        return Decision { next_opening: next_opening(bound, at), ..decision };
    }
    let unreadable = |freeze: &&&Bound<'_>| matches!(freeze.window.standing, Standing::Unknown(_));
    if let Some(freeze) = holding.iter().find(unreadable) {
        return answer(State::Unknown, Some(freeze), freeze.trouble(), NOWHERE);
    }
    let lifted: Vec<_> = freezes.into_iter().filter(|freeze| freeze.passed_over(query)).collect();
    let mut decision = judge_allow(bound, query, &lifted);
    if decision.allowed() {
        let used = lifted.iter().filter_map(|freeze| freeze.lifted_by(at)).map(|by| name(by).to_owned());
        let all: BTreeSet<String> = decision.overrides.into_iter().chain(used).collect();
        decision.overrides = all.into_iter().collect();
    }
    decision
}

/// The allow windows' word, when no freeze holds.
fn judge_allow(bound: &[Bound<'_>], query: &Query, lifted: &[&Bound<'_>]) -> Decision {
    let at = query.at;
    let allows: Vec<_> =
        bound.iter().filter(|bound| bound.kind() == WindowType::Allow && bound.window.exists(at)).collect();
    if allows.is_empty() {
        return match lifted.first() {
            Some(freeze) => {
                let stretch = freeze.covering(at).unwrap_or(NOWHERE);
                answer(State::Allowed, Some(freeze), freeze.why_passed_over(query), stretch)
            }
            None => answer(State::Allowed, None, opening::why_free(bound, at), NOWHERE),
        };
    }
    let open = allows.iter().filter(|allow| allow.open_at(at)).filter_map(|allow| Some((*allow, allow.covering(at)?)));
    if let Some((allow, stretch)) = latest_until(open) {
        let decision = answer(State::Allowed, Some(allow), allow.why_open(at, bound), stretch);
        return Decision { next_opening: next_opening_after_shutting(bound, at), ..decision };
    }
    if let Some((allow, by)) = allows.iter().find_map(|allow| Some((allow, allow.lifted_by(at)?))) {
        let decision = answer(
            State::Allowed,
            Some(allow),
            allow.why_passed_over(query),
            Stretch { since: None, until: Some(by.spec.expires) },
        );
        return Decision { overrides: vec![name(by).to_owned()], ..decision };
    }
    let unreadable = allows.iter().find(|allow| matches!(allow.window.standing, Standing::Unknown(_)));
    let finish = query.under_way && allows.iter().all(|allow| allow.running(query) == Running::Finish);
    if let Some(allow) = allows.first().filter(|_| finish) {
        return answer(State::Allowed, Some(allow), allow.why_passed_over(query), allow.shut_stretch(at));
    }
    if let Some(allow) = unreadable {
        let decision = answer(State::Unknown, Some(allow), allow.trouble(), NOWHERE);
        return Decision { next_opening: next_opening(bound, at), ..decision };
    }
    shut_by_allow(bound, &allows, at)
}

fn shut_by_allow(bound: &[Bound<'_>], allows: &[&Bound<'_>], at: Timestamp) -> Decision {
    let last_end = allows.iter().filter_map(|allow| allow.shut_stretch(at).since).max();
    let soonest = allows
        .iter()
        .min_by_key(|allow| (allow.shut_stretch(at).until.unwrap_or(Timestamp::MAX), allow.window.name.as_str()));
    let Some(allow) = soonest else { return answer(State::Unknown, None, String::new(), NOWHERE) };
    let stretch = Stretch { since: last_end, until: allow.shut_stretch(at).until };
    let decision = answer(State::Shut, Some(allow), allow.why_shut(at), stretch);
    Decision { next_opening: next_opening(bound, at), ..decision }
}

fn name(exception: &Override) -> &str {
    crate::api::name_of(exception)
}

/// The changes that count for a window in its present stretch: passed since `since`, each once.
fn counted(window: &Compiled, past: &[Arc<PastRun>], since: Option<Timestamp>, at: Timestamp) -> BTreeSet<[String; 3]> {
    past.iter()
        .filter(|run| run.verdict == Verdict::Pass)
        .filter(|run| {
            let when = run.decided_at.unwrap_or(run.created_at);
            since.is_none_or(|since| since <= when) && when <= at
        })
        .filter(|run| why_not(window, &Query::of_past(run)).is_none())
        .map(|run| {
            let change = &run.change;
            [change.id.clone(), change.target.clone(), change.cluster.clone().unwrap_or_default()]
        })
        .collect()
}
