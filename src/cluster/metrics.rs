//! What the connection tells of itself.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// From an answer out of the API server's cache to one that is given up.
const SECONDS: [f64; 10] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];

/// One call and what came of it. The resources are those that the program asks for, the outcomes
/// those of [`Outcome`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    verb: &'static str,
    resource: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerbLabels {
    verb: &'static str,
}

/// The metrics of one connection. Cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub struct CallMetrics {
    calls: Family<CallLabels, Counter>,
    seconds: Family<VerbLabels, Histogram, fn() -> Histogram>,
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Default for CallMetrics {
    fn default() -> Self {
        Self { calls: Family::default(), seconds: Family::new_with_constructor(seconds) }
    }
}

impl CallMetrics {
    /// Adds them to a registry, as `probegate_kubernetes_…`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("probegate_kubernetes");
        registry.register(
            "calls",
            "Calls to the API server by verb, resource and outcome (ok, missing, conflict, forbidden, throttled, gone, \
             invalid, failed, timeout, unreachable)",
            self.calls.clone(),
        );
        registry.register_with_unit(
            "call_duration",
            "How long the API server takes to begin its answer",
            Unit::Seconds,
            self.seconds.clone(),
        );
    }

    pub(super) fn called(&self, verb: &'static str, resource: &str, outcome: &'static str, took: Duration) {
        let labels = CallLabels { verb, resource: resource.to_owned(), outcome };
        self.calls.get_or_create(&labels).inc();
        self.seconds.get_or_create(&VerbLabels { verb }).observe(took.as_secs_f64());
    }

    /// Calls of one verb on one resource with one outcome, so far.
    #[must_use]
    pub fn count(&self, verb: &'static str, resource: &str, outcome: &'static str) -> u64 {
        self.calls.get_or_create(&CallLabels { verb, resource: resource.to_owned(), outcome }).get()
    }
}
