//! Rights that are taken away, statuses that somebody has written by hand, a process that is killed.

use std::time::Duration;

use kube::api::{Api, Patch, PatchParams};
use probegate::api::{Gate, GateRun};
use serde_json::json;

use super::account::Operator;
use super::program::Program;
use super::{Asker, freeze, is_pass, runs_about, thaw, until, until_frozen};
use crate::cluster::control_plane;
use crate::replicas::program::{gate, token};

#[test]
fn nothing_passes_while_the_operators_rights_are_taken_away_and_what_is_missing_is_named() {
    control_plane().run(|place| async move {
        gate(&place).await;
        let caller = token(&place, "ci", &["check"]).await;
        let operator = Operator::create(&place).await;
        let program = Program::start(operator.kubeconfig.path(), &[&place.namespace], "a");
        program.until_ready().await;
        let asker = Asker { place: &place, program: &program, token: &caller };
        asker.until_pass("v1").await;
        let from = program.loud_lines();

        operator.unbind("all").await;
        until("unready with its reason", async || program.is_unready_because("not allowed to list gates").await).await;
        let answer = asker.never_passes_until("refused", async || program.has_said("not allowed to")).await;
        let reason = answer.as_ref().and_then(|answer| answer["reason"].as_str()).unwrap_or_default().to_owned();
        assert!(reason.contains("not allowed to"), "{answer:?}");
        let (count, message) = program.most_repeated(from);
        assert!(count <= 8, "{count} times: {message}\n{}", program.said());

        operator.bind("all").await;
        program.until_ready().await;
        asker.until_pass("v2").await;
        operator.tidy().await;
    });
}

#[test]
fn what_somebody_writes_into_a_status_by_hand_lets_nothing_through_and_stops_nothing() {
    control_plane().run(|place| async move {
        gate(&place).await;
        freeze(&place).await;
        let caller = token(&place, "ci", &["check"]).await;
        let program = Program::start(&place.kubeconfig, &[&place.namespace], "a");
        program.until_ready().await;
        until_frozen(&place).await;
        let asker = Asker { place: &place, program: &program, token: &caller };
        let held = asker.ask("v1", "1s").await.unwrap();
        assert_eq!(held["verdict"], "wait", "{held}");

        let runs = Api::<GateRun>::namespaced(place.client.clone(), &place.namespace);
        let name = held["id"].as_str().unwrap().split_once('/').unwrap().1.to_owned();
        let nonsense = json!({"status": {
            "verdict": "pass", "reason": "because I say so", "attempt": 7, "plan": {"no": "plan"}, "checks": [],
            "startedAt": "9999-01-01T00:00:00Z", "seenAt": "0001-01-01T00:00:00Z", "measuredMillis": 1,
        }});
        let by_hand = async || {
            let patched = runs.patch_status(&name, &PatchParams::default(), &Patch::Merge(&nonsense)).await;
            patched.unwrap_or_else(|error| panic!("the story's own nonsense is refused: {error}"));
        };
        let gates = Api::<Gate>::namespaced(place.client.clone(), &place.namespace);
        let of_gate = json!({"status": {"lastVerdict": "pass", "lastReason": "by hand", "observedGeneration": 4_000}});
        by_hand().await;
        gates.patch_status("checkout", &PatchParams::default(), &Patch::Merge(&of_gate)).await.unwrap();
        for _ in 0..3 {
            let answer = asker.ask("v1", "1s").await;
            assert!(!is_pass(answer.as_ref()), "{answer:?}");
        }
        // The next leader has nothing but what stands there.
        program.kill();
        by_hand().await;
        until("started again", async || program.starts() == 2).await;
        program.until_ready().await;
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < Duration::from_secs(15) {
            let answer = asker.ask("v1", "1s").await;
            assert!(!is_pass(answer.as_ref()), "{answer:?}\n{}", program.said());
        }
        assert!(!program.has_said("has crashed") && !program.has_said("panicked"), "{}", program.said());
        thaw(&place).await;
        asker.until_pass("v2").await;
        until("the gate's status is mended", async || {
            let status = gates.get("checkout").await.unwrap().status.unwrap_or_default();
            status.observed_generation == Some(1) && status.last_reason.as_deref() != Some("by hand")
        })
        .await;
    });
}

/// What the kernel does to a process that is out of memory, and the node's kubelet afterwards.
#[test]
fn an_operator_that_is_killed_in_mid_run_goes_on_with_that_run_when_it_is_started_again() {
    control_plane().run(|place| async move {
        gate(&place).await;
        freeze(&place).await;
        let caller = token(&place, "ci", &["check"]).await;
        let program = Program::start(&place.kubeconfig, &[&place.namespace], "a");
        program.until_ready().await;
        until_frozen(&place).await;
        let asker = Asker { place: &place, program: &program, token: &caller };
        let held = asker.ask("v1", "1s").await.unwrap();
        assert_eq!(held["verdict"], "wait", "{held}");
        for round in 2..4 {
            program.kill();
            until("started again", async || program.starts() == round).await;
            program.until_ready().await;
            let answer = asker.ask("v1", "1s").await;
            assert!(!is_pass(answer.as_ref()), "{answer:?}");
        }
        thaw(&place).await;
        asker.until_pass("v1").await;
        let runs = runs_about(&place, "v1").await;
        assert_eq!(runs.len(), 1, "the run is the one that was begun: {runs:#?}");
    });
}
