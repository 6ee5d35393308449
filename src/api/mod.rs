//! The resources: one set of types for YAML files in a directory and custom resources in a
//! cluster (group `probegate.io`, version `v1alpha1`).
//!
//! Fields that a schema alone cannot judge carry CEL rules; durations and decimals are strings;
//! a union is a struct of optional members of which exactly one is set, as in Kubernetes' own
//! types, because that is what a structural schema can say and an editor can complete.

mod any;
mod condition;
mod exception;
pub mod fields;
mod gate;
mod names;
mod probe;
mod run;
pub mod schema;
pub mod schema_files;
mod schema_rules;
mod window;
mod wish;

pub use any::{AnyResource, KINDS};
pub use condition::{Condition, ConditionStatus, set_condition};
pub use exception::{Effect, Override, OverrideSpec, OverrideState, OverrideStatus, Revocation};
pub use gate::{
    Check, CheckKind, Gate, GateSpec, GateStatus, History, LabelSelector, MetricCheck, PostChecks, PreChecks,
    ProbesCheck, Target, WebhookCheck, WebhookHeader, WebhookJson, WebhookPoll, WebhookTls, WindowCheck, WorkloadRef,
};
pub use names::{
    ANNOTATION_CANCEL, ANNOTATION_GATE, ANNOTATION_MODULE, ANNOTATION_RELEASE, ANNOTATION_REVOKE, ANNOTATION_RUN,
    ANNOTATION_SOURCE, ANNOTATION_VERDICT, DEFAULT_NAMESPACE, GROUP, LABEL_CHANGE, LABEL_GATE, LABEL_QUESTION,
    LABEL_REVISION, LABEL_SUBJECT, Resource, VERSION, name_of, namespace_of,
};
pub use probe::{
    Arm, BasicAuth, BearerAuth, CertificateExpect, ClientCredentials, DnsExpect, DnsProbe, DnsRecords, DnsTransport,
    DownRule, ExchangeStep, ExpectedOutcome, FlapRule, GrpcProbe, HttpAuth, HttpBody, HttpExpect, HttpHeader, HttpJson,
    HttpLatency, HttpProbe, HttpProxy, HttpRedirects, HttpSize, HttpVersion, IcmpExpect, IcmpProbe, IpFamily,
    LastModified, LastRun, LatencyRule, Maintenance, MatchedFact, NodeTargets, PodTargets, Probe, ProbeSpec,
    ProbeStatus, ProbeTls, RunRound, ScriptProbe, SelfCheck, Severity, StartTls, TargetStatus, Targets, TcpProbe,
    TlsExpect, TlsProbe, TlsVersion, UdpProbe, UnixHttp, UnixProbe, UpRule, WebsocketProbe,
};
pub use run::{
    Attempt, Bypassed, Cause, CheckStatus, GateRun, GateRunSpec, GateRunStatus, UsedOverride, Voided, condition_types,
};
pub use window::{
    Calendar, CronSchedule, DateRange, ReleaseWindow, ReleaseWindowSpec, ReleaseWindowStatus, RruleSchedule, Schedule,
    Weekday, WeeklyHours, WindowSelector, WindowType,
};
pub use wish::Wish;
