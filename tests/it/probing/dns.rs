//! Probes of name servers, and our own resolver.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use probegate::clock::SystemClock;
use probegate::outbound::{Guard, Outbound, Secrets, SystemLookup};
use probegate::probes::{Judgement, Observation, Phase, Reason, Tools};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::servers::Real;
use super::world::{PATIENCE, Peer, reason, refused, round_with, tools, tools_at};
use crate::checks::peers::Authority;

/// A timeout for rounds that end with it.
const SHORT: Duration = Duration::from_millis(300);

async fn round(dns: Value) -> Observation {
    round_with(json!({"dns": dns}), PATIENCE, &tools()).await
}

#[tokio::test]
async fn real_servers_answer_over_every_transport() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
    let trusting = tools_at(Some(directory.path()));
    for (real, authoritative) in [(Real::named(7, &authority).await, true), (Real::unbound(7, &authority).await, true)]
    {
        for (transport, server) in [("udp", real.address()), ("tcp", real.address()), ("tls", real.address_of(1))] {
            let answer = json!({"min": 3, "max": 3, "some": ["A 127\\.0\\.0\\.2$"], "none": ["AAAA"],
                                "all": ["^many\\.probegate\\.test\\. 60 IN A 127\\.0\\.0\\.[123]$"]});
            let spec = json!({"server": server, "name": "many.probegate.test", "transport": transport,
                              "tls": {"caFile": "ca.pem"},
                              "expect": {"authoritative": authoritative, "answer": answer}});
            let seen = round_with(json!({"dns": spec}), PATIENCE, &trusting).await;
            assert!(seen.success, "{transport}: {seen:?}");
            let fact = |name: &str| seen.facts.get(name).cloned().unwrap_or_default();
            assert_eq!((fact("rcode"), fact("answers"), fact("truncated")), (json!("NOERROR"), json!(3), json!(false)));
            assert_eq!(fact("records").as_array().map(Vec::len), Some(3));
            assert_eq!(seen.durations.get(Phase::Tls).is_some(), transport == "tls");
            assert!(seen.durations.get(Phase::Processing).is_some(), "{seen:?}");
        }
    }
}

#[rstest]
#[case::text(json!({"name": "text.probegate.test", "type": "TXT", "expect": {"answer": {"some": ["IN TXT \"v=probegate\"$"]}}}), None)]
#[case::mail(json!({"name": "mail.probegate.test.", "type": "mx", "expect": {"answer": {"some": ["IN MX 10 one\\.probegate\\.test\\.$"]}}}), None)]
#[case::serial(json!({"name": "probegate.test", "type": "SOA", "recursion": false}), None)]
#[case::alias(json!({"name": "alias.probegate.test", "expect": {"answer": {"min": 2}}}), None)]
#[case::ring(json!({"name": "ring.probegate.test"}), Some(Reason::Rcode))]
#[case::no_such_name(json!({"name": "none.probegate.test"}), Some(Reason::Rcode))]
#[case::no_such_name_expected(json!({"name": "none.probegate.test", "expect": {"rcode": ["NXDOMAIN"], "authority": {"some": ["SOA"]}}}), None)]
#[case::no_such_record(json!({"name": "one.probegate.test", "type": "AAAA"}), Some(Reason::Records))]
#[case::not_ours(json!({"name": "example.org"}), Some(Reason::Rcode))]
#[case::not_authenticated(json!({"name": "one.probegate.test", "expect": {"authenticated": true}}), Some(Reason::Rcode))]
#[tokio::test]
async fn answers_are_judged(#[case] mut dns: Value, #[case] wrong: Option<Reason>) {
    let named = Real::named(7, &Authority::new()).await;
    dns["server"] = json!(named.address());
    let seen = round(dns).await;
    assert_eq!(seen.reason, wrong, "{seen:?}");
}

