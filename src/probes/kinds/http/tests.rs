//! Rounds against servers on loopback that behave as well, or as badly, as a test needs.

mod journeys;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::clock::SystemClock;
use crate::outbound::{Outbound, Secrets};
use crate::probes::result::{Judgement, Observation};

/// A server that hands every connection to `talk`.
pub(super) async fn serve<F, T>(talk: F) -> SocketAddr
where
    F: Fn(TcpStream) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    });
    address
}

/// A server that reads one request, answers as it stands, and closes.
async fn answering(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer: Arc<[u8]> = answer.into().into();
    serve(move |mut stream| {
        let answer = Arc::clone(&answer);
        async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(&answer).await;
        }
    })
    .await
}

/// Reads a request up to the end of its body.
pub(super) async fn read_request(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let mut byte = [0; 1];
    while !seen.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).await.is_ok() {
        seen.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&seen).into_owned();
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    let _ = stream.read_exact(&mut body).await;
    format!("{head}{}", String::from_utf8_lossy(&body))
}

fn tools(secrets: Secrets) -> Tools {
    Tools { outbound: Outbound::new(secrets), clock: Arc::new(SystemClock::new()), root: None }
}

async fn round_with(secrets: Secrets, millis: u64, spec: Value) -> Observation {
    let spec = serde_json::from_value(spec).unwrap();
    let compiled = crate::probes::compile(&spec, Duration::from_millis(millis), &tools(secrets)).unwrap();
    compiled.observe().await
}

/// A round of a second.
async fn round(spec: Value) -> Observation {
    round_with(Secrets::default(), 1_000, spec).await
}

fn failed(seen: &Observation) -> (Reason, Phase) {
    assert!(!seen.success, "{seen:?}");
    (seen.reason.unwrap(), seen.phase.unwrap())
}

#[tokio::test]
async fn a_healthy_answer_has_its_phases_and_its_facts() {
    let address =
        answering("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nLast-Modified: Thu, 01 Jan 1970 00:01:00 GMT\r\n\r\nall ok")
            .await;
    let seen =
        round(json!({"http": {"url": format!("http://{address}/"), "expect": {"body": {"contains": "ok"}}}})).await;
    assert!(seen.success && seen.reason.is_none(), "{seen:?}");
    for phase in [Phase::Resolve, Phase::Connect, Phase::Request, Phase::Processing, Phase::Transfer] {
        assert!(seen.durations.get(phase).is_some(), "{phase}");
    }
    assert_eq!(seen.durations.get(Phase::Tls), None);
    let facts = serde_json::to_value(&seen.facts).unwrap();
    for (name, value) in [
        ("status", json!(200)),
        ("httpVersion", json!("1.1")),
        ("bodyBytes", json!(6)),
        ("contentLength", json!(6)),
        ("lastModified", json!("1970-01-01T00:01:00Z")),
        ("address", json!(address.to_string())),
    ] {
        assert_eq!(facts[name], value, "{name}");
    }
    assert!(seen.log.lines().any(|line| line.ends_with("answered 200")), "{:?}", seen.log);
}

