//! Where a rollout stands, from its status. The phase and the reason of `Progressing` decide before
//! the step: after a rollback the step still says that it waits.

use serde_json::Value;

use super::plan;
use crate::operator::rollouts::observation::Position;

/// The annotation in which the engine keeps the identity of the plan that is in force.
const PLAN_HASH: &str = "rollouts.kruise.io/hash";

/// The field of the status that the steps stand in.
pub(super) fn sub_status(rollout: &Value) -> Option<&'static str> {
    ["canaryStatus", "blueGreenStatus"]
        .into_iter()
        .find(|field| rollout.get("status").and_then(|status| status.get(field)).is_some_and(Value::is_object))
}

fn steps(rollout: &Value) -> Option<&Value> {
    rollout.get("status")?.get(sub_status(rollout)?)
}

fn condition<'a>(rollout: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = rollout.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))
}

fn reason(rollout: &Value) -> &str {
    condition(rollout, "Progressing")
        .and_then(|condition| condition.get("reason"))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The engine has seen the spec that is in force.
pub(super) fn is_current(rollout: &Value) -> bool {
    let observed = rollout.pointer("/status/observedGeneration").and_then(Value::as_i64);
    observed.is_some() && observed == rollout.pointer("/metadata/generation").and_then(Value::as_i64)
}

/// The engine has taken note of the pause.
pub(super) fn is_stopped(rollout: &Value) -> bool {
    reason(rollout) == "Paused"
}

/// The status is about the workload's own template: the engine writes the workload's generation
/// down only while its revision is the one that it releases.
pub(super) fn is_settled(rollout: &Value, workload: &Value) -> bool {
    let observed = steps(rollout).and_then(|steps| steps.get("observedWorkloadGeneration")).and_then(Value::as_i64);
    observed.is_some() && observed == workload.pointer("/metadata/generation").and_then(Value::as_i64)
}

/// The plan was edited and the engine has not acted on it.
pub(super) fn plan_pending(rollout: &Value) -> bool {
    let acted = steps(rollout).and_then(|steps| steps.get("rolloutHash")).and_then(Value::as_str).unwrap_or_default();
    let hash = rollout.pointer("/metadata/annotations").and_then(|all| all.get(PLAN_HASH)).and_then(Value::as_str);
    !acted.is_empty() && hash.is_some_and(|hash| hash != acted)
}

/// The stable revision that the status names.
pub(super) fn stable_revision(rollout: &Value) -> Option<&str> {
    steps(rollout)?.get("stableRevision")?.as_str().filter(|text| !text.is_empty())
}

/// What the engine calls the revision that it releases: a hash of its own kind.
pub(super) fn released_revision(rollout: &Value) -> Option<&str> {
    let steps = steps(rollout)?;
    steps.get("canaryRevision").or_else(|| steps.get("updatedRevision"))?.as_str()
}

pub(super) fn position(rollout: &Value) -> Position {
    if rollout.pointer("/metadata/deletionTimestamp").is_some() {
        return Position::Leaving;
    }
    if rollout.pointer("/spec/disabled").and_then(Value::as_bool) == Some(true) {
        return Position::Disabled;
    }
    match rollout.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default() {
        "" | "Initial" | "Healthy" => Position::Resting { succeeded: succeeded(rollout) },
        "Disabled" | "Disabling" => Position::Disabled,
        "Terminating" => Position::Leaving,
        "Progressing" => progressing(rollout),
        _ => Position::Strange,
    }
}

fn succeeded(rollout: &Value) -> Option<bool> {
    match condition(rollout, "Succeeded")?.get("status")?.as_str()? {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}

fn progressing(rollout: &Value) -> Position {
    match reason(rollout) {
        "Initializing" => Position::Entering,
        "InRolling" | "Paused" => step(rollout),
        // How it ended is written together with this reason.
        reason @ ("Finalising" | "Completed") if reason == "Finalising" || succeeded(rollout) != Some(false) => {
            Position::Finishing
        }
        "Cancelling" | "Completed" => Position::RollingBack,
        _ => Position::Strange,
    }
}

fn step(rollout: &Value) -> Position {
    let Some(steps) = steps(rollout) else { return Position::Strange };
    let index = steps.get("currentStepIndex").and_then(Value::as_u64).and_then(|index| u32::try_from(index).ok());
    let Some(index) = index.filter(|index| *index > 0) else { return Position::Strange };
    let state = steps.get("currentStepState").and_then(Value::as_str).unwrap_or_default();
    match state {
        "BeforeStepUpgrade" if index == 1 && is_stopped(rollout) => Position::Asking,
        "BeforeStepUpgrade" if index == 1 => Position::Entering,
        // Controllers that know v1alpha1 alone begin here, before any pod has changed.
        "StepUpgrade" if index == 1 && is_stopped(rollout) && plan::is_first_version(rollout) && untouched(steps) => {
            Position::Asking
        }
        "BeforeStepUpgrade" | "StepUpgrade" | "StepTrafficRouting" | "StepMetricsAnalysis" => Position::Moving(index),
        "StepPaused" => Position::Waiting(index),
        "StepReady" => Position::Ready(index),
        // All is out, and the engine has yet to see that: until then a pause still stops it.
        "Completed" => Position::Moving(index.saturating_add(1)),
        _ => Position::Strange,
    }
}

fn untouched(steps: &Value) -> bool {
    steps.get("canaryReplicas").and_then(Value::as_u64).unwrap_or(0) == 0
        && steps.get("podTemplateHash").and_then(Value::as_str).unwrap_or_default().is_empty()
}
