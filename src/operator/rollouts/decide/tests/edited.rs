//! Plans that are edited at a moment at which nothing has gone out yet.

use serde_json::{Value, json};

use crate::api::ANNOTATION_RELEASE;
use crate::model::{OnBlock, Point};
use crate::operator::rollouts::adapter::Adapter;
use crate::operator::rollouts::decide::{Action, Answers, GateView, Next, View, decide};
use crate::operator::rollouts::kruise::Kruise;
use crate::operator::rollouts::record::Record;

fn rollout(first_step: u64, paused: bool, reason: &str, record: Option<&Record>) -> Value {
    let annotations = record.map(|record| json!({ANNOTATION_RELEASE: record.write()})).unwrap_or_default();
    json!({
        "apiVersion": "rollouts.kruise.io/v1beta1", "kind": "Rollout",
        "metadata": {"name": "shop", "namespace": "n", "resourceVersion": "1", "generation": 1, "annotations": annotations},
        "spec": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
            "strategy": {"paused": paused, "canary": {"steps": [{"replicas": first_step}, {"replicas": 3}]}}},
        "status": {"observedGeneration": 1, "phase": "Progressing",
            "conditions": [{"type": "Progressing", "reason": reason, "status": "True"}],
            "canaryStatus": {"currentStepIndex": 1, "currentStepState": "BeforeStepUpgrade", "canaryRevision": "b",
                "stableRevision": "a", "observedWorkloadGeneration": 2}},
    })
}

fn next(rollout: &Value) -> Next {
    let deployment = json!({"kind": "Deployment", "metadata": {"name": "shop", "namespace": "n", "generation": 2},
        "spec": {"replicas": 4, "template": {"spec": {"containers": [{"image": "shop:2"}]}}}});
    let seen = Kruise.observe(rollout, Some(&deployment), &[]);
    let gate =
        GateView { name: "g".into(), missing: false, pre: true, post: true, windows: false, on_block: OnBlock::Hold };
    decide(&View { seen: &seen, gates: &[gate], answers: &Answers::new(), hand: None })
}

#[test]
fn a_plan_that_was_edited_after_it_was_let_out_and_before_it_began_is_held_and_asked_about_anew() {
    let Next::Do(Action::Note(first)) = next(&rollout(1, true, "Paused", None)) else { panic!("it is noted") };
    let let_out = Record { batch: 1, percent: 25, ..first };
    assert_eq!(next(&rollout(4, false, "Initializing", Some(&let_out))), Next::Do(Action::Hold));
    let Next::Ask(asks) = next(&rollout(4, true, "Paused", Some(&let_out))) else { panic!("it is asked about") };
    assert_eq!((asks.len(), asks[0].batch, asks[0].point), (1, 1, Point::Pre));
    assert_ne!(asks[0].change, let_out.change, "verdicts about the old plan do not count");
}
