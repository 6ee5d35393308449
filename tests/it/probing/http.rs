//! HTTP probes of real servers, straight, through a proxy, and over a Unix socket.

use std::sync::Arc;
use std::time::Duration;

use probegate::clock::SystemClock;
use probegate::outbound::{Outbound, Secrets};
use probegate::probes::{Judgement, Observation, Phase, Reason, Tools, compile};
use serde_json::{Value, json};

use super::servers::Real;
use crate::checks::peers::Authority;

/// An nginx, what it is to be trusted by, and the secrets of its user.
struct World {
    nginx: Real,
    outbound: Outbound,
    _directory: tempfile::TempDir,
}

async fn world() -> World {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(directory.path().join("password"), "secret\n").unwrap();
    let outbound = Outbound::new(Secrets::new(Some(directory.path().to_owned())));
    World { nginx: Real::nginx_with(&authority).await, outbound, _directory: directory }
}

impl World {
    /// Makes one round of a kind.
    async fn round(&self, spec: Value) -> Observation {
        let spec = serde_json::from_value(spec).unwrap();
        let tools = Tools { outbound: self.outbound.clone(), clock: Arc::new(SystemClock::new()), root: None };
        compile(&spec, Duration::from_secs(10), &tools).unwrap().observe().await
    }

    /// Makes one round by HTTP, with these fields beside the URL.
    async fn ask(&self, url: &str, fields: Value) -> Observation {
        let mut http = fields;
        http["url"] = json!(url);
        self.round(json!({"http": http})).await
    }

    fn tls(&self, path: &str) -> String {
        format!("https://{}{path}", self.nginx.address_of(1))
    }
}

fn good(seen: &Observation) {
    assert_eq!(seen.judgement(), Judgement::Good, "{seen:?}");
}

fn failed(seen: &Observation, reason: Reason) {
    assert_eq!((seen.success, seen.reason), (false, Some(reason)), "{seen:?}");
}

#[tokio::test]
async fn nginx_answers_as_expected_and_not() {
    let world = world().await;
    let url = |path: &str| world.nginx.url(path);
    good(&world.ask(&url("/healthz"), json!({"expect": {"status": [200], "body": {"matches": "^all ok$"}}})).await);
    let expect = json!({
        "json": [{"path": "$.status", "equals": "ok"}, {"path": "$.nodes[*]", "matches": "^[12]$"}],
        "headers": [{"name": "content-type", "equals": "application/json"}, {"name": "x-fault", "absent": true}],
        "rule": "json.nodes.len() == 2 && status == 200", "size": {"max": 100},
    });
    good(&world.ask(&url("/json"), json!({"expect": expect})).await);
    let seen = world.ask(&url("/broken"), json!({})).await;
    failed(&seen, Reason::Status);
    assert_eq!(seen.message, "status 503 where 2xx is expected; body \"out of order\"");
    let expect = json!({"json": [{"path": "$.nodes[*]", "equals": 1}]});
    let seen = world.ask(&url("/json"), json!({"expect": expect})).await;
    failed(&seen, Reason::Json);
    assert_eq!(seen.message, "$.nodes[*] is \"2\" where `1` is expected");
    good(&world.ask(&url("/page.txt"), json!({"expect": {"lastModified": {"maxAge": "1h"}}})).await);
    good(&world.ask(&url("/healthz"), json!({"method": "HEAD"})).await);
}

#[tokio::test]
async fn nginx_redirects() {
    let world = world().await;
    let redirects = json!({"redirects": {"max": 3}});
    let seen = world.ask(&world.nginx.url("/elsewhere"), redirects.clone()).await;
    good(&seen);
    assert_eq!(seen.facts.get("redirects"), Some(&json!(1)));
    failed(&world.ask(&world.nginx.url("/elsewhere"), json!({})).await, Reason::Status);
    failed(&world.ask(&world.nginx.url("/ring"), redirects.clone()).await, Reason::Redirect);
    let seen = world.ask(&world.nginx.url("/moved"), redirects).await;
    failed(&seen, Reason::Redirect);
    assert!(seen.message.contains("link-local"), "{}", seen.message);
}

