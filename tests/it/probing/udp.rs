//! Probes of UDP.

use std::net::SocketAddr;
use std::time::Duration;

use probegate::probes::{Phase, Reason};
use rstest::rstest;
use serde_json::json;
use tokio::net::UdpSocket;

use super::world::{PATIENCE, reason, refused, round, round_with, tools};

/// A timeout for rounds that end with it.
const SHORT: Duration = Duration::from_millis(300);

/// A server that answers every datagram with these.
async fn server(answers: &[&'static [u8]]) -> SocketAddr {
    let answers = answers.to_vec();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        while let Ok((_, from)) = socket.recv_from(&mut buffer).await {
            for answer in &answers {
                let _ = socket.send_to(answer, from).await;
            }
        }
    });
    address
}

#[tokio::test]
async fn the_answer_to_a_datagram_is_seen_with_its_phases() {
    let address = server(&[b"\x00pong"]).await;
    let seen =
        round(json!({"udp": {"address": address.to_string(), "send": "\\x00ping", "expect": "(?-u)^\\x00po"}})).await;
    assert!(seen.success, "{seen:?}");
    assert_eq!(seen.facts.get("answerBytes"), Some(&json!(5)));
    assert!(seen.durations.get(Phase::Processing).is_some(), "{seen:?}");
}

#[tokio::test]
async fn the_one_that_matches_may_come_later() {
    let address = server(&[b"late", b"noise", b"pong"]).await;
    let spec = json!({"udp": {"address": address.to_string(), "send": "ping", "expect": "^pong$"}});
    assert!(round(spec).await.success);
}

#[rstest]
#[case::silent(&[], Reason::Timeout)]
#[case::wrong(&[b"no" as &[u8]], Reason::Expect)]
#[tokio::test]
async fn what_is_no_answer_has_its_reason(#[case] answers: &[&'static [u8]], #[case] why: Reason) {
    let address = server(answers).await;
    let spec = json!({"udp": {"address": address.to_string(), "send": "ping", "expect": "^pong$"}});
    let seen = round_with(spec, SHORT, &tools()).await;
    assert_eq!(reason(&seen), why, "{seen:?}");
}

#[tokio::test]
async fn a_flood_ends() {
    const FLOOD: &[&[u8]] = &[b"noise" as &[u8]; 100];
    let address = server(FLOOD).await;
    let spec = json!({"udp": {"address": address.to_string(), "send": "ping", "expect": "^pong$"}});
    assert_eq!(reason(&round_with(spec, PATIENCE, &tools()).await), Reason::Expect);
}

#[tokio::test]
async fn a_shut_port_is_refused() {
    let shut = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let seen = round(json!({"udp": {"address": shut.to_string(), "send": "ping"}})).await;
    assert_eq!(reason(&seen), Reason::Refused);
    // The name's other address is tried, too, and says no more.
    let seen = round(json!({"udp": {"address": format!("localhost:{}", shut.port()), "send": "ping"}})).await;
    assert_eq!(reason(&seen), Reason::Refused);
}

#[tokio::test]
async fn an_answer_of_somebody_else_does_not_count() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer).await {
            let _ = other.send_to(b"pong", from).await;
        }
    });
    let seen = round_with(json!({"udp": {"address": address.to_string(), "send": "ping"}}), SHORT, &tools()).await;
    assert_eq!(reason(&seen), Reason::Timeout);
}

#[rstest]
#[case(json!({"address": "a", "send": "x"}), "udp.address")]
#[case(json!({"address": "a:1", "send": ""}), "udp.send")]
#[case(json!({"address": "a:1", "send": "\\q"}), "udp.send")]
#[case(json!({"address": "a:1", "send": "x", "expect": "("}), "udp.expect")]
fn what_makes_no_sense_names_its_field(#[case] udp: serde_json::Value, #[case] field: &str) {
    assert_eq!(refused(json!({"udp": udp}), &tools()).field, field);
}
