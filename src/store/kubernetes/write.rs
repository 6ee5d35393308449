//! Get and the writes, each on one object.

use serde_json::Value;

use super::KubernetesStore;
use super::bodies;
use super::errors;
use super::kinds::Known;
use crate::api::{GateRun, Resource};
use crate::cluster::LABEL_INSTANCE;
use crate::store::evidence;
use crate::store::limits::{self, MAX_OBJECT_BYTES};
use crate::store::{Object, StoreError};

/// How often a replacement without a version begins again when somebody else was faster.
const ATTEMPTS: usize = 8;

impl KubernetesStore {
    /// What must hold before anything is sent.
    pub(super) fn check(&self, object: &Object) -> Result<(), StoreError> {
        limits::check(object)?;
        let bytes = object.body.to_string().len();
        if bytes > MAX_OBJECT_BYTES {
            let why =
                format!("{} {} has {bytes} bytes; at most {MAX_OBJECT_BYTES} are allowed", object.kind, object.name);
            return Err(StoreError::Invalid(why));
        }
        if self.calls.scope.has_namespace(&object.namespace) {
            return Ok(());
        }
        Err(StoreError::Invalid(format!(
            "{} {}/{}: the namespace is not among those of this operator",
            object.kind, object.namespace, object.name
        )))
    }

    pub(super) async fn read(&self, kind: &Known, namespace: &str, name: &str) -> Result<Option<Object>, StoreError> {
        let found = self.calls.get(kind, namespace, name).await;
        let found = found.map_err(|error| errors::of_object("reading", kind, namespace, name, &error))?;
        self.note_answered();
        Ok(found.filter(|body| self.is_ours(body)).and_then(|body| bodies::object(kind, body)))
    }

    /// Whether an object is our instance's.
    pub(super) fn is_ours(&self, body: &Value) -> bool {
        let label = body.get("metadata").and_then(|metadata| metadata.get("labels"));
        let label = label.and_then(|labels| labels.get(LABEL_INSTANCE)).and_then(Value::as_str);
        label == self.calls.scope.instance()
    }

    pub(super) async fn create_object(
        &self,
        number: usize,
        kind: &Known,
        object: Object,
    ) -> Result<Object, StoreError> {
        let (namespace, name) = (&object.namespace, &object.name);
        let body = bodies::to_create(&object, self.calls.scope.instance())?;
        let created = self.calls.create(kind, namespace, name, &body).await;
        let created = created.map_err(|error| errors::of_object("creating", kind, namespace, name, &error))?;
        self.note_written(number, bodies::version(&created));
        let created = answer(kind, created)?;
        if !bodies::has_status(&object) {
            return Ok(created);
        }
        // The status that came along is written to what was just created, and to nothing else.
        let mut second = created;
        if let (Some(body), Some(status)) = (second.body.as_object_mut(), object.body.get("status")) {
            body.insert("status".to_owned(), status.clone());
        }
        self.apply_status(number, kind, second).await
    }

    pub(super) async fn replace_object(
        &self,
        number: usize,
        kind: &Known,
        object: Object,
    ) -> Result<Object, StoreError> {
        let (namespace, name) = (&object.namespace, &object.name);
        let conflict = || StoreError::Conflict { kind: kind.kind, namespace: namespace.clone(), name: name.clone() };
        let named = bodies::meta(&object.body, "resourceVersion").is_some();
        for _ in 0..ATTEMPTS {
            let Some(stored) = self.read(kind, namespace, name).await? else {
                return Err(StoreError::NotFound { kind: kind.kind, namespace: namespace.clone(), name: name.clone() });
            };
            let other = |field| {
                bodies::meta(&object.body, field).is_some_and(|given| bodies::meta(&stored.body, field) != Some(given))
            };
            if other("resourceVersion") || other("uid") {
                return Err(conflict());
            }
            let body = bodies::to_replace(&object, &stored.body, self.calls.scope.instance())?;
            if bodies::same(&body, &stored.body) {
                return Ok(stored);
            }
            match self.calls.replace(kind, namespace, name, &body).await {
                Ok(replaced) => {
                    self.note_written(number, bodies::version(&replaced));
                    return answer(kind, replaced);
                }
                Err(error) => match errors::of_object("writing", kind, namespace, name, &error) {
                    StoreError::Conflict { .. } if !named => {}
                    error => return Err(error),
                },
            }
        }
        Err(conflict())
    }

