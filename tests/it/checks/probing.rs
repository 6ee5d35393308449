//! The probe engine against real and hostile servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use probegate::api::{ConditionStatus, Probe};
use probegate::outbound::{Guard, Lookup, LookupError, Outbound, Secrets};
use probegate::probes::{Judgement, Observation, Phase, Reason, compile};
use probegate::store::StoreExt;
use rstest::rstest;
use serde_json::{Value, json};
use std::net::IpAddr;
use tokio::io::AsyncWriteExt;

use super::peers::{
    Authority, Peer, Rebinding, answer, closed_port, drip, outbound, outbound_with, read_request, tls_peer,
};
use super::real::Real;
use super::world::{World, tools, until};

/// Makes one round of a probe.
async fn round(outbound: &Outbound, spec: Value) -> Observation {
    let spec = serde_json::from_value(spec).unwrap();
    compile(&spec, Duration::from_millis(500), &tools(outbound)).unwrap().observe().await
}

fn failed(seen: &Observation) -> (Option<Reason>, Option<Phase>) {
    assert!(!seen.success, "{seen:?}");
    (seen.reason, seen.phase)
}

#[tokio::test]
async fn a_healthy_answer_has_every_phase_and_the_facts() {
    let peer = Peer::answering(answer("200 OK", "", "all ok")).await;
    let url = format!("http://localhost:{}/healthz?x=1", peer.address.port());
    let spec = json!({"http": {"url": url, "expect": {"status": [200], "body": {"contains": "ok"}}}});
    let outbound = outbound_with(Rebinding::new(&[&["127.0.0.1"]]));
    let seen = round(&outbound, spec).await;
    assert!(seen.success, "{seen:?}");
    for phase in [Phase::Resolve, Phase::Connect, Phase::Request, Phase::Processing, Phase::Transfer] {
        assert!(seen.durations.get(phase).is_some(), "{phase} in {seen:?}");
    }
    assert_eq!(seen.durations.get(Phase::Tls), None);
    assert_eq!((&seen.facts["status"], &seen.facts["bodyBytes"]), (&json!(200), &json!(6)));
    assert_eq!(seen.facts["address"], json!(peer.address.to_string()));
    assert!(seen.log.lines().any(|line| line.contains("answered 200")), "{:?}", seen.log);
}

