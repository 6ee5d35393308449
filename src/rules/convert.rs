//! Values between JSON and scripts.

use rhai::{Dynamic, Map};
use serde_json::{Number, Value};

use super::error::{ScriptError, ScriptErrorKind};

/// The most values (nested ones included) that are handed to a script: what takes longer to hand
/// over than to judge is data, not facts.
pub(super) const MAX_INPUT_VALUES: usize = 50_000;
/// The most bytes of text that are handed to a script.
pub(super) const MAX_INPUT_BYTES: usize = 4 * 1024 * 1024;
/// The deepest nesting that is handed to a script or taken from it.
pub(super) const MAX_DEPTH: usize = 128;

/// What is left of the limits on input.
#[derive(Debug)]
pub struct Allowance {
    values: usize,
    bytes: usize,
}

impl Allowance {
    /// All of it.
    #[must_use]
    pub const fn full() -> Self {
        Self { values: MAX_INPUT_VALUES, bytes: MAX_INPUT_BYTES }
    }

    fn take(&mut self, bytes: usize) -> Result<(), ScriptError> {
        let too_large = || {
            ScriptError::new(
                ScriptErrorKind::Input,
                format!("the input is larger than {MAX_INPUT_VALUES} values or {MAX_INPUT_BYTES} bytes of text"),
            )
        };
        self.values = self.values.checked_sub(1).ok_or_else(too_large)?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(too_large)?;
        Ok(())
    }
}

/// JSON as a script sees it: `null` is `()`, and a number beyond 64 bits is a floating point one.
///
/// # Errors
/// The input is beyond what is left of `allowance`, or nested too deeply.
pub fn to_script(value: &Value, allowance: &mut Allowance) -> Result<Dynamic, ScriptError> {
    to_script_at(value, allowance, 0)
}

fn to_script_at(value: &Value, allowance: &mut Allowance, depth: usize) -> Result<Dynamic, ScriptError> {
    if depth > MAX_DEPTH {
        return Err(ScriptError::new(
            ScriptErrorKind::Input,
            format!("the input is nested more than {MAX_DEPTH} deep"),
        ));
    }
    allowance.take(value.as_str().map_or(0, str::len))?;
    Ok(match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(bool) => (*bool).into(),
        Value::Number(number) => number
            .as_i64()
            .map(Dynamic::from_int)
            .or_else(|| number.as_f64().map(Dynamic::from_float))
            .unwrap_or(Dynamic::UNIT),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => Dynamic::from_array(
            items.iter().map(|item| to_script_at(item, allowance, depth + 1)).collect::<Result<_, _>>()?,
        ),
        Value::Object(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                allowance.take(key.len())?;
                map.insert(key.as_str().into(), to_script_at(value, allowance, depth + 1)?);
            }
            Dynamic::from_map(map)
        }
    })
}

/// A script's value as JSON; `Err` names the type that JSON does not have.
///
/// # Errors
/// A value that JSON does not have, in words.
pub fn to_json(value: &Dynamic) -> Result<Value, String> {
    to_json_at(value, 0)
}

fn to_json_at(value: &Dynamic, depth: usize) -> Result<Value, String> {
    if depth > MAX_DEPTH {
        return Err(format!("a value nested more than {MAX_DEPTH} deep"));
    }
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(bool) = value.as_bool() {
        return Ok(bool.into());
    }
    if let Ok(int) = value.as_int() {
        return Ok(int.into());
    }
    if let Ok(float) = value.as_float() {
        return Number::from_f64(float).map(Value::Number).ok_or_else(|| format!("the number {float}"));
    }
    if let Ok(char) = value.as_char() {
        return Ok(char.to_string().into());
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(text.as_str().into());
    }
    if let Ok(items) = value.as_array_ref() {
        return items.iter().map(|item| to_json_at(item, depth + 1)).collect::<Result<_, _>>().map(Value::Array);
    }
    if let Ok(entries) = value.as_map_ref() {
        return entries
            .iter()
            .map(|(key, value)| Ok((key.to_string(), to_json_at(value, depth + 1)?)))
            .collect::<Result<_, String>>()
            .map(Value::Object);
    }
    Err(type_name(value))
}

/// What a value is, in words that a person knows from JSON.
#[must_use]
pub fn type_name(value: &Dynamic) -> String {
    let full = value.type_name();
    let name = match full.rsplit("::").next().unwrap_or(full) {
        "()" => "nothing",
        "i64" => "a whole number",
        "f64" => "a number",
        "bool" => "a boolean",
        "string" | "char" => "a text",
        "array" => "a list",
        "map" => "a map",
        "Fn" => "a function",
        "Time" => "a time",
        "Given" => "the facts",
        "Decision" => "a decision",
        other => return format!("a {other}"),
    };
    name.to_owned()
}
