//! A bit of everything that the operator does, so that its rights can be held against it.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use probegate::api::{Gate, GateRun, Override, Probe, ReleaseWindow};
use probegate::clock::{Clock, SystemClock};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::program::token;
use crate::cluster::Place;
use crate::rollouts::world::convert_versions;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never {what}"));
}

fn api(place: &Place, group: &str, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    Api::namespaced_with(place.client.clone(), &place.namespace, &resource)
}

async fn create(api: &Api<DynamicObject>, object: &Value) {
    let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

fn of_ours(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "probegate.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// Does it, in the story's namespace; the gate `checkout` is there. `url` is where the operator answers.
pub async fn is_done(place: &Place, url: &str) {
    targets_are_found(place).await;
    a_run_that_somebody_creates_is_taken_up(place).await;
    overrides_are_made_and_taken_back(place, url).await;
    a_rollout_is_let_out_and_put_back(place).await;
}

/// Probes whose targets stand in the cluster, of every kind.
async fn targets_are_found(place: &Place) {
    let probes = api(place, "probegate.io", "v1alpha1", "Probe", "probes");
    let ingress = api(place, "networking.k8s.io", "v1", "Ingress", "ingresses");
    let service = api(place, "", "v1", "Service", "services");
    let spec = json!({"selector": {"app": "shop"}, "ports": [{"name": "http", "port": 80}]});
    create(&service, &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}, "spec": spec})).await;
    let backend = json!({"service": {"name": "shop", "port": {"number": 80}}});
    let rules =
        json!([{"host": "shop.example", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]);
    let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "shop"}, "spec": {"rules": rules}});
    create(&ingress, &object).await;
    for (name, kind, targets) in [
        ("by-service", json!({"tcp": {}}), json!({"service": "shop"})),
        ("by-endpoints", json!({"tcp": {}}), json!({"endpoints": "shop", "port": "http"})),
        ("by-pods", json!({"tcp": {}}), json!({"pods": {"matchLabels": {"app": "shop"}}, "port": "80"})),
        ("by-nodes", json!({"tcp": {}}), json!({"nodes": {}})),
        ("by-ingress", json!({"http": {}}), json!({"ingress": "shop"})),
    ] {
        let mut spec = kind;
        spec["targets"] = targets;
        create(&probes, &of_ours("Probe", name, &spec)).await;
    }
    let all = Api::<Probe>::namespaced(place.client.clone(), &place.namespace);
    until("a probe has a status", async || all.get("by-service").await.unwrap().status.is_some()).await;
}

/// It gets its labels, and a verdict.
async fn a_run_that_somebody_creates_is_taken_up(place: &Place) {
    let spec = json!({
        "gate": "checkout", "point": "pre", "batch": {"index": 1, "total": 1, "percent": 100},
        "change": {"id": "c-by-hand", "target": "checkout", "revision": "by-hand", "action": "release", "actor": "alice"},
    });
    let runs = api(place, "probegate.io", "v1alpha1", "GateRun", "gateruns");
    create(&runs, &of_ours("GateRun", "by-hand", &spec)).await;
    let runs = Api::<GateRun>::namespaced(place.client.clone(), &place.namespace);
    until("it is decided", async || {
        runs.get("by-hand").await.unwrap().status.is_some_and(|status| status.decided_at.is_some())
    })
    .await;
}

