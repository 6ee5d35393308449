//! Flagger's webhooks: the recorded exchange, and releases that end well and badly.

use std::sync::Arc;

use probegate::api::GateRun;
use probegate::model::{Outcome, Verdict};
use probegate::store::{Query, StoreExt};
use rstest::rstest;
use serde_json::{Value, json};

use super::world::{HandClock, Reply, Setup, World};

const RECORDED: &str = include_str!("../../data/exchanges/flagger-1.44.jsonl");

/// One tick's call, as Flagger sends it.
async fn call(world: &World, hook: &str, phase: &str, checksum: &str) -> Reply {
    let body = json!({"name": "fl", "namespace": "default", "phase": phase, "checksum": checksum});
    let headers =
        [("user-agent", "Go-http-client/1.1"), ("content-type", "application/json"), ("accept-encoding", "gzip")];
    let reply = world.send("POST", &format!("/hooks/flagger/shop/fl/{hook}"), &headers, &body.to_string()).await;
    assert!(matches!(reply.status, 200 | 403), "Flagger knows no other: {reply:?}");
    assert!(!reply.body.is_empty() && reply.body.len() < 600, "short and useful: {reply:?}");
    reply
}

async fn status(world: &World, hook: &str, phase: &str, checksum: &str) -> u16 {
    call(world, hook, phase, checksum).await.status
}

fn run_of(reply: &Reply) -> &str {
    reply.body.split("[run ").nth(1).and_then(|rest| rest.split(']').next()).unwrap_or_else(|| panic!("{reply:?}"))
}

#[tokio::test]
async fn the_recorded_exchange_is_answered_as_it_was() {
    let began: jiff::Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let clock = HandClock::at("2026-11-21T12:00:00Z");
    let world = World::with(Setup { clock: Some(clock.clone()), ..Setup::default() }).await;
    // The second revision was refused at `rollout` three times, and never rolled back by us.
    world.script.say("7585b45c98/post/1", Outcome::Pending);
    for (number, line) in RECORDED.lines().enumerate() {
        let recorded: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| recorded[key].as_str().unwrap();
        let headers: Vec<(&str, &str)> =
            recorded["headers"].as_object().unwrap().iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap())).collect();
        let path = format!("/hooks/flagger/shop/fl/{}", text("type"));
        clock.set(began + jiff::SignedDuration::from_secs_f64(recorded["seconds"].as_f64().unwrap()));
        let reply = world.send(text("method"), &path, &headers, text("body")).await;
        assert_eq!(Value::from(reply.status), recorded["answered"], "line {}: {line}\n{reply:?}", number + 1);
    }
    let runs = world.store.list_as::<GateRun>(&Query::default()).await.unwrap().items;
    let mut asked: Vec<String> = runs
        .iter()
        .map(|run| {
            let spec = &run.spec;
            format!("{} {} {}/{}", spec.change.id, spec.change.revision, spec.point, spec.batch.index)
        })
        .collect();
    asked.sort();
    assert_eq!(
        asked,
        [
            "fl-after-559446c4f7 559446c4f7 post/1",
            "fl-after-559446c4f7 559446c4f7 pre/1",
            "fl-after-559446c4f7 7585b45c98 post/1",
            "fl-after-559446c4f7 7585b45c98 pre/1",
            "fl-after-559446c4f7 after-559446c4f7 pre/1",
            "fl-after-559446c4f7 after-559446c4f7 pre/1",
        ],
        "every question has one run, however often it is asked"
    );
}

