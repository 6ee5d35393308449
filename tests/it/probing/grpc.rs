//! gRPC health: a real server, servers of ours with every answer that there is, and hostile ones.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use probegate::probes::{Judgement, Observation, Phase, Reason};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::servers::Real;
use super::world::{PATIENCE, Peer, closed_port, log, reason, round, round_with, tools, tools_at};
use crate::checks::peers::Authority;

/// What a server of ours answers.
#[derive(Clone)]
struct Answer {
    http: u16,
    kind: &'static str,
    head: Vec<(&'static str, String)>,
    body: Vec<u8>,
    tail: Vec<(&'static str, String)>,
}

fn answer(message: &[u8], status: &str) -> Answer {
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend_from_slice(message);
    let tail = vec![("grpc-status", status.to_owned())];
    Answer { http: 200, kind: "application/grpc+proto", head: Vec::new(), body, tail }
}

/// A call that ended before there was a body.
fn ended(status: &str, message: &str) -> Answer {
    let head = vec![("grpc-status", status.to_owned()), ("grpc-message", message.to_owned())];
    Answer { head, body: Vec::new(), tail: Vec::new(), ..answer(b"", "0") }
}

/// What it was asked: headers as lines, and the body.
type Asked = (Vec<String>, Vec<u8>);

async fn serve<S>(stream: S, answer: Answer, tell: tokio::sync::mpsc::UnboundedSender<Asked>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (answer, tell) = (answer.clone(), tell.clone());
        async move {
            let mut lines = vec![format!("{} {}", request.method(), request.uri())];
            lines.extend(request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())));
            let body = request.into_body().collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
            let _ = tell.send((lines, body));
            let mut frames = vec![Ok::<_, Infallible>(Frame::data(Bytes::from(answer.body)))];
            if !answer.tail.is_empty() {
                let mut tail = HeaderMap::new();
                for (name, value) in answer.tail {
                    tail.insert(name, value.parse().unwrap());
                }
                frames.push(Ok(Frame::trailers(tail)));
            }
            let body = http_body_util::StreamBody::new(futures::stream::iter(frames));
            let mut response = Response::new(UnsyncBoxBody::new(body));
            *response.status_mut() = answer.http.try_into().unwrap();
            response.headers_mut().insert("content-type", answer.kind.parse().unwrap());
            for (name, value) in answer.head {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            Ok::<_, Infallible>(response)
        }
    });
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(1 << 20)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answering(answer: Answer) -> (Peer, UnboundedReceiver<Asked>) {
    let (tell, told) = unbounded_channel();
    (Peer::start(move |stream| serve(stream, answer.clone(), tell.clone())).await, told)
}

async fn asked(answer: Answer, service: &str) -> Observation {
    let (peer, _told) = answering(answer).await;
    round(json!({"grpc": {"address": peer.address.to_string(), "service": service}})).await
}

#[tokio::test]
async fn etcd_serves_and_knows_what_it_does_not() {
    let etcd = Real::etcd().await;
    let seen = round(json!({"grpc": {"address": etcd.address()}})).await;
    assert_eq!(seen.judgement(), Judgement::Good, "{seen:?}");
    assert_eq!(seen.facts.get("servingStatus"), Some(&json!("SERVING")));
    assert_eq!(seen.facts.get("grpcStatus"), Some(&json!("OK")));
    for phase in [Phase::Connect, Phase::Request, Phase::Processing, Phase::Transfer] {
        assert!(seen.durations.get(phase).is_some(), "{phase} in {seen:?}");
    }
    let seen = round(json!({"grpc": {"address": etcd.address(), "service": "no.such.Service"}})).await;
    assert_eq!(reason(&seen), Reason::Serving, "{seen:?}");
    assert!(seen.message.contains("does not know `no.such.Service` (NOT_FOUND"), "{seen:?}");
    let address = etcd.address();
    drop(etcd);
    let seen = round(json!({"grpc": {"address": address}})).await;
    assert_eq!((reason(&seen), seen.phase), (Reason::Refused, Some(Phase::Connect)));
}

