//! A time-out on every call, and a count of it.
//!
//! It is a layer of the client itself, so that no call of anybody can go without: the client's own
//! retries are off, and would have made one call last minutes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::{Method, Request, Response, StatusCode, header};
use kube::client::Body;
use tokio::time::{Instant, Sleep};
use tower::{BoxError, Layer, Service};

use super::metrics::CallMetrics;

/// The longest call, its answer's last byte included. An API server that needs longer is in trouble,
/// and whoever waits for a verdict has to be told.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest page of a list: some megabytes from a server under load.
pub const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// A watch on which nothing came for so long, not even a bookmark (one a minute), is begun anew
/// where it was: the connection may be dead without anybody having been told.
pub const WATCH_IDLE: Duration = Duration::from_secs(90);
/// What is believed of a `Retry-After`: longer waits are asked for again.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The API server has asked to come back later.
#[derive(Debug, thiserror::Error)]
#[error("the API server says: too many requests")]
pub(super) struct Throttled {
    pub(super) retry_after: Option<Duration>,
}

/// The API server has not answered in time.
#[derive(Debug, thiserror::Error)]
#[error("the API server has not answered within {0:?}")]
pub(super) struct TimedOut(Duration);

/// Puts a [`Guard`] around a service.
#[derive(Debug, Clone)]
pub(super) struct GuardLayer {
    pub(super) metrics: CallMetrics,
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, metrics: self.metrics.clone() }
    }
}

/// The service whose every call ends in time.
#[derive(Debug, Clone)]
pub(super) struct Guard<S> {
    inner: S,
    metrics: CallMetrics,
}

impl<S, B> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: 'static,
{
    type Response = Response<Timed<B>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let kind = Kind::of(&request);
        let metrics = self.metrics.clone();
        let begun = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let limit = kind.limit();
            let answer = tokio::time::timeout(limit, answer).await;
            let outcome = match &answer {
                Ok(Ok(answer)) => outcome(answer.status()),
                Ok(Err(_)) => "unreachable",
                Err(_) => "timeout",
            };
            metrics.called(kind.verb, &kind.resource, outcome, begun.elapsed());
            let answer = answer.map_err(|_| TimedOut(limit))?.map_err(Into::into)?;
            if answer.status() == StatusCode::TOO_MANY_REQUESTS {
                return Err(Throttled { retry_after: retry_after(&answer) }.into());
            }
            Ok(answer.map(|body| Timed::new(body, &kind, begun + limit)))
        })
    }
}

fn outcome(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=399 => "ok",
        404 => "missing",
        409 => "conflict",
        401 | 403 => "forbidden",
        410 => "gone",
        429 => "throttled",
        400..=499 => "invalid",
        _ => "failed",
    }
}

fn retry_after<B>(answer: &Response<B>) -> Option<Duration> {
    let seconds = answer.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// What kind of call a request is.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    verb: &'static str,
    /// The resource's plural, with its subresource; `other` for what is no resource's path.
    resource: String,
}

impl Kind {
    fn of(request: &Request<Body>) -> Self {
        let (uri, method) = (request.uri(), request.method());
        let streams = uri.query().is_some_and(|query| {
            query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1" | "follow=true" | "follow=1"))
        });
        let (resource, named) = resource(uri.path());
        let verb = match *method {
            _ if streams => "watch",
            Method::GET if named => "get",
            Method::GET => "list",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "other",
        };
        Self { verb, resource }
    }

    fn limit(&self) -> Duration {
        if self.verb == "list" { LIST_TIMEOUT } else { CALL_TIMEOUT }
    }
}

/// `/apis/GROUP/VERSION[/namespaces/NAMESPACE]/RESOURCE[/NAME[/SUBRESOURCE]]`: the resource, and
/// whether one is named.
fn resource(path: &str) -> (String, bool) {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let skipped = match parts.next() {
        Some("api") => parts.next().is_some(),
        Some("apis") => parts.next().is_some() && parts.next().is_some(),
        _ => false,
    };
    if !skipped {
        return ("other".to_owned(), true);
    }
    let parts: Vec<&str> = parts.collect();
    let parts = match parts.as_slice() {
        ["namespaces", _, rest @ ..] if !rest.is_empty() && rest != ["status"] && rest != ["finalize"] => rest,
        all => all,
    };
    match parts {
        [] => ("other".to_owned(), true),
        [resource] => ((*resource).to_owned(), false),
        [resource, _] => ((*resource).to_owned(), true),
        [resource, _, sub, ..] => (format!("{resource}/{sub}"), true),
    }
}

/// An answer's body that ends in time: a call's with an error, a watch's as if the server had
/// ended it, which it does now and then.
#[derive(Debug)]
pub(super) struct Timed<B> {
    body: Pin<Box<B>>,
    until: Pin<Box<Sleep>>,
    idle: Option<Duration>,
    limit: Duration,
}

impl<B> Timed<B> {
    fn new(body: B, kind: &Kind, deadline: Instant) -> Self {
        let idle = (kind.verb == "watch").then_some(WATCH_IDLE);
        let until = idle.map_or(deadline, |idle| Instant::now() + idle);
        Self { body: Box::pin(body), until: Box::pin(tokio::time::sleep_until(until)), idle, limit: kind.limit() }
    }
}

impl<B> HttpBody for Timed<B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = self.body.as_mut().poll_frame(cx) {
            if let Some(idle) = self.idle {
                self.until.as_mut().reset(Instant::now() + idle);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if self.until.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(match self.idle {
            Some(_) => None,
            None => Some(Err(TimedOut(self.limit).into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("GET", "/apis/probegate.io/v1alpha1/gates?limit=5", "list", "gates")]
    #[case("GET", "/apis/probegate.io/v1alpha1/gates?watch=true&resourceVersion=5", "watch", "gates")]
    #[case("GET", "/apis/probegate.io/v1alpha1/namespaces/shop/gates", "list", "gates")]
    #[case("GET", "/apis/probegate.io/v1alpha1/namespaces/shop/gates/checkout", "get", "gates")]
    #[case("PATCH", "/apis/probegate.io/v1alpha1/namespaces/shop/gates/checkout/status", "patch", "gates/status")]
    #[case("GET", "/api/v1/namespaces", "list", "namespaces")]
    #[case("GET", "/api/v1/namespaces/shop", "get", "namespaces")]
    #[case("PUT", "/api/v1/namespaces/shop/status", "update", "namespaces/status")]
    #[case("POST", "/api/v1/namespaces/shop/events", "create", "events")]
    #[case("POST", "/apis/authentication.k8s.io/v1/tokenreviews", "create", "tokenreviews")]
    #[case("GET", "/readyz", "get", "other")]
    fn a_request_is_counted_by_verb_and_resource(
        #[case] method: &str,
        #[case] uri: &str,
        #[case] verb: &'static str,
        #[case] resource: &str,
    ) {
        let request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
        assert_eq!(Kind::of(&request), Kind { verb, resource: resource.to_owned() });
    }
}
