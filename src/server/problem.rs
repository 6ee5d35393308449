//! Problem documents (RFC 9457): every answer that is not what was asked for.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::limits::MAX_ECHO;
use crate::engine::AskError;
use crate::store::StoreError;

/// The media type.
const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The kind of problem, as an address in this program's documentation.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: Box<str>,
    /// The kind of problem in a few words; the same for every problem of the kind.
    #[schema(value_type = String)]
    pub title: Box<str>,
    /// The status code.
    pub status: u16,
    /// What was found, and what is allowed.
    pub detail: String,
    /// The field, such as `change.revision`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub field: Option<Box<str>>,
    /// Every value or field that is allowed there.
    #[serde(default, skip_serializing_if = "<[String]>::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    pub allowed: Box<[String]>,
    /// The allowed one that is most like what was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub nearest: Option<Box<str>>,
    /// When to try again.
    #[serde(skip)]
    pub retry_after_seconds: Option<u32>,
}

/// The kinds, by slug: one line each in `docs/http.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No route, or no such thing.
    NotFound,
    /// A method that the route does not have.
    MethodNotAllowed,
    /// A body that is no JSON.
    Malformed,
    /// JSON with a wrong field or value.
    Invalid,
    /// A parameter of the address that is wrong.
    Parameter,
    /// A body of another media type.
    MediaType,
    /// Too many bytes.
    TooLarge,
    /// The body came too slowly.
    Slow,
    /// Who asks is not known.
    Unauthenticated,
    /// Who asks may not do that.
    Forbidden,
    /// Somebody else was faster, or it is done already.
    Conflict,
    /// Too many requests of one caller.
    Rate,
    /// Too many requests at one time.
    Overloaded,
    /// It took too long.
    Timeout,
    /// The store is in trouble.
    Unavailable,
    /// A bug of ours.
    Internal,
}

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Malformed,
        Self::Invalid,
        Self::Parameter,
        Self::MediaType,
        Self::TooLarge,
        Self::Slow,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::Conflict,
        Self::Rate,
        Self::Overloaded,
        Self::Timeout,
        Self::Unavailable,
        Self::Internal,
    ];

    /// Slug, title and status.
    #[must_use]
    pub const fn parts(self) -> (&'static str, &'static str, StatusCode) {
        match self {
            Self::NotFound => ("not-found", "There is no such thing", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed => {
                ("method-not-allowed", "This method is not allowed here", StatusCode::METHOD_NOT_ALLOWED)
            }
            Self::Malformed => ("malformed", "The body cannot be read", StatusCode::BAD_REQUEST),
            Self::Invalid => ("invalid", "A field or value is not allowed", StatusCode::UNPROCESSABLE_ENTITY),
            Self::Parameter => ("parameter", "A parameter is not allowed", StatusCode::BAD_REQUEST),
            Self::MediaType => ("media-type", "The body has another media type", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::TooLarge => ("too-large", "The request is too large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::Slow => ("slow", "The body came too slowly", StatusCode::REQUEST_TIMEOUT),
            Self::Unauthenticated => ("unauthenticated", "Who asks is not known", StatusCode::UNAUTHORIZED),
            Self::Forbidden => ("forbidden", "That is not allowed to this caller", StatusCode::FORBIDDEN),
            Self::Conflict => ("conflict", "The state does not allow that", StatusCode::CONFLICT),
            Self::Rate => ("rate", "Too many requests", StatusCode::TOO_MANY_REQUESTS),
            Self::Overloaded => ("overloaded", "Too many requests at one time", StatusCode::SERVICE_UNAVAILABLE),
            Self::Timeout => ("timeout", "It took too long", StatusCode::SERVICE_UNAVAILABLE),
            Self::Unavailable => ("unavailable", "The store is in trouble", StatusCode::SERVICE_UNAVAILABLE),
            Self::Internal => ("internal", "A bug of this program", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

impl Problem {
    /// A problem with its detail.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (slug, title, status) = kind.parts();
        let retry = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS).then_some(1);
        Self {
            kind: format!("https://probegate.io/problems/{slug}").into(),
            title: title.into(),
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
            allowed: Box::default(),
            nearest: None,
            retry_after_seconds: retry,
        }
    }

    /// Names the field.
    #[must_use]
    pub fn field(mut self, field: impl Into<Box<str>>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Names what is allowed, and what of it `found` was probably meant to be.
    #[must_use]
    pub fn allowed<I, T>(mut self, found: &str, allowed: I) -> Self
    where
        I: IntoIterator<Item = T>,
        T: Into<String>,
    {
        self.allowed = allowed.into_iter().map(Into::into).collect();
        self.nearest = nearest(found, self.allowed.iter().map(String::as_str)).map(Box::from);
        if let Some(nearest) = &self.nearest {
            self.detail = format!("{}; did you mean `{nearest}`?", self.detail);
        }
        self
    }

    /// Says when to try again.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// How alike a spelling must be to be suggested (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.75;

/// The allowed word that is most like `found`.
pub(super) fn nearest<'a>(found: &str, allowed: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let found: String = found.chars().take(MAX_ECHO).collect();
    let scored = allowed.map(|word| (strsim::jaro_winkler(&found, word), word));
    scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, word)| word)
}

/// A foreign text, short enough to be repeated.
pub(super) fn echo(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    if text.chars().count() > MAX_ECHO { plain.take(MAX_ECHO - 1).chain(['…']).collect() } else { plain.collect() }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED.as_u16() {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"probegate\""));
        }
        response
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        let detail = error.to_string();
        match error {
            AskError::NoGate { nearest, .. } => {
                let mut problem = Self::new(Kind::NotFound, detail).field("gate");
                problem.nearest = nearest.map(Into::into);
                problem
            }
            AskError::WrongTarget { .. } => Self::new(Kind::Invalid, detail).field("change.target"),
            AskError::Invalid(_) => Self::new(Kind::Invalid, detail),
            AskError::NoRun(_) => Self::new(Kind::NotFound, detail),
            AskError::Decided(_) => Self::new(Kind::Conflict, detail),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::NotFound { .. } => Self::new(Kind::NotFound, detail),
            StoreError::Exists { .. } | StoreError::Conflict { .. } => Self::new(Kind::Conflict, detail),
            StoreError::Invalid(_) => Self::new(Kind::Invalid, detail),
            StoreError::Unavailable { .. } => {
                tracing::error!(error = detail, "The store is in trouble; a request was answered with 503.");
                Self::new(Kind::Unavailable, detail).retry_after(5)
            }
        }
    }
}
