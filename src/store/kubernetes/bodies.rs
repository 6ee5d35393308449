//! Resources as the API server takes and gives them. Pure.

use serde_json::{Map, Value, json};

use super::kinds::Known;
use crate::api::{GROUP, VERSION};
use crate::cluster::LABEL_INSTANCE;
use crate::store::{Object, StoreError};

/// What only the API server says.
const OF_SERVER: [&str; 6] = ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"];
/// What others have attached to an object, and a writer that does not know of it must not take away.
const OF_OTHERS: [&str; 4] = ["ownerReferences", "finalizers", "deletionTimestamp", "deletionGracePeriodSeconds"];

/// One text of the metadata; `None` where it is absent or empty.
pub(super) fn meta<'b>(body: &'b Value, field: &str) -> Option<&'b str> {
    body.get("metadata")?.get(field)?.as_str().filter(|text| !text.is_empty())
}

/// A resourceVersion as a number; `None` for one that is none, which cannot be compared.
pub(super) fn version(body: &Value) -> Option<u64> {
    meta(body, "resourceVersion")?.parse().ok()
}

/// An object of the API server, without the list of every field's owner.
pub(super) fn object(kind: &Known, mut body: Value) -> Option<Object> {
    let map = body.as_object_mut()?;
    map.insert("apiVersion".to_owned(), Value::String(format!("{GROUP}/{VERSION}")));
    map.insert("kind".to_owned(), Value::String(kind.kind.to_owned()));
    map.get_mut("metadata")?.as_object_mut()?.remove("managedFields");
    let (namespace, name) = (meta(&body, "namespace")?.to_owned(), meta(&body, "name")?.to_owned());
    Some(Object { kind: kind.kind, namespace, name, body })
}

/// What an overview of a run shows: no evidence, no plan, no earlier executions.
pub(super) fn brief(body: &mut Value) {
    let Some(status) = body.get_mut("status").and_then(Value::as_object_mut) else { return };
    status.remove("plan");
    for check in status.get_mut("checks").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(check) = check.as_object_mut() {
            check.retain(|field, _| !matches!(field.as_str(), "evidence" | "carry" | "attempts"));
        }
    }
}

/// The body of a create: without what the server says, and with our instance's label.
pub(super) fn to_create(object: &Object, instance: Option<&str>) -> Result<Value, StoreError> {
    let mut body = parts(object)?;
    body.remove("status");
    edit_metadata(&mut body, object, |metadata| {
        for field in OF_SERVER {
            metadata.remove(field);
        }
        claim(metadata, instance);
    });
    Ok(Value::Object(body))
}

/// The body of a replacement: the caller's metadata and spec, and what only the server and others
/// say as it is stored.
pub(super) fn to_replace(object: &Object, stored: &Value, instance: Option<&str>) -> Result<Value, StoreError> {
    let mut body = parts(object)?;
    body.remove("status");
    if let Some(status) = stored.get("status") {
        body.insert("status".to_owned(), status.clone());
    }
    let old = stored.get("metadata").and_then(Value::as_object);
    edit_metadata(&mut body, object, |metadata| {
        for field in OF_SERVER {
            metadata.remove(field);
            if let Some(value) = old.and_then(|old| old.get(field)) {
                metadata.insert(field.to_owned(), value.clone());
            }
        }
        for field in OF_OTHERS {
            if let Some(value) = old.and_then(|old| old.get(field)) {
                metadata.entry(field).or_insert_with(|| value.clone());
            }
        }
        claim(metadata, instance);
    });
    Ok(Value::Object(body))
}

/// The body of a status that is applied, under the version that the caller gave or, where it gave
/// none, under `version`: the server refuses it where that is another by now.
pub(super) fn to_apply(object: &Object, version: Option<String>) -> Result<Value, StoreError> {
    let mut given = parts(object)?;
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), Value::String(object.name.clone()));
    metadata.insert("namespace".to_owned(), Value::String(object.namespace.clone()));
    for field in ["resourceVersion", "uid"] {
        if let Some(text) = meta(&object.body, field) {
            metadata.insert(field.to_owned(), Value::String(text.to_owned()));
        }
    }
    if let Some(version) = version {
        metadata.entry("resourceVersion").or_insert(Value::String(version));
    }
    let mut body = json!({"apiVersion": format!("{GROUP}/{VERSION}"), "kind": object.kind, "metadata": metadata});
    if let (Some(status), Some(map)) = (status_of(&mut given), body.as_object_mut()) {
        map.insert("status".to_owned(), status);
    }
    Ok(body)
}

/// The status that a resource comes with; one of null is none.
fn status_of(body: &mut Map<String, Value>) -> Option<Value> {
    body.remove("status").filter(|status| !status.is_null())
}

/// Whether it comes with a status.
pub(super) fn has_status(object: &Object) -> bool {
    object.body.get("status").is_some_and(|status| !status.is_null())
}

