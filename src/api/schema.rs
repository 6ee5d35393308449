//! The schemas of the kinds: one generator for custom resource definitions, for the validator of
//! files and for editors.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use kube::core::schema::{OptionalEnum, OptionalIntOrString, StructuralSchemaRewriter};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::AddNullable;
use serde_json::{Value, json};

use super::{Gate, GateRun, Override, Probe, ReleaseWindow, Resource};

/// On a schema of ours: what kind of text it takes beyond what a schema can say. It never reaches
/// a custom resource definition, which has no place for it.
pub const TEXT_KIND: &str = "x-probegate-text";

/// The longest value of a label that is taken: Kubernetes allows 63 characters, callers of other
/// worlds have longer ones.
const MAX_LABEL_VALUE: u32 = 253;

/// What is known of one kind.
#[derive(Debug, Clone)]
pub struct KindSchema {
    /// The kind, such as `Gate`.
    pub kind: &'static str,
    /// The plural of the resource's path, such as `gates`.
    pub plural: &'static str,
    /// The structural schema of the whole resource.
    pub schema: Value,
    /// The definition as the derive makes it.
    pub definition: CustomResourceDefinition,
}

/// All kinds, in the order of [`super::KINDS`].
#[must_use]
pub fn kinds() -> Vec<KindSchema> {
    vec![of::<Gate>(), of::<Probe>(), of::<ReleaseWindow>(), of::<Override>(), of::<GateRun>()]
}

fn of<R: Resource + JsonSchema + CustomResourceExt>() -> KindSchema {
    KindSchema { kind: R::KIND, plural: R::PLURAL, schema: structural::<R>(), definition: R::crd() }
}

/// The schema with the very settings that the derive uses for a definition, so that the two agree;
/// extension keywords, which the definition's types drop, are still in it.
fn structural<T: JsonSchema>() -> Value {
    SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(AddNullable::default())
        .with_transform(StructuralSchemaRewriter)
        .with_transform(OptionalEnum)
        .with_transform(OptionalIntOrString)
        .with_transform(bound_labels)
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// Bounds the values of label maps: an API server estimates what a CEL rule may cost from the
/// largest value that the schema allows.
fn bound_labels(schema: &mut schemars::Schema) {
    schemars::transform::transform_subschemas(&mut bound_labels, schema);
    if let Some(Value::Object(values)) = schema.get_mut("additionalProperties")
        && values.get("type").is_some_and(|kind| kind == "string")
    {
        values.entry("maxLength").or_insert_with(|| Value::from(MAX_LABEL_VALUE));
    }
}

/// The schema of the metadata that a file may give. What the server alone writes (uid,
/// resourceVersion and so on) is let through, so that what a cluster prints can be read, and is not
/// used.
#[must_use]
pub fn metadata() -> Value {
    let server = |about: &str| json!({"description": about, "x-kubernetes-preserve-unknown-fields": true});
    let texts = |about: &str| {
        json!({
            "type": "object",
            "description": about,
            "additionalProperties": {"type": "string", "maxLength": 262_144},
            "maxProperties": 256
        })
    };
    let written = "Written by the server; not used in a file.";
    json!({
        "type": "object",
        "description": "Name, namespace, labels and annotations.",
        "required": ["name"],
        "properties": {
            "name": {
                "type": "string", "minLength": 1, "maxLength": 253,
                "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "description": "The name: lower-case letters, digits, `-` and `.`, such as `checkout`."
            },
            "namespace": {
                "type": "string", "minLength": 1, "maxLength": 63,
                "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
                "description": "The namespace: lower-case letters, digits and `-`, such as `shop`. Default `default`."
            },
            "labels": {
                "type": "object",
                "description": "Labels, for selectors.",
                "maxProperties": 64,
                "additionalProperties": {
                    "type": "string", "maxLength": 63,
                    "pattern": r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
                    "description": "A label's value: letters, digits, `-`, `_` and `.`, such as `control-plane`."
                }
            },
            "annotations": texts("Notes that selectors do not see."),
            "uid": server(written), "resourceVersion": server(written), "generation": server(written),
            "creationTimestamp": server(written), "deletionTimestamp": server(written),
            "deletionGracePeriodSeconds": server(written), "generateName": server(written),
            "managedFields": server(written), "ownerReferences": server(written),
            "finalizers": server(written), "selfLink": server(written)
        }
    })
}