#[tokio::test]
async fn a_round_does_not_wait_for_the_end_of_the_connection() {
    let address = serve(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    let seen = round_with(Secrets::default(), 20_000, json!({"http": {"url": format!("http://{address}/")}})).await;
    assert!(seen.success, "{seen:?}");
}

#[rstest]
#[case::nothing(b"", Reason::Reset, Phase::Processing)]
#[case::half_a_head(b"HTTP/1.1 200 OK\r\nContent-Le", Reason::Reset, Phase::Transfer)]
#[case::half_a_body(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", Reason::Reset, Phase::Transfer)]
#[case::half_a_chunk(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", Reason::Reset, Phase::Transfer)]
#[case::broken_chunks(
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n",
    Reason::Protocol,
    Phase::Transfer
)]
#[case::lengths_that_differ(b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab", Reason::Protocol, Phase::Transfer)]
#[case::http_0_9(b"<html>hello</html>", Reason::Protocol, Phase::Transfer)]
#[case::ssh(b"SSH-2.0-OpenSSH_9.2\r\n", Reason::Protocol, Phase::Transfer)]
#[case::a_tls_alert(b"\x15\x03\x01\x00\x02\x02\x46", Reason::Protocol, Phase::Transfer)]
#[case::an_error(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", Reason::Status, Phase::Transfer)]
#[case::a_redirect(b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n", Reason::Status, Phase::Transfer)]
#[tokio::test]
async fn a_bad_answer_has_its_reason_and_its_phase(#[case] bytes: &[u8], #[case] reason: Reason, #[case] phase: Phase) {
    let address = answering(bytes).await;
    let seen = round(json!({"http": {"url": format!("http://{address}/")}})).await;
    assert_eq!(failed(&seen), (reason, phase), "{seen:?}");
}

#[tokio::test]
async fn more_than_the_announced_length_is_not_read() {
    let address = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok, and more").await;
    let spec = json!({"http": {"url": format!("http://{address}/"), "expect": {"body": {"matches": "^ok$"}}}});
    assert!(round(spec).await.success);
}

