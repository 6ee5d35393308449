//! One resource of any kind.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{DEFAULT_NAMESPACE, Gate, GateRun, Override, Probe, ReleaseWindow, Resource};

/// The five kinds by name, in the order that documents and listings have them.
pub const KINDS: [&str; 5] = [Gate::KIND, Probe::KIND, ReleaseWindow::KIND, Override::KIND, GateRun::KIND];

/// One resource of any of the five kinds.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "resources are few and live on the heap in lists")]
pub enum AnyResource {
    /// A gate.
    Gate(Gate),
    /// A probe.
    Probe(Probe),
    /// A release window or freeze.
    ReleaseWindow(ReleaseWindow),
    /// An override.
    Override(Override),
    /// A run.
    GateRun(GateRun),
}

macro_rules! each {
    ($self:expr, $resource:ident => $body:expr) => {
        match $self {
            AnyResource::Gate($resource) => $body,
            AnyResource::Probe($resource) => $body,
            AnyResource::ReleaseWindow($resource) => $body,
            AnyResource::Override($resource) => $body,
            AnyResource::GateRun($resource) => $body,
        }
    };
}

fn kind_of<R: Resource>(_: &R) -> &'static str {
    R::KIND
}

impl AnyResource {
    /// Reads a resource of `kind` from JSON; `None` where there is no such kind.
    ///
    /// # Errors
    /// The JSON has another shape.
    pub fn from_value(kind: &str, body: Value) -> Option<Result<Self, serde_json::Error>> {
        match kind {
            Gate::KIND => Some(serde_json::from_value(body).map(Self::Gate)),
            Probe::KIND => Some(serde_json::from_value(body).map(Self::Probe)),
            ReleaseWindow::KIND => Some(serde_json::from_value(body).map(Self::ReleaseWindow)),
            Override::KIND => Some(serde_json::from_value(body).map(Self::Override)),
            GateRun::KIND => Some(serde_json::from_value(body).map(Self::GateRun)),
            _ => None,
        }
    }

    /// The whole resource as JSON.
    ///
    /// # Errors
    /// A value in it cannot be written as JSON.
    pub fn to_value(&self) -> Result<Value, serde_json::Error> {
        each!(self, resource => serde_json::to_value(resource))
    }

    /// The kind, such as `Gate`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        each!(self, resource => kind_of(resource))
    }

    /// Name, namespace, labels, annotations.
    #[must_use]
    pub fn meta(&self) -> &ObjectMeta {
        each!(self, resource => resource.meta())
    }

    /// The same, to change.
    pub fn meta_mut(&mut self) -> &mut ObjectMeta {
        each!(self, resource => resource.meta_mut())
    }

    /// The name; empty where it has none yet.
    #[must_use]
    pub fn name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or("")
    }

    /// The namespace, `default` where it names none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
    }

    /// The annotation `key`.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.meta().annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The gate, where it is one.
    #[must_use]
    pub const fn as_gate(&self) -> Option<&Gate> {
        if let Self::Gate(gate) = self { Some(gate) } else { None }
    }

    /// The probe, where it is one.
    #[must_use]
    pub const fn as_probe(&self) -> Option<&Probe> {
        if let Self::Probe(probe) = self { Some(probe) } else { None }
    }

    /// The release window or freeze, where it is one.
    #[must_use]
    pub const fn as_window(&self) -> Option<&ReleaseWindow> {
        if let Self::ReleaseWindow(window) = self { Some(window) } else { None }
    }

    /// The override, where it is one.
    #[must_use]
    pub const fn as_override(&self) -> Option<&Override> {
        if let Self::Override(exception) = self { Some(exception) } else { None }
    }

    /// The run, where it is one.
    #[must_use]
    pub const fn as_run(&self) -> Option<&GateRun> {
        if let Self::GateRun(run) = self { Some(run) } else { None }
    }
}
