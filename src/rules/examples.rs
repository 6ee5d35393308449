//! Examples of a rule: facts, parameters and the decision that they must lead to.
//!
//! They stand beside the rule, `weekend.examples.yaml` beside `weekend.rhai`, and say only what
//! matters to them; the rest has plain defaults.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::builtin::EXAMPLES;
use super::decision::{Decided, Decision};
use super::error::ScriptErrorKind;
use super::facts::{Facts, ProbeFact, WindowFact};
use super::rule::Rule;
use crate::model::{Action, Batch, Change, Invoker, Labels, PastRun, Period, Point, Verdict};

/// A Wednesday morning: now, where an example does not say.
const DEFAULT_NOW: Timestamp = Timestamp::constant(1_794_996_000, 0);
/// How often an example is run whose time runs out: a machine that is busy with other tests is no
/// fault of the rule.
const ATTEMPTS: u32 = 20;
/// The most runs that one entry of an example stands for.
const MAX_TIMES: u32 = 10_000;

/// One example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Example {
    /// What it shows, as a sentence.
    pub name: String,
    /// The facts.
    #[serde(default)]
    pub facts: ExampleFacts,
    /// The parameters that differ from their defaults.
    #[serde(default)]
    pub parameters: BTreeMap<String, Value>,
    /// The decision.
    pub expect: Expectation,
}

/// The decision that an example must lead to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expectation {
    /// `pass`, `block`, `wait` or `unknown`.
    pub outcome: Word,
    /// A text that the reason contains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Until when it waits. Absent: whatever the rule says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A decision's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// The change may go on.
    Pass,
    /// It must not.
    Block,
    /// Not yet.
    Wait,
    /// Nothing can be said.
    Unknown,
}

impl Word {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Block => "block",
            Self::Wait => "wait",
            Self::Unknown => "unknown",
        }
    }
}

/// Facts of which only some are given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExampleFacts {
    /// Now.
    pub now: Option<Timestamp>,
    /// The change that asks.
    pub change: ExampleChange,
    /// The batch.
    pub batch: Option<Batch>,
    /// The point. Default pre.
    pub point: Option<Point>,
    /// The gate's namespace. Default `shop`.
    pub namespace: Option<String>,
    /// The gate. Default `checkout`.
    pub gate: Option<String>,
    /// What the windows say.
    pub window: Option<WindowFact>,
    /// The past.
    pub runs: Vec<ExampleRun>,
    /// The probes.
    pub probes: Vec<ProbeFact>,
}

/// A change of which only some is given: by default an automatic release of `checkout`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExampleChange {
    /// Default `c-1`.
    pub id: Option<String>,
    /// Default `checkout`.
    pub target: Option<String>,
    /// Default `v42`.
    pub revision: Option<String>,
    /// Default release.
    pub action: Action,
    /// Default `ci`.
    pub actor: Option<String>,
    /// Default automation.
    pub invoker: Invoker,
    /// Default none.
    pub cluster: Option<String>,
    /// Default none.
    pub labels: Labels,
}

/// A past run; what is not given is as with the change that asks, but for id and revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExampleRun {
    /// The change's id; its revision is `r-` and the id unless given.
    pub id: String,
    /// How long ago it was created; decided runs were decided in the same instant.
    pub ago: Period,
    /// The verdict.
    pub verdict: Verdict,
    /// The point. Default post.
    pub point: Option<Point>,
    /// The batch. Default the whole change in one.
    pub batch: Option<Batch>,
    /// The target.
    pub target: Option<String>,
    /// The revision.
    pub revision: Option<String>,
    /// The cluster.
    pub cluster: Option<String>,
    /// The labels.
    pub labels: Option<Labels>,
    /// The namespace.
    pub namespace: Option<String>,
    /// The gate.
    pub gate: Option<String>,
    /// The actor.
    pub actor: Option<String>,
    /// The action. Default release.
    #[serde(default)]
    pub action: Action,
    /// Of an open run: what it waits for.
    pub until: Option<Timestamp>,
    /// Whether another revision has made it void.
    #[serde(default)]
    pub void: bool,
    /// How many such runs there were, as attempts of one change. Default 1.
    pub times: Option<u32>,
}

