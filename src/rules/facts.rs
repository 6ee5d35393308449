//! What a rule decides on.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::{Batch, Change, Labels, PastRun, Point, ProbeState, Question};

/// Everything that a rule can know: values, put together by whoever asks it.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The change that asks.
    pub change: Change,
    /// The batch that it asks for.
    pub batch: Batch,
    /// Before or after the batch.
    pub point: Point,
    /// The namespace of the gate.
    pub namespace: String,
    /// The gate.
    pub gate: String,
    /// The name of the run that asks; empty where there is none.
    pub run: String,
    /// Now.
    pub now: Timestamp,
    /// What the release windows say of the change now. Absent: nobody knows any here.
    pub window: Option<WindowFact>,
    /// The runs of all gates, lately. Absent: not read yet, and a rule that counts them is unknown.
    pub runs: Option<Vec<Arc<PastRun>>>,
    /// The probes and their states. Absent: not known yet, and a rule that asks is unknown.
    pub probes: Option<Vec<ProbeFact>>,
}

/// What the release windows say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WindowFact {
    /// Whether the change may be made now.
    pub allowed: bool,
    /// The window that decides, where one does.
    #[serde(default)]
    pub rule: Option<String>,
    /// Its type, `allow` or `freeze`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// Why, in one line.
    #[serde(default)]
    pub reason: String,
    /// Until when the answer stands.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// When it opens next, where it is shut.
    #[serde(default)]
    pub next_opening: Option<Timestamp>,
}

/// One probe's standing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProbeFact {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// Its state.
    pub state: ProbeState,
    /// Since when.
    #[serde(default)]
    pub since: Option<Timestamp>,
}

impl Facts {
    /// The facts of `question` at `now`, with nothing known beside it.
    #[must_use]
    pub fn of(question: &Question, run: &str, now: Timestamp) -> Self {
        Self {
            change: question.change.clone(),
            batch: question.batch,
            point: question.point,
            namespace: question.namespace.clone(),
            gate: question.gate.clone(),
            run: run.to_owned(),
            now,
            window: None,
            runs: None,
            probes: None,
        }
    }

    /// What stands in the record: the facts themselves where they are few, and how many there were
    /// of the rest. What was counted among them is in [`super::Decided::looked_up`].
    #[must_use]
    pub fn record(&self) -> Value {
        json!({
            "change": self.change,
            "batch": self.batch,
            "point": self.point,
            "namespace": self.namespace,
            "gate": self.gate,
            "now": self.now,
            "window": self.window,
            "runs": self.runs.as_ref().map(|runs| {
                json!({"count": runs.len(), "since": runs.iter().map(|run| run.created_at).min()})
            }),
            "probes": self.probes.as_ref().map(|probes| json!({"count": probes.len()})),
        })
    }
}