#[tokio::test]
async fn nginx_compresses_and_lets_its_user_in() {
    let world = world().await;
    let expect = json!({"body": {"matches": "^a page"}, "size": {"min": 6000}});
    let seen = world.ask(&world.nginx.url("/page.txt"), json!({"compression": true, "expect": expect})).await;
    good(&seen);
    let bytes = |name: &str| seen.facts.get(name).and_then(Value::as_u64).unwrap();
    assert!(bytes("bodyBytes") < 500 && bytes("uncompressedBytes") == 6_000, "{seen:?}");
    failed(&world.ask(&world.nginx.url("/private"), json!({})).await, Reason::Status);
    let auth = json!({"basic": {"username": "ada", "passwordFile": "password"}});
    good(&world.ask(&world.nginx.url("/private"), json!({"auth": auth})).await);
}

#[tokio::test]
async fn nginx_speaks_every_version() {
    let world = world().await;
    let tls = json!({"caFile": "ca.pem"});
    for (version, agreed) in [("1.1", "1.1"), ("2", "2"), ("any", "2")] {
        let expect = json!({"body": {"contains": "ok"}, "version": agreed, "tlsVersion": "1.2"});
        let seen = world.ask(&world.tls("/healthz"), json!({"version": version, "tls": tls, "expect": expect})).await;
        good(&seen);
        assert!(seen.facts.get("certificateNotAfter").is_some() && seen.durations.get(Phase::Tls).is_some());
    }
    let clear = format!("http://{}/healthz", world.nginx.address_of(2));
    good(&world.ask(&clear, json!({"version": "2"})).await);
    failed(&world.ask(&world.nginx.url("/healthz"), json!({"version": "2"})).await, Reason::Protocol);
    let seen = world.ask(&world.tls("/healthz"), json!({})).await;
    assert_eq!((seen.reason, seen.phase), (Some(Reason::Certificate), Some(Phase::Tls)), "{seen:?}");
    let expect = json!({"certificate": {"validFor": "30d"}});
    good(&world.ask(&world.tls("/healthz"), json!({"tls": tls, "expect": expect})).await);
    // A TLS port that is asked in the clear, and the other way round.
    let plain = format!("http://{}/healthz", world.nginx.address_of(1));
    failed(&world.ask(&plain, json!({})).await, Reason::Status);
    let secure = format!("https://{}/healthz", world.nginx.address());
    failed(&world.ask(&secure, json!({})).await, Reason::Tls);
}

#[tokio::test]
async fn a_real_proxy_is_gone_through() {
    let (world, proxy) = (world().await, Real::tinyproxy().await);
    let proxied = json!({"url": proxy.url("")});
    let expect = json!({"body": {"contains": "ok"}});
    good(&world.ask(&world.nginx.url("/healthz"), json!({"proxy": proxied, "expect": expect})).await);
    let tls = json!({"caFile": "ca.pem"});
    for version in ["1.1", "2"] {
        let fields = json!({"proxy": proxied, "tls": tls, "version": version, "expect": expect});
        good(&world.ask(&world.tls("/healthz"), fields).await);
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let seen = world.ask(&format!("https://{closed}/"), json!({"proxy": proxied})).await;
    assert_eq!((seen.reason, seen.phase), (Some(Reason::Proxy), Some(Phase::Connect)), "{seen:?}");
}

#[tokio::test]
async fn nginx_answers_on_a_unix_socket() {
    let world = world().await;
    let path = world.nginx.path("socket");
    let http = json!({"path": "/healthz", "expect": {"body": {"contains": "ok"}}});
    good(&world.round(json!({"unix": {"path": path, "http": http}})).await);
    failed(&world.round(json!({"unix": {"path": path, "http": {"path": "/broken"}}})).await, Reason::Status);
    let send = "HEAD /healthz HTTP/1.0\\r\\n\\r\\n";
    good(&world.round(json!({"unix": {"path": path, "send": send, "expect": "^HTTP/1.1 200 "}})).await);
}

#[tokio::test]
async fn other_servers_answer_as_their_probes_expect() {
    let world = world().await;
    let (etcd, registry, prometheus) = (Real::etcd().await, Real::registry().await, Real::prometheus().await);
    let expect = json!({"json": [{"path": "$.health", "equals": "true"}]});
    good(&world.ask(&etcd.url("/health"), json!({"expect": expect})).await);
    let expect = json!({"headers": [{"name": "Docker-Distribution-Api-Version", "equals": "registry/2.0"}]});
    good(&world.ask(&registry.url("/v2/"), json!({"expect": expect})).await);
    let expect = json!({"body": {"matches": "(?m)^prometheus_ready 1$"}});
    good(&world.ask(&prometheus.url("/metrics"), json!({"compression": true, "expect": expect})).await);
}
