//! `/probe`: what a Prometheus that was set up for `blackbox_exporter` gets.

use probegate::api::Probe;
use probegate::config::blackbox::import;
use rstest::rstest;
use serde_json::json;
use tokio::net::TcpListener;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::probes::probe;
use super::world::{Reply, Setup, World};

const MODULES: &str = "
modules:
  http_2xx: {prober: http}
  http_text: {prober: http, http: {fail_if_body_not_matches_regexp: [world]}}
  http_host: {prober: http, http: {headers: {Host: shop.example}}}
  tcp_connect: {prober: tcp, timeout: 5s}
";

fn modules() -> Vec<Probe> {
    let imported = import("blackbox.yml", MODULES.as_bytes(), None);
    assert!(imported.notes.is_empty(), "{:?}", imported.notes);
    let named = |mut probe: Probe| {
        probe.metadata.namespace = Some("monitoring".to_owned());
        probe
    };
    imported.probes.into_iter().map(named).collect()
}

async fn world() -> World {
    World::with(Setup { probes: modules(), ..Setup::default() }).await
}

async fn peer() -> MockServer {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_string("hello");
    Mock::given(wiremock::matchers::any()).respond_with(answer).mount(&server).await;
    server
}

/// The value of a metric.
fn value(reply: &Reply, name: &str) -> f64 {
    let line = reply.body.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name} is not in {reply:?}")).parse().unwrap()
}

#[tokio::test]
async fn a_target_is_probed_by_a_module() {
    let (world, peer) = (world().await, peer().await);
    // The default module, and a target without a scheme, as there.
    let bare = peer.uri().replace("http://", "");
    for query in [format!("target={bare}"), format!("module=http_2xx&target={}/x", peer.uri())] {
        let reply = world.get(&format!("/probe?{query}")).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        assert_eq!((value(&reply, "probe_success"), value(&reply, "probe_http_status_code")), (1.0, 200.0));
        assert!(value(&reply, "probe_duration_seconds") > 0.0);
    }
    let failed = world.get(&format!("/probe?module=http_text&target={bare}")).await;
    assert_eq!((value(&failed, "probe_success"), value(&failed, "probe_failed_due_to_regex")), (0.0, 1.0));
}

#[tokio::test]
async fn a_module_is_found_by_the_name_of_its_probe_too() {
    let (world, peer) = (world().await, peer().await);
    let target = peer.address();
    let reply = world.get(&format!("/probe?module=monitoring/tcp-connect&target={target}")).await;
    assert!((value(&reply, "probe_success") - 1.0).abs() < f64::EPSILON);
}

#[rstest]
#[case("module=http_2xx", "target")]
#[case("module=http_3xx&target=a", "module")]
#[case("module=tcp_connect&target=a", "target")]
#[case("module=http_host&target=a&hostname=other.example", "target")]
#[case("targt=a", "targt")]
#[tokio::test]
async fn a_wrong_parameter_is_a_problem(#[case] query: &str, #[case] field: &str) {
    let reply = world().await.get(&format!("/probe?{query}")).await;
    assert_eq!((reply.status, &reply.problem()["field"]), (400, &json!(field)), "{reply:?}");
}

#[tokio::test]
async fn two_probes_cannot_be_one_module() {
    let mut probes = modules();
    let mut twin = probe("other", "twin", &json!({}), &json!({"tcp": {}, "suspend": true}));
    twin.metadata.annotations = probes[3].metadata.annotations.clone();
    probes.push(twin);
    let world = World::with(Setup { probes, ..Setup::default() }).await;
    let problem = world.get("/probe?module=tcp_connect&target=a:1").await.problem();
    assert_eq!(problem["allowed"], json!(["monitoring/tcp-connect", "other/twin"]));
}

#[tokio::test]
async fn the_round_ends_before_prometheus_gives_up() {
    // It takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let path = format!("/probe?target={}", silent.local_addr().unwrap());
    let headers = [("x-prometheus-scrape-timeout-seconds", "0.4")];
    let reply = world().await.send("GET", &path, &headers, "").await;
    assert!(value(&reply, "probe_success").abs() < f64::EPSILON);
    assert!(value(&reply, "probe_duration_seconds") < 0.4, "{reply:?}");
    assert!(reply.body.contains(r#"probe_failure_info{phase="processing",reason="timeout"} 1"#), "{reply:?}");
    let wrong = world().await.send("GET", &path, &[("x-prometheus-scrape-timeout-seconds", "soon")], "").await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test]
async fn debug_shows_the_log_beside_the_metrics() {
    let (world, peer) = (world().await, peer().await);
    let reply = world.get(&format!("/probe?debug=true&target={}", peer.uri())).await;
    for part in ["Logs for the probe:", "connected to", "Metrics that would have been returned:", "probe_success 1"] {
        assert!(reply.body.contains(part), "{part} is not in {}", reply.body);
    }
}

#[tokio::test]
async fn whoever_may_not_run_probes_makes_no_rounds() {
    let home = tempfile::tempdir().unwrap();
    let entry = |name: &str, scope: &str| {
        let hash = probegate::server::access::hash_of(name);
        format!("- {{name: {name}, hash: '{hash}', scopes: [{scope}], gates: ['monitoring/*']}}\n")
    };
    let text = format!("tokens:\n{}{}", entry("reader", "read"), entry("runner", "run"));
    let file = home.path().join("tokens.yaml");
    std::fs::write(&file, text).unwrap();
    let world = World::with(Setup { probes: modules(), tokens: Some(file), ..Setup::default() }).await;
    let peer = peer().await;
    let path = format!("/probe?target={}", peer.uri());
    let asked = async |token: &str| {
        let header = format!("Bearer {token}");
        world.send("GET", &path, &[("authorization", &header)], "").await.status
    };
    assert_eq!((asked("reader").await, asked("runner").await, asked("nobody").await), (403, 200, 401));
    assert_eq!(world.get(&format!("/t/runner{path}")).await.status, 403, "not with a token that logs show");
    let run = world.send("POST", "/v1/probes/shop/web/run", &[("authorization", "Bearer runner")], "").await;
    assert_eq!(run.status, 403, "its token names other probes");
}
