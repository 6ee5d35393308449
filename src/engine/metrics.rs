//! What the engine counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Seconds: from a cached answer to a long measurement.
const BUCKETS: [f64; 10] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1_800.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct VerdictLabels {
    pub(super) verdict: String,
    pub(super) point: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ExecutionLabels {
    pub(super) kind: String,
    pub(super) outcome: String,
}

/// The engine's metrics; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    pub(super) verdicts: Family<VerdictLabels, Counter>,
    pub(super) executions: Family<ExecutionLabels, Counter>,
    pub(super) deciding: Histogram,
    pub(super) executing: Histogram,
    pub(super) open: Gauge,
    pub(super) answers_from_memory: Counter,
    pub(super) failed_commits: Counter,
    pub(super) voided: Counter,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            verdicts: Family::default(),
            executions: Family::default(),
            deciding: Histogram::new(BUCKETS),
            executing: Histogram::new(BUCKETS),
            open: Gauge::default(),
            answers_from_memory: Counter::default(),
            failed_commits: Counter::default(),
            voided: Counter::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("probegate_verdicts", "Final verdicts.", self.verdicts.clone());
        registry.register("probegate_check_executions", "Executions of checks.", self.executions.clone());
        registry.register(
            "probegate_run_duration_seconds",
            "From the start of a run to its written verdict.",
            self.deciding.clone(),
        );
        registry.register("probegate_check_duration_seconds", "One execution of a check.", self.executing.clone());
        registry.register("probegate_open_runs", "Runs without a final verdict.", self.open.clone());
        registry.register(
            "probegate_answers_from_memory",
            "Questions answered without asking the store.",
            self.answers_from_memory.clone(),
        );
        registry.register(
            "probegate_failed_commits",
            "Attempts to write a verdict that the store refused.",
            self.failed_commits.clone(),
        );
        registry.register("probegate_voided_runs", "Runs made void by a new revision.", self.voided.clone());
    }
}
