//! The check `window`: release windows and freezes.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::rule::WindowStates;
use super::{Check, CompileError, Context, Kind, STARTING};
use crate::api::{self, Override, WindowType};
use crate::calendars::WindowBook;
use crate::model::{Action, PastRun, Point, Question, Report, Running, Verdict};
use crate::rules::WindowFact;
use crate::store::{Cache, Ledger};
use crate::windows::{Decision, Query, State, decide};

/// How far back the past is read: further than any stretch of a window with `maxChanges` that
/// somebody would count in, and than any change is under way.
const PAST: SignedDuration = SignedDuration::from_hours(24 * 31);

/// Makes window checks.
#[derive(Clone)]
pub struct WindowKind {
    shared: Arc<Shared>,
}

struct Shared {
    book: WindowBook,
    ledger: Ledger,
    overrides: Cache<Override>,
}

impl WindowKind {
    /// Windows from the book, the past from the ledger, and overrides.
    #[must_use]
    pub fn new(book: WindowBook, ledger: Ledger, overrides: Cache<Override>) -> Self {
        Self { shared: Arc::new(Shared { book, ledger, overrides }) }
    }
}

impl Kind for WindowKind {
    fn name(&self) -> &'static str {
        "window"
    }

    fn compile(&self, check: &api::Check, _namespace: &str) -> Result<Arc<dyn Check>, CompileError> {
        let Some(spec) = &check.window else {
            return Err(CompileError { field: "window".to_owned(), why: "it is missing".to_owned() });
        };
        Ok(Arc::new(WindowCheck { shared: Arc::clone(&self.shared), running: spec.running }))
    }
}

struct WindowCheck {
    shared: Arc<Shared>,
    running: Option<Running>,
}

#[async_trait]
impl Check for WindowCheck {
    async fn execute(&self, context: &Context) -> Report {
        match self.shared.decide(&context.question, context.now, self.running) {
            Some((query, decision)) => report(&decision, &query),
            None => Report {
                again: Some(STARTING),
                ..Report::unknown("the windows, the past or the overrides have not been read yet")
            },
        }
    }

    async fn changed(&self) {
        let mut overrides = self.shared.overrides.changes();
        tokio::select! {
            () = self.shared.book.changed() => {}
            _ = overrides.changed() => {}
        }
    }
}

impl Shared {
    /// What the windows say of `question` at `now`; nothing while they are not known.
    fn decide(&self, question: &Question, now: Timestamp, running: Option<Running>) -> Option<(Query, Decision)> {
        let Self { book, ledger, overrides } = self;
        // The past counts changes and tells which are under way: a rollback asks for neither.
        let past_known = ledger.synced() || question.change.action == Action::Rollback;
        if !(book.synced() && past_known && overrides.synced()) {
            return None;
        }
        let since = now.saturating_sub(PAST).unwrap_or(Timestamp::MIN);
        let past = ledger.since(since);
        let query = Query::of(question, now, under_way(question, &past), running);
        let decision = decide(&book.current(), &query, &past, &overrides.all());
        Some((query, decision))
    }
}

impl WindowStates for WindowKind {
    fn state(&self, question: &Question, now: Timestamp) -> Option<WindowFact> {
        let (_, decision) = self.shared.decide(question, now, None)?;
        // A calendar that cannot be read says nothing: a rule must not take that for an answer.
        (decision.state != State::Unknown).then(|| WindowFact {
            allowed: decision.state == State::Allowed,
            rule: decision.rule_name().map(ToString::to_string),
            kind: decision.rule_type().map(|kind| type_word(kind).to_owned()),
            reason: decision.reason.clone(),
            until: decision.until,
            next_opening: decision.next_opening,
        })
    }
}

const fn type_word(kind: WindowType) -> &'static str {
    match kind {
        WindowType::Allow => "allow",
        WindowType::Freeze => "freeze",
    }
}

/// Whether the change has already begun: it is asked about after a batch, or a gate has let a batch
/// of this very revision pass.
fn under_way(question: &Question, past: &[Arc<PastRun>]) -> bool {
    let change = &question.change;
    question.point == Point::Post
        || past.iter().any(|run| {
            run.verdict == Verdict::Pass
                && !run.void
                && run.namespace == question.namespace
                && run.gate == question.gate
                && run.change.cluster == change.cluster
                && run.change.target == change.target
                && run.change.id == change.id
                && run.change.revision == change.revision
        })
}

fn report(decision: &Decision, query: &Query) -> Report {
    let summary = summary(decision, query.at);
    let report = match (decision.state, decision.next_opening) {
        (State::Allowed, _) => Report::pass(summary),
        (State::Unknown, _) => Report::unknown(summary),
        (State::Shut, Some(next)) => Report::held(summary, next),
        (State::Shut, None) => Report::fail(summary),
    };
    let kind = decision.rule_type().map(type_word);
    let mut report = report
        .with("at", json!(query.at))
        .with("rule", json!(decision.rule_name()))
        .with("type", json!(kind))
        .with("reason", json!(decision.reason))
        .with("until", json!(decision.until))
        .with("nextOpening", json!(decision.next_opening))
        .with("underWay", json!(query.under_way))
        .with("windows", json!(decision.windows));
    report.since = decision.since;
    report.overrides.clone_from(&decision.overrides);
    report
}

/// What a person wants at three in the morning.
fn summary(decision: &Decision, at: Timestamp) -> String {
    let Some(rule) = &decision.rule else { return decision.reason.clone() };
    let until = decision.until.map(|until| format!(" until {}", rule.say(until, at))).unwrap_or_default();
    // Said once where both are the same instant.
    let next = match decision.next_opening {
        Some(next) if decision.state != State::Allowed && decision.until == Some(next) => String::new(),
        Some(next) if decision.state != State::Allowed => format!("; next opening {}", rule.say(next, at)),
        None if decision.state == State::Shut => "; the next opening is not known".to_owned(),
        _ => String::new(),
    };
    format!("{}{until}{next}", decision.reason)
}
