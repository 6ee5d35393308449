//! The schemas as files: custom resource definitions for clusters, JSON Schemas for editors.

use serde_json::{Map, Value, json};

use super::schema::{self, KindSchema, TEXT_KIND};
use super::schema_rules;
use super::{GROUP, VERSION};

/// The dialect that editors know best.
const DIALECT: &str = "http://json-schema.org/draft-07/schema#";
/// Formats that an API server knows; it warns about any other.
const KNOWN_FORMATS: [&str; 3] = ["int32", "int64", "date-time"];

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaFile {
    /// Its path below the directory that is written to.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Why a schema cannot be written: never, as long as the tests pass.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// No JSON.
    #[error("while writing the schema of {kind} as JSON: {source}")]
    Json {
        /// The kind.
        kind: String,
        /// The reason.
        source: serde_json::Error,
    },
    /// No YAML.
    #[error("while writing the definition of {kind} as YAML: {source}")]
    Yaml {
        /// The kind.
        kind: String,
        /// The reason.
        source: serde_saphyr::SerializeError,
    },
}

/// Every generated file: `crds/` with a kustomization, and `schemas/`.
///
/// # Errors
/// A schema cannot be written.
pub fn files() -> Result<Vec<SchemaFile>, SchemaError> {
    let mut files = Vec::new();
    let kinds = schema::kinds();
    for kind in &kinds {
        let text = format!("# Made by `probegate crds --write`; not to be edited.\n{}", definition_yaml(kind)?);
        files.push(SchemaFile { path: format!("crds/{}.yaml", kind.plural), text });
        files.push(SchemaFile {
            path: format!("schemas/{}", schema_name(kind)),
            text: pretty(kind.kind, &editor(kind))?,
        });
    }
    files.push(SchemaFile { path: "schemas/probegate.json".to_owned(), text: pretty("every kind", &any(&kinds))? });
    let list: Vec<String> = kinds.iter().map(|kind| format!("- {}.yaml\n", kind.plural)).collect();
    let head = "# Made by `probegate crds --write`; not to be edited.\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n";
    files.push(SchemaFile { path: "crds/kustomization.yaml".to_owned(), text: format!("{head}{}", list.concat()) });
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn schema_name(kind: &KindSchema) -> String {
    format!("{}.json", kind.kind.to_lowercase())
}

fn pretty(kind: &str, value: &Value) -> Result<String, SchemaError> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n").map_err(|source| SchemaError::Json { kind: kind.to_owned(), source })
}

/// The custom resource definition of a kind, as YAML.
///
/// # Errors
/// It cannot be written.
pub fn definition_yaml(kind: &KindSchema) -> Result<String, SchemaError> {
    let definition = definition(kind)?;
    serde_saphyr::to_string(&definition).map_err(|source| SchemaError::Yaml { kind: kind.kind.to_owned(), source })
}

/// The custom resource definition of a kind, as an API server takes it without a warning.
///
/// # Errors
/// It cannot be written as JSON.
pub fn definition(kind: &KindSchema) -> Result<Value, SchemaError> {
    let mut definition = serde_json::to_value(&kind.definition)
        .map_err(|source| SchemaError::Json { kind: kind.kind.to_owned(), source })?;
    if let Some(versions) = definition.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for version in versions {
            if let Some(schema) = version.get_mut("schema").and_then(|schema| schema.get_mut("openAPIV3Schema")) {
                *schema = for_server(&kind.schema);
                if let (Some(schema), Some(about)) =
                    (schema.as_object_mut(), kind.schema.pointer("/properties/spec/description"))
                {
                    schema.insert("description".to_owned(), about.clone());
                }
            }
        }
    }
    Ok(definition)
}

/// Without what an API server does not know, and with whole numbers written as such.
fn for_server(schema: &Value) -> Value {
    match schema {
        Value::Object(map) => {
            let known = |key: &str, value: &Value| match key {
                TEXT_KIND | "$schema" => false,
                "format" => value.as_str().is_none_or(|format| KNOWN_FORMATS.contains(&format)),
                _ => true,
            };
            let kept = map.iter().filter(|(key, value)| known(key, value));
            let mut map: Map<String, Value> = kept.map(|(key, value)| (key.clone(), for_server(value))).collect();
            // A title is the type's name in Rust: of no use to anybody there.
            if map.contains_key("properties") && map.get("title").is_some_and(Value::is_string) {
                map.remove("title");
            }
            schema_rules::for_server(&mut map);
            Value::Object(map)
        }
        Value::Array(items) => items.iter().map(for_server).collect(),
        Value::Number(number) => whole(number),
        other => other.clone(),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "only whole numbers that an f64 holds exactly")]
