//! A client of our own HTTP interface: what `probegate … --server` and the demo speak through.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::engine::Answer;
use crate::model::{Batch, Change, Point, Question};
use crate::outbound::{self, ClientOptions, Outbound, OutboundError, Secrets, TlsOptions};

/// The largest answer that is read: a page of runs with their evidence.
const MAX_ANSWER: usize = 32 * 1024 * 1024;
/// How long an answer may take beyond the time that the server was asked to wait.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest text of an answer that is no problem document that is shown.
const MAX_SHOWN: usize = 200;

/// How to reach a server.
#[derive(Debug)]
pub struct Address {
    /// Its base URL, such as `https://probegate.example`.
    pub url: Url,
    /// The token to show.
    pub token: Option<SecretString>,
    /// A file with the certificates to trust instead of the system's.
    pub ca_file: Option<std::path::PathBuf>,
}

/// Why a server gave no answer to use.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is of no use.
    #[error("{url} is no address of a server: {why}; write it like https://probegate.example")]
    Address {
        /// The address.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// No request could be made.
    #[error("while preparing the call to {url}: {source}")]
    Prepare {
        /// The address.
        url: String,
        /// The cause.
        source: OutboundError,
    },
    /// Nobody answered.
    #[error("no answer from {url}: {why}; is the server running there, and is the address right?")]
    Unreachable {
        /// The address.
        url: String,
        /// The cause.
        why: String,
    },
    /// The server refuses.
    #[error("the server says {status}: {detail}{}", hint(*status))]
    Refused {
        /// The status code.
        status: u16,
        /// What it says.
        detail: String,
    },
    /// The server answers something else than was asked for.
    #[error("the answer of {url} cannot be read: {why}; is it a probegate server of this version?")]
    Unreadable {
        /// The address.
        url: String,
        /// The cause.
        why: String,
    },
}

/// What to do about a refusal.
const fn hint(status: u16) -> &'static str {
    match status {
        401 => "; give a token with --token-file or PROBEGATE_TOKEN (`probegate token` makes one)",
        403 => "; the token lacks the scope for this",
        429 | 503 => "; try again in a moment",
        _ => "",
    }
}

/// A server's problem document, as far as a person needs it.
#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
}

/// The body of `POST /v1/check`.
#[derive(Serialize)]
struct CheckBody<'a> {
    gate: String,
    change: &'a Change,
    batch: Batch,
    point: Point,
}

/// A client of one server.
#[derive(Clone)]
pub struct Client {
    inner: outbound::Client,
    url: Url,
    token: Option<std::sync::Arc<SecretString>>,
}

impl Client {
    /// A client of the server at `address`.
    ///
    /// # Errors
    /// The address or the certificates are of no use.
    pub async fn new(address: Address) -> Result<Self, ClientError> {
        let mut url = address.url;
        if url.cannot_be_a_base() || !matches!(url.scheme(), "http" | "https") {
            return Err(ClientError::Address { url: url.to_string(), why: "it is neither http nor https".to_owned() });
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let shown = url.to_string();
        let bad_file = || ClientError::Address { url: shown.clone(), why: "the CA file has no name".to_owned() };
        let (directory, ca_file) = match &address.ca_file {
            Some(path) => {
                let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(bad_file)?;
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                (Some(parent.unwrap_or(std::path::Path::new(".")).to_owned()), Some(name.to_owned()))
            }
            None => (None, None),
        };
        let options = ClientOptions {
            tls: TlsOptions { ca_file, ..TlsOptions::default() },
            timeout: Duration::from_secs(3_600),
            ..ClientOptions::default()
        };
        let inner = Outbound::new(Secrets::new(directory))
            .client(&options)
            .await
            .map_err(|source| ClientError::Prepare { url: shown, source })?;
        Ok(Self { inner, url, token: address.token.map(std::sync::Arc::new) })
    }

    /// Asks a gate, and lets the server wait for the verdict for at most `wait`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn check(&self, question: &Question, wait: Duration) -> Result<Answer, ClientError> {
        let url = self.at(&["v1", "check"], &[("wait", format!("{}s", wait.as_secs()))]);
        let body = CheckBody {
            gate: format!("{}/{}", question.namespace, question.gate),
            change: &question.change,
            batch: question.batch,
            point: question.point,
        };
        self.send(Method::POST, &url, |request| request.json(&body).timeout(wait + PATIENCE)).await
    }

