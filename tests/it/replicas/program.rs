//! The whole program, twice, on one API server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, Patch, PatchParams, PostParams};
use probegate::api::{Gate, GateRun, Probe};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{PATIENCE, Replica};
use crate::cluster::{Place, control_plane};

/// Makes a gate whose one check passes.
pub async fn gate(place: &Place) {
    let gate: Gate = serde_json::from_value(json!({
        "apiVersion": "probegate.io/v1alpha1", "kind": "Gate",
        "metadata": {"name": "checkout", "namespace": place.namespace},
        "spec": {"target": {"names": ["checkout"]}, "pre": {"checks": [{"name": "window", "window": {}}]}},
    }))
    .unwrap();
    Api::<Gate>::namespaced(place.client.clone(), &place.namespace)
        .create(&PostParams::default(), &gate)
        .await
        .unwrap();
}

/// Makes a service account that may do `verbs` with gates, and gives its token.
pub async fn token(place: &Place, name: &str, verbs: &[&str]) -> String {
    let (client, namespace) = (place.client.clone(), place.namespace.as_str());
    let new = PostParams::default();
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    accounts.create(&new, &serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()).await.unwrap();
    if !verbs.is_empty() {
        let role = json!({
            "metadata": {"name": name},
            "rules": [{"apiGroups": ["probegate.io"], "resources": ["gates"], "verbs": verbs}],
        });
        Api::<Role>::namespaced(client.clone(), namespace)
            .create(&new, &serde_json::from_value(role).unwrap())
            .await
            .unwrap();
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        });
        Api::<RoleBinding>::namespaced(client, namespace)
            .create(&new, &serde_json::from_value(binding).unwrap())
            .await
            .unwrap();
    }
    let request = TokenRequest { spec: Some(TokenRequestSpec::default()), ..TokenRequest::default() };
    accounts.create_token_request(name, &new, &request).await.unwrap().status.unwrap().token.unwrap()
}

async fn ask(replica: &Replica, token: Option<&str>, place: &Place, revision: &str) -> (StatusCode, Value) {
    ask_at(&replica.url, token, place, revision).await
}

/// Asks the gate at a server.
pub async fn ask_at(url: &str, token: Option<&str>, place: &Place, revision: &str) -> (StatusCode, Value) {
    let question = json!({
        "gate": format!("{}/checkout", place.namespace), "point": "pre",
        "change": {"id": format!("c-{revision}"), "target": "checkout", "revision": revision, "actor": "ci"},
    });
    let request = reqwest::Client::builder().no_proxy().build().unwrap().post(format!("{url}/v1/check?wait=20s"));
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let answer = request.json(&question).send().await.unwrap();
    let status = answer.status();
    (status, answer.json().await.unwrap_or_default())
}

