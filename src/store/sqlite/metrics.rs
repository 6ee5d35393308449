//! What the embedded home tells of itself.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::store::StoreError;

/// From a cached page to a disk that stalls.
const SECONDS: [f64; 10] = [0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];

/// One operation on one kind, and what came of it. At most 7 operations × 5 kinds × 6 outcomes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
#[expect(clippy::struct_field_names, reason = "the fields are the names of the labels")]
struct Operation {
    operation: &'static str,
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verb {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// The metrics of one embedded home. Cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    operations: Family<Operation, Counter>,
    seconds: Family<Verb, Histogram, fn() -> Histogram>,
    commits: Histogram,
    objects: Family<Kind, Gauge>,
    deletions: Family<Kind, Counter>,
    lags: Family<Kind, Counter>,
    /// Writes that wait for their transaction.
    pub(super) queue: Gauge,
    /// The database and its log on the disk.
    pub(super) bytes: Gauge,
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self {
            operations: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            commits: seconds(),
            objects: Family::default(),
            deletions: Family::default(),
            lags: Family::default(),
            queue: Gauge::default(),
            bytes: Gauge::default(),
        }
    }
}

impl StoreMetrics {
    /// Adds them to a registry, as `probegate_store_…`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("probegate_store");
        registry.register(
            "operations",
            "Operations by kind of resource and outcome (ok, missing, exists, conflict, invalid, unavailable)",
            self.operations.clone(),
        );
        registry.register_with_unit(
            "operation_duration",
            "How long operations take, from call to answer",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register_with_unit(
            "commit_duration",
            "How long commits take, with their fsync",
            Unit::Seconds,
            self.commits.clone(),
        );
        registry.register("objects", "Stored resources by kind", self.objects.clone());
        registry.register("retention_deletions", "Records that retention has removed", self.deletions.clone());
        registry.register("watch_lags", "Watches that lagged behind and began anew", self.lags.clone());
        registry.register("write_queue_length", "Writes that wait for their transaction", self.queue.clone());
        registry.register_with_unit("size", "The database and its log on the disk", Unit::Bytes, self.bytes.clone());
    }

    pub(super) fn operated<T>(
        &self,
        operation: &'static str,
        kind: &'static str,
        result: &Result<T, StoreError>,
        took: Duration,
    ) {
        let outcome = match result {
            Ok(_) => "ok",
            Err(StoreError::NotFound { .. }) => "missing",
            Err(StoreError::Exists { .. }) => "exists",
            Err(StoreError::Conflict { .. }) => "conflict",
            Err(StoreError::Invalid(_)) => "invalid",
            Err(StoreError::Unavailable { .. }) => "unavailable",
        };
        self.operations.get_or_create(&Operation { operation, kind, outcome }).inc();
        self.seconds.get_or_create(&Verb { operation }).observe(took.as_secs_f64());
    }

    pub(super) fn committed(&self, took: Duration) {
        self.commits.observe(took.as_secs_f64());
    }

    pub(super) fn objects_changed(&self, kind: &'static str, by: i64) {
        self.objects.get_or_create(&Kind { kind }).inc_by(by);
    }

    pub(super) fn deleted(&self, kind: &'static str, count: usize) {
        self.deletions.get_or_create(&Kind { kind }).inc_by(u64::try_from(count).unwrap_or(0));
    }

    pub(super) fn lagged(&self, kind: &'static str) {
        self.lags.get_or_create(&Kind { kind }).inc();
    }
}
