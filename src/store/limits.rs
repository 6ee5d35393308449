//! What a resource must look like to be kept, in every home. The rules are those of Kubernetes, so
//! that what one home takes the other takes too.

use serde_json::{Map, Value};

use super::{Object, StoreError};
use crate::model::Labels;

/// The largest resource, as JSON: the request limit of etcd, which the other home stands on.
pub const MAX_OBJECT_BYTES: usize = 1_572_864;
/// The deepest nesting of objects and lists: parsers refuse 128, and what cannot be read again must
/// not be written.
pub const MAX_DEPTH: usize = 100;
/// The longest name: that of a DNS name (RFC 1123).
pub const MAX_NAME: usize = 253;
/// The longest namespace, label value and label name without its prefix: one label of a DNS name.
pub const MAX_DNS_LABEL: usize = 63;
/// The most labels on one resource: every one is a row of an index.
pub const MAX_LABELS: usize = 64;
/// The most annotation bytes on one resource, as in Kubernetes.
pub const MAX_ANNOTATION_BYTES: usize = 262_144;
/// The most resources on one page: a page is held in memory at both ends.
pub const MAX_PAGE: usize = 500;
/// A page ends early at this size: large resources must not add up to a large answer.
pub const MAX_PAGE_BYTES: usize = 8_388_608;

/// Judges a resource that shall be kept. The size is judged where it is turned into text.
///
/// # Errors
/// [`StoreError::Invalid`] naming the field, what was found and what is allowed.
pub fn check(object: &Object) -> Result<(), StoreError> {
    let invalid = |why: String| {
        StoreError::Invalid(format!("{} {}/{}: {why}", object.kind, shorten(&object.namespace), shorten(&object.name)))
    };
    check_name(&object.name).map_err(|why| invalid(format!("metadata.name {why}")))?;
    check_namespace(&object.namespace).map_err(|why| invalid(format!("metadata.namespace {why}")))?;
    let Value::Object(body) = &object.body else {
        return Err(invalid("the resource is not a JSON object".to_owned()));
    };
    if let Some(kind) = body.get("kind")
        && kind.as_str() != Some(object.kind)
    {
        return Err(invalid(format!("kind is {kind}, not \"{}\"", object.kind)));
    }
    let metadata = match body.get("metadata") {
        None | Some(Value::Null) => None,
        Some(Value::Object(metadata)) => Some(metadata),
        Some(_) => return Err(invalid("metadata is not a JSON object".to_owned())),
    };
    if let Some(metadata) = metadata {
        check_metadata(object, metadata).map_err(invalid)?;
    }
    if deeper_than(&object.body, MAX_DEPTH) {
        return Err(invalid(format!("it is nested more than {MAX_DEPTH} levels deep")));
    }
    Ok(())
}

fn check_metadata(object: &Object, metadata: &Map<String, Value>) -> Result<(), String> {
    for (field, expected) in [("name", &object.name), ("namespace", &object.namespace)] {
        match metadata.get(field) {
            None | Some(Value::Null) => {}
            Some(Value::String(found)) if found == expected => {}
            Some(found) => {
                return Err(format!("metadata.{field} is {}, not \"{expected}\"", shorten(&found.to_string())));
            }
        }
    }
    if let Some(labels) = strings(metadata, "labels")? {
        if labels.len() > MAX_LABELS {
            return Err(format!("metadata.labels has {} labels; at most {MAX_LABELS} are allowed", labels.len()));
        }
        for (key, value) in labels {
            check_label(&key, &value).map_err(|why| format!("metadata.labels[\"{}\"]: {why}", shorten(&key)))?;
        }
    }
    if let Some(annotations) = strings(metadata, "annotations")? {
        let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > MAX_ANNOTATION_BYTES {
            return Err(format!("metadata.annotations has {bytes} bytes; at most {MAX_ANNOTATION_BYTES} are allowed"));
        }
        for key in annotations.keys() {
            check_key(key).map_err(|why| format!("metadata.annotations[\"{}\"]: {why}", shorten(key)))?;
        }
    }
    Ok(())
}

fn strings(metadata: &Map<String, Value>, field: &str) -> Result<Option<Labels>, String> {
    let map = match metadata.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(format!("metadata.{field} is not a JSON object")),
    };
    let pair = |(key, value): (&String, &Value)| match value {
        Value::String(value) => Ok((key.clone(), value.clone())),
        _ => Err(format!("metadata.{field}[\"{}\"] is not a string", shorten(key))),
    };
    map.iter().map(pair).collect::<Result<_, _>>().map(Some)
}

/// Judges a name: lower-case letters, digits, `-` and `.`, beginning and ending with a letter or a
/// digit between any two dots, at most [`MAX_NAME`] bytes (a DNS-1123 subdomain).
///
/// # Errors
/// What was found and what is allowed.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("is empty".to_owned());
    }
    if name.len() > MAX_NAME {
        return Err(format!("has {} bytes; at most {MAX_NAME} are allowed", name.len()));
    }
    if name.split('.').all(is_dns_label) {
        return Ok(());
    }
    Err(format!(
        "\"{}\" must be lower-case letters, digits, '-' and '.', each part beginning and ending with a letter or digit",
        shorten(name)
    ))
}

/// Judges a namespace: as a name without dots, at most [`MAX_DNS_LABEL`] bytes (a DNS-1123 label).
///
/// # Errors
/// What was found and what is allowed.
pub fn check_namespace(namespace: &str) -> Result<(), String> {
    if namespace.is_empty() {
        return Err("is empty".to_owned());
    }
    if namespace.len() > MAX_DNS_LABEL {
        return Err(format!("has {} bytes; at most {MAX_DNS_LABEL} are allowed", namespace.len()));
    }
    if is_dns_label(namespace) {
        return Ok(());
    }
    Err(format!(
        "\"{}\" must be lower-case letters, digits and '-', beginning and ending with a letter or digit",
        shorten(namespace)
    ))
}

/// Judges a label: a key with an optional DNS prefix before `/`, and a value of letters, digits,
/// `-`, `_` and `.` that begins and ends with a letter or digit, or is empty.
///
/// # Errors
/// What was found and what is allowed.
pub fn check_label(key: &str, value: &str) -> Result<(), String> {
    check_key(key)?;
    if value.is_empty() || is_qualified(value) {
        return Ok(());
    }
    Err(format!(
        "the value \"{}\" must be at most {MAX_DNS_LABEL} letters, digits, '-', '_' and '.', beginning and ending with \
         a letter or digit",
        shorten(value)
    ))
}

fn check_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix {
        check_name(prefix).map_err(|why| format!("the key's prefix {why}"))?;
    }
    if is_qualified(name) {
        return Ok(());
    }
    Err(format!(
        "the key must be at most {MAX_DNS_LABEL} letters, digits, '-', '_' and '.', beginning and ending with a letter \
         or digit, after an optional DNS prefix and '/'"
    ))
}

fn is_dns_label(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
}

fn is_qualified(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= MAX_DNS_LABEL
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Walks level by level instead of recursing: what is too deep must not overflow the stack here.
fn deeper_than(value: &Value, limit: usize) -> bool {
    let mut level = vec![value];
    for _ in 0..limit {
        level = level.into_iter().flat_map(children_of).collect();
        if level.is_empty() {
            return false;
        }
    }
    true
}

fn children_of(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(members) => Box::new(members.values()),
        _ => Box::new(std::iter::empty()),
    }
}

/// Cuts a foreign text to what an error message can hold.
fn shorten(text: &str) -> String {
    /// Enough to recognise it by.
    const LONGEST: usize = 80;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain(std::iter::once('…')).collect()
}
