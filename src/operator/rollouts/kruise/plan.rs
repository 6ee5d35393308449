//! The steps of a rollout's spec.

use serde_json::Value;

use super::template;
use crate::operator::rollouts::observation::Step;

/// More steps than any release has: what comes after them is left out.
const MAX_STEPS: usize = 10_000;

pub(super) fn is_blue_green(rollout: &Value) -> bool {
    rollout.pointer("/spec/strategy/blueGreen").is_some_and(Value::is_object)
}

/// The object is served as v1alpha1.
pub(super) fn is_first_version(rollout: &Value) -> bool {
    rollout.get("apiVersion").and_then(Value::as_str).is_some_and(|version| version.ends_with("/v1alpha1"))
}

fn listed(rollout: &Value) -> &[Value] {
    let pointer = if is_blue_green(rollout) { "/spec/strategy/blueGreen/steps" } else { "/spec/strategy/canary/steps" };
    rollout.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn steps(rollout: &Value, replicas: Option<u64>) -> Vec<Step> {
    let all = listed(rollout);
    let read = |(index, step): (usize, &Value)| {
        let whole = step.get("replicas").and_then(Value::as_str) == Some("100%")
            || (step.get("replicas").is_none() && step.get("weight").and_then(Value::as_u64) == Some(100));
        Step {
            percent: percent(step, replicas),
            after_seconds: step.pointer("/pause/duration").and_then(Value::as_i64),
            never_stops: whole && index + 1 == all.len() && !is_blue_green(rollout),
        }
    };
    all.iter().take(MAX_STEPS).enumerate().map(read).collect()
}

fn percent(step: &Value, replicas: Option<u64>) -> u8 {
    let share = match step.get("replicas").or_else(|| step.get("weight")) {
        Some(Value::String(text)) => text.trim_end_matches('%').trim().parse().unwrap_or(100),
        Some(Value::Number(number)) if step.get("replicas").is_some() => {
            let (count, all) = (number.as_u64().unwrap_or(u64::MAX), replicas.unwrap_or(1).max(1));
            count.saturating_mul(100).div_ceil(all)
        }
        Some(Value::Number(number)) => number.as_u64().unwrap_or(100),
        _ => 100,
    };
    u8::try_from(share.min(100)).unwrap_or(100)
}

/// The identity of what the steps do. How long one pauses is none of it, as for the engine itself.
pub(super) fn identity(rollout: &Value) -> String {
    let bare = listed(rollout).iter().map(|step| {
        let mut step = step.clone();
        if let Some(step) = step.as_object_mut() {
            step.remove("pause");
        }
        step
    });
    template::identity(&Value::Array(bare.collect()))
}
