//! What happens to revisions on their way through the batches.

use std::time::Duration;

use kube::api::DeleteParams;
use probegate::api::ConditionStatus;
use probegate::model::{Point, Verdict};
use probegate::operator::rollouts::{LETS_OUT_UNGATED, ROLLOUT_HELD};
use serde_json::json;

use super::world::{Setting, canary, steps, story};

/// Long enough for the engine to do what it must not do: it begins a batch 3 s after it may.
const LONG_ENOUGH: Duration = Duration::from_secs(8);

#[test]
fn a_good_revision_goes_through_all_batches_and_each_is_asked_about() {
    story(canary(&steps()), async |world| {
        world.release("2").await;
        world.until("the first batch is asked about", async || world.was_asked(None, 1, Point::Pre)).await;
        tokio::time::sleep(LONG_ENOUGH).await;
        assert_eq!(world.ready_pods("2").await, 0, "nothing goes out before the gate has passed");

        world.say(1, Point::Pre, Verdict::Pass);
        world.until("the first batch waits", async || world.waits_at(1).await).await;
        assert_eq!(world.ready_pods("2").await, 1);
        world.say(1, Point::Post, Verdict::Pass);
        world.until("the second batch is asked about", async || world.was_asked(None, 2, Point::Pre)).await;
        world.say_all(Verdict::Pass);

        world.until("the release is over", async || world.is_healthy_with("2").await).await;
        world.until("it rests paused", async || world.status("/spec/strategy/paused").await == json!(true)).await;
        let asked: Vec<_> = world.gate.asked.lock().unwrap().iter().map(|(_, batch, point)| (*batch, *point)).collect();
        let expected =
            [(1, Point::Pre), (1, Point::Post), (2, Point::Pre), (2, Point::Post), (3, Point::Pre), (3, Point::Post)];
        assert_eq!(asked, expected);
        assert_eq!(world.bypasses().await, []);
        let run = world.runs().await.into_iter().next().unwrap();
        assert_eq!(run.spec.change.actor, "kruise (developer)");
        assert_eq!((run.spec.change.target.as_str(), run.spec.batch.total), ("shop-rollout", 3));
        assert_eq!(
            world.events().await.iter().filter(|reason| *reason == "LetOut").count(),
            4,
            "three batches and the end"
        );
    });
}

#[test]
fn a_bad_revision_is_held_at_its_first_batch_and_a_rollback_is_let_go_at_once() {
    story(canary(&steps()), async |world| {
        world.say(1, Point::Pre, Verdict::Pass);
        world.say(1, Point::Post, Verdict::Block);
        world.release("2").await;
        world
            .until("it is told why", async || {
                let told = world.status("/metadata/annotations/probegate.io~1verdict").await;
                told.as_str()
                    .is_some_and(|told| told.starts_with("block: post of batch 1 of 3 at gate shop: as the test says"))
            })
            .await;
        tokio::time::sleep(LONG_ENOUGH).await;
        assert!(world.waits_at(1).await);
        assert_eq!((world.ready_pods("1").await, world.ready_pods("2").await), (3, 1));
        assert_eq!(world.events().await.iter().filter(|reason| *reason == "Blocked").count(), 1, "told once");
        let gate = world.gate_api().get("shop").await.unwrap();
        let held = gate.status.unwrap().conditions.into_iter().find(|one| one.kind == ROLLOUT_HELD).unwrap();
        assert_eq!(held.status, ConditionStatus::True);
        assert!(held.message.contains("block: post of batch 1"), "{}", held.message);

        world.release("1").await;
        world.until("it is rolled back", async || world.is_healthy_with("1").await).await;
        world.until("it rests paused", async || world.status("/spec/strategy/paused").await == json!(true)).await;
        assert_eq!(world.gate.asked.lock().unwrap().len(), 2, "nobody is asked about a rollback");
        assert_eq!(world.bypasses().await, []);
    });
}

#[test]
fn a_rollback_waits_for_nothing_but_a_freeze_that_names_it() {
    let windows = json!([{"name": "window", "window": {}}]);
    story(Setting { checks: windows, ..canary(&steps()) }, async |world| {
        world.say(1, Point::Pre, Verdict::Pass);
        world.release("2").await;
        // Only once the engine has taken note of the pause does it hold a rollback as well.
        let paused = json!("Rollout has been paused, you can resume it by kube-cli");
        let stopped = async || world.waits_at(1).await && world.status("/status/message").await == paused;
        world.until("the first batch waits", stopped).await;
        world.forget();
        world.release("1").await;
        world
            .until("it is told what holds the rollback", async || {
                let told = world.status("/metadata/annotations/probegate.io~1verdict").await;
                told.as_str().is_some_and(|told| told.starts_with("held: a freeze names rollbacks: run "))
            })
            .await;
        tokio::time::sleep(LONG_ENOUGH).await;
        assert_eq!((world.ready_pods("1").await, world.ready_pods("2").await), (3, 1));
        world.say(1, Point::Pre, Verdict::Pass);
        world.until("it is rolled back", async || world.is_healthy_with("1").await).await;
        assert_eq!(world.bypasses().await, []);
    });
}

#[test]
fn a_gate_that_rolls_back_puts_the_stable_template_back() {
    story(Setting { on_block: "rollback", ..canary(&steps()) }, async |world| {
        world.say(1, Point::Pre, Verdict::Pass);
        world.say(1, Point::Post, Verdict::Block);
        world.release("2").await;
        world.until("it is put back", async || world.events().await.contains(&"RolledBack".to_owned())).await;
        world.until("all pods are old", async || world.is_healthy_with("1").await).await;
        let shop = world.workloads().get("shop").await.unwrap();
        let why = &shop.metadata.annotations.unwrap()["probegate.io/verdict"];
        assert!(why.starts_with("block: post of batch 1 of 3"), "{why}");
    });
}

