//! What came back, and what it says: pure but for the expressions, which are bounded.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::HeaderMap;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use serde_json_path::JsonPath;

use crate::outbound::hide;
use crate::rules::{Expression, ScriptError};

/// How much of an answer stands in a message and in the evidence.
const MAX_EXCERPT: usize = 300;
/// How much of a header an expression sees.
const MAX_HEADER: usize = 4_096;
/// The longest time that an answer may put us off.
const MAX_RETRY_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// One answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Map<String, Value>,
    text: String,
    /// The body, where it is JSON.
    json: Result<Value, String>,
    /// The body's beginning for a person, without secrets.
    pub(super) excerpt: String,
    /// Where the answer says how to go on.
    pub(super) location: Option<String>,
    /// When to ask again, where it says so.
    pub(super) retry_after: Option<SignedDuration>,
}

impl Answer {
    pub(super) fn new(status: u16, headers: &HeaderMap, body: &[u8], hidden: &[SecretString], now: Timestamp) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let shown = String::from_utf8_lossy(&hide(body, hidden)).into_owned();
        let mut excerpt: String =
            shown.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_EXCERPT).collect();
        if shown.chars().nth(MAX_EXCERPT).is_some() {
            excerpt.push('…');
        }
        let map = headers.iter().map(|(name, value)| {
            let value: String = String::from_utf8_lossy(value.as_bytes()).chars().take(MAX_HEADER).collect();
            (name.as_str().to_owned(), Value::String(value))
        });
        Self {
            status,
            headers: map.collect(),
            text: String::from_utf8_lossy(body).into_owned(),
            json: serde_json::from_slice(body).map_err(|error| error.to_string()),
            excerpt,
            location: header("location").map(ToOwned::to_owned),
            retry_after: header("retry-after").and_then(|text| retry_after(text, now)),
        }
    }

    /// Whether the other side is in trouble, or cannot answer now: nothing is known then.
    pub(super) const fn is_trouble(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500..=599)
    }

    /// `status`, `headers`, `body` and `text` for expressions. A body that is no JSON is `()`.
    fn variables(&self) -> Map<String, Value> {
        let mut variables = Map::new();
        variables.insert("status".to_owned(), self.status.into());
        variables.insert("headers".to_owned(), self.headers.clone().into());
        variables.insert("body".to_owned(), self.json.clone().unwrap_or(Value::Null));
        variables.insert("text".to_owned(), self.text.clone().into());
        variables
    }

    /// Why an expression over this answer failed.
    fn why(&self, expression: &Expression, error: &ScriptError) -> String {
        let no_json = match &self.json {
            Err(why) => format!(" (the answer is no JSON: {why})"),
            Ok(_) => String::new(),
        };
        format!("`{}` cannot be judged: {error}{no_json}", expression.text())
    }

    /// Whether an expression holds.
    pub(super) async fn holds(&self, expression: &Arc<Expression>) -> Result<bool, String> {
        let (task, variables) = (Arc::clone(expression), self.variables());
        let held = tokio::task::spawn_blocking(move || task.holds(&variables)).await;
        held.map_err(|error| error.to_string())?.map_err(|error| self.why(expression, &error))
    }

    /// The value of an expression.
    pub(super) async fn eval(&self, expression: &Arc<Expression>) -> Result<Value, String> {
        let (task, variables) = (Arc::clone(expression), self.variables());
        let value = tokio::task::spawn_blocking(move || task.eval(&variables)).await;
        value.map_err(|error| error.to_string())?.map_err(|error| self.why(expression, &error))
    }

    /// Whether the one value at `path` is `wanted`: `Ok(Err(…))` says what is there instead, `Err`
    /// that it cannot be told.
    pub(super) fn has(&self, path: &JsonPath, wanted: &Value) -> Result<Result<(), String>, String> {
        let body = self.json.as_ref().map_err(|why| format!("the answer is no JSON: {why}"))?;
        let found = path.query(body).all();
        Ok(match found.as_slice() {
            [one] if equal(one, wanted) => Ok(()),
            [one] => Err(format!("{path} is {} where {wanted} is expected", bounded(one))),
            [] => Err(format!("{path} is not there")),
            many => Err(format!("{path} selects {} values where one is expected", many.len())),
        })
    }
}