/// One that a verdict stands on, one for a window, one that is taken back.
async fn overrides_are_made_and_taken_back(place: &Place, url: &str) {
    let token = token(place, "approver", &["check"]).await;
    let binding = json!({
        "metadata": {"name": "approver-too"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "probegate-approver"},
        "subjects": [{"kind": "ServiceAccount", "name": "approver", "namespace": place.namespace}],
    });
    let bindings: Api<RoleBinding> = Api::namespaced(place.client.clone(), &place.namespace);
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    let windows = api(place, "probegate.io", "v1alpha1", "ReleaseWindow", "releasewindows");
    create(&windows, &of_ours("ReleaseWindow", "stop", &json!({"type": "freeze", "reason": "quiet", "owner": "sre", "ticket": "OPS-1", "expires": "2099-01-01T00:00:00Z"}))).await;
    let windows = Api::<ReleaseWindow>::namespaced(place.client.clone(), &place.namespace);
    until("the freeze is in force", async || {
        windows.get("stop").await.unwrap().status.is_some_and(|status| status.in_force)
    })
    .await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let send = async |method: Method, path: &str, body: Value| {
        let request = client.request(method, format!("{url}{path}")).bearer_auth(&token).json(&body);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        (status, answer.json::<Value>().await.unwrap_or_default())
    };
    let expires = SystemClock::new().now() + jiff::SignedDuration::from_hours(1);
    let (gate, window) = (format!("{}/checkout", place.namespace), format!("{}/stop", place.namespace));
    let made = |on: Value| {
        let mut request =
            json!({"change": "c-excepted", "effect": "pass", "reason": "agreed", "expires": expires.to_string()});
        request.as_object_mut().unwrap().extend(on.as_object().unwrap().clone());
        request
    };
    // A right that was granted a moment ago may not be known yet.
    until("an override is made", async || {
        let (status, _) = send(Method::POST, "/v1/overrides", made(json!({"gate": gate}))).await;
        status == StatusCode::CREATED
    })
    .await;
    let (status, other) = send(Method::POST, "/v1/overrides", made(json!({"window": window}))).await;
    assert_eq!(status, StatusCode::CREATED, "{other}");
    let question = json!({
        "gate": gate, "point": "pre",
        "change": {"id": "c-excepted", "target": "checkout", "revision": "excepted", "actor": "ci"},
    });
    until("the exception counts", async || {
        send(Method::POST, "/v1/check?wait=5s", question.clone()).await.1["verdict"] == "pass"
    })
    .await;
    let overrides = Api::<Override>::namespaced(place.client.clone(), &place.namespace);
    until("it is noted on the override", async || {
        let all = overrides.list(&kube::api::ListParams::default()).await.unwrap();
        all.into_iter().any(|one| one.status.is_some_and(|status| !status.used_by.is_empty()))
    })
    .await;
    windows.delete("stop", &kube::api::DeleteParams::default()).await.unwrap();
}

fn template(version: &str) -> Value {
    json!({"metadata": {"labels": {"app": "shop"}}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [
        {"name": "shop", "image": "localhost/pause:1", "imagePullPolicy": "Never", "env": [{"name": "VERSION", "value": version}]}]}})
}

/// A real rollout whose first batch is blocked, behind a gate that then rolls back.
async fn a_rollout_is_let_out_and_put_back(place: &Place) {
    convert_versions(&place.client).await;
    let deployments: Api<Deployment> = Api::namespaced(place.client.clone(), &place.namespace);
    let deployment = json!({"metadata": {"name": "shop", "labels": {"app": "shop"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "shop"}}, "template": template("1")}});
    deployments.create(&PostParams::default(), &serde_json::from_value(deployment).unwrap()).await.unwrap();
    let probes = api(place, "probegate.io", "v1alpha1", "Probe", "probes");
    let dead = json!({"tcp": {"address": "127.0.0.1:1"}, "interval": "1s", "down": {"failures": 1}});
    create(&probes, &of_ours("Probe", "dead", &dead)).await;
    let gates = api(place, "probegate.io", "v1alpha1", "Gate", "gates");
    let rollout = json!({"apiVersion": "rollouts.kruise.io/v1beta1", "kind": "Rollout", "name": "shop-rollout"});
    let spec = json!({"target": {"workloadRef": rollout}, "pre": {"checks": [{"name": "window", "window": {}}]},
        "post": {"onBlock": "rollback", "checks": [{"name": "alive", "probes": {"names": ["dead"]}}]}});
    create(&gates, &of_ours("Gate", "shop", &spec)).await;
    let of_gate = Api::<Gate>::namespaced(place.client.clone(), &place.namespace);
    until("the gate has a status", async || of_gate.get("shop").await.unwrap().status.is_some()).await;
    let rollouts = api(place, "rollouts.kruise.io", "v1beta1", "Rollout", "rollouts");
    let rollout = json!({"apiVersion": "rollouts.kruise.io/v1beta1", "kind": "Rollout", "metadata": {"name": "shop-rollout"},
        "spec": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
            "strategy": {"paused": true, "canary": {"steps": [{"replicas": 1, "pause": {}}, {"replicas": 2, "pause": {}}]}}}});
    let rollout: DynamicObject = serde_json::from_value(rollout).unwrap();
    until("the rollout is taken", async || {
        rollouts.create(&PostParams::default(), &rollout).await.is_ok() || rollouts.get("shop-rollout").await.is_ok()
    })
    .await;
    until("the rollout rests", async || {
        rollouts.get("shop-rollout").await.unwrap().data["status"]["phase"] == "Healthy"
            && deployments.get("shop").await.is_ok_and(|shop| {
                shop.metadata.labels.unwrap_or_default().contains_key("rollouts.kruise.io/workload-type")
            })
    })
    .await;
    let patch = json!({"spec": {"template": template("2")}});
    deployments.patch("shop", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    until("the old template is put back", async || {
        let shop = serde_json::to_value(deployments.get("shop").await.unwrap()).unwrap();
        let told = &shop["metadata"]["annotations"]["probegate.io/verdict"];
        let version = &shop["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"];
        told.as_str().is_some_and(|told| told.starts_with("block")) && version == "1"
    })
    .await;
}
