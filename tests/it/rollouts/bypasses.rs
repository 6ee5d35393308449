//! Batches that went out without a pass, each in the way that the real engine lets them.

use kube::api::DeleteParams;
use probegate::model::{Point, Verdict};
use serde_json::json;

use super::world::{World, canary, steps, story};

async fn waits_somewhere(world: &World, step: u32) -> bool {
    world.status("/status/canaryStatus/currentStepIndex").await == json!(step)
        && world.status("/status/canaryStatus/currentStepState").await == json!("StepPaused")
}

#[test]
fn a_step_that_went_on_by_itself_while_nobody_looked_is_a_bypass() {
    let open =
        json!([{"replicas": 1, "pause": {"duration": 3}}, {"replicas": 2, "pause": {}}, {"replicas": 3, "pause": {}}]);
    story(canary(&open), async |world| {
        world.say(1, Point::Pre, Verdict::Pass);
        world.release("2").await;
        world.until("it is let out", async || world.status("/spec/strategy/paused").await == json!(false)).await;
        world.stop().await;
        world.until("the second step waits", async || waits_somewhere(&world, 2).await).await;
        world.start();
        world.until("the bypass is recorded", async || !world.bypasses().await.is_empty()).await;
        assert_eq!(world.bypasses().await, [("duration".to_owned(), None)]);
        world.until("the second step is held", async || world.waits_at(2).await).await;
    });
}

#[test]
fn a_jump_over_a_batch_is_a_bypass_of_whoever_took_the_pause_away() {
    story(canary(&steps()), async |world| {
        world.say(1, Point::Pre, Verdict::Pass);
        world.release("2").await;
        world.until("the first batch waits", async || world.waits_at(1).await).await;
        world.stop().await;
        world.person(&json!({"spec": {"strategy": {"paused": false}}}), false).await;
        world
            .until("the third step waits", async || {
                // The engine may write a status that it read a moment before.
                if waits_somewhere(&world, 1).await {
                    world.person(&json!({"status": {"canaryStatus": {"nextStepIndex": 3}}}), true).await;
                }
                waits_somewhere(&world, 3).await
            })
            .await;
        world.start();
        world.until("the bypass is recorded", async || !world.bypasses().await.is_empty()).await;
        assert_eq!(world.bypasses().await, [("jump".to_owned(), Some("alice".to_owned()))]);
        world.until("the third step is held", async || world.waits_at(3).await).await;
    });
}

#[test]
fn a_step_that_was_made_larger_while_its_batch_was_under_way_is_a_bypass() {
    story(canary(&steps()), async |world| {
        world.say(1, Point::Pre, Verdict::Pass);
        world.release("2").await;
        let state = async || world.status("/status/canaryStatus/currentStepState").await;
        world.until("its batch is under way", async || state().await == json!("StepUpgrade")).await;
        world.forget();
        let larger = json!([{"replicas": 2, "pause": {}}, {"replicas": 3, "pause": {}}, {"replicas": 3, "pause": {}}]);
        world.person(&json!({"spec": {"strategy": {"canary": {"steps": larger}}}}), false).await;
        world.until("the bypass is recorded", async || !world.bypasses().await.is_empty()).await;
        assert_eq!(world.bypasses().await, [("editedStep".to_owned(), Some("alice".to_owned()))]);
        world.until("the step waits", async || world.waits_at(1).await && world.ready_pods("2").await == 2).await;
    });
}

#[test]
fn a_rollout_that_was_deleted_while_nobody_looked_is_found_by_its_open_run() {
    story(canary(&steps()), async |world| {
        world.say(1, Point::Pre, Verdict::Pass);
        world.release("2").await;
        world.until("the first batch waits", async || world.waits_at(1).await).await;
        world.until("it is asked about", async || world.was_asked(None, 1, Point::Post)).await;
        world.stop().await;
        world.rollouts().delete("shop-rollout", &DeleteParams::default()).await.unwrap();
        world.until("it is gone", async || world.rollout().await.is_null()).await;
        world.start();
        world.until("the bypass is recorded", async || !world.bypasses().await.is_empty()).await;
        assert_eq!(world.bypasses().await, [("deleted".to_owned(), None)]);
    });
}
