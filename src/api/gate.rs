//! `Gate`: for which targets, which checks at each point.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::condition::Condition;
use super::names::resource;
use crate::model::{Decimal, Expression, Labels, Mode, OnBlock, OnUnknown, Period, Running};

/// The policy: for which targets, which checks before and after a batch.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "probegate.io",
    version = "v1alpha1",
    kind = "Gate",
    plural = "gates",
    shortname = "pgg",
    category = "probegate",
    namespaced,
    derive = "PartialEq",
    status = "GateStatus",
    printcolumn = r#"{"name":"Target","type":"string","jsonPath":".spec.target.workloadRef.name"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Verdict","type":"string","jsonPath":".status.lastVerdict"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.lastReason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.pre) || has(self.post)", "message": "a gate needs checks at pre, at post, or at both"}
]))]
pub struct GateSpec {
    /// What the gate stands in front of.
    pub target: Target,
    /// Asked before a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre: Option<PreChecks>,
    /// Asked after a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post: Option<PostChecks>,
    /// How long the records of this gate are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
}

/// What a gate stands in front of: exactly one of its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "[has(self.workloadRef), has(self.names), has(self.selector)].filter(x, x).size() == 1",
     "message": "exactly one of workloadRef, names and selector"}
]))]
pub struct Target {
    /// One workload; a change's `target` is its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_ref: Option<WorkloadRef>,
    /// Names of targets; `*` and `?` are wildcards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 253)))]
    pub names: Option<Vec<String>>,
    /// Labels of targets, as the change tells them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// One workload of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadRef {
    /// Such as `apps/v1`.
    #[schemars(length(min = 1, max = 253))]
    pub api_version: String,
    /// Such as `Deployment`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its name, in the gate's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Labels by equality and by sets; every requirement must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels with exactly these values.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub match_labels: Labels,
    /// Set-based requirements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub match_expressions: Vec<Expression>,
}

impl LabelSelector {
    /// Whether `labels` meet every requirement.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|expression| expression.matches(labels))
    }
}

/// What is asked before a batch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreChecks {
    /// How long to measure before what is still pending counts as unknown. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// What unknown at the timeout becomes. Default block.
    #[serde(default)]
    pub on_unknown: OnUnknown,
    /// How long a pass counts. Default 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_for: Option<Period>,
    /// How long a block stands before the same question is judged anew. Default 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Period>,
    /// The checks.
    #[serde(default)]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub checks: Vec<Check>,
}

/// What is asked after a batch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostChecks {
    /// Quiet period: the least time before a pass. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<Period>,
    /// How long to measure before what is still pending counts as unknown. Default 30m, and never
    /// shorter than the soak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// What unknown at the timeout becomes. Default block.
    #[serde(default)]
    pub on_unknown: OnUnknown,
    /// What the operator does with the rollout when a batch is blocked: hold it, or give the
    /// workload its stable template back. Default hold.
    #[serde(default)]
    pub on_block: OnBlock,
    /// The checks.
    #[serde(default)]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub checks: Vec<Check>,
}

/// How long records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct History {
    /// At most so many decided runs. Default 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub runs: Option<u32>,
    /// At most so old. Default 90d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<Period>,
}

/// One condition inside a gate: a name, how much it counts, and exactly one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "[has(self.window), has(self.rule), has(self.webhook), has(self.probes), has(self.metric)].filter(x, x).size() == 1",
     "message": "exactly one of window, rule, webhook, probes and metric"},
    {"rule": "!has(self.parameters) || has(self.rule)", "message": "parameters belong to a rule"}
]))]
pub struct Check {
    /// Its name, unique among the checks of its point.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// How much it counts. Default enforce.
    #[serde(default)]
    pub mode: Mode,
    /// How long one execution may take. Default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// How often it is executed again while the run goes on. Default 10s, and for a webhook once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Period>,
    /// How many executions in a row may fail before the check has failed; each one is evidence.
    /// Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 20))]
    pub retries: Option<u8>,
    /// Release windows and freezes that select the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowCheck>,
    /// A rule: the path of a Rhai file, such as `rules/weekend.rhai`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub rule: Option<String>,
    /// Parameters of the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_map")]
    pub parameters: Option<BTreeMap<String, Value>>,
    /// A call to a business check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookCheck>,
    /// Probes by selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<ProbesCheck>,
    /// A query on a Prometheus server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<MetricCheck>,
}

/// The one kind of a check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CheckKind<'a> {
    /// Release windows and freezes.
    Window(&'a WindowCheck),
    /// A Rhai rule and its parameters.
    Rule(&'a str),
    /// A call to a business check.
    Webhook(&'a WebhookCheck),
    /// Probes by selector.
    Probes(&'a ProbesCheck),
    /// A query on a Prometheus server.
    Metric(&'a MetricCheck),
}

impl CheckKind<'_> {
    /// The field that the kind stands under.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Window(_) => "window",
            Self::Rule(_) => "rule",
            Self::Webhook(_) => "webhook",
            Self::Probes(_) => "probes",
            Self::Metric(_) => "metric",
        }
    }
}

impl Check {
    /// The fields that a check's kind can stand under.
    pub const KINDS: &'static [&'static str] = &["window", "rule", "webhook", "probes", "metric"];

    /// The kind; `None` unless exactly one is set.
    #[must_use]
    pub fn kind(&self) -> Option<CheckKind<'_>> {
        let mut kinds = [
            self.window.as_ref().map(CheckKind::Window),
            self.rule.as_deref().map(CheckKind::Rule),
            self.webhook.as_ref().map(CheckKind::Webhook),
            self.probes.as_ref().map(CheckKind::Probes),
            self.metric.as_ref().map(CheckKind::Metric),
        ]
        .into_iter()
        .flatten();
        let first = kinds.next();
        if kinds.next().is_some() { None } else { first }
    }
}

