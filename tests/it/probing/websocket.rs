//! Websockets: servers that speak the protocol, and such that do not.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use probegate::probes::{Judgement, Observation, Phase, Reason};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_async, accept_hdr_async};

use super::world::{PATIENCE, Peer, closed_port, log, reason, round, round_with, tools_at};
use crate::checks::peers::Authority;

/// Sends every message back; `bye` ends it.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) if text.as_str() == "bye" => {
                let _ = socket.close(None).await;
            }
            Message::Text(_) | Message::Binary(_) => {
                let _ = socket.send(message).await;
            }
            _ => {}
        }
    }
}

async fn echoing() -> Peer {
    Peer::start(|stream| async move {
        if let Ok(socket) = accept_async(stream).await {
            echo(socket).await;
        }
    })
    .await
}

/// Answers the handshake, then writes bytes as they stand and keeps the connection open.
async fn after_the_handshake(bytes: Vec<u8>, again: bool) -> Peer {
    Peer::start(move |stream| {
        let bytes = bytes.clone();
        async move {
            let Ok(socket) = accept_async(stream).await else { return };
            let mut stream = socket.into_inner();
            while stream.write_all(&bytes).await.is_ok() && again {}
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    })
    .await
}

fn spec(peer: &Peer, more: &Value) -> Value {
    let mut spec = json!({"url": format!("ws://{}/live", peer.address)});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"websocket": spec})
}

#[rstest]
#[case::a_ping(json!({}), "the pong came")]
#[case::a_message(json!({"send": "hello", "expect": "^hello$"}), "received the text \"hello\"")]
#[case::a_message_alone(json!({"send": "hello"}), "sending the text \"hello\"")]
#[tokio::test]
async fn a_server_that_answers_is_as_expected(#[case] more: Value, #[case] line: &str) {
    let peer = echoing().await;
    let seen = round(spec(&peer, &more)).await;
    assert_eq!(seen.judgement(), Judgement::Good, "{seen:?}");
    assert!(log(&seen).contains(line), "{seen:?}");
    assert_eq!(seen.facts.get("status"), Some(&json!(101)));
    for phase in [Phase::Connect, Phase::Request, Phase::Processing, Phase::Transfer] {
        assert!(seen.durations.get(phase).is_some(), "{phase} in {seen:?}");
    }
}

#[tokio::test]
async fn the_server_sees_an_orderly_end() {
    let (tell, mut told) = unbounded_channel();
    let peer = Peer::start(move |stream| {
        let tell = tell.clone();
        async move {
            let mut socket = accept_async(stream).await.unwrap();
            while let Some(message) = socket.next().await {
                let _ = tell.send(message.map_err(|error| error.to_string()));
            }
        }
    })
    .await;
    assert!(round(spec(&peer, &json!({}))).await.success);
    assert!(matches!(told.recv().await, Some(Ok(Message::Ping(_)))));
    let Some(Ok(Message::Close(Some(frame)))) = told.recv().await else { panic!("no close frame") };
    assert_eq!(u16::from(frame.code), 1000);
}

#[tokio::test]
async fn a_greeting_is_waited_for_without_sending() {
    let peer = Peer::start(|stream| async move {
        let mut socket = accept_async(stream).await.unwrap();
        let _ = socket.send(Message::Ping("x".into())).await;
        let _ = socket.send(Message::text("starting")).await;
        let _ = socket.send(Message::binary(b"ready \x00".to_vec())).await;
        let _ = socket.next().await;
    })
    .await;
    let seen = round(spec(&peer, &json!({"expect": "^ready"}))).await;
    assert!(seen.success, "{seen:?}");
    assert!(log(&seen).contains("\"starting\", which is not what is expected"), "{seen:?}");
}