fn parts(object: &Object) -> Result<Map<String, Value>, StoreError> {
    match &object.body {
        Value::Object(body) => {
            let mut body = body.clone();
            body.insert("apiVersion".to_owned(), Value::String(format!("{GROUP}/{VERSION}")));
            body.insert("kind".to_owned(), Value::String(object.kind.to_owned()));
            Ok(body)
        }
        _ => Err(StoreError::Invalid(format!("{} {} is not a JSON object", object.kind, object.name))),
    }
}

/// Changes the metadata, which are made where there are none; the names are the object's own.
fn edit_metadata(body: &mut Map<String, Value>, object: &Object, edit: impl FnOnce(&mut Map<String, Value>)) {
    let mut metadata = match body.remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    };
    metadata.insert("name".to_owned(), Value::String(object.name.clone()));
    metadata.insert("namespace".to_owned(), Value::String(object.namespace.clone()));
    edit(&mut metadata);
    body.insert("metadata".to_owned(), Value::Object(metadata));
}

/// Gives the object to our instance, so that nobody else takes it up.
fn claim(metadata: &mut Map<String, Value>, instance: Option<&str>) {
    let Some(instance) = instance else { return };
    let labels = metadata.entry("labels").or_insert_with(|| Value::Object(Map::new()));
    if let Some(labels) = labels.as_object_mut() {
        labels.insert(LABEL_INSTANCE.to_owned(), Value::String(instance.to_owned()));
    }
}

/// Whether a replacement would change anything that a writer can change.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    let rest = |body: &Value| {
        let mut body = body.clone();
        if let Some(map) = body.as_object_mut() {
            map.remove("status");
        }
        if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
            // Absent and empty are the same to the API server.
            metadata.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
        }
        body
    };
    rest(one) == rest(other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::kinds;
    use super::*;

    fn run(body: Value) -> Object {
        Object { kind: "GateRun", namespace: "shop".to_owned(), name: "a".to_owned(), body }
    }

    fn stored() -> Value {
        json!({
            "apiVersion": "probegate.io/v1alpha1", "kind": "GateRun",
            "metadata": {
                "name": "a", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 2,
                "creationTimestamp": "2026-11-21T12:00:00Z", "managedFields": [{"manager": "kubectl"}],
                "finalizers": ["example.org/x"], "labels": {"tier": "web"}
            },
            "spec": {"gate": "checkout"}, "status": {"verdict": "wait"}
        })
    }

    #[test]
    fn a_create_leaves_out_what_the_server_says_and_claims_the_object() {
        let body = to_create(&run(stored()), Some("blue")).unwrap();
        assert_eq!(
            body,
            json!({
                "apiVersion": "probegate.io/v1alpha1", "kind": "GateRun",
                "metadata": {
                    "name": "a", "namespace": "shop", "finalizers": ["example.org/x"],
                    "labels": {"tier": "web", "probegate.io/instance": "blue"}
                },
                "spec": {"gate": "checkout"}
            })
        );
    }

    #[test]
    fn a_replacement_keeps_what_others_have_attached_and_the_stored_status() {
        let body = to_replace(&run(json!({"spec": {"gate": "other"}, "status": {"verdict": "pass"}})), &stored(), None);
        let body = body.unwrap();
        assert_eq!(body["status"], json!({"verdict": "wait"}));
        assert_eq!(body["metadata"]["finalizers"], json!(["example.org/x"]));
        assert_eq!(body["metadata"]["resourceVersion"], "7");
        assert_eq!(body["metadata"].get("labels"), None);
        assert!(!same(&body, &stored()));
    }

    #[test]
    fn a_file_without_what_the_server_has_added_changes_nothing() {
        let file = json!({"metadata": {"labels": {"tier": "web"}, "annotations": {}}, "spec": {"gate": "checkout"}});
        assert!(same(&to_replace(&run(file), &stored(), None).unwrap(), &stored()));
    }

    #[test]
    fn an_applied_status_carries_the_callers_version_and_nothing_else() {
        let body = to_apply(&run(stored()), None).unwrap();
        assert_eq!(
            body,
            json!({
                "apiVersion": "probegate.io/v1alpha1", "kind": "GateRun",
                "metadata": {"name": "a", "namespace": "shop", "uid": "u", "resourceVersion": "7"},
                "status": {"verdict": "wait"}
            })
        );
    }

    proptest! {
        #[test]
        fn no_body_makes_an_overview_fail(text in "[a-z{}\\[\\]:,\"]{0,40}") {
            let status = serde_json::from_str::<Value>(&text).unwrap_or(Value::String(text));
            for status in [status.clone(), json!({"checks": status.clone()}), json!({"checks": [status]})] {
                let mut body = json!({"metadata": {"name": "a", "namespace": "shop"}, "status": status});
                brief(&mut body);
                prop_assert!(object(kinds::find("GateRun").unwrap().1, body).is_some());
            }
        }
    }
}
