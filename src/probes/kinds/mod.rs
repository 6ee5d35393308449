//! The table of kinds: one file each, one function type.

mod dns;
mod grpc;
mod http;
mod icmp;
mod script;
mod tcp;
mod tls;
mod udp;
mod unix;
mod websocket;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;

use super::result::{Failure, Observation, Reason};
use super::trace::Trace;
use crate::api::{ExpectedOutcome, ProbeSpec, Severity};
use crate::clock::Clock;
use crate::outbound::Outbound;

/// What a round ends with. A failure that is `degraded` is a success with a fault.
pub type Probing<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;
/// A compiled probe: every call is one round. It may be dropped at any await.
pub type Prober = Arc<dyn for<'a> Fn(&'a mut Trace) -> Probing<'a> + Send + Sync>;
/// Compiles a spec of its own kind, and leaves those of others alone.
type Compiler = fn(&ProbeSpec, &Tools) -> Option<Result<Ready, SpecError>>;
/// Whether a spec is of a kind.
type Is = fn(&ProbeSpec) -> bool;

/// The kinds by the field of the spec that they stand under.
const KINDS: &[(&str, Is, Compiler)] = &[
    ("http", |spec| spec.http.is_some(), http::compile),
    ("tcp", |spec| spec.tcp.is_some(), tcp::compile),
    ("tls", |spec| spec.tls.is_some(), tls::compile),
    ("dns", |spec| spec.dns.is_some(), dns::compile),
    ("grpc", |spec| spec.grpc.is_some(), grpc::compile),
    ("icmp", |spec| spec.icmp.is_some(), icmp::compile),
    ("websocket", |spec| spec.websocket.is_some(), websocket::compile),
    ("udp", |spec| spec.udp.is_some(), udp::compile),
    ("unix", |spec| spec.unix.is_some(), unix::compile),
    ("script", |spec| spec.script.is_some(), script::compile),
];

/// What kinds need of the rest of the program.
#[derive(Clone)]
pub struct Tools {
    /// Names, secrets, what is forbidden.
    pub outbound: Outbound,
    /// What time it is, for certificates and ages.
    pub clock: Arc<dyn Clock>,
    /// Where relative paths of scripts and lists of targets begin.
    pub root: Option<PathBuf>,
}

impl Tools {
    /// The tools of probes of `namespace`: its secrets, where each has its own.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Self {
        Self { outbound: self.outbound.of(namespace), ..self.clone() }
    }

    /// Tools that are good for compiling alone: without secrets, and with the usual guard.
    #[must_use]
    pub fn idle(root: Option<PathBuf>) -> Self {
        let outbound = Outbound::new(crate::outbound::Secrets::default());
        Self { outbound, clock: Arc::new(crate::clock::SystemClock::new()), root }
    }
}

/// A kind's own part of a compiled probe.
pub struct Ready {
    /// Makes a round.
    pub prober: Prober,
    /// The host that it connects to, for limits by host; empty where it is none.
    pub host: String,
}

/// A compiled probe of one target.
#[derive(Clone)]
pub struct Compiled {
    kind: &'static str,
    host: Arc<str>,
    prober: Prober,
    timeout: Duration,
    negated: bool,
    slow: Option<(Duration, Severity)>,
}

/// What is wrong with a probe's spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("spec.{field}: {why}")]
pub struct SpecError {
    /// The field below the spec, such as `http.headers[2].name`.
    pub field: String,
    /// What was found and what is allowed.
    pub why: String,
}

impl SpecError {
    /// An error in a field.
    #[must_use]
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }
}

/// The kind of a spec.
///
/// # Errors
/// No kind is set, or several are.
pub fn kind_of(spec: &ProbeSpec) -> Result<&'static str, SpecError> {
    only(spec).map(|(kind, _)| kind)
}

/// The one kind that is set, and how it is compiled.
fn only(spec: &ProbeSpec) -> Result<(&'static str, Compiler), SpecError> {
    let mut set = KINDS.iter().filter(|(_, is, _)| is(spec));
    match (set.next(), set.next()) {
        (Some((kind, _, compile)), None) => Ok((kind, *compile)),
        (first, _) => {
            let found = if first.is_some() { "several are set" } else { "none is set" };
            let names: Vec<&str> = KINDS.iter().map(|(name, ..)| *name).collect();
            let (last, others) = names.split_last().unwrap_or((&"", &[]));
            let why = format!("exactly one of {} and {last} must be set; {found}", others.join(", "));
            Err(SpecError::new("http", why))
        }
    }
}

/// Prepares a probe of one target, with the timeout of its rounds.
///
/// # Errors
/// No kind is set, or several are, or the kind's own error.
pub fn compile(spec: &ProbeSpec, timeout: Duration, tools: &Tools) -> Result<Compiled, SpecError> {
    let (kind, compile) = only(spec)?;
    let ready = compile(spec, tools).unwrap_or_else(|| Err(SpecError::new(kind, "it is not set")))?;
    let latency = spec.latency.as_ref();
    let slow = latency.and_then(|rule| Some((rule.max?.to_std(), rule.severity.unwrap_or(Severity::Degraded))));
    Ok(Compiled {
        kind,
        host: ready.host.into(),
        prober: ready.prober,
        timeout,
        negated: spec.expect == Some(ExpectedOutcome::Failure),
        slow,
    })
}

impl Compiled {
    /// The kind, such as `http`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// The host that it connects to; empty where it is none.
    #[must_use]
    pub const fn host(&self) -> &Arc<str> {
        &self.host
    }

    /// Makes one round.
    pub async fn observe(&self) -> Observation {
        let mut trace = Trace::begin(self.timeout);
        let deadline = trace.deadline();
        let ended = timeout_at(deadline, (self.prober)(&mut trace)).await.ok();
        let mut seen = trace.finish(ended);
        if self.negated {
            seen = seen.negated();
        }
        if let Some((max, severity)) = self.slow {
            let took = seen.durations.total();
            if seen.success && took > max {
                seen.fault(too_slow(took, &format!("{} ms are allowed", max.as_millis()), severity));
            }
        }
        seen
    }
}

/// The fault of a round that took too long.
pub(super) fn too_slow(took: Duration, allowed: &str, severity: Severity) -> Failure {
    let millis = took.as_secs_f64() * 1_000.0;
    let failure = Failure::new(Reason::Latency, format!("took {millis:.1} ms where {allowed}"));
    if severity == Severity::Degraded { failure.degraded() } else { failure }
}