#[rstest]
#[case::it_says_something_else(json!({"send": "hello", "expect": "^bye$"}), Reason::Timeout, "")]
#[case::it_goes_away(json!({"send": "bye", "expect": "x"}), Reason::Expect, "without a message that matches `x`")]
#[tokio::test]
async fn a_message_that_does_not_come_is_missed(#[case] more: Value, #[case] expected: Reason, #[case] message: &str) {
    let peer = echoing().await;
    let timeout = if expected == Reason::Timeout { Duration::from_millis(300) } else { PATIENCE };
    let seen = round_with(spec(&peer, &more), timeout, &tools_at(None)).await;
    assert_eq!(reason(&seen), expected);
    assert!(seen.message.contains(message), "{seen:?}");
}

/// Answers the handshake with a subprotocol, and tells the request's headers.
async fn choosing(subprotocol: &'static str) -> (Peer, UnboundedReceiver<Vec<String>>) {
    let (tell, told) = unbounded_channel();
    let peer = Peer::start(move |stream| {
        let tell = tell.clone();
        async move {
            #[allow(clippy::result_large_err, reason = "the library's signature")]
            let choose = |request: &Request, mut response: Response| {
                let seen = request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
                let _ = tell.send(seen.collect());
                if !subprotocol.is_empty() {
                    response.headers_mut().insert("sec-websocket-protocol", subprotocol.parse().unwrap());
                }
                Ok(response)
            };
            if let Ok(socket) = accept_hdr_async(stream, choose).await {
                echo(socket).await;
            }
        }
    })
    .await;
    (peer, told)
}

#[rstest]
#[case("chat.v2", None)]
#[case("other", Some(Reason::Header))]
#[case("", Some(Reason::Header))]
#[tokio::test]
async fn the_server_must_choose_one_of_the_subprotocols(
    #[case] chosen: &'static str,
    #[case] expected: Option<Reason>,
) {
    let (peer, mut told) = choosing(chosen).await;
    let seen = round(spec(&peer, &json!({"subprotocols": ["chat.v1", "chat.v2"]}))).await;
    assert_eq!(seen.reason, expected, "{seen:?}");
    assert!(told.recv().await.unwrap().contains(&"sec-websocket-protocol: chat.v1, chat.v2".to_owned()));
    if expected.is_none() {
        assert_eq!(seen.facts.get("subprotocol"), Some(&json!("chat.v2")));
    }
}

#[tokio::test]
async fn headers_are_sent_and_a_secret_that_comes_back_is_not_shown() {
    let (peer, mut told) = choosing("").await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "s3cret\n").unwrap();
    let more = json!({
        "headers": [{"name": "Authorization", "secretFile": "token", "prefix": "Bearer "}, {"name": "Origin", "value": "https://shop.example"}],
        "send": "my token is s3cret", "expect": "s3cret"
    });
    let seen = round_with(spec(&peer, &more), PATIENCE, &tools_at(Some(directory.path()))).await;
    assert!(seen.success, "{seen:?}");
    let told = told.recv().await.unwrap();
    for line in ["authorization: Bearer s3cret", "origin: https://shop.example", &format!("host: {}", peer.address)] {
        assert!(told.iter().any(|header| header == line), "{line} in {told:?}");
    }
    assert!(log(&seen).contains("my token is [hidden]") && !format!("{seen:?}").contains("s3cret"), "{seen:?}");
}

#[tokio::test]
async fn a_secure_one_is_for_the_urls_name_wherever_it_is_connected_to() {
    let authority = Authority::new();
    let config = authority.server(&authority.issue(&["live.shop.example"]), false);
    let acceptor = tokio_rustls::TlsAcceptor::from(config);
    let peer = Peer::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await
                && let Ok(socket) = accept_async(stream).await
            {
                echo(socket).await;
            }
        }
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
    let tools = tools_at(Some(directory.path()));
    for (name, expected) in [("live.shop.example", None), ("other.example", Some(Reason::Certificate))] {
        let spec = json!({"websocket": {
            "url": format!("wss://{name}/live"), "connectTo": peer.address.to_string(), "tls": {"caFile": "ca.pem"}
        }});
        let seen = round_with(spec, PATIENCE, &tools).await;
        assert_eq!(seen.reason, expected, "{seen:?}");
        assert!(seen.durations.get(Phase::Tls).is_some(), "{seen:?}");
    }
}

