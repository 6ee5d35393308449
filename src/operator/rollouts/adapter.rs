//! What every engine of rollouts has in common: the next engine is one more implementation.

use serde_json::Value;

use super::observation::Observation;
use crate::api::WorkloadRef;

/// One write to a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// It goes to the status subresource.
    pub status: bool,
    /// A merge patch that carries the resourceVersion it was made for: a race is a conflict.
    pub patch: Value,
}

/// One engine of rollouts. Pure: it reads objects and makes patches, and calls nobody.
pub trait Adapter: Send + Sync + 'static {
    /// The engine's name, as the actor of its changes.
    fn actor(&self) -> &'static str;
    /// The API group of its rollouts.
    fn group(&self) -> &'static str;
    /// Their kind.
    fn kind(&self) -> &'static str;
    /// Their plural.
    fn plural(&self) -> &'static str;
    /// The versions that it can read, best first.
    fn versions(&self) -> &'static [&'static str];
    /// The workload that a rollout moves.
    fn workload(&self, rollout: &Value) -> Option<WorkloadRef>;
    /// What a rollout, its workload and the workload's revisions (`ReplicaSet` or
    /// `ControllerRevision` objects) say.
    fn observe(&self, rollout: &Value, workload: Option<&Value>, revisions: &[Value]) -> Observation;
    /// Pauses the rollout.
    fn hold(&self, rollout: &Value) -> Write;
    /// Gives the word for the next batch; `None` where the rollout does not stand at one.
    fn approve(&self, rollout: &Value) -> Option<Write>;
    /// Takes the pause away, and writes annotations in the same patch.
    fn release(&self, rollout: &Value, annotations: &[(&str, String)]) -> Write;
    /// The pod template that the workload had before the release.
    fn stable_template(&self, rollout: &Value, workload: &Value, revisions: &[Value]) -> Option<Value>;
}

/// Writes annotations and nothing else.
#[must_use]
pub fn annotate(rollout: &Value, annotations: &[(&str, String)]) -> Write {
    Write { status: false, patch: with_annotations(patch_of(rollout), annotations) }
}

/// A patch for this very version of an object.
#[must_use]
pub fn patch_of(object: &Value) -> Value {
    let version = object.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
    serde_json::json!({"metadata": {"resourceVersion": version}})
}

/// The patch with annotations.
#[must_use]
pub fn with_annotations(mut patch: Value, annotations: &[(&str, String)]) -> Value {
    let texts = annotations.iter().map(|(key, text)| ((*key).to_owned(), Value::from(text.clone())));
    if let Some(metadata) = patch.pointer_mut("/metadata").and_then(Value::as_object_mut)
        && !annotations.is_empty()
    {
        metadata.insert("annotations".to_owned(), Value::Object(texts.collect()));
    }
    patch
}
