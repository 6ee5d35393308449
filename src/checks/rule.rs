//! The kind `rule`: a Rhai rule of the library must pass.
//!
//! The library is replaced as a whole when its files change; a check goes on with the new rule at
//! its next execution, and is woken for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Check, CompileError, Context, Kind, STARTING};
use crate::api::{self, CheckKind};
use crate::model::{Outcome, Question, Report};
use crate::probes::Board;
use crate::rules::{BoundRule, Decided, Decision, Facts, Library, ProbeFact, Rule, WindowFact};
use crate::store::Ledger;

/// How far back rules can look: a month, and as many runs as the ledger remembers.
const HORIZON: SignedDuration = SignedDuration::from_hours(31 * 24);

/// Tells what the release windows say of a question.
pub trait WindowStates: Send + Sync + 'static {
    /// The answer at `now`; `None` while no window is known.
    fn state(&self, question: &Question, now: Timestamp) -> Option<WindowFact>;
}

/// Tells how the probes stand.
pub trait ProbeStates: Send + Sync + 'static {
    /// All probes; `None` while they are not known.
    fn states(&self) -> Option<Vec<ProbeFact>>;
}

impl ProbeStates for Board {
    fn states(&self) -> Option<Vec<ProbeFact>> {
        let fact = |probe: crate::probes::ProbeView| ProbeFact {
            namespace: probe.namespace,
            name: probe.name,
            labels: probe.labels,
            state: probe.state,
            since: Some(probe.since),
        };
        self.synced().then(|| self.all().into_iter().map(fact).collect())
    }
}

/// Where facts come from.
#[derive(Clone)]
pub struct Sources {
    /// The rules; the last good library stays while a newer one has errors.
    pub library: watch::Receiver<Arc<Library>>,
    /// The past.
    pub ledger: Ledger,
    /// The release windows. Absent: `facts.window` is `()`.
    pub windows: Option<Arc<dyn WindowStates>>,
    /// The probes. Absent: a rule that asks for them is unknown.
    pub probes: Option<Arc<dyn ProbeStates>>,
}

/// The kind.
#[derive(Clone)]
pub struct RuleKind {
    sources: Sources,
}

impl RuleKind {
    /// Checks by the rules of `sources.library`.
    #[must_use]
    pub const fn new(sources: Sources) -> Self {
        Self { sources }
    }
}

impl Kind for RuleKind {
    fn name(&self) -> &'static str {
        "rule"
    }

    fn compile(&self, check: &api::Check, _namespace: &str) -> Result<Arc<dyn Check>, CompileError> {
        let error = |field: &str, why: String| CompileError { field: field.to_owned(), why };
        let Some(CheckKind::Rule(path)) = check.kind() else {
            return Err(error("rule", "this is no rule check".to_owned()));
        };
        let parameters = check.parameters.clone().unwrap_or_default();
        let library = Arc::clone(&self.sources.library.borrow());
        let rule = library.rule(path).map_err(|why| error("rule", why))?;
        rule.bind(&parameters).map_err(|errors| match errors.as_slice() {
            [one] => error(&format!("parameters.{}", one.name), one.why.clone()),
            several => error("parameters", joined(several)),
        })?;
        Ok(Arc::new(RuleCheck {
            path: path.to_owned(),
            parameters,
            sources: self.sources.clone(),
            last: Mutex::new(Some(rule.hash().to_owned())),
        }))
    }
}

fn joined<T: ToString>(errors: &[T]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

struct RuleCheck {
    path: String,
    parameters: BTreeMap<String, Value>,
    sources: Sources,
    /// The version that the last execution went by; nothing where there was no such rule.
    last: Mutex<Option<String>>,
}

impl RuleCheck {
    fn rule(&self) -> Result<Arc<Rule>, String> {
        self.sources.library.borrow().rule(&self.path).cloned()
    }

    fn bound(&self) -> Result<BoundRule, String> {
        let rule = self.rule();
        self.remember(rule.as_ref().ok());
        rule?.bind(&self.parameters).map_err(|errors| joined(&errors))
    }

    fn remember(&self, rule: Option<&Arc<Rule>>) {
        let hash = rule.map(|rule| rule.hash().to_owned());
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = hash;
    }

    fn is_current(&self) -> bool {
        let now = self.rule().ok().map(|rule| rule.hash().to_owned());
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) == now
    }

    fn facts(&self, context: &Context) -> Facts {
        let past = self.sources.ledger.synced().then(|| {
            let since = context.now.checked_sub(HORIZON).unwrap_or(Timestamp::MIN);
            self.sources.ledger.since(since)
        });
        Facts {
            window: self.sources.windows.as_ref().and_then(|windows| windows.state(&context.question, context.now)),
            runs: past,
            probes: self.sources.probes.as_ref().and_then(|probes| probes.states()),
            ..Facts::of(&context.question, &context.run, context.now)
        }
    }
}

#[async_trait]
impl Check for RuleCheck {
    async fn execute(&self, context: &Context) -> Report {
        let bound = match self.bound() {
            Ok(bound) => bound,
            Err(why) => return Report::unknown(format!("{}: {why}", self.path)).with("rule", self.path.clone()),
        };
        let facts = Arc::new(self.facts(context));
        let (rule, seen) = (bound.clone(), Arc::clone(&facts));
        // A script holds its thread for up to 50 ms; it cannot be cancelled, only waited for.
        match tokio::task::spawn_blocking(move || rule.decide(seen)).await {
            Ok(decided) => {
                let mut report = report(&bound, &facts, decided);
                if facts.runs.is_none() && report.outcome == Outcome::Unknown {
                    report.again = Some(STARTING);
                }
                report
            }
            Err(error) => Report::unknown(format!("{} was not evaluated: {error}", self.path)),
        }
    }

    fn version(&self) -> Option<String> {
        self.rule().ok().map(|rule| rule.hash().to_owned())
    }

    async fn changed(&self) {
        let mut library = self.sources.library.clone();
        library.mark_unchanged();
        while self.is_current() {
            if library.changed().await.is_err() {
                // Nobody can replace the library any more.
                std::future::pending::<()>().await;
            }
        }
    }
}

fn report(bound: &BoundRule, facts: &Facts, decided: Decided) -> Report {
    let rule = bound.rule();
    let report = match decided.decision {
        Decision::Pass => Report::pass(format!("{} passes", rule.path())),
        Decision::Block { why } => Report::fail(why),
        Decision::Wait { why, until: Some(until) } => Report::held(why, until),
        Decision::Wait { why, until: None } => Report::pending(why),
        Decision::Unknown { why } => Report::unknown(why),
    };
    let mut report = report
        .with("rule", rule.path())
        .with("hash", rule.hash())
        .with("parameters", Value::Object(bound.parameters().clone()))
        .with("facts", facts.record());
    for (name, list) in [("lookedUp", json!(decided.looked_up)), ("log", json!(decided.log))] {
        if list.as_array().is_some_and(|list| !list.is_empty()) {
            report = report.with(name, list);
        }
    }
    report
}
