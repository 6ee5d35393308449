//! Bodies and parameters as typed values; whatever is wrong becomes a problem that names the
//! field, what was found, what is allowed and the nearest spelling.

use std::borrow::Cow;
use std::fmt::Write;
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use super::problem::{Kind, Problem, echo};

/// Whether the body says that it is JSON.
///
/// # Errors
/// Another media type, or none.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let found = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = found.split(';').next().unwrap_or("").trim();
    if essence.eq_ignore_ascii_case("application/json") || essence.to_ascii_lowercase().ends_with("+json") {
        return Ok(());
    }
    let found = if found.is_empty() { "no content-type".to_owned() } else { format!("`{}`", echo(found)) };
    Err(Problem::new(Kind::MediaType, format!("found {found}; application/json is read here")))
}

/// Reads a body.
///
/// # Errors
/// It is no JSON ([`Kind::Malformed`]), or not of this shape ([`Kind::Invalid`]).
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if body.is_empty() {
        return Err(Problem::new(Kind::Malformed, "the body is empty; a JSON object is expected"));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().clone();
        explain(&path, &error.into_inner())
    })?;
    reader.end().map_err(|error| Problem::new(Kind::Malformed, error.to_string()))?;
    Ok(value)
}

fn explain(path: &Path, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    if !error.is_data() {
        let problem = Problem::new(Kind::Malformed, text);
        let field = print(path);
        return if field.is_empty() { problem } else { problem.field(echo(&field)) };
    }
    // serde says the position behind the message; the field says it better.
    let message = text.split(" at line ").next().unwrap_or(&text);
    let words = quoted(message);
    let mut field = print(path);
    if let Some(missing) = message.strip_prefix("missing field ").and(words.first()) {
        field = if field.is_empty() { (*missing).to_owned() } else { format!("{field}.{missing}") };
    }
    let mut problem = Problem::new(Kind::Invalid, echo_long(message));
    if !field.is_empty() {
        problem = problem.field(echo(&field));
    }
    let named = message.starts_with("unknown field ") || message.starts_with("unknown variant ");
    match words.split_first() {
        Some((found, allowed)) if named => problem.allowed(found, allowed.iter().copied()),
        _ => problem,
    }
}

/// A message may repeat what was sent.
fn echo_long(text: &str) -> String {
    const MAX: usize = 600;
    if text.chars().count() <= MAX {
        return text.to_owned();
    }
    text.chars().take(MAX - 1).chain(['…']).collect()
}

/// The words of a message that stand in backticks.
fn quoted(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}

fn print(path: &Path) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Map { key } => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            Segment::Seq { index } => {
                // Writing to a string does not fail.
                let _ = write!(text, "[{index}]");
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    text
}

/// A value as a JSON answer.
pub(super) fn answer<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let mut response = (status, body).into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => {
            tracing::error!(%error, "An answer cannot be written as JSON.");
            Problem::new(Kind::Internal, "the answer cannot be written").into_response()
        }
    }
}

/// The parameters of an address. Each may stand once, and only known ones may.
#[derive(Debug, Default)]
pub(super) struct Params<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Params<'a> {
    /// # Errors
    /// One that is not among `known`, or stands twice.
    pub(super) fn parse(query: Option<&'a str>, known: &[&'static str]) -> Result<Self, Problem> {
        Self::parse_with(query, known, &[])
    }

    /// As [`Params::parse`], with some that may stand again.
    pub(super) fn parse_with(
        query: Option<&'a str>,
        known: &[&'static str],
        repeated: &[&str],
    ) -> Result<Self, Problem> {
        let mut pairs: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        for (key, value) in url::form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
            if !known.contains(&key.as_ref()) {
                let detail = match known {
                    [] => format!("there is no parameter `{}` here", echo(&key)),
                    _ => format!("there is no parameter `{}`; there are {}", echo(&key), known.join(", ")),
                };
                let problem = Problem::new(Kind::Parameter, detail).field(echo(&key));
                return Err(problem.allowed(&key, known.iter().copied()));
            }
            if !repeated.contains(&key.as_ref()) && pairs.iter().any(|(other, _)| *other == key) {
                return Err(Problem::new(Kind::Parameter, format!("parameter `{key}` stands twice")).field(key));
            }
            pairs.push((key, value));
        }
        Ok(Self { pairs })
    }

    /// A parameter's text; an empty one counts as absent.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(name, value)| name == key && !value.is_empty()).map(|(_, value)| value.as_ref())
    }

    /// Every text of a parameter that may stand again.
    pub(super) fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_ref())
    }

    /// A parameter's value.
    ///
    /// # Errors
    /// The text is none.
    pub(super) fn get<T: FromStr>(&self, key: &str, allowed: &str) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let detail = || format!("`{}` is not allowed as {key}: {allowed}", echo(text));
        text.parse().map(Some).map_err(|_| Problem::new(Kind::Parameter, detail()).field(key))
    }
}
