//! The table of kinds: one file each, one function type.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;

use super::result::{Failure, Observation};
use super::trace::Trace;
use super::{http, tcp};
use crate::api::ProbeSpec;
use crate::outbound::Outbound;

/// What a round ends with. A failure whose reason is latency is a success, and counts as degraded.
pub type Probing<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;
/// A compiled probe: every call is one round. It may be dropped at any await.
pub type Prober = Arc<dyn for<'a> Fn(&'a mut Trace) -> Probing<'a> + Send + Sync>;
/// Compiles a spec of its own kind, and leaves those of others alone.
type Compiler = fn(&ProbeSpec, &Outbound) -> Option<Result<Prober, SpecError>>;

/// The kinds by the field of the spec that they stand under.
const KINDS: [(&str, Compiler); 2] = [("http", http::compile), ("tcp", tcp::compile)];

/// What is wrong with a probe's spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("spec.{field}: {why}")]
pub struct SpecError {
    /// The field below the spec.
    pub field: &'static str,
    /// What was found and what is allowed.
    pub why: String,
}

impl SpecError {
    /// An error in a field.
    #[must_use]
    pub fn new(field: &'static str, why: impl Into<String>) -> Self {
        Self { field, why: why.into() }
    }
}

/// Prepares a probe, and tells its kind.
///
/// # Errors
/// No kind is set, or several are, or the kind's own error.
pub fn compile(spec: &ProbeSpec, outbound: &Outbound) -> Result<(&'static str, Prober), SpecError> {
    let mut found = KINDS.iter().filter_map(|(name, compile)| Some((*name, compile(spec, outbound)?)));
    match (found.next(), found.next()) {
        (Some((name, compiled)), None) => Ok((name, compiled?)),
        (first, _) => {
            let found = if first.is_some() { "several are set" } else { "none is set" };
            let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            Err(SpecError::new(
                names.first().copied().unwrap_or_default(),
                format!("exactly one of {} must be set; {found}", names.join(", ")),
            ))
        }
    }
}

/// Makes one round.
pub async fn observe(prober: &Prober, timeout: Duration) -> Observation {
    let mut trace = Trace::begin(timeout);
    let deadline = trace.deadline();
    let ended = timeout_at(deadline, prober(&mut trace)).await.ok();
    trace.finish(ended)
}
