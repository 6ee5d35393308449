//! As much of JSON Schema as the API's own document uses, to hold answers against it.

use serde_json::Value;

/// What is wrong with `value`, or nothing.
pub fn fits(document: &Value, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(&reference[1..]).ok_or_else(|| format!("{reference} leads nowhere"))?;
        fits(document, target, value, path)?;
    }
    for word in ["oneOf", "anyOf"] {
        if let Some(options) = schema[word].as_array() {
            let errors: Vec<String> =
                options.iter().filter_map(|option| fits(document, option, value, path).err()).collect();
            if errors.len() == options.len() {
                return Err(format!("{path} fits none of {word}: {}", errors.join("; ")));
            }
        }
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        fits(document, part, value, path)?;
    }
    has_type(schema, value, path)?;
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Err(format!("{path}: {value} is none of {words:?}"));
    }
    if let Some(object) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                return Err(format!("{path}: {name} is missing"));
            }
        }
        for (name, inner) in object {
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Bool(false)) => return Err(format!("{path}: {name} is not in the schema")),
                (Value::Null, more @ Value::Object(_)) => fits(document, more, inner, &format!("{path}.{name}"))?,
                (Value::Null, _) => {}
                (known, _) => fits(document, known, inner, &format!("{path}.{name}"))?,
            }
        }
    }
    for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
        if schema["items"].is_object() {
            fits(document, &schema["items"], inner, &format!("{path}[{index}]"))?;
        }
    }
    Ok(())
}

fn has_type(schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    let allowed: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(()),
    };
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if allowed.contains(&found) || (found == "integer" && allowed.contains(&"number")) {
        return Ok(());
    }
    Err(format!("{path} is {found}; {allowed:?} are allowed"))
}
