//! Which gates stand in front of which rollouts, and what a question to them is.

use std::sync::Arc;

use serde_json::Value;

use super::adapter::Adapter;
use super::decide::{Ask, GateView};
use super::observation::Observation;
use crate::api::{ANNOTATION_GATE, Gate, name_of, namespace_of};
use crate::model::{Action, Change, Invoker, Question};

/// Whether a gate's target is this very rollout.
pub(super) fn targets(adapter: &dyn Adapter, gate: &Gate, namespace: &str, name: &str) -> bool {
    let group = |version: &str| version.split('/').next() == Some(adapter.group());
    let target = gate.spec.target.workload_ref.as_ref();
    namespace_of(gate) == namespace
        && target
            .is_some_and(|target| target.kind == adapter.kind() && group(&target.api_version) && target.name == name)
}

/// The gates in front of a rollout: those whose target it is, and the one that it names.
pub(super) fn of_rollout(adapter: &dyn Adapter, gates: &[Arc<Gate>], rollout: &Value) -> Vec<GateView> {
    let text = |pointer: &str| rollout.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let annotations = rollout.pointer("/metadata/annotations");
    let named = annotations.and_then(|all| all.get(ANNOTATION_GATE)).and_then(Value::as_str);
    let named = named.filter(|named| !named.is_empty());
    let ours = |gate: &&Arc<Gate>| {
        targets(adapter, gate, namespace, name)
            || (namespace_of(gate.as_ref()) == namespace && named == Some(name_of(gate.as_ref())))
    };
    let mut views: Vec<GateView> = gates.iter().filter(ours).map(|gate| GateView::from(gate.as_ref())).collect();
    if let Some(named) = named.filter(|named| !views.iter().any(|view| view.name == *named)) {
        views.push(GateView {
            name: named.to_owned(),
            missing: true,
            pre: true,
            post: true,
            windows: false,
            on_block: crate::model::OnBlock::Hold,
        });
    }
    views.sort_by(|a, b| a.name.cmp(&b.name));
    views
}

/// The question as the engine of runs takes it.
pub(super) fn question(adapter: &dyn Adapter, gate: Option<&Gate>, seen: &Observation, ask: &Ask) -> Question {
    let workload = seen.workload.as_ref();
    let of_rollout = gate.is_some_and(|gate| targets(adapter, gate, &seen.namespace, &seen.name));
    let target = match workload {
        Some(workload) if !of_rollout => workload.reference.name.clone(),
        _ => seen.name.clone(),
    };
    let by = workload.and_then(|workload| workload.written_by.as_deref());
    let actor = by.map_or_else(|| adapter.actor().to_owned(), |by| format!("{} ({by})", adapter.actor()));
    Question {
        namespace: seen.namespace.clone(),
        gate: ask.gate.clone(),
        change: Change {
            id: ask.change.clone(),
            target,
            revision: ask.revision.clone(),
            action: if ask.rollback { Action::Rollback } else { Action::Release },
            actor,
            invoker: Invoker::Automation,
            cluster: None,
            labels: workload.map(|workload| workload.labels.clone()).unwrap_or_default(),
        },
        batch: seen.batch(ask.batch),
        point: ask.point,
    }
}
