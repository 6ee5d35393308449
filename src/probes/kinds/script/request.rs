//! Sends the HTTP requests of a script, each on a connection of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CONNECTION, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, SET_COOKIE, USER_AGENT as USER_AGENT_HEADER,
};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

use super::engine::MAX_TEXT;
use super::fault::{Answer, Fault};
use super::given::Given;
use super::run::Run;
use super::web::{Response, Seen, shown};
use crate::api::IpFamily;
use crate::outbound::USER_AGENT;
use crate::probes::result::{Failure, Reason};
use crate::probes::trace::{Timed, Trace};
use crate::probes::wire::{Place, Secure, connect, transport_failure};

/// The largest head of an answer.
const MAX_HEAD: usize = 64 * 1024;
/// The most headers of an answer.
const MAX_HEADERS: usize = 200;
/// How much of a body is read: as much as a text of a script holds.
const MAX_BODY: usize = MAX_TEXT;

/// A request that is being put together.
pub(super) struct Request {
    method: Method,
    pub(super) url: Url,
    headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) timeout: Option<Duration>,
    /// How many redirects are followed.
    pub(super) redirects: u32,
    /// What must not be shown beside the run's secrets.
    hidden: Vec<String>,
}

impl Request {
    /// A request of `url`, which may be a path of the target.
    pub(super) fn new(given: &Given, method: &str, url: &str) -> Answer<Self> {
        let wrong = |why: String| Fault::of_script(why).thrown();
        let name = method.to_ascii_uppercase();
        let method: Method = name.parse().map_err(|_| wrong(format!("`{method}` is no method")))?;
        let base = given.target.as_ref().and_then(|target| target.url.as_ref());
        let parsed = match (url.contains("://"), base) {
            (false, None) => {
                return Err(wrong(format!("`{url}` is no URL, and the target is none that it could belong to")));
            }
            (false, Some(base)) => base.join(url),
            (true, _) => url.parse(),
        };
        let url = parsed.map_err(|error| wrong(format!("`{url}` is no URL: {error}")))?;
        Ok(Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Vec::new(),
            timeout: None,
            redirects: 0,
            hidden: Vec::new(),
        })
    }

    /// Sets a header.
    pub(super) fn header(&mut self, name: &str, value: &str) -> Answer<()> {
        let wrong = |why: String| Fault::of_script(why).thrown();
        let parsed: HeaderName = name.parse().map_err(|_| wrong(format!("`{name}` is no header's name")))?;
        let value = HeaderValue::from_str(value)
            .map_err(|_| wrong(format!("header `{name}`: the value has control characters")))?;
        self.headers.insert(parsed, value);
        Ok(())
    }

    /// Sets a header unless there is one.
    pub(super) fn usual_header(&mut self, name: HeaderName, value: &'static str) {
        self.headers.entry(name).or_insert(HeaderValue::from_static(value));
    }

    /// Says who asks.
    pub(super) fn basic(&mut self, user: &str, password: &str) -> Answer<()> {
        let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
        self.header("authorization", &format!("Basic {encoded}"))?;
        self.hidden.push(encoded);
        Ok(())
    }

    /// The same for the place that a redirect leads to.
    fn redirected(&mut self, status: StatusCode, to: Url) {
        let elsewhere = (self.url.scheme(), self.url.host_str(), self.url.port_or_known_default())
            != (to.scheme(), to.host_str(), to.port_or_known_default());
        if elsewhere {
            // What says who asks is for the server that was asked.
            for name in ["authorization", "cookie", "host"] {
                self.headers.remove(name);
            }
        }
        let to_get = status == StatusCode::SEE_OTHER
            || self.method == Method::POST && matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND);
        if to_get && self.method != Method::HEAD {
            self.method = Method::GET;
            self.body.clear();
            self.headers.remove("content-type");
        }
        self.url = to;
    }
}

/// Sends a request, and follows as many redirects as it asks for.
pub(super) fn send(run: &Run, mut request: Request) -> Answer<Response> {
    for secret in std::mem::take(&mut request.hidden) {
        run.hide(&secret);
    }
    let mut first = true;
    loop {
        allowed(run, &request.url, first)?;
        let seen = exchange(run, &request)?;
        let next = redirect(&seen);
        let Some(next) = next.filter(|_| request.redirects > 0) else { return Ok(Response(Arc::new(seen))) };
        request.redirects -= 1;
        let status = StatusCode::from_u16(seen.status).unwrap_or(StatusCode::FOUND);
        request.redirected(status, next.map_err(|why| Fault::new(Reason::Redirect, why).thrown())?);
        first = false;
    }
}

