//! `Probe`: what to probe, how often, what counts as failure.

mod exchange;
mod http;
mod network;
mod script;
mod state;
mod tls;

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::names::resource;
use crate::model::{Period, ProbeState};

pub use exchange::{ExchangeStep, MatchedFact, TcpProbe, UdpProbe, UnixHttp, UnixProbe, WebsocketProbe};
pub use http::{
    BasicAuth, BearerAuth, CertificateExpect, ClientCredentials, HttpAuth, HttpBody, HttpExpect, HttpHeader, HttpJson,
    HttpLatency, HttpProbe, HttpProxy, HttpRedirects, HttpSize, HttpVersion, LastModified,
};
pub use network::{DnsExpect, DnsProbe, DnsRecords, DnsTransport, GrpcProbe, IcmpExpect, IcmpProbe, IpFamily};
pub use script::ScriptProbe;
pub use state::{
    Arm, DownRule, ExpectedOutcome, FlapRule, LatencyRule, Maintenance, NodeTargets, PodTargets, SelfCheck, Severity,
    Targets, UpRule,
};
pub use tls::{ProbeTls, StartTls, TlsExpect, TlsProbe, TlsVersion};

/// A black-box check with its own schedule and its own state.
// The kinds are on the heap: ten thousand specs are in memory at once, and each has one kind.
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
    {
        "rule": "[has(self.http), has(self.tcp), has(self.tls), has(self.dns), has(self.grpc), has(self.icmp), \
                 has(self.websocket), has(self.udp), has(self.unix), has(self.script)].filter(x, x).size() == 1",
        "message": "exactly one of http, tcp, tls, dns, grpc, icmp, websocket, udp, unix and script"
    }
]))]
pub struct ProbeSpec {
    /// An HTTP request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Box<HttpProbe>>,
    /// A TCP connection, and optionally an exchange over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Box<TcpProbe>>,
    /// A TLS handshake and the certificates that it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<TlsProbe>>,
    /// A DNS query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Box<DnsProbe>>,
    /// The health service of a gRPC server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<Box<GrpcProbe>>,
    /// Echo requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Box<IcmpProbe>>,
    /// A websocket, and optionally an exchange over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websocket: Option<Box<WebsocketProbe>>,
    /// A datagram, and what comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<Box<UdpProbe>>,
    /// A Unix socket: HTTP or an exchange of texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unix: Option<Box<UnixProbe>>,
    /// A script with several steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Box<ScriptProbe>>,
    /// Whom to probe instead of the one address that stands in the kind's own field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Targets>,
    /// So many targets must be down before the probe is; where there are fewer, all of them. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub quorum: Option<u32>,
    /// `failure` turns the probe round: the target must fail. Default `success`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<ExpectedOutcome>,
    /// The time between the starts of two rounds, from 100ms to 24h. Default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Period>,
    /// How long one round may take; shorter than every interval. Default 2s, or half the shortest interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// How far a round may be moved behind its slot, by chance; shorter than every interval less the
    /// timeout. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Period>,
    /// The interval while the last round contradicts the state, so that a turn is confirmed sooner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge_interval: Option<Period>,
    /// The interval while a change is under way whose gate asks for this probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_interval: Option<Period>,
    /// When it turns down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<DownRule>,
    /// When it turns up again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<UpRule>,
    /// When it flaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flap: Option<FlapRule>,
    /// How long a round may take before it counts as degraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyRule>,
    /// Probes of the same namespace without which this one cannot be up: while one of them is down,
    /// this one is unknown and not down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub parents: Vec<String>,
    /// Makes it a check of the prober itself: while it fails, the failures that it explains make
    /// other probes unknown and not down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_check: Option<SelfCheck>,
    /// When the target is expected to be away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// Makes no rounds by itself; it can still be run by hand, and serve `/probe` as a module.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
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
    /// Each target; of many the worst.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub targets: Vec<TargetStatus>,
    /// The last run by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,
    /// The generation of the spec that this was seen at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: the spec is valid and being probed.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The standing of one target of a probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// The target, as it was listed or found.
    pub target: String,
    /// Its state.
    pub state: ProbeState,
    /// Since when.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
    /// Why, in one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A run by hand, as the annotation `probegate.io/run` asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// The value of the annotation that asked for it.
    pub asked: String,
    /// When it was over.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// Why it could not be made; empty where it was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// A round of each target; of many the worst.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub rounds: Vec<RunRound>,
}

/// One round of a run by hand.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunRound {
    /// Its run id.
    pub id: String,
    /// The target.
    pub target: String,
    /// When it began.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// Whether it ended as expected.
    pub success: bool,
    /// What it says by itself.
    pub state: ProbeState,
    /// Why, in one word.
    #[serde(default)]
    pub reason: String,
    /// The phase that it failed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Why, in one line.
    #[serde(default)]
    pub message: String,
    /// How long each phase took, in microseconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub micros: BTreeMap<String, u64>,
}

resource!(Probe, ProbeStatus, "Probe", "probes");
