//! Probes as the interface shows them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{Labels, ProbeState};
use crate::probes::{Made, ProbeView, TargetView};

/// One probe as it stands, without its targets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeSummary {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its kind, such as `http`; null where its spec is invalid.
    pub kind: Option<String>,
    /// The state.
    pub state: ProbeState,
    /// Since when.
    #[schema(value_type = String, format = "date-time")]
    pub since: Timestamp,
    /// Why, in one line.
    pub reason: String,
    /// Until when the state is bound to stand, where that is known: the end of a maintenance.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub until: Option<Timestamp>,
    /// What is wrong with its spec; null where nothing is.
    pub invalid: Option<String>,
    /// Whether no round has said anything yet.
    pub warming_up: bool,
    /// Whether a target changes too often to be believed.
    pub flapping: bool,
    /// When the first of the rounds began that have failed in a row, where the last one has.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub failing_since: Option<Timestamp>,
    /// The time between two rounds.
    pub interval_seconds: f64,
    /// How long a round may take.
    pub timeout_seconds: f64,
    /// How many rounds it has made since the program began.
    pub rounds: u64,
    /// In how many slots none could be made.
    pub missed: u64,
    /// How many targets are in which state.
    pub counts: TargetCounts,
    /// How many targets must be down for the probe to be.
    pub quorum: u64,
}

/// How many targets are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TargetCounts {
    /// As expected.
    pub up: u64,
    /// Outside a softer limit.
    pub degraded: u64,
    /// Failing.
    pub down: u64,
    /// Not known.
    pub unknown: u64,
}

/// A page of probes, by namespace and name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProbeList {
    /// The probes.
    pub items: Vec<ProbeSummary>,
    /// What to give as `after` for the next page; null at the end.
    pub next: Option<String>,
}

/// One probe with its targets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProbeDetail {
    /// How it stands.
    #[serde(flatten)]
    pub summary: ProbeSummary,
    /// Each target.
    pub targets: Vec<ProbeTarget>,
}

/// One target of a probe as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeTarget {
    /// The target.
    pub target: String,
    /// The state.
    pub state: ProbeState,
    /// Since when.
    #[schema(value_type = String, format = "date-time")]
    pub since: Timestamp,
    /// Whether it changes too often to be believed.
    pub flapping: bool,
    /// When the first of the rounds began that have failed in a row, where the last one has.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub failing_since: Option<Timestamp>,
    /// How many rounds were made.
    pub rounds: u64,
    /// In how many slots none could be made.
    pub missed: u64,
    /// The last round in full: `success`, `state`, `reason`, `phase`, `message`, `durations` (in
    /// seconds by phase), `facts` and `log`; null where there was none.
    #[schema(value_type = Option<Object>)]
    pub last: Option<Value>,
}

/// What a run of a probe by hand gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProbeRuns {
    /// The probe, as `namespace/name`.
    pub probe: String,
    /// One run for each target.
    pub runs: Vec<ProbeRun>,
}

/// One round that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProbeRun {
    /// Its run id.
    pub id: String,
    /// The target.
    pub target: String,
    /// When it began.
    #[schema(value_type = String, format = "date-time")]
    pub at: Timestamp,
    /// The round in full: `success`, `state`, `reason`, `phase`, `message`, `durations` (in seconds by
    /// phase), `facts` and `log`.
    #[schema(value_type = Object)]
    pub result: Value,
}

impl ProbeSummary {
    /// The summary of a probe.
    #[must_use]
    pub fn of(view: &ProbeView) -> Self {
        let mut counts = TargetCounts::default();
        for target in &view.targets {
            match target.state {
                ProbeState::Up => counts.up += 1,
                ProbeState::Degraded => counts.degraded += 1,
                ProbeState::Down => counts.down += 1,
                ProbeState::Unknown => counts.unknown += 1,
            }
        }
        Self {
            namespace: view.namespace.clone(),
            name: view.name.clone(),
            labels: view.labels.clone(),
            kind: view.kind.map(str::to_owned),
            state: view.state,
            since: view.since,
            reason: view.reason.clone(),
            until: view.until,
            invalid: view.invalid.clone(),
            warming_up: view.warming_up,
            flapping: view.flapping,
            failing_since: view.failing_since,
            interval_seconds: view.interval.as_secs_f64(),
            timeout_seconds: view.timeout.as_secs_f64(),
            rounds: view.rounds,
            missed: view.missed,
            counts,
            quorum: view.quorum as u64,
        }
    }

    /// `namespace/name`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl ProbeDetail {
    /// A probe with its targets.
    #[must_use]
    pub fn of(view: &ProbeView) -> Self {
        Self { summary: ProbeSummary::of(view), targets: view.targets.iter().map(ProbeTarget::of).collect() }
    }
}

impl ProbeTarget {
    fn of(view: &TargetView) -> Self {
        Self {
            target: view.target.to_string(),
            state: view.state,
            since: view.since,
            flapping: view.flapping,
            failing_since: view.failing_since,
            rounds: view.rounds,
            missed: view.missed,
            last: view.last.as_ref().and_then(|last| serde_json::to_value(&**last).ok()),
        }
    }
}

impl ProbeRun {
    /// A round that was made.
    #[must_use]
    pub fn of(made: &Made) -> Self {
        Self {
            id: made.id.to_string(),
            target: made.target.to_string(),
            at: made.at,
            result: serde_json::to_value(&*made.observation).unwrap_or_default(),
        }
    }
}
