//! `Probe`: what to probe, how often, what counts as failure.

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::gate::WebhookHeader;
use super::names::resource;
use crate::model::{Period, ProbeState};

/// A black-box check with its own schedule and its own state.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "probegate.io",
    version = "v1alpha1",
    kind = "Probe",
    plural = "probes",
    shortname = "pgp",
    category = "probegate",
    namespaced,
    derive = "PartialEq",
    status = "ProbeStatus",
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Since","type":"date","jsonPath":".status.since"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.reason"}"#,
    printcolumn = r#"{"name":"Interval","type":"string","jsonPath":".spec.interval","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "[has(self.http), has(self.tcp)].filter(x, x).size() == 1", "message": "exactly one of http and tcp"}
]))]
pub struct ProbeSpec {
    /// An HTTP request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpProbe>,
    /// A TCP connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpProbe>,
    /// The time between the starts of two rounds, from 100ms to 24h. Default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Period>,
    /// How long one round may take; shorter than the interval. Default 2s, or half the interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// When it turns down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<DownRule>,
    /// When it turns up again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<UpRule>,
}

/// When a probe turns down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DownRule {
    /// So many failed rounds in a row. Default 2.
    #[schemars(range(min = 1, max = 100))]
    pub failures: u32,
}

/// When a probe turns up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpRule {
    /// So many successful rounds in a row. Default 1.
    #[schemars(range(min = 1, max = 100))]
    pub successes: u32,
}

/// An HTTP request and what its answer must be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpProbe {
    /// Where to ask: http or https.
    #[schemars(length(min = 1, max = 2_048))]
    pub url: String,
    /// The method. Default GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 7), regex(pattern = r"^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)$"))]
    pub method: Option<String>,
    /// Headers to send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub headers: Vec<WebhookHeader>,
    /// A body to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65_536))]
    pub body: Option<String>,
    /// What the answer must be. Absent: any 2xx.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<HttpExpect>,
}

/// What an HTTP answer must be; everything given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpExpect {
    /// Allowed status codes. Absent: any 2xx.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(range(min = 100, max = 599)))]
    pub status: Vec<u16>,
    /// What the body must look like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<HttpBody>,
    /// How long the answer may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<HttpLatency>,
}

/// What a body must look like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpBody {
    /// A text that stands in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub contains: Option<String>,
    /// A regular expression that matches in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub matches: Option<String>,
    /// A text that does not stand in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub excludes: Option<String>,
}

/// How long an answer may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpLatency {
    /// From the start of the round to the end of the body; beyond it the round counts as degraded.
    pub max: Period,
}

/// A TCP connection, and optionally an exchange of texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpProbe {
    /// Host and port, such as `redis.shop:6379` or `[::1]:22`.
    #[schemars(length(min = 3, max = 300))]
    pub address: String,
    /// What to send once connected; `\r`, `\n`, `\t`, `\\` and `\xNN` are understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4_096))]
    pub send: Option<String>,
    /// A regular expression that must match in the first 4 KiB of what comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub expect: Option<String>,
}

/// The standing of a probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeStatus {
    /// The state.
    pub state: ProbeState,
    /// Since when.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
    /// Why, in one line.
    #[serde(default)]
    pub reason: String,
    /// The generation of the spec that this was seen at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: the spec is valid and being probed.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

resource!(Probe, ProbeStatus, "Probe", "probes");
