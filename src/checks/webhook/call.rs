//! One call: headers, secrets, the request itself.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::answer::Answer;
use crate::api::WebhookHeader;
use crate::outbound::{ClientOptions, Outbound, Secrets, explain, read_limited, refusal};

/// The largest answer: a report of a test run has less.
const MAX_ANSWER: usize = 1 << 20;
/// Headers that belong to the connection.
const RESERVED: [&str; 5] = ["connection", "content-length", "host", "transfer-encoding", "upgrade"];
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A header of the spec.
pub(super) struct Header {
    name: HeaderName,
    prefix: String,
    value: Source,
}

enum Source {
    Plain(String),
    /// A file below the secrets directory, read at every call.
    Secret(String),
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// A name or value that is none.
    pub(super) fn compile(spec: &WebhookHeader) -> Result<Self, String> {
        let wrong = |why: &str| format!("header `{}`: {why}", spec.name);
        let name: HeaderName = spec.name.parse().map_err(|_| wrong("this is no header's name"))?;
        if RESERVED.contains(&name.as_str()) {
            return Err(wrong("it belongs to the connection and cannot be set"));
        }
        let prefix = spec.prefix.clone().unwrap_or_default();
        let value = match (&spec.value, &spec.secret_file) {
            (Some(value), None) => {
                HeaderValue::from_str(&format!("{prefix}{value}")).map_err(|_| wrong("it has control characters"))?;
                Source::Plain(value.clone())
            }
            (None, Some(file)) => {
                Secrets::check_path(file).map_err(|error| wrong(&error.to_string()))?;
                Source::Secret(file.clone())
            }
            _ => return Err(wrong("exactly one of value and secretFile")),
        };
        Ok(Self { name, prefix, value })
    }

    /// Whether it says that the body is something else than JSON.
    pub(super) fn says_no_json(&self) -> bool {
        self.name == CONTENT_TYPE
            && matches!(&self.value, Source::Plain(value) if !value.to_lowercase().contains("json"))
    }
}

/// What is to be called.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: &'a Url,
    pub(super) body: Option<String>,
    pub(super) headers: &'a [Header],
    /// Whether `url` is where the spec says: secrets go nowhere else.
    pub(super) trusted: bool,
    pub(super) options: &'a ClientOptions,
    pub(super) key: &'a str,
    pub(super) timeout: Duration,
    pub(super) now: Timestamp,
}

impl Call<'_> {
    /// Calls; gives the answer and how long it took.
    ///
    /// # Errors
    /// A sentence: there is no whole answer, and why.
    pub(super) async fn make(self, outbound: &Outbound) -> Result<(Answer, Duration), String> {
        let start = Instant::now();
        let (headers, hidden) = self.headers(outbound).await?;
        let client = outbound.client(self.options).await.map_err(|error| error.to_string())?;
        let mut request = client.request(self.method, self.url).map_err(|refused| refused.to_string())?;
        request = request.headers(headers).timeout(self.timeout);
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let response = request.send().await.map_err(|error| match refusal(&error) {
            Some(refused) => refused.to_string(),
            None => explain(&error),
        })?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = read_limited(response, MAX_ANSWER).await.map_err(|error| error.to_string())?;
        Ok((Answer::new(status, &headers, &body, &hidden, self.now), start.elapsed()))
    }

    async fn headers(&self, outbound: &Outbound) -> Result<(HeaderMap, Vec<SecretString>), String> {
        let mut headers = HeaderMap::new();
        let mut hidden = Vec::new();
        for header in self.headers {
            let value = match &header.value {
                Source::Plain(value) => HeaderValue::from_str(&format!("{}{value}", header.prefix)),
                Source::Secret(_) if !self.trusted => continue,
                Source::Secret(file) => {
                    let secret = outbound.secrets().text(file).await.map_err(|error| error.to_string())?;
                    let value = HeaderValue::from_str(&format!("{}{}", header.prefix, secret.expose_secret()));
                    hidden.push(secret);
                    value.map(|mut value| {
                        value.set_sensitive(true);
                        value
                    })
                }
            };
            let value = value.map_err(|_| format!("header `{}`: the value has control characters", header.name))?;
            headers.append(header.name.clone(), value);
        }
        if self.body.is_some() && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let (false, Ok(key)) = (headers.contains_key(IDEMPOTENCY_KEY), HeaderValue::from_str(self.key)) {
            headers.insert(HeaderName::from_static(IDEMPOTENCY_KEY), key);
        }
        Ok((headers, hidden))
    }
}
