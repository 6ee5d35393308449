//! What must stand in a body of JSON, and rules over a whole answer.

use std::sync::Arc;

use regex::bytes::Regex;
use serde_json::{Map, Value};
use serde_json_path::JsonPath;

use super::Seen;
use crate::api::HttpJson;
use crate::probes::SpecError;
use crate::probes::result::{Failure, Reason};
use crate::probes::wire::expression;
use crate::rules::{Expression, ScriptErrorKind};

/// How much of a body a rule knows: a value of the sandbox has no more.
const MAX_TEXT: usize = 32 * 1024;
/// How much of a header a rule knows.
const MAX_HEADER: usize = 4 * 1024;

/// A JSON path and what must stand there.
#[derive(Debug)]
pub(super) struct JsonRule {
    path: JsonPath,
    equals: Option<Value>,
    matches: Option<Regex>,
}

impl JsonRule {
    pub(super) fn compile(field: &str, specs: &[HttpJson]) -> Result<Vec<Self>, SpecError> {
        let one = |(index, spec): (usize, &HttpJson)| {
            let field = format!("{field}.json[{index}]");
            if spec.equals.is_some() && spec.matches.is_some() {
                return Err(SpecError::new(field, "not both equals and matches"));
            }
            let path = JsonPath::parse(&spec.path).map_err(|error| {
                SpecError::new(format!("{field}.path"), format!("`{}` is no JSON path: {error}", spec.path))
            })?;
            let matches = expression(&format!("{field}.matches"), spec.matches.as_deref())?;
            Ok(Self { path, equals: spec.equals.clone(), matches })
        };
        specs.iter().enumerate().map(one).collect()
    }

    pub(super) fn judge(&self, seen: &Seen<'_>) -> Result<(), Failure> {
        let wrong = |message: String| Err(Failure::new(Reason::Json, message));
        let path = &self.path;
        let json = match seen.json() {
            Ok(json) => json,
            Err(why) => return wrong(format!("the body is no JSON ({why}): {}", seen.body())),
        };
        let found = path.query(json).all();
        if found.is_empty() {
            return wrong(format!("{path} selects nothing in {}", seen.body()));
        }
        for value in found {
            let text = || value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            if let Some(wanted) = self.equals.as_ref().filter(|wanted| !equal(value, wanted)) {
                let found = seen.shown(value.to_string().as_bytes());
                return wrong(format!("{path} is {found} where `{wanted}` is expected"));
            }
            if let Some(regex) = self.matches.as_ref().filter(|regex| !regex.is_match(text().as_bytes())) {
                let found = seen.shown(text().as_bytes());
                return wrong(format!("{path} is {found}, which does not match `{regex}`"));
            }
        }
        Ok(())
    }
}

/// Equality in which `1` and `1.0` are one number, at any depth.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a.total_cmp(&b).is_eq())
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

/// Whether a rule holds.
pub(super) async fn judge_rule(rule: &Arc<Expression>, seen: &Seen<'_>) -> Result<(), Failure> {
    let (task, variables) = (Arc::clone(rule), variables(rule.text(), seen));
    let text = rule.text();
    let held = match tokio::task::spawn_blocking(move || task.holds(&variables)).await {
        Ok(held) => held,
        Err(error) => return Err(Failure::new(Reason::Script, format!("`{text}` was not evaluated: {error}"))),
    };
    match held {
        Ok(true) => Ok(()),
        Ok(false) => {
            let status = seen.answer.status;
            Err(Failure::new(Reason::Rule, format!("`{text}` is false; status {status}, body {}", seen.body())))
        }
        Err(error) if error.kind == ScriptErrorKind::Internal => {
            Err(Failure::new(Reason::Script, format!("`{text}` was not evaluated: {error}")))
        }
        Err(error) => {
            let why = seen.json().err().map(|why| format!(" (the body is no JSON: {why})")).unwrap_or_default();
            Err(Failure::new(Reason::Rule, format!("`{text}` cannot be judged: {error}{why}")))
        }
    }
}

/// What a rule knows; what its text does not name is left out.
fn variables(text: &str, seen: &Seen<'_>) -> Map<String, Value> {
    let mut variables = Map::new();
    let mut set = |name: &str, value: &dyn Fn() -> Value| {
        if text.contains(name) {
            variables.insert(name.to_owned(), value());
        }
    };
    let answer = seen.answer;
    set("status", &|| answer.status.into());
    set("seconds", &|| seen.took.as_secs_f64().into());
    set("body", &|| lossy(&answer.body, MAX_TEXT).into());
    set("json", &|| seen.json().cloned().unwrap_or_default());
    set("headers", &|| {
        let mut headers: Map<String, Value> = Map::new();
        for (name, value) in answer.headers.iter() {
            let (name, value) = (lossy(name, MAX_HEADER).to_ascii_lowercase(), lossy(value, MAX_HEADER));
            // Several values of one header are one list, as everywhere in HTTP.
            match headers.get_mut(&name) {
                Some(Value::String(before)) if before.len() < MAX_HEADER => {
                    before.push_str(", ");
                    before.push_str(&value);
                }
                Some(_) => {}
                None => {
                    headers.insert(name, value.into());
                }
            }
        }
        headers.into()
    });
    variables
}

fn lossy(bytes: &[u8], limit: usize) -> String {
    String::from_utf8_lossy(bytes.get(..limit).unwrap_or(bytes)).into_owned()
}