/// Waits until a replica whose name begins so leads.
pub async fn until_leads(place: &Place, name: &str) {
    let leases = Api::<Lease>::namespaced(place.client.clone(), &place.namespace);
    let led = async {
        loop {
            let lease = leases.get_opt("probegate").await.unwrap_or_default();
            let holder = lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
            if holder.starts_with(name) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, led).await.unwrap_or_else(|_| panic!("{name} never leads"));
}

#[test]
fn a_service_account_asks_any_replica_and_the_verdict_stands_in_the_cluster() {
    control_plane().run(|place| async move {
        gate(&place).await;
        let leader = Replica::start(&place, "a");
        until_leads(&place, "a").await;
        let other = Replica::start(&place, "b");
        let token = token(&place, "ci", &["check"]).await;
        let (status, answer) = ask(&other, Some(&token), &place, "v42").await;
        assert_eq!((status, &answer["verdict"]), (StatusCode::OK, &json!("pass")), "{answer}");
        assert_eq!(ask(&leader, Some(&token), &place, "v42").await.1["id"], answer["id"], "one question, one run");
        let (_, name) = answer["id"].as_str().unwrap().split_once('/').unwrap();
        let runs = Api::<GateRun>::namespaced(place.client.clone(), &place.namespace);
        let run = runs.get(name).await.unwrap();
        let decided = run.status.unwrap().conditions.into_iter().find(|condition| condition.kind == "Decided");
        assert_eq!(decided.unwrap().status, probegate::api::ConditionStatus::True);
    });
}

#[test]
fn who_may_not_check_is_refused_and_who_is_nobody_is_not_let_in() {
    control_plane().run(|place| async move {
        gate(&place).await;
        let replica = Replica::start(&place, "a");
        let stranger = token(&place, "stranger", &[]).await;
        let (status, problem) = ask(&replica, Some(&stranger), &place, "v42").await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{problem}");
        let expected = format!("`system:serviceaccount:{0}:stranger` may not check {0}/checkout", place.namespace);
        assert_eq!(problem["detail"], json!(expected));
        for token in [None, Some("nonsense")] {
            assert_eq!(ask(&replica, token, &place, "v42").await.0, StatusCode::UNAUTHORIZED);
        }
    });
}

#[test]
fn when_the_leader_is_killed_another_replica_decides() {
    control_plane().run(|place| async move {
        gate(&place).await;
        let mut leader = Replica::start(&place, "a");
        until_leads(&place, "a").await;
        let other = Replica::start(&place, "b");
        let token = token(&place, "ci", &["check"]).await;
        leader.signal("KILL");
        leader.ended();
        // Nobody leads for a moment: nothing but wait is answered, and the run is made all the same.
        let asked = std::time::Instant::now();
        let (status, answer) = ask(&other, Some(&token), &place, "v42").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let verdict = loop {
            let (_, answer) = ask(&other, Some(&token), &place, "v42").await;
            if answer["verdict"] != json!("wait") || asked.elapsed() > PATIENCE {
                break answer["verdict"].clone();
            }
        };
        assert_eq!(verdict, json!("pass"));
        until_leads(&place, "b").await;
    });
}

#[test]
fn a_leader_that_is_stopped_hands_on_at_once() {
    control_plane().run(|place| async move {
        gate(&place).await;
        let mut leader = Replica::start(&place, "a");
        until_leads(&place, "a").await;
        let _other = Replica::start(&place, "b");
        leader.signal("TERM");
        assert!(leader.ended().success());
        until_leads(&place, "b").await;
    });
}

/// Makes a probe.
pub async fn probe(place: &Place, name: &str, spec: Value) {
    let probe = json!({
        "apiVersion": "probegate.io/v1alpha1", "kind": "Probe", "metadata": {"name": name}, "spec": spec,
    });
    let probes = Api::<Probe>::namespaced(place.client.clone(), &place.namespace);
    probes.create(&PostParams::default(), &serde_json::from_value(probe).unwrap()).await.unwrap();
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never {what}"));
}

#[test]
fn targets_follow_the_ready_addresses_behind_a_service() {
    control_plane().run(|place| async move {
        let slices = Api::<EndpointSlice>::namespaced(place.client.clone(), &place.namespace);
        let slice = |addresses: &[&str]| -> EndpointSlice {
            let endpoints: Vec<Value> = addresses.iter().map(|address| json!({"addresses": [address]})).collect();
            serde_json::from_value(json!({
                "metadata": {"name": "checkout-1", "labels": {"kubernetes.io/service-name": "checkout"}},
                "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints,
            }))
            .unwrap()
        };
        slices.create(&PostParams::default(), &slice(&["198.18.7.1", "198.18.7.2"])).await.unwrap();
        let _replica = Replica::start(&place, "a");
        let spec = json!({"tcp": {}, "targets": {"endpoints": "checkout", "port": "http"}, "interval": "1s"});
        probe(&place, "checkout", spec).await;
        let probes = Api::<Probe>::namespaced(place.client.clone(), &place.namespace);
        let targets = async || {
            let status = probes.get("checkout").await.unwrap().status;
            let mut all: Vec<String> =
                status.into_iter().flat_map(|status| status.targets).map(|one| one.target).collect();
            all.sort();
            all
        };
        until("two targets", async || targets().await == ["198.18.7.1:8080", "198.18.7.2:8080"]).await;
        let mut three = slices.get("checkout-1").await.unwrap();
        three.endpoints = slice(&["198.18.7.1", "198.18.7.2", "198.18.7.3"]).endpoints;
        slices.replace("checkout-1", &PostParams::default(), &three).await.unwrap();
        until("three targets", async || targets().await.len() == 3).await;
    });
}

#[test]
fn every_new_value_of_an_annotation_runs_a_probe() {
    control_plane().run(|place| async move {
        let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = door.local_addr().unwrap().to_string();
        let rounds = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&rounds);
        tokio::spawn(async move {
            while door.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        let _replica = Replica::start(&place, "a");
        probe(&place, "door", json!({"tcp": {"address": address}, "interval": "24h"})).await;
        let made = |count: u32| {
            let rounds = Arc::clone(&rounds);
            async move || rounds.load(Ordering::SeqCst) == count
        };
        until("the first round", made(1)).await;
        let probes = Api::<Probe>::namespaced(place.client.clone(), &place.namespace);
        for count in 2..4 {
            let patch = json!({"metadata": {"annotations": {"probegate.io/run": count.to_string()}}});
            probes.patch("door", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
            until("a round by the annotation", made(count)).await;
        }
    });
}
