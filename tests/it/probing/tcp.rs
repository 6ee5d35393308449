//! Probes of TCP.

use std::time::Duration;

use probegate::probes::{Phase, Reason};
use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::servers::Real;
use super::world::{PATIENCE, Peer, closed_port, log, reason, refused, round, round_with, tools, tools_at};
use crate::checks::peers::Authority;

/// A timeout for rounds that end with it.
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_real_server_is_asked_and_what_it_says_can_be_sent_back() {
    let redis = Real::redis().await;
    let address = redis.address();
    let seen = round(json!({"tcp": {"address": address}})).await;
    assert!(seen.success && seen.facts.get("answerBytes").is_none(), "{seen:?}");
    let seen = round(json!({"tcp": {"address": address, "send": "PING\\r\\n", "expect": "^\\+PONG\\r\\n$"}})).await;
    assert!(seen.success, "{seen:?}");
    assert_eq!(seen.facts.get("answerBytes"), Some(&json!(7)));
    let steps = json!([
        {"send": "SET probegate one-two\\r\\n"},
        {"expect": "^\\+OK\\r\\n", "send": "GET probegate\\r\\n"},
        {"expect": "(?P<first>one)-(?P<second>two)\\r\\n", "send": "ECHO ${second}${first}\\x24{x}\\r\\n",
         "facts": [{"name": "both", "value": "${second}, $$${1}"}]},
        {"expect": "twoone\\$\\{x\\}\\r\\n"}
    ]);
    let spec = json!({"tcp": {"address": address, "send": "PING\\r\\n", "expect": "\\+PONG\\r\\n", "steps": steps}});
    let seen = round(spec).await;
    assert!(seen.success, "{seen:?}");
    assert_eq!(seen.facts.get("matched"), Some(&json!({"both": "two, $one"})));
    for phase in [Phase::Connect, Phase::Request, Phase::Processing, Phase::Transfer] {
        assert!(seen.durations.get(phase).is_some(), "{phase} in {seen:?}");
    }
    assert!(log(&seen).contains("received 7 bytes: \"+PONG"), "{}", log(&seen));
}

#[tokio::test]
async fn an_exchange_turns_to_tls_where_the_server_does() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
    let smtp = Real::smtp(&authority).await;
    let steps = json!([
        {"expect": "^220 (?P<name>[a-z.]+) ", "send": "EHLO probe.${name}\\r\\n"},
        {"expect": "(?m)^250[ -]STARTTLS\\r\\n", "send": "STARTTLS\\r\\n"},
        {"expect": "(?m)^220 ", "startTLS": true},
        {"send": "EHLO again.${name}\\r\\n"},
        {"expect": "(?m)^250[ -]mail.probegate.test Hello [^\\r]*\\r\\n", "send": "QUIT\\r\\n"},
        {"expect": "(?m)^221 "}
    ]);
    let spec = json!({"tcp": {"address": smtp.address(), "steps": steps, "tls": {"caFile": "ca.pem"}}});
    let seen = round_with(spec.clone(), PATIENCE, &tools_at(Some(directory.path()))).await;
    assert!(seen.success, "{seen:?}");
    assert!(seen.durations.get(Phase::Tls).is_some() && seen.facts.get("tlsVersion").is_some(), "{seen:?}");
    // Without the authority's certificate the same exchange ends at the handshake.
    let mut untrusted = spec;
    untrusted["tcp"].as_object_mut().unwrap().remove("tls");
    let seen = round(untrusted).await;
    assert_eq!((reason(&seen), seen.phase), (Reason::Certificate, Some(Phase::Tls)));
}

#[tokio::test]
async fn tls_from_the_first_byte() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
    let nginx = Real::nginx_with(&authority).await;
    let spec = json!({"tcp": {
        "address": nginx.address_of(1), "tls": {"caFile": "ca.pem", "serverName": "localhost"},
        "send": "GET /healthz HTTP/1.0\\r\\n\\r\\n", "expect": "all ok"
    }});
    let seen = round_with(spec, PATIENCE, &tools_at(Some(directory.path()))).await;
    assert!(seen.success, "{seen:?}");
}

#[tokio::test]
async fn a_shut_port_is_refused() {
    let seen = round(json!({"tcp": {"address": closed_port().await.to_string()}})).await;
    assert_eq!((reason(&seen), seen.phase), (Reason::Refused, Some(Phase::Connect)));
}

#[tokio::test]
async fn a_name_of_two_families_is_tried_in_both() {
    let peer = Peer::start(|_| async {}).await;
    let seen = round(json!({"tcp": {"address": format!("localhost:{}", peer.address.port())}})).await;
    assert!(seen.success, "{seen:?}");
    // What the one that is there says outweighs that the other cannot be tried.
    let seen = round(json!({"tcp": {"address": format!("localhost:{}", closed_port().await.port())}})).await;
    assert_eq!(reason(&seen), Reason::Refused);
    let spec = json!({"tcp": {"address": "127.0.0.1:80", "family": "ipv6"}});
    assert_eq!(reason(&round(spec).await), Reason::Dns);
}

