//! What the status of a gate says about the rollouts behind it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use super::decide::{GateView, Tell};
use super::driver::Inner;
use super::observation::Observation;
use super::queue::Key;
use crate::api::{Condition, ConditionStatus, Gate, Resource, set_condition};

/// A rollout behind the gate is held.
pub const ROLLOUT_HELD: &str = "RolloutHeld";
/// The spec of a rollout behind the gate lets something out without asking.
pub const LETS_OUT_UNGATED: &str = "LetsOutUngated";
/// The most rollouts that one condition's message names.
const MAX_NAMED: usize = 5;

/// What is said of each rollout behind each gate.
#[derive(Debug, Default)]
pub(super) struct Standing {
    gates: Mutex<BTreeMap<Key, BTreeMap<String, Said>>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Said {
    held: Option<String>,
    ungated: Vec<String>,
}

impl Standing {
    /// Takes what is said of a rollout; the gates whose rollouts are others now.
    fn take(&self, key: &Key, gates: &[GateView], said: Option<&Said>) -> Vec<(Key, BTreeMap<String, Said>)> {
        let mut all = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let (namespace, name) = key;
        let mut changed = Vec::new();
        for (gate, rollouts) in all.iter_mut().filter(|(gate, _)| gate.0 == *namespace) {
            if !gates.iter().any(|view| view.name == gate.1) && rollouts.remove(name).is_some() {
                changed.push(gate.clone());
            }
        }
        for gate in gates.iter().filter(|gate| !gate.missing) {
            let gate = (namespace.clone(), gate.name.clone());
            if let Some(said) = said
                && all.entry(gate.clone()).or_default().insert(name.clone(), said.clone()).as_ref() != Some(said)
            {
                changed.push(gate);
            }
        }
        let told = changed.into_iter().filter_map(|gate| Some((gate.clone(), all.get(&gate)?.clone()))).collect();
        all.retain(|_, rollouts| !rollouts.is_empty());
        told
    }

    fn ungated(&self) -> usize {
        let all = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().flat_map(BTreeMap::values).filter(|said| !said.ungated.is_empty()).count()
    }

    fn gated(&self) -> usize {
        let all = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().map(BTreeMap::len).sum()
    }

    /// What could not be written is written at the next look.
    fn forget(&self, gate: &Key) {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner).remove(gate);
    }
}

impl Inner {
    /// Writes to the gates what there is to say of a rollout, where that has changed.
    pub(super) async fn report(&self, key: &Key, gates: &[GateView], seen: Option<&Observation>, tell: Option<&Tell>) {
        let said = seen.map(|seen| Said { held: tell.map(|tell| tell.text.clone()), ungated: seen.ungated() });
        let changed = self.standing.take(key, gates, said.as_ref());
        if changed.is_empty() {
            return;
        }
        self.metrics.gated.set(i64::try_from(self.standing.gated()).unwrap_or(i64::MAX));
        self.metrics.ungated.set(i64::try_from(self.standing.ungated()).unwrap_or(i64::MAX));
        for (gate, rollouts) in changed {
            if let Err(error) = self.write_conditions(&gate, &rollouts).await {
                self.standing.forget(&gate);
                tracing::warn!(%error, namespace = gate.0, gate = gate.1, "The status of a gate could not be written.");
            }
        }
    }

    async fn write_conditions(
        &self,
        gate: &Key,
        rollouts: &BTreeMap<String, Said>,
    ) -> Result<(), crate::cluster::ApiError> {
        let Some(found) = self.parts.gates.get(&gate.0, &gate.1) else { return Ok(()) };
        let held = rollouts.iter().filter_map(|(name, said)| Some((name, said.held.clone()?)));
        let ungated = rollouts.iter().filter(|(_, said)| !said.ungated.is_empty());
        let ungated = ungated.map(|(name, said)| (name, said.ungated.join("; ")));
        let now = self.parts.clock.now();
        let condition = |kind: &str, texts: Vec<String>, yes: &str, no: &str| Condition {
            kind: kind.to_owned(),
            status: if texts.is_empty() { ConditionStatus::False } else { ConditionStatus::True },
            observed_generation: found.meta().generation,
            last_transition_time: now,
            reason: if texts.is_empty() { no.to_owned() } else { yes.to_owned() },
            message: some_of(&texts),
        };
        let text = |(name, text): (&String, String)| format!("{name}: {text}");
        let new = [
            condition(ROLLOUT_HELD, held.map(text).collect(), "Held", "NotHeld"),
            condition(LETS_OUT_UNGATED, ungated.map(text).collect(), "SpecLetsOut", "EveryBatchAsks"),
        ];
        let old = found.status().map(|status| status.conditions.clone()).unwrap_or_default();
        let mut ours: Vec<Condition> = old
            .into_iter()
            .filter(|condition| [ROLLOUT_HELD, LETS_OUT_UNGATED].contains(&condition.kind.as_str()))
            .collect();
        let before = ours.clone();
        for condition in new {
            set_condition(&mut ours, condition);
        }
        if ours == before {
            return Ok(());
        }
        let status = json!({"conditions": ours});
        self.apply_status::<Gate>("Gate", "gates.probegate.io/status", &gate.0, &gate.1, &status).await
    }
}

fn some_of(texts: &[String]) -> String {
    let named: Vec<&str> = texts.iter().take(MAX_NAMED).map(String::as_str).collect();
    match texts.len().checked_sub(MAX_NAMED) {
        Some(more) if more > 0 => format!("{}, and {more} more", named.join("; ")),
        _ => named.join("; "),
    }
}