#[tokio::test]
async fn the_request_is_what_the_spec_says() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let peer = Peer::start(move |mut stream| {
        let tell = tell.clone();
        async move {
            let _ = tell.send(read_request(&mut stream).await);
            let _ = stream.write_all(answer("200 OK", "", "").as_bytes()).await;
        }
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "s3cret\n").unwrap();
    let outbound = Outbound::new(Secrets::new(Some(directory.path().to_owned())));
    let headers =
        json!([{"name": "Authorization", "secretFile": "token", "prefix": "Bearer "}, {"name": "X-A", "value": "b"}]);
    let spec = json!({"http": {"url": peer.url("/a?b=c"), "method": "POST", "headers": headers, "body": "hello"}});
    assert!(round(&outbound, spec).await.success);
    let request = told.recv().await.unwrap();
    assert!(request.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{request}");
    let request = request.to_lowercase();
    let host = format!("host: {}\r\n", peer.address);
    for line in
        ["authorization: bearer s3cret\r\n", "x-a: b\r\n", "content-length: 5\r\n", &host, "user-agent: probegate/"]
    {
        assert!(request.contains(line), "{line} in {request}");
    }
}

#[tokio::test]
async fn a_refused_connection_fails_in_its_phase() {
    let url = format!("http://{}/", closed_port().await);
    let seen = round(&outbound(), json!({"http": {"url": url}})).await;
    assert_eq!(failed(&seen), (Some(Reason::Refused), Some(Phase::Connect)));
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_dns_and_a_dead_resolver_is_ours() {
    struct Answers(LookupError);
    #[async_trait]
    impl Lookup for Answers {
        async fn lookup(&self, _: &str) -> Result<Vec<IpAddr>, LookupError> {
            Err(self.0.clone())
        }
    }
    let (name, why) = ("shop.example".to_owned(), "said so".to_owned());
    let cases = [
        (LookupError::NoSuchName { name: name.clone(), why: why.clone() }, Reason::Dns, Judgement::Failed),
        (LookupError::Trouble { name, why }, Reason::Resolver, Judgement::Trouble),
    ];
    for (error, reason, judgement) in cases {
        let outbound = outbound_with(Arc::new(Answers(error)));
        let seen = round(&outbound, json!({"tcp": {"address": "shop.example:80"}})).await;
        assert_eq!(failed(&seen), (Some(reason), Some(Phase::Resolve)));
        assert_eq!(seen.judgement(), judgement);
    }
}

#[tokio::test]
async fn a_probe_of_a_metadata_service_is_refused() {
    let outbound = outbound_with(Rebinding::new(&[&["169.254.169.254"]]));
    let seen = round(&outbound, json!({"tcp": {"address": "innocent.example:80"}})).await;
    assert_eq!(failed(&seen).0, Some(Reason::Forbidden));
    let spec = serde_json::from_value(json!({"http": {"url": "http://169.254.169.254/"}})).unwrap();
    let error = compile(&spec, Duration::from_secs(1), &tools(&outbound)).map(|_| ()).unwrap_err();
    assert_eq!(error.field, "http.url");
}

#[tokio::test]
async fn the_second_address_is_tried_when_the_first_refuses() {
    let peer = Peer::answering(answer("200 OK", "", "")).await;
    let outbound = outbound_with(Rebinding::new(&[&["127.0.0.77", "127.0.0.1"]]));
    let url = format!("http://two.example:{}/", peer.address.port());
    let seen = round(&outbound, json!({"http": {"url": url}})).await;
    assert!(seen.success, "{seen:?}");
    assert!(seen.log.lines().any(|line| line.contains("127.0.0.77") && line.contains("refused")), "{:?}", seen.log);
}

#[rstest]
#[case::no_answer_at_all(b"", Reason::Reset)]
#[case::half_a_head(b"HTTP/1.1 200 OK\r\ncontent-le", Reason::Reset)]
#[case::half_a_body(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", Reason::Reset)]
#[case::not_http(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Reason::Protocol)]
#[case::an_error(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", Reason::Status)]
#[case::a_redirect(
    b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
    Reason::Status
)]
#[tokio::test]
async fn a_bad_answer_has_its_reason(#[case] bytes: &[u8], #[case] reason: Reason) {
    let peer = Peer::answering(bytes).await;
    let seen = round(&outbound(), json!({"http": {"url": peer.url("/")}})).await;
    assert_eq!(failed(&seen).0, Some(reason), "{seen:?}");
}

#[tokio::test]
async fn a_silent_server_times_out_while_processing() {
    let peer = Peer::start(|mut stream| async move {
        read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let seen = round(&outbound(), json!({"http": {"url": peer.url("/")}})).await;
    assert_eq!(failed(&seen), (Some(Reason::Timeout), Some(Phase::Processing)));
}

#[tokio::test]
async fn a_body_that_drips_for_ever_times_out_in_transfer() {
    let peer = Peer::start(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        drip(&mut stream, b"x").await;
    })
    .await;
    let seen = round(&outbound(), json!({"http": {"url": peer.url("/")}})).await;
    assert_eq!(failed(&seen), (Some(Reason::Timeout), Some(Phase::Transfer)));
}

#[tokio::test]
async fn an_endless_head_and_an_endless_body_are_cut() {
    let head = Peer::start(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(&[b'x'; 4_096]).await.is_ok() {}
    })
    .await;
    let seen = round(&outbound(), json!({"http": {"url": head.url("/")}})).await;
    assert_eq!(failed(&seen).0, Some(Reason::Size), "{seen:?}");

    let body = Peer::start(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'x'; 8_192]).await.is_ok() {}
    })
    .await;
    let spec = json!({"http": {"url": body.url("/"), "expect": {"body": {"contains": "y"}}}});
    assert_eq!(failed(&round(&outbound(), spec).await).0, Some(Reason::Size));
    let seen = round(&outbound(), json!({"http": {"url": body.url("/")}})).await;
    assert!(seen.success, "without an expectation the body does not matter: {seen:?}");
}

