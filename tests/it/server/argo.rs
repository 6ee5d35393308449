//! Argo Rollouts' web metric: the recorded exchange, and trouble that must not abort a rollout.

use probegate::model::Outcome;
use rstest::rstest;
use serde_json::{Value, json};

use super::world::{Reply, Setup, World, tokens};

const RECORDED: &str = include_str!("../../data/exchanges/argo-rollouts-1.8.jsonl");

fn verdict(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "anything else is an error, and five abort: {reply:?}");
    let answer = reply.json();
    let mut keys: Vec<&String> = answer["gate"].as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["id", "reason", "retryAfterSeconds", "verdict"], "{answer}");
    answer["gate"]["verdict"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_recorded_measurements_are_answered_as_the_controller_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::with(Setup { tokens: Some(tokens(dir.path())), ..Setup::default() }).await;
    // Held, then let go; the next revision is blocked. The last line's 503 was trouble: ours holds.
    world.script.say("668b5944f4/post/2", Outcome::Pending);
    world.script.say("7b98fb5788/post/2", Outcome::Fail);
    world.script.say("68958c8889/post/2", Outcome::Unknown);
    let mut seen = Vec::new();
    for line in RECORDED.lines() {
        let recorded: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| recorded[key].as_str().unwrap();
        let headers: Vec<(&str, &str)> =
            recorded["headers"].as_object().unwrap().iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap())).collect();
        let reply = world.send(text("method"), "/hooks/argo", &headers, text("body")).await;
        seen.push(verdict(&reply));
        world.script.say("668b5944f4/post/2", Outcome::Pass);
        if seen.len() == 1 {
            let id = reply.json()["gate"]["id"].as_str().unwrap().to_owned();
            super::world::until("the run is decided", async || {
                let run = world.send("GET", &format!("/v1/runs/{id}"), &[("authorization", "Bearer read")], "").await;
                run.json()["status"]["verdict"] == "pass"
            })
            .await;
        }
    }
    assert_eq!(seen, ["wait", "pass", "block", "wait"]);
}

#[tokio::test]
async fn a_step_is_a_batch_of_the_change_between_two_revisions() {
    let world = World::new().await;
    let asked =
        json!({"gate": "shop/checkout", "latest": "new", "stable": "old", "step": "3", "percent": "40", "total": 6});
    let reply = world.post("/hooks/argo", &asked).await;
    assert_eq!(verdict(&reply), "pass");
    let id = reply.json()["gate"]["id"].as_str().unwrap().to_owned();
    let run = world.get(&format!("/v1/runs/{id}")).await.json();
    assert_eq!(run["spec"]["batch"], json!({"index": 4, "total": 6, "percent": 40}));
    assert_eq!(run["spec"]["change"]["id"], "checkout-new-after-old");
    assert_eq!(
        (run["spec"]["change"]["revision"].as_str(), run["spec"]["point"].as_str()),
        (Some("new"), Some("post"))
    );
}

#[tokio::test]
async fn get_and_put_ask_the_same_question() {
    let world = World::new().await;
    let asked = json!({"gate": "shop/checkout", "latest": "new", "stable": "old", "step": "1", "point": "pre"});
    let posted = world.post("/hooks/argo", &asked).await.json();
    let headers = [("content-type", "application/json")];
    let put = world.send("PUT", "/hooks/argo", &headers, &asked.to_string()).await;
    let got = world.get("/hooks/argo?gate=shop/checkout&latest=new&stable=old&step=1&point=pre").await;
    assert_eq!((verdict(&put), verdict(&got)), ("pass".to_owned(), "pass".to_owned()));
    assert_eq!((&put.json()["gate"]["id"], &got.json()["gate"]["id"]), (&posted["gate"]["id"], &posted["gate"]["id"]));
}

#[rstest]
#[case("nonsense", "cannot be read")]
#[case("", "empty")]
#[case(r#"{"gate":"shop/checkout"}"#, "latest")]
#[case(r#"{"gate":"shop/nowhere","latest":"l"}"#, "no gate")]
#[case(r#"{"gate":"shop/checkout","latest":"l","pont":"pre"}"#, "point")]
#[case(r#"{"gate":"shop/checkout","latest":"l","step":"many"}"#, "step")]
#[case(r#"{"gate":"shop/checkout","latest":""}"#, "latest")]
#[tokio::test]
async fn what_cannot_be_judged_waits_and_says_why(#[case] body: &str, #[case] named: &str) {
    let world = World::new().await;
    let reply = world.send("POST", "/hooks/argo", &[("content-type", "application/json")], body).await;
    assert_eq!(verdict(&reply), "wait");
    assert!(reply.json()["gate"]["reason"].as_str().unwrap().contains(named), "{reply:?}");
}

#[tokio::test]
async fn a_missing_or_foreign_token_waits_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::with(Setup { tokens: Some(tokens(dir.path())), ..Setup::default() }).await;
    let asked = json!({"gate": "shop/checkout", "latest": "new", "stable": "old", "step": "1"});
    assert_eq!(verdict(&world.post("/hooks/argo", &asked).await), "wait");
    let headers = [("content-type", "application/json"), ("authorization", "Bearer read")];
    let reply = world.send("POST", "/hooks/argo", &headers, &asked.to_string()).await;
    assert_eq!(verdict(&reply), "wait");
    assert!(reply.json()["gate"]["reason"].as_str().unwrap().contains("scope"), "{reply:?}");
    let metrics = world.probe("/metrics").await.body;
    assert!(metrics.contains(r#"probegate_http_auth_failures_total{reason="missing"} 1"#), "{metrics}");
}
