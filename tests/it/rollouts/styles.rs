//! The engine's other forms: blue-green, and the older version of its API.

use probegate::model::{Point, Verdict};
use serde_json::json;

use super::world::{Setting, canary, canary_of, steps, story};

#[test]
fn a_blue_green_release_is_asked_about_at_every_step() {
    let spec = json!({"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
        "strategy": {"paused": true, "blueGreen": {"steps": [{"replicas": "50%", "pause": {}}, {"replicas": "100%", "pause": {}}]}}});
    story(Setting { spec, ..canary(&steps()) }, async |world| {
        world.say(1, Point::Pre, Verdict::Pass);
        world.release("2").await;
        world.until("the first step waits", async || world.waits_at(1).await).await;
        assert_eq!(world.ready_pods("1").await, 4, "blue stays");
        world.say(1, Point::Post, Verdict::Pass);
        world.say(2, Point::Pre, Verdict::Pass);
        world.until("the second step waits", async || world.waits_at(2).await).await;
        world.until("its end is asked about", async || world.was_asked(None, 2, Point::Post)).await;
        world.say(2, Point::Post, Verdict::Pass);
        world.until("it is over", async || world.is_healthy_with("2").await).await;
        assert_eq!(world.bypasses().await, []);
    });
}

#[test]
fn a_rollout_in_the_older_version_is_asked_about_by_its_annotation() {
    let spec = json!({"objectRef": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}},
        "strategy": {"paused": true, "canary": {"steps": [{"replicas": 1, "pause": {}}, {"replicas": 3, "pause": {}}]}}});
    let setting = Setting { version: "v1alpha1", spec, annotated: true, ..canary(&steps()) };
    story(setting, async |world| {
        world.say(1, Point::Pre, Verdict::Pass);
        world.release("2").await;
        world.until("the first step waits", async || world.waits_at(1).await).await;
        world.say_all(Verdict::Pass);
        world.until("it is over", async || world.is_healthy_with("2").await).await;
        assert_eq!(world.bypasses().await, []);
        let run = world.runs().await.into_iter().next().unwrap();
        assert_eq!(run.spec.change.target, "shop", "the gate's target is the workload");
    });
}

#[test]
fn a_stateful_set_goes_through_its_batches_and_is_taken_back() {
    story(canary_of("StatefulSet", &steps()), async |world| {
        world.say_all(Verdict::Pass);
        world.release("2").await;
        world.until("it is over", async || world.is_healthy_with("2").await).await;
        assert!(world.was_asked(None, 3, Point::Post));

        world.until("it rests paused", async || world.status("/spec/strategy/paused").await == json!(true)).await;
        world.forget();
        world.say(1, Point::Pre, Verdict::Pass);
        world.say(1, Point::Post, Verdict::Block);
        world.release("3").await;
        world
            .until("the first batch waits", async || world.waits_at(1).await && world.ready_pods("3").await == 1)
            .await;
        world.release("2").await;
        world.until("it is taken back", async || world.is_healthy_with("2").await).await;
        assert_eq!(world.bypasses().await, []);
    });
}
