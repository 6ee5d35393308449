//! What this home tells of itself; its calls are counted by the connection.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResyncLabels {
    kind: &'static str,
    why: &'static str,
}

/// The metrics of one home. Cheap to clone; all clones count together.
#[derive(Debug, Clone, Default)]
pub struct HomeMetrics {
    objects: Family<KindLabels, Gauge>,
    resyncs: Family<ResyncLabels, Counter>,
    breaks: Family<KindLabels, Counter>,
    lags: Family<KindLabels, Counter>,
    deletions: Family<KindLabels, Counter>,
    trimmed: Counter,
}

impl HomeMetrics {
    /// Adds them to a registry, as `probegate_kubernetes_store_…`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("probegate_kubernetes_store");
        registry.register("objects", "Known resources by kind", self.objects.clone());
        registry.register(
            "resyncs",
            "Watches that began anew with a list, by reason (expired, unreadable, silent)",
            self.resyncs.clone(),
        );
        registry.register("watch_breaks", "Watches whose connection broke", self.breaks.clone());
        registry.register("watch_lags", "Watches within the program that lagged behind", self.lags.clone());
        registry.register("retention_deletions", "Records that retention has removed", self.deletions.clone());
        registry.register("records_trimmed", "Run records whose evidence was over its budget", self.trimmed.clone());
    }

    pub(super) fn resident(&self, kind: &'static str, count: usize) {
        self.objects.get_or_create(&KindLabels { kind }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn resynced(&self, kind: &'static str, why: &'static str) {
        self.resyncs.get_or_create(&ResyncLabels { kind, why }).inc();
    }

    pub(super) fn broken(&self, kind: &'static str) {
        self.breaks.get_or_create(&KindLabels { kind }).inc();
    }

    pub(super) fn lagged(&self, kind: &'static str) {
        self.lags.get_or_create(&KindLabels { kind }).inc();
    }

    pub(super) fn deleted(&self, kind: &'static str) {
        self.deletions.get_or_create(&KindLabels { kind }).inc();
    }

    pub(super) fn trimmed(&self) {
        self.trimmed.inc();
    }

    /// How often the watches of a kind began anew with a list for this reason.
    #[must_use]
    pub fn resyncs(&self, kind: &'static str, why: &'static str) -> u64 {
        self.resyncs.get_or_create(&ResyncLabels { kind, why }).get()
    }
}
