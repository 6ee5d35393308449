//! `POST /v1/check`.

use std::time::{Duration, Instant};

use probegate::model::Outcome;
use rstest::rstest;
use serde_json::{Value, json};

use super::world::{World, question};

#[tokio::test]
async fn a_question_gets_its_verdict_to_the_letter() {
    let world = World::new().await;
    let reply = world.post("/v1/check?wait=20s", &question("v42")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.headers["content-type"], "application/json");
    assert_eq!(reply.headers["cache-control"], "no-store");
    let answer = reply.json();
    let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["checks", "id", "reason", "retryAfterSeconds", "until", "verdict"]);
    assert_eq!(
        (&answer["verdict"], &answer["until"], &answer["retryAfterSeconds"]),
        (&json!("pass"), &Value::Null, &Value::Null)
    );
    assert!(answer["id"].as_str().unwrap().starts_with("shop/checkout-"), "{answer}");
    let check = &answer["checks"][0];
    let keys: Vec<&String> = check.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["mode", "name", "outcome", "since", "summary"]);
    assert_eq!(
        (&check["name"], &check["outcome"], &check["mode"]),
        (&json!("script"), &json!("pass"), &json!("enforce"))
    );
    let again = world.post("/v1/check", &question("v42")).await.json();
    assert_eq!(again["id"], answer["id"], "the same question gets the same run");
}

#[tokio::test]
async fn every_verdict_is_a_200() {
    let world = World::new().await;
    world.script.say("bad/post/2", Outcome::Fail);
    world.script.say("slow/post/2", Outcome::Pending);
    let block = world.post("/v1/check?wait=20s", &question("bad")).await;
    assert_eq!((block.status, block.json()["verdict"].as_str()), (200, Some("block")));
    let wait = world.post("/v1/check", &question("slow")).await;
    assert_eq!((wait.status, wait.json()["verdict"].as_str()), (200, Some("wait")));
    assert!(wait.json()["retryAfterSeconds"].as_u64().is_some(), "{wait:?}");
}

#[tokio::test]
async fn a_wait_ends_with_the_verdict() {
    let world = World::new().await;
    world.script.say("slow/post/2", Outcome::Pending);
    let began = Instant::now();
    let body = question("slow");
    let asked = world.post("/v1/check?wait=30s", &body);
    let turned = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.script.say("slow/post/2", Outcome::Pass);
    };
    let (reply, ()) = tokio::join!(asked, turned);
    assert_eq!(reply.json()["verdict"], "pass", "{reply:?}");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_question_without_namespace_or_batch_is_about_the_whole_change_in_the_default_namespace() {
    let world = World::new().await;
    let asked = json!({"gate": "plain", "change": {"id": "c", "target": "t", "revision": "r"}, "point": "pre"});
    let reply = world.post("/v1/check?wait=5s", &asked).await;
    assert_eq!(reply.json()["verdict"], "pass", "{reply:?}");
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    let run = world.get(&format!("/v1/runs/{id}")).await.json();
    assert_eq!(run["spec"]["batch"], json!({"index": 1, "total": 1, "percent": 100}));
}

#[rstest]
#[case("chagne", json!("x"), "chagne", "change")]
#[case("change.revison", json!("x"), "change.revison", "revision")]
#[case("batch.percentage", json!(1), "batch.percentage", "percent")]
#[case("change.action", json!("rollbak"), "change.action", "rollback")]
#[case("point", json!("psot"), "point", "post")]
#[tokio::test]
async fn an_unknown_field_or_word_is_named_with_its_nearest_spelling(
    #[case] path: &str,
    #[case] value: Value,
    #[case] field: &str,
    #[case] nearest: &str,
) {
    let world = World::new().await;
    let mut asked = question("v1");
    let mut place = &mut asked;
    for part in path.split('.') {
        place = &mut place[part];
    }
    *place = value;
    let reply = world.post("/v1/check", &asked).await;
    let problem = reply.problem();
    assert_eq!(reply.status, 422, "{problem}");
    assert_eq!((problem["field"].as_str(), problem["nearest"].as_str()), (Some(field), Some(nearest)), "{problem}");
    assert!(problem["allowed"].as_array().unwrap().iter().any(|word| word == nearest), "{problem}");
}

#[rstest]
#[case(json!({"change": {"id": ""}}), "change.id")]
#[case(json!({"change": {"target": "x".repeat(254)}}), "change.target")]
#[case(json!({"change": {"revision": 7}}), "change.revision")]
#[case(json!({"change": {"revision": null}}), "change.revision")]
#[case(json!({"change": {"labels": {"tier": "x".repeat(64)}}}), "change.labels.tier")]
#[case(json!({"batch": {"index": 6}}), "batch.index")]
#[case(json!({"batch": {"index": -1}}), "batch.index")]
#[case(json!({"batch": {"total": 100_000}}), "batch.total")]
#[case(json!({"batch": {"percent": 101}}), "batch.percent")]
#[case(json!({"gate": "a/b/c"}), "gate")]
#[case(json!({"gate": ""}), "gate")]
#[tokio::test]
async fn a_value_outside_its_limits_is_named_by_its_field(#[case] patch: Value, #[case] field: &str) {
    let world = World::new().await;
    let mut asked = question("v1");
    for (key, value) in patch.as_object().unwrap() {
        match value.as_object() {
            Some(inner) => inner.iter().for_each(|(name, value)| asked[key][name] = value.clone()),
            None => asked[key] = value.clone(),
        }
    }
    let reply = world.post("/v1/check", &asked).await;
    let problem = reply.problem();
    assert_eq!((reply.status, problem["field"].as_str()), (422, Some(field)), "{problem}");
}

#[tokio::test]
async fn a_missing_field_is_named() {
    let world = World::new().await;
    let reply = world.post("/v1/check", &json!({"gate": "shop/checkout", "point": "pre"})).await;
    assert_eq!(reply.problem()["field"], "change");
    let reply =
        world.post("/v1/check", &json!({"gate": "g", "change": {"id": "c", "target": "t"}, "point": "pre"})).await;
    assert_eq!(reply.problem()["field"], "change.revision");
}

#[tokio::test]
async fn an_unknown_gate_is_a_404_with_the_nearest_name() {
    let world = World::new().await;
    let mut asked = question("v1");
    asked["gate"] = "shop/chekout".into();
    let reply = world.post("/v1/check", &asked).await;
    assert_eq!((reply.status, reply.problem()["nearest"].as_str()), (404, Some("shop/checkout")), "{reply:?}");
}

#[rstest]
#[case("wait=20", "wait")]
#[case("wiat=20s", "wiat")]
#[case("wait=1s&wait=2s", "wait")]
#[tokio::test]
async fn a_wrong_parameter_is_named(#[case] query: &str, #[case] field: &str) {
    let world = World::new().await;
    let reply = world.post(&format!("/v1/check?{query}"), &question("v1")).await;
    assert_eq!((reply.status, reply.problem()["field"].as_str()), (400, Some(field)), "{reply:?}");
}
