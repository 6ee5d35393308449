//! The audit log: who did what to which object, and what came of it. One record a write, at the
//! tracing target `audit`.

use super::access::Caller;
use super::metrics::Metrics;

/// The tracing target of audit records.
pub const TARGET: &str = "audit";

/// One audited deed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deed<'a> {
    /// What is done: a word of a closed set.
    pub(super) action: &'static str,
    /// What it is done to.
    pub(super) object: &'a str,
    /// What came of it, or why it was refused.
    pub(super) outcome: &'a str,
    /// Whether it was done.
    pub(super) done: bool,
    /// The request.
    pub(super) request: &'a str,
}

/// Writes the record and counts it.
pub(super) fn record(metrics: &Metrics, caller: &Caller, deed: Deed<'_>) {
    metrics.audited(deed.action, deed.done);
    tracing::info!(
        target: TARGET,
        who = caller.subject(),
        what = deed.action,
        object = deed.object,
        outcome = deed.outcome,
        done = deed.done,
        request_id = deed.request,
        "A write was asked for."
    );
}
