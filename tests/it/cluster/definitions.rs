//! What a real API server makes of the definitions in `deploy/crds`.

use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use rstest::rstest;
use serde_json::{Value, json};

use super::{Place, control_plane, definition_files};

const KINDS: [(&str, &str); 5] = [
    ("Gate", "gates"),
    ("GateRun", "gateruns"),
    ("Override", "overrides"),
    ("Probe", "probes"),
    ("ReleaseWindow", "releasewindows"),
];

fn api(place: &Place, kind: &str) -> Api<DynamicObject> {
    let plural = KINDS.iter().find(|(name, _)| *name == kind).unwrap().1;
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("probegate.io", "v1alpha1", kind), plural);
    Api::namespaced_with(place.client.clone(), &place.namespace, &resource)
}

fn object(kind: &str, spec: &Value) -> DynamicObject {
    let body = json!({"apiVersion": "probegate.io/v1alpha1", "kind": kind, "metadata": {"name": "a"}, "spec": spec});
    serde_json::from_value(body).unwrap()
}

fn run() -> Value {
    json!({
        "gate": "checkout", "point": "post", "batch": {"index": 2, "total": 5, "percent": 10},
        "change": {"id": "c-17", "target": "checkout", "revision": "v42", "action": "release", "actor": "ci"}
    })
}

fn exception() -> Value {
    json!({
        "gate": "checkout", "change": "c-17", "effect": "pass", "reason": "known", "actor": "ann",
        "expires": "2099-01-01T00:00:00Z"
    })
}

fn gate(check: &Value) -> Value {
    json!({"target": {"names": ["checkout"]}, "post": {"checks": [check]}})
}

#[test]
fn every_definition_is_accepted_without_a_warning() {
    let warnings = control_plane().run(|place| async move {
        let mut warnings = Vec::new();
        for definition in definition_files() {
            let name = definition["metadata"]["name"].as_str().unwrap();
            let path = format!(
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}?fieldManager=probegate-tests&force=true&dryRun=All"
            );
            let request = hyper::Request::patch(path)
                .header("Content-Type", "application/apply-patch+yaml")
                .body(kube::client::Body::from(serde_json::to_vec(&definition).unwrap()))
                .unwrap();
            let answer = place.client.send(request).await.unwrap();
            assert!(answer.status().is_success(), "{name}: {}", answer.status());
            warnings.extend(answer.headers().get_all("Warning").iter().map(|text| text.to_str().unwrap().to_owned()));
        }
        warnings
    });
    assert_eq!(warnings, Vec::<String>::new());
}

#[rstest]
#[case::run("GateRun", run())]
#[case::exception("Override", exception())]
#[case::gate("Gate", gate(&json!({"name": "errors", "metric": {"query": "up", "max": 0.01}})))]
#[case::gate_text("Gate", gate(&json!({"name": "errors", "metric": {"query": "up", "min": "1e-3"}})))]
#[case::window("ReleaseWindow", json!({"type": "freeze", "reason": "quiet", "schedule": {"dates": [{"day": "2026-05-01"}]}}))]
#[case::probe("Probe", json!({"http": {"url": "https://shop/healthz", "expect": {"json": [{"path": "$.ok", "equals": true}]}}, "latency": {"timesUsual": 3}}))]
fn a_sound_resource_is_taken(#[case] kind: &'static str, #[case] spec: Value) {
    control_plane().run(|place| async move {
        api(&place, kind).create(&PostParams::default(), &object(kind, &spec)).await.unwrap();
    });
}

#[rstest]
#[case::batch("GateRun", {let mut spec = run(); spec["batch"]["index"] = json!(6); spec}, "batch.index is larger than batch.total")]
#[case::both("Override", {let mut spec = exception(); spec["window"] = json!("w"); spec}, "exactly one of gate and window")]
#[case::two_kinds("Gate", gate(&json!({"name": "a", "window": {}, "rule": "rules/a.rhai"})), "exactly one of")]
#[case::no_threshold("Gate", gate(&json!({"name": "a", "metric": {"query": "up"}})), "metric.max")]
#[case::json_both("Probe", json!({"http": {"url": "https://shop/", "expect": {"json": [{"path": "$", "equals": 1, "matches": "1"}]}}}), "json[0]")]
#[case::no_latency("Probe", json!({"tcp": {"address": "shop:1"}, "latency": {}}), "latency")]
#[case::no_kind("Probe", json!({"interval": "5s"}), "exactly one of")]
fn what_makes_no_sense_is_refused(#[case] kind: &'static str, #[case] spec: Value, #[case] message: &str) {
    let error = control_plane().run(|place| async move {
        api(&place, kind).create(&PostParams::default(), &object(kind, &spec)).await.unwrap_err().to_string()
    });
    assert!(error.contains(message), "{error}");
}

#[rstest]
#[case("GateRun", run(), json!({"spec": {"gate": "other"}}), "a run's spec is immutable")]
#[case("Override", exception(), json!({"spec": {"reason": "another"}}), "an override's spec is immutable")]
fn what_must_not_change_does_not(
    #[case] kind: &'static str,
    #[case] spec: Value,
    #[case] patch: Value,
    #[case] message: &str,
) {
    let error = control_plane().run(|place| async move {
        let api = api(&place, kind);
        api.create(&PostParams::default(), &object(kind, &spec)).await.unwrap();
        let labels = json!({"metadata": {"labels": {"tier": "web"}}});
        api.patch("a", &PatchParams::default(), &Patch::Merge(&labels)).await.unwrap();
        api.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap_err().to_string()
    });
    assert!(error.contains(message), "{error}");
}

#[test]
fn a_shared_cluster_answers_every_test_in_a_namespace_of_its_own() {
    let (one, two) = (
        control_plane().run(|place| async move { place.namespace }),
        control_plane().run(|place| async move { place.namespace }),
    );
    assert_ne!(one, two);
}

#[test]
fn a_killed_test_leaves_no_cluster_behind() {
    // What the keeper does when its input ends is what it does when the whole process is killed.
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("tidied");
    let keeper = super::keeper::Keeper::start("touch \"$1\"", &[&mark.to_string_lossy()]).unwrap();
    assert!(!mark.exists());
    drop(keeper);
    let begun = std::time::Instant::now();
    while !mark.exists() && begun.elapsed() < Duration::from_secs(20) {
        std::thread::yield_now();
    }
    assert!(mark.exists());
}