#[tokio::test]
async fn servers_agree_on_the_serial_or_do_not() {
    let authority = Authority::new();
    let (one, same, other) =
        (Real::named(7, &authority).await, Real::unbound(7, &authority).await, Real::unbound(9, &authority).await);
    let spec = |others: &[String], lag: u32| {
        json!({"server": one.address(), "name": "one.probegate.test",
               "expect": {"sameSerial": others, "maxSerialLag": lag}})
    };
    let seen = round(spec(&[same.address()], 0)).await;
    assert!(seen.success && seen.facts.get("serial") == Some(&json!(7)), "{seen:?}");
    assert_eq!(seen.facts.get("address"), Some(&json!(one.address())));
    let both = [same.address(), other.address()];
    let seen = round(spec(&both, 1)).await;
    assert_eq!(reason(&seen), Reason::Serial);
    assert!(seen.message.contains("serial 7") && seen.message.contains("has 9"), "{}", seen.message);
    assert!(round(spec(&both, 2)).await.success);
    let mut warned = spec(&[], 0);
    warned["warn"] = json!({"sameSerial": both});
    assert_eq!(round(warned).await.judgement(), Judgement::Degraded);
    let gone = other.address();
    drop(other);
    let seen = round(spec(std::slice::from_ref(&gone), 0)).await;
    assert!(reason(&seen) == Reason::Refused && seen.message.contains(&gone), "{seen:?}");
}

/// A name server that answers each question with the messages that `lie` makes of it and of the
/// right answer.
async fn liar(lie: impl Fn(&Message, Message) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 4_096];
        while let Ok((size, from)) = socket.recv_from(&mut buffer).await {
            let question = Message::from_vec(&buffer[..size]).unwrap();
            let right = right(&question);
            for answer in lie(&question, right) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    address
}

fn right(question: &Message) -> Message {
    let mut right = Message::response(question.metadata.id, question.metadata.op_code);
    right.add_query(question.queries[0].clone());
    right.add_answer(Record::from_rdata(question.queries[0].name().clone(), 60, RData::A(A::new(192, 0, 2, 1))));
    right
}

fn wire(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap()
}

#[tokio::test]
async fn a_lie_is_passed_over_and_the_truth_behind_it_is_taken() {
    let address = liar(|_, right| {
        let mut number = right.clone();
        number.metadata.id ^= 1;
        let mut question = right.clone();
        question.queries[0] = Query::query(Name::from_ascii("evil.example.").unwrap(), RecordType::A);
        vec![b"noise".to_vec(), wire(&number), wire(&question), wire(&right)]
    })
    .await;
    let seen = round(json!({"server": address.to_string(), "name": "shop.example"})).await;
    assert!(seen.success, "{seen:?}");
}

#[tokio::test]
async fn nothing_but_lies_is_a_broken_protocol() {
    let address = liar(|_, mut right| {
        right.metadata.id ^= 1;
        vec![wire(&right)]
    })
    .await;
    let spec = json!({"dns": {"server": address.to_string(), "name": "shop.example"}});
    let seen = round_with(spec, SHORT, &tools()).await;
    assert_eq!(reason(&seen), Reason::Protocol, "{seen:?}");
    assert!(seen.message.contains("another number"), "{}", seen.message);
}

#[rstest]
#[case::loops(b"\xc0\x0c\0\x01\0\x01")]
#[case::counts(b"\x04shop\x07example\0\0\x01\0\x01")]
#[tokio::test]
async fn an_answer_that_loops_or_lies_about_its_counts_is_broken(#[case] rest: &'static [u8]) {
    let address = liar(move |question, _| {
        let mut bytes = question.metadata.id.to_be_bytes().to_vec();
        bytes.extend(b"\x84\0\0\x01\xff\xff\0\0\0\0");
        bytes.extend(rest);
        vec![bytes]
    })
    .await;
    let seen = round(json!({"server": address.to_string(), "name": "shop.example"})).await;
    assert_eq!(reason(&seen), Reason::Protocol, "{seen:?}");
}

