//! The fields of a kind as a table for people, out of its schema: whatever the schema says stands
//! in it.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::schema::{KindSchema, TEXT_KIND};

/// How a sentence about a default begins.
const DEFAULTS: [&str; 2] = ["Default ", "Absent: "];

/// Every field below `spec`, with type, default and meaning, in Markdown.
#[must_use]
pub fn markdown(kind: &KindSchema) -> String {
    let mut text = format!(
        "<!-- Made by `probegate crds --fields`; not to be edited. -->\n\n# The fields of `{}`\n\n\
         Everything below `spec`. A field with a default may be left out, and so may one with none: then there is \
         nothing of the kind. `[]` stands for each item of a list, `*` for each key of a map.\n",
        kind.kind
    );
    let empty = Map::new();
    let spec = kind.schema.pointer("/properties/spec");
    let fields = spec.and_then(|spec| properties(spec)).unwrap_or(&empty);
    let mut table = Table { rows: Vec::new(), shown: HashMap::new() };
    let required = names(spec.unwrap_or(&Value::Null), "required");
    let (plain, deep): (Vec<_>, Vec<_>) = fields.iter().partition(|(_, schema)| properties(schema).is_none());
    for (name, schema) in plain {
        table.field(name, schema, required.contains(&name.as_str()));
    }
    write_section(&mut text, "Of every kind", None, &std::mem::take(&mut table.rows));
    for (name, schema) in deep {
        table.below(name, schema);
        let about = schema.get("description").and_then(Value::as_str);
        write_section(&mut text, &format!("`{name}`"), about, &std::mem::take(&mut table.rows));
    }
    text
}