fn whole(number: &serde_json::Number) -> Value {
    match number.as_f64() {
        Some(value) if number.is_f64() && value.fract() == 0.0 && value.abs() < 1e15 => Value::from(value as i64),
        _ => Value::Number(number.clone()),
    }
}

/// The JSON Schema of a kind: for editors, which complete fields and show their documentation.
#[must_use]
pub fn editor(kind: &KindSchema) -> Value {
    let empty = Value::Object(Map::new());
    let part = |path: &str| for_editor(kind.schema.pointer(path).unwrap_or(&empty));
    let metadata = for_editor(&schema::metadata());
    let about = kind.schema.pointer("/properties/spec/description").cloned().unwrap_or_default();
    json!({
        "$schema": DIALECT,
        "$id": format!("https://{GROUP}/schemas/{}", schema_name(kind)),
        "title": format!("{} ({GROUP}/{VERSION})", kind.kind),
        "description": about,
        "type": "object",
        "required": ["kind", "metadata", "spec"],
        "additionalProperties": false,
        "properties": {
            "apiVersion": {"const": format!("{GROUP}/{VERSION}")},
            "kind": {"const": kind.kind},
            "metadata": metadata,
            "spec": part("/properties/spec"),
            "status": {"type": ["object", "null"], "description": "Written by Probegate; not used in a file."}
        }
    })
}

/// One schema for files that hold any kind.
#[must_use]
pub fn any(kinds: &[KindSchema]) -> Value {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.kind).collect();
    let choices: Vec<Value> = kinds
        .iter()
        .map(|kind| {
            json!({
                "if": {"properties": {"kind": {"const": kind.kind}}, "required": ["kind"]},
                "then": {"$ref": schema_name(kind)}
            })
        })
        .collect();
    json!({
        "$schema": DIALECT,
        "$id": format!("https://{GROUP}/schemas/probegate.json"),
        "title": format!("Resources of {GROUP}/{VERSION}"),
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": names}},
        "allOf": choices
    })
}

