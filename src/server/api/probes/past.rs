//! The past of a probe as the interface shows it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::ProbeState;

/// What a window of a probe came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProbeHistory {
    /// All targets together.
    pub summary: PastSummary,
    /// Each target.
    pub targets: Vec<TargetHistory>,
    /// Turns of the probe's state, oldest first.
    pub turns: Vec<PastTurn>,
}

/// What the rounds of a window came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastSummary {
    /// The window that was really counted: the one that was asked for, or up to whole minutes or hours
    /// more at its ends.
    pub window: PastWindow,
    /// All rounds.
    pub rounds: u64,
    /// Those that were as expected.
    pub good: u64,
    /// Those that were answered outside a softer limit.
    pub degraded: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those with trouble of the prober.
    pub trouble: u64,
    /// Slots in which no round could be made.
    pub missed: u64,
    /// Good and degraded rounds of good, degraded and failed ones; null where there are none.
    pub availability: Option<f64>,
    /// How long those took that were answered, in seconds.
    pub latency: Option<PastLatency>,
    /// When the first round began that failed.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub first_failure: Option<Timestamp>,
    /// When the last round began that failed.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub last_failure: Option<Timestamp>,
}

/// From an instant to another, without that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PastWindow {
    /// The first instant.
    #[schema(value_type = String, format = "date-time")]
    pub from: Timestamp,
    /// The first instant after it.
    #[schema(value_type = String, format = "date-time")]
    pub to: Timestamp,
}

/// Latencies, in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PastLatency {
    /// The median.
    pub p50: f64,
    /// Nine of ten took no longer.
    pub p90: f64,
    /// Ninety-nine of a hundred took no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// What a window of one target came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TargetHistory {
    /// The target.
    pub target: String,
    /// In all.
    pub summary: PastSummary,
    /// Minute by minute, and hour by hour of what is older.
    pub steps: Vec<PastStep>,
    /// Failures in full, oldest first: some of each minute.
    pub failures: Vec<PastFailure>,
}

/// A minute or an hour of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PastStep {
    /// Its beginning.
    #[schema(value_type = String, format = "date-time")]
    pub from: Timestamp,
    /// What it came to.
    #[serde(flatten)]
    pub summary: PastSummary,
}

/// One round that was not as expected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PastFailure {
    /// When it began.
    #[schema(value_type = String, format = "date-time")]
    pub at: Timestamp,
    /// When it ended.
    #[schema(value_type = String, format = "date-time")]
    pub ended: Timestamp,
    /// What it says about the target: `degraded`, `failed`, or `trouble` of the prober.
    pub judgement: String,
    /// Why.
    pub reason: String,
    /// Where.
    pub phase: Option<String>,
    /// The reason as a sentence.
    pub message: String,
    /// How long each phase took, in seconds.
    pub durations: BTreeMap<String, f64>,
    /// What happened, line by line; absent where it was too long ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// A turn of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PastTurn {
    /// When.
    #[schema(value_type = String, format = "date-time")]
    pub at: Timestamp,
    /// What it was.
    pub from: ProbeState,
    /// What it is since then.
    pub to: ProbeState,
    /// Why, in one line.
    pub reason: String,
}