#[rstest]
#[case::serving(answer(b"\x08\x01", "0"), None, "as expected")]
#[case::not_serving(answer(b"\x08\x02", "0"), Some(Reason::Serving), "`shop` is NOT_SERVING where SERVING is expected")]
#[case::not_known(answer(b"\x08\x03", "0"), Some(Reason::Serving), "`shop` is SERVICE_UNKNOWN")]
#[case::unknown(answer(b"", "0"), Some(Reason::Serving), "`shop` is UNKNOWN")]
#[case::no_such_service(
    ended("5", "unknown%20service"),
    Some(Reason::Serving),
    "does not know `shop` (NOT_FOUND: unknown service)"
)]
#[case::no_health(ended("12", ""), Some(Reason::Serving), "has no health service")]
#[case::too_slow(answer(b"", "4"), Some(Reason::Timeout), "DEADLINE_EXCEEDED")]
#[case::who_asks(ended("16", "no token"), Some(Reason::Status), "UNAUTHENTICATED: no token")]
#[case::an_error_page(Answer { http: 502, kind: "text/html", ..answer(b"", "0") }, Some(Reason::Status), "HTTP status 502")]
#[case::a_web_page(Answer { kind: "text/html", ..answer(b"", "0") }, Some(Reason::Protocol), "the media type text/html")]
#[case::no_status(Answer { tail: Vec::new(), ..answer(b"\x08\x01", "0") }, Some(Reason::Protocol), "no grpc-status")]
#[case::no_number(ended("fine", ""), Some(Reason::Protocol), "no number")]
#[case::no_message(ended("0", ""), Some(Reason::Protocol), "no health")]
#[case::garbage(answer(b"\xff\xff\xff", "0"), Some(Reason::Protocol), "no health")]
#[case::a_giant_message(answer(&vec![0; 100_000], "0"), Some(Reason::Size), "larger than the 4096 bytes")]
#[tokio::test]
async fn every_answer_has_its_reason(#[case] given: Answer, #[case] expected: Option<Reason>, #[case] message: &str) {
    let seen = asked(given, "shop").await;
    assert_eq!(seen.reason, expected, "{seen:?}");
    assert!(seen.message.contains(message), "{seen:?}");
}

#[tokio::test]
async fn the_call_carries_what_the_spec_says() {
    let (peer, mut told) = answering(answer(b"\x08\x01", "0")).await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "s3cret\n").unwrap();
    let spec = json!({"grpc": {
        "address": peer.address.to_string(), "service": "shop", "authority": "shop.example",
        "metadata": [{"name": "authorization", "secretFile": "token", "prefix": "Bearer "}, {"name": "x-tenant", "value": "a"}],
    }});
    let seen = round_with(spec, PATIENCE, &tools_at(Some(directory.path()))).await;
    assert!(seen.success, "{seen:?}");
    let (lines, body) = told.recv().await.unwrap();
    for line in [
        "POST http://shop.example/grpc.health.v1.Health/Check",
        "content-type: application/grpc",
        "te: trailers",
        "authorization: Bearer s3cret",
        "x-tenant: a",
    ] {
        assert!(lines.iter().any(|header| header == line), "{line} in {lines:?}");
    }
    assert!(lines.iter().any(|line| line.starts_with("grpc-timeout: ") && line.ends_with('m')), "{lines:?}");
    assert_eq!(body, b"\0\0\0\0\x06\x0a\x04shop");
}

#[tokio::test]
async fn a_secret_that_comes_back_is_not_shown() {
    let (peer, _told) = answering(ended("7", "s3cret is not good")).await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "s3cret").unwrap();
    let metadata = json!([{"name": "token", "secretFile": "token"}]);
    let spec = json!({"grpc": {"address": peer.address.to_string(), "metadata": metadata}});
    let seen = round_with(spec, PATIENCE, &tools_at(Some(directory.path()))).await;
    assert_eq!(reason(&seen), Reason::Status);
    assert!(seen.message.contains("[hidden] is not good") && !format!("{seen:?}").contains("s3cret"), "{seen:?}");
}

