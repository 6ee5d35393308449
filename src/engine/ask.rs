//! What the engine is asked and what it answers: the interface that the server, the command line
//! and the demo stand on.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Mode, Outcome, Question, Verdict};

/// The answer to a question, in the shape that `POST /v1/check` gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// May the rollout go on?
    pub verdict: Verdict,
    /// The run, as `namespace/name`.
    pub id: String,
    /// Why, in one line.
    pub reason: String,
    /// Of a wait: until when, where it is known. Of a pass at pre: until when it counts.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub until: Option<Timestamp>,
    /// When to ask again.
    pub retry_after_seconds: Option<u64>,
    /// The checks, shadow ones included.
    pub checks: Vec<CheckAnswer>,
}

/// One check of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckAnswer {
    /// Its name.
    pub name: String,
    /// What it says.
    pub outcome: Outcome,
    /// How much it counts.
    pub mode: Mode,
    /// One line for a person.
    pub summary: String,
    /// Since when the outcome is what it is.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub since: Option<Timestamp>,
}

/// Why a question has no answer. Trouble of Probegate itself is a `wait`, never an error here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// There is no such gate.
    #[error("there is no gate {namespace}/{gate}{}", nearest.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default())]
    NoGate {
        /// The namespace.
        namespace: String,
        /// The gate.
        gate: String,
        /// The gate with the most similar name.
        nearest: Option<String>,
    },
    /// The gate stands in front of something else.
    #[error("gate {namespace}/{gate} does not select target {target}: {why}")]
    WrongTarget {
        /// The namespace.
        namespace: String,
        /// The gate.
        gate: String,
        /// What was asked about.
        target: String,
        /// What it selects.
        why: String,
    },
    /// The question itself makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// There is no such run.
    #[error("there is no run {0}")]
    NoRun(String),
    /// The run is decided: it cannot be cancelled.
    #[error("run {0} is decided already")]
    Decided(String),
}

/// Answers questions.
#[async_trait]
pub trait Ask: Send + Sync + 'static {
    /// Asks; creates the run where there is none, and waits at most `wait` for its verdict.
    ///
    /// # Errors
    /// The question has no answer: see [`AskError`].
    async fn ask(&self, question: Question, wait: Duration) -> Result<Answer, AskError>;

    /// Ends an open run; its verdict is block, and says who cancelled it.
    ///
    /// # Errors
    /// [`AskError::NoRun`], [`AskError::Decided`].
    async fn cancel(&self, namespace: &str, run: &str, actor: &str, reason: &str) -> Result<Answer, AskError>;
}