#[tokio::test]
async fn what_is_truncated_is_asked_for_again_over_tcp() {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 4_096];
        while let Ok((size, from)) = udp.recv_from(&mut buffer).await {
            let mut half = right(&Message::from_vec(&buffer[..size]).unwrap());
            half.answers.clear();
            half.metadata.truncation = true;
            let _ = udp.send_to(&wire(&half), from).await;
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let size = stream.read_u16().await.unwrap();
            let mut question = vec![0; usize::from(size)];
            stream.read_exact(&mut question).await.unwrap();
            let mut whole = right(&Message::from_vec(&question).unwrap());
            let record = whole.answers[0].clone();
            whole.answers.extend(std::iter::repeat_n(record, 2_000));
            let bytes = wire(&whole);
            stream.write_u16(bytes.len().try_into().unwrap()).await.unwrap();
            // Bytes come as they come.
            for part in bytes.chunks(1_000) {
                stream.write_all(part).await.unwrap();
            }
        }
    });
    let seen =
        round(json!({"server": address.to_string(), "name": "shop.example", "expect": {"answer": {"min": 2_001}}}))
            .await;
    assert!(seen.success, "{seen:?}");
    assert_eq!(seen.facts.get("truncated"), Some(&json!(true)));
    assert_eq!(seen.facts.get("records").and_then(Value::as_array).map(Vec::len), Some(32), "facts are bounded");
}

#[rstest]
#[case::closed(b"", Reason::Reset)]
#[case::half(b"\x00\x40\x12\x34", Reason::Reset)]
#[case::noise(b"\x00\x02ab", Reason::Protocol)]
#[tokio::test]
async fn a_broken_stream_has_its_reason(#[case] says: &'static [u8], #[case] why: Reason) {
    let peer = Peer::start(move |mut stream| async move {
        let _ = stream.write_all(says).await;
        let _ = stream.shutdown().await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    let spec = json!({"server": peer.address.to_string(), "name": "shop.example", "transport": "tcp"});
    assert_eq!(reason(&round(spec).await), why);
}

#[tokio::test]
async fn a_silent_server_and_a_shut_port() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let spec = json!({"dns": {"server": silent.local_addr().unwrap().to_string(), "name": "shop.example"}});
    assert_eq!(reason(&round_with(spec.clone(), SHORT, &tools()).await), Reason::Timeout);
    drop(silent);
    assert_eq!(reason(&round_with(spec, PATIENCE, &tools()).await), Reason::Refused);
}

#[rstest]
#[case(json!({"server": "a:b", "name": "a"}), "dns.server")]
#[case(json!({"server": "a", "name": "a..b"}), "dns.name")]
#[case(json!({"server": "a", "name": "a", "type": "AXFR"}), "dns.type")]
#[case(json!({"server": "a", "name": "a", "type": "NONSENSE"}), "dns.type")]
#[case(json!({"server": "a", "name": "a", "transport": "tls", "tls": {"keyFile": "k"}}), "dns.tls.certFile")]
#[case(json!({"server": "a", "name": "a", "expect": {"rcode": ["OK"]}}), "dns.expect.rcode[0]")]
#[case(json!({"server": "a", "name": "a", "warn": {"answer": {"some": ["("]}}}), "dns.warn.answer.some[0]")]
#[case(json!({"server": "a", "name": "a", "expect": {"sameSerial": ["b", "c:d"]}}), "dns.expect.sameSerial[1]")]
fn what_makes_no_sense_names_its_field(#[case] dns: Value, #[case] field: &str) {
    assert_eq!(refused(json!({"dns": dns}), &tools()).field, field);
}

/// Tools whose names are told by this server.
fn resolving(server: SocketAddr) -> Tools {
    let outbound = Outbound::with(Secrets::default(), Guard::new(), Arc::new(SystemLookup::asking([server])));
    Tools { outbound, clock: Arc::new(SystemClock::new()), root: None }
}

#[tokio::test]
async fn names_of_targets_are_resolved_by_a_real_server() {
    let named = Real::named(7, &Authority::new()).await;
    let tools = resolving(named.address().parse().unwrap());
    let peer = Peer::start(|_| async {}).await;
    let tcp = async |name: &str, family: &str| {
        let address = format!("{name}.probegate.test:{}", peer.address.port());
        round_with(json!({"tcp": {"address": address, "family": family}}), PATIENCE, &tools).await
    };
    for name in ["one", "alias", "both", "many"] {
        let seen = tcp(name, "any").await;
        assert!(seen.success, "{name}: {seen:?}");
        assert!(seen.log.lines().any(|line| line.contains("resolved to 127.0.0.")), "{seen:?}");
    }
    for (name, family) in [("none", "any"), ("one", "ipv6"), ("six", "ipv4")] {
        let seen = tcp(name, family).await;
        assert_eq!((reason(&seen), seen.phase), (Reason::Dns, Some(Phase::Resolve)), "{name}: {seen:?}");
    }
    // It refuses what is not its own, and fails where names lead round: that says nothing about them.
    for name in ["shop.example", "ring.probegate.test"] {
        let seen = round_with(json!({"tcp": {"address": format!("{name}:80")}}), PATIENCE, &tools).await;
        assert_eq!((reason(&seen), seen.judgement()), (Reason::Resolver, Judgement::Trouble), "{seen:?}");
    }
}

#[tokio::test]
async fn a_dead_resolver_is_our_own_trouble_in_time() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let shut = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (server, timeout) in [(silent.local_addr().unwrap(), SHORT), (shut, PATIENCE)] {
        let tools = resolving(server);
        for spec in [
            json!({"tcp": {"address": "shop.example:80"}}),
            json!({"udp": {"address": "shop.example:80", "send": "x"}}),
            json!({"dns": {"server": "ns.example", "name": "shop.example"}}),
        ] {
            let seen = round_with(spec, timeout, &tools).await;
            assert_eq!((reason(&seen), seen.phase), (Reason::Resolver, Some(Phase::Resolve)), "{seen:?}");
            assert_eq!(seen.judgement(), Judgement::Trouble);
        }
    }
}

