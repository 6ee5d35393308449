//! What every request passes through: who asks, how much, how long; and what becomes of trouble.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower::ServiceExt;

use super::access::{Caller, Credentials, HEADER_KEY, HEADER_SIGNATURE, Refusal, Shown, Signed};
use super::app::{App, RequestId};
use super::hooks;
use super::limits::{BODY_READ_TIMEOUT, MAX_BODY_BYTES, MAX_IN_FLIGHT, MAX_NAMESPACES_ASKED, MAX_REQUEST_ID};
use super::listen::Respond;
use super::problem::{Kind, Problem};
use super::relay;
use super::routes::{Flavour, Route, route};

/// The main listener's service.
#[derive(Clone)]
pub(super) struct Front {
    pub(super) router: Router,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
struct Peer(SocketAddr);

/// The token that stood in the path. Its `Debug` shows nothing, and it leaves the address before
/// anything can log it.
#[derive(Clone)]
struct PathToken(String);

impl Respond for Front {
    async fn respond(&self, mut request: Request, peer: SocketAddr) -> Response {
        take_path_token(&mut request);
        request.extensions_mut().insert(Peer(peer));
        let answered: Result<Response, Infallible> = self.router.clone().oneshot(request).await;
        answered.unwrap_or_else(|never| match never {})
    }
}

/// Takes `/t/TOKEN` off the path.
fn take_path_token(request: &mut Request) {
    let Some(rest) = request.uri().path_and_query().and_then(|path| path.as_str().strip_prefix("/t/")) else { return };
    let Some((token, path)) = rest.split_once('/') else { return };
    let token = token.to_owned();
    let Ok(uri) = format!("/{path}").parse::<Uri>() else { return };
    *request.uri_mut() = uri;
    request.extensions_mut().insert(PathToken(token));
}

/// The middleware around every route.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let matched = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let route = route(matched);
    let id = request_id(request.headers());
    let inside = app.deps.metrics.enter();
    let processed = AssertUnwindSafe(process(&app, route, &id, inside.count(), request, next)).catch_unwind().await;
    let mut response = match processed {
        Ok(Ok(response)) => response,
        Ok(Err(problem)) => render(&app, route.flavour, problem),
        Err(_) => {
            tracing::error!(route = route.template, request_id = &*id.0, "A request handler panicked: this is a bug.");
            let problem = Problem::new(Kind::Internal, "this request met a bug; its id is in the log");
            render(&app, route.flavour, problem)
        }
    };
    dress(&mut response, &id);
    app.deps.metrics.answered(route.template, response.status().as_u16(), began.elapsed());
    response
}

