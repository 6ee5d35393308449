//! `GateRun`: one evaluation of one gate for one (change, batch, point).

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::condition::Condition;
use super::names::resource;
use crate::model::{Batch, Change, Evidence, Mode, Outcome, Point, Verdict};

/// Types of the conditions on a run.
pub mod condition_types {
    /// The verdict is pass or block, and written for good.
    pub const DECIDED: &str = "Decided";
    /// The verdict no longer counts: another revision came.
    pub const VOID: &str = "Void";
    /// The rollout went on without waiting for a pass.
    pub const BYPASSED: &str = "Bypassed";
}

/// One run: its inputs, its checks with evidence, its verdict. Creating one starts it.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "probegate.io",
    version = "v1alpha1",
    kind = "GateRun",
    plural = "gateruns",
    shortname = "pgr",
    category = "probegate",
    namespaced,
    derive = "PartialEq",
    status = "GateRunStatus",
    printcolumn = r#"{"name":"Gate","type":"string","jsonPath":".spec.gate"}"#,
    printcolumn = r#"{"name":"Change","type":"string","jsonPath":".spec.change.id"}"#,
    printcolumn = r#"{"name":"Batch","type":"integer","jsonPath":".spec.batch.index"}"#,
    printcolumn = r#"{"name":"Point","type":"string","jsonPath":".spec.point"}"#,
    printcolumn = r#"{"name":"Verdict","type":"string","jsonPath":".status.verdict"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.reason"}"#,
    printcolumn = r#"{"name":"Until","type":"string","jsonPath":".status.until","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self == oldSelf", "message": "a run's spec is immutable: create another run"},
    {"rule": "!has(self.batch) || self.batch.index <= self.batch.total", "message": "batch.index is larger than batch.total"}
]))]
pub struct GateRunSpec {
    /// The gate, in the run's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub gate: String,
    /// The change that asks.
    pub change: Change,
    /// The batch. Absent: the whole change in one.
    #[serde(default)]
    pub batch: Batch,
    /// Before or after the batch.
    pub point: Point,
}

/// What a run has seen and decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateRunStatus {
    /// The verdict so far; final once `Decided` holds.
    pub verdict: Verdict,
    /// Why, in one line.
    pub reason: String,
    /// Of a wait: until when, where it is known. Of a pass at pre: until when it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub until: Option<Timestamp>,
    /// Which attempt at its question this is, from 1.
    #[serde(default = "first")]
    #[schemars(range(min = 1))]
    pub attempt: u32,
    /// The checks with their evidence.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub checks: Vec<CheckStatus>,
    /// When the evaluation began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub started_at: Option<Timestamp>,
    /// When the verdict became final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub decided_at: Option<Timestamp>,
    /// What the final verdict rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// How long the run has been measuring, in milliseconds, without the time that it was held
    /// until a known instant: what the timeout is compared with.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub measured_millis: i64,
    /// The latest instant that the evaluation has seen: time never goes back behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub seen_at: Option<Timestamp>,
    /// The gate's spec at the start, resolved: soak, timeout, policy and checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::gate::free_map")]
    pub plan: Option<Value>,
    /// The overrides that took part in the verdict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<UsedOverride>,
    /// Set when another revision made the verdict void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voided: Option<Voided>,
    /// Set when the rollout went on without waiting for a pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bypassed: Option<Bypassed>,
    /// Who cancelled the run, where somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<String>,
    /// The program's version that decided.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub decided_with: String,
    /// `Decided`, `Void` and `Bypassed`.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// What a final verdict rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// Every enforced check passed, or one failed.
    Checks,
    /// Something was still unknown at the timeout, and the gate's policy decided.
    Unknown,
    /// An override of the whole verdict.
    Override,
    /// A block after an earlier batch, which is final for its revision.
    Standing,
    /// Somebody cancelled the run.
    Cancelled,
    /// Another revision came before the run was decided.
    Void,
}

const fn first() -> u32 {
    1
}

/// One check of a run: what it says, and what it saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckStatus {
    /// The check's name.
    pub name: String,
    /// Its kind, such as `window`.
    pub kind: String,
    /// How much it counts.
    pub mode: Mode,
    /// What it says.
    pub outcome: Outcome,
    /// One line for a person.
    pub summary: String,
    /// Since when the outcome is what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub since: Option<Timestamp>,
    /// Of a pending check: the known instant that it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub until: Option<Timestamp>,
    /// How often it was executed.
    #[serde(default)]
    pub executions: u32,
    /// What the last execution saw.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::gate::free_map")]
    pub evidence: Evidence,
    /// What the check wants to find again at its next execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::gate::free_value")]
    pub carry: Option<Value>,
    /// The last executions with another outcome, or failed ones that were tried again; the oldest
    /// are left out first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// The override that turned the outcome, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden_by: Option<String>,
}

/// One execution of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// When it began.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// What it said.
    pub outcome: Outcome,
    /// One line for a person.
    pub summary: String,
}

/// An override that took part in a verdict, as it was then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsedOverride {
    /// Its name.
    pub name: String,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Where it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

/// What made a verdict void.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Voided {
    /// The revision that came.
    pub revision: String,
    /// Its change.
    pub change: String,
    /// When.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
}

/// How a rollout went on without waiting for a pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bypassed {
    /// When it was seen.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// How, in one word: `approval`, `duration`, `lastStep`, `disabled`, `deleted`, `editedStep`,
    /// `jump` or `newRevision`.
    pub how: String,
    /// Who, as the cluster's field managers tell; absent where they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The batch that went out, or one more than there are for the end of the rollout.
    pub batch: u32,
}

resource!(GateRun, GateRunStatus, "GateRun", "gateruns");
