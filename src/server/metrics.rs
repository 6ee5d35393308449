//! What the server counts. Every label comes from a closed set.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::access::Refusal;

/// Upper bounds of the durations, in seconds: answers from memory below 1 ms, waits up to a minute.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HookLabels {
    caller: &'static str,
    hook: &'static str,
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    what: &'static str,
    outcome: &'static str,
}

/// The server's metrics. Cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge<i64, AtomicI64>,
    connections: Gauge<i64, AtomicI64>,
    subscribers: Gauge<i64, AtomicI64>,
    auth_failures: Family<ReasonLabels, Counter>,
    hooks: Family<HookLabels, Counter>,
    audit: Family<OutcomeLabels, Counter>,
    reloads: Family<OutcomeLabels, Counter>,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

const fn outcome(good: bool) -> &'static str {
    if good { "done" } else { "failed" }
}

impl Metrics {
    /// Metrics that are in no registry yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            subscribers: Gauge::default(),
            auth_failures: Family::default(),
            hooks: Family::default(),
            audit: Family::default(),
            reloads: Family::default(),
        }
    }

    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let all = registry;
        all.register("probegate_http_requests", "Requests by route and class of status", self.requests.clone());
        all.register(
            "probegate_http_request_duration_seconds",
            "Time from the head of a request to its answer, waits included",
            self.durations.clone(),
        );
        all.register("probegate_http_requests_in_flight", "Requests under way", self.in_flight.clone());
        all.register("probegate_http_connections", "Open connections", self.connections.clone());
        all.register("probegate_http_event_subscribers", "Readers of the event stream", self.subscribers.clone());
        all.register("probegate_http_auth_failures", "Callers not let in, by reason", self.auth_failures.clone());
        all.register("probegate_hook_answers", "Answers to rollout controllers", self.hooks.clone());
        all.register("probegate_audit_events", "Audited writes", self.audit.clone());
        all.register("probegate_http_reloads", "Token and certificate files read again", self.reloads.clone());
    }

    pub(super) fn answered(&self, route: &'static str, status: u16, took: Duration) {
        let class = match status {
            ..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            500.. => "5xx",
        };
        self.requests.get_or_create(&RequestLabels { route, status: class }).inc();
        self.durations.get_or_create(&RouteLabels { route }).observe(took.as_secs_f64());
    }

    pub(super) fn enter(&self) -> Inside {
        Inside::new(self.in_flight.clone())
    }

    pub(super) fn connected(&self) -> Inside {
        Inside::new(self.connections.clone())
    }

    pub(super) fn subscribed(&self) -> Inside {
        Inside::new(self.subscribers.clone())
    }

    pub(super) fn refused(&self, reason: Refusal) {
        self.auth_failures.get_or_create(&ReasonLabels { reason: reason.to_string() }).inc();
    }

    pub(super) fn hook(&self, caller: &'static str, hook: &'static str, verdict: &'static str) {
        self.hooks.get_or_create(&HookLabels { caller, hook, verdict }).inc();
    }

    pub(super) fn audited(&self, what: &'static str, good: bool) {
        self.audit.get_or_create(&OutcomeLabels { what, outcome: outcome(good) }).inc();
    }

    pub(super) fn reloaded(&self, what: &'static str, good: bool) {
        self.reloads.get_or_create(&OutcomeLabels { what, outcome: outcome(good) }).inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts as one in a gauge until it is dropped.
#[derive(Debug)]
pub(super) struct Inside(Gauge<i64, AtomicI64>);

impl Inside {
    fn new(gauge: Gauge<i64, AtomicI64>) -> Self {
        gauge.inc();
        Self(gauge)
    }

    pub(super) fn count(&self) -> i64 {
        self.0.get()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.dec();
    }
}
