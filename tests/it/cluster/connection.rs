//! What every call over the connection has: an end, a name for its failure, and a count.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::StreamExt;
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Frame;
use hyper::{Request, Response};
use kube::api::{Api, ListParams, WatchParams};
use kube::client::Body;
use probegate::api::Gate;
use probegate::cluster::{ApiError, CALL_TIMEOUT, Call, Connection, LIST_TIMEOUT, Named, WATCH_IDLE};
use rstest::rstest;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What comes of a request: an answer in pieces, with pauses before them.
#[derive(Clone)]
struct Script {
    wait: Duration,
    status: u16,
    retry_after: Option<u64>,
    pieces: Vec<(Duration, String)>,
}

impl Script {
    fn new(status: u16, body: &str) -> Self {
        let pieces = vec![(Duration::ZERO, body.to_owned())];
        Self { wait: Duration::ZERO, status, retry_after: None, pieces }
    }

    fn connection(self) -> Connection {
        let answer = move |_: Request<Body>| {
            let script = self.clone();
            async move {
                tokio::time::sleep(script.wait).await;
                let pieces = futures::stream::iter(script.pieces).then(|(pause, text)| async move {
                    tokio::time::sleep(pause).await;
                    Ok::<_, Infallible>(Frame::data(Bytes::from(text)))
                });
                let mut answer = Response::builder().status(script.status);
                if let Some(seconds) = script.retry_after {
                    answer = answer.header("Retry-After", seconds);
                }
                Ok::<Answer, Infallible>(answer.body(UnsyncBoxBody::new(StreamBody::new(pieces))).unwrap())
            }
        };
        Connection::over(tower::service_fn(answer), "default")
    }
}

const GET: Call<'_> = Call { verb: "get", resource: "gates.probegate.io", namespace: "shop", name: "checkout" };

async fn get(connection: &Connection) -> ApiError {
    let gates: Api<Gate> = Api::namespaced(connection.client(), "shop");
    gates.get("checkout").await.named(GET).unwrap_err()
}

#[rstest]
#[case::text(
    Script::new(500, "etcd is gone"),
    "get gates.probegate.io shop/checkout: the API server says 500: etcd is gone"
)]
#[case::no_json(
    Script::new(200, "{\"kind\": "),
    "get gates.probegate.io shop/checkout: the API server's answer cannot be read: EOF while parsing a value at line 1 column 9"
)]
#[case::no_such_path(
    Script::new(404, "404 page not found\n"),
    "get gates.probegate.io shop/checkout: the API server has no gates.probegate.io; apply its custom resource definition (deploy/crds)"
)]
#[tokio::test]
async fn a_failure_is_named(#[case] script: Script, #[case] message: &str) {
    assert_eq!(get(&script.connection()).await.to_string(), message);
}

#[tokio::test]
async fn too_many_requests_are_told_at_once_with_what_the_server_asks() {
    let connection = Script { retry_after: Some(3), ..Script::new(429, "slow down") }.connection();

    let error = get(&connection).await;

    assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
    assert_eq!(connection.metrics().count("get", "gates", "throttled"), 1, "nothing was tried again behind our back");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    let connection = Script { wait: Duration::from_secs(3_600), ..Script::new(200, "{}") }.connection();
    let begun = tokio::time::Instant::now();

    let error = get(&connection).await;

    assert_eq!(begun.elapsed(), CALL_TIMEOUT);
    assert_eq!(error.to_string(), "get gates.probegate.io shop/checkout: the API server has not answered within 10s");
    assert!(error.is_transient());
    assert_eq!(connection.metrics().count("get", "gates", "timeout"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stops_half_way_is_given_up() {
    let pieces = vec![(Duration::ZERO, "{\"items\": [".to_owned()), (Duration::from_secs(3_600), "]}".to_owned())];
    let connection = Script { pieces, ..Script::new(200, "") }.connection();
    let gates: Api<Gate> = Api::all(connection.client());
    let begun = tokio::time::Instant::now();

    gates.list(&ListParams::default()).await.unwrap_err();

    assert_eq!(begun.elapsed(), LIST_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_watch_lives_as_long_as_it_tells_something_and_then_ends() {
    let bookmark = "{\"type\":\"BOOKMARK\",\"object\":{\"apiVersion\":\"probegate.io/v1alpha1\",\"kind\":\"Gate\",\
        \"metadata\":{\"resourceVersion\":\"7\"}}}\n";
    let minute = Duration::from_secs(60);
    let mut pieces: Vec<_> = (0..10).map(|_| (minute, bookmark.to_owned())).collect();
    pieces.push((Duration::from_secs(86_400), bookmark.to_owned()));
    let connection = Script { pieces, ..Script::new(200, "") }.connection();
    let gates: Api<Gate> = Api::all(connection.client());
    let begun = tokio::time::Instant::now();

    let events: Vec<_> = gates.watch(&WatchParams::default(), "1").await.unwrap().collect().await;

    assert_eq!(events.iter().filter(|event| event.is_ok()).count(), 10);
    assert_eq!(events.len(), 10, "a silent watch ends as if the server had ended it");
    assert_eq!(begun.elapsed(), minute * 10 + WATCH_IDLE);
}

#[test]
fn a_real_api_server_is_reached_with_a_kubeconfig() {
    let version = super::control_plane().run(|place| async move { place.client.apiserver_version().await.unwrap() });
    assert_eq!(version.major, "1");
}