async fn process(
    app: &Arc<App>,
    route: &'static Route,
    id: &RequestId,
    in_flight: i64,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if in_flight > i64::try_from(MAX_IN_FLIGHT).unwrap_or(i64::MAX) {
        return Err(Problem::new(Kind::Overloaded, format!("{MAX_IN_FLIGHT} requests are under way")));
    }
    let (mut parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
    let refuse = |refusal: Refusal| refused(app, refusal, peer);
    let caller = if route.public { None } else { Some(identify(app, &parts).await.map_err(refuse)?) };
    let body = read(&parts.headers, body).await?;
    if let Some(caller) = caller {
        if caller.shown() == Shown::Signature {
            let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            let signed = Signed { method: parts.method.as_str(), path, body: &body };
            let given = text(&parts.headers, HEADER_SIGNATURE).unwrap_or("");
            let write = route.write && !parts.method.is_safe();
            app.deps.access.check_signature(&caller, given, signed, write).map_err(refuse)?;
        }
        parts.extensions.insert(caller);
    }
    let path_token = parts.extensions.get::<PathToken>().map(|token| token.0.clone());
    let elsewhere = relay::hand_on(app, route, id, &parts, path_token.as_deref(), &body);
    let elsewhere = tokio::time::timeout(route.timeout, elsewhere).await.map_err(|_| too_long(route, id))??;
    if let Some(answered) = elsewhere {
        return Ok(answered);
    }
    parts.extensions.insert(id.clone());
    let request = Request::from_parts(parts, Body::from(body));
    tokio::time::timeout(route.timeout, next.run(request)).await.map_err(|_| too_long(route, id))
}

fn too_long(route: &Route, id: &RequestId) -> Problem {
    tracing::error!(route = route.template, request_id = &*id.0, "A request took too long and was given up.");
    Problem::new(Kind::Timeout, format!("no answer within {} s", route.timeout.as_secs()))
}

async fn identify(app: &App, parts: &axum::http::request::Parts) -> Result<Caller, Refusal> {
    let bearer = text(&parts.headers, header::AUTHORIZATION.as_str()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let path_token = parts.extensions.get::<PathToken>().map(|token| token.0.as_str());
    let signature = text(&parts.headers, HEADER_KEY).zip(text(&parts.headers, HEADER_SIGNATURE));
    let shown = Credentials { bearer, path_token, signature };
    app.deps.access.admit(shown, &namespaces_of(&parts.uri)).await
}

/// The namespaces that a request asks for: in its path and in its parameters.
fn namespaces_of(uri: &Uri) -> Vec<String> {
    let in_path = uri.path().strip_prefix("/v1/").and_then(|path| path.split('/').nth(1)).map(str::to_owned);
    let parameters = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let in_query = parameters.filter_map(|(key, value)| match &*key {
        "namespace" => Some(value.into_owned()),
        "gate" | "module" => value.split_once('/').map(|(namespace, _)| namespace.to_owned()),
        _ => None,
    });
    in_path.into_iter().chain(in_query).filter(|namespace| !namespace.is_empty()).take(MAX_NAMESPACES_ASKED).collect()
}

fn refused(app: &App, refusal: Refusal, peer: Option<SocketAddr>) -> Problem {
    app.deps.metrics.refused(refusal);
    // A caller that is known and merely fast uses up nobody's patience.
    let strike = !matches!(refusal, Refusal::Rate | Refusal::Away);
    tracing::debug!(reason = %refusal, ?peer, "A caller was not let in.");
    match peer {
        Some(peer) if strike && !app.deps.access.may_fail(peer.ip()) => Refusal::Rate.problem(),
        _ => refusal.problem(),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Reads the body, within limits of size and time.
async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Kind::TooLarge, format!("{MAX_BODY_BYTES} bytes are allowed"));
    let declared = text(headers, header::CONTENT_LENGTH.as_str()).and_then(|length| length.parse::<u64>().ok());
    if declared.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        return Err(too_large());
    }
    if hyper::body::Body::is_end_stream(&body) {
        return Ok(Bytes::new());
    }
    match tokio::time::timeout(BODY_READ_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Problem::new(Kind::Malformed, format!("the body broke off: {error}"))),
        Err(_) => {
            let detail = format!("the body was not there within {} s", BODY_READ_TIMEOUT.as_secs());
            Err(Problem::new(Kind::Slow, detail))
        }
    }
}

/// Trouble in the words of who asks: rollout controllers read status codes in their own way.
fn render(app: &App, flavour: Flavour, problem: Problem) -> Response {
    match flavour {
        Flavour::Api => problem.into_response(),
        Flavour::Flagger => {
            app.deps.metrics.hook("flagger", "none", "refused");
            hooks::flagger::refuse(problem)
        }
        Flavour::Argo => {
            app.deps.metrics.hook("argo", "none", "refused");
            hooks::argo::refuse(&problem)
        }
    }
}

/// The caller's own id where it is a harmless one, else a new one.
fn request_id(headers: &HeaderMap) -> RequestId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let harmless = |id: &&str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.bytes().all(plain)
    };
    match text(headers, "x-request-id").filter(harmless) {
        Some(id) => RequestId(id.into()),
        None => RequestId(format!("r-{:x}", NEXT.fetch_add(1, Ordering::Relaxed)).into()),
    }
}

/// Headers of every answer: no cache keeps a verdict, no page leaks an address with a token.
fn dress(response: &mut Response, id: &RequestId) {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id.0) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