impl ExampleFacts {
    /// The facts, with defaults for what is not given; `now` is used where the example has none.
    #[must_use]
    pub fn into_facts(self, now: Option<Timestamp>) -> Facts {
        let now = self.now.or(now).unwrap_or(DEFAULT_NOW);
        let text = |value: Option<String>, default: &str| value.unwrap_or_else(|| default.to_owned());
        let mut facts = Facts {
            change: Change {
                id: text(self.change.id, "c-1"),
                target: text(self.change.target, "checkout"),
                revision: text(self.change.revision, "v42"),
                action: self.change.action,
                actor: text(self.change.actor, "ci"),
                invoker: self.change.invoker,
                cluster: self.change.cluster,
                labels: self.change.labels,
            },
            batch: self.batch.unwrap_or_default(),
            point: self.point.unwrap_or(Point::Pre),
            namespace: text(self.namespace, "shop"),
            gate: text(self.gate, "checkout"),
            run: "this-run".to_owned(),
            now,
            window: self.window,
            runs: None,
            probes: Some(self.probes),
        };
        let runs = self
            .runs
            .into_iter()
            .flat_map(|run| (0..run.times.unwrap_or(1).min(MAX_TIMES)).map(move |at| (run.clone(), at)))
            .enumerate()
            .map(|(number, (run, _))| Arc::new(run.into_past(number, &facts)))
            .collect();
        facts.runs = Some(runs);
        facts
    }
}

impl ExampleRun {
    fn into_past(self, number: usize, facts: &Facts) -> PastRun {
        let created_at = facts.now.checked_sub(self.ago.exact()).unwrap_or(facts.now);
        PastRun {
            name: format!("run-{number:05}"),
            namespace: self.namespace.unwrap_or_else(|| facts.namespace.clone()),
            gate: self.gate.unwrap_or_else(|| facts.gate.clone()),
            change: Change {
                revision: self.revision.unwrap_or_else(|| format!("r-{}", self.id)),
                id: self.id,
                target: self.target.unwrap_or_else(|| facts.change.target.clone()),
                action: self.action,
                actor: self.actor.unwrap_or_else(|| facts.change.actor.clone()),
                invoker: facts.change.invoker,
                cluster: self.cluster.or_else(|| facts.change.cluster.clone()),
                labels: self.labels.unwrap_or_else(|| facts.change.labels.clone()),
            },
            batch: self.batch.unwrap_or_default(),
            point: self.point.unwrap_or(Point::Post),
            verdict: self.verdict,
            until: self.until,
            created_at,
            decided_at: (self.verdict != Verdict::Wait).then_some(created_at),
            void: self.void,
        }
    }
}

/// Reads the examples of a file.
///
/// # Errors
/// What is wrong, with line and column.
pub fn read_examples(yaml: &str) -> Result<Vec<Example>, String> {
    serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
}

/// Path and text of the examples that belong to the ready-made rule at `path`.
#[must_use]
pub fn builtin_examples(path: &str) -> Option<(&'static str, &'static str)> {
    let wanted = examples_path(path);
    EXAMPLES.iter().copied().find(|(path, _)| *path == wanted)
}

/// Where the examples of the rule at `path` stand.
#[must_use]
pub fn examples_path(path: &str) -> String {
    format!("{}.examples.yaml", path.strip_suffix(".rhai").unwrap_or(path))
}

impl Example {
    /// Runs the example on `rule`; the text says how the decision differs from the expected one.
    ///
    /// # Errors
    /// The parameters do not fit, or the decision is another.
    pub fn run(&self, rule: &Arc<Rule>) -> Result<Decided, String> {
        let bound = rule
            .bind(&self.parameters)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        let facts = Arc::new(self.facts.clone().into_facts(None));
        let late = |decided: &Decided| decided.error.as_ref().is_some_and(|error| error.kind == ScriptErrorKind::Time);
        let mut decided = bound.decide(Arc::clone(&facts));
        for _ in 1..ATTEMPTS {
            if !late(&decided) {
                break;
            }
            decided = bound.decide(Arc::clone(&facts));
        }
        self.expect.meets(&decided.decision).map(|()| decided)
    }
}

impl Expectation {
    fn meets(&self, decision: &Decision) -> Result<(), String> {
        let said = || {
            let until = decision.until().map(|until| format!(" until {until}")).unwrap_or_default();
            let why = decision.why();
            format!("{}{until}{}{why}", decision.word(), if why.is_empty() { "" } else { ": " })
        };
        if decision.word() != self.outcome.as_str() {
            return Err(format!("expected {}, got {}", self.outcome.as_str(), said()));
        }
        if let Some(reason) = self.reason.as_ref().filter(|reason| !decision.why().contains(reason.as_str())) {
            return Err(format!("expected a reason with `{reason}`, got {}", said()));
        }
        if self.until.is_some() && self.until != decision.until() {
            return Err(format!("expected until {}, got {}", self.until.unwrap_or_default(), said()));
        }
        Ok(())
    }
}
