//! The schema of a kind in the form that the validator walks: compiled once, patterns included.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::cel::Rule;
use crate::api::schema::{self, TEXT_KIND};

/// What may stand at one place of a resource.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) form: Form,
    /// Whether nothing may stand there as well.
    pub(super) nullable: bool,
    /// What it is, in the words of the field's documentation.
    pub(super) about: String,
    /// The CEL rules of this place.
    pub(super) rules: Vec<Rule>,
}

/// The kind of value at one place.
#[derive(Debug)]
pub(super) enum Form {
    /// Any JSON.
    Any,
    /// `true` or `false`.
    Bool,
    /// A whole number between two bounds, both included.
    Integer { min: Option<i64>, max: Option<i64> },
    /// A decimal number, kept as its text.
    Decimal,
    /// A text.
    Text(Text),
    /// A list.
    List { item: Box<Shape>, min: usize, max: usize, unique: Unique },
    /// A mapping with free keys.
    Map { value: Box<Shape>, max: usize },
    /// A mapping with known fields.
    Fields { fields: BTreeMap<String, Shape>, required: Vec<String> },
}

/// A text and what it must look like.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) min: usize,
    pub(super) max: Option<usize>,
    pub(super) pattern: Option<Regex>,
    pub(super) words: Vec<String>,
    pub(super) kind: TextKind,
}

/// What a text means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum TextKind {
    #[default]
    Plain,
    Duration,
    Instant,
}

/// What must differ between the items of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unique {
    No,
    /// The items themselves.
    Items,
    /// This field of the items.
    Field(String),
}

/// The shapes of all kinds, by kind.
pub(super) static SHAPES: LazyLock<BTreeMap<&'static str, Shape>> =
    LazyLock::new(|| schema::kinds().into_iter().map(|kind| (kind.kind, Shape::compile(&kind.schema))).collect());

impl Shape {
    /// Compiles a structural schema. What the schema does not say is allowed.
    pub(super) fn compile(schema: &Value) -> Self {
        let list = |key: &str| schema.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        Self {
            form: Form::compile(schema),
            nullable: schema.get("nullable") == Some(&Value::Bool(true)),
            about: schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
            rules: list("x-kubernetes-validations").iter().filter_map(Rule::compile).collect(),
        }
    }
}

impl Shape {
    /// The shape of a field of a mapping with known fields.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        if let Form::Fields { fields, .. } = &self.form { fields.get(name) } else { None }
    }

    const fn any() -> Self {
        Self { form: Form::Any, nullable: true, about: String::new(), rules: Vec::new() }
    }
}

impl Form {
    fn compile(schema: &Value) -> Self {
        let number = |key: &str| schema.get(key).and_then(Value::as_f64).map(bound);
        match (schema.get("type").and_then(Value::as_str), schema.get(TEXT_KIND).and_then(Value::as_str)) {
            (_, Some("decimal")) => Self::Decimal,
            (Some("string"), kind) => Self::Text(Text::compile(schema, kind)),
            (Some("boolean"), _) => Self::Bool,
            (Some("integer"), _) => Self::Integer {
                min: number("minimum"),
                max: number("maximum").or_else(|| largest(schema.get("format").and_then(Value::as_str))),
            },
            (Some("array"), _) => Self::List {
                item: Box::new(schema.get("items").map_or_else(Shape::any, Shape::compile)),
                min: count(schema, "minItems").unwrap_or(0),
                max: count(schema, "maxItems").unwrap_or(usize::MAX),
                unique: Unique::compile(schema),
            },
            (Some("object"), _) => Self::compile_object(schema),
            _ => Self::Any,
        }
    }

    fn compile_object(schema: &Value) -> Self {
        if let Some(fields) = schema.get("properties").and_then(Value::as_object) {
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            return Self::Fields {
                fields: fields.iter().map(|(name, field)| (name.clone(), Shape::compile(field))).collect(),
                required: required.filter_map(Value::as_str).map(str::to_owned).collect(),
            };
        }
        let value = schema.get("additionalProperties").filter(|value| value.is_object());
        Self::Map {
            value: Box::new(value.map_or_else(Shape::any, Shape::compile)),
            max: count(schema, "maxProperties").unwrap_or(usize::MAX),
        }
    }
}

impl Text {
    fn compile(schema: &Value, kind: Option<&str>) -> Self {
        let words = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        let kind = match (kind, schema.get("format").and_then(Value::as_str)) {
            (Some("duration"), _) => TextKind::Duration,
            (_, Some("date-time")) => TextKind::Instant,
            _ => TextKind::Plain,
        };
        Self {
            min: count(schema, "minLength").unwrap_or(0),
            max: count(schema, "maxLength"),
            // The library cannot say less than the schema: a test compiles every pattern.
            pattern: schema.get("pattern").and_then(Value::as_str).and_then(|pattern| Regex::new(pattern).ok()),
            words: words.filter_map(Value::as_str).map(str::to_owned).collect(),
            kind,
        }
    }
}

impl Unique {
    fn compile(schema: &Value) -> Self {
        match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => Self::Items,
            Some("map") => schema
                .get("x-kubernetes-list-map-keys")
                .and_then(|keys| keys.get(0))
                .and_then(Value::as_str)
                .map_or(Self::No, |key| Self::Field(key.to_owned())),
            _ => Self::No,
        }
    }
}

/// A bound of a whole number: the rewriting of the schema makes floating point numbers of them.
#[allow(clippy::cast_possible_truncation, reason = "the bounds of our schemas are small whole numbers")]
const fn bound(number: f64) -> i64 {
    number as i64
}

fn count(schema: &Value, key: &str) -> Option<usize> {
    schema.get(key).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok())
}

/// The largest number of a format, where the schema gives no maximum.
fn largest(format: Option<&str>) -> Option<i64> {
    match format? {
        "uint8" => Some(i64::from(u8::MAX)),
        "uint16" => Some(i64::from(u16::MAX)),
        "uint32" => Some(i64::from(u32::MAX)),
        "int32" => Some(i64::from(i32::MAX)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each<'a>(value: &'a Value, visit: &mut impl FnMut(&'a serde_json::Map<String, Value>)) {
        match value {
            Value::Object(map) => {
                visit(map);
                map.values().for_each(|value| each(value, visit));
            }
            Value::Array(items) => items.iter().for_each(|value| each(value, visit)),
            _ => {}
        }
    }

    #[test]
    fn every_pattern_compiles() {
        for kind in schema::kinds() {
            each(&kind.schema, &mut |map| {
                if let Some(pattern) = map.get("pattern").and_then(Value::as_str) {
                    Regex::new(pattern).unwrap();
                }
            });
        }
    }

    #[test]
    fn every_cel_rule_has_its_counterpart_with_the_same_message() {
        let mut rules = 0;
        for kind in schema::kinds() {
            each(&kind.schema, &mut |map| {
                for rule in map.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                    rules += 1;
                    let compiled = Rule::compile(rule).unwrap_or_else(|| panic!("no counterpart: {rule}"));
                    assert_eq!(Some(compiled.message.as_str()), rule["message"].as_str());
                }
            });
        }
        assert!(rules >= 15, "{rules}");
    }
}