fn bounded(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 80 { text.chars().take(79).chain(['…']).collect() } else { text }
}

/// Equality in which `1` and `1.0` are one number.
fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b).is_eq(),
        _ => a == b,
    }
}

/// Reads a `Retry-After`: seconds, or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<SignedDuration> {
    let text = text.trim();
    let wait = match text.parse::<u32>() {
        Ok(seconds) => SignedDuration::from_secs(seconds.into()),
        Err(_) => jiff::fmt::rfc2822::parse(text).ok()?.timestamp().duration_since(now),
    };
    Some(wait.clamp(SignedDuration::ZERO, MAX_RETRY_AFTER))
}

/// The answer as evidence.
pub(super) fn evidence(answer: &Answer) -> Value {
    json!({"status": answer.status, "excerpt": answer.excerpt})
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn answer(body: &str) -> Answer {
        Answer::new(200, &HeaderMap::new(), body.as_bytes(), &["s3cret".into()], Timestamp::UNIX_EPOCH)
    }

    #[rstest]
    #[case("5", Some(5))]
    #[case("99999", Some(600))]
    #[case("Thu, 01 Jan 1970 00:01:00 GMT", Some(60))]
    #[case("Wed, 31 Dec 1969 00:00:00 GMT", Some(0))]
    #[case("soon", None)]
    #[case("-5", None)]
    fn a_retry_after_is_read_in_both_forms(#[case] text: &str, #[case] seconds: Option<i64>) {
        assert_eq!(retry_after(text, Timestamp::UNIX_EPOCH).map(|wait| wait.as_secs()), seconds);
    }

    #[rstest]
    #[case("{\"a\": 1}", "$.a", json!(1.0), Ok(Ok(())))]
    #[case("{\"a\": \"1\"}", "$.a", json!(1), Ok(Err("$.a is \"1\" where 1 is expected".to_owned())))]
    #[case("{}", "$.a", json!(true), Ok(Err("$.a is not there".to_owned())))]
    #[case("{\"a\": [1, 2]}", "$.a[*]", json!(1), Ok(Err("$.a[*] selects 2 values where one is expected".to_owned())))]
    fn a_path_selects_one_value(
        #[case] body: &str,
        #[case] path: &str,
        #[case] wanted: Value,
        #[case] expected: Result<Result<(), String>, String>,
    ) {
        assert_eq!(answer(body).has(&JsonPath::parse(path).unwrap(), &wanted), expected);
    }

    #[test]
    fn what_is_no_json_has_no_path() {
        let why = answer("<html>").has(&JsonPath::parse("$.a").unwrap(), &json!(1)).unwrap_err();
        assert!(why.starts_with("the answer is no JSON"), "{why}");
    }

    #[test]
    fn an_excerpt_is_short_one_line_and_without_secrets() {
        let answer = answer(&format!("s3cret\n{}", "x".repeat(1_000)));
        assert!(answer.excerpt.starts_with("[hidden] xxx") && answer.excerpt.ends_with('…'), "{}", answer.excerpt);
        assert_eq!(answer.excerpt.chars().count(), MAX_EXCERPT + 1);
    }

    #[tokio::test]
    async fn an_expression_over_what_is_no_json_says_so() {
        let expression = Arc::new(Expression::compile("body.ok == true").unwrap());
        assert_eq!(answer("{\"ok\": true}").holds(&expression).await, Ok(true));
        let why = answer("<html>").holds(&expression).await.unwrap_err();
        assert!(why.contains("the answer is no JSON"), "{why}");
    }
}
