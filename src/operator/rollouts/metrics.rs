//! What is counted of rollouts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::record::How;

/// Seconds: from one round trip to what nobody should wait for.
const BUCKETS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HowLabel {
    how: &'static str,
}

/// The metrics; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    pub(super) let_out: Counter,
    pub(super) holds: Counter,
    pub(super) rollbacks: Counter,
    pub(super) errors: Counter,
    pub(super) gated: Gauge,
    pub(super) ungated: Gauge,
    bypasses: Family<HowLabel, Counter>,
    approving: Histogram,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let metrics = Self {
            let_out: Counter::default(),
            holds: Counter::default(),
            rollbacks: Counter::default(),
            errors: Counter::default(),
            gated: Gauge::default(),
            ungated: Gauge::default(),
            bypasses: Family::default(),
            approving: Histogram::new(BUCKETS),
        };
        // A counter that appears with its first bypass shows no increase.
        for how in How::ALL {
            let _ = metrics.bypasses.get_or_create(&HowLabel { how: how.as_str() });
        }
        metrics
    }

    pub(super) fn bypassed(&self, how: How) {
        self.bypasses.get_or_create(&HowLabel { how: how.as_str() }).inc();
    }

    pub(super) fn approved_after(&self, time: Duration) {
        self.approving.observe(time.as_secs_f64());
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "probegate_rollout_approvals",
            "Batches that were let out with a pass.",
            self.let_out.clone(),
        );
        registry.register("probegate_rollout_holds", "Pauses that were given to a rollout.", self.holds.clone());
        registry.register(
            "probegate_rollout_rollbacks",
            "Workloads that got their stable template back.",
            self.rollbacks.clone(),
        );
        registry.register("probegate_rollout_bypasses", "Batches that went out without a pass.", self.bypasses.clone());
        registry.register("probegate_rollout_errors", "Looks at a rollout that failed.", self.errors.clone());
        registry.register("probegate_rollouts_gated", "Rollouts that a gate stands in front of.", self.gated.clone());
        registry.register(
            "probegate_rollouts_ungated",
            "Gated rollouts whose spec lets something out without a pass.",
            self.ungated.clone(),
        );
        registry.register(
            "probegate_rollout_approval_delay_seconds",
            "From a step that waits, and whose last run has passed, to its approval.",
            self.approving.clone(),
        );
    }
}