/// Every release window and freeze that selects the target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WindowCheck {
    /// What a window that shuts in mid-release means, where the window itself does not say.
    /// Default hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
}

/// Probes that must be up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.selector) || has(self.matchExpressions) || has(self.names)",
     "message": "say which probes: selector, matchExpressions or names"}
]))]
pub struct ProbesCheck {
    /// Labels of the probes, by equality.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub selector: Labels,
    /// Set-based requirements on the probes' labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub match_expressions: Vec<Expression>,
    /// Names of probes in the gate's namespace, beside those selected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub names: Vec<String>,
    /// The least number of rounds that each probe must have made since the run began. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub rounds: Option<u32>,
    /// How many rounds of each probe may fail among those that count. Absent: as many as leave its
    /// state as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000))]
    pub allowed_failures: Option<u32>,
    /// So many of the selected probes must be good; where there are fewer, all of them. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub at_least: Option<u32>,
    /// Rounds of so long before the run count as well: the health that a change begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look_back: Option<Period>,
}

/// A query on a Prometheus server, held against a threshold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.max) || has(self.min)", "message": "say what is allowed: max, min or both"}
]))]
pub struct MetricCheck {
    /// The base URL of the Prometheus server. Absent: the one that the server was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2_048))]
    pub server: Option<String>,
    /// A PromQL expression; every sample of its answer is held against the threshold. The names
    /// `${target}`, `${namespace}`, `${cluster}`, `${revision}` and `${change}` are filled in as
    /// quoted label values need them.
    #[schemars(length(min = 1, max = 8_192))]
    pub query: String,
    /// The largest allowed value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Decimal>,
    /// The smallest allowed value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Decimal>,
    /// How long a sample must stay beyond the threshold before the check fails: a range query over
    /// this length. Absent: an instant query.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub hold: Option<Period>,
    /// The step of the range query. Default 15s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Period>,
}

/// A call to a business check.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookCheck {
    /// Where to call: http or https.
    #[schemars(length(min = 1, max = 2_048))]
    pub url: String,
    /// The method. Default POST, or GET where there is no body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 7), regex(pattern = r"^(GET|POST|PUT|PATCH|HEAD|DELETE)$"))]
    pub method: Option<String>,
    /// Headers to send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub headers: Vec<WebhookHeader>,
    /// The body: a template with `{{ change.id }}`, `{{ batch.index }}`, `{{ gate }}`, `{{ point }}`
    /// and so on. Absent: the question as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65_536))]
    pub body: Option<String>,
    /// Allowed status codes. Default every 2xx.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(range(min = 100, max = 599)))]
    pub status: Vec<u16>,
    /// A Rhai expression over `status`, `headers`, `body` (parsed where it is JSON) and `text`
    /// that must be true, such as `body.ok == true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub expect: Option<String>,
    /// A JSON path and the value that must stand there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_json: Option<WebhookJson>,
    /// Ask again until the other side has finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<WebhookPoll>,
    /// Options for https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<WebhookTls>,
}

/// One header, its value in plain or from a file of the secrets directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.value) != has(self.secretFile)", "message": "exactly one of value and secretFile"}
]))]
pub struct WebhookHeader {
    /// The header's name.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// The value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4_096))]
    pub value: Option<String>,
    /// A file below the secrets directory that holds the value; a line end at its end is cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_file: Option<String>,
    /// What stands before the value, such as `Bearer `.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub prefix: Option<String>,
}

/// A JSON path and the value that must stand there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookJson {
    /// A JSON path (RFC 9535) that selects exactly one value, such as `$.result.ok`.
    #[schemars(length(min = 1, max = 1_024))]
    pub path: String,
    /// The value: any JSON scalar.
    #[schemars(schema_with = "free_value")]
    pub equals: Value,
}

/// Asks again until the other side has finished.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookPoll {
    /// How long to wait between calls. Default 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Period>,
    /// A Rhai expression that is true when the other side has finished. Default: the status is not
    /// 202.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4_096))]
    pub done: Option<String>,
    /// Where to ask after the first call, with GET: an absolute URL or a Rhai expression in
    /// `${…}` over the first answer. Absent: the answer's Location header, else the same call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2_048))]
    pub url: Option<String>,
}

/// Options for https.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookTls {
    /// A file below the secrets directory with the certificates to trust, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub ca_file: Option<String>,
    /// A file below the secrets directory with the client certificate chain, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub cert_file: Option<String>,
    /// A file below the secrets directory with the client's key, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key_file: Option<String>,
    /// Do not check the server's certificate. Said in the evidence of every answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_verify: bool,
}

/// The standing of a gate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateStatus {
    /// The generation of the spec that this was seen at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The last verdict of any run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verdict: Option<crate::model::Verdict>,
    /// Its reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reason: Option<String>,
    /// Its run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<String>,
    /// `Ready`: the spec is valid and everything that it refers to exists.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

resource!(Gate, GateStatus, "Gate", "gates");

/// Any JSON object: parameters are judged by the rule that takes them.
pub(super) fn free_map(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        // One unit to an API server, which would otherwise keep a list of every field's owner.
        "x-kubernetes-map-type": "atomic"
    })
}

/// Any JSON value.
pub(super) fn free_value(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}
