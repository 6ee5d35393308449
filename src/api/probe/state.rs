//! Targets, thresholds, severity: what holds for every kind of probe.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Decimal, Labels, Period};

/// Whom to probe: everything given, together.
///
/// A target is a host, `host:port`, or whatever the kind's own address field takes. It replaces
/// where the probe connects to; names, paths and certificates stay those of the kind's own field,
/// unless the target is a whole URL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.static) || has(self.file) || has(self.dns) || has(self.service) || has(self.endpoints) || \
                 has(self.pods) || has(self.ingress) || has(self.nodes) || has(self.apiserver)",
        "message": "at least one of static, file, dns, service, endpoints, pods, ingress, nodes and apiserver"
    }
]))]
pub struct Targets {
    /// A list.
    #[serde(default, rename = "static", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1_000), inner(length(min = 1, max = 2_048)))]
    pub list: Vec<String>,
    /// A file with a target on each line; `#` begins a comment. It is followed, and stands below the
    /// directory of the resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub file: Option<String>,
    /// A name, with or without a port: every address that it has is a target, and followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 300))]
    pub dns: Option<String>,
    /// In a cluster: a Service of the probe's namespace, at its own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub service: Option<String>,
    /// In a cluster: every ready address behind a Service of the probe's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub endpoints: Option<String>,
    /// In a cluster: running pods of the probe's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodTargets>,
    /// In a cluster: every host and path of an Ingress of the probe's namespace, as a URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub ingress: Option<String>,
    /// In a cluster: the internal address of nodes; without a port that of the kubelet, 10250.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeTargets>,
    /// In a cluster: the API server.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apiserver: bool,
    /// The port of what was found in a cluster: its name or its number. Absent: the only one that
    /// there is, else the one that stands in the kind's own field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub port: Option<String>,
}

impl Targets {
    /// Whether some of them are found in a cluster.
    #[must_use]
    pub const fn are_in_cluster(&self) -> bool {
        self.service.is_some()
            || self.endpoints.is_some()
            || self.pods.is_some()
            || self.ingress.is_some()
            || self.nodes.is_some()
            || self.apiserver
    }
}

/// Which pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodTargets {
    /// Their labels.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 64))]
    pub match_labels: Labels,
    /// Only those of one arm: of several revisions that run at once, `canary` is the one whose pods
    /// began last, and `baseline` are all others. Where there is one revision alone it is the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arm: Option<Arm>,
}

/// One of the two populations that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    /// The old one.
    Baseline,
    /// The new one.
    Canary,
}

/// Which nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeTargets {
    /// Their labels. Absent: all nodes.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub match_labels: Labels,
}

/// How a round is expected to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExpectedOutcome {
    /// As the kind's expectations say.
    #[default]
    Success,
    /// The other way round: a port must be shut, a login must be refused.
    Failure,
}

/// What it means that something is not as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The round succeeded, and counts as degraded.
    Degraded,
    /// The round failed.
    Down,
}

/// When a probe turns down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.of) || self.of >= self.failures", "message": "of must not be less than failures"}
]))]
pub struct DownRule {
    /// So many failed rounds. Default 2.
    #[schemars(range(min = 1, max = 100))]
    pub failures: u32,
    /// Of the last so many; absent: in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub of: Option<u32>,
}

/// When a probe turns up again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.of) || self.of >= self.successes", "message": "of must not be less than successes"}
]))]
pub struct UpRule {
    /// So many successful rounds. Default 1.
    #[schemars(range(min = 1, max = 100))]
    pub successes: u32,
    /// Of the last so many; absent: in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub of: Option<u32>,
}

/// When a probe flaps: its rounds change between success and failure too often. A flapping probe is
/// at best degraded, and its turns are no events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlapRule {
    /// So many rounds are looked at; 0 turns the detection off. Default 21.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub window: Option<u32>,
    /// It begins to flap at so many percent of changes, later ones weighing more. Default 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub high: Option<u32>,
    /// It ends below so many percent. Default 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub low: Option<u32>,
}

/// How long a round may take.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.max) || has(self.timesUsual)", "message": "at least one of max and timesUsual"}
]))]
pub struct LatencyRule {
    /// So long, from the start of the round to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Period>,
    /// So many times what is usual for the target, such as `3`; more than 1. It holds once enough
    /// rounds have shown what is usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times_usual: Option<Decimal>,
    /// What it means to be slower. Default `degraded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
}

/// A check of the prober itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SelfCheck {
    /// Labels of the probes whose failures it explains, in all namespaces. Absent: of every probe
    /// that is no self-check and whose target is not on this machine.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub match_labels: Labels,
}

/// When the target is expected to be away: while one of these `ReleaseWindow`s is open, the probe goes
/// on with its rounds and is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.names) || has(self.matchLabels)", "message": "at least one of names and matchLabels"}
]))]
pub struct Maintenance {
    /// Release windows of the same namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub names: Vec<String>,
    /// Labels of release windows, in all namespaces.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub match_labels: Labels,
}