#[rstest]
#[case::another_status(b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone", Reason::Status)]
#[case::a_redirect(b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\r\n", Reason::Status)]
#[case::no_upgrade(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", Reason::Protocol)]
#[case::a_wrong_key(
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: x\r\n\r\n",
    Reason::Protocol
)]
#[case::not_http(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Reason::Protocol)]
#[case::nothing(b"", Reason::Reset)]
#[case::half_a_head(b"HTTP/1.1 101 Switching", Reason::Reset)]
#[tokio::test]
async fn a_handshake_that_is_none_has_its_reason(#[case] answer: &'static [u8], #[case] expected: Reason) {
    let peer = Peer::start(move |mut stream| async move {
        let _ = stream.read(&mut [0; 4_096]).await;
        let _ = stream.write_all(answer).await;
    })
    .await;
    assert_eq!(reason(&round(spec(&peer, &json!({}))).await), expected);
}

#[tokio::test]
async fn an_endless_head_ends_the_round_with_its_size() {
    let peer = Peer::start(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n").await;
        while stream.write_all(&[b"x-filler: ".as_slice(), &[b'a'; 1_000], b"\r\n"].concat()).await.is_ok() {}
    })
    .await;
    let seen = round(spec(&peer, &json!({}))).await;
    assert!(matches!(reason(&seen), Reason::Size | Reason::Protocol), "{seen:?}");
}

/// A frame's head: final or not, its kind, and a length that may be a lie.
fn frame(last: bool, kind: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![if last { 0x80 | kind } else { kind }, 127];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes
}

#[rstest]
#[case::a_giant_frame(frame(true, 1, 1 << 40), false, Reason::Size)]
#[case::a_message_of_endless_pieces([frame(false, 1, 4), b"aaaa".to_vec(), [frame(false, 0, 60_000), vec![b'a'; 60_000]].concat().repeat(20)].concat(), false, Reason::Size)]
#[case::an_unknown_kind(vec![0x83, 0], false, Reason::Protocol)]
#[case::reserved_bits(vec![0xf1, 0], false, Reason::Protocol)]
#[case::no_utf8(vec![0x81, 2, 0xff, 0xfe], false, Reason::Protocol)]
#[case::a_mask(vec![0x81, 0x81, 0, 0, 0, 0, b'x'], false, Reason::Protocol)]
#[case::endless_messages(vec![0x81, 1, b'x'], true, Reason::Expect)]
#[case::endless_pings(vec![0x89, 0], true, Reason::Expect)]
#[tokio::test]
async fn hostile_frames_end_with_a_reason(#[case] bytes: Vec<u8>, #[case] again: bool, #[case] expected: Reason) {
    let peer = after_the_handshake(bytes, again).await;
    let seen = round(spec(&peer, &json!({"expect": "^never$"}))).await;
    assert_eq!(reason(&seen), expected, "{seen:?}");
    assert!(log(&seen).lines().count() <= 64, "{seen:?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_a_timeout_of_its_phase() {
    let peer = Peer::start(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let seen = round_with(spec(&peer, &json!({})), Duration::from_millis(200), &tools_at(None)).await;
    assert_eq!((reason(&seen), seen.phase), (Reason::Timeout, Some(Phase::Processing)));
    let silent = after_the_handshake(Vec::new(), false).await;
    let seen = round_with(spec(&silent, &json!({})), Duration::from_millis(300), &tools_at(None)).await;
    assert_eq!((reason(&seen), seen.phase), (Reason::Timeout, Some(Phase::Transfer)));
    assert_eq!((peer.connections(), silent.connections()), (1, 1));
}

#[tokio::test]
async fn nobody_there_is_refused() {
    let url = format!("ws://{}/", closed_port().await);
    let seen: Observation = round(json!({"websocket": {"url": url}})).await;
    assert_eq!((reason(&seen), seen.phase), (Reason::Refused, Some(Phase::Connect)));
}
