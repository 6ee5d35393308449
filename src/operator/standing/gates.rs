//! Gates: whether each check can be executed, and whether what it refers to is there.

use jiff::Timestamp;
use tokio::sync::watch;

use super::condition;
use super::keeper::{Judge, Judged};
use super::roster::Roster;
use super::wallet::Wallet;
use super::workloads::Workloads;
use crate::api::{Check, Gate, GateStatus, namespace_of, set_condition};
use crate::checks::Table;
use crate::outbound::SecretError;
use crate::probes::ProbeSelector;

/// The condition that tells whether the gate is of use.
const READY: &str = "Ready";
/// The most faults that a message names.
const MAX_TOLD: usize = 5;

/// Judges gates.
pub(super) struct Gates {
    pub(super) table: Table,
    pub(super) roster: Roster,
    pub(super) wallet: Wallet,
    pub(super) workloads: Workloads,
}

/// What keeps a gate from its work.
#[derive(Default)]
struct Faults {
    /// What is wrong with the spec.
    invalid: Vec<String>,
    /// Secrets that its namespace has not granted.
    ungranted: Vec<String>,
    /// What it refers to that is not there.
    missing: Vec<String>,
}

impl Judge for Gates {
    type Resource = Gate;

    fn judge(&self, resource: &Gate, now: Timestamp) -> Option<Judged<GateStatus>> {
        // Before the first list an absence means nothing.
        if !self.roster.synced() {
            return None;
        }
        let mut status = resource.status.clone().unwrap_or_default();
        let faults = self.faults(resource);
        let reasons = [
            ("InvalidSpec", &faults.invalid),
            ("SecretNotGranted", &faults.ungranted),
            ("UnresolvedReference", &faults.missing),
        ];
        let first = reasons.into_iter().find(|(_, faults)| !faults.is_empty());
        let (ready, why) = match first {
            None => (true, ("Ready", String::new())),
            Some((reason, faults)) => (false, (reason, told(faults))),
        };
        status.observed_generation = resource.metadata.generation;
        let new = condition(READY, ready, why, resource.metadata.generation, now);
        set_condition(&mut status.conditions, new);
        Some(Judged { status, due: None })
    }

    fn around(&self) -> Vec<watch::Receiver<u64>> {
        vec![self.roster.changes(), self.wallet.changes(), self.workloads.changes()]
    }
}

impl Gates {
    fn faults(&self, gate: &Gate) -> Faults {
        let (mut faults, namespace) = (Faults::default(), namespace_of(gate));
        let workload = gate.spec.target.workload_ref.as_ref();
        if let Some(workload) = workload.filter(|workload| self.workloads.is_missing(namespace, workload)) {
            let (kind, name) = (&workload.kind, &workload.name);
            faults.missing.push(format!("target: there is no {kind} {namespace}/{name} ({})", workload.api_version));
        }
        let pre = gate.spec.pre.iter().flat_map(|pre| pre.checks.iter().map(|check| ("pre", check)));
        let post = gate.spec.post.iter().flat_map(|post| post.checks.iter().map(|check| ("post", check)));
        for (point, check) in pre.chain(post) {
            let place = format!("{point} check {}", check.name);
            if let Err(error) = self.table.compile(check, namespace) {
                faults.invalid.push(format!("{place}: {error}"));
            }
            faults.missing.extend(self.missing(gate, check).into_iter().map(|what| format!("{place}: {what}")));
            for error in self.wallet.faults(namespace, check) {
                let list = match &error {
                    SecretError::NotGranted { .. } => &mut faults.ungranted,
                    _ => &mut faults.missing,
                };
                list.push(format!("{place}: {error}"));
            }
        }
        faults
    }

    fn missing(&self, gate: &Gate, check: &Check) -> Vec<String> {
        let Some(wanted) = &check.probes else { return Vec::new() };
        let namespace = namespace_of(gate);
        let roster = self.roster.now();
        let is_there = |name: &str| roster.contains_key(&(namespace.to_owned(), name.to_owned()));
        let absent = wanted.names.iter().filter(|name| !is_there(name));
        let mut missing: Vec<String> = absent.map(|name| format!("there is no probe {namespace}/{name}")).collect();
        let selector = ProbeSelector {
            labels: wanted.selector.clone(),
            expressions: wanted.match_expressions.clone(),
            ..ProbeSelector::default()
        };
        let selects = !selector.labels.is_empty() || !selector.expressions.is_empty();
        if selects && !roster.iter().any(|(key, probe)| selector.matches(key, &probe.labels)) {
            missing.push("its selector selects no probe".to_owned());
        }
        missing
    }
}

fn told(faults: &[String]) -> String {
    let text = faults.iter().take(MAX_TOLD).map(String::as_str).collect::<Vec<_>>().join("; ");
    match faults.len().saturating_sub(MAX_TOLD) {
        0 => text,
        more => format!("{text}; and {more} more"),
    }
}