fn write_section(text: &mut String, heading: &str, about: Option<&str>, rows: &[String]) {
    if rows.is_empty() {
        return;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n## {heading}\n");
    if let Some(about) = about {
        let _ = writeln!(text, "{}\n", one_line(about));
    }
    let _ = writeln!(text, "| field | type | default | meaning |\n| --- | --- | --- | --- |\n{}", rows.join("\n"));
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

/// Whether it is on or off, and off unless somebody says otherwise.
fn is_switch(schema: &Value) -> bool {
    let nullable = schema.get("nullable").and_then(Value::as_bool).unwrap_or(false);
    !nullable && schema.get("type").is_some_and(|kind| kind == "boolean")
}

fn names<'a>(schema: &'a Value, key: &str) -> Vec<&'a str> {
    schema.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The rows of a table, and where each group of fields was shown first.
struct Table {
    rows: Vec<String>,
    shown: HashMap<String, String>,
}

impl Table {
    /// The row of a field, and those of the fields below.
    fn field(&mut self, path: &str, schema: &Value, required: bool) {
        let (meaning, default) = divide(schema.get("description").and_then(Value::as_str).unwrap_or_default());
        let default = match (required, default) {
            (true, _) => "required".to_owned(),
            (false, Some(default)) => default,
            (false, None) if is_switch(schema) => "false".to_owned(),
            (false, None) => "none".to_owned(),
        };
        let inner = inner(schema);
        let known = inner.and_then(|(_, inner)| self.shown.get(&fields_of(inner)).cloned());
        let more = known.as_ref().map(|first| format!(" Its fields are those of `{first}`.")).unwrap_or_default();
        let cells = [format!("`{path}`"), typed(schema), default, format!("{meaning}{more}")];
        let cells = cells.map(|cell| one_line(&cell).replace('|', "\\|"));
        self.rows.push(format!("| {} |", cells.join(" | ")));
        if known.is_none() {
            self.below(path, schema);
        }
    }

    /// The rows of the fields below one.
    fn below(&mut self, path: &str, schema: &Value) {
        let Some((step, inner)) = inner(schema) else { return };
        let path = format!("{path}{step}");
        self.shown.entry(fields_of(inner)).or_insert_with(|| path.clone());
        let required = names(inner, "required");
        for (name, field) in properties(inner).into_iter().flatten() {
            self.field(&format!("{path}.{name}"), field, required.contains(&name.as_str()));
        }
    }
}

/// What has fields of its own below a schema, and the step that leads there.
fn inner(schema: &Value) -> Option<(&'static str, &Value)> {
    let steps = [("", Some(schema)), ("[]", schema.get("items")), (".*", schema.get("additionalProperties"))];
    steps.into_iter().find_map(|(step, inner)| Some((step, inner.filter(|inner| properties(inner).is_some())?)))
}

/// A group of fields as a key: two with the same are one.
fn fields_of(schema: &Value) -> String {
    schema.get("properties").map(Value::to_string).unwrap_or_default()
}

/// What may stand there.
fn typed(schema: &Value) -> String {
    let number = |key: &str| schema.get(key).and_then(Value::as_f64);
    match (schema.get("type").and_then(Value::as_str), schema.get(TEXT_KIND).and_then(Value::as_str)) {
        (_, Some(kind)) => kind.to_owned(),
        (Some("array"), _) => format!("list of {}", schema.get("items").map_or_else(|| "anything".to_owned(), typed)),
        (Some("object"), _) if properties(schema).is_some() => "object".to_owned(),
        (Some("object"), _) => match schema.get("additionalProperties").filter(|values| values.is_object()) {
            Some(values) => format!("map of {}", typed(values)),
            None => "map".to_owned(),
        },
        (Some("integer"), _) => match (number("minimum"), number("maximum")) {
            (Some(min), Some(max)) => format!("integer, {min} to {max}"),
            (Some(min), None) => format!("integer from {min}"),
            _ => "integer".to_owned(),
        },
        (Some("boolean"), _) => "boolean".to_owned(),
        (Some("string"), _) => {
            let words = names(schema, "enum");
            let pattern = schema.get("pattern").and_then(Value::as_str).unwrap_or_default();
            let listed = pattern.strip_prefix("^(").and_then(|rest| rest.strip_suffix(")$"));
            match (words.is_empty(), listed) {
                (false, _) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
                (true, Some(listed)) => {
                    listed.split('|').map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
                }
                (true, None) => "text".to_owned(),
            }
        }
        _ => "anything".to_owned(),
    }
}

/// The meaning without the sentence about the default, and that default.
fn divide(about: &str) -> (String, Option<String>) {
    let about = one_line(about);
    for begin in DEFAULTS {
        let at = if about.starts_with(begin) { Some(0) } else { about.find(&format!(". {begin}")).map(|at| at + 2) };
        let Some((before, rest)) = at.and_then(|at| about.split_at_checked(at)) else { continue };
        let rest = rest.strip_prefix(begin).unwrap_or(rest);
        let (default, after) = rest.split_once(". ").unwrap_or((rest.trim_end_matches('.'), ""));
        let meaning = format!("{}{}{after}", before.trim_end(), if after.is_empty() { "" } else { " " });
        return (meaning.trim().to_owned(), Some(default.to_owned()));
    }
    (about, None)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::schema::kinds;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case("The method. Default GET.", "The method.", Some("GET"))]
    #[case("Which. Absent: any 2xx, or so. Never two.", "Which. Never two.", Some("any 2xx, or so"))]
    #[case("What it is.\nOn two lines.", "What it is. On two lines.", None)]
    fn a_default_has_a_column_of_its_own(#[case] about: &str, #[case] meaning: &str, #[case] default: Option<&str>) {
        assert_eq!(divide(about), (meaning.to_owned(), default.map(str::to_owned)));
    }

    #[rstest]
    #[case(json!({"type": "string", "enum": ["a", "b"]}), "`a`, `b`")]
    #[case(json!({"type": "string", "pattern": "^(GET|PUT)$"}), "`GET`, `PUT`")]
    #[case(json!({"type": "integer", "minimum": 1.0, "maximum": 20.0}), "integer, 1 to 20")]
    #[case(json!({"type": "array", "items": {"type": "integer", "minimum": 0}}), "list of integer from 0")]
    #[case(json!({"type": "object", "additionalProperties": {"type": "string"}}), "map of text")]
    #[case(json!({"type": "string", "x-probegate-text": "duration"}), "duration")]
    fn a_type_is_a_word_or_two(#[case] schema: Value, #[case] expected: &str) {
        assert_eq!(typed(&schema), expected);
    }

    #[test]
    fn every_field_of_every_kind_has_its_row() {
        fn count(schema: &Value, seen: &mut std::collections::BTreeSet<String>) {
            for (name, field) in properties(schema).into_iter().flatten() {
                seen.insert(name.clone());
                count(field, seen);
            }
            for below in ["items", "additionalProperties"] {
                if let Some(schema) = schema.get(below) {
                    count(schema, seen);
                }
            }
        }
        for kind in kinds() {
            let (text, mut names) = (markdown(&kind), std::collections::BTreeSet::new());
            count(kind.schema.pointer("/properties/spec").unwrap(), &mut names);
            for name in names {
                let heads = [format!("`{name}`"), format!(".{name}`"), format!("## `{name}`")];
                assert!(heads.iter().any(|head| text.contains(head)), "{}: {name} is missing", kind.kind);
            }
        }
    }
}
