//! Group, version, labels and annotations, and what every kind has in common.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The API group of every kind.
pub const GROUP: &str = "probegate.io";
/// The version of every kind.
pub const VERSION: &str = "v1alpha1";
/// The namespace of a resource that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// On a run: the key of its question. Two runs with one key are attempts at one question.
pub const LABEL_QUESTION: &str = "probegate.io/question";
/// On a run: the key of its subject (gate, cluster and target).
pub const LABEL_SUBJECT: &str = "probegate.io/subject";
/// On a run: the key of its subject and revision. A block after a batch is final for that key.
pub const LABEL_REVISION: &str = "probegate.io/revision";
/// On a run: the gate's name.
pub const LABEL_GATE: &str = "probegate.io/gate";
/// On a run: the change's id, cut to what a label can hold.
pub const LABEL_CHANGE: &str = "probegate.io/change";
/// On a run: who wants it to end, as JSON `{"actor": …, "reason": …}`; whoever drives it ends it.
pub const ANNOTATION_CANCEL: &str = "probegate.io/cancel";
/// On an override: who takes it back, as JSON `{"actor": …, "reason": …}`; the operator revokes it.
pub const ANNOTATION_REVOKE: &str = "probegate.io/revoke";
/// On a probe: every new value makes a round of each of its targets at once.
pub const ANNOTATION_RUN: &str = "probegate.io/run";
/// On a resource that came from a file: the file and line.
pub const ANNOTATION_SOURCE: &str = "probegate.io/source";
/// On a probe: the name of the `blackbox_exporter` module that it stands for at `/probe`.
pub const ANNOTATION_MODULE: &str = "probegate.io/module";
/// On a rollout: the gate that stands in front of it, in its namespace.
pub const ANNOTATION_GATE: &str = "probegate.io/gate";
/// On a rollout: how far the release that is under way was let out. Written by the operator.
pub const ANNOTATION_RELEASE: &str = "probegate.io/release";
/// On a rollout: the last word of its gate. On a workload that was rolled back: why.
pub const ANNOTATION_VERDICT: &str = "probegate.io/verdict";

/// What the store and the engine need of every kind.
///
/// Implemented for the five kinds; the names are those of the custom resource definition.
pub trait Resource: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The kind, such as `Gate`.
    const KIND: &'static str;
    /// The plural of the resource's path, such as `gates`.
    const PLURAL: &'static str;
    /// The status, which is written apart from the rest.
    type Status: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;

    /// Name, namespace, labels, resourceVersion.
    fn meta(&self) -> &ObjectMeta;
    /// The same, to change.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
    /// The status, where one was written.
    fn status(&self) -> Option<&Self::Status>;
    /// The same, to change.
    fn status_mut(&mut self) -> &mut Option<Self::Status>;
}

macro_rules! resource {
    ($type:ty, $status:ty, $kind:literal, $plural:literal) => {
        impl $crate::api::Resource for $type {
            const KIND: &'static str = $kind;
            const PLURAL: &'static str = $plural;
            type Status = $status;

            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
            fn status(&self) -> Option<&$status> {
                self.status.as_ref()
            }
            fn status_mut(&mut self) -> &mut Option<$status> {
                &mut self.status
            }
        }
    };
}
pub(super) use resource;

/// The name of a resource; empty where it has none yet.
#[must_use]
pub fn name_of<R: Resource>(resource: &R) -> &str {
    resource.meta().name.as_deref().unwrap_or("")
}

/// The namespace of a resource, `default` where it names none.
#[must_use]
pub fn namespace_of<R: Resource>(resource: &R) -> &str {
    resource.meta().namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
}
