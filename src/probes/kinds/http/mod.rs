//! The kind `http`: one request over HTTP/1.1 on a new connection, with every phase timed.

mod expect;

use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT as USER_AGENT_HEADER};
use hyper::{HeaderMap, Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

use self::expect::{Answer, Expectations};
use super::{Prober, Ready, SpecError, Tools};
use crate::api::{HttpProbe, ProbeSpec};
use crate::outbound::{Outbound, USER_AGENT};
use crate::probes::result::{Failure, Line, Reason};
use crate::probes::trace::{Timed, Trace};
use crate::probes::wire::{Place, Secure, connect, io_reason};

/// The largest head of an answer.
const MAX_HEAD: usize = 64 * 1024;
/// The most headers of an answer.
const MAX_HEADERS: usize = 200;
/// How much of a body is read. What is longer cannot be judged by its content.
const MAX_BODY: usize = 1 << 20;

struct Http {
    url: Url,
    place: Place,
    /// Path and query.
    target: Uri,
    method: Method,
    headers: Vec<Header>,
    body: Bytes,
    expect: Expectations,
    tls: Option<Secure>,
    outbound: Outbound,
}

struct Header {
    name: HeaderName,
    prefix: String,
    value: Value,
}

enum Value {
    Plain(String),
    /// A file below the secrets directory, read at every round.
    Secret(String),
}

/// Prepares a probe of this kind; `None` where the spec is of another.
pub(super) fn compile(spec: &ProbeSpec, tools: &Tools) -> Option<Result<Ready, SpecError>> {
    spec.http.as_ref().map(|http| {
        let http = Arc::new(prepare(http, &tools.outbound)?);
        let host = http.place.host.clone();
        let prober: Prober = Arc::new(move |trace| {
            let http = Arc::clone(&http);
            Box::pin(async move { http.round(trace).await })
        });
        Ok(Ready { prober, host })
    })
}

fn prepare(spec: &HttpProbe, outbound: &Outbound) -> Result<Http, SpecError> {
    let wrong = |why: String| SpecError::new("http.url", why);
    let url: Url = spec.url.parse().map_err(|error| wrong(format!("`{}` is no URL: {error}", spec.url)))?;
    outbound.guard().check_url(&url).map_err(|refused| wrong(refused.to_string()))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(80);
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let target = target.parse().map_err(|error| wrong(format!("`{target}` is no request target: {error}")))?;
    let method = spec.method.as_deref().unwrap_or("GET");
    let method = method
        .parse()
        .map_err(|_| SpecError::new("http.method", format!("`{method}` is no method such as GET or POST")))?;
    let tls = match url.scheme() {
        "https" => Some(Secure::compile("http.tls", spec.tls.as_ref(), &host, &["http/1.1"], outbound)?),
        _ => None,
    };
    let headers = spec.headers.iter().map(header).collect::<Result<_, _>>()?;
    Ok(Http {
        place: Place { host, port, family: spec.family.unwrap_or_default() },
        target,
        method,
        headers,
        body: spec.body.clone().unwrap_or_default().into(),
        expect: Expectations::compile(spec.expect.as_ref())?,
        tls,
        outbound: outbound.clone(),
        url,
    })
}

fn header(spec: &crate::api::WebhookHeader) -> Result<Header, SpecError> {
    let wrong = |why: String| SpecError::new("http.headers", format!("header `{}`: {why}", spec.name));
    let name: HeaderName = spec.name.parse().map_err(|_| wrong("this is no header's name".to_owned()))?;
    let prefix = spec.prefix.clone().unwrap_or_default();
    let value = match (&spec.value, &spec.secret_file) {
        (Some(value), None) => Value::Plain(value.clone()),
        (None, Some(file)) => {
            crate::outbound::Secrets::check_path(file).map_err(|error| wrong(error.to_string()))?;
            Value::Secret(file.clone())
        }
        _ => return Err(wrong("exactly one of value and secretFile".to_owned())),
    };
    if let Value::Plain(value) = &value {
        HeaderValue::from_str(&format!("{prefix}{value}"))
            .map_err(|_| wrong("the value has control characters".to_owned()))?;
    }
    Ok(Header { name, prefix, value })
}

impl Http {
    async fn round(&self, trace: &mut Trace) -> Result<(), Failure> {
        let (request, hidden) = self.request().await?;
        let stream = connect(trace, self.outbound.lookup(), &self.place).await?;
        let Some(secure) = &self.tls else {
            return self.exchange(trace, stream, request, &hidden).await;
        };
        let stream = secure.handshake(trace, stream).await?;
        self.exchange(trace, stream, request, &hidden).await
    }

    /// The request, and the secrets in it.
    async fn request(&self) -> Result<(Request<Full<Bytes>>, Vec<SecretString>), Failure> {
        let own = |why: String| Failure::new(Reason::Secret, why);
        let mut headers = HeaderMap::new();
        let mut hidden = Vec::new();
        for header in &self.headers {
            let value = match &header.value {
                Value::Plain(value) => HeaderValue::from_str(&format!("{}{value}", header.prefix)),
                Value::Secret(file) => {
                    let secret = self.outbound.secrets().text(file).await.map_err(|error| own(error.to_string()))?;
                    let value = HeaderValue::from_str(&format!("{}{}", header.prefix, secret.expose_secret()));
                    hidden.push(secret);
                    value
                }
            };
            let value =
                value.map_err(|_| own(format!("header `{}`: the value has control characters", header.name)))?;
            headers.append(header.name.clone(), value);
        }
        let host = match self.url.port() {
            Some(port) => format!("{}:{port}", self.url.host_str().unwrap_or_default()),
            None => self.url.host_str().unwrap_or_default().to_owned(),
        };
        for (name, value) in [(HOST, host.as_str()), (USER_AGENT_HEADER, USER_AGENT), (CONNECTION, "close")] {
            if let (false, Ok(value)) = (headers.contains_key(&name), HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        }
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = headers;
        Ok((request, hidden))
    }

    async fn exchange(
        &self,
        trace: &mut Trace,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send,
        request: Request<Full<Bytes>>,
        hidden: &[SecretString],
    ) -> Result<(), Failure> {
        let io = TokioIo::new(Timed::new(stream, trace.exchange()));
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .handshake(io)
            .await
            .map_err(|error| http_failure(&error))?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(|error| http_failure(&error))?;
            self.judge(trace, response, hidden).await
        };
        tokio::pin!(answered);
        // The connection moves the bytes; when it ends first, what it has brought is still judged.
        tokio::select! {
            biased;
            judged = &mut answered => judged,
            _ = connection => answered.await,
        }
    }

    async fn judge(
        &self,
        trace: &mut Trace,
        response: Response<Incoming>,
        hidden: &[SecretString],
    ) -> Result<(), Failure> {
        let status = response.status().as_u16();
        trace.fact("status", status);
        trace.note(Line::Status(status));
        let mut body = response.into_body();
        let mut seen = Vec::new();
        let mut whole = true;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| http_failure(&error))?;
            let Some(data) = frame.data_ref() else { continue };
            let room = MAX_BODY.saturating_sub(seen.len());
            seen.extend(data.iter().take(room));
            if data.len() > room {
                whole = false;
                break;
            }
        }
        trace.fact("bodyBytes", seen.len());
        self.expect.judge(&Answer { status, body: &seen, whole, took: trace.elapsed(), hidden })
    }
}

fn http_failure(error: &hyper::Error) -> Failure {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return Failure::new(io_reason(io, Reason::Reset), format!("in mid-exchange: {io}"));
        }
        cause = inner.source();
    }
    let reason = if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        Reason::Reset
    } else if error.is_parse_too_large() {
        Reason::Size
    } else {
        Reason::Protocol
    };
    Failure::new(reason, format!("no whole HTTP answer: {error}"))
}