#[tokio::test]
async fn a_silent_server_times_out_while_processing() {
    let address = serve(|mut stream| async move {
        read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let seen = round_with(Secrets::default(), 200, json!({"http": {"url": format!("http://{address}/")}})).await;
    assert_eq!(failed(&seen), (Reason::Timeout, Phase::Processing));
}

#[rstest]
#[case::head(b"HTTP/1.1 200 OK\r\nx-")]
#[case::body(b"HTTP/1.1 200 OK\r\n\r\n")]
#[case::chunks(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")]
#[tokio::test]
async fn a_server_that_drips_times_out_in_transfer(#[case] start: &'static [u8]) {
    let address = serve(move |mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(start).await;
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let seen = round_with(Secrets::default(), 400, json!({"http": {"url": format!("http://{address}/")}})).await;
    assert_eq!(failed(&seen), (Reason::Timeout, Phase::Transfer));
}

#[rstest]
#[case::header(b"HTTP/1.1 200 OK\r\nx: ", b"xxxxxxxx", Some(Reason::Size))]
#[case::headers(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n", Some(Reason::Size))]
#[case::interim(b"", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", Some(Reason::Protocol))]
#[case::body(b"HTTP/1.1 200 OK\r\n\r\n", b"xxxxxxxx", None)]
#[case::chunks(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", None)]
#[case::trailers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n", Some(Reason::Protocol))]
#[tokio::test]
async fn what_has_no_end_is_cut_off(
    #[case] start: &'static [u8],
    #[case] more: &'static [u8],
    #[case] reason: Option<Reason>,
) {
    let address = serve(move |mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(start).await;
        let more = more.repeat(2_000);
        while stream.write_all(&more).await.is_ok() {}
    })
    .await;
    let url = format!("http://{address}/");
    // What has no end and is not looked at does not matter; what is looked at has a size.
    let seen = round_with(Secrets::default(), 20_000, json!({"http": {"url": url}})).await;
    assert_eq!(seen.reason, reason, "{seen:?}");
    let expect = json!({"body": {"contains": "y"}});
    let seen = round_with(Secrets::default(), 20_000, json!({"http": {"url": url, "expect": expect}})).await;
    assert_eq!(seen.reason, reason.or(Some(Reason::Size)), "{seen:?}");
}

#[tokio::test]
async fn ten_thousand_headers_are_too_many() {
    let address = answering(format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(10_000))).await;
    let seen = round(json!({"http": {"url": format!("http://{address}/")}})).await;
    assert_eq!(failed(&seen), (Reason::Size, Phase::Transfer));
}

#[tokio::test]
async fn a_reset_in_the_middle_is_one() {
    let address = serve(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let stream = socket2::Socket::from(stream.into_std().unwrap());
        stream.set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await;
    let seen = round(json!({"http": {"url": format!("http://{address}/")}})).await;
    assert_eq!(failed(&seen), (Reason::Reset, Phase::Transfer), "{seen:?}");
}

#[tokio::test]
async fn who_answers_before_he_has_read_everything_is_heard() {
    let address = serve(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").await;
        let mut seen = [0; 16];
        let _ = stream.read_exact(&mut seen).await;
        let _ = stream.shutdown().await;
        std::future::pending::<()>().await;
    })
    .await;
    let http = json!({"url": format!("http://{address}/"), "method": "POST", "body": "x".repeat(60_000)});
    let seen = round(json!({"http": http})).await;
    assert_eq!(failed(&seen).0, Reason::Status, "{seen:?}");
}

#[tokio::test]
async fn a_plain_port_behind_https_fails_in_tls() {
    let address = answering("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let seen = round(json!({"http": {"url": format!("https://{address}/")}})).await;
    assert_eq!(failed(&seen).1, Phase::Tls, "{seen:?}");
}

#[tokio::test]
async fn a_warning_makes_the_round_degraded() {
    let address = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let warn = json!({"headers": [{"name": "Strict-Transport-Security"}]});
    let seen = round(json!({"http": {"url": format!("http://{address}/"), "warn": warn}})).await;
    assert_eq!((seen.judgement(), seen.reason), (Judgement::Degraded, Some(Reason::Header)));
}

#[tokio::test]
async fn a_secret_never_stands_in_a_result() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = Arc::clone(&asked);
    let address = serve(move |mut stream| {
        let told = Arc::clone(&told);
        async move {
            let request = read_request(&mut stream).await;
            told.lock().unwrap().push(request.clone());
            let answer = format!("HTTP/1.1 403 No\r\nContent-Length: {}\r\n\r\n{request}", request.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "s3cret\n").unwrap();
    let secrets = Secrets::new(Some(directory.path().to_owned()));
    let url = format!("http://{address}/");
    for http in [
        json!({"url": url, "headers": [{"name": "X-Token", "secretFile": "token"}]}),
        json!({"url": url, "auth": {"bearer": {"tokenFile": "token"}}}),
        json!({"url": url, "auth": {"basic": {"username": "ada", "passwordFile": "token"}}}),
    ] {
        let seen = round_with(secrets.clone(), 1_000, json!({"http": http})).await;
        let all = format!("{seen:?}{}", serde_json::to_string(&seen).unwrap());
        assert!(!all.contains("s3cret") && !all.contains("YWRhOnMzY3JldA"), "{all}");
        assert_eq!(failed(&seen).0, Reason::Status);
    }
    let asked = asked.lock().unwrap().concat();
    for line in ["X-Token: s3cret\r\n", "Authorization: Bearer s3cret\r\n", "Authorization: Basic YWRhOnMzY3JldA==\r\n"]
    {
        assert!(asked.contains(line), "{line} in {asked}");
    }
    std::fs::remove_file(directory.path().join("token")).unwrap();
    let http = json!({"url": url, "auth": {"bearer": {"tokenFile": "token"}}});
    let seen = round_with(secrets, 1_000, json!({"http": http})).await;
    assert_eq!((seen.reason, seen.judgement()), (Some(Reason::Secret), Judgement::Trouble));
}

#[tokio::test]
async fn a_round_that_waits_takes_little_memory() {
    let spec = serde_json::from_value(json!({"http": {"url": "http://127.0.0.1:1/"}})).unwrap();
    let compiled = super::compile(&spec, &tools(Secrets::default())).unwrap().unwrap();
    let mut trace = Trace::begin(Duration::from_secs(1));
    let size = size_of_val(&*(compiled.prober)(&mut trace));
    assert!(size < 4_096, "{size} bytes, ten thousand times");
}
