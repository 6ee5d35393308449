//! What the demo has seen: the same story as lines while it happens and as a report at the end.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::probes::ProbeLine;
use crate::engine::Answer;
use crate::model::{Action, Batch, Outcome, Point, Verdict};

/// Something that has happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A change begins.
    Change {
        /// What it is meant to show.
        title: String,
        /// What it brings.
        detail: String,
    },
    /// The rollout has done something, or somebody has.
    Told(String),
    /// The gate was asked and has decided, or waits.
    Asked(Box<Step>),
}

/// Where everything is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// The directory with the gate, the probes, the windows and the rule.
    pub files: String,
    /// The server.
    pub server: String,
    /// Where its health and metrics are.
    pub admin: String,
    /// Where the old revision answers.
    pub baseline: String,
    /// Where the canary answers.
    pub canary: String,
}

/// One question and its answer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The change's id.
    pub change: String,
    /// The target.
    pub target: String,
    /// The revision.
    pub revision: String,
    /// What the change does.
    pub action: Action,
    /// The batch.
    pub batch: Batch,
    /// Before or after it.
    pub point: Point,
    /// What the gate says.
    pub verdict: Verdict,
    /// What the story needs it to say.
    pub expected: Verdict,
    /// Why.
    pub reason: String,
    /// Of a wait: until when.
    pub until: Option<Timestamp>,
    /// The run, for the record.
    pub run: String,
    /// How long the answer took, in milliseconds.
    pub took_ms: u64,
    /// What decided: the checks that did not pass, or all of them where all did.
    pub evidence: Vec<Evidence>,
}

/// What one check saw.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The check.
    pub check: String,
    /// What it says.
    pub outcome: Outcome,
    /// One line.
    pub summary: String,
    /// What it saw, where it is worth a look: of a check that did not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saw: Option<Value>,
}

impl Evidence {
    /// What `answer` says of its checks.
    pub(super) fn of(answer: &Answer) -> Vec<Self> {
        let decisive = |outcome: Outcome| answer.verdict == Verdict::Pass || outcome != Outcome::Pass;
        answer
            .checks
            .iter()
            .filter(|check| decisive(check.outcome))
            .map(|check| Self {
                check: check.name.clone(),
                outcome: check.outcome,
                summary: check.summary.clone(),
                saw: None,
            })
            .collect()
    }
}

/// The whole story.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Where everything is.
    pub stage: Stage,
    /// Every question in order.
    pub steps: Vec<Step>,
    /// What the probes saw meanwhile.
    pub probes: Vec<ProbeLine>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

impl Report {
    /// Whether the gate has said what the story needs.
    #[must_use]
    pub fn as_expected(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(|step| step.verdict == step.expected)
    }
}
