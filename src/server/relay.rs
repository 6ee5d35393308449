//! What only the replica that leads can answer: the request is handed on to it as it came, with what
//! its caller has shown, and the leader judges both.

use async_trait::async_trait;
use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Request, Response, Uri};

use super::access::{HEADER_KEY, HEADER_SIGNATURE};
use super::app::{App, RequestId};
use super::problem::{Kind, Problem};
use super::routes::Route;

/// Marks a request that another replica hands on: it is not handed on a second time.
const HEADER_RELAYED: HeaderName = HeaderName::from_static("x-probegate-relayed");
/// What of a request's head is handed on.
const HANDED_ON: [&str; 4] = ["authorization", "content-type", HEADER_KEY, HEADER_SIGNATURE];

/// The way to the replica that leads.
#[async_trait]
pub trait Relay: Send + Sync + 'static {
    /// Sends a request there; its address is a path. The answer is as it came, within bounds.
    ///
    /// # Errors
    /// Why there is no answer, in words for a caller.
    async fn relay(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String>;
}

/// Hands a request on, where this replica cannot answer it and another one can.
///
/// # Errors
/// There is no way to the leader.
pub(super) async fn hand_on(
    app: &App,
    route: &Route,
    id: &RequestId,
    parts: &Parts,
    path_token: Option<&str>,
    body: &Bytes,
) -> Result<Option<Response<Body>>, Problem> {
    let Some(relay) = app.deps.relay.as_ref().filter(|_| route.led && !app.deps.probes.is_here()) else {
        return Ok(None);
    };
    if parts.headers.contains_key(HEADER_RELAYED) {
        let detail = "the replica that led a moment ago does not lead any more: ask again";
        return Err(Problem::new(Kind::Unavailable, detail));
    }
    let request = outgoing(id, parts, path_token, body.clone())?;
    let answered = relay.relay(request).await.map_err(|why| Problem::new(Kind::Unavailable, why))?;
    Ok(Some(answered.map(Body::from)))
}

fn outgoing(id: &RequestId, parts: &Parts, path_token: Option<&str>, body: Bytes) -> Result<Request<Bytes>, Problem> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let path = path_token.map_or_else(|| path.to_owned(), |token| format!("/t/{token}{path}"));
    let uri: Uri = path.parse().map_err(|_| Problem::new(Kind::NotFound, "the path cannot be handed on"))?;
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    for name in HANDED_ON {
        if let (Ok(name), Some(value)) = (HeaderName::try_from(name), parts.headers.get(name)) {
            headers.insert(name, value.clone());
        }
    }
    headers.insert(HEADER_RELAYED, HeaderValue::from_static("1"));
    if let Ok(id) = HeaderValue::from_str(&id.0) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    Ok(request)
}