/// What a hostile server does.
#[derive(Clone, Copy)]
enum Does {
    Nothing,
    Chatters,
    Drips,
    /// Says so and waits.
    Says(&'static [u8]),
    Ends(&'static [u8]),
    Resets,
}

async fn hostile(does: Does) -> Peer {
    Peer::start(move |mut stream: TcpStream| async move {
        match does {
            Does::Nothing => tokio::time::sleep(PATIENCE).await,
            Does::Chatters => while stream.write_all(&[b'x'; 1_000]).await.is_ok() {},
            Does::Drips => {
                while stream.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            Does::Says(text) => {
                let _ = stream.write_all(text).await;
                tokio::time::sleep(PATIENCE).await;
            }
            Does::Ends(text) => {
                let _ = stream.write_all(text).await;
                let _ = stream.shutdown().await;
                let _ = stream.read(&mut [0; 64]).await;
            }
            Does::Resets => {
                let _ = stream.read(&mut [0; 1]).await;
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
    })
    .await
}

#[rstest]
#[case::silent(Does::Nothing, SHORT, Reason::Timeout)]
#[case::endless(Does::Chatters, PATIENCE, Reason::Expect)]
#[case::slow(Does::Drips, SHORT * 4, Reason::Timeout)]
#[case::other(Does::Says(b"go away"), SHORT, Reason::Expect)]
#[case::short(Does::Ends(b"no"), PATIENCE, Reason::Expect)]
#[case::empty(Does::Ends(b""), PATIENCE, Reason::Expect)]
#[case::reset(Does::Resets, PATIENCE, Reason::Reset)]
#[tokio::test]
async fn a_hostile_server_ends_with_its_reason(#[case] does: Does, #[case] timeout: Duration, #[case] why: Reason) {
    let peer = hostile(does).await;
    let spec = json!({"tcp": {"address": peer.address.to_string(), "send": "hello", "expect": "welcome"}});
    let seen = round_with(spec, timeout, &tools()).await;
    assert_eq!(reason(&seen), why, "{seen:?}");
    assert!(log(&seen).len() < 8_000, "a log has an end: {}", log(&seen).len());
}

#[rstest]
#[case::no_tls(Does::Ends(b"SSH-2.0-OpenSSH_9.2\r\n"), Reason::Tls)]
#[case::closed(Does::Ends(b""), Reason::Reset)]
#[case::half(Does::Ends(b"\x16\x03\x03\x00\x40\x02\x00\x00\x3c\x03\x03"), Reason::Reset)]
#[case::reset(Does::Resets, Reason::Reset)]
#[tokio::test]
async fn what_is_no_handshake_has_its_reason(#[case] does: Does, #[case] why: Reason) {
    let peer = hostile(does).await;
    let spec = json!({"tcp": {"address": peer.address.to_string(), "tls": {}}});
    let seen = round(spec).await;
    assert_eq!((reason(&seen), seen.phase), (why, Some(Phase::Tls)), "{seen:?}");
}

#[tokio::test]
async fn plain_text_to_a_tls_port_is_answered_in_no_words() {
    let nginx = Real::nginx_with(&Authority::new()).await;
    let spec = json!({"tcp": {"address": nginx.address_of(1), "send": "hello\\r\\n", "expect": "welcome"}});
    assert!(matches!(reason(&round(spec).await), Reason::Expect | Reason::Reset));
}

#[tokio::test]
async fn what_is_said_in_the_clear_does_not_count_under_tls() {
    let peer = hostile(Does::Ends(b"220 go\r\n250 injected\r\n")).await;
    let steps = json!([{"expect": "^220 go", "startTLS": true}]);
    let seen = round(json!({"tcp": {"address": peer.address.to_string(), "steps": steps}})).await;
    assert_eq!(reason(&seen), Reason::Protocol, "{seen:?}");
}

#[rstest]
#[case(json!({"address": "redis"}), "tcp.address")]
#[case(json!({"address": "a:1", "send": "\\q"}), "tcp.send")]
#[case(json!({"address": "a:1", "expect": "("}), "tcp.expect")]
#[case(json!({"address": "a:1", "steps": [{"expect": "a"}, {"expect": "("}]}), "tcp.steps[1].expect")]
#[case(json!({"address": "a:1", "steps": [{"send": "${b}"}]}), "tcp.steps[0].send")]
#[case(json!({"address": "a:1", "steps": [{"send": "a"}, {}]}), "tcp.steps[1]")]
#[case(json!({"address": "a:1", "steps": [{"startTLS": true}, {"startTLS": true}]}), "tcp.steps[1].startTLS")]
#[case(json!({"address": "a:1", "tls": {"serverName": "a b"}}), "tcp.tls.serverName")]
#[case(json!({"address": "a:1", "tls": {"certFile": "a.pem"}}), "tcp.tls.keyFile")]
#[case(json!({"address": "a:1", "tls": {"caFile": "../a.pem"}}), "tcp.tls.caFile")]
#[case(json!({"address": "a:1", "tls": {"minVersion": "1.3", "maxVersion": "1.2"}}), "tcp.tls.minVersion")]
fn what_makes_no_sense_names_its_field(#[case] tcp: serde_json::Value, #[case] field: &str) {
    assert_eq!(refused(json!({"tcp": tcp}), &tools()).field, field);
}
