//! `/v1/probes`: the resident probes, their past, and rounds by hand.

use std::time::Duration;

use probegate::api::Probe;
use rstest::rstest;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::schema::fits;
use super::world::{Setup, World};

/// How long a state may take to come about on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn probe(namespace: &str, name: &str, labels: &Value, spec: &Value) -> Probe {
    serde_json::from_value(json!({
        "apiVersion": "probegate.io/v1alpha1", "kind": "Probe",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": spec,
    }))
    .unwrap()
}

async fn peer(status: u16) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::any())
        .respond_with(ResponseTemplate::new(status).set_body_string("hello"))
        .mount(&server)
        .await;
    server
}

fn http(server: &MockServer) -> Value {
    json!({"http": {"url": server.uri()}, "interval": "200ms", "timeout": "150ms", "down": {"failures": 1}})
}

/// A world with three probes: one is up, one is down, one is never probed by itself.
async fn world() -> (World, Vec<MockServer>) {
    let (good, bad) = (peer(200).await, peer(500).await);
    let mut quiet = http(&good);
    quiet["suspend"] = true.into();
    quiet["interval"] = "10s".into();
    quiet["timeout"] = "5s".into();
    let probes = vec![
        probe("default", "quiet", &json!({"tier": "web"}), &quiet),
        probe("shop", "bad", &json!({"tier": "web"}), &http(&bad)),
        probe("shop", "good", &json!({"tier": "data"}), &http(&good)),
    ];
    let world = World::with(Setup { probes, ..Setup::default() }).await;
    (world, vec![good, bad])
}

/// Asks until a probe has a state.
async fn until(world: &World, path: &str, state: &str) -> Value {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let found = world.get(path).await.json();
            if found["state"] == state {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{path} never is {state}"))
}

#[tokio::test]
async fn a_probe_is_shown_with_its_targets_and_their_last_rounds() {
    let (world, peers) = world().await;
    let good = until(&world, "/v1/probes/shop/good", "up").await;
    assert_eq!((&good["kind"], &good["counts"]["up"]), (&json!("http"), &json!(1)));
    let target = &good["targets"][0];
    assert_eq!(target["target"], format!("{}/", peers[0].uri()));
    assert_eq!((&target["last"]["state"], &target["last"]["facts"]["status"]), (&json!("up"), &json!(200)));
    let bad = until(&world, "/v1/probes/bad?namespace=shop", "down").await;
    assert!(bad["reason"].as_str().unwrap().contains("status"), "{bad}");
    assert_eq!(world.get("/v1/probes/shop%2Fgood").await.status, 200);
    let missing = world.get("/v1/probes/shop/goood").await;
    assert_eq!((missing.status, &missing.problem()["nearest"]), (404, &json!("good")));
    assert_eq!(world.get("/v1/probes/good").await.status, 404, "it is in another namespace");
}

#[tokio::test]
async fn probes_are_listed_by_filters_and_pages() {
    let (world, _peers) = world().await;
    until(&world, "/v1/probes/shop/bad", "down").await;
    for (query, names) in [
        ("", vec!["quiet", "bad", "good"]),
        ("namespace=shop", vec!["bad", "good"]),
        ("selector=tier=web", vec!["quiet", "bad"]),
        ("selector=tier=web,app=x", vec![]),
        ("state=down", vec!["bad"]),
        ("limit=2", vec!["quiet", "bad"]),
        ("after=shop/bad", vec!["good"]),
    ] {
        let list = world.get(&format!("/v1/probes?{query}")).await.json();
        let found: Vec<&str> =
            list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
        assert_eq!(found, names, "{query}");
        assert_eq!(list["next"], if query == "limit=2" { json!("shop/bad") } else { Value::Null }, "{query}");
    }
}

#[rstest]
#[case("/v1/probes?state=broken", "state")]
#[case("/v1/probes?selector=web", "selector")]
#[case("/v1/probes?limit=x", "limit")]
#[case("/v1/probes?name=x", "name")]
#[case("/v1/probes/quiet/history?since=yesterday", "since")]
#[case("/v1/probes/quiet/history?since=1h&until=2h", "since")]
#[tokio::test]
async fn a_wrong_parameter_is_a_problem(#[case] path: &str, #[case] field: &str) {
    let (world, _peers) = world().await;
    let reply = world.get(path).await;
    assert_eq!((reply.status, &reply.problem()["field"]), (400, &json!(field)), "{reply:?}");
}

#[tokio::test]
async fn a_round_by_hand_gives_its_run_id_and_what_was_seen() {
    let (world, _peers) = world().await;
    for path in ["/v1/probes/quiet/run", "/v1/probes/default/quiet/run"] {
        let reply = world.send("POST", path, &[], "").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let made = reply.json();
        assert_eq!(made["probe"], "default/quiet");
        let run = &made["runs"][0];
        assert_eq!(run["id"].as_str().unwrap().len(), 36, "{run}");
        let keys: Vec<&String> = run["result"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["durations", "facts", "log", "message", "phase", "reason", "state", "success"]);
        assert_eq!(run["result"]["state"], "up", "{run}");
    }
    assert_eq!(world.send("POST", "/v1/probes/nothing/run", &[], "").await.status, 404);
    assert_eq!(world.get("/v1/probes/quiet/run").await.status, 405);
}

#[tokio::test]
async fn the_past_is_told_in_counts_and_failures() {
    let (world, _peers) = world().await;
    until(&world, "/v1/probes/shop/bad", "down").await;
    let past = world.get("/v1/probes/shop/bad/history?since=10m").await.json();
    assert!(past["summary"]["failed"].as_u64().unwrap() > 0, "{past}");
    assert_eq!(past["summary"]["availability"], 0.0);
    let target = &past["targets"][0];
    assert_eq!(target["failures"][0]["reason"], "status");
    assert!(!target["steps"].as_array().unwrap().is_empty());
    let quiet = world.get("/v1/probes/quiet/history").await.json();
    assert_eq!((&quiet["summary"]["rounds"], &quiet["summary"]["availability"]), (&json!(0), &Value::Null));
    assert_eq!(world.get("/v1/probes/nothing/history").await.status, 404);
}

#[tokio::test]
async fn answers_fit_their_schemas() {
    let (world, _peers) = world().await;
    until(&world, "/v1/probes/shop/bad", "down").await;
    let document = world.get("/openapi.json").await.json();
    for (method, template, path) in [
        ("get", "/v1/probes", "/v1/probes"),
        ("get", "/v1/probes/{namespace}/{name}", "/v1/probes/shop/bad"),
        ("get", "/v1/probes/{name}", "/v1/probes/quiet"),
        ("get", "/v1/probes/{namespace}/{name}/history", "/v1/probes/shop/bad/history"),
        ("post", "/v1/probes/{name}/run", "/v1/probes/quiet/run"),
    ] {
        let reply = world.send(&method.to_uppercase(), path, &[], "").await;
        let schema = &document["paths"][template][method]["responses"]["200"]["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{template}");
        fits(&document, schema, &reply.json(), "$").unwrap_or_else(|error| panic!("{template}: {error}"));
    }
    // What the command line reads is what the server writes.
    let past: probegate::server::ProbeHistory =
        serde_json::from_value(world.get("/v1/probes/shop/bad/history").await.json()).unwrap();
    assert!(past.targets[0].failures.iter().all(|failure| failure.judgement == "failed"));
}
