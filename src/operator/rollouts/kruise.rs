//! `OpenKruise` Rollouts: `rollouts.kruise.io`, versions v1beta1 and v1alpha1, canary and blue-green.
//!
//! It has no hook, so the operator gives the word itself: `spec.strategy.paused` stands at rest and
//! while a step waits, because only that keeps a newer revision from beginning its first batch; the
//! word for the next batch is the step state `StepReady`, and it counts once the pause is gone.

mod hands;
mod plan;
mod status;
mod template;

use serde_json::{Value, json};

use self::hands::hands;
use super::adapter::{Adapter, Write, patch_of, with_annotations};
use super::observation::{Observation, Position, WorkloadSeen};
use super::record::Record;
use crate::api::{ANNOTATION_RELEASE, ANNOTATION_VERDICT, WorkloadRef};
use crate::model::Labels;

/// The engine's adapter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kruise;

/// The most labels that a change carries.
const MAX_LABELS: usize = 64;

impl Adapter for Kruise {
    fn actor(&self) -> &'static str {
        "kruise"
    }

    fn group(&self) -> &'static str {
        "rollouts.kruise.io"
    }

    fn kind(&self) -> &'static str {
        "Rollout"
    }

    fn plural(&self) -> &'static str {
        "rollouts"
    }

    fn versions(&self) -> &'static [&'static str] {
        &["v1beta1", "v1alpha1"]
    }

    fn workload(&self, rollout: &Value) -> Option<WorkloadRef> {
        let spec = rollout.get("spec")?;
        let reference = spec.get("workloadRef").or_else(|| spec.pointer("/objectRef/workloadRef"))?;
        let text = |field: &str| reference.get(field).and_then(Value::as_str).map(str::to_owned);
        Some(WorkloadRef { api_version: text("apiVersion")?, kind: text("kind")?, name: text("name")? })
    }

    fn observe(&self, rollout: &Value, workload: Option<&Value>, revisions: &[Value]) -> Observation {
        let text = |pointer: &str| rollout.pointer(pointer).and_then(Value::as_str);
        let annotation =
            |key: &str| rollout.pointer("/metadata/annotations").and_then(|all| all.get(key)).and_then(Value::as_str);
        let replicas = workload.and_then(|workload| workload.pointer("/spec/replicas")).and_then(Value::as_u64);
        let paused = rollout.pointer("/spec/strategy/paused").and_then(Value::as_bool).unwrap_or(false);
        let position = status::position(rollout);
        let seen = workload.and_then(|workload| seen(rollout, workload, revisions));
        Observation {
            namespace: text("/metadata/namespace").unwrap_or_default().to_owned(),
            name: text("/metadata/name").unwrap_or_default().to_owned(),
            current: status::is_current(rollout),
            paused,
            stopped: paused && status::is_current(rollout) && status::is_stopped(rollout),
            hands: hands(rollout, position),
            position,
            engine_revision: status::released_revision(rollout).map(str::to_owned),
            workload: seen,
            steps: plan::steps(rollout, replicas),
            plan: plan::identity(rollout),
            plan_pending: status::plan_pending(rollout) && in_progress(position),
            restarts: !plan::is_blue_green(rollout),
            record: annotation(ANNOTATION_RELEASE).and_then(Record::read),
            told: annotation(ANNOTATION_VERDICT).map(str::to_owned),
        }
    }

    fn hold(&self, rollout: &Value) -> Write {
        Write { status: false, patch: paused(rollout, true) }
    }

    fn approve(&self, rollout: &Value) -> Option<Write> {
        let field = status::sub_status(rollout)?;
        let ready = matches!(status::position(rollout), Position::Waiting(_)) && status::is_current(rollout);
        let mut patch = patch_of(rollout);
        patch.as_object_mut()?.insert("status".to_owned(), json!({field: {"currentStepState": "StepReady"}}));
        ready.then_some(Write { status: true, patch })
    }

    fn release(&self, rollout: &Value, annotations: &[(&str, String)]) -> Write {
        Write { status: false, patch: with_annotations(paused(rollout, false), annotations) }
    }

    fn stable_template(&self, rollout: &Value, workload: &Value, revisions: &[Value]) -> Option<Value> {
        template::stable(rollout, workload, revisions)
    }
}

fn seen(rollout: &Value, workload: &Value, revisions: &[Value]) -> Option<WorkloadSeen> {
    let labels = workload.pointer("/metadata/labels").and_then(Value::as_object);
    let labels: Labels = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .take(MAX_LABELS)
        .collect();
    Some(WorkloadSeen {
        reference: Kruise.workload(rollout)?,
        labels,
        generation: workload.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default(),
        revision: template::revision(workload.pointer("/spec/template")?),
        written_by: hands::writer(workload, &["f:spec", "f:template"], None),
        back: template::is_back(rollout, workload, revisions),
        settled: status::is_settled(rollout, workload),
    })
}

fn paused(rollout: &Value, paused: bool) -> Value {
    let mut patch = patch_of(rollout);
    if let Some(patch) = patch.as_object_mut() {
        patch.insert("spec".to_owned(), json!({"strategy": {"paused": paused}}));
    }
    patch
}

const fn in_progress(position: Position) -> bool {
    matches!(position, Position::Asking | Position::Moving(_) | Position::Waiting(_) | Position::Ready(_))
}
