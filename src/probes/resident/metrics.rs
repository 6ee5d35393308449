//! What the engine counts about itself.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::model::ProbeState;
use crate::probes::result::Judgement;

/// From a loopback exchange to the longest useful timeout.
const ROUND_SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// From a healthy schedule to one that is lost.
const LATE_SECONDS: [f64; 8] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RoundLabels {
    kind: &'static str,
    judgement: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

/// The engine's metrics; every label comes from a closed set.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    rounds: Family<RoundLabels, Counter>,
    seconds: Family<KindLabels, Histogram, fn() -> Histogram>,
    late: Histogram,
    missed: Counter,
    explained: Counter,
    states: Family<StateLabels, Gauge<i64, AtomicI64>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            rounds: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(ROUND_SECONDS)),
            late: Histogram::new(LATE_SECONDS),
            missed: Counter::default(),
            explained: Counter::default(),
            states: Family::default(),
        }
    }
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "probegate_probe_rounds",
            "Rounds of probes by kind, by what they say and why",
            self.rounds.clone(),
        );
        registry.register("probegate_probe_round_seconds", "How long rounds took", self.seconds.clone());
        registry.register("probegate_probe_late_seconds", "How long after its slot a round began", self.late.clone());
        registry.register("probegate_probe_missed", "Slots in which no round could be made", self.missed.clone());
        registry.register(
            "probegate_probe_explained",
            "Failures that a parent or a self-check explained, and that counted as the prober's trouble",
            self.explained.clone(),
        );
        registry.register("probegate_probes", "Probes by state", self.states.clone());
    }

    /// A round of a kind, how long it took, and how long after its due time it began.
    pub(super) fn round(
        &self,
        kind: &'static str,
        judgement: Judgement,
        reason: &'static str,
        (took, late): (Duration, Duration),
    ) {
        self.rounds.get_or_create(&RoundLabels { kind, judgement: judgement.as_str(), reason }).inc();
        self.seconds.get_or_create(&KindLabels { kind }).observe(took.as_secs_f64());
        self.late.observe(late.as_secs_f64());
    }

    /// A failure that was explained by the prober's own trouble or a parent's.
    pub(super) fn explained(&self) {
        self.explained.inc();
    }

    pub(super) fn missed(&self, slots: u32) {
        self.missed.inc_by(slots.into());
    }

    /// Counts a probe out of one state and into another.
    pub(super) fn turn(&self, from: Option<ProbeState>, to: Option<ProbeState>) {
        let gauge = |state: ProbeState| self.states.get_or_create_owned(&StateLabels { state: state.as_str() });
        if let Some(state) = from {
            gauge(state).dec();
        }
        if let Some(state) = to {
            gauge(state).inc();
        }
    }
}
