//! What the archive tells of itself.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::write::Totals;
use crate::probes::history::Batch;

/// What it is about: minutes, hours, failures, turns or states.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
}

/// The metrics of one archive. Cheap to clone; all clones count together.
#[derive(Debug, Clone, Default)]
pub struct HistoryMetrics {
    rows: Family<What, Gauge>,
    dropped: Family<What, Counter>,
    errors: Counter,
    damages: Counter,
    /// Items that wait to be written.
    pub(super) waiting: Gauge,
    /// The database and its log on the disk.
    pub(super) bytes: Gauge,
}

impl HistoryMetrics {
    /// Adds them to a registry, as `probegate_history_…`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("probegate_history");
        registry.register("rows", "Minutes, hours, failures and turns in the probes' history", self.rows.clone());
        registry.register(
            "dropped",
            "What could not be written to the probes' history and is missing from it",
            self.dropped.clone(),
        );
        registry.register("errors", "Failed attempts to write the probes' history", self.errors.clone());
        registry.register(
            "damages",
            "How often the probes' history was found damaged and begun anew",
            self.damages.clone(),
        );
        registry.register("waiting", "Items that wait to be written", self.waiting.clone());
        registry.register_with_unit("size", "The database and its log on the disk", Unit::Bytes, self.bytes.clone());
    }

    pub(super) fn rows(&self, totals: Totals) {
        for (what, count) in [
            ("minutes", totals.minutes),
            ("hours", totals.hours),
            ("failures", totals.failures),
            ("turns", totals.turns),
        ] {
            self.rows.get_or_create(&What { what }).set(count);
        }
    }

    pub(super) fn dropped(&self, batch: &Batch) {
        let failures = batch.minutes.iter().map(|(_, finished)| finished.failures.len()).sum();
        for (what, count) in [
            ("minutes", batch.minutes.len()),
            ("failures", failures),
            ("turns", batch.turns.len()),
            ("states", batch.states.len()),
        ] {
            self.dropped.get_or_create(&What { what }).inc_by(count as u64);
        }
    }

    /// How many items were dropped, of every kind.
    #[must_use]
    pub fn all_dropped(&self) -> u64 {
        ["minutes", "failures", "turns", "states"]
            .into_iter()
            .map(|what| self.dropped.get_or_create(&What { what }).get())
            .sum()
    }

    pub(super) fn failed(&self) {
        self.errors.inc();
    }

    pub(super) fn damaged(&self) {
        self.damages.inc();
    }
}