#[tokio::test]
async fn a_release_is_held_let_in_let_out_step_by_step_and_promoted() {
    let world = World::new().await;
    world.script.say("after-old/pre/1", Outcome::Pending);
    let first = call(&world, "confirm-rollout", "Succeeded", "old").await;
    let second = call(&world, "confirm-rollout", "Succeeded", "old").await;
    assert_eq!((first.status, second.status), (403, 403));
    assert_eq!(run_of(&first), run_of(&second), "the next tick finds the same run");
    world.script.say("after-old/pre/1", Outcome::Pass);
    assert_eq!(status(&world, "confirm-rollout", "Succeeded", "old").await, 200);
    // Weight 0: nothing is out yet, so the first step is asked about before it.
    assert_eq!(status(&world, "rollback", "Progressing", "new").await, 403);
    assert_eq!(status(&world, "confirm-traffic-increase", "Progressing", "new").await, 200);
    // The first step is out: it is measured, and holds meanwhile.
    world.script.say("new/post/1", Outcome::Pending);
    let held = call(&world, "confirm-traffic-increase", "Progressing", "new").await;
    assert!(held.status == 403 && held.body.starts_with("wait: "), "{held:?}");
    assert_eq!(status(&world, "rollback", "Progressing", "new").await, 403);
    let again = call(&world, "confirm-traffic-increase", "Progressing", "new").await;
    assert_eq!(run_of(&held), run_of(&again));
    world.script.say("new/post/1", Outcome::Pass);
    assert_eq!(status(&world, "confirm-traffic-increase", "Progressing", "new").await, 200);
    // The second step is the last: at full weight the same question comes from both hooks.
    let full = call(&world, "confirm-traffic-increase", "Progressing", "new").await;
    let promotion = call(&world, "confirm-promotion", "Progressing", "new").await;
    assert_eq!((full.status, promotion.status), (200, 200));
    assert_eq!(run_of(&full), run_of(&promotion), "the last batch is judged once");
    assert_eq!(call(&world, "confirm-promotion", "Progressing", "new").await.status, 200, "asked again after a pass");
    assert_eq!(status(&world, "post-rollout", "Succeeded", "new").await, 200);
    let runs = world.store.list_as::<GateRun>(&Query::default()).await.unwrap().items;
    assert!(runs.iter().all(|run| run.spec.change.id == "fl-after-old"), "one release is one change");
    assert!(runs.iter().all(|run| run.spec.change.labels["namespace"] == "default"));
}

#[tokio::test]
async fn a_block_ends_the_release_and_the_next_one_begins_anew() {
    let world = World::new().await;
    assert_eq!(status(&world, "confirm-traffic-increase", "Progressing", "bad").await, 200);
    world.script.say("bad/post/1", Outcome::Fail);
    let blocked = call(&world, "confirm-traffic-increase", "Progressing", "bad").await;
    assert!(blocked.status == 403 && blocked.body.starts_with("block: "), "{blocked:?}");
    let executions = world.script.executions();
    let rollback = call(&world, "rollback", "Progressing", "bad").await;
    assert!(rollback.status == 200 && rollback.body.starts_with("roll back: "), "{rollback:?}");
    assert_eq!(run_of(&rollback), run_of(&blocked));
    assert_eq!(world.script.executions(), executions, "a rollback measures nothing");
    // The block stands against that revision, and the next change carries its checksum for a while.
    for phase in ["Failed", "Waiting", "Succeeded", "Initialized"] {
        assert_eq!(status(&world, "rollback", phase, "bad").await, 403, "{phase}");
    }
    assert_eq!(status(&world, "confirm-rollout", "Failed", "bad").await, 200);
    assert_eq!(status(&world, "rollback", "Progressing", "good").await, 403);
    assert_eq!(status(&world, "confirm-promotion", "Progressing", "good").await, 200);
}

#[tokio::test]
async fn a_restart_in_mid_release_goes_on_where_it_was() {
    let world = World::new().await;
    assert_eq!(status(&world, "confirm-traffic-increase", "Progressing", "new").await, 200);
    assert_eq!(status(&world, "confirm-traffic-increase", "Progressing", "new").await, 200);
    let store = world.stop().await;
    let world = World::with(Setup { store: Some(store), ..Setup::default() }).await;
    world.script.say("new/post/2", Outcome::Pending);
    assert_eq!(status(&world, "confirm-traffic-increase", "Progressing", "new").await, 403);
    let runs = world.store.list_as::<GateRun>(&Query::default()).await.unwrap().items;
    let open = runs.iter().find(|run| run.status.as_ref().unwrap().verdict == Verdict::Wait).unwrap();
    assert_eq!(open.spec.batch.index, 2);
}

#[tokio::test]
async fn a_verdict_that_came_between_two_ticks_is_handed_out_at_the_next() {
    let world = World::new().await;
    assert_eq!(status(&world, "confirm-traffic-increase", "Progressing", "new").await, 200);
    world.script.say("new/post/1", Outcome::Pending);
    let held = call(&world, "confirm-traffic-increase", "Progressing", "new").await;
    world.script.say("new/post/1", Outcome::Pass);
    let id = run_of(&held).to_owned();
    super::world::until("the run is decided", async || {
        world.get(&format!("/v1/runs/{id}")).await.json()["status"]["verdict"] == "pass"
    })
    .await;
    let out = call(&world, "confirm-traffic-increase", "Progressing", "new").await;
    assert_eq!((out.status, run_of(&out)), (200, id.as_str()), "the pass is not skipped over");
}

