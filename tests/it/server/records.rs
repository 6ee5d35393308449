//! `/v1/runs` and `/v1/windows`.

use std::sync::Arc;

use probegate::api::ReleaseWindow;
use probegate::model::Outcome;
use probegate::windows::{Zones, compile};
use rstest::rstest;
use serde_json::{Value, json};

use super::world::{HandClock, Setup, World, question};

async fn some_runs() -> World {
    let world = World::new().await;
    world.script.say("bad/post/2", Outcome::Fail);
    world.script.say("slow/post/2", Outcome::Pending);
    for (target, revision) in [("checkout", "v1"), ("cart", "bad"), ("search", "slow")] {
        let mut asked = question(revision);
        asked["change"]["target"] = target.into();
        asked["change"]["id"] = format!("c-{target}").into();
        let wait = if revision == "slow" { "0s" } else { "20s" };
        assert_eq!(world.post(&format!("/v1/check?wait={wait}"), &asked).await.status, 200);
    }
    world
}

async fn targets(world: &World, query: &str) -> Vec<String> {
    let list = world.get(&format!("/v1/runs?{query}")).await.json();
    list["items"].as_array().unwrap().iter().map(|run| run["change"]["target"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn runs_are_listed_newest_first_through_filters_and_pages() {
    let world = some_runs().await;
    for (query, expected) in [
        ("", vec!["search", "cart", "checkout"]),
        ("verdict=block", vec!["cart"]),
        ("open=true", vec!["search"]),
        ("open=false", vec!["cart", "checkout"]),
        ("change=c-cart", vec!["cart"]),
        ("target=checkout&gate=shop/checkout", vec!["checkout"]),
        ("gate=plain", vec![]),
        ("since=1h", vec!["search", "cart", "checkout"]),
        ("since=2100-01-01T00:00:00Z", vec![]),
    ] {
        assert_eq!(targets(&world, query).await, expected, "{query}");
    }
    let first = world.get("/v1/runs?limit=2").await.json();
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    let after = first["next"].as_str().unwrap();
    assert_eq!(targets(&world, &format!("limit=2&after={after}")).await, ["checkout"]);
}

#[rstest]
#[case("verdict=passed")]
#[case("open=maybe")]
#[case("limit=many")]
#[case("since=yesterday")]
#[case("gat=shop/checkout")]
#[case("gate=a/b/c")]
#[tokio::test]
async fn a_wrong_filter_is_a_problem(#[case] query: &str) {
    let world = World::new().await;
    let reply = world.get(&format!("/v1/runs?{query}")).await;
    assert!(matches!(reply.status, 400 | 422), "{reply:?}");
    assert!(reply.problem()["field"].is_string(), "{reply:?}");
}

#[tokio::test]
async fn a_run_is_shown_with_its_evidence_under_both_spellings_of_its_id() {
    let world = some_runs().await;
    let id = world.get("/v1/runs?verdict=block").await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    let run = world.get(&format!("/v1/runs/{id}")).await.json();
    assert_eq!((run["kind"].as_str(), run["status"]["verdict"].as_str()), (Some("GateRun"), Some("block")));
    assert_eq!(run["status"]["checks"][0]["summary"], "the script says fail");
    assert_eq!(world.get(&format!("/v1/runs/{}", id.replace('/', "%2F"))).await.json(), run);
    let missing = world.get("/v1/runs/shop/nothing").await;
    assert_eq!(missing.status, 404);
    missing.problem();
}

#[tokio::test]
async fn an_open_run_is_cancelled_once() {
    let world = some_runs().await;
    let id = world.get("/v1/runs?open=true").await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    let reply = world.post(&format!("/v1/runs/{id}/cancel"), &json!({"reason": "not today"})).await;
    assert_eq!((reply.status, reply.json()["verdict"].as_str()), (200, Some("block")), "{reply:?}");
    let run = world.get(&format!("/v1/runs/{id}")).await.json();
    assert_eq!(run["status"]["cancelledBy"], "anonymous", "{run}");
    let again = world.send("DELETE", &format!("/v1/runs/{id}?reason=again"), &[], "").await;
    assert_eq!(again.status, 409, "{again:?}");
    assert_eq!(world.send("DELETE", "/v1/runs/shop%2Fnothing", &[], "").await.status, 404);
}

fn windows() -> Vec<Arc<probegate::windows::Compiled>> {
    let week = json!({
        "apiVersion": "probegate.io/v1alpha1", "kind": "ReleaseWindow", "metadata": {"name": "hours"},
        "spec": {"type": "allow", "timeZone": "Europe/Berlin",
                 "schedule": {"weekly": [{"days": ["mon", "tue", "wed", "thu"], "from": "09:00", "to": "17:00"}]}},
    });
    let stop = json!({
        "apiVersion": "probegate.io/v1alpha1", "kind": "ReleaseWindow", "metadata": {"name": "stop"},
        "spec": {"type": "freeze", "reason": "incident", "ticket": "OPS-1", "owner": "sre",
                 "expires": "2026-11-23T12:00:00Z", "selector": {"targets": ["cart"]}},
    });
    let compiled = |value: Value| {
        let window: ReleaseWindow = serde_json::from_value(value).unwrap();
        Arc::new(compile(&window, &Zones::default(), &[]).unwrap())
    };
    vec![compiled(week), compiled(stop)]
}

#[tokio::test]
async fn windows_say_how_they_stand_and_what_they_mean() {
    let clock = HandClock::at("2026-11-23T10:00:00Z");
    let world = World::with(Setup { windows: windows(), clock: Some(clock), ..Setup::default() }).await;
    let list = world.get("/v1/windows").await.json();
    let of = |name: &str| list["items"].as_array().unwrap().iter().find(|item| item["name"] == name).unwrap().clone();
    assert_eq!(of("hours")["inForce"], true);
    assert_eq!(of("hours")["until"], "2026-11-23T16:00:00Z");
    assert_eq!(of("hours")["next"], "2026-11-24T08:00:00Z");
    assert_eq!((&of("stop")["inForce"], &of("stop")["owner"]), (&json!(true), &json!("sre")));
    let open = world.get("/v1/windows/explain?target=checkout").await.json();
    let keys: Vec<&String> = open.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["allowed", "nextOpening", "reason", "rule", "since", "type", "until"]);
    assert_eq!((&open["allowed"], &open["rule"], &open["type"]), (&json!(true), &json!("hours"), &json!("allow")));
    let frozen = world.get("/v1/windows/explain?target=cart&at=2026-11-23T11:00:00Z").await.json();
    assert_eq!((&frozen["allowed"], &frozen["rule"]), (&json!(false), &json!("stop")), "{frozen}");
    assert_eq!(frozen["nextOpening"], "2026-11-23T12:00:00Z");
    let rollback = world.get("/v1/windows/explain?target=cart&action=rollback").await.json();
    assert_eq!(rollback["allowed"], true, "{rollback}");
    assert_eq!(world.get("/v1/windows/explain?at=noon").await.status, 400);
    assert_eq!(world.get("/v1/windows/explain?label=a=b&label=c").await.problem()["field"], "label");
}