/// Translates a structural schema into JSON Schema.
fn for_editor(schema: &Value) -> Value {
    let Value::Object(map) = schema else { return schema.clone() };
    let mut out = Map::new();
    for (key, value) in map {
        let translated = match key.as_str() {
            "properties" => {
                let fields = value.as_object().into_iter().flatten();
                Value::Object(fields.map(|(name, field)| (name.clone(), for_editor(field))).collect())
            }
            "items" | "additionalProperties" => for_editor(value),
            "format" if value != "date-time" => continue,
            "nullable" | "title" | "default" => continue,
            key if key.starts_with("x-") => continue,
            _ => for_server(value),
        };
        out.insert(key.clone(), translated);
    }
    if map.get(TEXT_KIND).is_some_and(|kind| kind == "decimal") {
        out.insert("type".to_owned(), json!(["number", "string"]));
        out.insert("pattern".to_owned(), json!(r"^[-+]?[0-9]*\\.?[0-9]+([eE][-+]?[0-9]+)?$"));
    }
    let free = map.contains_key("x-kubernetes-preserve-unknown-fields");
    if out.contains_key("properties") && !free {
        out.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    if map.get("nullable") == Some(&Value::Bool(true)) {
        allow_null(&mut out);
    }
    Value::Object(out)
}

fn allow_null(schema: &mut Map<String, Value>) {
    if let Some(kind) = schema.get("type").filter(|kind| kind.is_string()).cloned() {
        schema.insert("type".to_owned(), json!([kind, "null"]));
    }
    if let Some(Value::Array(words)) = schema.get_mut("enum")
        && !words.contains(&Value::Null)
    {
        words.push(Value::Null);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds one node of a schema, and those below, against the rules of structural schemas.
    fn structural(path: &str, schema: &Value, problems: &mut Vec<String>) {
        let Value::Object(map) = schema else { return };
        let flag = |key: &str| map.get(key) == Some(&Value::Bool(true));
        if !map.contains_key("type")
            && !flag("x-kubernetes-preserve-unknown-fields")
            && !flag("x-kubernetes-int-or-string")
        {
            problems.push(format!("{path}: neither a type nor free"));
        }
        // Beside a type, a schema may only say what must be there or must not.
        let presence = |schema: &Value| schema.as_object().is_some_and(|map| map.keys().eq(["required"]));
        let allowed = |key: &str| match (key, map.get(key)) {
            ("anyOf", Some(Value::Array(schemas))) => schemas.iter().all(presence),
            ("not", Some(schema)) => presence(schema),
            _ => false,
        };
        for banned in ["$ref", "oneOf", "anyOf", "allOf", "not", "definitions", "$schema", "patternProperties", "const"]
        {
            if map.contains_key(banned) && !allowed(banned) {
                problems.push(format!("{path}: {banned}"));
            }
        }
        if map.contains_key("properties") && map.contains_key("additionalProperties") {
            problems.push(format!("{path}: properties and additionalProperties"));
        }
        if map.get("additionalProperties") == Some(&Value::Bool(false)) {
            problems.push(format!("{path}: additionalProperties: false"));
        }
        if let Some(Value::Object(fields)) = map.get("properties") {
            fields.iter().for_each(|(name, field)| structural(&format!("{path}.{name}"), field, problems));
        }
        for below in ["items", "additionalProperties"] {
            if let Some(schema) = map.get(below) {
                structural(&format!("{path}.{below}"), schema, problems);
            }
        }
    }

    /// Every list, map and text below a place with a rule is bounded, or the rule cannot be priced.
    fn bounded(path: &str, schema: &Value, inside: bool, problems: &mut Vec<String>) {
        let Value::Object(map) = schema else { return };
        let inside = inside || map.contains_key("x-kubernetes-validations");
        let kind = map.get("type").and_then(Value::as_str).unwrap_or("");
        let limit = match kind {
            "array" => Some("maxItems"),
            "string" if !map.contains_key("enum") && map.get("format") != Some(&json!("date-time")) => {
                Some("maxLength")
            }
            "object" if map.contains_key("additionalProperties") => Some("maxProperties"),
            _ => None,
        };
        // A length that a pattern gives is not seen by the estimate either.
        if let Some(limit) = limit.filter(|limit| inside && !map.contains_key(*limit)) {
            problems.push(format!("{path}: no {limit}"));
        }
        if let Some(Value::Object(fields)) = map.get("properties") {
            fields.iter().for_each(|(name, field)| bounded(&format!("{path}.{name}"), field, inside, problems));
        }
        for below in ["items", "additionalProperties"] {
            if let Some(schema) = map.get(below) {
                bounded(&format!("{path}.{below}"), schema, inside, problems);
            }
        }
    }

    #[test]
    fn every_definition_is_structural_and_its_rules_are_bounded() {
        let mut problems = Vec::new();
        for kind in schema::kinds() {
            let definition = definition(&kind).unwrap();
            let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap();
            structural(kind.kind, schema, &mut problems);
            bounded(kind.kind, schema, false, &mut problems);
        }
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn every_definition_has_what_a_person_at_kubectl_needs() {
        for kind in schema::kinds() {
            let definition = definition(&kind).unwrap();
            let names = &definition["spec"]["names"];
            let version = &definition["spec"]["versions"][0];
            assert_eq!(definition["metadata"]["name"], format!("{}.{GROUP}", kind.plural));
            assert_eq!(names["categories"], json!(["probegate"]));
            assert_eq!(names["shortNames"].as_array().unwrap().len(), 1, "{}", kind.kind);
            assert!(version["additionalPrinterColumns"].as_array().unwrap().len() >= 4, "{}", kind.kind);
            assert_eq!(version["subresources"]["status"], json!({}));
            assert_eq!(definition["spec"]["scope"], "Namespaced");
        }
    }

    #[test]
    fn a_written_definition_reads_back_as_itself() {
        for kind in schema::kinds() {
            let read: Value = serde_saphyr::from_str(&definition_yaml(&kind).unwrap()).unwrap();
            assert_eq!(read, definition(&kind).unwrap());
        }
    }
}