#[tokio::test]
async fn a_name_with_thousands_of_addresses_is_cut() {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    let many = |question: &Message, kind: RecordType| {
        let mut answer = right(question);
        let record = answer.answers.remove(0);
        if question.queries[0].query_type() == kind {
            let address = |n: u32| RData::A(A::from(std::net::Ipv4Addr::from_bits(0x7f00_0001 + n)));
            let name = &record.name;
            answer.answers = (0..2_000).map(|n| Record::from_rdata(name.clone(), 60, address(n))).collect();
        }
        answer
    };
    tokio::spawn(async move {
        let mut buffer = vec![0; 4_096];
        while let Ok((size, from)) = udp.recv_from(&mut buffer).await {
            let mut half = right(&Message::from_vec(&buffer[..size]).unwrap());
            half.answers.clear();
            half.metadata.truncation = true;
            let _ = udp.send_to(&wire(&half), from).await;
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            tokio::spawn(async move {
                while let Ok(size) = stream.read_u16().await {
                    let mut question = vec![0; usize::from(size)];
                    stream.read_exact(&mut question).await.unwrap();
                    let bytes = wire(&many(&Message::from_vec(&question).unwrap(), RecordType::A));
                    stream.write_u16(bytes.len().try_into().unwrap()).await.unwrap();
                    stream.write_all(&bytes).await.unwrap();
                }
            });
        }
    });
    let tools = resolving(address);
    let found: Vec<IpAddr> = tools.outbound.lookup().resolve("many.example").await.unwrap();
    assert_eq!(found.len(), 64);
    let peer = Peer::start(|_| async {}).await;
    let spec = json!({"tcp": {"address": format!("many.example:{}", peer.address.port())}});
    assert!(round_with(spec, PATIENCE, &tools).await.success);
}
