//! Asking again until the other side has finished.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::answer::Answer;
use crate::rules::Expression;

/// What a webhook finds again at its next execution, also after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Carry {
    /// Which attempt this is, from 1: a failed one that is tried again is another, with an
    /// idempotency key of its own.
    pub(super) attempt: u32,
    /// Whether the other side has been set to work.
    pub(super) started: bool,
    /// Where to ask; `None` for the same call again.
    pub(super) url: Option<String>,
    /// How often it was asked again.
    pub(super) polls: u32,
}

impl Carry {
    /// What an earlier execution left; one that cannot be read was left by another version.
    pub(super) fn read(carry: Option<&Value>) -> Self {
        carry.and_then(|carry| serde_json::from_value(carry.clone()).ok()).unwrap_or(Self {
            attempt: 1,
            started: false,
            url: None,
            polls: 0,
        })
    }

    /// After a failure: another attempt.
    pub(super) const fn next_attempt(&self) -> Self {
        Self { attempt: self.attempt.saturating_add(1), started: false, url: None, polls: 0 }
    }

    pub(super) fn value(&self) -> Option<Value> {
        serde_json::to_value(self).ok()
    }
}

#[derive(Debug)]
enum Part {
    Text(String),
    Value(Arc<Expression>),
}

/// Where to ask: a URL with expressions over the first answer.
#[derive(Debug)]
pub(super) struct Address {
    parts: Vec<Part>,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// An expression that does not end or does not compile.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            parts.push(Part::Text(before.to_owned()));
            let end = end_of_expression(after).ok_or("`${` without `}`")?;
            let (expression, tail) = after.split_at(end);
            let compiled = Expression::compile(expression).map_err(|error| format!("`{expression}`: {error}"))?;
            parts.push(Part::Value(Arc::new(compiled)));
            rest = tail.strip_prefix('}').unwrap_or(tail);
        }
        parts.push(Part::Text(rest.to_owned()));
        let address = Self { parts };
        if let [Part::Text(text)] = address.parts.as_slice() {
            text.parse::<Url>().map_err(|error| format!("`{text}` is no URL: {error}"))?;
        }
        Ok(address)
    }

    /// The address after `answer`, which came from `base`.
    ///
    /// # Errors
    /// An expression fails, gives no text or number, or the whole is no URL.
    pub(super) async fn after(&self, answer: &Answer, base: &Url) -> Result<Url, String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Value(expression) => {
                    let value = answer.eval(expression).await?;
                    let value =
                        scalar(&value).ok_or_else(|| format!("`{}` gives no text or number", expression.text()))?;
                    // A URL reads these as steps in a path, however they are written.
                    if matches!(value.as_str(), "." | "..") {
                        return Err(format!("`{}` gives `{value}`, which leads elsewhere", expression.text()));
                    }
                    // At the start it is an address; behind it, a part of one.
                    if text.is_empty() { text.push_str(&value) } else { text.push_str(&encoded(&value)) }
                }
            }
        }
        base.join(&text).map_err(|error| format!("`{text}` is no URL: {error}"))
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A value as one part of a path or query: it can neither leave its place nor begin another.
fn encoded(value: &str) -> String {
    url::form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>().replace('+', "%20")
}

/// The place of the brace that ends an expression; braces in texts do not count.
fn end_of_expression(text: &str) -> Option<usize> {
    let mut depth = 0_u32;
    let mut quote = None;
    let mut escaped = false;
    for (place, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if open == c => quote = None,
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(place),
            (None, '}') => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use proptest::prelude::*;
    use reqwest::header::HeaderMap;
    use rstest::rstest;

    async fn after(text: &str, body: &str) -> Result<String, String> {
        let answer = Answer::new(202, &HeaderMap::new(), body.as_bytes(), &[], Timestamp::UNIX_EPOCH);
        let base = "https://e2e.shop/run".parse().unwrap();
        Address::parse(text)?.after(&answer, &base).await.map(Into::into)
    }

    #[rstest]
    #[case("https://e2e.shop/status", "", "https://e2e.shop/status")]
    #[case("https://e2e.shop/jobs/${body.id}", "{\"id\": 17}", "https://e2e.shop/jobs/17")]
    #[case("${body.self}", "{\"self\": \"https://other.shop/a?b=c\"}", "https://other.shop/a?b=c")]
    #[case("${body.self}", "{\"self\": \"/jobs/1\"}", "https://e2e.shop/jobs/1")]
    #[case(
        "https://e2e.shop/jobs/${body.id}/x",
        "{\"id\": \"../../a b?c#d\"}",
        "https://e2e.shop/jobs/..%2F..%2Fa%20b%3Fc%23d/x"
    )]
    #[case("https://e2e.shop/${if body.a { \"}\" } else { \"b\" }}", "{\"a\": false}", "https://e2e.shop/b")]
    #[tokio::test]
    async fn an_address_comes_from_the_first_answer(#[case] text: &str, #[case] body: &str, #[case] expected: &str) {
        assert_eq!(after(text, body).await.unwrap(), expected);
    }

    #[rstest]
    #[case("https://e2e.shop/${body.id", "without `}`")]
    #[case("https://e2e.shop/${body.}", "body.")]
    #[case("jobs", "is no URL")]
    #[case("https://e2e.shop/${body.id}", "gives no text or number")]
    #[case("https://e2e.shop/${\"..\"}/x", "leads elsewhere")]
    #[tokio::test]
    async fn an_address_that_is_none_says_why(#[case] text: &str, #[case] why: &str) {
        let error = after(text, "{}").await.unwrap_err();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn what_another_version_left_is_a_new_beginning() {
        assert_eq!(Carry::read(Some(&serde_json::json!({"job": 1}))).attempt, 1);
        let carry = Carry { attempt: 2, started: true, url: Some("https://x/".into()), polls: 3 };
        assert_eq!(Carry::read(carry.value().as_ref()), carry);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[${}\"'a-z./:\\\\]{0,40}") {
            let _ = Address::parse(&text);
        }
    }
}