    pub(super) async fn apply_status(
        &self,
        number: usize,
        kind: &Known,
        mut object: Object,
    ) -> Result<Object, StoreError> {
        if let Some(stored) = self.known_as_it_is(number, kind, &object) {
            return Ok(stored);
        }
        if kind.kind == GateRun::KIND
            && let Some(status) = object.body.get_mut("status")
            && evidence::fit(status, evidence::BUDGET_BYTES)
        {
            self.metrics.trimmed();
        }
        let (namespace, name) = (&object.namespace, &object.name);
        // The API server holds an applied status against a version, but not against a uid alone.
        let by_uid =
            bodies::meta(&object.body, "resourceVersion").is_none() && bodies::meta(&object.body, "uid").is_some();
        // The version that is known is tried first: where it is old, the API server says so.
        let mut known = self.known_version(number, &object).filter(|_| by_uid);
        for _ in 0..ATTEMPTS {
            let version = match known.take() {
                Some(known) => Some(known),
                None if by_uid => Some(self.version_of(kind, &object).await?),
                None => None,
            };
            let body = bodies::to_apply(&object, version)?;
            match self.calls.apply_status(kind, namespace, name, &body).await {
                Ok(applied) => {
                    self.note_written(number, bodies::version(&applied));
                    return answer(kind, applied);
                }
                Err(error) => match errors::of_object("writing the status of", kind, namespace, name, &error) {
                    StoreError::Conflict { .. } if by_uid => {}
                    error => return Err(error),
                },
            }
        }
        Err(StoreError::Conflict { kind: kind.kind, namespace: namespace.clone(), name: name.clone() })
    }

    /// The version in memory, where it is of the very object that the caller means.
    fn known_version(&self, number: usize, object: &Object) -> Option<String> {
        let key = (object.namespace.clone(), object.name.clone());
        self.running(number)?.version_of(&key, bodies::meta(&object.body, "uid")?)
    }

    /// The stored version, where the stored object is the very one that the caller means.
    async fn version_of(&self, kind: &Known, object: &Object) -> Result<String, StoreError> {
        let (kind_name, namespace, name) = (kind.kind, object.namespace.clone(), object.name.clone());
        let Some(stored) = self.read(kind, &namespace, &name).await? else {
            return Err(StoreError::NotFound { kind: kind_name, namespace, name });
        };
        if bodies::meta(&stored.body, "uid") != bodies::meta(&object.body, "uid") {
            return Err(StoreError::Conflict { kind: kind_name, namespace, name });
        }
        Ok(bodies::meta(&stored.body, "resourceVersion").unwrap_or_default().to_owned())
    }

    /// The stored object, where the caller holds its latest version that we know of and its status
    /// is what is to be written: nothing has to be asked of the API server.
    fn known_as_it_is(&self, number: usize, kind: &Known, object: &Object) -> Option<Object> {
        if kind.brief {
            return None;
        }
        let version = bodies::version(&object.body)?;
        let key = (object.namespace.clone(), object.name.clone());
        let stored: Value = serde_json::from_str(&self.running(number)?.at_version(&key, version)?).ok()?;
        let status = |body: &Value| body.get("status").filter(|status| !status.is_null()).cloned();
        if status(&stored) != status(&object.body) {
            return None;
        }
        bodies::object(kind, stored)
    }

    pub(super) async fn delete_object(
        &self,
        number: usize,
        kind: &Known,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<(), StoreError> {
        let deleted = self.calls.delete(kind, namespace, name, version).await;
        deleted.map_err(|error| errors::of_object("deleting", kind, namespace, name, &error))?;
        self.note_answered();
        if let Some(hub) = self.running(number) {
            hub.forget(&(namespace.to_owned(), name.to_owned()));
        }
        Ok(())
    }
}

fn answer(kind: &Known, body: Value) -> Result<Object, StoreError> {
    bodies::object(kind, body).ok_or_else(|| StoreError::Unavailable {
        doing: format!("reading the API server's answer about a {}", kind.kind),
        why: "it has no metadata".to_owned(),
    })
}
