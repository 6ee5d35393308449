//! Malformed, oversized, slow and deep requests; wrong paths, methods and media types.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use probegate::engine::{Answer, Ask, AskError};
use probegate::model::Question;
use proptest::prelude::*;
use rstest::rstest;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::world::{Setup, World, head, question, read, send};

const JSON: (&str, &str) = ("content-type", "application/json");

#[rstest]
#[case("")]
#[case("{")]
#[case("nonsense")]
#[case("[1,2")]
#[case("{\"gate\": \"\\ud800\"}")]
#[case("{\"gate\":\"a\",\"gate\":\"b\"}")]
#[tokio::test]
async fn a_body_that_is_no_question_is_a_problem(#[case] body: &str) {
    let world = World::new().await;
    let reply = world.send("POST", "/v1/check", &[JSON], body).await;
    assert!(matches!(reply.status, 400 | 422), "{reply:?}");
    reply.problem();
}

#[tokio::test]
async fn a_deep_body_is_a_problem() {
    let world = World::new().await;
    let deep = format!("{{\"change\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let reply = world.send("POST", "/v1/check", &[JSON], &deep).await;
    assert!(matches!(reply.status, 400 | 422), "{reply:?}");
    reply.problem();
    let reply = world.send("POST", "/hooks/argo", &[JSON], &deep).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn an_oversized_body_is_a_413() {
    let world = World::new().await;
    let large = "x".repeat(65 * 1024);
    let reply = world.send("POST", "/v1/check", &[JSON], &large).await;
    assert_eq!(reply.status, 413, "{reply:?}");
    reply.problem();
    // Without a declared length it is counted as it comes.
    let chunked = [JSON, ("transfer-encoding", "chunked"), ("content-length-not", "given")];
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let start = head("POST", "/v1/check", &chunked, 0);
    stream.write_all(start.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let _ = stream.write_all(chunk.as_bytes()).await;
    let _ = stream.write_all(chunk.as_bytes()).await;
    assert_eq!(read(stream).await.status, 413);
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_a_408() {
    let world = World::new().await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(head("POST", "/v1/check", &[JSON], 100).as_bytes()).await.unwrap();
    stream.write_all(b"{").await.unwrap();
    let reply = read(stream).await;
    assert_eq!(reply.status, 408, "{reply:?}");
    reply.problem();
}

#[rstest]
#[case(&[], 415)]
#[case(&[("content-type", "text/plain")], 415)]
#[case(&[("content-type", "application/x-www-form-urlencoded")], 415)]
#[case(&[("content-type", "application/json; charset=utf-8")], 200)]
#[tokio::test]
async fn only_json_is_read(#[case] headers: &[(&str, &str)], #[case] status: u16) {
    let world = World::new().await;
    let reply = world.send("POST", "/v1/check", headers, &question("v1").to_string()).await;
    assert_eq!(reply.status, status, "{reply:?}");
}

#[tokio::test]
async fn a_wrong_path_and_a_wrong_method_are_told_apart() {
    let world = World::new().await;
    let reply = world.get("/v2/check").await;
    assert_eq!(reply.status, 404);
    reply.problem();
    let reply = world.get("/v1/check").await;
    assert_eq!((reply.status, reply.headers["allow"].as_str()), (405, "POST"), "{reply:?}");
    reply.problem();
}

/// An engine that panics or never answers.
struct Broken;

#[async_trait]
impl Ask for Broken {
    async fn ask(&self, question: Question, _: Duration) -> Result<Answer, AskError> {
        assert_ne!(question.change.revision, "panic", "a bug");
        std::future::pending().await
    }

    async fn cancel(&self, _: &str, run: &str, _: &str, _: &str) -> Result<Answer, AskError> {
        Err(AskError::NoRun(run.to_owned()))
    }
}

#[tokio::test]
async fn a_bug_is_a_500_and_the_next_request_is_answered() {
    let world = World::with(Setup { ask: Some(Arc::new(Broken)), ..Setup::default() }).await;
    let reply = world.post("/v1/check", &question("panic")).await;
    assert_eq!(reply.status, 500, "{reply:?}");
    reply.problem();
    let flagger = r#"{"name":"x","namespace":"y","phase":"Progressing","checksum":"panic"}"#;
    let reply = world.send("POST", "/hooks/flagger/shop/fl/confirm-promotion", &[JSON], flagger).await;
    assert_eq!(reply.status, 403, "a bug holds: {reply:?}");
    let argo = r#"{"gate":"shop/checkout","latest":"panic","stable":"s"}"#;
    let reply = world.send("POST", "/hooks/argo", &[JSON], argo).await;
    assert_eq!((reply.status, reply.json()["gate"]["verdict"].as_str()), (200, Some("wait")), "{reply:?}");
    assert_eq!(world.get("/openapi.json").await.status, 200);
}

#[tokio::test]
async fn an_engine_that_never_answers_holds_the_hooks_in_time() {
    let world = World::with(Setup { ask: Some(Arc::new(Broken)), ..Setup::default() }).await;
    let began = std::time::Instant::now();
    let flagger = r#"{"name":"x","namespace":"y","phase":"Progressing","checksum":"c"}"#;
    let argo = r#"{"gate":"shop/checkout","latest":"l","stable":"s"}"#;
    let (flagger, argo) = tokio::join!(
        world.send("POST", "/hooks/flagger/shop/fl/confirm-promotion", &[JSON], flagger),
        world.send("POST", "/hooks/argo", &[JSON], argo),
    );
    assert_eq!(flagger.status, 403, "{flagger:?}");
    assert_eq!((argo.status, argo.json()["gate"]["verdict"].as_str()), (200, Some("wait")), "{argo:?}");
    assert!(began.elapsed() < Duration::from_secs(9), "callers give up after 10 s");
}

async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(20), reading).await.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let world = World::new().await;
    let many = (0..100).map(|n| format!("x-{n}: y\r\n")).collect::<Vec<_>>().concat();
    let answer = raw(world.address, format!("GET /v1/runs HTTP/1.1\r\nhost: x\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let long = format!("GET /v1/runs?change={} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(70_000));
    let answer = raw(world.address, long.as_bytes()).await;
    // What was not read yet may reset the connection before the answer is read.
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(world.get("/v1/runs").await.status, 200);
}

#[test]
fn no_bytes_make_the_server_fail() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = runtime.block_on(World::new());
    let address = world.address;
    let paths = ["/v1/check", "/hooks/argo", "/hooks/flagger/shop/fl/rollback", "/v1/overrides"];
    let strategy = (proptest::sample::select(paths.to_vec()), proptest::collection::vec(any::<u8>(), 0..200));
    proptest!(ProptestConfig { cases: 128, ..ProptestConfig::default() }, |((path, body) in strategy)| {
        let reply = runtime.block_on(send(address, "POST", path, &[JSON], &body));
        prop_assert!(reply.status < 500, "{:?}", reply);
        // A body that cannot be read never passes, and never rolls back.
        if path.ends_with("/rollback") {
            prop_assert_eq!(reply.status, 403);
        }
        if path == "/hooks/argo" {
            let answer = reply.json();
            prop_assert_eq!(answer["gate"]["verdict"].as_str(), Some("wait"));
        }
    });
    let text = "\\PC{0,60}";
    proptest!(ProptestConfig { cases: 64, ..ProptestConfig::default() }, |(words in text)| {
        let body = serde_json::json!({"gate": words, "latest": words, "step": words, "point": words}).to_string();
        let reply = runtime.block_on(send(address, "POST", "/hooks/argo", &[JSON], body.as_bytes()));
        prop_assert_eq!(reply.status, 200);
    });
    runtime.block_on(async move { drop(world) });
}