#[rstest]
#[case::for_the_name(&["localhost"], b"h2", None)]
#[case::for_another_name(&["other.example"], b"h2", Some(Reason::Certificate))]
#[case::without_http2(&["localhost"], b"http/1.1", Some(Reason::Tls))]
#[tokio::test]
async fn over_tls_the_certificate_and_the_protocol_count(
    #[case] names: &[&str],
    #[case] alpn: &[u8],
    #[case] expected: Option<Reason>,
) {
    let authority = Authority::new();
    let mut config = rustls::ServerConfig::clone(&authority.server(&authority.issue(names), false));
    config.alpn_protocols = vec![alpn.to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (tell, _told) = unbounded_channel();
    let peer = Peer::start(move |stream| {
        let (acceptor, tell) = (acceptor.clone(), tell.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream, answer(b"\x08\x01", "0"), tell).await;
            }
        }
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
    let tls = json!({"caFile": "ca.pem", "serverName": "localhost"});
    let spec = json!({"grpc": {"address": peer.address.to_string(), "tls": tls}});
    let seen = round_with(spec, PATIENCE, &tools_at(Some(directory.path()))).await;
    assert_eq!(seen.reason, expected, "{seen:?}");
    assert!(seen.durations.get(Phase::Tls).is_some(), "{seen:?}");
}

/// Writes bytes as they stand to whoever connects, once or for ever.
async fn raw(bytes: Vec<u8>, again: bool) -> Peer {
    Peer::start(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            let _ = stream.read(&mut [0; 24]).await;
            while stream.write_all(&bytes).await.is_ok() && again {}
            let _ = tokio::time::timeout(Duration::from_millis(200), stream.read_to_end(&mut Vec::new())).await;
        }
    })
    .await
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The settings that every server begins with.
fn settings() -> Vec<u8> {
    frame(4, 0, 0, b"")
}

#[rstest]
#[case::nothing(Vec::new(), Reason::Reset)]
#[case::http1(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec(), Reason::Protocol)]
#[case::garbage(vec![0xff; 4_096], Reason::Protocol)]
#[case::a_frame_that_is_too_large([settings(), vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat(), Reason::Protocol)]
#[case::data_without_a_head([settings(), frame(0, 1, 1, b"x")].concat(), Reason::Protocol)]
#[case::a_head_that_is_none([settings(), frame(1, 5, 1, &[0xff; 40])].concat(), Reason::Protocol)]
#[case::it_goes_away([settings(), frame(7, 0, 0, &[0; 8])].concat(), Reason::Reset)]
#[case::it_resets([settings(), frame(3, 0, 1, &[0, 0, 0, 2])].concat(), Reason::Reset)]
#[tokio::test]
async fn what_is_no_http2_ends_with_a_reason(#[case] bytes: Vec<u8>, #[case] expected: Reason) {
    let peer = raw(bytes, false).await;
    let seen = round(json!({"grpc": {"address": peer.address.to_string()}})).await;
    assert_eq!(reason(&seen), expected, "{seen:?}");
}

#[rstest]
#[case::endless_settings(settings())]
#[case::endless_pings(frame(6, 0, 0, &[0; 8]))]
#[case::an_endless_head(frame(9, 0, 1, &[0; 1_000]))]
#[tokio::test]
async fn what_has_no_end_is_ended(#[case] bytes: Vec<u8>) {
    let peer = Peer::start(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            let first = [settings(), frame(1, 0, 1, &[0x88])].concat();
            let _ = stream.write_all(&first).await;
            let (mut from, mut to) = stream.split();
            let mut sink = tokio::io::sink();
            let flood = async { while to.write_all(&bytes).await.is_ok() {} };
            tokio::select! { () = flood => {}, _ = tokio::io::copy(&mut from, &mut sink) => {} }
        }
    })
    .await;
    let spec = json!({"grpc": {"address": peer.address.to_string()}});
    let seen = round_with(spec, Duration::from_millis(500), &tools()).await;
    assert!(matches!(reason(&seen), Reason::Timeout | Reason::Protocol | Reason::Reset), "{seen:?}");
    assert!(log(&seen).lines().count() <= 64, "{seen:?}");
}

#[rstest]
#[case::in_the_head(Answer { head: vec![("x-filler", "a".repeat(100_000))], ..answer(b"\x08\x01", "0") })]
#[case::in_the_tail(Answer { tail: vec![("grpc-status", "0".to_owned()), ("x-filler", "a".repeat(100_000))], ..answer(b"\x08\x01", "0") })]
#[tokio::test]
async fn giant_metadata_is_not_taken(#[case] given: Answer) {
    let seen = asked(given, "").await;
    assert!(matches!(reason(&seen), Reason::Protocol | Reason::Reset | Reason::Size), "{seen:?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_a_timeout_and_nobody_there_is_refused() {
    let peer = Peer::start(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let spec: Value = json!({"grpc": {"address": peer.address.to_string()}});
    let seen = round_with(spec, Duration::from_millis(200), &tools()).await;
    assert_eq!((reason(&seen), seen.phase), (Reason::Timeout, Some(Phase::Processing)));
    let seen = round(json!({"grpc": {"address": closed_port().await.to_string()}})).await;
    assert_eq!((reason(&seen), seen.phase), (Reason::Refused, Some(Phase::Connect)));
}
