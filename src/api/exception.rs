//! `Override`: an audited exception.

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::names::resource;

/// An audited exception: who, why, ticket, for what, until when.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "probegate.io",
    version = "v1alpha1",
    kind = "Override",
    plural = "overrides",
    shortname = "pgo",
    category = "probegate",
    namespaced,
    derive = "PartialEq",
    status = "OverrideStatus",
    printcolumn = r#"{"name":"Gate","type":"string","jsonPath":".spec.gate"}"#,
    printcolumn = r#"{"name":"Window","type":"string","jsonPath":".spec.window"}"#,
    printcolumn = r#"{"name":"Change","type":"string","jsonPath":".spec.change"}"#,
    printcolumn = r#"{"name":"Effect","type":"string","jsonPath":".spec.effect"}"#,
    printcolumn = r#"{"name":"Actor","type":"string","jsonPath":".spec.actor"}"#,
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Expires","type":"string","jsonPath":".spec.expires"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self == oldSelf", "message": "an override's spec is immutable: revoke it and create another"},
    {"rule": "has(self.gate) != has(self.window)", "message": "exactly one of gate and window"},
    {"rule": "!has(self.check) || has(self.gate)", "message": "check belongs to a gate"}
]))]
pub struct OverrideSpec {
    /// The gate that it is for, in the override's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub gate: Option<String>,
    /// The window that it is for, in the override's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub window: Option<String>,
    /// The change that it is for, by its id.
    #[schemars(length(min = 1, max = 253))]
    pub change: String,
    /// The check that it is for. Absent: the whole verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub check: Option<String>,
    /// What it does.
    pub effect: Effect,
    /// Who made it.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub actor: String,
    /// Why.
    #[schemars(length(min = 1, max = 512))]
    pub reason: String,
    /// Where it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub ticket: Option<String>,
    /// When it ends.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub expires: Timestamp,
}

/// What an override does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// The check, window or whole verdict counts as passed.
    Pass,
    /// The check, window or whole verdict counts as failed: stops one change by hand.
    Block,
}

/// The standing of an override.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OverrideState {
    /// It has its effect.
    InForce,
    /// A verdict stands on it.
    Used,
    /// Its time is over.
    Expired,
    /// Somebody took it back.
    Revoked,
}

/// What has become of an override.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverrideStatus {
    /// The standing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<OverrideState>,
    /// The runs whose verdicts stand on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
    /// Who took it back, when and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
    /// `InForce`.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Who took an override back, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// Who.
    pub actor: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// When.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
}

impl Override {
    /// Whether it has its effect at `now`: not expired and not revoked.
    #[must_use]
    pub fn in_force(&self, now: Timestamp) -> bool {
        now < self.spec.expires && self.status.as_ref().is_none_or(|status| status.revoked.is_none())
    }
}

resource!(Override, OverrideStatus, "Override", "overrides");
