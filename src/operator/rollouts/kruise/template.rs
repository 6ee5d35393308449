//! Pod templates: their identity, and which one is the stable one.

use serde_json::Value;

use super::status;
use crate::model::QuestionKey;

/// The label by which a `Deployment`'s controller tells its `ReplicaSet`s apart.
const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// The label in which the engine keeps the stable `ReplicaSet`'s hash on a `Deployment`.
const STABLE_REVISION: &str = "rollouts.kruise.io/stable-revision";
/// The characters of an identity: 64 bits, and short enough for people.
const IDENTITY: usize = 16;

/// The identity of a pod template. A `ReplicaSet`'s own label is none of it, so that the template
/// of a workload and that of its `ReplicaSet` have one identity.
pub(super) fn revision(template: &Value) -> String {
    identity(&bare(template))
}

/// The identity of any value: the order of an object's members is none of it.
pub(super) fn identity(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    QuestionKey::over(&[&text]).to_string().chars().take(IDENTITY).collect()
}

fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().filter(|(_, value)| !value.is_null()).collect();
            members.sort_by_key(|(name, _)| name.as_str());
            text.push('{');
            for (name, value) in members {
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

fn bare(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(POD_TEMPLATE_HASH);
    }
    if let Some(template) = template.as_object_mut() {
        template.remove("$patch");
    }
    template
}

fn is_deployment(workload: &Value) -> bool {
    workload.get("kind").and_then(Value::as_str) == Some("Deployment")
}

/// The stable template of the release that is under way.
pub(super) fn stable(rollout: &Value, workload: &Value, revisions: &[Value]) -> Option<Value> {
    if is_deployment(workload) {
        // Both must say so: each of them stands still at another time.
        let hash = label(workload, STABLE_REVISION)?;
        if status::stable_revision(rollout) != Some(hash) {
            return None;
        }
        let set = revisions.iter().find(|set| label(set, POD_TEMPLATE_HASH) == Some(hash))?;
        return Some(bare(set.pointer("/spec/template")?));
    }
    let name = workload.pointer("/status/currentRevision")?.as_str()?;
    let named = |revision: &&Value| revision.pointer("/metadata/name").and_then(Value::as_str) == Some(name);
    Some(bare(revisions.iter().find(named)?.pointer("/data/spec/template")?))
}

/// The workload's template is the stable one.
pub(super) fn is_back(rollout: &Value, workload: &Value, revisions: &[Value]) -> bool {
    if is_deployment(workload) {
        let own = workload.pointer("/spec/template").map(revision);
        return own.is_some() && stable(rollout, workload, revisions).map(|stable| revision(&stable)) == own;
    }
    let text = |pointer: &str| workload.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let number = |pointer: &str| workload.pointer(pointer).and_then(Value::as_i64);
    let seen = number("/status/observedGeneration").is_some()
        && number("/status/observedGeneration") == number("/metadata/generation");
    seen && text("/status/updateRevision").is_some()
        && text("/status/updateRevision") == text("/status/currentRevision")
}

fn label<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.pointer("/metadata/labels")?.get(name)?.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_members_and_a_replica_sets_own_label_make_no_other_revision() {
        let one =
            json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"image": "x:1", "name": "c"}]}});
        let two = json!({"spec": {"containers": [{"name": "c", "image": "x:1"}]},
            "metadata": {"creationTimestamp": null, "labels": {"pod-template-hash": "5d", "app": "a"}}});
        assert_eq!(revision(&one), revision(&two));
    }

    #[test]
    fn another_image_is_another_revision() {
        let of = |image: &str| json!({"spec": {"containers": [{"image": image}]}});
        assert_ne!(revision(&of("x:1")), revision(&of("x:2")));
    }
}
