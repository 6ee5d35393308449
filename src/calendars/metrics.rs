//! What the book tells of itself.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Bounded: two types.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TypeLabel {
    pub(super) r#type: &'static str,
}

/// Bounded by the windows that somebody has written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WindowLabel {
    pub(super) namespace: String,
    pub(super) window: String,
}

/// The metrics.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub(super) in_force: Family<TypeLabel, Gauge>,
    pub(super) unknown: Gauge,
    pub(super) age: Family<WindowLabel, Gauge>,
    pub(super) failures: Counter,
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "probegate_windows_in_force",
            "Windows whose schedule covers now, by type",
            self.in_force.clone(),
        );
        registry.register(
            "probegate_windows_unknown",
            "Windows that cannot be read: they open nothing, and somebody should mend them",
            self.unknown.clone(),
        );
        registry.register_with_unit(
            "probegate_calendar_age",
            "Age of the oldest calendar copy of a window",
            Unit::Seconds,
            self.age.clone(),
        );
        registry.register(
            "probegate_calendar_failures",
            "Attempts to read or fetch a calendar that failed",
            self.failures.clone(),
        );
    }
}
