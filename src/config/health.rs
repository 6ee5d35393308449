//! How the config directory is doing: for readiness, for metrics.

use std::sync::atomic::AtomicI64;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::Serialize;

use super::diagnostic::Diagnostic;

/// The standing of a config directory.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// The directory.
    pub directory: String,
    /// Whether everything in it is in force. Where not, the last good state of what is broken is.
    pub healthy: bool,
    /// How many files of resources were read.
    pub files: usize,
    /// How many resources of files are in force.
    pub resources: usize,
    /// What is broken now, with file and line.
    pub broken: Vec<Diagnostic>,
    /// How many warnings there are beside.
    pub warnings: usize,
    /// When the directory was read last.
    pub last_reload: Option<Timestamp>,
    /// When everything in it was in force last.
    pub last_success: Option<Timestamp>,
}

/// How a reload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// Everything is in force.
    Success,
    /// Some files are broken; the rest is in force.
    Partial,
    /// The directory or the store could not be used: nothing has changed.
    Failure,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// The metrics of a config directory.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    reloads: Family<OutcomeLabel, Counter>,
    broken: Gauge,
    resources: Gauge,
    last_success: Gauge<i64, AtomicI64>,
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "probegate_config_reloads",
            "Reloads of the config directory, by outcome: success, partial (some files are broken) or failure",
            self.reloads.clone(),
        );
        registry.register(
            "probegate_config_broken_files",
            "Files of the config directory that are broken now; their last good state is in force",
            self.broken.clone(),
        );
        registry.register(
            "probegate_config_resources",
            "Resources of the config directory that are in force",
            self.resources.clone(),
        );
        registry.register(
            "probegate_config_last_success_timestamp_seconds",
            "When everything in the config directory was in force last, in Unix time",
            self.last_success.clone(),
        );
    }

    /// Counts one reload.
    pub(super) fn count(&self, outcome: Outcome, health: &Health, broken_files: usize) {
        let label = match outcome {
            Outcome::Success => "success",
            Outcome::Partial => "partial",
            Outcome::Failure => "failure",
        };
        self.reloads.get_or_create(&OutcomeLabel { outcome: label }).inc();
        self.broken.set(i64::try_from(broken_files).unwrap_or(i64::MAX));
        self.resources.set(i64::try_from(health.resources).unwrap_or(i64::MAX));
        if let Some(at) = health.last_success {
            self.last_success.set(at.as_second());
        }
    }
}