/// Where an answer redirects to.
fn redirect(seen: &Seen) -> Option<Result<Url, String>> {
    if ![301, 302, 303, 307, 308].contains(&seen.status) {
        return None;
    }
    let location = seen.headers.get(LOCATION)?;
    let text = String::from_utf8_lossy(location.as_bytes());
    Some(seen.url.join(&text).map_err(|error| format!("{} leads nowhere: {error}", seen.what)))
}

/// Whether the script may ask there. Where it goes by itself is its own doing; where a server sends
/// it is the server's.
fn allowed(run: &Run, url: &Url, first: bool) -> Answer<()> {
    let reason = |own: Reason| if first { own } else { Reason::Redirect };
    let host = url.host_str().unwrap_or_default();
    run.given
        .hosts
        .allow(host, url.port_or_known_default())
        .map_err(|why| Fault::new(reason(Reason::Script), why).thrown())?;
    let refused = run.given.outbound.guard().check_url(url);
    refused.map_err(|refused| Fault::new(reason(Reason::Forbidden), refused.to_string()).thrown())
}

/// One request and its answer.
fn exchange(run: &Run, request: &Request) -> Answer<Seen> {
    let what = shown(&request.method, &request.url);
    let start = Instant::now();
    let cookies = run.cookies.borrow().header(&request.url);
    let asked =
        run.call(&what, request.timeout, async |trace| ask(&run.given, request, cookies.as_deref(), trace).await);
    let (status, headers, body, whole) = asked?;
    let took = start.elapsed();
    let now = run.given.now();
    for cookie in headers.get_all(SET_COOKIE) {
        run.cookies.borrow_mut().take(&request.url, &String::from_utf8_lossy(cookie.as_bytes()), now);
    }
    run.log(&format!("{what} answered {status} in {:.1} ms", took.as_secs_f64() * 1_000.0));
    Ok(Seen { what, url: request.url.clone(), status, headers, body, whole, took })
}

type Asked = (u16, HeaderMap, Vec<u8>, bool);

async fn ask(given: &Given, request: &Request, cookies: Option<&str>, trace: &mut Trace) -> Result<Asked, Failure> {
    let url = &request.url;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(80);
    let place = Place { host, port, family: IpFamily::Any };
    let made = made(request, cookies)?;
    let stream = connect(trace, given.outbound.lookup(), &place).await?;
    if url.scheme() != "https" {
        return talk(trace, stream, made).await;
    }
    let secure = Secure::compile("script.tls", given.tls.as_ref(), &place.host, &["http/1.1"], &given.outbound)
        .map_err(|error| Failure::new(Reason::Script, error.to_string()))?;
    let stream = secure.handshake(trace, stream).await?;
    talk(trace, stream, made).await
}

/// The request as it is sent.
fn made(request: &Request, cookies: Option<&str>) -> Result<hyper::Request<Full<Bytes>>, Failure> {
    let url = &request.url;
    let own = |why: String| Failure::new(Reason::Script, why);
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let mut headers = request.headers.clone();
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    for (name, value) in [(HOST, host.as_str()), (USER_AGENT_HEADER, USER_AGENT)] {
        if let (false, Ok(value)) = (headers.contains_key(&name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Some(Ok(value)) = cookies.filter(|_| !headers.contains_key(COOKIE)).map(HeaderValue::from_str) {
        headers.insert(COOKIE, value);
    }
    let mut made = hyper::Request::new(Full::new(Bytes::from(request.body.clone())));
    *made.method_mut() = request.method.clone();
    *made.uri_mut() = target.parse().map_err(|error| own(format!("`{target}` cannot be asked for: {error}")))?;
    *made.headers_mut() = headers;
    Ok(made)
}

async fn talk(
    trace: &mut Trace,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: hyper::Request<Full<Bytes>>,
) -> Result<Asked, Failure> {
    let io = TokioIo::new(Timed::new(stream, trace.exchange()));
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .handshake(io)
        .await
        .map_err(|error| transport_failure(&error))?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(|error| transport_failure(&error))?;
        let (head, body) = response.into_parts();
        let (body, whole) = read(body).await?;
        Ok((head.status.as_u16(), head.headers, body, whole))
    };
    tokio::pin!(answered);
    // The connection moves the bytes; when it ends first, what it has brought still counts.
    tokio::select! {
        biased;
        answer = &mut answered => answer,
        _ = connection => answered.await,
    }
}

/// The body, and whether it is all of it.
async fn read(mut body: Incoming) -> Result<(Vec<u8>, bool), Failure> {
    let mut seen = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| transport_failure(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        let room = MAX_BODY.saturating_sub(seen.len());
        seen.extend(data.iter().take(room));
        if data.len() > room {
            return Ok((seen, false));
        }
    }
    Ok((seen, true))
}
