//! Echoes from this machine itself, where the system allows them; where it forbids them, that is told.

use std::time::Duration;

use probegate::probes::{Judgement, Observation, Phase, Reason};
use rstest::rstest;
use serde_json::{Value, json};

use super::world::{PATIENCE, log, reason, round, round_with, tools};

/// Whether echoes are allowed here; if not, the round must have said how to allow them, and that
/// it knows nothing of the target.
fn allowed(seen: &Observation) -> bool {
    if seen.reason != Some(Reason::Unsupported) {
        return true;
    }
    eprintln!("echoes are not allowed here: {}", seen.message);
    assert_eq!(seen.judgement(), Judgement::Trouble);
    assert!(seen.message.contains("unsupported here"), "{seen:?}");
    false
}

#[rstest]
#[case("127.0.0.1")]
#[case("::1")]
#[case("localhost")]
#[tokio::test]
async fn this_machine_answers_itself(#[case] host: &str) {
    let seen = round(json!({"icmp": {"host": host, "count": 3, "spacing": "10ms"}})).await;
    if !allowed(&seen) {
        return;
    }
    assert_eq!(seen.judgement(), Judgement::Good, "{seen:?}");
    let number =
        |name: &str| seen.facts.get(name).and_then(Value::as_f64).unwrap_or_else(|| panic!("{name} in {seen:?}"));
    assert_eq!((number("sent"), number("received"), number("lossPercent")), (3.0, 3.0, 0.0));
    assert!(number("rttMin") <= number("rttAvg") && number("rttAvg") <= number("rttMax"), "{seen:?}");
    assert!(number("rttMin") > 0.0 && number("rttJitter") >= 0.0, "{seen:?}");
    assert!((1.0..=255.0).contains(&number("ttl")), "{seen:?}");
    assert!(seen.durations.get(Phase::Processing).unwrap() >= Duration::from_millis(20), "{seen:?}");
}

#[rstest]
#[case::everything_holds(json!({"maxLoss": 0, "maxRtt": "10s", "minTtl": 1}), None)]
#[case::more_hops_than_there_are(json!({"minTtl": 255}), Some(Reason::Ttl))]
#[tokio::test]
async fn what_is_expected_is_judged(#[case] expect: Value, #[case] expected: Option<Reason>) {
    let spec = |part: &str| json!({"icmp": {"host": "127.0.0.1", part: expect}});
    let seen = round(spec("expect")).await;
    if allowed(&seen) {
        assert_eq!(seen.reason, expected, "{seen:?}");
        assert_eq!(seen.success, expected.is_none());
        let warned = round(spec("warn")).await;
        assert_eq!((warned.success, warned.reason), (true, expected), "{warned:?}");
    }
}

#[rstest]
#[case::nothing(0)]
#[case::a_full_packet(1_472)]
#[case::pieces(20_000)]
#[tokio::test]
async fn requests_of_every_size_come_back(#[case] size: u32) {
    let seen = round(json!({"icmp": {"host": "127.0.0.1", "size": size, "ttl": 1}})).await;
    if allowed(&seen) {
        assert!(seen.success, "{seen:?}");
    }
}

#[tokio::test]
async fn a_packet_that_must_not_be_cut_and_is_too_large_is_mtu() {
    // The loopback interface takes 65,536 bytes with all headers; nothing larger can be built either.
    let seen = round(json!({"icmp": {"host": "127.0.0.1", "size": 65_507, "dontFragment": true}})).await;
    if allowed(&seen) {
        assert!(seen.success, "{seen:?}");
    }
    let seen = round(json!({"icmp": {"host": "::1", "size": 65_507, "dontFragment": true}})).await;
    if allowed(&seen) {
        assert_eq!(reason(&seen), Reason::Mtu, "{seen:?}");
    }
}

#[tokio::test]
async fn an_address_without_a_machine_is_lost_or_out_of_reach_before_the_timeout() {
    // TEST-NET-1 (RFC 5737): nobody has it.
    let spec = json!({"icmp": {"host": "192.0.2.1", "count": 2, "spacing": "50ms"}});
    let seen = round_with(spec, Duration::from_millis(600), &tools()).await;
    // In some networks, that of a test machine for example, somebody answers for every address.
    if allowed(&seen) && !seen.success {
        let reason = reason(&seen);
        let known = [Reason::Loss, Reason::Unreachable, Reason::Network, Reason::Ttl];
        assert!(known.contains(&reason), "{seen:?}");
        if reason == Reason::Loss {
            assert_eq!(seen.message, "none of 2 requests was answered");
            assert_eq!(seen.facts.get("lossPercent"), Some(&json!(100.0)));
        }
    }
}

#[tokio::test]
async fn many_rounds_at_once_take_their_own_answers() {
    let spec = json!({"icmp": {"host": "127.0.0.1", "count": 2, "spacing": "1ms"}});
    let tools = tools();
    let rounds = (0..50).map(|_| round_with(spec.clone(), PATIENCE, &tools));
    for seen in futures::future::join_all(rounds).await {
        if allowed(&seen) {
            assert_eq!(seen.facts.get("received"), Some(&json!(2)), "{seen:?}");
        }
    }
}

#[tokio::test]
async fn a_metadata_service_is_not_asked() {
    let seen = round(json!({"icmp": {"host": "169.254.169.254"}})).await;
    assert_eq!((reason(&seen), seen.judgement()), (Reason::Forbidden, Judgement::Trouble), "{}", log(&seen));
}