    /// Gets what stands at a path.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T, ClientError> {
        let url = self.at(path, query);
        self.send(Method::GET, &url, |request| request.timeout(PATIENCE)).await
    }

    /// Posts `body` to a path.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &Value) -> Result<T, ClientError> {
        let url = self.at(path, &[]);
        self.send(Method::POST, &url, |request| request.json(body).timeout(PATIENCE)).await
    }

    /// Deletes what stands at a path.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T, ClientError> {
        let url = self.at(path, query);
        self.send(Method::DELETE, &url, |request| request.timeout(PATIENCE)).await
    }

    /// The address of a path; its parts are escaped.
    fn at(&self, path: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        url: &Url,
        prepare: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<T, ClientError> {
        let shown = || self.url.to_string();
        let request = self
            .inner
            .request(method, url)
            .map_err(|refused| ClientError::Prepare { url: shown(), source: refused.into() })?;
        let mut request = prepare(request);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let answer = request
            .send()
            .await
            .map_err(|error| ClientError::Unreachable { url: shown(), why: outbound::explain(&error) })?;
        let status = answer.status();
        let body = outbound::read_limited(answer, MAX_ANSWER)
            .await
            .map_err(|error| ClientError::Unreadable { url: shown(), why: error.to_string() })?;
        if !status.is_success() {
            return Err(refused(status, &body));
        }
        // An answer without a body reads as null.
        let body: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(body).map_err(|error| ClientError::Unreadable { url: shown(), why: error.to_string() })
    }
}

fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    let detail = match serde_json::from_slice::<Problem>(body) {
        Ok(problem) if !problem.detail.is_empty() => problem.detail,
        Ok(problem) if !problem.title.is_empty() => problem.title,
        _ => {
            let text = String::from_utf8_lossy(body);
            let text: String = text.trim().chars().take(MAX_SHOWN).collect();
            if text.is_empty() { status.canonical_reason().unwrap_or("no reason").to_owned() } else { text }
        }
    };
    ClientError::Refused { status: status.as_u16(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use wiremock::matchers::{body_json, header, method, path, query_param};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    async fn client(server: &MockServer) -> Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = Url::parse(&server.uri()).unwrap();
        Client::new(Address { url, token: Some("secret".into()), ca_file: None }).await.unwrap()
    }

    fn question() -> Question {
        Question {
            namespace: "shop".into(),
            gate: "checkout".into(),
            change: serde_json::from_value(
                json!({"id": "c-17", "target": "checkout", "revision": "v42", "actor": "ci"}),
            )
            .unwrap(),
            batch: Batch { index: 2, total: 5, percent: 10 },
            point: Point::Post,
        }
    }

    #[tokio::test]
    async fn a_question_goes_out_in_the_form_that_the_interface_promises() {
        let server = MockServer::start().await;
        let answer = json!({"verdict": "block", "id": "shop/r1", "reason": "errors failed", "until": null,
            "retryAfterSeconds": null, "checks": []});
        Mock::given(method("POST"))
            .and(path("/v1/check"))
            .and(query_param("wait", "20s"))
            .and(header("authorization", "Bearer secret"))
            .and(body_json(json!({
                "gate": "shop/checkout",
                "change": {"id": "c-17", "target": "checkout", "revision": "v42", "action": "release",
                    "actor": "ci", "invoker": "automation"},
                "batch": {"index": 2, "total": 5, "percent": 10},
                "point": "post",
            })))
            .respond_with(ResponseTemplate::new(200).set_body_json(&answer))
            .expect(1)
            .mount(&server)
            .await;
        let got = client(&server).await.check(&question(), Duration::from_secs(20)).await.unwrap();
        assert_eq!(serde_json::to_value(got).unwrap(), answer);
    }

    #[tokio::test]
    async fn a_problem_document_is_told_with_what_to_do() {
        let server = MockServer::start().await;
        let problem = json!({"type": "about:blank", "title": "Unauthenticated", "status": 401, "detail": "no token"});
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(401).set_body_json(problem))
            .mount(&server)
            .await;
        let error = client(&server).await.check(&question(), Duration::ZERO).await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("the server says 401: no token; give a token"), "{text}");
    }

    #[tokio::test]
    async fn a_page_that_is_no_answer_is_not_taken_for_one() {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .respond_with(ResponseTemplate::new(200).set_body_string("<html>login</html>"))
            .mount(&server)
            .await;
        let error = client(&server).await.get::<Value>(&["v1", "runs"], &[]).await.unwrap_err();
        assert!(error.to_string().contains("is it a probegate server"), "{error}");
    }
}
