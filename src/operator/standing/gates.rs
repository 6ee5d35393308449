//! Gates: whether each check can be executed, and whether what it refers to is there.

use jiff::Timestamp;
use tokio::sync::watch;

use super::condition;
use super::keeper::{Judge, Judged};
use super::roster::Roster;
use crate::api::{Check, Gate, GateStatus, namespace_of, set_condition};
use crate::checks::Table;
use crate::probes::ProbeSelector;

/// The condition that tells whether the gate is of use.
const READY: &str = "Ready";
/// The most faults that a message names.
const MAX_TOLD: usize = 5;

/// Judges gates.
pub(super) struct Gates {
    pub(super) table: Table,
    pub(super) roster: Roster,
}

impl Judge for Gates {
    type Resource = Gate;

    fn judge(&self, resource: &Gate, now: Timestamp) -> Option<Judged<GateStatus>> {
        // Before the first list an absence means nothing.
        if !self.roster.synced() {
            return None;
        }
        let mut status = resource.status.clone().unwrap_or_default();
        let (invalid, missing) = self.faults(resource);
        let (ready, why) = match (invalid.is_empty(), missing.is_empty()) {
            (true, true) => (true, ("Ready", String::new())),
            (false, _) => (false, ("InvalidSpec", told(&invalid))),
            (true, false) => (false, ("UnresolvedReference", told(&missing))),
        };
        status.observed_generation = resource.metadata.generation;
        let new = condition(READY, ready, why, resource.metadata.generation, now);
        set_condition(&mut status.conditions, new);
        Some(Judged { status, due: None })
    }

    fn around(&self) -> Vec<watch::Receiver<u64>> {
        vec![self.roster.changes()]
    }
}

impl Gates {
    /// What is wrong with the spec, and what it refers to that is not there.
    fn faults(&self, gate: &Gate) -> (Vec<String>, Vec<String>) {
        let (mut invalid, mut missing) = (Vec::new(), Vec::new());
        let pre = gate.spec.pre.iter().flat_map(|pre| pre.checks.iter().map(|check| ("pre", check)));
        let post = gate.spec.post.iter().flat_map(|post| post.checks.iter().map(|check| ("post", check)));
        for (point, check) in pre.chain(post) {
            let place = format!("{point} check {}", check.name);
            if let Err(error) = self.table.compile(check, namespace_of(gate)) {
                invalid.push(format!("{place}: {error}"));
            }
            missing.extend(self.missing(gate, check).into_iter().map(|what| format!("{place}: {what}")));
        }
        (invalid, missing)
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
