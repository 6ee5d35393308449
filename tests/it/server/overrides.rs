//! `/v1/overrides`.

use jiff::{SignedDuration, Timestamp};
use probegate::clock::{Clock, SystemClock};
use probegate::model::Outcome;
use rstest::rstest;
use serde_json::{Value, json};

use super::world::{Setup, World, question, tokens, until};

fn hours(hours: i64) -> Timestamp {
    SystemClock::new().now() + SignedDuration::from_hours(hours)
}

fn exception() -> Value {
    json!({"gate": "shop/checkout", "change": "c-17", "effect": "pass", "reason": "known slow start",
           "ticket": "OPS-2", "expires": hours(2)})
}

#[tokio::test]
async fn an_override_is_made_counts_and_is_taken_back_with_its_record() {
    let world = World::new().await;
    world.script.say("v1/post/2", Outcome::Fail);
    let verdict = async || world.post("/v1/check?wait=5s", &question("v1")).await.json()["verdict"].clone();
    assert_eq!(verdict().await, "block");
    let made = world.post("/v1/overrides", &exception()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let place = made.headers["location"].clone();
    assert_eq!(world.get(&place).await.json(), made.json());
    assert_eq!(made.json()["spec"]["actor"], "anonymous");
    until("the override counts", async || verdict().await == "pass").await;
    assert_eq!(world.get("/v1/overrides?inForce=true&change=c-17").await.json()["items"].as_array().unwrap().len(), 1);
    let revoked = world.send("DELETE", &format!("{place}?reason=mistaken"), &[], "").await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    let record = world.get(&place).await.json();
    assert_eq!(record["status"]["revoked"]["reason"], "mistaken", "{record}");
    assert_eq!(world.get("/v1/overrides?inForce=true").await.json()["items"], json!([]));
    let again = world.send("DELETE", &format!("{place}?reason=again"), &[], "").await;
    assert_eq!(again.json()["status"]["revoked"]["reason"], "mistaken", "who was first stays on record");
}

#[tokio::test]
async fn the_actor_is_the_token_s_subject_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::with(Setup { tokens: Some(tokens(dir.path())), ..Setup::default() }).await;
    let headers = [("content-type", "application/json"), ("authorization", "Bearer override")];
    let made = world.send("POST", "/v1/overrides", &headers, &exception().to_string()).await;
    assert_eq!(made.json()["spec"]["actor"], "override-er", "{made:?}");
    let mut forged = exception();
    forged["actor"] = "somebody".into();
    let reply = world.send("POST", "/v1/overrides", &headers, &forged.to_string()).await;
    assert_eq!((reply.status, reply.problem()["field"].as_str()), (422, Some("actor")));
}

#[rstest]
#[case(json!({"expires": hours(-1)}), "expires")]
#[case(json!({"expires": hours(24 * 31)}), "expires")]
#[case(json!({"expires": "tomorrow"}), "expires")]
#[case(json!({"reason": "  "}), "reason")]
#[case(json!({"change": ""}), "change")]
#[case(json!({"effect": "passs"}), "effect")]
#[case(json!({"gate": "shop/nowhere"}), "gate")]
#[case(json!({"gate": null}), "gate")]
#[case(json!({"window": "hours"}), "gate")]
#[case(json!({"check": "scirpt"}), "check")]
#[tokio::test]
async fn a_wrong_override_is_not_made(#[case] patch: Value, #[case] field: &str) {
    let world = World::new().await;
    let mut wanted = exception();
    patch.as_object().unwrap().iter().for_each(|(key, value)| wanted[key] = value.clone());
    let reply = world.post("/v1/overrides", &wanted).await;
    assert_eq!((reply.status, reply.problem()["field"].as_str()), (422, Some(field)), "{reply:?}");
    assert_eq!(world.get("/v1/overrides").await.json()["items"], json!([]));
}

#[tokio::test]
async fn a_window_is_overridden_only_by_whom_it_names() {
    use probegate::api::ReleaseWindow;
    use probegate::store::StoreExt;
    let dir = tempfile::tempdir().unwrap();
    let world = World::with(Setup { tokens: Some(tokens(dir.path())), ..Setup::default() }).await;
    for (name, who) in [("theirs", "override-er"), ("others", "sre-*")] {
        let window: ReleaseWindow = serde_json::from_value(json!({
            "apiVersion": "probegate.io/v1alpha1", "kind": "ReleaseWindow", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"type": "freeze", "reason": "r", "ticket": "t", "owner": "o", "expires": hours(9), "overridableBy": [who]},
        }))
        .unwrap();
        world.store.create_as(&window).await.unwrap();
    }
    let headers = [("content-type", "application/json"), ("authorization", "Bearer override")];
    for (name, status) in [("shop/theirs", 201), ("shop/others", 403), ("shop/none", 422)] {
        let wanted =
            json!({"window": name, "change": "c-17", "effect": "pass", "reason": "known", "expires": hours(1)});
        let reply = world.send("POST", "/v1/overrides", &headers, &wanted.to_string()).await;
        assert_eq!(reply.status, status, "{name}: {reply:?}");
    }
}