#[test]
fn a_new_revision_in_mid_release_begins_anew_at_its_first_question() {
    story(canary(&steps()), async |world| {
        world.say(1, Point::Pre, Verdict::Pass);
        world.release("2").await;
        world.until("the first batch waits", async || world.waits_at(1).await).await;
        let old = world.gate.asked.lock().unwrap()[0].0.clone();
        world.forget();
        world.release("3").await;
        let is_new = |revision: &str| revision != old;
        world
            .until("the new revision is asked about", async || {
                world
                    .gate
                    .asked
                    .lock()
                    .unwrap()
                    .iter()
                    .any(|(of, batch, at)| is_new(of) && (*batch, *at) == (1, Point::Pre))
            })
            .await;
        tokio::time::sleep(LONG_ENOUGH).await;
        assert_eq!(world.ready_pods("3").await, 0, "it is held");
        world.say(1, Point::Pre, Verdict::Pass);
        world.until("its first batch is out", async || world.ready_pods("3").await == 1).await;
        world.say_all(Verdict::Pass);
        world.until("it is over", async || world.is_healthy_with("3").await).await;
        assert_eq!(world.bypasses().await, []);
    });
}

#[test]
fn a_persons_approval_is_a_bypass_on_the_run_with_a_name() {
    story(canary(&steps()), async |world| {
        world.say(1, Point::Pre, Verdict::Pass);
        world.release("2").await;
        world.until("the first batch waits", async || world.waits_at(1).await).await;
        world.until("it is asked about", async || world.was_asked(None, 1, Point::Post)).await;
        world.person(&json!({"status": {"canaryStatus": {"currentStepState": "StepReady"}}}), true).await;
        tokio::time::sleep(LONG_ENOUGH).await;
        assert_eq!(world.ready_pods("2").await, 1, "the word alone lets nothing out");
        world.person(&json!({"spec": {"strategy": {"paused": false}}}), false).await;
        world.until("the bypass is recorded", async || !world.bypasses().await.is_empty()).await;
        assert_eq!(world.bypasses().await, [("approval".to_owned(), Some("alice".to_owned()))]);
        world.until("the second batch waits", async || world.waits_at(2).await).await;
        assert!(world.events().await.contains(&"Bypassed".to_owned()));
    });
}

#[test]
fn the_next_operator_goes_on_where_the_last_one_was() {
    story(canary(&steps()), async |world| {
        world.say(1, Point::Pre, Verdict::Pass);
        world.release("2").await;
        world.until("the first batch waits", async || world.waits_at(1).await).await;
        world.stop().await;
        world.say_all(Verdict::Pass);
        tokio::time::sleep(LONG_ENOUGH).await;
        assert!(world.waits_at(1).await, "without an operator nothing moves");
        world.start();
        world.until("it is over", async || world.is_healthy_with("2").await).await;
        assert_eq!(world.bypasses().await, []);
    });
}

#[test]
fn what_the_spec_lets_out_is_a_warning_on_the_gate_beforehand() {
    let open = json!([{"replicas": 1, "pause": {"duration": 5}}, {"replicas": "100%", "pause": {}}]);
    story(canary(&open), async |world| {
        world
            .until("the gate warns", async || {
                let gate = world.gate_api().get("shop").await.unwrap();
                let conditions = gate.status.map(|status| status.conditions).unwrap_or_default();
                conditions.iter().any(|one| {
                    one.kind == LETS_OUT_UNGATED
                        && one.message.contains("step 1 goes on by itself after 5 s")
                        && one.message.contains("step 2 is the last one with replicas 100%")
                })
            })
            .await;
        world.say(1, Point::Pre, Verdict::Pass);
        world.release("2").await;
        world.until("the first batch waits", async || world.waits_at(1).await).await;
        tokio::time::sleep(LONG_ENOUGH).await;
        assert!(world.waits_at(1).await, "the pause holds a step that would go on by itself");
        world.say_all(Verdict::Pass);
        world.until("it is over", async || world.is_healthy_with("2").await).await;
    });
}

#[test]
fn a_disabled_rollout_is_a_bypass() {
    story(canary(&steps()), async |world| {
        world.say(1, Point::Pre, Verdict::Pass);
        world.release("2").await;
        world.until("the first batch waits", async || world.waits_at(1).await).await;
        world.until("it is asked about", async || world.was_asked(None, 1, Point::Post)).await;
        world.person(&json!({"spec": {"disabled": true}}), false).await;
        world.until("the bypass is recorded", async || !world.bypasses().await.is_empty()).await;
        assert_eq!(world.bypasses().await, [("disabled".to_owned(), Some("alice".to_owned()))]);
    });
}

#[test]
fn a_deleted_rollout_is_a_bypass() {
    story(canary(&steps()), async |world| {
        world.say(1, Point::Pre, Verdict::Pass);
        world.release("2").await;
        world.until("the first batch waits", async || world.waits_at(1).await).await;
        world.until("it is asked about", async || world.was_asked(None, 1, Point::Post)).await;
        world.rollouts().delete("shop-rollout", &DeleteParams::default()).await.unwrap();
        world.until("the bypass is recorded", async || !world.bypasses().await.is_empty()).await;
        assert_eq!(world.bypasses().await[0].0, "deleted");
    });
}