#[tokio::test]
async fn an_override_lifts_a_block_before_it_rolls_back() {
    let world = World::new().await;
    assert_eq!(status(&world, "confirm-promotion", "Progressing", "new").await, 200);
    world.script.say("slow/post/1", Outcome::Fail);
    assert_eq!(status(&world, "confirm-promotion", "Progressing", "slow").await, 403);
    assert_eq!(status(&world, "rollback", "Progressing", "slow").await, 200);
    let expires = jiff::Timestamp::from_second(4_000_000_000).unwrap();
    let far = json!({"gate": "shop/fl", "change": "fl-slow", "effect": "pass", "reason": "known", "expires": expires});
    assert_eq!(world.post("/v1/overrides", &far).await.status, 422, "too far away");
    let soon = {
        use probegate::clock::Clock;
        probegate::clock::SystemClock::new().now() + jiff::SignedDuration::from_hours(1)
    };
    let one = json!({"gate": "shop/fl", "change": "fl-slow", "effect": "pass", "reason": "known", "expires": soon});
    let made = world.post("/v1/overrides", &one).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(status(&world, "rollback", "Progressing", "slow").await, 403, "the question is asked again first");
    super::world::until("the override counts", async || {
        status(&world, "confirm-promotion", "Progressing", "slow").await == 200
    })
    .await;
    assert_eq!(status(&world, "rollback", "Progressing", "slow").await, 403);
}

#[rstest]
#[case("confirm-rollout", 403)]
#[case("pre-rollout", 403)]
#[case("rollout", 403)]
#[case("confirm-traffic-increase", 403)]
#[case("confirm-promotion", 403)]
#[case("rollback", 403)]
#[case("event", 200)]
#[case("post-rollout", 200)]
#[tokio::test]
async fn an_unknown_gate_holds_and_never_rolls_back(#[case] hook: &str, #[case] status: u16) {
    let world = World::new().await;
    let body = json!({"name": "fl", "namespace": "default", "phase": "Progressing", "checksum": "c"});
    let reply = world.post(&format!("/hooks/flagger/shop/nowhere/{hook}"), &body).await;
    assert_eq!(reply.status, status, "{reply:?}");
}

#[rstest]
#[case("rolback", json!({"name": "fl", "namespace": "d", "phase": "Progressing", "checksum": "c"}), "rollback")]
#[case("rollback", json!({"name": "fl", "namespace": "d", "phase": "Progressing"}), "checksum")]
#[case("confirm-rollout", json!({"name": "", "namespace": "d", "phase": "Progressing", "checksum": "c"}), "name")]
#[tokio::test]
async fn what_cannot_be_read_is_a_403_that_says_why(#[case] hook: &str, #[case] body: Value, #[case] named: &str) {
    let world = World::new().await;
    let reply = world.post(&format!("/hooks/flagger/shop/fl/{hook}"), &body).await;
    assert!(reply.status == 403 && reply.problem().to_string().contains(named), "{reply:?}");
}

#[tokio::test]
async fn metadata_describe_the_batch_and_label_the_change() {
    let world = World::new().await;
    let metadata = json!({"total": "4", "stepWeight": "15", "tier": "web"});
    let body =
        json!({"name": "fl", "namespace": "test", "phase": "Progressing", "checksum": "c", "metadata": metadata});
    let reply = world.post("/hooks/flagger/shop/fl/confirm-promotion", &body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let run = world.get(&format!("/v1/runs/{}", run_of(&reply))).await.json();
    assert_eq!(run["spec"]["batch"], json!({"index": 1, "total": 4, "percent": 15}));
    assert_eq!(run["spec"]["change"]["labels"], json!({"namespace": "test", "tier": "web"}));
    assert_eq!(run["spec"]["change"]["cluster"], "eu-1");
}

#[tokio::test]
async fn events_are_kept_and_counted() {
    let world = Arc::new(World::new().await);
    assert_eq!(status(&world, "event", "Progressing", "c").await, 200);
    let metrics = world.probe("/metrics").await.body;
    let hook = r#"probegate_hook_answers_total{caller="flagger",hook="event",verdict="pass"} 1"#;
    let audit = r#"probegate_audit_events_total{what="flagger-event",outcome="done"} 1"#;
    assert!(metrics.contains(hook) && metrics.contains(audit), "{metrics}");
}