#[tokio::test]
async fn a_slow_answer_is_degraded_and_not_failed() {
    let peer = Peer::start(|mut stream| async move {
        read_request(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        let _ = stream.write_all(answer("200 OK", "", "").as_bytes()).await;
    })
    .await;
    let spec = json!({"http": {"url": peer.url("/"), "expect": {"latency": {"max": "50ms"}}}});
    let seen = round(&outbound(), spec).await;
    assert_eq!((seen.success, seen.reason, seen.judgement()), (true, Some(Reason::Latency), Judgement::Degraded));
}

#[tokio::test]
async fn an_untrusted_certificate_and_a_plain_port_fail_in_tls() {
    let authority = Authority::new();
    let peer = tls_peer(authority.server(&authority.issue(&["localhost"]), false), answer("200 OK", "", "")).await;
    let url = format!("https://127.0.0.1:{}/", peer.address.port());
    let seen = round(&outbound(), json!({"http": {"url": url}})).await;
    assert_eq!(failed(&seen), (Some(Reason::Certificate), Some(Phase::Tls)), "{seen:?}");

    let plain = Peer::answering("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let url = format!("https://{}/", plain.address);
    let seen = round(&outbound(), json!({"http": {"url": url}})).await;
    assert_eq!(failed(&seen).1, Some(Phase::Tls), "{seen:?}");
}

#[tokio::test]
async fn a_secret_never_stands_in_a_result() {
    let peer = Peer::answering(answer("403 Forbidden", "", "not allowed: s3cret")).await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "s3cret\n").unwrap();
    let outbound = Outbound::new(Secrets::new(Some(directory.path().to_owned())));
    let headers = json!([{"name": "X-Token", "secretFile": "token"}]);
    let seen = round(&outbound, json!({"http": {"url": peer.url("/"), "headers": headers}})).await;
    let all = format!("{seen:?}");
    assert!(!all.contains("s3cret") && all.contains("[hidden]"), "{all}");

    std::fs::remove_file(directory.path().join("token")).unwrap();
    let headers = json!([{"name": "X-Token", "secretFile": "token"}]);
    let seen = round(&outbound, json!({"http": {"url": peer.url("/"), "headers": headers}})).await;
    assert_eq!((seen.reason, seen.judgement()), (Some(Reason::Secret), Judgement::Trouble));
}

#[rstest]
#[case::expected("+PONG", None)]
#[case::another("^-ERR", Some(Reason::Expect))]
#[tokio::test]
async fn an_exchange_of_texts_is_judged(#[case] expect: &str, #[case] reason: Option<Reason>) {
    let peer = Peer::start(|mut stream| async move {
        let mut line = [0; 6];
        let _ = tokio::io::AsyncReadExt::read_exact(&mut stream, &mut line).await;
        let reply: &[u8] = if &line == b"PING\r\n" { b"+PONG\r\n" } else { b"?" };
        for byte in reply {
            let _ = stream.write_all(&[*byte]).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let expect = expect.replace('+', "\\+");
    let spec = json!({"tcp": {"address": peer.address.to_string(), "send": "PING\\r\\n", "expect": expect}});
    let seen = round(&outbound(), spec).await;
    assert_eq!(seen.reason, reason, "{seen:?}");
}

#[tokio::test]
async fn a_server_that_never_ends_its_greeting_is_cut_at_4_kib() {
    let peer = Peer::start(|mut stream| async move { while stream.write_all(&[b'x'; 512]).await.is_ok() {} }).await;
    let spec = json!({"tcp": {"address": peer.address.to_string(), "expect": "y"}});
    let seen = round(&outbound(), spec).await;
    assert_eq!((seen.reason, &seen.facts["answerBytes"]), (Some(Reason::Expect), &json!(4_096)));
}

#[tokio::test]
async fn real_servers_are_probed() {
    let (nginx, blackbox) = (Real::nginx().await, Real::blackbox().await);
    let expect = json!({"status": [200], "body": {"contains": "ok", "excludes": "order"}});
    let seen = round(&outbound(), json!({"http": {"url": nginx.url("/healthz"), "expect": expect}})).await;
    assert!(seen.success, "{seen:?}");
    let seen = round(&outbound(), json!({"http": {"url": nginx.url("/broken")}})).await;
    assert_eq!(failed(&seen).0, Some(Reason::Status));
    assert_eq!(seen.message, "status 503 where 2xx is expected; body \"out of order\"");
    let seen = round(&outbound(), json!({"http": {"url": nginx.url("/moved"), "expect": {"status": [302]}}})).await;
    assert!(seen.success, "a redirect is an answer, and is not followed: {seen:?}");
    let send = "HEAD /healthz HTTP/1.0\\r\\n\\r\\n";
    let address = format!("127.0.0.1:{}", nginx.port);
    let seen = round(&outbound(), json!({"tcp": {"address": address, "send": send, "expect": "^HTTP/1.1 200 "}})).await;
    assert!(seen.success, "{seen:?}");
    let probe = format!("/probe?module=http_2xx&target={}", nginx.url("/healthz"));
    let expect = json!({"body": {"matches": "(?m)^probe_success 1$"}});
    let spec = serde_json::from_value(json!({"http": {"url": blackbox.url(&probe), "expect": expect}})).unwrap();
    let seen = compile(&spec, Duration::from_secs(5), &tools(&outbound())).unwrap().observe().await;
    assert!(seen.success, "{seen:?}");
}

#[tokio::test]
async fn a_probe_goes_up_and_down_and_up_with_its_target() {
    let healthy = Arc::new(AtomicBool::new(true));
    let answers = Arc::clone(&healthy);
    let peer = Peer::start(move |mut stream| {
        let status = if answers.load(Ordering::SeqCst) { "200 OK" } else { "500 Internal Server Error" };
        async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(answer(status, "", "").as_bytes()).await;
        }
    })
    .await;
    let world = World::start(outbound());
    world
        .create("checkout", json!({"http": {"url": peer.url("/")}, "interval": "100ms", "down": {"failures": 3}}))
        .await;
    world.until_state("checkout", "up").await;
    healthy.store(false, Ordering::SeqCst);
    world.until_state("checkout", "down").await;
    let view = world.board.get("shop", "checkout").unwrap();
    assert!(view.reason.starts_with("3 rounds failed in a row: status: status 500"), "{}", view.reason);
    let since = view.failing_since.unwrap();
    let failures = world.board.rounds_since("shop", "checkout", since);
    assert!(failures.len() >= 3 && failures.iter().all(|round| round.reason == Some(Reason::Status)), "{failures:?}");
    assert!(failures.iter().all(|round| round.id.get_version_num() == 7));
    healthy.store(true, Ordering::SeqCst);
    world.until_state("checkout", "up").await;
}

#[tokio::test]
async fn the_status_of_the_resource_follows_the_state() {
    let peer = Peer::answering(answer("200 OK", "", "")).await;
    let world = World::start(outbound());
    world.create("checkout", json!({"http": {"url": peer.url("/")}, "interval": "200ms"})).await;
    world.create("broken", json!({"http": {"url": "http://x/"}, "interval": "1s", "timeout": "2s"})).await;
    let status = |name: &'static str| {
        let store = Arc::clone(&world.store);
        async move { store.get_as::<Probe>("shop", name).await.unwrap().unwrap().status }
    };
    loop {
        let (up, broken) = (status("checkout").await, status("broken").await);
        if let (Some(up), Some(broken)) = (up, broken)
            && up.state.as_str() == "up"
        {
            assert_eq!(up.reason, "1 round as expected");
            assert_eq!(up.conditions[0].status, ConditionStatus::True);
            assert_eq!((broken.state.as_str(), broken.conditions[0].status), ("unknown", ConditionStatus::False));
            assert!(broken.reason.contains("spec.timeout: `2s` is not allowed"), "{}", broken.reason);
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A healthy probe is written once, not at every round.
    let version = |probe: Probe| probe.metadata.resource_version;
    let before = version(world.store.get_as::<Probe>("shop", "checkout").await.unwrap().unwrap());
    let rounds = world.board.get("shop", "checkout").unwrap().rounds;
    until("five more rounds", || world.board.get("shop", "checkout").unwrap().rounds > rounds + 5).await;
    assert_eq!(version(world.store.get_as::<Probe>("shop", "checkout").await.unwrap().unwrap()), before);
}

#[tokio::test]
async fn a_new_schedule_keeps_the_state_and_another_target_does_not() {
    let peer = Peer::answering(answer("200 OK", "", "")).await;
    let world = World::start(outbound());
    let probe = world.create("checkout", json!({"http": {"url": peer.url("/")}, "interval": "100ms"})).await;
    world.until_state("checkout", "up").await;
    let since = world.board.get("shop", "checkout").unwrap().since;
    let probe = world.change(probe, json!({"http": {"url": peer.url("/")}, "interval": "250ms"})).await;
    until("the new interval counts", || {
        world.board.get("shop", "checkout").unwrap().interval == Duration::from_millis(250)
    })
    .await;
    let view = world.board.get("shop", "checkout").unwrap();
    assert_eq!((view.state.as_str(), view.since), ("up", since));

    let silent = format!("http://{}/", closed_port().await);
    world.change(probe, json!({"http": {"url": silent}, "interval": "250ms"})).await;
    world.until_state("checkout", "unknown").await;
    world.until_state("checkout", "down").await;
    world.store.delete("Probe", "shop", "checkout", None).await.unwrap();
    until("the probe is gone", || world.board.get("shop", "checkout").is_none()).await;
}

#[tokio::test]
async fn a_slow_target_delays_nobody() {
    let slow = Peer::start(|_stream| std::future::pending()).await;
    let quick = Peer::answering(answer("200 OK", "", "")).await;
    let world = World::start(outbound());
    for number in 0..20 {
        let spec = json!({"http": {"url": slow.url("/")}, "interval": "1s", "timeout": "900ms"});
        world.create(&format!("slow-{number}"), spec).await;
    }
    world.create("quick", json!({"http": {"url": quick.url("/")}, "interval": "100ms"})).await;
    until("thirty rounds", || world.board.get("shop", "quick").is_some_and(|view| view.rounds >= 30)).await;
    let view = world.board.get("shop", "quick").unwrap();
    assert_eq!(view.state.as_str(), "up");
    assert!(view.missed <= 3, "{} missed", view.missed);
    world.until_state("slow-3", "down").await;
}

#[tokio::test]
async fn a_prober_in_trouble_is_unknown_and_never_down() {
    struct Dies(AtomicBool);
    #[async_trait]
    impl Lookup for Dies {
        async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
            if self.0.load(Ordering::SeqCst) {
                return Err(LookupError::Trouble {
                    name: name.to_owned(),
                    why: "no answer from any server".to_owned(),
                });
            }
            Ok(vec![IpAddr::from([127, 0, 0, 1])])
        }
    }
    let lookup = Arc::new(Dies(AtomicBool::new(false)));
    let peer = Peer::answering(answer("200 OK", "", "")).await;
    let world = World::start(Outbound::with(Secrets::default(), Guard::new(), Arc::clone(&lookup) as Arc<dyn Lookup>));
    let url = format!("http://checkout.example:{}/", peer.address.port());
    world.create("checkout", json!({"http": {"url": url}, "interval": "100ms"})).await;
    world.until_state("checkout", "up").await;
    lookup.0.store(true, Ordering::SeqCst);
    until("not up any more", || world.state("checkout") != Some("up")).await;
    for _ in 0..20 {
        assert_eq!(world.state("checkout"), Some("unknown"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let reason = world.board.get("shop", "checkout").unwrap().reason;
    assert!(reason.starts_with("the prober was in trouble in 2 rounds in a row: resolver: "), "{reason}");
}

#[tokio::test]
async fn a_board_whose_engine_has_stopped_grows_stale() {
    let peer = Peer::answering(answer("200 OK", "", "")).await;
    let world = World::start(outbound());
    world.create("checkout", json!({"http": {"url": peer.url("/")}, "interval": "100ms"})).await;
    world.until_state("checkout", "up").await;
    let board = world.board.clone();
    drop(world);
    until("stale", || board.get("shop", "checkout").unwrap().state.as_str() == "unknown").await;
    assert_eq!(board.get("shop", "checkout").unwrap().reason, "no round has told anything for too long");
}
